//! The child's part: between clone and exec, it turns its copy of the host into the cell and then
//! becomes init.
//!
//! It runs as the monitor's copy with full capabilities in the new user namespace, and until it has
//! become uid 0 of the cell with the host's uid 0 for file access: so it opens, before that, only
//! paths that root made. It returns to nobody: it execs, or reports and ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    ffi::CString,
    fmt,
    fs::File,
    io::Write as _,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use crate::base::{Failure, Result, fail};
use crate::config::settings::CallSet;
use crate::sys::{
    Errno, cgroup, credentials, fd, landlock,
    mount::{self, Extent, Kind, attributes},
    namespace,
    process::{self, namespaces},
    seccomp, seqpacket,
};
use crate::wire::init::handover;

use super::{
    cgroups,
    filters::Filters,
    plan::{Mask, Op, Plan, Tree},
};

/// Connections that may wait until init takes them: logins of one tenant at the same moment.
const BACKLOG: i32 = 128;

/// Descriptors to hand over are first moved above this, out of the way of the agreed numbers.
const OUT_OF_THE_WAY: i32 = 64;

/// Room for the word that the monitor's part is done.
const WORD: usize = 16;

/// What the child has from the monitor.
#[derive(Debug)]
pub(super) struct Child<'a> {
    /// What to do.
    pub(super) plan: &'a Plan,
    /// Trees that the monitor took; the child adds its own.
    pub(super) trees: BTreeMap<Tree, OwnedFd>,
    /// Where the host view is.
    pub(super) view: &'a Path,
    /// To the monitor: brings the word, takes the failure, closes with exec.
    pub(super) report: OwnedFd,
    /// init's socket, bound.
    pub(super) listener: OwnedFd,
    /// init's end of the first link.
    pub(super) link: OwnedFd,
    /// The program of init.
    pub(super) init: BorrowedFd<'a>,
    /// The lists of system calls.
    pub(super) filters: &'a Filters,
    /// Where among them the tenant's lies, once init's is installed.
    pub(super) calls: Option<(u64, usize)>,
    /// v2: files that a process writes `0` to, to join init's groups.
    pub(super) own_groups: Vec<File>,
    /// `tasks` of the sessions' groups, once opened, or the v2 directory.
    pub(super) session_groups: Vec<File>,
    /// Readable when sessions ran out of memory (v1).
    pub(super) memory_event: Option<OwnedFd>,
    /// What init writes usage into.
    pub(super) board: Option<OwnedFd>,
    /// Whether that is a v2 directory.
    pub(super) v2: bool,
    /// The cell's root, once it is there.
    pub(super) root: Option<OwnedFd>,
    /// What was mounted directly below the root. Paths in there start from these descriptors: by
    /// name, a tenant who can still reach the tree could have moved the mount point meanwhile.
    pub(super) mounted: Vec<(PathBuf, OwnedFd)>,
    /// Where the empty directory is attached first.
    pub(super) empty_at: Option<PathBuf>,
}

