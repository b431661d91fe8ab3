//! Stream sockets of forwards: connect with a limit, listen, accept, half-close. And datagrams to
//! the servers that know names.

use std::{
    net::SocketAddr,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, acceptfrom_with, bind,
    connect, listen, recv, send, shutdown, socket_with, sockopt,
};

use super::{
    Errno, SysResult,
    error::retry,
    poll::{self, Watch},
};

/// Connections that wait in the kernel until they are accepted; as sshd has it (`SSH_LISTEN_BACKLOG`).
const BACKLOG: i32 = 128;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// socket(2), connect(2): a non-blocking, close-on-exec TCP socket connected to `to`.
///
/// `ETIMEDOUT`: not before `deadline`.
pub fn connect_tcp(to: SocketAddr, deadline: Instant) -> SysResult<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, FLAGS, None)?;
    match connect(&socket, &to) {
        Ok(()) => {}
        Err(rustix::io::Errno::INPROGRESS) => {
            wait(Watch::Writable(socket.as_fd()), deadline)?;
            sockopt::socket_error(&socket)?.map_err(Errno::from)?;
        }
        Err(errno) => return Err(errno.into()),
    }
    sockopt::set_tcp_nodelay(&socket, true)?;
    Ok(socket)
}

/// The same for a unix socket. `limit` bounds the wait for a full backlog (`EAGAIN` then).
pub fn connect_unix(to: &Path, limit: Duration) -> SysResult<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(limit))?;
    retry(|| Ok(connect(&socket, &SocketAddrUnix::new(to)?)?))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, None)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

/// bind(2), listen(2) at a path that does not exist: a non-blocking, close-on-exec socket. The umask
/// decides who may connect.
pub fn listen_unix(at: &Path) -> SysResult<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    bind(&socket, &SocketAddrUnix::new(at)?)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// accept4(2): the next connection (non-blocking, close-on-exec), and its address if it has one that
/// is worth a name. `EAGAIN`: none waits.
pub fn accept(listener: BorrowedFd<'_>) -> SysResult<(OwnedFd, Option<SocketAddr>)> {
    let (socket, peer) = acceptfrom_with(listener, FLAGS)?;
    Ok((socket, peer.and_then(super::net::internet)))
}

/// shutdown(2) of the sending half: the peer reads the end of the stream.
pub fn end_sending(socket: BorrowedFd<'_>) -> SysResult<()> {
    Ok(shutdown(socket, Shutdown::Write)?)
}

/// Sends `question` to `server` by UDP and waits for one datagram from there that `fits`.
///
/// `ETIMEDOUT`: none came before `deadline`. Answers longer than `buffer` are cut.
pub fn ask_by_udp(
    server: SocketAddr,
    question: &[u8],
    buffer: &mut [u8],
    deadline: Instant,
    fits: impl Fn(&[u8]) -> bool,
) -> SysResult<usize> {
    let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::DGRAM, FLAGS, None)?;
    // Connected: the kernel drops what comes from elsewhere.
    connect(&socket, &server)?;
    send(&socket, question, SendFlags::NOSIGNAL)?;
    loop {
        wait(Watch::Readable(socket.as_fd()), deadline)?;
        let (_filled, length) = recv(&socket, &mut *buffer, RecvFlags::empty())?;
        let length = length.min(buffer.len());
        if fits(buffer.get(..length).unwrap_or_default()) {
            return Ok(length);
        }
    }
}

/// Waits for one thing; `ETIMEDOUT`: not before `deadline`.
fn wait(watched: Watch<'_>, deadline: Instant) -> SysResult<()> {
    while !poll::wait(&[watched], Some(deadline))?.contains(&true) {
        // Otherwise it was a signal.
        if Instant::now() >= deadline {
            return Err(Errno::ETIMEDOUT);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn a_connection_arrives_with_its_address() {
        let listener = super::super::net::listen_on("127.0.0.1:0".parse().unwrap()).unwrap();
        let at = super::super::net::local_address(listener.as_fd()).unwrap();
        assert_eq!(accept(listener.as_fd()).unwrap_err(), Errno::EAGAIN);
        let client = connect_tcp(at, soon()).unwrap();
        let (_served, peer) = accept(listener.as_fd()).unwrap();
        assert_eq!(peer, Some(super::super::net::local_address(client.as_fd()).unwrap()));
        drop(listener);
        assert_eq!(connect_tcp(at, soon()).unwrap_err(), Errno::ECONNREFUSED);
    }

    #[test]
    fn a_full_backlog_is_not_waited_for_for_ever() {
        let dir = std::env::temp_dir().join(format!("cellblock-stream-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let _listener = listen_unix(&dir.join("s")).unwrap();
        let mut held = Vec::new();
        let errno = loop {
            match connect_unix(&dir.join("s"), Duration::from_millis(20)) {
                Ok(socket) => held.push(socket),
                Err(errno) => break errno,
            }
        };
        assert_eq!(errno, Errno::EAGAIN);
        assert!(held.len() > 100);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
