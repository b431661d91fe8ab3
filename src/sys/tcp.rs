//! Options of a TCP socket (tcp(7), socket(7)).

use std::{os::fd::BorrowedFd, time::Duration};

use rustix::net::sockopt;

use super::SysResult;

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
