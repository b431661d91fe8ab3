//! What will be done to make a cell, as a value: an ordered list of operations.
//!
//! `cellblock check --plan NAME` prints it; [`super::start`] and [`super::apply`] carry it out.
//! Two processes work on it at once: the monitor on [`Plan::outside`], the cloned child on
//! [`Plan::inside`], which waits for the monitor once, at [`Op::AwaitMonitor`].

use std::{collections::BTreeSet, fmt, path::PathBuf};

use crate::base::{Bytes, TenantName};
use crate::config::settings::CallSet;

use super::ids::IdRange;

/// A detached tree, by its place in the order in which trees are taken.
pub type Tree = usize;

/// Everything that is done to make a cell of this tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Whose.
    pub name: TenantName,
    /// By the monitor, before the clone.
    pub before: Vec<Op>,
    /// By the monitor, after it.
    pub outside: Vec<Op>,
    /// By the child, meanwhile and after.
    pub inside: Vec<Op>,
}

/// What to put into a kept directory when it is first made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// Nothing.
    Empty,
    /// Copies of the files in the host's `/etc/skel`.
    Skeleton,
    /// The directories that programs expect in `/var`.
    Var,
}

/// Which of a tenant's two control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaf {
    /// init's own, without limits: it can still fork when the tenant cannot.
    Init,
    /// All sessions'.
    Sessions,
}

/// What a masked path in `/proc` or `/sys` is covered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// `/dev/null`.
    File,
    /// An empty directory.
    Directory,
}

