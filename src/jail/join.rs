//! Joining a running cell: a call at its socket, and the answer of its init.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    time::{Duration, Instant},
};

use crate::base::{Result, TenantName, fail};
use crate::sys::{Errno, poll, process::Pid, seqpacket};
use crate::wire::{
    Link,
    init::{FULL, WELCOME},
};

use super::{
    cell::{Cell, live},
    state::Place,
};

/// What became of an attempt to join.
pub(super) enum Joined {
    Cell(Box<Cell>),
    /// None runs.
    None,
    /// One runs but takes nobody: it is ending.
    Ending(Pid, OwnedFd),
    /// One runs, and serves as many as it can.
    Full,
}

/// Joins the tenant's cell, if one runs; its init may take `wait` to answer.
pub(super) fn join(place: &Place, name: &TenantName, wait: Duration) -> Result<Joined> {
    let failed = |errno: Errno| fail("joining the cell of", name, errno);
    let Some(record) = place.record()? else { return Ok(Joined::None) };
    let Some(pidfd) = live(record)? else { return Ok(Joined::None) };
    let socket = match seqpacket::connect_path(&place.socket()) {
        Ok(socket) => socket,
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => return Ok(Joined::Ending(record.pid, pidfd)),
        Err(errno) => return Err(failed(errno)),
    };
    let peer = seqpacket::peer_pid(socket.as_fd()).map_err(failed)?;
    if peer != record.pid {
        // It ended after it was looked at, and the tenant's next cell listens in its place.
        if live(record)?.is_none() {
            return Ok(Joined::Ending(record.pid, pidfd));
        }
        return Err(fail("joining the cell of", name, format_args!("process {peer} answers, not {}", record.pid)));
    }
    let deadline = Some(Instant::now() + wait);
    let ready = poll::wait_readable(&[socket.as_fd(), pidfd.as_fd()], deadline).map_err(failed)?;
    if ready.first() != Some(&true) {
        return Ok(Joined::Ending(record.pid, pidfd));
    }
    let mut word = [0; WELCOME.len()];
    match seqpacket::receive(socket.as_fd(), &mut word) {
        Ok((length, _fds)) if length == WELCOME.len() && word == *WELCOME => {}
        Ok((length, _fds)) if length == FULL.len() && word == *FULL => return Ok(Joined::Full),
        Ok((0, _)) | Err(Errno::ECONNRESET) => return Ok(Joined::Ending(record.pid, pidfd)),
        Ok(_other) => return Err(failed(Errno::EPROTO)),
        Err(errno) => return Err(failed(errno)),
    }
    let link = Link::new(socket);
    Ok(Joined::Cell(Box::new(Cell {
        link,
        pidfd,
        name: name.clone(),
        pid: record.pid,
        started: false,
        forgone: Vec::new(),
    })))
}
