//! A monitor and the init of a cell.
//!
//! Many monitors may be connected to one init. init believes its monitors (only host root reaches
//! its socket); a monitor believes init no more than the tenants that share its cell.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::base::{Bytes, SessionId, escape};

use super::forward::Socket;
use super::session::{Exit, Program, Signal, Terminal, Usage};

/// `argv[0]` with which init's program becomes the probe.
pub const PROBE: &str = "cellblock-probe";

/// `argv[0]` with which it becomes the sftp server; `argv[1]` is the word of its access.
pub const SFTP: &str = "cellblock-sftp";

/// The descriptor that the sftp server writes to what it did with files
/// ([`Entry`](crate::wire::sftp::Entry)).
pub const SFTP_RECORDS: i32 = 3;

/// The first packet on a link that joined a running cell, not encoded: init will take orders. A
/// link without it belongs to a cell that is ending.
pub const WELCOME: &[u8] = b".";

/// The first packet, and the last, on a link that joined a cell which serves [`MAX_LINKS`] already.
pub const FULL: &[u8] = b"!";

/// Monitors and admin's verbs that one init serves at once; it waits for all of them in one poll(2).
pub const MAX_LINKS: usize = 512;

/// Connections that a tenant can have at once, whatever the config says: the other links are left to
/// the listener and to the admin, who must always get in.
pub const MAX_CONNECTIONS: u64 = 500;

/// From a monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Start a session. Answered by [`Report::Started`] or [`Report::NotStarted`].
    Start(Box<Start>),
    /// Send a signal to a session's foreground process group, or its own where it has no terminal.
    Signal {
        /// The number from [`Start`].
        session: u64,
        /// Which.
        signal: Signal,
    },
    /// Open a socket for a client. Answered by [`Report::Opened`] or [`Report::NotOpened`]. A
    /// connection that has asked this counts as somebody who is there until it ends.
    Open(Box<Open>),
    /// The client needs that socket no more: what it left in the file system is removed. Not
    /// answered.
    Close {
        /// The number from [`Open`].
        forward: u64,
    },
    /// Stay for ever, with or without processes: the cell was started with the door, not by a
    /// login. Not answered.
    Stay,
    /// End the cell: TERM, then KILL after the grace.
    End {
        /// Time between the two.
        grace: Duration,
    },
    /// Say what runs, for the admin. Answered by [`Report::Running`]. Whoever asks this, or for the
    /// next or for the end of the cell, does not count as somebody who is there.
    List {
        /// Only sessions whose names are greater than this: the last of the answer before.
        after: Option<SessionId>,
    },
    /// End one session, whoever started it: HUP and TERM to all processes in it, then KILL after the
    /// grace. Of a link's last session that is also done when its first process has ended. Answered by [`Report::SessionGone`] once none is left.
    EndSession {
        /// Which.
        id: SessionId,
        /// Time between the two.
        grace: Duration,
    },
}

/// A session to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The monitor's number for it, unused before on this link.
    pub session: u64,
    /// Its name, the same in the audit file.
    pub id: SessionId,
    /// Where its client comes from, for the admin's list; `None`: from this host, without a door.
    pub peer: Option<SocketAddr>,
    /// What to run. Subsystems were turned into something else or refused by the monitor.
    pub program: Program,
    /// With a terminal of this kind, or with pipes.
    pub terminal: Option<Terminal>,
    /// Who runs it.
    pub account: Account,
    /// The whole environment but `SSH_TTY`, which init adds where there is a terminal: only it knows
    /// the name.
    pub environment: Vec<(String, String)>,
    /// Printed on the terminal of a login shell before it starts, unless `~/.hushlogin` exists.
    pub greeting: Option<Greeting>,
    /// How long the cell may outlive its last session while it has processes; `None`: for ever,
    /// with or without.
    pub linger: Option<Duration>,
    /// Sessions that the cell may hold, this one included; init alone sees those of all monitors.
    pub max_sessions: u32,
}

