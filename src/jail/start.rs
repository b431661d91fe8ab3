//! The monitor's part of starting a cell: what comes before the clone, the id maps after it, and
//! waiting until the child has become init.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
};

use crate::base::{Failure, Result, fail};
use crate::sys::{
    Errno, credentials,
    mount::{self, Extent, Kind, attributes},
    process::{self, Forked, Pid, namespaces},
    seqpacket,
    signal::SIGKILL,
};
use crate::wire::{Link, init::Order, init::Report};

use super::{
    IdRange, Plan,
    apply::Child,
    cgroups,
    filters::Filters,
    keep,
    plan::{Leaf, Op, Tree},
    state::{Held, Record},
};

/// Longest failure that the child reports; the rest is cut.
const MAX_FAILURE: usize = 4096;

/// A cell that was just started.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) link: Link<Order, Report>,
    pub(super) pidfd: OwnedFd,
    pub(super) pid: Pid,
}

/// What every start needs besides its plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tools<'a> {
    /// Where the host view is.
    pub(super) view: &'a Path,
    /// The program of init.
    pub(super) init: BorrowedFd<'a>,
    /// The lists of system calls.
    pub(super) filters: &'a Filters,
}

/// What the monitor made before the clone.
#[derive(Debug, Default)]
struct Prepared {
    trees: BTreeMap<Tree, OwnedFd>,
    /// v2: the group to clone into, that of init and that of the sessions.
    group: Option<File>,
    own_groups: Vec<File>,
    session_groups: Vec<File>,
    /// Whose the cell's user namespace is.
    owner: Option<u32>,
}

/// Carries out `plan`, for whoever holds the right to.
pub(super) fn start(plan: &Plan, tools: Tools<'_>, held: &Held) -> Result<Started> {
    let failed = |errno: Errno| fail("starting the cell of", &plan.name, errno);
    held.clear()?;
    let mut prepared = Prepared::default();
    for op in &plan.before {
        prepared.step(op)?;
    }
    let listener = seqpacket::bind_path(&held.place().socket()).map_err(failed)?;
    let (link, inner_link) = seqpacket::pair().map_err(failed)?;
    let (report, inner_report) = seqpacket::pair().map_err(failed)?;

    let group = prepared.group.as_ref().map(File::as_fd);
    let mut kinds = namespaces::USER | namespaces::MOUNT | namespaces::PID;
    if group.is_some() {
        kinds |= namespaces::CGROUP;
    }
    credentials::act_as_owner(prepared.owner.ok_or_else(|| failed(Errno::EINVAL))?).map_err(failed)?;
    let cloned = process::clone_into(kinds, group);
    let (pid, pidfd) = match cloned {
        Err(errno) => {
            credentials::be_root_again().map_err(failed)?;
            return Err(failed(errno));
        }
        Ok(Forked::Parent { pid, pidfd }) => {
            credentials::be_root_again().map_err(failed)?;
            (pid, pidfd)
        }
        Ok(Forked::Child) => {
            // Its copies of the monitor's ends would keep it from seeing that the monitor is gone.
            drop((link, report));
            Child {
                plan,
                trees: prepared.trees,
                view: tools.view,
                report: inner_report,
                listener,
                link: inner_link,
                init: tools.init,
                filters: tools.filters,
                calls: None,
                v2: prepared.group.is_some(),
                own_groups: prepared.own_groups,
                session_groups: prepared.session_groups,
                root: None,
                mounted: Vec::new(),
                memory_event: None,
                board: None,
                empty_at: None,
            }
            .run()
        }
    };
    drop((listener, inner_link, inner_report));
    let finished = plan
        .outside
        .iter()
        .try_for_each(|op| outside(op, pid, &prepared.trees, held, report.as_fd()))
        .and_then(|()| await_init(plan, report.as_fd()));
    if let Err(failure) = finished {
        // The child has ended or waits for a word that will not come: either way it goes now.
        process::signal_pidfd(pidfd.as_fd(), SIGKILL).map_err(failed)?;
        process::wait_for(pidfd.as_fd()).map_err(failed)?;
        return Err(failure);
    }
    Ok(Started { link: Link::new(link), pidfd, pid })
}

