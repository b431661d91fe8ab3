//! The enter door, from the caller's side: an unprivileged process that asks the listener for a session
//! and relays its streams.
//!
//! It runs as whoever called it: a tenant's host account behind sshd or su, or root. Nothing here is
//! believed by anybody; it decides nothing but how the caller's own streams are moved. The cell gets
//! pipes or a terminal of its own, and none of the caller's descriptors.

mod ask;
mod door;
mod end;
mod environment;
mod own;
mod pipes;
mod rootless;
mod session;
mod starter;
mod terminal;

use std::{
    env,
    ffi::OsString,
    io::{self, Write as _},
    os::fd::AsFd as _,
    path::Path,
    process::ExitCode,
};

use crate::base::{Result, fail};
use crate::sys::{process, pty};
use crate::wire::enter::Call;
use crate::wire::session::Program;

pub use ask::{Asked, BadArguments, ORIGINAL, is_login_shell, login_shell};
pub use door::call_if_open;
pub use end::FAULT;
pub use rootless::{Own, run as run_rootless};
pub use starter::{Monitor, Said, Starter};

use end::Ending;
use session::Session;

/// Enters through the listener's `socket` and stays until the session ends. Ends as the program that ran
/// there did: with its exit status, or by the signal that ended it.
pub fn run(asked: Asked, socket: &Path) -> ExitCode {
    end(enter(asked, socket))
}

/// Ends as the session did, or says why there was none.
fn end(entered: Result<Ending>) -> ExitCode {
    match entered {
        Ok(ending) => ending.end(),
        Err(failure) => {
            // If even that cannot be said, the exit status has to do.
            drop(writeln!(io::stderr().lock(), "cellblock: {failure}"));
            ExitCode::from(FAULT)
        }
    }
}

/// Call → Answer → Request → Reply → the streams, relayed → the end.
fn enter(asked: Asked, socket: &Path) -> Result<Ending> {
    let Asked { tenant, program } = asked;
    let by_root = process::effective_uid() == 0;
    let came_by = if by_root { None } else { environment::came_by(variable("SSH_CONNECTION")) };
    let call = Call { tenant, came_by };
    let (monitor, outline) = door::call(socket, &call)?;
    let wants_terminal = program != Program::Subsystem(ask::SFTP.to_owned());
    let on_terminal = wants_terminal && pty::is_terminal(io::stdin().as_fd()) && pty::is_terminal(io::stdout().as_fd());
    if on_terminal && !outline.pty {
        // As ssh(1) says it, which goes on without one.
        drop(writeln!(io::stderr().lock(), "cellblock: no terminal is given to this account"));
    }
    let with_terminal = on_terminal && outline.pty;
    let terminal = if with_terminal { Some(terminal::wanted(variable("TERM"))?) } else { None };
    let environment = environment::of(env::vars_os(), by_root);
    let mut session = Session::begin(monitor, with_terminal)?;
    let streams = session.start(|monitor| monitor.ask(program, terminal, environment))?;
    session.relay(streams, with_terminal)
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name)
}

/// What sshd runs by `ForceCommand`: the command that its client asked for, if it asked for one.
#[must_use]
pub fn forced() -> Program {
    ask::original(variable(ask::ORIGINAL))
}

/// These words, as they are; none: a login shell.
#[must_use]
pub fn of_words(words: &[OsString]) -> Program {
    ask::of_words(words)
}

/// The sftp server.
#[must_use]
pub fn sftp() -> Program {
    Program::Subsystem(ask::SFTP.to_owned())
}

fn failed(doing: &'static str) -> impl Fn(crate::sys::Errno) -> crate::base::Failure {
    move |errno| fail(doing, "", errno)
}
