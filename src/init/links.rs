//! The monitors that are connected, and their orders.

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use crate::sys::{Errno, fd, seqpacket};
use crate::wire::{
    Link,
    init::{FULL, Hit, MAX_LINKS, Order, Report, Running, WELCOME},
};

use super::{
    alarm::{Record, Word},
    end::{Attached, Life},
    hang_ups::HangUps,
    openers::Openers,
    sessions::Sessions,
};

/// Words about limits kept for the next monitor to write down, where none is there to.
const MAX_UNRECORDED: usize = 16;

/// How long a monitor that has come may take to start its first session.
const ARRIVAL: Duration = Duration::from_secs(10);

/// Which link, for its whole life.
pub(super) type LinkId = u64;

#[derive(Debug)]
struct Monitor {
    id: LinkId,
    link: Link<Report, Order>,
    /// Until when it counts although it has no session; `None` once it had one.
    expected_until: Option<Instant>,
    /// An admin's verb and no connection.
    visits: bool,
    /// It has opened sockets for its client, who is there until it ends.
    forwards: bool,
}

/// All monitors.
#[derive(Debug)]
pub(super) struct Links {
    monitors: Vec<Monitor>,
    next: LinkId,
    unrecorded: Vec<Hit>,
}

impl Links {
    pub(super) fn new(first: OwnedFd) -> Result<Self, Errno> {
        fd::set_nonblocking(first.as_fd(), true)?;
        let mut links = Self { monitors: Vec::new(), next: 0, unrecorded: Vec::new() };
        links.add(first);
        Ok(links)
    }

    fn add(&mut self, socket: OwnedFd) {
        let expected_until = Some(Instant::now() + ARRIVAL);
        self.monitors.push(Monitor {
            id: self.next,
            link: Link::new(socket),
            expected_until,
            visits: false,
            forwards: false,
        });
        self.next += 1;
    }

    /// Takes a monitor in and welcomes it. One too many is told so, and its link closed.
    pub(super) fn accept(&mut self, listener: BorrowedFd<'_>) {
        let Ok(socket) = seqpacket::accept_one(listener) else { return };
        let full = self.monitors.len() >= MAX_LINKS;
        // Whoever has gone already needs no word.
        let told = seqpacket::send(socket.as_fd(), if full { FULL } else { WELCOME }, &[]).is_ok();
        if told && !full {
            self.add(socket);
            for hit in std::mem::take(&mut self.unrecorded) {
                self.record(hit);
            }
        }
    }

    /// Tells of a limit that was reached: each monitor, for its sessions, and one to write it down.
    pub(super) fn pass_on(&mut self, word: Word, sessions: &Sessions) {
        let recorder = self.monitors.first().map(|monitor| monitor.id).filter(|_| word.record == Record::Yes);
        let ids: Vec<LinkId> = self.monitors.iter().map(|monitor| monitor.id).collect();
        for id in ids {
            let (told, record) = (sessions.addressed(id, &word.to), Some(id) == recorder);
            if record || !told.is_empty() {
                self.report(id, &Report::LimitHit { hit: word.hit.clone(), sessions: told, record });
            }
        }
        if recorder.is_none() && word.record == Record::Yes {
            self.record(word.hit);
        }
    }

    fn record(&mut self, hit: Hit) {
        match self.monitors.first().map(|monitor| monitor.id) {
            Some(id) => self.report(id, &Report::LimitHit { hit, sessions: Vec::new(), record: true }),
            None if self.unrecorded.len() < MAX_UNRECORDED => self.unrecorded.push(hit),
            None => {}
        }
    }

