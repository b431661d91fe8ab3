//! pid 1 of a cell: starts sessions, reaps, hands out streams, reports, ends.
//!
//! Runs as `cellblock-init`, statically linked and alone in the cell's namespaces, from a program
//! file that nobody can read. It takes orders only from host root, over links; it never waits for a
//! child, never resolves a name and never loads a library.

mod end;
mod greeting;
mod links;
mod modes;
mod sessions;
mod spawn;

use std::{
    os::fd::{AsFd as _, OwnedFd},
    time::Instant,
};

use crate::sys::{
    Errno, fd, poll, process,
    signal::{SIGCHLD, Signals},
};
use crate::wire::init::handover;

use end::{End, Life};
use links::Links;
use sessions::Sessions;
use spawn::{Filter, Groups};

/// The life of a cell, seen from its pid 1. Returns when the cell is to end; the kernel kills what
/// is left when pid 1 does.
pub fn live() -> Result<(), Errno> {
    process::make_undumpable()?;
    let listener = fd::inherited(handover::LISTENER)?;
    fd::set_nonblocking(listener.as_fd(), true)?;
    let mut listener = Some(listener);
    let mut links = Links::new(fd::inherited(handover::FIRST_LINK)?)?;
    let groups = Groups::inherited()?;
    let filter = Filter::inherited()?;
    let mut signals = Signals::block(&[SIGCHLD])?;
    let mut sessions = Sessions::new(groups, filter);
    let mut life = Life::new(Instant::now());

    loop {
        let attached = links.attached(&sessions, Instant::now());
        match life.next(attached, sessions.processes(), Instant::now()) {
            End::Gone => return Ok(()),
            End::Refuse(signal) => {
                links.close();
                listener = None;
                sessions.signal_all(signal)?;
                continue;
            }
            End::NotYet => {}
        }
        let mut watched = vec![signals.as_fd()];
        watched.extend(listener.as_ref().map(OwnedFd::as_fd));
        watched.extend(links.watched());
        let deadline = [life.deadline(), links.deadline()].into_iter().flatten().min();
        let ready = poll::wait_readable(&watched, deadline)?;
        let mut ready = ready.into_iter();
        if ready.next() == Some(true) {
            while signals.take_one()?.is_some() {}
            for (link, report) in sessions.reap()? {
                links.report(link, &report);
            }
        }
        let knocked = listener.as_ref().filter(|_| ready.next() == Some(true));
        let orders = links.receive(ready);
        if let Some(listener) = knocked {
            links.accept(listener.as_fd());
        }
        for (link, order) in orders {
            links::carry_out(link, order, &mut links, &mut sessions, &mut life);
        }
    }
}
