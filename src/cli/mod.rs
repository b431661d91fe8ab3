//! The command line: one file per verb. Parsing does nothing; each verb is run with what was parsed.

mod ask;
mod check;
mod doctor;
mod enter;
mod kill;
mod list;
pub mod output;
mod passwd;
mod reload;
mod serve;
mod try_door;
mod try_place;
mod verify;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::base::Failure;
use crate::config::Report;
use crate::sys::process;

/// It failed, and why has been said.
pub const FAILED: u8 = 1;

/// What was asked for is not a thing that cellblock does.
pub const USAGE: u8 = 2;

/// Where the config of an installed cellblock is.
const DEFAULT_CONFIG: &str = "/etc/cellblock/cellblock.toml";

/// An SSH front door that lands every tenant in a jail of their own.
#[derive(Debug, Parser)]
#[command(name = "cellblock", version)]
pub struct Cli {
    /// The config; `tenants.d` is looked for beside it.
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,

    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Check the config and show everything that is wrong with it.
    Check(check::Check),
    /// Show what this host can and cannot do for tenants, and what to do about it.
    Doctor(doctor::Doctor),
    /// Enter a tenant's cell, or one's own, through the running listener.
    Enter(enter::Enter),
    /// End a tenant's cell, or one session.
    Kill(kill::Kill),
    /// Show the cells that run, and the sessions in them.
    List(list::List),
    /// Make the line of the config that sets a password.
    Passwd(passwd::Passwd),
    /// Make the running listener read its config again.
    Reload(reload::Reload),
    /// Listen for SSH connections.
    Serve(serve::Serve),
    /// Open a door on 127.0.0.1 to try it out, and take it away afterwards.
    Try(try_door::TryDoor),
    /// Try to break out of a tenant's cell, and say how that went.
    Verify(verify::Verify),
}

/// Runs what `arguments` ask for.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // `pgrep -x cellblock` finds what `cellblock` has become. Without it all else is as well.
    process::set_name(c"cellblock").unwrap_or_default();
    match Cli::try_parse_from(arguments) {
        Ok(cli) => done(match cli.verb {
            Verb::Check(check) => check.run(&cli.config),
            Verb::Doctor(doctor) => doctor.run(&cli.config),
            Verb::Enter(enter) => Ok(enter.run(cli.config)),
            Verb::Kill(kill) => kill.run(&cli.config),
            Verb::List(list) => list.run(&cli.config),
            Verb::Passwd(passwd) => passwd.run(),
            Verb::Reload(reload) => reload.run(&cli.config),
            Verb::Serve(serve) => serve.run(&cli.config),
            Verb::Try(try_door) => try_door.run(),
            Verb::Verify(verify) => verify.run(&cli.config),
        }),
        // `--help` and `--version` come as errors that belong on stdout.
        Err(error) if error.use_stderr() => {
            output::complain(error.render().to_string().trim_end());
            ExitCode::from(USAGE)
        }
        Err(error) => {
            done(output::say(error.render().to_string().trim_end()).map(|()| ExitCode::SUCCESS).map_err(Into::into))
        }
    }
}

/// What is wrong with `[server]` keeps a verb from finding what runs.
fn broken_server(config: &Path, report: &Report) -> ExitCode {
    output::complain(format_args!("{report}\n\n{}: without [server], what runs cannot be found", config.display()));
    ExitCode::from(FAILED)
}

/// Why a verb failed.
#[derive(Debug)]
pub enum Trouble {
    /// Something that was tried.
    Failure(Failure),
    /// The output could not be written.
    Output(std::io::Error),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error)
    }
}

fn done(result: Result<ExitCode, Trouble>) -> ExitCode {
    match result {
        Ok(status) => return status,
        Err(Trouble::Failure(failure)) => output::complain(format_args!("cellblock: {failure}")),
        Err(Trouble::Output(error)) => output::complain(format_args!("cellblock: writing the output: {error}")),
    }
    ExitCode::from(FAILED)
}
