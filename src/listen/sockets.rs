//! The listening sockets: passed by systemd, or opened by the config.

use std::{
    fs, io,
    net::SocketAddr,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::PermissionsExt as _,
    },
    path::Path,
};

use listenfd::ListenFd;
use tracing::info;

use crate::base::{Result, fail};
use crate::sys::{fd, net, seqpacket};

/// One of them.
#[derive(Debug)]
pub(super) struct Socket {
    /// Non-blocking.
    pub(super) fd: OwnedFd,
    /// As the config names it; `None`: systemd's.
    configured: Option<SocketAddr>,
}

/// What messages to a socket of ours may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Brings {
    /// Whatever root sends.
    Anything,
    /// No descriptors, where the kernel can refuse them (Linux 6.16).
    Nothing,
}

/// A socket of ours in the file system, non-blocking, in place of what an earlier listener left there. The
/// directory is root's.
pub(super) fn open_path(path: &Path, mode: u32, backlog: i32, brings: Brings) -> Result<OwnedFd> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(fail("removing", path.display(), cause)),
    }
    let failed = |errno| fail("listening on", path.display(), errno);
    let socket = seqpacket::bind_path(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|cause| fail("setting the mode of", path.display(), cause))?;
    fd::set_nonblocking(socket.as_fd(), true).map_err(failed)?;
    if brings == Brings::Nothing {
        // Where this is false, whoever reads such a message leaves it where it is.
        let _by_the_kernel = seqpacket::refuse_descriptors(socket.as_fd()).map_err(failed)?;
    }
    seqpacket::start_listening(socket.as_fd(), backlog).map_err(failed)?;
    Ok(socket)
}

/// Systemd's sockets, if it passed some; otherwise those that `addresses` name.
pub(super) fn open(addresses: &[SocketAddr]) -> Result<Vec<Socket>> {
    let passed = take_passed()?;
    if passed.is_empty() { missing(&[], addresses) } else { Ok(passed) }
}

/// Sockets for those of `addresses` that `there` lacks. With systemd's there, nothing is missing.
pub(super) fn missing(there: &[Socket], addresses: &[SocketAddr]) -> Result<Vec<Socket>> {
    if there.iter().any(|socket| socket.configured.is_none()) {
        return Ok(Vec::new());
    }
    let lacking = |address: &&SocketAddr| !there.iter().any(|socket| socket.configured == Some(**address));
    addresses.iter().filter(lacking).map(|address| bind(*address)).collect()
}

/// Adds `opened` to `sockets` and closes what `addresses` no longer names. Those that stay are not
/// touched, so that no waiting connection is lost; systemd's stay.
pub(super) fn replace(sockets: &mut Vec<Socket>, opened: Vec<Socket>, addresses: &[SocketAddr]) {
    sockets.retain(|socket| socket.configured.is_none_or(|at| addresses.contains(&at)));
    sockets.extend(opened);
}

fn bind(address: SocketAddr) -> Result<Socket> {
    let fd = net::listen_on(address).map_err(|errno| {
        fail("listening on", address, errno).hint(format!("see who has it: ss -ltnp 'sport = :{}'", address.port()))
    })?;
    match net::local_address(fd.as_fd()) {
        Ok(at) => info!("listening on {at}"),
        Err(errno) => return Err(fail("listening on", address, errno)),
    }
    Ok(Socket { fd, configured: Some(address) })
}

fn take_passed() -> Result<Vec<Socket>> {
    let mut passed = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..passed.len() {
        let failed = |cause: &dyn std::fmt::Display| {
            fail("taking systemd's socket", index, cause).hint("ListenStream= in the socket unit must name TCP ports")
        };
        let Some(listener) = passed.take_tcp_listener(index).map_err(|cause| failed(&cause))? else { continue };
        // A copy that no exec carries along; the original is closed here.
        let fd = fd::duplicate(listener.as_fd()).map_err(|errno| failed(&errno))?;
        fd::set_nonblocking(fd.as_fd(), true).map_err(|errno| failed(&errno))?;
        sockets.push(Socket { fd, configured: None });
    }
    if !sockets.is_empty() {
        info!("listening on {} sockets from systemd", sockets.len());
    }
    Ok(sockets)
}
