//! What is known of the host: plain values, so that every judgement can be tried on made-up ones.
//! A thing that is missing, or could not be looked at, is a value with a name.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use crate::base::TenantName;
use crate::config::settings::IdPool;
use crate::jail::IdRange;
use crate::sshd::Looked;

/// Something that was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen<T> {
    /// It is there.
    Is(T),
    /// This kernel, or this host, has no such thing.
    Absent,
    /// It could not be looked at; why.
    Unseen(String),
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The kernel.
    pub kernel: Kernel,
    /// Control groups.
    pub groups: Groups,
    /// The config, and what it names.
    pub config: Config,
}

/// The kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Its release.
    pub release: String,
    /// Settings by name.
    pub sysctls: BTreeMap<&'static str, Seen<String>>,
    /// Namespaces that could not be made, of all that a cell needs, with the reason.
    pub missing_namespaces: Seen<Vec<(&'static str, String)>>,
    /// What a syscall filter can do.
    pub seccomp: Seen<Vec<String>>,
    /// Landlock.
    pub landlock: Landlock,
}

/// How much of Landlock there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Landlock {
    /// This version of its interface.
    Version(u32),
    /// Not built into the kernel.
    NotBuilt,
    /// Built in, and not switched on at boot.
    SwitchedOff,
    /// Asking failed.
    Unseen(String),
}

/// Control groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// Which hierarchies are mounted.
    pub mode: Mode,
    /// Controllers that limits can be set in.
    pub controllers: Vec<String>,
    /// Whether the hierarchy can be written to.
    pub writable: bool,
    /// Who manages the part that ours lie in.
    pub delegation: Delegation,
}

/// Which versions of control groups there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Version 2 alone.
    V2,
    /// Version 1 alone.
    V1,
    /// Version 1 with the controllers, and version 2 without.
    Hybrid,
    /// None is mounted.
    None,
}

/// Whether systemd leaves us a part of the hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delegation {
    /// systemd does not run here.
    NoSystemd,
    /// It knows no `cellblock.service`.
    NoUnit,
    /// The unit says neither `Delegate=`, nor is it started in a leaf.
    Undelegated,
    /// `Delegate=`, but no `DelegateSubgroup=` (systemd before 254).
    WithoutLeaf,
    /// Both.
    Delegated,
    /// Asking failed.
    Unseen(String),
}

/// The config, and what it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Config {
    /// There is none: the host alone is looked at.
    Missing(PathBuf),
    /// `[server]` cannot be read.
    Unusable {
        /// The file.
        path: PathBuf,
        /// How many errors.
        errors: usize,
        /// The first thing to do, where a file is not trusted.
        remedy: Option<String>,
    },
    /// It could not be looked at; the file, and why.
    Unseen(PathBuf, String),
    /// What it names was looked at.
    Read(Box<Named>),
}

/// What a config names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The file.
    pub path: PathBuf,
    /// Errors in the rest of it; then there are no tenants here.
    pub errors: usize,
    /// Its tenants.
    pub tenants: Tenants,
    /// Most connections at once.
    pub max_connections: u32,
    /// Where cellblock listens.
    pub listen: Vec<SocketAddr>,
    /// Mounts that tenants' files lie on.
    pub mounts: Vec<Mount>,
    /// Roots on further mounts, which were not tried.
    pub untried: usize,
    /// Directories of ours.
    pub directories: Vec<(&'static str, PathBuf, Trust)>,
    /// Host keys.
    pub host_keys: Vec<(PathBuf, Trust)>,
    /// PAM.
    pub pam: Pam,
    /// Ids.
    pub ids: Ids,
    /// The other SSH server.
    pub sshd: Sshd,
    /// What it does for tenants outside of cells.
    pub leaks: Seen<Looked>,
    /// What the host would run for tenants at a time of theirs.
    pub jobs: Seen<Jobs>,
}

/// The tenants of a config.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tenants {
    /// How many.
    pub count: usize,
    /// Some that share the host's network.
    pub on_host_network: Vec<TenantName>,
    /// Some whose names accounts of the host have, too.
    pub named_like_accounts: Vec<TenantName>,
}

/// What logins need of PAM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pam {
    /// Some tenants whose logins go through it.
    pub tenants: Vec<TenantName>,
    /// The program that asks it, if it is installed.
    pub program: Option<PathBuf>,
    /// Services that are named and not there.
    pub missing: Vec<String>,
}

/// A mount that tenants' files lie on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// One directory on it.
    pub path: PathBuf,
    /// Kind of file system.
    pub kind: String,
    /// What lies there.
    pub holds: Holds,
    /// Whether owners can be shifted.
    pub shifts: Seen<bool>,
}

/// What lies on a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// `state_dir`: homes of all tenants on the host's root.
    Homes,
    /// Roots of so many tenants.
    Roots(usize),
}

/// Whether root can rely on a file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Root's alone.
    Private,
    /// Not there.
    Missing,
    /// Others than root get in or can read it; the mode.
    Open(u32),
    /// Others than root can change it; what is wrong, and the command that mends it.
    Changeable(String, Option<String>),
    /// It could not be looked at.
    Unseen(String),
}

/// Ids of tenants and of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    /// Where tenants' come from.
    pub pool: IdPool,
    /// What tenants have.
    pub ranges: Seen<Vec<(TenantName, IdRange)>>,
    /// What users of the host may map.
    pub subordinate: Seen<Vec<Subordinate>>,
    /// Ids of the host's accounts.
    pub accounts: Vec<u32>,
}

/// A line of `/etc/subuid` or `/etc/subgid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subordinate {
    /// Which file.
    pub file: &'static str,
    /// Whose, escaped.
    pub owner: String,
    /// First id.
    pub first: u64,
    /// Id after the last.
    pub end: u64,
}

/// The other SSH server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sshd {
    /// None is installed, or it has no config.
    Absent,
    /// Where it listens, as it says itself.
    Listens(Vec<SocketAddr>),
    /// Asking failed.
    Unseen(String),
}

/// Jobs of accounts that are tenants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jobs {
    /// How many accounts there are.
    pub accounts: usize,
    /// What is installed to run jobs.
    pub runners: Vec<Runner>,
}

/// A program of the host's that runs jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runner {
    /// Its name.
    pub name: &'static str,
    /// The file that lists whose it takes.
    pub allow: &'static str,
    /// Accounts that are tenants whose it takes, escaped.
    pub takes: Vec<String>,
    /// Those of whom it has jobs already, escaped: it asks no list before it runs them.
    pub has: Vec<String>,
    /// Who else is listed, if there is a list.
    pub others: Option<Vec<String>>,
}
