//! What will be done to make a cell, as a value: an ordered list of operations.
//!
//! `cellblock check --plan NAME` prints it; [`super::start`] and [`super::apply`] carry it out.
//! Two processes work on it: the child that becomes the cell's pid 1, and the monitor that wants the
//! cell. What comes before it is known whose the cell will be ([`Plan::clone`], [`Plan::ahead`]) is
//! the same for almost all tenants, and is done ahead of time where the plan takes a spare
//! ([`super::stock`]). Then both work at once, and the child waits for the monitor: at
//! [`Inside::AwaitMonitor`] for its ids, at [`Inside::AwaitGroups`] for its control groups.

mod text;

use std::{collections::BTreeSet, path::PathBuf};

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
    pub before: Vec<Before>,
    /// To make the child: by the listener if the plan takes a spare, else by the monitor.
    pub clone: Vec<Cloning>,
    /// By the child, before it is told whose it will be.
    pub ahead: Vec<Inside>,
    /// By the monitor, after it has told the child.
    pub outside: Vec<Outside>,
    /// By the child, meanwhile and after.
    pub inside: Vec<Inside>,
    /// Whether a child that the listener made ahead of time will do.
    pub takes_spare: bool,
}

/// Whose the user namespace will be that `clone` makes.
pub(super) fn owner_in(clone: &[Cloning]) -> Option<u32> {
    clone.iter().find_map(|op| if let Cloning::Clone { owner, .. } = op { Some(*owner) } else { None })
}

/// How many processes it lets the cell have by itself.
pub(super) fn most_in(clone: &[Cloning]) -> Option<u32> {
    clone.iter().find_map(|op| if let Cloning::BoundProcesses { most } = op { Some(*most) } else { None })
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

/// One step of the monitor, before there is a child. Paths are the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
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
}

/// One step of making the child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cloning {
    /// Clone the child into new namespaces (of clone(2)), on a v2 host into this control group.
    Clone {
        /// Into a v2 group.
        group: Option<PathBuf>,
        /// Whose the user namespace is, on the host: what the kernel counts per user (inotify
        /// instances, queued signals, message queues) it counts for the owner too, and the owner's
        /// are not to be used up by a tenant (docs/kernel.md).
        owner: u32,
    },
    /// Let the namespace hold no more processes than this, in place of what a group would count
    /// (`RLIMIT_NPROC` at the clone, user_namespaces(7)).
    BoundProcesses {
        /// init among them.
        most: u32,
    },
    /// Make the child killable again where the monitor is not (docs/kernel.md, E).
    ResetOomScore,
    /// Give the child the ordinary priorities, which only the monitor may raise.
    ResetPriority,
}

/// One step of the monitor for its child. Paths are the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outside {
    /// Make a control group.
    MakeGroup {
        /// Its directory.
        path: PathBuf,
        /// Which leaf.
        leaf: Leaf,
    },
    /// Write into a file of a control group: a limit, or which controllers are on.
    SetGroup {
        /// The file.
        file: PathBuf,
        /// What.
        value: String,
    },
    /// Write the id maps.
    MapIds(IdRange),
    /// Map one id to our own, 0, and the others below and above it to 1 and following.
    MapAround {
        /// What ours is in the cell.
        id: u32,
        /// How many others there are.
        others: u32,
    },
    /// Map one id, and no other, to our own.
    MapOne {
        /// What it is in the cell.
        id: u32,
    },
    /// Shift the owners of a tree by the id map.
    Shift {
        /// Which.
        tree: Tree,
    },
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
}

/// One step of the child. Paths lie in the cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Inside {
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
    /// Become the one uid and gid that there are in the cell. What the caller has of other groups stays.
    BecomeOnly {
        /// Which.
        id: u32,
    },
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
    /// Mount a new file system; where, as for [`Inside::Attach`].
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
