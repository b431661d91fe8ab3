//! Options of a TCP socket (tcp(7), socket(7)).

use std::{
    os::fd::{AsRawFd as _, BorrowedFd},
    time::Duration,
};

use rustix::net::sockopt;

use super::{Errno, SysResult};

/// `TCP_QUICKACK`: acknowledges what has come, at once. The kernel forgets it soon; set it again.
pub fn acknowledge_at_once(socket: BorrowedFd<'_>) -> SysResult<()> {
    Ok(sockopt::set_tcp_quickack(socket, true)?)
}

/// `TCP_NODELAY`: sends small packets at once.
pub fn send_at_once(socket: BorrowedFd<'_>) -> SysResult<()> {
    Ok(sockopt::set_tcp_nodelay(socket, true)?)
}

/// `SO_KEEPALIVE`: after `idle` of silence asks every `interval`, `count` times, whether the peer
/// is there; then reads fail.
pub fn keep_alive(socket: BorrowedFd<'_>, idle: Duration, interval: Duration, count: u32) -> SysResult<()> {
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, idle)?;
    sockopt::set_tcp_keepintvl(socket, interval)?;
    Ok(sockopt::set_tcp_keepcnt(socket, count)?)
}

/// `SIOCOUTQ`: bytes that were sent, or wait to be, and that the peer's kernel has not acknowledged.
pub fn unacknowledged(socket: BorrowedFd<'_>) -> SysResult<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (TIOCOUTQ, by its other name) writes an int, which outlives the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if done < 0 { Err(Errno::last()) } else { Ok(u64::try_from(bytes).unwrap_or(0)) }
}
