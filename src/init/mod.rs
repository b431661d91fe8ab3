//! pid 1 of a cell: starts sessions, reaps, hands out streams, reports, ends.
//!
//! Runs as `cellblock-init`, statically linked and alone in the cell's namespaces, from a program
//! file that nobody can read. It takes orders only from host root, over links; it never waits for a
//! child, never resolves a name and never loads a library.

mod alarm;
mod board;
mod end;
mod gauges;
mod greeting;
mod hang_ups;
mod links;
mod open;
mod openers;
mod sessions;
mod spawn;
mod stores;
mod suspects;
mod victims;

use std::{
    os::fd::{AsFd as _, OwnedFd},
    time::Instant,
};

use crate::sys::{
    Errno, fd,
    poll::{self, Watch},
    process,
    signal::{SIGCHLD, SIGIO, Signals},
};

use alarm::{Alarm, Child};
use board::Board;
use end::{End, Life};
use gauges::Gauges;
use hang_ups::HangUps;
use links::{Inside, Links};
use openers::Openers;
use sessions::Sessions;
pub use spawn::{Bounds, Groups, Ids};
use stores::Stores;

/// What pid 1 begins with.
#[derive(Debug)]
pub struct Given {
    /// Its socket, listening.
    pub listener: OwnedFd,
    /// The link of the monitor that started the cell.
    pub first_link: OwnedFd,
    /// Where sessions go.
    pub groups: Groups,
    /// What they are held to.
    pub bounds: Bounds,
    /// Readable when the sessions of a v1 group ran out of memory. Not there where nothing is
    /// limited: then nothing is told.
    pub memory_event: Option<OwnedFd>,
    /// The file that tenants read as `/run/cellblock/usage`.
    pub board: Option<OwnedFd>,
}

/// The life of a cell, seen from its pid 1. Returns when the cell is to end; the kernel kills what
/// is left when pid 1 does.
pub fn live(given: Given) -> Result<(), Errno> {
    process::make_undumpable()?;
    let Given { listener, first_link, groups, bounds, memory_event, board } = given;
    fd::set_nonblocking(listener.as_fd(), true)?;
    let mut listener = Some(listener);
    let mut links = Links::new(first_link)?;
    let mut signals = Signals::block(&[SIGCHLD, SIGIO])?;
    let mut alarm = Alarm::new(Gauges::open(groups.version(), memory_event));
    let mut board = board.map(Board::new);
    let mut sessions = Sessions::new(groups, bounds);
    let mut stores = Stores::default();
    let mut hang_ups = HangUps::default();
    let mut openers = Openers::default();
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
        let mut watched = vec![Watch::Readable(signals.as_fd())];
        watched.extend(listener.as_ref().map(|listener| Watch::Readable(listener.as_fd())));
        watched.extend(links.watched().map(Watch::Readable));
        watched.extend(openers.watched().map(Watch::Readable));
        watched.extend(alarm.watched());
        let asked_for = [
            life.deadline(),
            links.deadline(),
            hang_ups.deadline(),
            openers.deadline(),
            alarm.deadline(sessions.count()),
            board.as_ref().and_then(Board::deadline),
        ];
        let ready = poll::wait(&watched, asked_for.into_iter().flatten().min())?;
        let (signalled, alarmed) =
            (ready.first() == Some(&true), ready.iter().rev().take(alarm.watched().count()).any(|ready| *ready));
        let mut ready = ready.into_iter().skip(1);
        let now = Instant::now();
        // Before anything is reaped, which is then no more to be found.
        if signalled || alarmed || alarm.deadline(sessions.count()).is_some_and(|at| at <= now) {
            let child = if signalled { Child::Ended } else { Child::None };
            for word in alarm.look(now, &sessions.pids(), child) {
                links.pass_on(word, &sessions);
            }
        }
        if let Some(board) = &mut board {
            board.look(now, alarm.gauges(), sessions.count());
        }
        if signalled {
            while let Some(signal) = signals.take_one()? {
                if let (SIGIO, Some(board)) = (signal, &mut board) {
                    board.asked(now, alarm.gauges(), sessions.count());
                }
            }
            reap(&mut sessions, &mut links, &mut alarm, &mut stores)?;
        }
        let knocked = listener.as_ref().filter(|_| ready.next() == Some(true));
        let orders = links.receive(ready);
        if let Some(listener) = knocked {
            links.accept(listener.as_fd());
        }
        for (link, order) in orders {
            let (links, sessions) = (&mut links, &mut sessions);
            let (hang_ups, openers, life) = (&mut hang_ups, &mut openers, &mut life);
            links::carry_out(link, order, &mut Inside { links, sessions, hang_ups, openers, life });
        }
        hand_out(&mut openers, &mut links, &mut sessions);
        for (link, report) in hang_ups.tend(Instant::now()) {
            links.report(link, &report);
        }
    }
}

/// Reaps all that has ended. What there is to say of a failure is said before the session's end.
fn reap(sessions: &mut Sessions, links: &mut Links, alarm: &mut Alarm, stores: &mut Stores) -> Result<(), Errno> {
    while let Some(child) = sessions.reap()? {
        if sessions.failed(&child) {
            for word in stores.look(Instant::now(), &sessions.pids()) {
                links.pass_on(word, sessions);
            }
        }
        if let Some((link, report)) = sessions.end(&child, alarm) {
            links.report(link, &report);
        }
    }
    Ok(())
}

/// Passes on the sockets that are open by now, and clears up after monitors that have gone.
fn hand_out(openers: &mut Openers, links: &mut Links, sessions: &mut Sessions) {
    for (link, report, sockets) in openers.hear(Instant::now()) {
        let fds: Vec<_> = sockets.iter().map(OwnedFd::as_fd).collect();
        if !links.report_with(link, &report, &fds) {
            openers.part_with(sockets);
        }
    }
    openers.forget(|link| links.is_there(link), sessions);
    sessions.forget(|link| links.is_there(link));
}