/// A socket to open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// The monitor's number for it, unused before on this link.
    pub forward: u64,
    /// Which.
    pub socket: Socket,
    /// Who opens it.
    pub account: Account,
    /// As in [`Start`].
    pub linger: Option<Duration>,
}

/// Who a session runs as, in the ids of the cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The user's name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Group id; there are no supplementary groups.
    pub gid: u32,
    /// Absolute path of the home directory.
    pub home: String,
    /// Absolute path of the shell.
    pub shell: String,
    /// Capabilities it keeps, bit N for capability N (capabilities(7)); 0 for all but root.
    pub capabilities: u64,
    /// What an exec can give at most (the bounding set): holds `capabilities`, and where
    /// `no_new_privs` is off what setuid programs get.
    pub bounding: u64,
    /// Whether exec can give privileges (setuid programs such as sudo).
    pub no_new_privs: bool,
    /// Resource limits: resource number (getrlimit(2)), soft, hard.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// umask(2).
    pub umask: u32,
}

/// What sshd prints before a login shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// What modules of PAM said when its session opened, ready to print.
    pub said: String,
    /// The `Last login:` line, ready to print.
    pub last_login: Option<String>,
    /// Whether to print the cell's `/etc/motd`.
    pub motd: bool,
}

/// From init.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// It runs. Brings the terminal's master, or the ends of stdin (write), stdout (read) and
    /// stderr (read); for the sftp server also that of its records (read).
    Started {
        /// As ordered.
        session: u64,
        /// Its pid in the cell.
        pid: i32,
    },
    /// It does not run.
    NotStarted {
        /// As ordered.
        session: u64,
        /// What failed.
        step: String,
        /// With what `errno`.
        errno: i32,
    },
    /// It does not run: the cell holds as many sessions as it may.
    Full {
        /// As ordered.
        session: u64,
    },
    /// The socket is open. Brings it, and where a port of both families is listened on two.
    Opened {
        /// As ordered.
        forward: u64,
        /// The port or the display, where one was chosen; else 0.
        number: u16,
    },
    /// The socket could not be opened.
    NotOpened {
        /// As ordered.
        forward: u64,
        /// What failed.
        step: String,
        /// With what `errno`.
        errno: i32,
    },
    /// The tenant reached a limit. Not an answer to anything.
    LimitHit {
        /// Which, and what came of it.
        hit: Hit,
        /// The sessions of this link whose client is to be told.
        sessions: Vec<u64>,
        /// Whether this monitor is the one to write it down.
        record: bool,
    },
    /// Its first process ended.
    Ended {
        /// As ordered.
        session: u64,
        /// How.
        exit: Exit,
        /// What it used.
        usage: Usage,
    },
    /// What runs: the answer to [`Order::List`].
    Running(Running),
    /// The answer to [`Order::EndSession`].
    SessionGone {
        /// As ordered.
        id: SessionId,
        /// Whether there was one of that name.
        existed: bool,
    },
}

/// Sessions in one [`Running`], at most: they fit into a message.
pub const MAX_LISTED: usize = 128;

/// Bytes of a command that [`RunningSession::program`] shows.
pub const MAX_SHOWN: usize = 80;

/// What runs in a cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Sessions in the order of their names, [`MAX_LISTED`] at most.
    pub sessions: Vec<RunningSession>,
    /// Whether there are more after these.
    pub more: bool,
    /// Connections that are there, with or without a session.
    pub connections: u32,
}

/// A session that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningSession {
    /// Its name.
    pub id: SessionId,
    /// Where its client comes from.
    pub peer: Option<SocketAddr>,
    /// The pid of its first process, in the cell.
    pub pid: i32,
    /// For how long it has run.
    pub age: Duration,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// What it was started with; a command is cut after [`MAX_SHOWN`] bytes.
    pub program: Program,
}

