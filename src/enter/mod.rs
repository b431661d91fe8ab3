//! The enter door, from the caller's side: an unprivileged process that asks the listener for a session
//! and relays its streams.
//!
//! It runs as whoever called it: a tenant's host account behind sshd or su, or root. Nothing here is
//! believed by anybody; it decides nothing but how the caller's own streams are moved. The cell gets
//! pipes or a terminal of its own, and none of the caller's descriptors.

mod admin;
mod ask;
mod door;
mod end;
mod environment;
mod line;
mod own;
mod pipes;
mod rootless;
mod session;
mod starter;
mod terminal;

use std::{
    env,
    ffi::OsString,
    fmt,
    io::{self, Write as _},
    path::Path,
};

use crate::base::{Result, fail};
use crate::sys::{process, pty};
use crate::wire::enter::Call;
use crate::wire::link::encode;
use crate::wire::session::Program;

pub use admin::become_admin;
pub use ask::{Asked, BadArguments, ORIGINAL, is_login_shell, login_shell, of_words};
pub use door::call_if_open;
pub use end::FAULT;
pub use line::Line;
pub use rootless::{Own, run as run_rootless};
pub use starter::{Monitor, Said, Starter};

use end::Ending;
use session::Session;

/// Names and values.
type Variables = Vec<(String, String)>;

/// Enters through the listener's `socket` and stays until the session ends. Ends as the program that ran
/// there did: with its exit status, which is for this process to exit with, or by the signal that ended it.
#[must_use]
pub fn run(asked: Asked, socket: &Path) -> u8 {
    end(enter(asked, socket))
}

/// Ends as the session did, or says why there was none.
fn end(entered: Result<Ending>) -> u8 {
    match entered {
        Ok(ending) => ending.end(),
        Err(failure) => {
            complain(format_args!("cellblock: {failure}"));
            FAULT
        }
    }
}

/// Says it. If even that cannot be said, the exit status has to do.
pub fn complain(text: impl fmt::Display) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Call → Answer → Request → Reply → the streams, relayed → the end.
fn enter(asked: Asked, socket: &Path) -> Result<Ending> {
    let Asked { tenant, program } = asked;
    let by_root = process::effective_uid() == 0;
    let came_by = if by_root { None } else { environment::came_by(variable("SSH_CONNECTION")) };
    let call = Call { tenant, came_by };
    let environment = environment::of(env::vars_os(), by_root);
    if wants_terminal(&program) {
        with_terminal(socket, &call, program, environment)
    } else {
        with_pipes(socket, &call, program, environment)
    }
}

/// Whether a person is at both ends.
fn wants_terminal(program: &Program) -> bool {
    let for_people = *program != Program::Subsystem(ask::SFTP.to_owned());
    for_people && pty::are_terminals_at_both_ends()
}

/// On a terminal, where the account gets one.
fn with_terminal(socket: &Path, call: &Call, program: Program, environment: Variables) -> Result<Ending> {
    let (monitor, outline) = door::call(socket, call, None)?;
    let given = outline.pty;
    if !given {
        // As ssh(1) says it, which goes on without one.
        complain("cellblock: no terminal is given to this account");
    }
    let terminal = if given { Some(terminal::wanted(variable("TERM"))?) } else { None };
    let mut session = Session::begin(monitor, given)?;
    let streams = session.start(|monitor| monitor.ask(program, terminal, environment))?;
    session.relay(streams, given)
}

/// On pipes. Nothing that the monitor says of the account changes what is asked for: it is asked at once.
fn with_pipes(socket: &Path, call: &Call, program: Program, environment: Variables) -> Result<Ending> {
    let request = starter::request(program, None, environment);
    // Before anybody is called: it may be too long.
    let request = encode(&request).map_err(|why| fail("starting the session", "", why))?;
    let (monitor, _outline) = door::call(socket, call, Some(&request))?;
    let mut session = Session::begin(monitor, false)?;
    let streams = session.start(|_asked| Ok(()))?;
    session.relay(streams, false)
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name)
}

fn failed(doing: &'static str) -> impl Fn(crate::sys::Errno) -> crate::base::Failure {
    move |errno| fail(doing, "", errno)
}
