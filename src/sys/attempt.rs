//! What the probe tries: calls that a tenant must not be able to make, with arguments that do no
//! harm where they work after all.
//!
//! What may be answered with a signal is tried in a child of its own ([`in_child`]), so that the
//! signal ends that child only.

mod bombs;
mod calls;

use std::{
    ffi::CString,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    ptr,
    time::{Duration, Instant},
};

use super::{Errno, SysResult, error::retry, fd, poll, process};

pub use bombs::{fork_until_refused, inotify, touch_memory, until_refused};
pub use calls::{Call, FORBIDDEN, Foreign, SOCKETS, Socket, foreign};

/// How an attempt in a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It worked, with this result.
    Done(i64),
    /// It failed.
    Refused(Errno),
    /// A signal ended the child.
    Killed(i32),
    /// It did not end in time, and was killed by us.
    Hung,
}

/// Tries something in a child. fork(2) and not clone3(2), which filters may refuse whole.
pub fn in_child(limit: Duration, attempt: impl FnOnce() -> SysResult<i64>) -> SysResult<Outcome> {
    let (answer, out) = fd::pipe()?;
    let pid = fork_to(|| {
        process::die_with_parent(libc::SIGKILL)?;
        let (kind, value) = match attempt() {
            Ok(value) => (0, value),
            Err(errno) => (1, i64::from(errno.raw())),
        };
        let mut bytes = vec![kind];
        bytes.extend(value.to_le_bytes());
        rustix::io::write(&out, &bytes)?;
        Ok(())
    })?;
    drop(out);
    let deadline = Some(Instant::now() + limit);
    let answered = poll::wait_readable(&[std::os::fd::AsFd::as_fd(&answer)], deadline)?.contains(&true);
    let mut bytes = [0; 9];
    let length = if answered { retry(|| Ok(rustix::io::read(&answer, &mut bytes)?))? } else { 0 };
    if !answered {
        process::kill(pid, libc::SIGKILL)?;
    }
    let status = wait_for(pid)?;
    let (kind, value) = bytes.split_at(1);
    Ok(match (length, value.try_into().map(i64::from_le_bytes)) {
        (9, Ok(value)) if kind == [0] => Outcome::Done(value),
        (9, Ok(value)) => Outcome::Refused(Errno::from_raw(i32::try_from(value).unwrap_or(libc::EIO))),
        _no_answer if !answered => Outcome::Hung,
        _no_answer if libc::WIFSIGNALED(status) => Outcome::Killed(libc::WTERMSIG(status)),
        _no_answer => Outcome::Refused(Errno::EIO),
    })
}

/// fork(2): the child does `act` and ends; the parent gets its pid.
fn fork_to(act: impl FnOnce() -> SysResult<()>) -> SysResult<i32> {
    // SAFETY: the probe has one thread, so its copy in the child is whole.
    let pid = unsafe { libc::fork() };
    match pid {
        ..0 => Err(Errno::last()),
        0 => {
            let done = act();
            process::exit_now(i32::from(done.is_err()))
        }
        pid => Ok(pid),
    }
}

/// waitpid(2): the raw status.
fn wait_for(pid: i32) -> SysResult<i32> {
    let mut status = 0;
    retry(|| {
        // SAFETY: `status` is a live value of the type that waitpid writes.
        let done = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        if done < 0 { Err(Errno::last()) } else { Ok(()) }
    })?;
    Ok(status)
}

fn check(result: impl Into<i64>) -> SysResult<i64> {
    let result = result.into();
    if result < 0 { Err(Errno::last()) } else { Ok(result) }
}

/// socket(2) by raw numbers; the socket is closed again.
pub fn open_socket(socket: &Socket) -> SysResult<i64> {
    // SAFETY: socket takes three integers.
    let fd = check(unsafe { libc::socket(socket.family, socket.kind | libc::SOCK_CLOEXEC, socket.protocol) })?;
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
    drop(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).map_err(|_range| Errno::EBADF)?) });
    Ok(0)
}

/// unshare(2) of any flags, for a child that does nothing else.
pub fn unshare(flags: i32) -> SysResult<i64> {
    // SAFETY: unshare takes one integer; the caller is a child that owns no descriptors it will use.
    check(unsafe { libc::unshare(flags) })
}

/// clone3(2) with these namespaces; the new process ends at once.
pub fn clone_into_new(flags: i32) -> SysResult<i64> {
    // SAFETY: clone_args is plain integers, for which zero is a value and means "not used".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::try_from(flags).map_err(|_range| Errno::EINVAL)?;
    args.exit_signal = u64::try_from(libc::SIGCHLD).map_err(|_range| Errno::EINVAL)?;
    // SAFETY: no CLONE_VM and no stack, so the child goes on here with a copy of this memory; the
    // probe has one thread; `args` outlives the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match pid {
        ..0 => Err(Errno::last()),
        0 => process::exit_now(0),
        pid => wait_for(i32::try_from(pid).map_err(|_range| Errno::EOVERFLOW)?).map(|_status| 0),
    }
}