/// A limit that was reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hit {
    /// The kernel stopped processes, because memory had run out.
    Memory {
        /// The limit.
        most: Bytes,
        /// How many, since this was said last.
        stopped: u64,
        /// The last of them, where it is known.
        victim: Option<Victim>,
    },
    /// New processes or threads were refused.
    Pids {
        /// The limit.
        most: u64,
        /// How many, since this was said last.
        refused: u64,
    },
    /// Nothing more can be written to a file system in memory.
    Full {
        /// Which.
        store: Store,
        /// The limit.
        most: Bytes,
    },
    /// It can hold no more files, however small.
    ManyFiles {
        /// Which.
        store: Store,
        /// The limit.
        most: u64,
    },
}

impl Hit {
    /// For the tenant's terminal or standard error: one line.
    #[must_use]
    pub fn sentence(&self) -> String {
        let what = match self {
            Self::Memory { most, stopped, victim } => {
                let who = match victim {
                    Some(Victim { pid, name }) => format!("{} (pid {pid})", escape(name)),
                    None => "a process".to_owned(),
                };
                let more = match stopped.saturating_sub(1) {
                    0 => String::new(),
                    1 => " and 1 more".to_owned(),
                    more => format!(" and {more} more"),
                };
                let verb = if *stopped > 1 { "were" } else { "was" };
                format!("memory limit reached ({most} for all of your sessions together): {who}{more} {verb} stopped")
            }
            Self::Pids { most, refused: _ } => {
                format!(
                    "process limit reached ({most} processes and threads for all of your sessions together): \
                     no more can be started"
                )
            }
            Self::Full { store, most } => {
                format!("{} is full ({} = {most} for all of your sessions together)", store.path(), store.key())
            }
            Self::ManyFiles { store, most } => {
                format!("{} is full ({most} files for all of your sessions together)", store.path())
            }
        };
        format!("cellblock: {what}; see /run/cellblock/usage")
    }
}

/// A file system in memory, of a size that the config sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Store {
    /// `/tmp`.
    Tmp,
    /// `/run`.
    Run,
    /// `/dev/shm`.
    Shm,
}

impl Store {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tmp, Self::Run, Self::Shm];

    /// Where it is in the cell.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Tmp => "/tmp",
            Self::Run => "/run",
            Self::Shm => "/dev/shm",
        }
    }

    /// The key of its size, in `[limits]`.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Tmp => "tmp",
            Self::Run => "run",
            Self::Shm => "shm",
        }
    }
}

/// A process that was stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Victim {
    /// Its pid in the cell.
    pub pid: i32,
    /// Its name, as it gave itself: at most 15 bytes (`PR_SET_NAME`).
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_names_the_limit_and_who_was_stopped() {
        let victim = Some(Victim { pid: 42, name: "evil\u{1b}[2J".into() });
        let one = Hit::Memory { most: Bytes(512 << 20), stopped: 1, victim };
        assert_eq!(
            one.sentence(),
            "cellblock: memory limit reached (512M for all of your sessions together): evil\\x1b[2J (pid 42) was \
             stopped; see /run/cellblock/usage"
        );
        let several = Hit::Memory { most: Bytes(1 << 30), stopped: 3, victim: None }.sentence();
        assert!(
            several.contains("(1G for all of your sessions together): a process and 2 more were stopped"),
            "{several}"
        );
        let pids = Hit::Pids { most: 256, refused: 9 }.sentence();
        assert!(pids.contains("process limit reached (256 processes"), "{pids}");
        assert_eq!(
            Hit::Full { store: Store::Shm, most: Bytes(64 << 20) }.sentence(),
            "cellblock: /dev/shm is full (shm = 64M for all of your sessions together); see /run/cellblock/usage"
        );
        let files = Hit::ManyFiles { store: Store::Tmp, most: 9 }.sentence();
        assert!(files.contains("/tmp is full (9 files for all"), "{files}");
    }
}