/// One step. Paths with a leading slash are the host's; those without lie in the cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Make a directory that outlives the cell, with owners as the cell sees them.
    Keep {
        /// Where, under the state directory.
        path: PathBuf,
        /// Owner inside.
        uid: u32,
        /// Mode.
        mode: u32,
        /// First contents.
        fill: Fill,
    },
    /// Make a control group.
    MakeGroup {
        /// Its directory.
        path: PathBuf,
        /// Which leaf.
        leaf: Leaf,
        /// Whether in a v2 hierarchy.
        v2: bool,
    },
    /// Write into a file of a control group: a limit, or which controllers are on.
    SetGroup {
        /// The file.
        file: PathBuf,
        /// What.
        value: String,
    },
    /// Let the cell's root start processes in a v2 group.
    GiveGroup {
        /// Its directory.
        path: PathBuf,
        /// The cell's root, on the host.
        uid: u32,
    },
    /// Take a detached copy of a directory tree, without device files.
    Take {
        /// The tree's number.
        tree: Tree,
        /// Which directory.
        source: PathBuf,
    },
    /// Clone the child into new namespaces (of clone(2)), on a v2 host into this control group.
    Clone {
        /// Into a v2 group.
        group: Option<PathBuf>,
        /// Whose the user namespace is, on the host: what the kernel counts per user (inotify
        /// instances, queued signals, message queues) it counts for the owner too, and the owner's
        /// are not to be used up by a tenant (docs/kernel.md).
        owner: u32,
    },
    /// Write the id maps.
    MapIds(IdRange),
    /// Shift the owners of a tree by the id map.
    Shift {
        /// Which.
        tree: Tree,
    },
    /// Make the child killable again where the monitor is not (docs/kernel.md, E).
    ResetOomScore,
    /// Give the child the ordinary priorities, which only the monitor may raise.
    ResetPriority,
    /// Write down the cell and let the child go on.
    Release,

    /// Take a part of the host view, still owned by the host's root and locked.
    TakeHost {
        /// The tree's number.
        tree: Tree,
        /// Its name in the view.
        name: PathBuf,
    },
    /// Take the tenant's group of a hierarchy, for `/sys/fs/cgroup`.
    TakeGroup {
        /// The tree's number.
        tree: Tree,
        /// The group's directory.
        path: PathBuf,
    },
    /// Make the namespaces that need not exist for the monitor's part. The network is what takes
    /// the child longest, so it comes while the monitor works.
    Leave {
        /// With a network of its own.
        network: bool,
    },
    /// Set the host name.
    HostName(String),
    /// Bring `lo` up.
    LoopbackUp,
    /// Wait for the monitor's part.
    AwaitMonitor,
    /// Move into init's v2 group, by descriptors that the monitor opened: the kernel asks who did.
    JoinGroups {
        /// How many.
        count: usize,
    },
    /// Move into a v1 group.
    JoinGroup {
        /// Its directory.
        path: PathBuf,
    },
    /// Open a v1 group that init will move sessions into.
    OpenGroup {
        /// Its directory.
        path: PathBuf,
    },
    /// Have the kernel tell init when this v1 group runs out of memory.
    WatchMemory {
        /// Its directory.
        path: PathBuf,
    },
    /// Make the cgroup namespace; on v1, after the move (docs/kernel.md, C).
    LeaveGroups,
    /// Become uid 0 and gid 0 of the cell, without groups.
    BecomeRoot,
    /// Put a tree over the root.
    RootFromTree {
        /// Which.
        tree: Tree,
        /// Whether the tree can be written to: then missing mount points are made.
        writable: bool,
    },
    /// Put an empty tmpfs over the root.
    RootFromNothing {
        /// Its size.
        size: Bytes,
    },
    /// Make a directory.
    Directory {
        /// Where.
        path: PathBuf,
        /// Mode.
        mode: u32,
    },
    /// Make a symbolic link.
    Symlink {
        /// Where.
        path: PathBuf,
        /// What it says.
        target: String,
    },
    /// Write a file.
    File {
        /// Where.
        path: PathBuf,
        /// What.
        contents: String,
    },
    /// Attach a tree; the mount point is made if it is missing.
    Attach {
        /// Which.
        tree: Tree,
        /// Where.
        at: PathBuf,
        /// Onto a file instead of a directory.
        file: bool,
        /// Read-only.
        read_only: bool,
    },
    /// Mount a new file system.
    Mount {
        /// Its type.
        kind: &'static str,
        /// Where.
        at: PathBuf,
        /// Its options.
        options: Vec<(&'static str, String)>,
        /// Whether programs run from it.
        exec: bool,
        /// Read-only.
        read_only: bool,
    },
    /// Bound what the cell's user namespace may have in all (`/proc/sys/user`).
    Bound {
        /// The file there.
        name: &'static str,
        /// How much.
        most: u32,
    },
    /// Make the directory in which the tenant reads what the limits are and what is used.
    Board {
        /// Where.
        at: PathBuf,
        /// What the limits are.
        limits: String,
    },
    /// Let groups 0 to `last` send ICMP echo requests (icmp(7)).
    PingGroups {
        /// The last.
        last: u32,
    },
    /// Make a part of `/proc` read-only.
    ReadOnly {
        /// Which.
        path: PathBuf,
    },
    /// Make what is mounted there read-only, with all that it was to hold in place.
    Lock {
        /// Where.
        path: PathBuf,
    },
    /// Cover a part of `/proc` or `/sys`, where the kernel has it.
    Cover {
        /// Which.
        path: PathBuf,
        /// With what.
        with: Mask,
        /// The tree of an empty directory.
        empty: Tree,
    },
    /// Make the new root the root, and let go of the old.
    Pivot,
    /// A new session keyring, a new session, every processor, the plain personality.
    ResetTraits,
    /// Keep signals and abstract unix sockets within the cell, by Landlock.
    KeepToItself,
    /// Install init's list of system calls, and hold the tenant's ready, widened by these sets.
    LimitCalls(BTreeSet<CallSet>),
    /// Let init keep CAP_SYS_ADMIN, which no exec of a session's can get: without no_new_privs, that
    /// is what it takes to install a session's list.
    KeepForInit,
    /// Cut the bounding set to this list, which is what exec leaves uid 0 with.
    KeepBoundingSet(u64),
    /// Listen on init's socket and become init.
    ExecInit,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep { path, uid, mode, fill } => {
                write!(f, "keep {} for uid {uid}, mode {mode:04o}, {fill}", path.display())
            }
            Self::MakeGroup { path, leaf: Leaf::Init, v2: _ } => write!(f, "make group {} for init", path.display()),
            Self::MakeGroup { path, leaf: Leaf::Sessions, v2: _ } => {
                write!(f, "make group {} for sessions", path.display())
            }
            Self::SetGroup { file, value } => write!(f, "write {value} to {}", file.display()),
            Self::GiveGroup { path, uid } => write!(f, "let uid {uid} start processes in {}", path.display()),
            Self::Take { tree, source } => write!(f, "take tree {tree}: {}, nodev", source.display()),
            Self::Clone { group: None, owner } => {
                write!(f, "clone, as uid {owner}: user, mount and pid namespaces")
            }
            Self::Clone { group: Some(group), owner } => {
                write!(f, "clone, as uid {owner}: user, mount, pid and cgroup namespaces, into {}", group.display())
            }
            Self::MapIds(range) => write!(f, "map ids 0-{} to {range}", range.count.saturating_sub(1)),
            Self::Shift { tree } => write!(f, "shift the owners of tree {tree} by the id map"),
            Self::ResetOomScore => f.write_str("set oom_score_adj 0"),
            Self::ResetPriority => f.write_str("set nice 0, the ordinary scheduler and io class"),
            Self::Release => f.write_str("write down the cell, release the child"),
            Self::TakeHost { tree, name } => {
                write!(f, "take tree {tree}: /{} of the host, read-only, locked", name.display())
            }
            Self::TakeGroup { tree, path } => write!(f, "take tree {tree}: {}", path.display()),
            Self::Leave { network } => {
                write!(f, "unshare: ipc, uts{} namespaces", if *network { ", net" } else { "" })
            }
            Self::HostName(name) => write!(f, "set host name {name}"),
            Self::LoopbackUp => f.write_str("bring lo up"),
            Self::AwaitMonitor => f.write_str("wait for the monitor"),
            Self::JoinGroups { count } => write!(f, "join {count} groups"),
            Self::JoinGroup { path } => write!(f, "join group {}", path.display()),
            Self::OpenGroup { path } => write!(f, "open group {}", path.display()),
            Self::WatchMemory { path } => write!(f, "watch {} for want of memory", path.display()),
            Self::LeaveGroups => f.write_str("unshare: cgroup namespace"),
            Self::BecomeRoot => f.write_str("become uid 0, gid 0, no groups"),
            Self::RootFromTree { tree, writable: true } => write!(f, "put tree {tree} over /"),
            Self::RootFromTree { tree, writable: false } => write!(f, "put tree {tree} over /, read-only"),
            Self::RootFromNothing { size } => write!(f, "put a tmpfs of {size} over /"),
            Self::Directory { path, mode } => write!(f, "make directory /{}, mode {mode:04o}", path.display()),
            Self::Symlink { path, target } => write!(f, "link /{} to {target}", path.display()),
            Self::File { path, contents } => write!(f, "write /{}, {} bytes", path.display(), contents.len()),
            Self::Attach { tree, at, file: _, read_only } => {
                write!(f, "attach tree {tree} at /{}{}", at.display(), if *read_only { ", read-only" } else { "" })
            }
            Self::Mount { kind, at, options, exec, read_only } => {
                write!(f, "mount {kind} at /{}: nosuid, nodev", at.display())?;
                f.write_str(if *exec { "" } else { ", noexec" })?;
                f.write_str(if *read_only { ", read-only" } else { "" })?;
                options.iter().try_for_each(|(key, value)| write!(f, ", {key}={value}"))
            }
            Self::Bound { name, most } => write!(f, "set user.{name} {most}"),
            Self::Board { at, limits } => {
                write!(f, "make /{}, read-only, limits in {} bytes", at.display(), limits.len())
            }
            Self::PingGroups { last } => write!(f, "set net.ipv4.ping_group_range 0-{last}"),
            Self::ReadOnly { path } => write!(f, "make /{} read-only", path.display()),
            Self::Lock { path } => write!(f, "make the mount at /{} read-only", path.display()),
            Self::Cover { path, with: _, empty: _ } => write!(f, "cover /{}", path.display()),
            Self::Pivot => f.write_str("pivot to the new root, detach the old"),
            Self::ResetTraits => f.write_str("new session, new keyring, reset affinity and personality"),
            Self::KeepToItself => f.write_str("keep signals and abstract unix sockets within the cell (Landlock)"),
            Self::LimitCalls(sets) => {
                f.write_str("limit system calls, those of sessions further")?;
                sets.iter().try_for_each(|set| write!(f, ", with {set:?}"))
            }
            Self::KeepForInit => f.write_str("keep CAP_SYS_ADMIN for init, to limit the calls of sessions"),
            Self::KeepBoundingSet(kept) => write!(f, "cut the bounding set to {kept:#x}"),
            Self::ExecInit => f.write_str("listen, become cellblock-init"),
        }
    }
}

impl fmt::Display for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "empty",
            Self::Skeleton => "filled from /etc/skel",
            Self::Var => "filled as /var",
        })
    }
}

impl fmt::Display for Plan {
    /// One operation per line, with who carries it out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (who, ops) in [("monitor", &self.before), ("monitor", &self.outside), ("child", &self.inside)] {
            for op in ops {
                writeln!(f, "{who}: {op}")?;
            }
        }
        Ok(())
    }
}
