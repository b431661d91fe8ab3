//! A plan in words, as `cellblock check --plan NAME` prints it.

use std::fmt;

use super::{Before, Cloning, Fill, Inside, Leaf, Outside, Plan};

impl fmt::Display for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep { path, uid, mode, fill } => {
                write!(f, "keep {} for uid {uid}, mode {mode:04o}, {fill}", path.display())
            }
            Self::MakeGroup { path, leaf: Leaf::Init } => write!(f, "make group {} for init", path.display()),
            Self::MakeGroup { path, leaf: Leaf::Sessions } => {
                write!(f, "make group {} for sessions", path.display())
            }
            Self::GiveGroup { path, uid } => write!(f, "let uid {uid} start processes in {}", path.display()),
            Self::Take { tree, source } => write!(f, "take tree {tree}: {}, nodev", source.display()),
        }
    }
}

impl fmt::Display for Cloning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
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
            Self::BoundProcesses { most } => write!(f, "no more than {most} processes"),
            Self::ResetOomScore => f.write_str("set oom_score_adj 0"),
            Self::ResetPriority => f.write_str("set nice 0, the ordinary scheduler and io class"),
        }
    }
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeGroup { path, leaf: Leaf::Init } => write!(f, "make group {} for init", path.display()),
            Self::MakeGroup { path, leaf: Leaf::Sessions } => {
                write!(f, "make group {} for sessions", path.display())
            }
            Self::SetGroup { file, value } => write!(f, "write {value} to {}", file.display()),
            Self::MapIds(range) => write!(f, "map ids 0-{} to {range}", range.count.saturating_sub(1)),
            Self::MapAround { id, others } => write!(f, "map id {id} to our own, and {others} others around it"),
            Self::MapOne { id } => write!(f, "map id {id} to our own, and no other"),
            Self::Shift { tree } => write!(f, "shift the owners of tree {tree} by the id map"),
            Self::Release => f.write_str("release the child"),
            Self::WriteDown => f.write_str("write down the cell"),
            Self::LendGroup { tree, path, v2: _ } => {
                write!(f, "take tree {tree}: {}, read-only; hand it and its task lists to the child", path.display())
            }
            Self::WatchMemory { path } => write!(f, "watch {} for want of memory", path.display()),
            Self::MoveIn { path } => write!(f, "move the child into {}", path.display()),
        }
    }
}

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
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
            Self::LeaveGroups => f.write_str("unshare: cgroup namespace"),
            Self::BecomeRoot => f.write_str("become uid 0, gid 0, no groups"),
            Self::BecomeOnly { id } => write!(f, "become uid {id}, gid {id}; there is no other"),
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
        // A spare is there before the monitor begins.
        if !self.takes_spare {
            each(f, "monitor", &self.before)?;
        }
        for op in &self.clone {
            // It is made before it is known for whom.
            if self.takes_spare && matches!(op, Cloning::Clone { .. }) {
                writeln!(
                    f,
                    "{maker}: clone, as a uid that no other cell has: user, mount and pid namespaces; exec cellblock-init"
                )?;
            } else {
                writeln!(f, "{maker}: {op}")?;
            }
        }
        each(f, child, &self.ahead)?;
        if self.takes_spare {
            each(f, "monitor", &self.before)?;
        }
        each(f, "monitor", &self.outside)?;
        each(f, child, &self.inside)
    }
}

fn each(f: &mut fmt::Formatter<'_>, who: &str, ops: &[impl fmt::Display]) -> fmt::Result {
    ops.iter().try_for_each(|op| writeln!(f, "{who}: {op}"))
}
