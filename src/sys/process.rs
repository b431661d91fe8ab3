//! Processes: fork and clone, exec from a descriptor, wait, pidfds, the calling process's own traits.

use std::{
    ffi::{CStr, CString},
    fs,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
    path::Path,
    ptr,
    time::Instant,
};

use rustix::process::{Pid as RawPid, PidfdFlags, Signal as RawSignal, WaitIdOptions, WaitIdStatus};

use super::{Errno, SysResult, error::retry, poll};

/// `CLONE_INTO_CGROUP` (Linux 5.7); libc's constant does not fit its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A process id in the caller's pid namespace.
pub type Pid = i32;

/// Which side of a fork the caller is on.
#[derive(Debug)]
pub enum Forked {
    /// In the new process.
    Child,
    /// In the old one, with a hold on the new one.
    Parent {
        /// Its pid here.
        pid: Pid,
        /// A descriptor of it, close-on-exec.
        pidfd: OwnedFd,
    },
}

/// Namespaces for [`clone_into`]: `CLONE_NEW*` (clone(2)), or-ed.
pub mod namespaces {
    /// `CLONE_NEWNS`.
    pub const MOUNT: u64 = libc::CLONE_NEWNS as u64;
    /// `CLONE_NEWUSER`.
    pub const USER: u64 = libc::CLONE_NEWUSER as u64;
    /// `CLONE_NEWPID`.
    pub const PID: u64 = libc::CLONE_NEWPID as u64;
    /// `CLONE_NEWNET`.
    pub const NET: u64 = libc::CLONE_NEWNET as u64;
    /// `CLONE_NEWIPC`.
    pub const IPC: u64 = libc::CLONE_NEWIPC as u64;
    /// `CLONE_NEWUTS`.
    pub const UTS: u64 = libc::CLONE_NEWUTS as u64;
    /// `CLONE_NEWCGROUP`.
    pub const CGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
}

/// fork(2) with a pidfd. `EBUSY` if the caller has more than one thread: a copy of one thread
/// among locks that others held is not a process that Rust code can run in.
pub fn fork() -> SysResult<Forked> {
    clone_into(0, None)
}

/// clone3(2) with fork's memory semantics, a pidfd, new `namespaces`, and into `cgroup` (a v2
/// directory, Linux 5.7). `EBUSY` as for [`fork`].
pub fn clone_into(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> SysResult<Forked> {
    if !is_single_threaded() {
        return Err(Errno::EBUSY);
    }
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain integers, for which zero is a value and means "not used".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = namespaces | libc::CLONE_PIDFD as u64;
    args.pidfd = ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::try_from(cgroup.as_raw_fd()).map_err(|_negative| Errno::EBADF)?;
    }
    // SAFETY: no CLONE_VM and no stack, so the child goes on here with a copy of this memory; one
    // thread was counted above, so no lock is held by a thread that the copy lacks; `args` and
    // `pidfd` outlive the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, ptr::from_mut(&mut args), size_of::<libc::clone_args>()) };
    match pid {
        ..0 => Err(Errno::last()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent {
            pid: Pid::try_from(pid).map_err(|_range| Errno::EOVERFLOW)?,
            // SAFETY: the kernel stored a new descriptor there for us alone.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
    }
}

/// Whether the calling process has one thread: unshare(2) of `CLONE_THREAD` does nothing else than
/// tell, and needs no `/proc`.
#[must_use]
pub fn is_single_threaded() -> bool {
    // SAFETY: unshare takes one integer, and with this flag alone changes nothing.
    let done = unsafe { libc::unshare(libc::CLONE_THREAD) };
    done == 0
}

/// _exit(2): ends the process at once, running no destructors and flushing nothing. For children
/// of a fork, whose destructors belong to the parent.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit has no preconditions and does not return.
    unsafe { libc::_exit(status) }
}

/// execveat(2) of an open file with `AT_EMPTY_PATH`. Returns only if it fails.
///
/// Close-on-exec is fine on `program` unless it is a script.
pub fn exec(program: BorrowedFd<'_>, args: &[CString], environment: &[CString]) -> Errno {
    let args = pointers(args);
    let environment = pointers(environment);
    // SAFETY: both arrays end in null and point to C strings that outlive the call; the path is
    // the empty C string that AT_EMPTY_PATH wants.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            args.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::last()
}

/// sched_setscheduler(2) `SCHED_BATCH`: the caller gets its share as before, but when it wakes up it does not push aside
/// who runs.
pub fn be_in_no_hurry() -> SysResult<()> {
    let plain = libc::sched_param { sched_priority: 0 };
    // SAFETY: `plain` outlives the call, which reads it.
    let done = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const plain) };
    if done < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// A handle (`O_PATH`) on the calling process's own program, for [`exec`]; close-on-exec.
