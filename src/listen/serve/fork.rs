//! Monitors: each is a fork of the listener.
//!
//! That of a caller of this host is forked before the caller comes: a fork, and the first use of all that it has
//! from the listener, take as long as all else that a short session asks of a monitor.

use std::{
    hint::black_box,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    rc::Rc,
    time::{Duration, Instant},
};

use tracing::{error, warn};

use crate::base::{Result, fail};
use crate::monitor::{Ear, House};
use crate::sys::parting::{self, Gate, Shut};
use crate::sys::process::{self, Forked, Pid};
use crate::sys::{Errno, SysResult, fd, seqpacket, title};
use crate::wire::door::{Given, Word};
use crate::wire::pam::SESSION_SECONDS;
use crate::wire::{Link, LinkError};

use super::super::callers::Came;
use super::super::door::Door;
use super::super::lasting;
use super::super::monitors::{Monitor, Source, Stage};
use super::Listener;

/// How long after `login_grace` a monitor must have told that its client is in, or have ended: what a session of
/// PAM may take to open, and some.
const OVERDUE_AFTER: Duration = Duration::from_secs(SESSION_SECONDS as u64 + 10);

impl Listener {
    /// Forks the monitor of a connection from `source`, which `run`s there. Its socket is the monitor's from
    /// then on, which goes on only when it is the monitor's alone: what the last close of it does is for
    /// the monitor to bear.
    pub(super) fn fork_monitor(
        &mut self,
        source: Source,
        connection: OwnedFd,
        run: impl FnOnce(&Door, House, (OwnedFd, BorrowedFd<'_>)),
    ) -> Result<()> {
        self.part();
        let Split { ours, theirs, gate, shut, forked } = match split() {
            Ok(split) => split,
            Err(errno) => {
                self.partings.part_with(connection);
                return Err(fail("forking", "a monitor", errno));
            }
        };
        match forked {
            Forked::Child => {
                // The child is not the listener: it must not come back to its loop, not even by a panic.
                let _never_back = ExitGuard;
                drop((ours, shut));
                self.let_go();
                match (self.house(theirs), gate.pass()) {
                    (Ok(house), Ok(())) => run(&self.door, house, (connection, self.ssh_program.as_fd())),
                    (Err(failure), _) => error!("{failure}"),
                    (Ok(_), Err(errno)) => error!("{}", fail("waiting for", "the listener", errno)),
                }
                process::exit_now(0)
            }
            Forked::Parent { pid, pidfd } => {
                drop(connection);
                shut.open();
                self.add_monitor(pid, pidfd, Link::new(ours), source);
                Ok(())
            }
        }
    }

    fn add_monitor(&mut self, pid: Pid, pidfd: OwnedFd, link: Link<(), Word>, source: Source) {
        // A caller's startup holds up nobody but those of its uid, and lasts until its cell has been entered.
        let until = match source {
            Source::Network { .. } => Some(Instant::now() + self.door.server.login_grace + OVERDUE_AFTER),
            Source::Host(_) => None,
        };
        let stage = Stage::Startup { until };
        self.monitors.add(pid, Monitor { link, pidfd, source: Some(source), stage, talks: true, outcome: None });
    }

    /// Has a caller attended to: by the monitor that waits, or else by a new one.
    pub(super) fn attend(&mut self, came: Came, socket: OwnedFd) -> Result<()> {
        let source = Source::Host(came.uid);
        let Some(waiting) = self.waiting.take() else {
            let Came { pid, uid, pidfd } = came;
            return self.fork_monitor(source, socket, |door, house, (socket, _ssh_program)| {
                door.attend((pid, uid, pidfd), socket, Instant::now(), house);
            });
        };
        let Waiting { pid, pidfd, link, shut } = waiting;
        let given = Given { pid: came.pid, uid: came.uid };
        let fds: Vec<BorrowedFd<'_>> =
            [Some(&socket), came.pidfd.as_ref()].into_iter().flatten().map(OwnedFd::as_fd).collect();
        if link.send_with(&given, &fds).is_err() {
            // It has died since; or the kernel passes on no socket in which so much lies (ETOOMANYREFS).
            return self.attend(came, socket);
        }
        // As after a fork: what the last close of it does is for the monitor to bear.
        drop((socket, came));
        self.add_monitor(pid, pidfd, Link::new(link.into()), source);
        shut.open();
        Ok(())
    }

    /// Sees to it that a monitor waits for the next caller. Without one that takes a little longer.
    pub(super) fn have_one_wait(&mut self) {
        self.wait_at = None;
        if self.waiting.is_some() || self.enter.is_none() {
            return;
        }
        self.part();
        // It would hold on to those for as long as it waits.
        if self.partings.hold_any() {
            return;
        }
        let Split { ours, theirs, gate, shut, forked } = match split() {
            Ok(split) => split,
            Err(errno) => return warn!("{}", fail("forking", "a monitor that waits", errno)),
        };
        match forked {
            Forked::Child => {
                let _never_back = ExitGuard;
                drop((ours, shut));
                self.let_go();
                if let Err(failure) = self.wait_for_a_caller(theirs, gate) {
                    error!("{failure}");
                }
                process::exit_now(0)
            }
            Forked::Parent { pid, pidfd } => self.waiting = Some(Waiting { pid, pidfd, link: Link::new(ours), shut }),
        }
    }

    /// In the monitor that waits. Without the listener there is nobody to wait for.
    fn wait_for_a_caller(&mut self, listener: OwnedFd, gate: Gate) -> Result<()> {
        let failed = |errno: Errno| fail("waiting for", "a caller", errno);
        let inbox = fd::duplicate(listener.as_fd()).map_err(failed)?;
        let mut inbox: Link<Word, Given> = Link::new(inbox);
        let mut house = self.house(listener)?;
        house.forget_host_keys();
        title::set("cellblock: waiting [enter]").unwrap_or_default();
        settle();
        let lost = |why: LinkError| fail("waiting for", "a caller", why);
        // Opened once the caller's socket lies in the inbox and is the listener's no more.
        gate.pass().map_err(failed)?;
        let (Given { pid, uid }, fds) = match inbox.receive() {
            Err(LinkError::Closed) => return Ok(()),
            received => received.map_err(lost)?,
        };
        let accepted = Instant::now();
        let mut fds = fds.into_iter();
        let (socket, pidfd) = (fds.next().ok_or_else(|| lost(LinkError::Descriptors))?, fds.next());
        drop(inbox);
        self.door.attend((pid, uid, pidfd), socket, accepted, house);
        Ok(())
    }

    /// Starts the cells that run from the start (`linger = "forever"`), in a child of its own: that
    /// may take a while, and connections are accepted meanwhile.
    pub(super) fn start_lasting(&mut self) {
        let tenants = self.door.lasting();
        if tenants.is_empty() {
            return;
        }
        self.part();
        let forked = seqpacket::pair().and_then(|(ours, theirs)| {
            fd::set_nonblocking(ours.as_fd(), true)?;
            Ok((ours, theirs, process::fork()?))
        });
        match forked {
            Ok((_ours, theirs, Forked::Child)) => {
                let _never_back = ExitGuard;
                self.let_go();
                lasting::start(&tenants, &self.cells, &Link::new(theirs));
                process::exit_now(0)
            }
            Ok((ours, _theirs, Forked::Parent { pid, pidfd })) => {
                let link = Link::new(ours);
                let stage = Stage::Startup { until: None };
                self.monitors.add(pid, Monitor { link, pidfd, source: None, stage, talks: true, outcome: None });
            }
            Err(errno) => error!("{}", fail("starting", "cells with linger = \"forever\"", errno)),
        }
    }

    /// What a monitor needs, in the monitor, which has let go of what is the listener's.
    fn house(&mut self, listener: OwnedFd) -> Result<House> {
        let audit = self.audit.duplicate()?;
        let pam = self.pam_program.take();
        self.door.house(audit, Rc::clone(&self.cells), pam, Ear::new(Link::new(listener)))
    }
}

/// A monitor without a caller. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Waiting {
    pid: Pid,
    pidfd: OwnedFd,
    link: Link<Given, Word>,
    shut: Shut,
}

impl Waiting {
    /// Its process.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }
}

/// What a fork for a connection made: a link and a gate between the two.
struct Split {
    ours: OwnedFd,
    theirs: OwnedFd,
    gate: Gate,
    shut: Shut,
    forked: Forked,
}

/// The listener's end and the monitor's.
fn link() -> SysResult<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = seqpacket::pair()?;
    fd::set_nonblocking(ours.as_fd(), true)?;
    Ok((ours, theirs))
}

fn split() -> SysResult<Split> {
    let (ours, theirs) = link()?;
    let (gate, shut) = parting::gate()?;
    Ok(Split { ours, theirs, gate, shut, forked: process::fork()? })
}

/// Writes to memory of the kinds that a short session takes, and gives it back for that to use. All memory is the
/// listener's too until it is written to, and the fault for each page would come while the caller waits.
#[inline(never)]
fn settle() {
    let sizes = (16..=512).step_by(16).flat_map(|size| [size; 3]).chain([1 << 10, 1 << 10, 2 << 10, 4 << 10, 8 << 10]);
    let blocks: Vec<Vec<u8>> = sizes.map(|size| vec![1; size]).collect();
    black_box((&blocks, &mut [1_u8; 32 << 10]));
}

/// A child of the listener must not come back to its loop.
struct ExitGuard;

impl Drop for ExitGuard {
    fn drop(&mut self) {
        process::exit_now(70);
    }
}
