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
pub mod modes;
mod sessions;
mod spawn;
mod victims;

use std::{os::fd::AsFd as _, time::Instant};

use crate::sys::{
    Errno, fd,
    poll::{self, Watch},
    process,
    signal::{SIGCHLD, SIGIO, Signals},
};
use crate::wire::init::handover;

use alarm::{Alarm, Child};
use board::Board;
use end::{End, Life};
use gauges::Gauges;
use hang_ups::HangUps;
use links::{Inside, Links};
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
    let mut signals = Signals::block(&[SIGCHLD, SIGIO])?;
    // Not there where nothing is limited: then nothing is told.
    let memory_event = fd::inherited(handover::MEMORY_EVENT).ok();
    let mut alarm = Alarm::new(Gauges::open(groups.version(), memory_event));
    let mut board = fd::inherited(handover::BOARD).ok().map(Board::new);
    let mut sessions = Sessions::new(groups, filter);
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
        let mut watched = vec![Watch::Readable(signals.as_fd())];
        watched.extend(listener.as_ref().map(|listener| Watch::Readable(listener.as_fd())));
        watched.extend(links.watched().map(Watch::Readable));
        watched.extend(alarm.watched());
        let asked_for = [
            life.deadline(),
            links.deadline(),
            hang_ups.deadline(),
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
                    board.asked(alarm.gauges(), sessions.count());
                }
            }
            for (link, report) in sessions.reap(&mut alarm)? {
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
