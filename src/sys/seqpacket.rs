//! `SOCK_SEQPACKET` unix sockets: whole messages, with file descriptors.

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    path::Path,
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect,
    listen, recvmsg, sendmsg, shutdown, socket_with, socketpair,
};

use super::{Errno, SysResult, error::retry};

/// libc has them not yet.
const SO_PEERPIDFD: libc::c_int = 77;
const SO_PASSRIGHTS: libc::c_int = 83;

/// Most descriptors that one message can carry.
pub const MAX_FDS: usize = 4;

/// A connected pair, close-on-exec.
pub fn pair() -> SysResult<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one message, without `SIGPIPE`. More than [`MAX_FDS`] descriptors is `EINVAL`.
pub fn send(socket: BorrowedFd<'_>, message: &[u8], fds: &[BorrowedFd<'_>]) -> SysResult<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if fds.len() > MAX_FDS || (!fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds))) {
        return Err(Errno::EINVAL);
    }
    let sent = retry(|| Ok(sendmsg(socket, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL)?))?;
    if sent == message.len() { Ok(()) } else { Err(Errno::EIO) }
}

/// What the next message is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// How long it is. 0 is the end of the stream, or an empty message.
    pub length: usize,
    /// Whether it brings descriptors.
    pub descriptors: bool,
}

/// Looks at the next message without taking it; waits for it unless the socket is non-blocking. Its
/// descriptors stay where they are: they are not installed here, so nothing happens to their files.
pub fn look(socket: BorrowedFd<'_>) -> SysResult<Next> {
    let mut control = RecvAncillaryBuffer::default();
    // MSG_TRUNC in the request: the whole length, though nothing of it is copied (recv(2)).
    let flags = RecvFlags::PEEK | RecvFlags::TRUNC;
    let next = retry(|| Ok(recvmsg(socket, &mut [], &mut control, flags)?))?;
    // There is no room for descriptors, and of nothing else was told that we want it (unix(7)).
    Ok(Next { length: next.bytes, descriptors: next.flags.contains(ReturnFlags::CTRUNC) })
}

/// Receives one message into `buffer`: its length and its descriptors (close-on-exec).
///
/// Length 0 is the end of the stream: empty messages are never sent. A message that does not fit
/// is `EMSGSIZE`, one with too many descriptors `EPROTO`; whatever came with either is closed.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> SysResult<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        retry(|| Ok(recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)?))?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(Errno::EMSGSIZE);
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Errno::EPROTO);
    }
    Ok((received.bytes, fds))
}

/// A socket bound to `path`, close-on-exec, not yet listening.
pub fn bind_path(path: &Path) -> SysResult<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    bind(socket.as_fd(), &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// listen(2). Who calls it is who `SO_PEERCRED` names to those that connect (docs/kernel.md, 13).
pub fn start_listening(socket: BorrowedFd<'_>, backlog: i32) -> SysResult<()> {
    Ok(listen(socket, backlog)?)
}

/// shutdown(2) of both halves: nothing more is taken from the peer, who reads the end. What it has sent
/// before stays where it is.
pub fn hang_up(socket: BorrowedFd<'_>) -> SysResult<()> {
    Ok(shutdown(socket, Shutdown::Both)?)
}

/// Clears `SO_PASSRIGHTS` (Linux 6.16): a message with descriptors is refused to its sender (`EPERM`), as on
/// all sockets that are accepted from this one. False: this kernel does not know it.
pub fn refuse_descriptors(socket: BorrowedFd<'_>) -> SysResult<bool> {
    let off: libc::c_int = 0;
    let length = libc::socklen_t::try_from(size_of_val(&off)).map_err(|_range| Errno::EINVAL)?;
    // SAFETY: the pointer is to a live value of that length, from which the kernel reads.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_PASSRIGHTS, (&raw const off).cast(), length)
    };
    if done == 0 {
        return Ok(true);
    }
    let errno = Errno::last();
    if errno.raw() == libc::ENOPROTOOPT { Ok(false) } else { Err(errno) }
}

/// A connection to the socket at `path`, close-on-exec. `ECONNREFUSED`: nobody listens there.
pub fn connect_path(path: &Path) -> SysResult<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    retry(|| Ok(connect(socket.as_fd(), &SocketAddrUnix::new(path)?)?))?;
    Ok(socket)
}

/// accept4(2): the next connection, close-on-exec and non-blocking.
pub fn accept_one(listener: BorrowedFd<'_>) -> SysResult<OwnedFd> {
    Ok(accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?)
}

/// `SO_PEERCRED`: the pid and the effective uid of the process that connected, as they were then. A pid
/// that our pid namespace does not have is 0.
pub fn peer_ids(socket: BorrowedFd<'_>) -> SysResult<(i32, u32)> {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    option(socket, libc::SO_PEERCRED, &mut peer)?;
    Ok((peer.pid, peer.uid))
}

/// `SO_PEERPIDFD` (Linux 6.5): a descriptor, close-on-exec, of the process that connected, whoever has its
/// pid by now. `None`: this kernel gives none.
pub fn peer_pidfd(socket: BorrowedFd<'_>) -> SysResult<Option<OwnedFd>> {
    let mut number: libc::c_int = -1;
    match option(socket, SO_PEERPIDFD, &mut number) {
        Ok(()) if number < 0 => Err(Errno::EPROTO),
        // SAFETY: the kernel made a new descriptor for us alone.
        Ok(()) => Ok(Some(unsafe { OwnedFd::from_raw_fd(number) })),
        Err(errno) if errno.raw() == libc::ENOPROTOOPT => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// getsockopt(2) of the socket level. `T` is the plain C type that the option has.
fn option<T: Copy>(socket: BorrowedFd<'_>, name: libc::c_int, value: &mut T) -> SysResult<()> {
    let mut length = libc::socklen_t::try_from(size_of::<T>()).map_err(|_range| Errno::EINVAL)?;
    // SAFETY: both pointers are to live values, and the kernel writes at most `length` bytes, which `value` has.
    let done = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, std::ptr::from_mut(value).cast(), &raw mut length)
    };
    if done < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// `SO_PEERCRED`: the pid, as seen from here, of the process that listened or connected.
pub fn peer_pid(socket: BorrowedFd<'_>) -> SysResult<i32> {
    Ok(rustix::net::sockopt::socket_peercred(socket)?.pid.as_raw_nonzero().get())
}