    pub(super) fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.monitors.iter().map(|monitor| monitor.link.as_fd())
    }

    /// One order of each monitor that is `ready`, in the order of [`Links::watched`]. Monitors that
    /// are gone, or send what is no order, are dropped.
    pub(super) fn receive(&mut self, ready: impl Iterator<Item = bool>) -> Vec<(LinkId, Order)> {
        let mut orders = Vec::new();
        let mut gone = Vec::new();
        for (monitor, ready) in self.monitors.iter_mut().zip(ready) {
            if !ready {
                continue;
            }
            match monitor.link.receive() {
                Ok((order, fds)) if fds.is_empty() => orders.push((monitor.id, order)),
                Err(crate::wire::LinkError::WouldBlock) => {}
                Ok(_) | Err(_) => gone.push(monitor.id),
            }
        }
        self.monitors.retain(|monitor| !gone.contains(&monitor.id));
        orders
    }

    /// Tells a monitor something. One that has gone, or does not read, is dropped: its end of the
    /// streams tells it the rest.
    pub(super) fn report(&mut self, to: LinkId, report: &Report) {
        self.report_with(to, report, &[]);
    }

    /// The same with descriptors. Whether it was told.
    pub(super) fn report_with(&mut self, to: LinkId, report: &Report, fds: &[BorrowedFd<'_>]) -> bool {
        let mut told = false;
        self.monitors.retain(|monitor| {
            if monitor.id != to {
                return true;
            }
            told = monitor.link.send_with(report, fds).is_ok();
            told
        });
        told
    }

    /// The monitor has started a session.
    pub(super) fn arrived(&mut self, id: LinkId) {
        for monitor in self.monitors.iter_mut().filter(|monitor| monitor.id == id) {
            monitor.expected_until = None;
        }
    }

    /// The monitor has a socket opened.
    fn forwards(&mut self, id: LinkId) {
        self.arrived(id);
        for monitor in self.monitors.iter_mut().filter(|monitor| monitor.id == id) {
            monitor.forwards = true;
        }
    }

    /// Whether this link is still open.
    pub(super) fn is_there(&self, id: LinkId) -> bool {
        self.monitors.iter().any(|monitor| monitor.id == id)
    }

    /// The other end is not a connection's.
    fn visits(&mut self, id: LinkId) {
        self.arrived(id);
        for monitor in self.monitors.iter_mut().filter(|monitor| monitor.id == id) {
            monitor.visits = true;
        }
    }

    fn connections(&self) -> u32 {
        let connections = self.monitors.iter().filter(|monitor| !monitor.visits).count();
        u32::try_from(connections).unwrap_or(u32::MAX)
    }

    pub(super) fn attached(&mut self, sessions: &Sessions, now: Instant) -> Attached {
        for monitor in &mut self.monitors {
            monitor.expected_until = monitor.expected_until.filter(|until| now < *until);
        }
        if self.monitors.iter().any(|monitor| monitor.forwards || sessions.has_any(monitor.id)) {
            Attached::Yes
        } else if self.monitors.iter().any(|monitor| monitor.expected_until.is_some()) {
            Attached::Perhaps
        } else {
            Attached::No
        }
    }

    /// When the next expected monitor stops to count.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.monitors.iter().filter_map(|monitor| monitor.expected_until).min()
    }

    /// Ends all links: the cell is ending.
    pub(super) fn close(&mut self) {
        self.monitors.clear();
    }
}

/// What orders are about.
pub(super) struct Inside<'a> {
    pub(super) links: &'a mut Links,
    pub(super) sessions: &'a mut Sessions,
    pub(super) hang_ups: &'a mut HangUps,
    pub(super) openers: &'a mut Openers,
    pub(super) life: &'a mut Life,
}

/// Does what a monitor, or an admin's verb, orders.
pub(super) fn carry_out(from: LinkId, order: Order, cell: &mut Inside<'_>) {
    let Inside { links, sessions, hang_ups, openers, life } = cell;
    match order {
        Order::Start(start) => {
            life.set_linger(start.linger);
            links.arrived(from);
            let session = start.session;
            if sessions.is_full(start.max_sessions) {
                links.report(from, &Report::Full { session });
                return;
            }
            match sessions.start(from, *start) {
                Ok((pid, streams)) => {
                    let fds: Vec<_> = streams.iter().map(OwnedFd::as_fd).collect();
                    links.report_with(from, &Report::Started { session, pid }, &fds);
                }
                Err((step, errno)) => {
                    let report = Report::NotStarted { session, step: step.into(), errno: errno.raw() };
                    links.report(from, &report);
                }
            }
        }
        Order::Signal { session, signal } => sessions.signal(from, session, signal),
        Order::Open(open) => {
            life.set_linger(open.linger);
            links.forwards(from);
            if let Err(report) = openers.start(from, *open, sessions) {
                links.report(from, &report);
            }
        }
        Order::Close { forward } => openers.close(from, forward, sessions),
        Order::Stay => {
            life.set_linger(None);
            links.arrived(from);
        }
        Order::End { grace } => {
            links.visits(from);
            life.ask(grace);
        }
        Order::List { after } => {
            links.visits(from);
            let (sessions, more) = sessions.list(after.as_ref());
            let connections = links.connections();
            links.report(from, &Report::Running(Running { sessions, more, connections }));
        }
        Order::EndSession { id, grace } => {
            links.visits(from);
            match sessions.leader(&id) {
                Some(leader) => hang_ups.begin(from, id, leader, grace, Instant::now()),
                None => links.report(from, &Report::SessionGone { id, existed: false }),
            }
        }
    }
}
