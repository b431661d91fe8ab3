//! What will be done to make a cell, as a value: an ordered list of operations.
//!
//! `cellblock check --plan NAME` prints it; [`super::start`] and [`super::apply`] carry it out.
//! Two processes work on it: the child that becomes the cell's pid 1, and the monitor that wants the
//! cell. What comes before it is known whose the cell will be ([`Plan::clone`], [`Plan::ahead`]) is
//! the same for almost all tenants, and is done ahead of time where the plan takes a spare
//! ([`super::stock`]). Then both work at once, and the child waits for the monitor: at
//! [`Op::AwaitMonitor`] for its ids, at [`Op::AwaitGroups`] for its control groups.

use std::{collections::BTreeSet, fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

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
    /// By the monitor, before there is a child.
    pub before: Vec<Op>,
    /// To make the child: by the listener if the plan takes a spare, else by the monitor.
    pub clone: Vec<Op>,
    /// By the child, before it is told whose it will be.
    pub ahead: Vec<Op>,
    /// By the monitor, after it has told the child.
    pub outside: Vec<Op>,
    /// By the child, meanwhile and after.
    pub inside: Vec<Op>,
    /// Whether a child that the listener made ahead of time will do.
    pub takes_spare: bool,
}

/// Whose the user namespace will be that `clone` makes.
pub(super) fn owner_in(clone: &[Op]) -> Option<u32> {
    clone.iter().find_map(|op| if let Op::Clone { owner, .. } = op { Some(*owner) } else { None })
}

/// What to put into a kept directory when it is first made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fill {
    /// Nothing.
    Empty,
    /// Copies of the files in the host's `/etc/skel`.
    Skeleton,
    /// The directories that programs expect in `/var`.
    Var,
}

/// Which of a tenant's two control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leaf {
    /// init's own, without limits: it can still fork when the tenant cannot.
    Init,
    /// All sessions'.
    Sessions,
}

/// What a masked path in `/proc` or `/sys` is covered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mask {
    /// `/dev/null`.
    File,
    /// An empty directory.
    Directory,
}

