//! `cellblock passwd`: makes the line that sets a tenant's password.

use std::{
    io::{self, Read as _},
    process::ExitCode,
};

use clap::Args;

use crate::auth::hash;
use crate::base::{Failure, Result, Secret, fail};
use crate::sys::typed;
use crate::wire::login::MAX_PASSWORD;

use super::{Trouble, output};

/// The arguments of `passwd`.
#[derive(Debug, Args)]
#[command(after_help = "Asks for the password on the terminal, or reads the first line of standard input if that is \
                        none. Prints a line for [tenant.NAME]; the file that it goes into should be readable by root \
                        alone.")]
pub struct Passwd {}

impl Passwd {
    /// Needs no config and no rights.
    pub(super) fn run(&self) -> Result<ExitCode, Trouble> {
        let password = if typed::is_terminal() { ask()? } else { read_line()? };
        output::say(format_args!("password = \"{}\"", hash(&password)?))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn ask() -> Result<Secret> {
    let failed = |errno| fail("reading", "the password", errno);
    let first = typed::hidden("Password: ", MAX_PASSWORD + 1).map_err(failed)?;
    let second = typed::hidden("Again: ", MAX_PASSWORD + 1).map_err(failed)?;
    if first == second { Ok(first) } else { Err(fail("reading", "the password", "the two are not the same")) }
}

fn read_line() -> Result<Secret> {
    let failed = |error: io::Error| -> Failure { fail("reading", "the password", error) };
    // Never moved while it grows: what is left behind would not be wiped.
    let mut line = Vec::with_capacity(MAX_PASSWORD + 2);
    for byte in io::stdin().lock().bytes() {
        match byte.map_err(failed)? {
            b'\n' => break,
            byte if line.len() <= MAX_PASSWORD => line.push(byte),
            _too_many => {}
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Secret::new(line))
}
