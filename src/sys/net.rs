//! TCP sockets: listen, accept, and the options that a connection gets; timeouts of unix sockets.

use std::{
    net::{SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::net::{
    AddressFamily, SendFlags, SocketAddrAny, SocketFlags, SocketType, acceptfrom_with, bind, getpeername, getsockname,
    listen, send, socket_with, sockopt,
};

use super::{Errno, SysResult};

/// Connections that wait in the kernel until the listener gets to them.
const BACKLOG: i32 = 128;

/// socket(2), bind(2), listen(2): a non-blocking, close-on-exec listening socket. An IPv6 socket
/// takes IPv6 only (`IPV6_V6ONLY`), so that both families can listen on one port.
pub fn listen_on(address: SocketAddr) -> SysResult<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// accept4(2): the next connection (close-on-exec, blocking) and who is there.
///
/// `EAGAIN`: none waits. A socket of another family than IPv4 and IPv6 is `EPROTO`.
pub fn accept(listener: BorrowedFd<'_>) -> SysResult<(OwnedFd, SocketAddr)> {
    let (socket, peer) = acceptfrom_with(listener, SocketFlags::CLOEXEC)?;
    let peer = peer.and_then(internet).ok_or(Errno::EPROTO)?;
    Ok((socket, peer))
}

/// getsockname(2).
pub fn local_address(socket: BorrowedFd<'_>) -> SysResult<SocketAddr> {
    internet(getsockname(socket)?).ok_or(Errno::EPROTO)
}

/// getpeername(2).
pub fn peer_address(socket: BorrowedFd<'_>) -> SysResult<SocketAddr> {
    getpeername(socket)?.and_then(internet).ok_or(Errno::EPROTO)
}

pub(super) fn internet(address: SocketAddrAny) -> Option<SocketAddr> {
    SocketAddrV4::try_from(address.clone())
        .map(SocketAddr::V4)
        .or_else(|_v6| SocketAddrV6::try_from(address).map(SocketAddr::V6))
        .ok()
}

/// `SO_SNDTIMEO` (socket(7)): a send that finds no room for so long fails with `EAGAIN`.
pub fn set_send_timeout(socket: BorrowedFd<'_>, limit: Duration) -> SysResult<()> {
    Ok(sockopt::set_socket_timeout(socket, sockopt::Timeout::Send, Some(limit))?)
}

/// Sends what fits of `bytes` right now, without `SIGPIPE`.
pub fn send_now(socket: BorrowedFd<'_>, bytes: &[u8]) -> SysResult<usize> {
    Ok(send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn both_families_listen_on_one_port_and_say_who_came() {
        let four = listen_on("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = local_address(four.as_fd()).unwrap().port();
        assert_eq!(accept(four.as_fd()).unwrap_err(), Errno::EAGAIN);
        let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (served, peer) = accept(four.as_fd()).unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        assert_eq!(peer_address(served.as_fd()).unwrap(), peer);
        match listen_on(format!("[::1]:{port}").parse().unwrap()) {
            Ok(_six) => {}
            Err(errno) => assert_eq!(errno, Errno::from_raw(libc::EADDRNOTAVAIL), "no IPv6 here"),
        }
    }
}
