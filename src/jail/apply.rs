//! The child's part: it turns its copy of the host into the cell.
//!
//! It runs as `cellblock-init`, with full capabilities in the new user namespace, and until it has
//! become uid 0 of the cell as the namespace's owner: an id of the host's that is nobody's account. It
//! finds the host by a descriptor of the view, in which all can look around. What it is told comes from
//! host root, over a link.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::File,
    io::Write as _,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use crate::base::{Failure, Result, TenantName, fail};
use crate::config::settings::CallSet;
use crate::sys::{
    Errno, cgroup, credentials, fd, landlock,
    mount::{self, Extent, Kind, attributes},
    namespace,
    process::{self, namespaces},
    seccomp, seqpacket,
};
use crate::wire::{Link, link::exactly};

use super::{
    filters::Calls,
    handover::{Answer, Word},
    plan::{Mask, Op, Tree},
};

/// Connections that may wait until init takes them: logins of one tenant at the same moment.
const BACKLOG: i32 = 128;

/// What a child has, and what it has made so far.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    /// To the monitor.
    pub(super) link: &'a mut Link<Answer, Word>,
    /// Whose cell it is, once that is known.
    pub(super) name: Option<TenantName>,
    /// The host view.
    pub(super) view: OwnedFd,
    /// The lists of system calls, once it is known whose cell it will be.
    pub(super) calls: Option<Calls>,
    /// Where among them the tenant's lies, once init's is installed.
    pub(super) limited: Option<(u64, usize)>,
    /// Capabilities that init keeps besides those of its bounding set.
    pub(super) for_init: u64,
    /// Readable when sessions ran out of memory (v1).
    pub(super) memory_event: Option<OwnedFd>,
    /// What init writes usage into.
    pub(super) board: Option<OwnedFd>,
    /// init's socket, bound, once it is there.
    pub(super) listener: Option<OwnedFd>,
    /// Trees that the monitor took; the child adds its own.
    pub(super) trees: BTreeMap<Tree, OwnedFd>,
    /// Files that a process writes `0` to, to join init's groups.
    pub(super) own_groups: Vec<File>,
    /// The same of the sessions' groups, or the v2 directory.
    pub(super) session_groups: Vec<OwnedFd>,
    /// Whether that is a v2 directory.
    pub(super) v2: bool,
    /// The stage; then the cell's root, once it is there.
    pub(super) root: OwnedFd,
    /// What was mounted directly below that. Paths in there start from these descriptors: by
    /// name, a tenant who can still reach the tree could have moved the mount point meanwhile.
    pub(super) mounted: Vec<(PathBuf, OwnedFd)>,
    /// Where the empty directory is attached first.
    pub(super) empty_at: Option<PathBuf>,
}