pub fn own_program() -> SysResult<OwnedFd> {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    Ok(rustix::fs::open("/proc/self/exe", flags, rustix::fs::Mode::empty())?)
}

/// execve(2) of a path, as the calling process sees it. Returns only if it fails.
pub fn exec_path(path: &CStr, args: &[CString], environment: &[CString]) -> Errno {
    let args = pointers(args);
    let environment = pointers(environment);
    // SAFETY: both arrays end in null and point to C strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), environment.as_ptr()) };
    Errno::last()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// exit(2) with this status.
    Exited(i32),
    /// A signal killed it; `core` says whether it was dumped.
    Killed {
        /// Signal number.
        signal: i32,
        /// `WCOREDUMP`.
        core: bool,
    },
}

/// What [`reap`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaped {
    /// This child had ended and is gone now.
    Child {
        /// Which.
        pid: Pid,
        /// How.
        ended: Ended,
        /// What it and its waited-for children used.
        usage: Rusage,
    },
    /// Children run; none has ended.
    NoneEnded,
    /// There are no children.
    NoChildren,
}

/// The part of getrusage(2) that is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rusage {
    /// User CPU time in microseconds.
    pub user_us: u64,
    /// System CPU time in microseconds.
    pub system_us: u64,
    /// Peak resident memory of the largest, in KiB.
    pub max_rss_kib: u64,
}

/// wait4(2) for any child, without waiting.
pub fn reap() -> SysResult<Reaped> {
    let mut status = 0;
    // SAFETY: rusage is plain integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the types that wait4 writes.
    let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage) };
    match pid {
        0 => Ok(Reaped::NoneEnded),
        ..0 => match Errno::last() {
            Errno::ECHILD => Ok(Reaped::NoChildren),
            errno => Err(errno),
        },
        pid => Ok(Reaped::Child { pid, ended: ended(status), usage: rusage(&usage) }),
    }
}

fn ended(status: i32) -> Ended {
    if libc::WIFEXITED(status) {
        Ended::Exited(libc::WEXITSTATUS(status))
    } else {
        Ended::Killed { signal: libc::WTERMSIG(status), core: libc::WCOREDUMP(status) }
    }
}

fn rusage(usage: &libc::rusage) -> Rusage {
    let micros = |time: libc::timeval| {
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        seconds.saturating_mul(1_000_000).saturating_add(u64::try_from(time.tv_usec).unwrap_or(0))
    };
    Rusage {
        user_us: micros(usage.ru_utime),
        system_us: micros(usage.ru_stime),
        max_rss_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
    }
}

/// Waits for one child to end and reaps it.
pub fn wait_for(pidfd: BorrowedFd<'_>) -> SysResult<Ended> {
    let status: WaitIdStatus = retry(|| {
        rustix::process::waitid(rustix::process::WaitId::PidFd(pidfd), WaitIdOptions::EXITED).map_err(Into::into)
    })?
    .ok_or(Errno::ECHILD)?;
    Ok(match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ended::Exited(code),
        (None, signal) => Ended::Killed { signal: signal.unwrap_or(libc::SIGKILL), core: status.dumped() },
    })
}

