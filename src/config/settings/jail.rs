//! A jail: what a cell is made of, and what it may use up.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::base::{Bytes, Cores};
use crate::config::permit::Permit;
use crate::wire::sftp::Access;

/// The settings of one jail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jail {
    /// What is `/` in the cell.
    pub root: Root,
    /// Who the tenant is inside.
    pub user: User,
    /// Absolute path of the shell.
    pub shell: String,
    /// Absolute path of the home directory.
    pub home: String,
    /// Host name inside.
    pub hostname: String,
    /// Which network.
    pub network: Network,
    /// How long the cell outlives its last session.
    pub linger: Linger,
    /// How many host ids the tenant gets.
    pub ids: u32,
    /// What can be used up.
    pub limits: Limits,
    /// Which kinds of request are answered.
    pub allow: BTreeSet<Allow>,
    /// Which ports clients may have connections to.
    pub permit_open: Permit,
    /// Where they may have something listen.
    pub permit_listen: Permit,
    /// Runs instead of what the client asks for.
    pub command: Option<String>,
    /// What sftp sessions may do.
    pub sftp: Sftp,
    /// Names that a client may set, with `*` and `?`.
    pub accept_env: Vec<String>,
    /// Variables that every session has.
    pub set_env: Vec<(String, String)>,
    /// What root keeps in the cell (bit N for capability N). Never CAP_SYS_ADMIN.
    pub capabilities: u64,
    /// Whether exec can give no new privileges.
    pub no_new_privs: bool,
    /// System calls beyond every tenant's.
    pub syscalls: BTreeSet<CallSet>,
    /// Sessions at once over all connections.
    pub max_sessions: u32,
    /// Connections at once that are logged in.
    pub max_connections: u32,
    /// Whether `/etc/motd` and the last login are shown.
    pub motd: bool,
}

/// What sftp sessions may do, in place of options of `internal-sftp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sftp {
    /// With the tenant's files.
    pub access: Access,
    /// Their umask(2), where it is not that of all sessions.
    pub umask: Option<u32>,
}

/// CAP_NET_RAW (capabilities(7)).
const NET_RAW: u64 = 1 << 13;

impl Jail {
    /// Capabilities that programs in the cell may carry as files, and that nobody gets by starting
    /// them: execve(2) fails with EPERM where a file carries one that the bounding set lacks, as
    /// Debian's `ping` does with CAP_NET_RAW. Only with `no_new_privs`, under which an exec gives
    /// nothing.
    #[must_use]
    pub fn carried(&self) -> u64 {
        if self.no_new_privs && self.syscalls.contains(&CallSet::Ping) { NET_RAW } else { 0 }
    }
}

/// What is `/` in the cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Root {
    /// A view of the live host.
    Host,
    /// A directory tree.
    Directory(PathBuf),
}

/// Who the tenant is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum User {
    /// uid 1000, named like the tenant.
    Tenant,
    /// uid 0.
    Root,
}

impl User {
    /// Their uid and gid inside, which is that of their files on disk: the first ordinary user's, as
    /// useradd(8) counts, or root's.
    #[must_use]
    pub const fn id(self) -> u32 {
        match self {
            Self::Tenant => 1000,
            Self::Root => 0,
        }
    }
}

/// Which network the cell has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// Its own, loopback only.
    None,
    /// The host's.
    Host,
}

/// How long a cell outlives its last session while it has processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Linger {
    /// So long.
    For(Duration),
    /// Until it is killed, with or without processes; started at boot.
    Forever,
}

/// What one tenant can use up, over all sessions where it is not said otherwise. What is `None` is
/// not asked of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// What becomes of a tenant that the host cannot hold to all of this.
    pub enforce: Enforce,
    /// Memory, with tmpfs, shared memory and page cache.
    pub memory: Bytes,
    /// From where on it is slowed down and reclaimed (cgroup v2).
    pub memory_high: Option<Bytes>,
    /// Swap space besides.
    pub swap: Bytes,
    /// Processes and threads.
    pub pids: u32,
    /// Processor time.
    pub cpu: Cores,
    /// Its share when processors are short; 100 is ordinary.
    pub cpu_weight: Option<u32>,
    /// Bytes per second read from each disk (cgroup v2).
    pub io_read: Option<Bytes>,
    /// Bytes per second written to each disk.
    pub io_write: Option<Bytes>,
    /// Reads per second of each disk.
    pub io_read_iops: Option<u32>,
    /// Writes per second of each disk.
    pub io_write_iops: Option<u32>,
    /// Its share when disks are busy; 100 is ordinary.
    pub io_weight: Option<u32>,
    /// Size of `/tmp`.
    pub tmp: Bytes,
    /// Size of `/run`.
    pub run: Bytes,
    /// Size of `/dev/shm`.
    pub shm: Bytes,
    /// Open files per process (`RLIMIT_NOFILE`).
    pub nofile: u64,
    /// Largest core file (`RLIMIT_CORE`).
    pub core: Bytes,
}

impl Default for Limits {
    /// As in the table of keys, where nothing is set (`load_tests.rs` compares the two).
    fn default() -> Self {
        Self {
            enforce: Enforce::Strict,
            memory: Bytes(512 << 20),
            memory_high: None,
            swap: Bytes(0),
            pids: 256,
            cpu: Cores::from_thousandths(1000),
            cpu_weight: None,
            io_read: None,
            io_write: None,
            io_read_iops: None,
            io_write_iops: None,
            io_weight: None,
            tmp: Bytes(64 << 20),
            run: Bytes(16 << 20),
            shm: Bytes(64 << 20),
            nofile: 16_384,
            core: Bytes(0),
        }
    }
}

/// What happens where the host cannot enforce a limit that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enforce {
    /// The tenant is refused.
    Strict,
    /// The tenant runs without it, and that is reported.
    BestEffort,
}

/// A named set of system calls, with what else of the cell they need, that a class can open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CallSet {
    /// Looking into one's own processes: gdb, strace.
    Debug,
    /// File systems served by a program. Only with [`CallSet::Nesting`].
    Fuse,
    /// io_uring(7).
    IoUring,
    /// User namespaces below the cell's, and mounts in them.
    Nesting,
    /// ICMP echo.
    Ping,
}

impl CallSet {
    /// Every set.
    pub const ALL: [Self; 5] = [Self::Debug, Self::Fuse, Self::IoUring, Self::Nesting, Self::Ping];
}

/// Kinds of request that a class can switch off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Allow {
    /// A login shell.
    Shell,
    /// A command.
    Exec,
    /// The subsystem `sftp`, by our own server.
    Sftp,
    /// A terminal.
    Pty,
    /// Environment variables, by `accept_env`.
    Env,
    /// Signals.
    Signal,
    /// Connections out of the cell's network, to ports and to sockets: `ssh -L`, `-D`, `-W`, `-J`.
    LocalForward,
    /// Listening in the cell, on ports and on sockets: `ssh -R`.
    RemoteForward,
    /// The client's agent, as a socket in the cell: `ssh -A`.
    Agent,
    /// The client's display: `ssh -X`.
    X11,
}

impl Allow {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Shell,
        Self::Exec,
        Self::Sftp,
        Self::Pty,
        Self::Env,
        Self::Signal,
        Self::LocalForward,
        Self::RemoteForward,
        Self::Agent,
        Self::X11,
    ];
}
