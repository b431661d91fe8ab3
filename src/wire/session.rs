//! A session, in the words that the ssh process, the monitor and init share.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::sftp::Access;
use crate::base::{command_line, escape, escape_bytes};

/// Longest command line: what the kernel takes as one argument of a program, less the zero at its end
/// (`MAX_ARG_STRLEN`, execve(2)). sshd takes longer ones, and then cannot start the shell.
pub const MAX_COMMAND: usize = (128 << 10) - 1;

/// What a session runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// The login shell, `argv[0]` with a leading dash.
    Shell,
    /// `SHELL -c COMMAND`, the bytes as the client sent them (no NUL inside).
    Command(Vec<u8>),
    /// A subsystem by name (RFC 4254, 6.5).
    Subsystem(String),
    /// init's own second face, which tries to break out (`probe`). At the request of nobody but root of the host.
    Probe,
    /// init's face that serves files by SFTP (`sftp`). Never at a client's request for it by this name.
    Sftp(Access),
    /// These words, without a shell: the first is looked for in `PATH`. At the request of nobody but root of
    /// the host; for others they are a [`Program::Command`], so that the shell of an account holds for it.
    Words(Vec<Vec<u8>>),
}

impl Program {
    /// The word for it in the audit log and in lists.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Command(_) | Self::Words(_) => "exec",
            Self::Subsystem(_) => "subsystem",
            Self::Probe => "probe",
            Self::Sftp(_) => "sftp",
        }
    }

    /// What a client chose to be run, escaped; none where there is no choice.
    #[must_use]
    pub fn command(&self) -> Option<String> {
        match self {
            Self::Command(command) => Some(escape_bytes(command)),
            Self::Words(words) => Some(escape_bytes(&command_line(words))),
            Self::Subsystem(name) => Some(escape(name)),
            Self::Shell | Self::Probe | Self::Sftp(_) => None,
        }
    }
}

/// A terminal's size (RFC 4254, 6.2). Zero means unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WindowSize {
    /// Width in characters.
    pub columns: u16,
    /// Height in characters.
    pub rows: u16,
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
}

/// The terminal that a client asks for (RFC 4254, 6.2 and 8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// The value for `TERM`.
    pub term: String,
    /// Its size at the start.
    pub size: WindowSize,
    /// Encoded modes: opcode and argument, in the order sent. Unknown opcodes are passed over.
    pub modes: Vec<(u8, u32)>,
}

/// A signal by RFC 4254's names (6.9, 6.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the documentation: RFC 4254, 6.10 and signal(7)")]
pub enum Signal {
    Abrt,
    Alrm,
    Fpe,
    Hup,
    Ill,
    Int,
    Kill,
    Pipe,
    Quit,
    Segv,
    Term,
    Usr1,
    Usr2,
}

impl Signal {
    const NAMES: [(Self, &'static str); 13] = [
        (Self::Abrt, "ABRT"),
        (Self::Alrm, "ALRM"),
        (Self::Fpe, "FPE"),
        (Self::Hup, "HUP"),
        (Self::Ill, "ILL"),
        (Self::Int, "INT"),
        (Self::Kill, "KILL"),
        (Self::Pipe, "PIPE"),
        (Self::Quit, "QUIT"),
        (Self::Segv, "SEGV"),
        (Self::Term, "TERM"),
        (Self::Usr1, "USR1"),
        (Self::Usr2, "USR2"),
    ];

    /// The name on the wire, without `SIG`.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(signal, _)| *signal == self).map_or("TERM", |(_, name)| name)
    }

    /// The signal of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(signal, _)| *signal)
    }
}

/// How a session's program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It exited with this status.
    Status(u8),
    /// A signal ended it: its number, its name without `SIG` (`"XCPU"`, `"RTMIN+3"` for those that
    /// RFC 4254 does not list), and whether a core was dumped.
    Signal {
        /// The number, as in signal(7).
        number: i32,
        /// The name.
        name: String,
        /// `WCOREDUMP`.
        core: bool,
    },
    /// The kernel stopped it, because the tenant's memory limit was reached.
    MemoryLimit,
    /// The cell ended under it.
    CellGone,
}

/// How a session ends for the client that was stopped at the memory limit. Below 128, so that it is
/// taken for no signal; not 123 to 127, which xargs(1), timeout(1), env(1) and shells use; not 255,
/// which is ssh's own.
pub const MEMORY_LIMIT_STATUS: u8 = 122;

/// After the exit of a program on a terminal that others still hold open, its last output is waited
/// for so long in all. The kernel passes on what was written in far less (`flush_to_ldisc`).
pub const LAST_WORDS: Duration = Duration::from_millis(100);

/// What comes after the exit beyond this was written since, by others: a terminal holds 8 KiB in the
/// driver (`pty_common_install` in Linux) and 4 KiB in the line discipline.
pub const LAST_BYTES: usize = 64 << 10;

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exit {status}"),
            Self::Signal { name, .. } => write!(f, "signal {name}"),
            Self::MemoryLimit => f.write_str("stopped at the memory limit"),
            Self::CellGone => f.write_str("cell gone"),
        }
    }
}

/// What a session used up, with all of its waited-for children (getrusage(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// User CPU time in microseconds.
    pub user_us: u64,
    /// System CPU time in microseconds.
    pub system_us: u64,
    /// Peak resident memory of the largest process, in KiB.
    pub max_rss_kib: u64,
    /// Wall time from start to end, in milliseconds.
    pub wall_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_has_a_name_that_leads_back_to_it() {
        for (signal, name) in Signal::NAMES {
            assert_eq!(Signal::from_name(name), Some(signal));
            assert_eq!(signal.name(), name);
        }
        assert_eq!(Signal::from_name("STOP"), None);
    }
}
