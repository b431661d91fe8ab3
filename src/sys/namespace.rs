//! Namespaces of the calling process, and what lies in them: host name, loopback.

use std::{
    fs::File,
    io::{ErrorKind, Read as _},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use rustix::{
    net::{AddressFamily, SocketFlags, SocketType},
    process::{Pid as RawPid, PidfdFlags},
};

use super::{Errno, SysResult, process::namespaces};

/// Longer than a line of `/proc/PID/stat`: 52 fields.
const LONGEST_STAT: usize = 2048;

/// unshare(2) of [`namespaces`], or-ed.
///
/// Of these, `USER`, `PID` and `MOUNT` change what later calls mean; nothing that Rust holds
/// becomes invalid.
pub fn leave(kinds: u64) -> SysResult<()> {
    let flags = i32::try_from(kinds).map_err(|_range| Errno::EINVAL)?;
    // SAFETY: unshare takes one integer; CLONE_FILES, the one flag that would split the table that
    // owned descriptors live in, cannot be among the namespaces' bits.
    let done = unsafe { libc::unshare(flags & !libc::CLONE_FILES) };
    if done < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// The mount namespace alone, for the caller's thread.
pub fn leave_mounts() -> SysResult<()> {
    leave(namespaces::MOUNT)
}

/// The same for a user namespace of the caller's own, with a mount namespace that belongs to it. For a process with one
/// thread (`EINVAL` else), which has every capability there and no id yet.
pub fn leave_users_and_mounts() -> SysResult<()> {
    leave(namespaces::USER | namespaces::MOUNT)
}

/// sethostname(2), in the caller's uts namespace.
pub fn set_host_name(name: &str) -> SysResult<()> {
    Ok(rustix::system::sethostname(name.as_bytes())?)
}

/// Brings `lo` of the caller's network namespace up (`SIOCSIFFLAGS`, netdevice(7)).
pub fn bring_loopback_up() -> SysResult<()> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: ifreq is integers and a union of such, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::try_from(*from).map_err(|_range| Errno::EINVAL)?;
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).map_err(|_range| Errno::EINVAL)?;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which outlives the call.
    let done = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if done < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// A pidfd, only if the process is still the one that started at `start` ([`start_time`]).
pub fn pidfd_if_started_at(pid: i32, start: u64) -> SysResult<OwnedFd> {
    let raw = RawPid::from_raw(pid).ok_or(Errno::ESRCH)?;
    let pidfd = rustix::process::pidfd_open(raw, PidfdFlags::empty())?;
    if start_time(pid)? == start { Ok(pidfd) } else { Err(Errno::ESRCH) }
}

/// When a process started, in clock ticks since boot: field 22 of `/proc/PID/stat`.
pub fn start_time(pid: i32) -> SysResult<u64> {
    let mut file = match File::open(format!("/proc/{pid}/stat")) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(Errno::ESRCH),
        Err(error) => return Err(error.into()),
    };
    // Given whole at once, where it fits.
    let mut line = [0; LONGEST_STAT];
    let length = file.read(&mut line)?;
    let stat = line.get(..length).filter(|stat| stat.ends_with(b"\n")).ok_or(Errno::EIO)?;
    let after = stat.iter().rposition(|b| *b == b')').ok_or(Errno::EIO)?;
    let fields = stat.get(after + 2..).ok_or(Errno::EIO)?;
    let field = fields.split(|b| *b == b' ').nth(19).ok_or(Errno::EIO)?;
    std::str::from_utf8(field).ok().and_then(|text| text.parse().ok()).ok_or(Errno::EIO)
}