impl Builder<'_> {
    /// Carries out `ops`.
    pub(super) fn carry_out(&mut self, ops: &[Op]) -> Result<()> {
        ops.iter().try_for_each(|op| self.step(op))
    }

    fn step(&mut self, op: &Op) -> Result<()> {
        let done = match op {
            Op::TakeHost { tree, name } => self.take(*tree, name),
            Op::Leave { network } => leave(*network),
            Op::HostName(name) => namespace::set_host_name(name),
            Op::LoopbackUp => namespace::bring_loopback_up(),
            Op::AwaitMonitor => return self.await_monitor(),
            Op::AwaitGroups { count } => return (0..*count).try_for_each(|_| self.await_group()),
            Op::AwaitMemory => return self.await_memory(),
            Op::JoinGroups => self.own_groups.drain(..).try_for_each(|tasks| cgroup::join(tasks.as_fd())),
            Op::LeaveGroups => namespace::leave(namespaces::CGROUP),
            Op::BecomeRoot => credentials::become_user(0, 0).and_then(|()| process::make_undumpable()),
            Op::RootFromTree { tree, writable: _ } => self.root_from_tree(*tree),
            Op::RootFromNothing { size } => self.root_from_nothing(size.0),
            Op::Directory { path, mode } => self.make_directory(path, *mode),
            Op::Symlink { path, target } => {
                self.parent_of(path, |parent, name| mount::make_symlink(Path::new(target), parent, name))
            }
            Op::File { path, contents } => mount::write_new(self.root.as_fd(), path, contents.as_bytes(), 0o644),
            Op::Attach { tree, at, file, read_only } => return self.attach(*tree, at, *file, *read_only),
            Op::Mount { kind, at, options, exec, read_only } => {
                return self.mount(kind, at, options, *exec, *read_only);
            }
            Op::Settle { at } => return self.settle(at),
            Op::Bound { name, most } => self.bound(name, *most),
            Op::Board { at, limits } => self.make_board(at, limits),
            Op::PingGroups { last } => self.set("proc/sys/net/ipv4/ping_group_range", &format!("0\t{last}")),
            Op::ReadOnly { path } => self.make_read_only(path),
            Op::Cover { path, with, empty } => self.cover(path, *with, *empty),
            Op::Pivot => mount::pivot(self.root.as_fd()),
            Op::ResetTraits => reset_traits(),
            Op::KeepToItself => landlock::keep_to_itself(),
            Op::LimitCalls(sets) => self.limit_calls(sets),
            Op::KeepForInit => {
                self.for_init |= credentials::SYS_ADMIN;
                Ok(())
            }
            Op::KeepBoundingSet(kept) => credentials::keep_bounding_set(*kept)
                .and_then(|()| credentials::keep_capabilities(*kept | self.for_init)),
            Op::BecomeInit => self.become_init(),
            Op::Keep { .. }
            | Op::MakeGroup { .. }
            | Op::SetGroup { .. }
            | Op::MoveIn { .. }
            | Op::WatchMemory { .. }
            | Op::GiveGroup { .. }
            | Op::Take { .. }
            | Op::Clone { .. }
            | Op::MapIds(_)
            | Op::Shift { .. }
            | Op::ResetOomScore
            | Op::ResetPriority
            | Op::Release
            | Op::WriteDown
            | Op::LendGroup { .. } => Err(Errno::ENOTSUP),
        };
        done.map_err(|errno| self.failed(op, errno))
    }

    fn fail(&self, cause: impl fmt::Display) -> Failure {
        match &self.name {
            Some(name) => fail("making the cell of", name, cause),
            None => fail("preparing", "a cell", cause),
        }
    }

    fn failed(&self, op: &Op, cause: impl fmt::Display) -> Failure {
        self.fail(format_args!("{op}: {cause}"))
    }

    /// From where to follow `path`, and what is left of it.
    fn base<'p>(&self, path: &'p Path) -> (BorrowedFd<'_>, &'p Path) {
        let found = self.mounted.iter().find_map(|(at, mounted)| Some((mounted.as_fd(), path.strip_prefix(at).ok()?)));
        found.unwrap_or((self.root.as_fd(), path))
    }

    fn locate(&self, path: &Path, kind: Kind) -> Result<OwnedFd, Errno> {
        match self.base(path) {
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

    fn take(&mut self, tree: Tree, name: &Path) -> Result<(), Errno> {
        let taken = mount::clone_tree(self.view.as_fd(), name, Extent::All)?;
        mount::make_private(taken.as_fd(), Extent::All)?;
        self.trees.insert(tree, taken);
        Ok(())
    }

    /// The next word, with exactly the descriptors that come with it.
    pub(super) fn hear<const N: usize>(&mut self) -> Result<(Word, [OwnedFd; N])> {
        let heard = self.link.receive().and_then(|(word, fds)| Ok((word, exactly::<N>(fds)?)));
        heard.map_err(|error| self.fail(format_args!("waiting for the monitor: {error}")))
    }

    pub(super) fn misplaced(&self) -> Failure {
        self.fail("the monitor says something else than was planned")
    }

    fn await_monitor(&mut self) -> Result<()> {
        match self.hear::<0>()? {
            (Word::Released, []) => Ok(()),
            _other => Err(self.misplaced()),
        }
    }

    fn await_group(&mut self) -> Result<()> {
        let (Word::Group { tree, v2 }, [own, sessions, shown]) = self.hear::<3>()? else {
            return Err(self.misplaced());
        };
        self.own_groups.push(own.into());
        self.session_groups.push(sessions);
        self.trees.insert(tree, shown);
        self.v2 = v2;
        Ok(())
    }

    fn await_memory(&mut self) -> Result<()> {
        let (Word::Memory, [event]) = self.hear::<1>()? else { return Err(self.misplaced()) };
        self.memory_event = Some(event);
        Ok(())
    }

    fn root_from_tree(&mut self, tree: Tree) -> Result<(), Errno> {
        let tree = self.tree(tree)?;
        mount::attach_at(tree.as_fd(), Path::new("/"))?;
        self.root = tree;
        Ok(())
    }

    fn root_from_nothing(&mut self, size: u64) -> Result<(), Errno> {
        let options = [("size", &*size.to_string()), ("mode", "0755")];
        let tree = mount::create("tmpfs", &options, attributes::NO_SUID | attributes::NO_DEV)?;
        mount::attach_at(tree.as_fd(), Path::new("/"))?;
        self.root = tree;
        Ok(())
    }

    /// Moves what lies on the stage. Looks below the root itself: the place has the same name.
    fn settle(&self, at: &Path) -> Result<()> {
        let root = self.root.as_fd();
        let found = match mount::locate(root, at, Kind::Directory) {
            Err(Errno::ENOENT) => {
                mount::make_directory(root, at, 0o755).and_then(|()| mount::locate(root, at, Kind::Directory))
            }
            found => found,
        };
        let point = found.map_err(|errno| self.no_mount_point(at, errno))?;
        match self.base(at) {
            (staged, rest) if rest.as_os_str().is_empty() => mount::attach(staged, point.as_fd()),
            _nothing => Err(Errno::ENOENT),
        }
        .map_err(|errno| self.fail(format_args!("mounting /{}: {errno}", at.display())))
    }

    /// Does something to the last component of `path`, with its parent, which is made if missing.
    fn parent_of<T>(
        &self,
        path: &Path,
        act: impl FnOnce(BorrowedFd<'_>, &Path) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let name = path.file_name().map(Path::new).ok_or(Errno::EINVAL)?;
        match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            None => act(self.root.as_fd(), name),
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
        found.map_err(|errno| self.no_mount_point(at, errno))
    }

    fn no_mount_point(&self, at: &Path, errno: Errno) -> Failure {
        let failure = self.fail(format_args!("mount point /{}: {}", at.display(), reason(errno)));
        match errno {
            Errno::ELOOP | Errno::ENOTDIR => {
                failure.hint(format_args!("make /{} a plain directory in the tenant's root", at.display()))
            }
            Errno::EROFS | Errno::EACCES => {
                failure.hint(format_args!("make the directory /{} in the tenant's root", at.display()))
            }
            _other => failure,
        }
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
        attached.map_err(|errno: Errno| self.fail(format_args!("mounting /{}: {errno}", at.display())))
    }

    fn mount(
        &mut self,
        kind: &str,
        at: &Path,
        options: &[(String, String)],
        exec: bool,
        read_only: bool,
    ) -> Result<()> {
        let point = self.mount_point(at, false)?;
        let options: Vec<(&str, &str)> = options.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
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
            .map_err(|errno| self.fail(format_args!("mounting {kind} at /{}: {errno}", at.display())))?;
        self.keep(at, tree);
        Ok(())
    }

    fn bound(&self, name: &str, most: u32) -> Result<(), Errno> {
        self.set(&format!("proc/sys/user/{name}"), &most.to_string())
    }

    /// Writes a setting of the cell's own below `/proc/sys`, and reads it back.
    fn set(&self, path: &str, value: &str) -> Result<(), Errno> {
        let (base, path) = self.base(Path::new(path));
        mount::open_to_write(base, path)?.write_all(value.as_bytes())?;
        let mut read = mount::open_to_read(base, path)?;
        if mount::read_capped(&mut read, 32)?.trim_ascii() == value.as_bytes() { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// The directory lies under a read-only mount of itself: not even the cell's root gets at what
    /// is below, while init holds the one descriptor that was opened before.
    fn make_board(&mut self, at: &Path, limits: &str) -> Result<(), Errno> {
        self.make_directory(at, 0o755)?;
        let (base, path) = self.base(at);
        mount::write_new(base, &path.join("limits"), limits.as_bytes(), 0o444)?;
        mount::write_new(base, &path.join("usage"), b"", 0o644)?;
        let board = mount::open_to_write(base, &path.join("usage"))?;
        self.make_read_only(at)?;
        self.board = Some(board.into());
        Ok(())
    }

    /// init's list is in force for what is left to do, too.
    fn limit_calls(&mut self, sets: &BTreeSet<CallSet>) -> Result<(), Errno> {
        let calls = self.calls.as_ref().filter(|calls| calls.sets == *sets).ok_or(Errno::ENOENT)?;
        self.limited = Some(calls.tenant);
        calls.init()?.install()?;
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

    /// Descriptors 0 to 2, which the child has had from the host, become the cell's own.
    fn become_init(&self) -> Result<(), Errno> {
        let (base, null) = self.base(Path::new("dev/null"));
        let null = mount::open_device(base, null)?;
        for number in 0..=2 {
            fd::place_at(null.as_fd(), number)?;
        }
        let listener = self.listener.as_ref().ok_or(Errno::EBADF)?;
        seqpacket::start_listening(listener.as_fd(), BACKLOG)
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