/// Namespaces by name, with their flag (clone(2)).
pub const NAMESPACES: [(&str, i32); 8] = [
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("ipc", libc::CLONE_NEWIPC),
    ("mnt", libc::CLONE_NEWNS),
    ("net", libc::CLONE_NEWNET),
    ("pid", libc::CLONE_NEWPID),
    ("time", 0x80),
    ("user", libc::CLONE_NEWUSER),
    ("uts", libc::CLONE_NEWUTS),
];

/// setns(2) into whatever `namespace` is.
pub fn join(namespace: BorrowedFd<'_>) -> SysResult<i64> {
    // SAFETY: setns takes two integers.
    check(unsafe { libc::setns(namespace.as_raw_fd(), 0) })
}

/// `PTRACE_SEIZE`: the target runs on, and is let go when the caller ends.
pub fn seize(pid: i32) -> SysResult<i64> {
    // SAFETY: PTRACE_SEIZE takes a pid, and no address or data.
    check(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) })
}

/// process_vm_readv(2) of one byte. That there is nothing to read (`EFAULT`) means that one may.
pub fn read_memory(pid: i32) -> SysResult<i64> {
    let mut byte = 0_u8;
    let here = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let there = libc::iovec { iov_base: ptr::without_provenance_mut(0x40_0000), iov_len: 1 };
    // SAFETY: `here` names one byte that is ours to write and outlives the call; the address in
    // `there` is another process's.
    let read = unsafe { libc::process_vm_readv(pid, &raw const here, 1, &raw const there, 1, 0) };
    match (read, Errno::last()) {
        (0.., _) => Ok(0),
        (_, errno) if errno.raw() == libc::EFAULT => Ok(0),
        (_, errno) => Err(errno),
    }
}

/// pidfd_getfd(2) of another process's descriptor 0.
pub fn take_descriptor(pid: i32) -> SysResult<i64> {
    let pidfd = process::pidfd_open(pid)?;
    // SAFETY: pidfd_getfd takes three integers; what it gives is close-on-exec and ends with the caller.
    check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), 0, 0) })
}

/// prlimit(2), reading only.
pub fn read_limits_of(pid: i32) -> SysResult<i64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: no new limit, and `limit` is a live value of the type that prlimit writes.
    check(unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, ptr::null(), &raw mut limit) })
}

/// setrlimit(2), up by one from the hard limit.
pub fn raise_limit(resource: u32, hard: u64) -> SysResult<i64> {
    let more = hard.checked_add(1).ok_or(Errno::EINVAL)?;
    let limit = libc::rlimit { rlim_cur: more, rlim_max: more };
    // SAFETY: `limit` outlives the call; an unknown resource is EINVAL.
    check(unsafe { libc::setrlimit(resource, &raw const limit) })
}

/// keyctl(2) `KEYCTL_READ` of the session keyring: how many keys are in it.
pub fn keys_of_session() -> SysResult<i64> {
    // SAFETY: without a buffer nothing is written; the call tells how long one must be.
    let bytes = unsafe {
        libc::syscall(libc::SYS_keyctl, libc::KEYCTL_READ, libc::KEY_SPEC_SESSION_KEYRING, ptr::null_mut::<u8>(), 0)
    };
    // An id of a key has four bytes.
    check(bytes).map(|bytes| bytes / 4)
}

/// How far an ioctl number reaches: the kernel looks at its low 32 bits alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// As it is.
    Plain,
    /// With a bit above those set (CVE-2019-10063).
    HighBitSet,
}

/// `TIOCSTI` of one blank into the controlling terminal `terminal`.
pub fn push_input(terminal: BorrowedFd<'_>, width: Width) -> SysResult<i64> {
    terminal_call(terminal, libc::TIOCSTI, width, b' ')
}

/// `TIOCLINUX` with subcode 6, which asks for the shift keys.
pub fn console_call(terminal: BorrowedFd<'_>, width: Width) -> SysResult<i64> {
    terminal_call(terminal, libc::TIOCLINUX, width, 6)
}

fn terminal_call(terminal: BorrowedFd<'_>, number: libc::Ioctl, width: Width, byte: u8) -> SysResult<i64> {
    let high = match width {
        Width::Plain => 0,
        Width::HighBitSet => 1_u64 << 32,
    };
    let mut byte = byte;
    // SAFETY: both calls read one byte, and TIOCLINUX may write one; `byte` outlives the call.
    check(unsafe { libc::syscall(libc::SYS_ioctl, terminal.as_raw_fd(), number | high, &raw mut byte) })
}

fn c_path(path: &Path) -> SysResult<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_nul| Errno::EINVAL)
}

/// mount(2) `MS_REMOUNT | MS_BIND` without a flag: everything that was locked would be allowed.
pub fn remount(path: &Path) -> SysResult<i64> {
    let path = c_path(path)?;
    let flags = libc::MS_REMOUNT | libc::MS_BIND;
    // SAFETY: the path is a C string that outlives the call; null is allowed for the other three.
    check(unsafe { libc::mount(ptr::null(), path.as_ptr(), ptr::null(), flags, ptr::null()) })
}

