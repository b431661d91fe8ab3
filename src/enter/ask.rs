//! What a caller wants to run: told by sshd's `ForceCommand`, by who calls a login shell, or by the words
//! of a command line.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::Path,
};

use crate::wire::enter::SHELL_NAME;
use crate::wire::session::Program;

/// What sshd leaves of the command that a client asked for where another is forced.
pub const ORIGINAL: &str = "SSH_ORIGINAL_COMMAND";

/// The subsystem that is a server of files.
pub(super) const SFTP: &str = "sftp";

/// Whom to enter as, and what to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Whose cell, if that is named.
    pub tenant: Option<String>,
    /// What to run there.
    pub program: Program,
}

impl Asked {
    /// What `cellblock enter` asks for, with these arguments: with neither `tenant` nor `command`, what sshd runs by
    /// `ForceCommand`, which is the command that its client asked for.
    #[must_use]
    pub fn of(tenant: Option<String>, sftp: bool, command: &[OsString]) -> Self {
        let program = if sftp {
            Program::Subsystem(SFTP.to_owned())
        } else if tenant.is_none() && command.is_empty() {
            original(env::var_os(ORIGINAL))
        } else {
            of_words(command)
        };
        Self { tenant, program }
    }
}

/// Arguments that a login shell of ours does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadArguments(&'static str);

impl fmt::Display for BadArguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SHELL_NAME}: {}; it takes -l and -c COMMAND", self.0)
    }
}

impl std::error::Error for BadArguments {}

/// Whether a program that was called by this name (`argv[0]`) is to be a login shell.
#[must_use]
pub fn is_login_shell(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"-") || Path::new(name).file_name().is_some_and(|name| name == SHELL_NAME)
}

/// What a login shell with these arguments runs. `original` is what sshd left of the client's command, if
/// it runs a forced one.
pub fn login_shell(
    arguments: impl IntoIterator<Item = OsString>,
    original: Option<OsString>,
) -> Result<Program, BadArguments> {
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        if argument == "--login" {
            continue;
        }
        let letters = argument.as_bytes().strip_prefix(b"-").filter(|letters| !letters.is_empty());
        let (last, flags) = letters.and_then(<[u8]>::split_last).ok_or(BadArguments("it runs no scripts"))?;
        if flags.iter().any(|flag| !b"li".contains(flag)) || !b"lic".contains(last) {
            return Err(BadArguments("unknown option"));
        }
        if *last == b'c' {
            let command = arguments.next().ok_or(BadArguments("-c needs a command"))?;
            return match arguments.next() {
                None => Ok(of_command(command.into_vec(), original)),
                Some(_parameter) => Err(BadArguments("a command takes no parameters")),
            };
        }
    }
    Ok(Program::Shell)
}

/// What the forced command runs: what the client asked for, or a shell.
pub(super) fn original(command: Option<OsString>) -> Program {
    match command {
        None => Program::Shell,
        Some(command) => of_command(command.into_vec(), None),
    }
}

/// A command line, which goes to the shell in the cell byte by byte as it came; but for those that sshd
/// makes of a subsystem or of a forced command, which name programs of the host.
fn of_command(command: Vec<u8>, original_command: Option<OsString>) -> Program {
    let words: Vec<&[u8]> = command.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    if is_sftp(&words) {
        return Program::Subsystem(SFTP.to_owned());
    }
    // `exec`, so that sshd sees how it ends and not what the account's shell makes of that.
    let forced = words.strip_prefix(&[b"exec".as_slice()]).unwrap_or(&words);
    let is_forced = matches!(forced, [program, b"enter"] if is_named(program, b"cellblock"));
    if is_forced { original(original_command) } else { Program::Command(command) }
}

/// Whether it is how sshd_config(5) names a server of files. An option that would be lost makes it another
/// command, which the cell does not have.
fn is_sftp(words: &[&[u8]]) -> bool {
    match words {
        [program, b"enter", b"--sftp"] => is_named(program, b"cellblock"),
        [program, options @ ..] => {
            let of_log = |pair: &[&[u8]]| matches!(pair, [b"-f" | b"-l", _value]);
            (*program == b"internal-sftp" || is_named(program, b"sftp-server")) && options.chunks(2).all(of_log)
        }
        [] => false,
    }
}

fn is_named(program: &[u8], name: &[u8]) -> bool {
    program.rsplit(|byte| *byte == b'/').next() == Some(name)
}

/// These words; none: a login shell.
pub fn of_words(words: &[OsString]) -> Program {
    if words.is_empty() {
        return Program::Shell;
    }
    Program::Words(words.iter().map(|word| word.as_bytes().to_vec()).collect())
}

#[cfg(test)]
mod tests;
