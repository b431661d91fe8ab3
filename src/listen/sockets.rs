//! The listening sockets: passed by systemd, or opened by the config.

use std::{
    net::SocketAddr,
    os::fd::{AsFd as _, OwnedFd},
};

use listenfd::ListenFd;
use tracing::info;

use crate::base::{Result, fail};
use crate::sys::{fd, net};

/// One of them.
#[derive(Debug)]
pub(super) struct Socket {
    /// Non-blocking.
    pub(super) fd: OwnedFd,
    /// As the config names it; `None`: systemd's.
    configured: Option<SocketAddr>,
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