/// mount(2) of a tmpfs.
pub fn mount_tmpfs(path: &Path) -> SysResult<i64> {
    let path = c_path(path)?;
    // SAFETY: all three strings are C strings that outlive the call; null is allowed for the data.
    check(unsafe { libc::mount(c"none".as_ptr(), path.as_ptr(), c"tmpfs".as_ptr(), 0, ptr::null()) })
}

/// umount2(2) with `MNT_DETACH`.
pub fn unmount(path: &Path) -> SysResult<i64> {
    let path = c_path(path)?;
    // SAFETY: the path is a C string that outlives the call.
    check(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) })
}

/// mknod(2) of the device `null` (1, 3).
pub fn make_node(path: &Path) -> SysResult<i64> {
    let path = c_path(path)?;
    // SAFETY: the path is a C string that outlives the call.
    check(unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(1, 3)) })
}

/// What is at a path, not followed at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Whether it is a symbolic link.
    pub link: bool,
    /// Whether something is mounted there (`STATX_ATTR_MOUNT_ROOT`, Linux 5.8).
    pub mounted: bool,
}

/// statx(2).
pub fn look(path: &Path) -> SysResult<Place> {
    const MOUNT_ROOT: u64 = 0x2000;
    let path = c_path(path)?;
    // SAFETY: statx is plain integers, for which zero is a value.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
    // SAFETY: the path is a C string and `found` a live value of the type that statx writes.
    check(unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), flags, libc::STATX_TYPE, &raw mut found) })?;
    let link = u32::from(found.stx_mode) & libc::S_IFMT == libc::S_IFLNK;
    Ok(Place { link, mounted: found.stx_attributes & MOUNT_ROOT != 0 })
}

/// statvfs(3): the size of the file system at `path`, in bytes.
pub fn size_of_file_system(path: &Path) -> SysResult<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_blocks.saturating_mul(found.f_frsize))
}

/// fallocate(2): gives a new, open file `length` bytes.
pub fn fill(file: BorrowedFd<'_>, length: u64) -> SysResult<()> {
    Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, length)?)
}

/// `PR_GET_SECUREBITS`.
pub fn securebits() -> SysResult<i64> {
    // SAFETY: PR_GET_SECUREBITS takes no arguments.
    check(unsafe { libc::prctl(libc::PR_GET_SECUREBITS, 0, 0, 0, 0) })
}

/// personality(2), asking only.
pub fn personality() -> SysResult<i64> {
    // SAFETY: personality takes one integer; this one changes nothing.
    check(unsafe { libc::personality(0xffff_ffff) })
}

/// `PR_GET_NO_NEW_PRIVS`.
pub fn no_new_privs() -> SysResult<bool> {
    Ok(rustix::thread::no_new_privs()?)
}

/// `PR_SET_DUMPABLE` 1: the caller's files in `/proc` become its own, which attempts on them need.
pub fn make_dumpable() -> SysResult<()> {
    Ok(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)?)
}

/// The caller's real, effective and saved user ids, the same of its groups, and how many groups more.
pub fn ids() -> SysResult<([u32; 3], [u32; 3], usize)> {
    let user = nix::unistd::getresuid()?;
    let group = nix::unistd::getresgid()?;
    let users = [user.real, user.effective, user.saved].map(|id| id.as_raw());
    let groups = [group.real, group.effective, group.saved].map(|id| id.as_raw());
    Ok((users, groups, rustix::process::getgroups()?.len()))
}

/// connect(2) to an abstract socket: the pid at the other end, 0 if it is not in our pid namespace.
pub fn pid_behind(name: &[u8]) -> SysResult<i32> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
    let address = SocketAddrUnix::new_abstract_name(name)?;
    for kind in [SocketType::STREAM, SocketType::SEQPACKET, SocketType::DGRAM] {
        let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        match connect(&socket, &address) {
            Ok(()) if kind == SocketType::DGRAM => return Ok(0),
            Ok(()) => {
                // rustix cannot say pid 0, which is what this is about.
                let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
                let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>()).map_err(|_range| Errno::EINVAL)?;
                // SAFETY: `peer` and `length` are live values of the types that getsockopt writes.
                check(unsafe {
                    libc::getsockopt(
                        socket.as_raw_fd(),
                        libc::SOL_SOCKET,
                        libc::SO_PEERCRED,
                        (&raw mut peer).cast(),
                        &raw mut length,
                    )
                })?;
                return Ok(peer.pid);
            }
            Err(rustix::io::Errno::PROTOTYPE) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Errno::ECONNREFUSED)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(5);

    #[test]
    fn an_attempt_tells_how_it_ended() {
        assert_eq!(in_child(SECOND, || Ok(7)).unwrap(), Outcome::Done(7));
        assert_eq!(in_child(SECOND, || Err(Errno::EPERM)).unwrap(), Outcome::Refused(Errno::EPERM));
        let killed = in_child(SECOND, || process::kill(process::own_pid(), libc::SIGSYS).map(|()| 0));
        assert_eq!(killed.unwrap(), Outcome::Killed(libc::SIGSYS));
        let slow = in_child(Duration::from_millis(50), || {
            std::thread::sleep(SECOND);
            Ok(0)
        });
        assert_eq!(slow.unwrap(), Outcome::Hung);
    }
}