/// One step. Paths with a leading slash are the host's; those without lie in the cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Let the child go on with its ids.
    Release,
    /// Write down which process is the cell's pid 1.
    WriteDown,
    /// Move the child, which was cloned into the group above, into init's v2 group: one whose
    /// controllers are on holds no process.
    MoveIn {
        /// Its directory.
        path: PathBuf,
    },
    /// Have the kernel tell init when this v1 group runs out of memory.
    WatchMemory {
        /// Its directory.
        path: PathBuf,
    },
    /// Take the tenant's group of a hierarchy, for `/sys/fs/cgroup`, and hand it to the child with
    /// the files to join it by: the kernel asks who opened them.
    LendGroup {
        /// The tree's number.
        tree: Tree,
        /// The group's directory.
        path: PathBuf,
        /// Whether in a v2 hierarchy.
        v2: bool,
    },

    /// Take a part of the host view, still owned by the host's root and locked.
    TakeHost {
        /// The tree's number.
        tree: Tree,
        /// Its name in the view.
        name: PathBuf,
    },
    /// Make the namespaces that need not exist for the clone.
    Leave {
        /// With a network of its own.
        network: bool,
    },
    /// Set the host name.
    HostName(String),
    /// Bring `lo` up.
    LoopbackUp,
    /// Wait until the monitor has mapped the ids.
    AwaitMonitor,
    /// Wait for the tenant's groups.
    AwaitGroups {
        /// In how many hierarchies.
        count: usize,
    },
    /// Move into init's groups.
    JoinGroups,
    /// Wait for what tells of want of memory.
    AwaitMemory,
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
    /// Attach a tree; the mount point is made if it is missing. Before there is a root, on the stage:
    /// directories of the host view, seen by this child alone.
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
    /// Mount a new file system; where, as for [`Op::Attach`].
    Mount {
        /// Its type.
        kind: String,
        /// Where.
        at: PathBuf,
        /// Its options.
        options: Vec<(String, String)>,
        /// Whether programs run from it.
        exec: bool,
        /// Read-only.
        read_only: bool,
    },
    /// Move what was mounted on the stage, with all that was mounted in it, into the root.
    Settle {
        /// Where.
        at: PathBuf,
    },
    /// Bound what the cell's user namespace may have in all (`/proc/sys/user`).
    Bound {
        /// The file there.
        name: String,
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
    /// Cut the bounding set, and what init itself has, to this list.
    KeepBoundingSet(u64),
    /// Listen on init's socket and begin to take orders.
    BecomeInit,
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
                write!(f, "clone, as uid {owner}: user, mount and pid namespaces; exec cellblock-init")
            }
            Self::Clone { group: Some(group), owner } => {
                let group = group.display();
                write!(
                    f,
                    "clone, as uid {owner}: user, mount, pid and cgroup namespaces, into {group}; exec cellblock-init"
                )
            }
            Self::MapIds(range) => write!(f, "map ids 0-{} to {range}", range.count.saturating_sub(1)),
            Self::Shift { tree } => write!(f, "shift the owners of tree {tree} by the id map"),
            Self::ResetOomScore => f.write_str("set oom_score_adj 0"),
            Self::ResetPriority => f.write_str("set nice 0, the ordinary scheduler and io class"),
            Self::Release => f.write_str("release the child"),
            Self::WriteDown => f.write_str("write down the cell"),
            Self::LendGroup { tree, path, v2: _ } => {
                write!(f, "take tree {tree}: {}, read-only; hand it and its task lists to the child", path.display())
            }
            Self::TakeHost { tree, name } => {
                write!(f, "take tree {tree}: /{} of the host, read-only, locked", name.display())
            }
            Self::Leave { network } => {
                write!(f, "unshare: ipc, uts{} namespaces", if *network { ", net" } else { "" })
            }
            Self::HostName(name) => write!(f, "set host name {name}"),
            Self::LoopbackUp => f.write_str("bring lo up"),
            Self::AwaitMonitor => f.write_str("wait for the ids"),
            Self::AwaitGroups { count } => write!(f, "wait for the groups of {count} hierarchies"),
            Self::AwaitMemory => f.write_str("wait for what tells of want of memory"),
            Self::JoinGroups => f.write_str("join init's groups"),
            Self::WatchMemory { path } => write!(f, "watch {} for want of memory", path.display()),
            Self::MoveIn { path } => write!(f, "move the child into {}", path.display()),
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
            Self::Settle { at } => write!(f, "move /{} from the stage into the root", at.display()),
            Self::Bound { name, most } => write!(f, "set user.{name} {most}"),
            Self::Board { at, limits } => {
                write!(f, "make /{}, read-only, limits in {} bytes", at.display(), limits.len())
            }
            Self::PingGroups { last } => write!(f, "set net.ipv4.ping_group_range 0-{last}"),
            Self::ReadOnly { path } => write!(f, "make /{} read-only", path.display()),
            Self::Cover { path, with: _, empty: _ } => write!(f, "cover /{}", path.display()),
            Self::Pivot => f.write_str("pivot to the new root, detach the old"),
            Self::ResetTraits => f.write_str("new session, new keyring, reset affinity and personality"),
            Self::KeepToItself => f.write_str("keep signals and abstract unix sockets within the cell (Landlock)"),
            Self::LimitCalls(sets) => {
                f.write_str("limit system calls, those of sessions further")?;
                sets.iter().try_for_each(|set| write!(f, ", with {set:?}"))
            }
            Self::KeepForInit => f.write_str("keep CAP_SYS_ADMIN for init, to limit the calls of sessions"),
            Self::KeepBoundingSet(kept) => write!(f, "cut the bounding set and init's own capabilities to {kept:#x}"),
            Self::BecomeInit => f.write_str("listen, take orders"),
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
        let (maker, child) = if self.takes_spare { ("listener", "spare") } else { ("monitor", "child") };
        let made = [(maker, &self.clone), (child, &self.ahead)];
        let taken = [("monitor", &self.before)];
        let after = [("monitor", &self.outside), (child, &self.inside)];
        // A spare is there before the monitor begins.
        let (first, second) = if self.takes_spare { (&made[..], &taken[..]) } else { (&taken[..], &made[..]) };
        for (who, ops) in first.iter().chain(second).chain(&after) {
            for op in *ops {
                match op {
                    // It is made before it is known for whom.
                    Op::Clone { .. } if self.takes_spare => writeln!(
                        f,
                        "{who}: clone, as a uid that no other cell has: user, mount and pid namespaces; exec cellblock-init"
                    )?,
                    op => writeln!(f, "{who}: {op}")?,
                }
            }
        }
        Ok(())
    }
}
