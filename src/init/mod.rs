//! pid 1 of a cell: starts sessions, reaps, hands out streams, reports, ends.
//!
//! Runs as `cellblock-init`, statically linked and alone in the cell's namespaces, from a program
//! file that nobody can read. It takes orders only from host root, over links; it never waits for a
//! child, never resolves a name and never loads a library.

mod end;
mod greeting;
mod hang_ups;
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
use hang_ups::HangUps;
use links::{Inside, Links};
use sessions::Sessions;
use spawn::Groups;

/// The life of a cell, seen from its pid 1. Returns when the cell is to end; the kernel kills what
/// is left when pid 1 does.
pub fn live() -> Result<(), Errno> {
    process::make_undumpable()?;
    let listener = fd::inherited(handover::LISTENER)?;
    fd::set_nonblocking(listener.as_fd(), true)?;
    let mut listener = Some(listener);
    let mut links = Links::new(fd::inherited(handover::FIRST_LINK)?)?;
    let groups = Groups::inherited()?;
    let mut signals = Signals::block(&[SIGCHLD])?;
    let mut sessions = Sessions::new(groups);
    let mut hang_ups = HangUps::default();
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
        let deadline = [life.deadline(), links.deadline(), hang_ups.deadline()].into_iter().flatten().min();
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
            let (links, sessions) = (&mut links, &mut sessions);
            links::carry_out(link, order, &mut Inside { links, sessions, hang_ups: &mut hang_ups, life: &mut life });
        }
        for (link, report) in hang_ups.tend(Instant::now()) {
            links.report(link, &report);
        }
    }
}