impl Prepared {
    fn step(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::Keep { path, uid, mode, fill } => keep::keep(path, *uid, *mode, *fill),
            Op::MakeGroup { path, leaf, v2: _ } => self.make_group(path, *leaf),
            Op::GiveGroup { path, uid } => cgroups::give(path, *uid),
            Op::SetGroup { file, value } => cgroups::set(file, value),
            Op::Take { tree, source } => {
                self.trees.insert(*tree, take(source)?);
                Ok(())
            }
            // The last of these operations; start() does it, which becomes two processes by it.
            Op::Clone { group: _, owner } => {
                self.owner = Some(*owner);
                Ok(())
            }
            other @ (Op::MapIds(_)
            | Op::Shift { .. }
            | Op::ResetOomScore
            | Op::ResetPriority
            | Op::Release
            | Op::TakeHost { .. }
            | Op::TakeGroup { .. }
            | Op::JoinGroups { .. }
            | Op::JoinGroup { .. }
            | Op::OpenGroup { .. }
            | Op::LeaveGroups
            | Op::Leave { .. }
            | Op::HostName(_)
            | Op::LoopbackUp
            | Op::AwaitMonitor
            | Op::BecomeRoot
            | Op::RootFromTree { .. }
            | Op::RootFromNothing { .. }
            | Op::Directory { .. }
            | Op::Symlink { .. }
            | Op::File { .. }
            | Op::Attach { .. }
            | Op::Mount { .. }
            | Op::Bound { .. }
            | Op::Board { .. }
            | Op::WatchMemory { .. }
            | Op::PingGroups { .. }
            | Op::ReadOnly { .. }
            | Op::Lock { .. }
            | Op::Cover { .. }
            | Op::Pivot
            | Op::ResetTraits
            | Op::KeepToItself
            | Op::LimitCalls(_)
            | Op::KeepForInit
            | Op::KeepBoundingSet(_)
            | Op::ExecInit) => Err(misplaced(other)),
        }
    }

    /// A group that must be there before the clone: v2's.
    fn make_group(&mut self, path: &Path, leaf: Leaf) -> Result<()> {
        if leaf == Leaf::Init {
            // What a start that was killed half-way has left holds no process any more, and a group
            // whose controllers are on takes none.
            cgroups::remove_own(path.parent().unwrap_or(path))?;
        }
        cgroups::make(path)?;
        match leaf {
            Leaf::Init => {
                self.group = Some(cgroups::open_directory(path.parent().unwrap_or(path))?);
                self.own_groups.push(cgroups::open_procs(path)?);
            }
            Leaf::Sessions => self.session_groups.push(cgroups::open_directory(path)?),
        }
        Ok(())
    }
}

fn misplaced(op: &Op) -> Failure {
    fail("carrying out", op, "it is planned for another process")
}

/// Takes a tenant's tree: found without following links, below a directory that only root enters,
/// since a setuid-root file on disk is just that (docs/kernel.md, 15).
fn take(source: &Path) -> Result<OwnedFd> {
    let failed = |errno: Errno| {
        let failure = fail("opening the root", source.display(), errno);
        match errno {
            Errno::ELOOP => failure.hint("name the directory without symbolic links"),
            _other => failure,
        }
    };
    check_private(source)?;
    let slash = File::open("/").map_err(|error| failed(error.into()))?;
    let below = source.strip_prefix("/").unwrap_or(source);
    let found = mount::locate(slash.as_fd(), below, Kind::Directory).map_err(failed)?;
    let tree = mount::clone_tree(found.as_fd(), Path::new(""), Extent::One).map_err(failed)?;
    // What the host mounts there later would come without these attributes and with unshifted owners.
    mount::make_private(tree.as_fd(), Extent::One).map_err(failed)?;
    mount::set_attributes(tree.as_fd(), attributes::NO_DEV, Extent::One).map_err(failed)?;
    Ok(tree)
}

fn check_private(source: &Path) -> Result<()> {
    let mut private = false;
    for parent in source.ancestors().skip(1) {
        let found = fs::symlink_metadata(parent).map_err(|error| fail("looking at", parent.display(), error))?;
        private |= found.uid() == 0 && found.mode() & 0o077 == 0;
    }
    if private {
        return Ok(());
    }
    let parent = source.parent().unwrap_or(source).display();
    Err(fail("opening the root", source.display(), "any user of the host could run its setuid programs")
        .hint(format_args!("chown root {parent} && chmod 700 {parent}")))
}