impl Child<'_> {
    /// Carries out the plan. Ends the process if a step fails.
    pub(super) fn run(mut self) -> ! {
        let moved = fd::duplicate_above(self.report.as_fd(), OUT_OF_THE_WAY);
        let carried_out = match moved {
            Ok(report) => {
                self.report = report;
                self.carry_out()
            }
            Err(errno) => Err(fail("moving", "a descriptor", errno)),
        };
        let failure = match carried_out {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        // If the monitor is gone too, nobody is left to tell; the exit status is the same.
        let status = match seqpacket::send(self.report.as_fd(), failure.to_string().as_bytes(), &[]) {
            Ok(()) => 1,
            Err(_gone) => 2,
        };
        process::exit_now(status)
    }

    fn carry_out(&mut self) -> Result<Infallible> {
        credentials::set_umask(0o022);
        for op in &self.plan.inside {
            self.step(op)?;
        }
        Err(fail("making the cell of", &self.plan.name, "the plan does not end with init"))
    }

    fn step(&mut self, op: &Op) -> Result<()> {
        let done = match op {
            Op::TakeHost { tree, name } => self.take(*tree, &self.view.join(name)),
            Op::TakeGroup { tree, path } => self.take(*tree, path),
            Op::Leave { network } => leave(*network),
            Op::HostName(name) => namespace::set_host_name(name),
            Op::LoopbackUp => namespace::bring_loopback_up(),
            Op::AwaitMonitor => return self.await_monitor(),
            Op::JoinGroups { count: _ } => self.own_groups.iter().try_for_each(|tasks| cgroup::join(tasks.as_fd())),
            Op::JoinGroup { path } => return cgroups::join(path),
            Op::OpenGroup { path } => return self.open_group(path),
            Op::SetGroup { file, value } => return cgroups::set(file, value),
            Op::WatchMemory { path } => {
                self.memory_event = Some(cgroups::watch_memory(path)?);
                return Ok(());
            }
            Op::LeaveGroups => namespace::leave(namespaces::CGROUP),
            Op::BecomeRoot => credentials::become_user(0, 0).and_then(|()| process::make_undumpable()),
            Op::RootFromTree { tree, writable: _ } => self.root_from_tree(*tree),
            Op::RootFromNothing { size } => self.root_from_nothing(size.0),
            Op::Directory { path, mode } => self.make_directory(path, *mode),
            Op::Symlink { path, target } => {
                self.parent_of(path, |parent, name| mount::make_symlink(Path::new(target), parent, name))
            }
            Op::File { path, contents } => {
                self.root().and_then(|root| mount::write_new(root, path, contents.as_bytes(), 0o644))
            }
            Op::Attach { tree, at, file, read_only } => return self.attach(*tree, at, *file, *read_only),
            Op::Mount { kind, at, options, exec, read_only } => {
                return self.mount(kind, at, options, *exec, *read_only);
            }
            Op::Bound { name, most } => self.bound(name, *most),
            Op::Board { at, limits } => self.make_board(at, limits),
            Op::PingGroups { last } => self.set("proc/sys/net/ipv4/ping_group_range", &format!("0\t{last}")),
            Op::ReadOnly { path } => self.make_read_only(path),
            Op::Lock { path } => self
                .locate(path, Kind::Directory)
                .and_then(|mount| mount::set_attributes(mount.as_fd(), attributes::READ_ONLY, Extent::One)),
            Op::Cover { path, with, empty } => self.cover(path, *with, *empty),
            Op::Pivot => self.root().and_then(mount::pivot),
            Op::ResetTraits => reset_traits(),
            Op::KeepToItself => landlock::keep_to_itself(),
            Op::LimitCalls(sets) => self.limit_calls(sets),
            Op::KeepForInit => credentials::let_exec_inherit(credentials::SYS_ADMIN),
            Op::KeepBoundingSet(kept) => credentials::keep_bounding_set(*kept),
            Op::ExecInit => Err(self.exec_init()),
            Op::Keep { .. }
            | Op::MakeGroup { .. }
            | Op::GiveGroup { .. }
            | Op::Take { .. }
            | Op::Clone { .. }
            | Op::MapIds(_)
            | Op::Shift { .. }
            | Op::ResetOomScore
            | Op::ResetPriority
            | Op::Release => Err(Errno::ENOTSUP),
        };
        done.map_err(|errno| self.failed(op, errno))
    }

    fn failed(&self, op: &Op, cause: impl fmt::Display) -> Failure {
        fail("making the cell of", &self.plan.name, format_args!("{op}: {cause}"))
    }

    fn root(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.root.as_ref().map(OwnedFd::as_fd).ok_or(Errno::ENOENT)
    }

    /// From where to follow `path`, and what is left of it.
    fn base<'p>(&self, path: &'p Path) -> Result<(BorrowedFd<'_>, &'p Path), Errno> {
        let found = self.mounted.iter().find_map(|(at, mounted)| Some((mounted.as_fd(), path.strip_prefix(at).ok()?)));
        found.map_or_else(|| Ok((self.root()?, path)), Ok)
    }

    fn locate(&self, path: &Path, kind: Kind) -> Result<OwnedFd, Errno> {
        match self.base(path)? {
            (mounted, rest) if rest.as_os_str().is_empty() => fd::duplicate(mounted),
            (base, rest) => mount::locate(base, rest, kind),
        }
    }

    /// Keeps what was just attached, if paths may lead into it.
    fn keep(&mut self, at: &Path, tree: OwnedFd) {
        if at.components().count() == 1 {
            self.mounted.push((at.to_owned(), tree));
        }
    }

    fn tree(&mut self, tree: Tree) -> Result<OwnedFd, Errno> {
        self.trees.remove(&tree).ok_or(Errno::EBADF)
    }

    fn take(&mut self, tree: Tree, path: &Path) -> Result<(), Errno> {
        let taken = mount::clone_tree_at(path, Extent::All)?;
        mount::make_private(taken.as_fd(), Extent::All)?;
        self.trees.insert(tree, taken);
        Ok(())
    }

    fn await_monitor(&self) -> Result<()> {
        let mut word = [0; WORD];
        match seqpacket::receive(self.report.as_fd(), &mut word) {
            Ok((1.., _)) => Ok(()),
            Ok((0, _)) => Err(fail("waiting for", "the monitor", "it gave up")),
            Err(errno) => Err(fail("waiting for", "the monitor", errno)),
        }
    }

    fn open_group(&mut self, path: &Path) -> Result<()> {
        self.session_groups.push(cgroups::open_tasks(path)?);
        Ok(())
    }

    fn root_from_tree(&mut self, tree: Tree) -> Result<(), Errno> {
        let tree = self.tree(tree)?;
        mount::attach_at(tree.as_fd(), Path::new("/"))?;
        self.root = Some(tree);
        Ok(())
    }

    fn root_from_nothing(&mut self, size: u64) -> Result<(), Errno> {
        let options = [("size", &*size.to_string()), ("mode", "0755")];
        let tree = mount::create("tmpfs", &options, attributes::NO_SUID | attributes::NO_DEV)?;
        mount::attach_at(tree.as_fd(), Path::new("/"))?;
        self.root = Some(tree);
        Ok(())
    }

    /// Does something to the last component of `path`, with its parent, which is made if missing.
    fn parent_of<T>(
        &self,
        path: &Path,
        act: impl FnOnce(BorrowedFd<'_>, &Path) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let name = path.file_name().map(Path::new).ok_or(Errno::EINVAL)?;
        match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            None => act(self.root()?, name),
            Some(parent) => {
                let parent = self.directory(parent)?;
                act(parent.as_fd(), name)
            }
        }
    }

    /// The directory at `path`, made if it is missing.
    fn directory(&self, path: &Path) -> Result<OwnedFd, Errno> {
        match self.locate(path, Kind::Directory) {
            Err(Errno::ENOENT) => {
                self.make_directory(path, 0o755)?;
                self.locate(path, Kind::Directory)
            }
            found => found,
        }
    }

    fn make_directory(&self, path: &Path, mode: u32) -> Result<(), Errno> {
        self.parent_of(path, |parent, name| mount::make_directory(parent, name, mode))
    }

    /// The place to mount at, made if it is missing.
    fn mount_point(&self, at: &Path, file: bool) -> Result<OwnedFd> {
        let found = if file {
            match self.locate(at, Kind::Any) {
                Err(Errno::ENOENT) => self
                    .parent_of(at, |parent, name| mount::make_file(parent, name, 0o644))
                    .and_then(|()| self.locate(at, Kind::Any)),
                found => found,
            }
        } else {
            self.directory(at)
        };
        found.map_err(|errno| {
            let failure = fail(
                "making the cell of",
                &self.plan.name,
                format_args!("mount point /{}: {}", at.display(), reason(errno)),
            );
            match errno {
                Errno::ELOOP | Errno::ENOTDIR => {
                    failure.hint(format_args!("make /{} a plain directory in the tenant's root", at.display()))
                }
                Errno::EROFS | Errno::EACCES => {
                    failure.hint(format_args!("make the directory /{} in the tenant's root", at.display()))
                }
                _other => failure,
            }
        })
    }

    fn attach(&mut self, tree: Tree, at: &Path, file: bool, read_only: bool) -> Result<()> {
        let point = self.mount_point(at, file)?;
        let attached = self.tree(tree).and_then(|tree| {
            if read_only {
                let locked = attributes::READ_ONLY | attributes::NO_SUID | attributes::NO_DEV | attributes::NO_EXEC;
                mount::set_attributes(tree.as_fd(), locked, Extent::All)?;
            }
            mount::attach(tree.as_fd(), point.as_fd())?;
            self.keep(at, tree);
            Ok(())
        });
        attached.map_err(|errno: Errno| {
            fail("making the cell of", &self.plan.name, format_args!("mounting /{}: {errno}", at.display()))
        })
    }

    fn mount(
        &mut self,
        kind: &str,
        at: &Path,
        options: &[(&'static str, String)],
        exec: bool,
        read_only: bool,
    ) -> Result<()> {
        let point = self.mount_point(at, false)?;
        let options: Vec<(&str, &str)> = options.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let mut wanted = attributes::NO_SUID | attributes::NO_DEV;
        if !exec {
            wanted |= attributes::NO_EXEC;
        }
        if read_only {
            wanted |= attributes::READ_ONLY;
        }
        // devpts holds device files, which is what it is for.
        if kind == "devpts" {
            wanted &= !attributes::NO_DEV;
        }
        let tree = mount::create(kind, &options, wanted)
            .and_then(|tree| mount::attach(tree.as_fd(), point.as_fd()).map(|()| tree))
            .map_err(|errno| {
                let what = format_args!("mounting {kind} at /{}: {errno}", at.display());
                fail("making the cell of", &self.plan.name, what)
            })?;
        self.keep(at, tree);
        Ok(())
    }

    fn bound(&self, name: &str, most: u32) -> Result<(), Errno> {
        self.set(&format!("proc/sys/user/{name}"), &most.to_string())
    }

    /// The directory lies under a read-only mount of itself: not even the cell's root gets at what
    /// is below, while init holds the one descriptor that was opened before.
    fn make_board(&mut self, at: &Path, limits: &str) -> Result<(), Errno> {
        self.make_directory(at, 0o755)?;
        let (base, path) = self.base(at)?;
        mount::write_new(base, &path.join("limits"), limits.as_bytes(), 0o444)?;
        mount::write_new(base, &path.join("usage"), b"", 0o644)?;
        let board = mount::open_to_write(base, &path.join("usage"))?;
        let point = self.locate(at, Kind::Directory)?;
        let cover = mount::clone_tree(point.as_fd(), Path::new(""), Extent::One)?;
        let wanted = attributes::READ_ONLY | attributes::NO_SUID | attributes::NO_DEV | attributes::NO_EXEC;
        mount::set_attributes(cover.as_fd(), wanted, Extent::One)?;
        mount::attach(cover.as_fd(), point.as_fd())?;
        self.board = Some(board.into());
        Ok(())
    }

    /// Writes a setting of the cell's own below `/proc/sys`, and reads it back.
    fn set(&self, path: &str, value: &str) -> Result<(), Errno> {
        let (base, path) = self.base(Path::new(path))?;
        mount::open_to_write(base, path)?.write_all(value.as_bytes())?;
        let mut read = mount::open_to_read(base, path)?;
        if mount::read_capped(&mut read, 32)?.trim_ascii() == value.as_bytes() { Ok(()) } else { Err(Errno::EPERM) }
    }

    fn limit_calls(&mut self, sets: &BTreeSet<CallSet>) -> Result<(), Errno> {
        self.calls = Some(self.filters.tenant(sets)?);
        self.filters.init(sets)?.install()?;
        if seccomp::is_filtered()? { Ok(()) } else { Err(Errno::EPERM) }
    }

    fn make_read_only(&self, path: &Path) -> Result<(), Errno> {
        let point = match self.locate(path, Kind::Any) {
            // A kernel built without it has nothing to protect.
            Err(Errno::ENOENT) => return Ok(()),
            found => found?,
        };
        let tree = mount::clone_tree(point.as_fd(), Path::new(""), Extent::One)?;
        let wanted = attributes::READ_ONLY | attributes::NO_SUID | attributes::NO_DEV | attributes::NO_EXEC;
        mount::set_attributes(tree.as_fd(), wanted, Extent::One)?;
        mount::attach(tree.as_fd(), point.as_fd())
    }

    fn cover(&mut self, path: &Path, with: Mask, empty: Tree) -> Result<(), Errno> {
        let point = match self.locate(path, Kind::Any) {
            Err(Errno::ENOENT) => return Ok(()),
            found => found?,
        };
        let cover = match (with, self.empty_at.as_deref()) {
            (Mask::File, _) => {
                let null = self.locate(Path::new("dev/null"), Kind::Any)?;
                mount::clone_tree(null.as_fd(), Path::new(""), Extent::One)?
            }
            (Mask::Directory, Some(first)) => {
                let empty = self.locate(first, Kind::Directory)?;
                mount::clone_tree(empty.as_fd(), Path::new(""), Extent::One)?
            }
            (Mask::Directory, None) => {
                self.empty_at = Some(path.to_owned());
                self.tree(empty)?
            }
        };
        mount::attach(cover.as_fd(), point.as_fd())
    }

    /// Lays out the descriptors and execs. Returns only if that fails.
    fn exec_init(&self) -> Errno {
        match self.lay_out() {
            Ok((init, environment)) => process::exec(init.as_fd(), &[c"cellblock-init".into()], &environment),
            Err(errno) => errno,
        }
    }

    fn lay_out(&self) -> Result<(OwnedFd, Vec<CString>), Errno> {
        seqpacket::start_listening(self.listener.as_fd(), BACKLOG)?;
        let aside = |fd: BorrowedFd<'_>| fd::duplicate_above(fd, OUT_OF_THE_WAY);
        let (base, null) = self.base(Path::new("dev/null"))?;
        let null = aside(mount::open_device(base, null)?.as_fd())?;
        let (listener, link, init) = (aside(self.listener.as_fd())?, aside(self.link.as_fd())?, aside(self.init)?);
        let filter = aside(self.filters.as_fd())?;
        let groups = self.session_groups.iter().map(|file| aside(file.as_fd())).collect::<Result<Vec<_>, _>>()?;
        let events = [(handover::MEMORY_EVENT, &self.memory_event), (handover::BOARD, &self.board)];
        let events = events.into_iter().filter_map(|(number, fd)| Some((number, aside(fd.as_ref()?.as_fd()))));
        let events = events.map(|(number, fd)| fd.map(|fd| (number, fd))).collect::<Result<Vec<_>, _>>()?;
        fd::close_on_exec_from(0)?;
        for number in 0..=2 {
            fd::place_at(null.as_fd(), number)?;
        }
        fd::place_at(listener.as_fd(), handover::LISTENER)?;
        fd::place_at(link.as_fd(), handover::FIRST_LINK)?;
        fd::place_at(filter.as_fd(), handover::FILTER)?;
        for (number, group) in (handover::FIRST_GROUP..handover::FIRST_GROUP + handover::MAX_GROUPS).zip(&groups) {
            fd::place_at(group.as_fd(), number)?;
        }
        for (number, event) in &events {
            fd::place_at(event.as_fd(), *number)?;
        }
        let (name, count) = if self.v2 { (handover::V2_GROUP, 1) } else { (handover::V1_GROUPS, groups.len()) };
        let (start, length) = self.calls.ok_or(Errno::EPERM)?;
        let variables = [format!("{name}={count}"), format!("{}={start} {length}", handover::FILTER_PLACE)];
        let variables = variables.map(|variable| CString::new(variable).map_err(|_nul| Errno::EINVAL));
        Ok((init, variables.into_iter().collect::<Result<_, _>>()?))
    }
}

fn leave(network: bool) -> Result<(), Errno> {
    let kinds = namespaces::IPC | namespaces::UTS;
    namespace::leave(if network { kinds | namespaces::NET } else { kinds })
}

fn reset_traits() -> Result<(), Errno> {
    process::new_session()?;
    // One for the cell, which its sessions share: one per session would be charged to the cell's
    // root, whose quota (200 keys, keyrings(7)) a few hundred logins use up faster than the kernel
    // collects them.
    credentials::new_session_keyring()?;
    credentials::reset_affinity_and_personality()
}

fn reason(errno: Errno) -> String {
    match errno {
        Errno::ELOOP => "it is a symbolic link, or lies behind one".into(),
        Errno::ENOTDIR => "it is not a directory".into(),
        other => other.to_string(),
    }
}