/// Whether a process has ended, reaped or not: its pidfd is readable (pidfd_open(2)).
pub fn has_ended(pidfd: BorrowedFd<'_>) -> SysResult<bool> {
    Ok(poll::wait_readable(&[pidfd], Some(Instant::now()))?.contains(&true))
}

/// pidfd_open(2).
pub fn pidfd_open(pid: Pid) -> SysResult<OwnedFd> {
    let pid = RawPid::from_raw(pid).ok_or(Errno::ESRCH)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// pidfd_send_signal(2).
pub fn signal_pidfd(pidfd: BorrowedFd<'_>, signal: i32) -> SysResult<()> {
    let signal = RawSignal::from_named_raw(signal).ok_or(Errno::EINVAL)?;
    Ok(rustix::process::pidfd_send_signal(pidfd.as_fd(), signal)?)
}

/// kill(2). `pid` has that call's meanings: 0 the caller's group, -1 all it may signal, below -1 a group.
pub fn kill(pid: Pid, signal: i32) -> SysResult<()> {
    // SAFETY: kill takes two integers.
    let done = unsafe { libc::kill(pid, signal) };
    if done < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// getpid(2).
#[must_use]
pub fn own_pid() -> Pid {
    RawPid::as_raw(Some(rustix::process::getpid()))
}

/// setsid(2).
pub fn new_session() -> SysResult<()> {
    rustix::process::setsid()?;
    Ok(())
}

/// `PR_SET_CHILD_SUBREAPER`: orphaned descendants become the caller's children.
pub fn become_subreaper() -> SysResult<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// `PR_SET_PDEATHSIG`: the caller gets `signal` when the thread that forked it ends. Cleared by
/// an exec that changes credentials and by setuid(2).
pub fn die_with_parent(signal: i32) -> SysResult<()> {
    // SAFETY: PR_SET_PDEATHSIG takes one integer.
    let done = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0, 0) };
    if done < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// `PR_SET_NAME`: what ps(1) shows as the command's name, at most 15 bytes. A program that was
/// exec'd from a descriptor is named after its file.
pub fn set_name(name: &CStr) -> SysResult<()> {
    Ok(rustix::thread::set_name(name)?)
}

/// `PR_SET_DUMPABLE` 0: no ptrace, no core file, root's `/proc/PID`. Reads it back.
///
/// The kernel sets it anew at every change of ids, so call it again after each (docs/kernel.md, D).
pub fn make_undumpable() -> SysResult<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    if is_undumpable()? { Ok(()) } else { Err(Errno::EPERM) }
}

/// `PR_GET_DUMPABLE`: whether [`make_undumpable`] holds.
pub fn is_undumpable() -> SysResult<bool> {
    Ok(rustix::process::dumpable_behavior()? == rustix::process::DumpableBehavior::NotDumpable)
}

/// chdir(2).
pub fn enter_directory(path: &Path) -> SysResult<()> {
    Ok(rustix::process::chdir(path)?)
}

/// The foreground process group of the terminal that controls `pid`: field 8 of `/proc/PID/stat`.
#[must_use]
pub fn foreground_group_of(pid: Pid) -> Option<Pid> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after = stat.iter().rposition(|b| *b == b')')?;
    let field = stat.get(after + 2..)?.split(|b| *b == b' ').nth(5)?;
    std::str::from_utf8(field).ok()?.parse().ok().filter(|group: &Pid| *group > 0)
}

/// geteuid(2).
#[must_use]
pub fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// What protects the listener from the OOM killer is not for its children (docs/kernel.md, E): writes 0 into a
/// process's `oom_score_adj`. What the host's root has made likelier to be killed stays so, where it is not for us to
/// undo that (`EACCES`).
pub fn reset_oom_score(file: &std::path::Path) -> SysResult<()> {
    match std::fs::write(file, "0") {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            if std::fs::read(file)?.starts_with(b"-") { Err(error.into()) } else { Ok(()) }
        }
        written => Ok(written?),
    }
}

/// setrlimit(2): raises the soft limit of open files to the hard one.
pub fn allow_many_files() -> SysResult<()> {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    Ok(rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)?)
}