fn outside(op: &Op, pid: Pid, trees: &BTreeMap<Tree, OwnedFd>, held: &Held, report: BorrowedFd<'_>) -> Result<()> {
    let failed = |cause: &dyn std::fmt::Display| fail("making the cell", format_args!("({op})"), cause);
    match op {
        Op::MapIds(range) => map_ids(pid, *range),
        Op::MakeGroup { path, leaf: _, v2: _ } => cgroups::make(path),
        Op::SetGroup { file, value } => cgroups::set(file, value),
        Op::Shift { tree } => {
            let namespace = File::open(format!("/proc/{pid}/ns/user")).map_err(|error| failed(&error))?;
            let tree = trees.get(tree).ok_or_else(|| failed(&"no such tree"))?;
            mount::shift_owners(tree.as_fd(), namespace.as_fd()).map_err(|errno| {
                failed(&errno).hint("the file system of this directory must support idmapped mounts (ext4, xfs, btrfs; tmpfs from Linux 6.3)")
            })
        }
        Op::ResetOomScore => fs::write(format!("/proc/{pid}/oom_score_adj"), "0").map_err(|error| failed(&error)),
        Op::ResetPriority => credentials::reset_priority_of(pid).map_err(|errno| failed(&errno)),
        Op::Release => {
            held.write(Record::of(pid).map_err(|errno| failed(&errno))?)?;
            seqpacket::send(report, b"go", &[]).map_err(|errno| match errno {
                // Once it is written down, whoever ends cells may end this one.
                Errno::EPIPE => failed(&"its pid 1 was killed"),
                _other => failed(&errno),
            })
        }
        other @ (Op::Keep { .. }
        | Op::GiveGroup { .. }
        | Op::Take { .. }
        | Op::Clone { .. }
        | Op::TakeHost { .. }
        | Op::TakeGroup { .. }
        | Op::JoinGroups { .. }
        | Op::JoinGroup { .. }
        | Op::OpenGroup { .. }
        | Op::LeaveGroups
        | Op::Leave { .. }
        | Op::HostName(_)
        | Op::LoopbackUp
        | Op::AwaitMonitor
        | Op::BecomeRoot
        | Op::RootFromTree { .. }
        | Op::RootFromNothing { .. }
        | Op::Directory { .. }
        | Op::Symlink { .. }
        | Op::File { .. }
        | Op::Attach { .. }
        | Op::Mount { .. }
        | Op::Bound { .. }
        | Op::Board { .. }
        | Op::WatchMemory { .. }
        | Op::PingGroups { .. }
        | Op::ReadOnly { .. }
        | Op::Lock { .. }
        | Op::Cover { .. }
        | Op::Pivot
        | Op::ResetTraits
        | Op::KeepToItself
        | Op::LimitCalls(_)
        | Op::KeepForInit
        | Op::KeepBoundingSet(_)
        | Op::ExecInit) => Err(misplaced(other)),
    }
}

/// user_namespaces(7): setgroups stays allowed, because the parent, which is privileged, writes.
fn map_ids(pid: Pid, range: IdRange) -> Result<()> {
    let map = format!("0 {} {}\n", range.first, range.count);
    for kind in ["uid_map", "gid_map"] {
        let path = format!("/proc/{pid}/{kind}");
        fs::write(&path, &map).map_err(|error| fail("writing", path, error))?;
    }
    Ok(())
}

/// Waits until the child's end of `report` closes with its exec, or brings a failure.
fn await_init(plan: &Plan, report: BorrowedFd<'_>) -> Result<()> {
    let mut text = vec![0; MAX_FAILURE];
    let length = match seqpacket::receive(report, &mut text) {
        Ok((length, _fds)) => length,
        // Gone with our word unread.
        Err(Errno::ECONNRESET) => return Err(fail("starting the cell of", &plan.name, "its pid 1 was killed")),
        Err(errno) => return Err(fail("starting the cell of", &plan.name, errno)),
    };
    if length == 0 {
        return Ok(());
    }
    text.truncate(length);
    let text = String::from_utf8_lossy(&text);
    Err(match text.split_once("\nhint: ") {
        Some((cause, hint)) => fail("starting the cell of", &plan.name, cause).hint(hint),
        None => fail("starting the cell of", &plan.name, text),
    })
}
