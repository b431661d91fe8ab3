//! The child's part: it turns its copy of the host into the cell.
//!
//! It runs as `cellblock-init`, with full capabilities in the new user namespace, and until it has
//! become uid 0 of the cell as the namespace's owner: an id of the host's that is nobody's account. It
//! finds the host by a descriptor of the view, in which all can look around. What it is told comes from
//! host root, over a link.

mod mounts;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::File,
    io::Write as _,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use crate::base::{Failure, Result, TenantName, fail};
use crate::config::settings::CallSet;
use crate::sys::{
    Errno, cgroup, credentials, fd, landlock,
    mount::{self, Extent},
    namespace,
    process::{self, namespaces},
    seccomp, seqpacket,
};
use crate::wire::{Link, link::exactly};

use super::{
    filters::Calls,
    handover::{Answer, Word},
    plan::{Inside, Tree},
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
    /// Whether there is but one id in the cell.
    pub(super) only_id: bool,
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
    pub(super) fn carry_out(&mut self, ops: &[Inside]) -> Result<()> {
        ops.iter().try_for_each(|op| self.step(op))
    }

    fn step(&mut self, op: &Inside) -> Result<()> {
        let done = match op {
            Inside::TakeHost { tree, name } => self.take(*tree, name),
            Inside::Leave { network } => leave(*network),
            Inside::HostName(name) => namespace::set_host_name(name),
            Inside::LoopbackUp => namespace::bring_loopback_up(),
            Inside::AwaitMonitor => return self.await_monitor(),
            Inside::AwaitGroups { count } => return (0..*count).try_for_each(|_| self.await_group()),
            Inside::AwaitMemory => return self.await_memory(),
            Inside::JoinGroups => self.own_groups.drain(..).try_for_each(|tasks| cgroup::join(tasks.as_fd())),
            Inside::LeaveGroups => namespace::leave(namespaces::CGROUP),
            Inside::BecomeRoot => credentials::become_user(0, 0).and_then(|()| process::make_undumpable()),
            Inside::BecomeOnly { id } => {
                self.only_id = true;
                credentials::become_only_user(*id, *id).and_then(|()| process::make_undumpable())
            }
            Inside::RootFromTree { tree, writable: _ } => self.root_from_tree(*tree),
            Inside::RootFromNothing { size } => self.root_from_nothing(size.0),
            Inside::Directory { path, mode } => self.make_directory(path, *mode),
            Inside::Symlink { path, target } => {
                self.parent_of(path, |parent, name| mount::make_symlink(Path::new(target), parent, name))
            }
            Inside::File { path, contents } => mount::write_new(self.root.as_fd(), path, contents.as_bytes(), 0o644),
            Inside::Attach { tree, at, file, read_only } => return self.attach(*tree, at, *file, *read_only),
            Inside::Mount { kind, at, options, exec, read_only } => {
                return self.mount(kind, at, options, *exec, *read_only);
            }
            Inside::Settle { at } => return self.settle(at),
            Inside::Bound { name, most } => self.set(&format!("proc/sys/user/{name}"), &most.to_string()),
            Inside::Board { at, limits } => self.make_board(at, limits),
            Inside::PingGroups { last } => self.set("proc/sys/net/ipv4/ping_group_range", &format!("0\t{last}")),
            Inside::ReadOnly { path } => self.make_read_only(path),
            Inside::Cover { path, with, empty } => self.cover(path, *with, *empty),
            Inside::Pivot => mount::pivot(self.root.as_fd()),
            Inside::ResetTraits => reset_traits(),
            Inside::KeepToItself => landlock::keep_to_itself(),
            Inside::LimitCalls(sets) => self.limit_calls(sets),
            Inside::KeepForInit => {
                self.for_init |= credentials::SYS_ADMIN;
                Ok(())
            }
            Inside::KeepBoundingSet(kept) => credentials::keep_bounding_set(*kept)
                .and_then(|()| credentials::keep_capabilities(*kept | self.for_init)),
            Inside::BecomeInit => self.become_init(),
        };
        done.map_err(|errno| self.failed(op, errno))
    }

    fn fail(&self, cause: impl fmt::Display) -> Failure {
        match &self.name {
            Some(name) => fail("making the cell of", name, cause),
            None => fail("preparing", "a cell", cause),
        }
    }

    fn failed(&self, op: &Inside, cause: impl fmt::Display) -> Failure {
        self.fail(format_args!("{op}: {cause}"))
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
        self.limited = Some(calls.session);
        calls.init()?.install()?;
        if seccomp::is_filtered()? { Ok(()) } else { Err(Errno::EPERM) }
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
