//! From `cellblock` to `cellblock-admin`, with the same arguments.

use std::{
    env,
    ffi::{CString, OsString},
    os::{fd::AsFd as _, unix::ffi::OsStringExt as _},
};

use crate::base::{Result, fail};
use crate::config::open_installed;
use crate::sys::process;

use super::{FAULT, complain};

/// The program that knows all verbs.
const ADMIN: &str = "cellblock-admin";

/// It failed, and why has been said: as the verbs but `enter` exit.
const FAILED: u8 = 1;

/// Becomes `cellblock-admin`, or says why not: the exit status.
#[must_use]
pub fn become_admin(arguments: &[OsString]) -> u8 {
    if let Err(failure) = exec(arguments) {
        complain(format_args!("cellblock: {failure}"));
    }
    let enters = arguments.iter().skip(1).take_while(|word| *word != "--").any(|word| word == "enter");
    if enters { FAULT } else { FAILED }
}

fn exec(arguments: &[OsString]) -> Result<()> {
    // Held from the look on, so that it is the one that was looked at.
    let (path, program) = open_installed(ADMIN)?;
    let strings = |all: Vec<OsString>| -> Vec<CString> {
        // What came by exec has no NUL in it.
        all.into_iter().filter_map(|one| CString::new(one.into_vec()).ok()).collect()
    };
    let variable = |(mut name, value): (OsString, OsString)| {
        name.push("=");
        name.push(value);
        name
    };
    let environment = strings(env::vars_os().map(variable).collect());
    let errno = process::exec(program.as_fd(), &strings(arguments.to_vec()), &environment);
    Err(fail("starting", path.display(), errno))
}
