//! The monitors that this listener forked and that still run.

use std::{
    collections::HashMap,
    net::IpAddr,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use tracing::warn;

use crate::base::TenantName;
use crate::sys::process::{self, Pid};
use crate::wire::door::Word;
use crate::wire::link::exactly;
use crate::wire::{Link, LinkError};

use super::startups::Counts;

/// A cell that a monitor entered: whose, its init, and a hold on it.
pub(super) type Seen = (TenantName, i32, OwnedFd);

/// One of them.
#[derive(Debug)]
pub(super) struct Monitor {
    /// What it tells; non-blocking.
    pub(super) link: Link<(), Word>,
    /// Of the process.
    pub(super) pidfd: OwnedFd,
    /// Where its connection comes from; `None`: it starts lasting cells and serves no connection.
    pub(super) source: Option<IpAddr>,
    /// Whether its client logged in.
    pub(super) logged_in: bool,
    /// Whether it will tell something yet.
    pub(super) talks: bool,
}

/// All of them, and what they count for.
#[derive(Debug, Default)]
pub(super) struct Monitors {
    by_pid: HashMap<Pid, Monitor>,
    /// Connections, counted.
    pub(super) counts: Counts,
}

impl Monitors {
    /// Adds one that was just forked.
    pub(super) fn add(&mut self, pid: Pid, monitor: Monitor) {
        if let Some(source) = monitor.source {
            self.counts.add(source);
        }
        self.by_pid.insert(pid, monitor);
    }

    /// What to poll, and whose it is.
    pub(super) fn links(&self) -> impl Iterator<Item = (Pid, BorrowedFd<'_>)> {
        self.by_pid.iter().filter(|(_, monitor)| monitor.talks).map(|(pid, monitor)| (*pid, monitor.link.as_fd()))
    }

    /// Reads what `pid` tells; the cells that it entered.
    pub(super) fn hear(&mut self, pid: Pid) -> Vec<Seen> {
        let mut seen = Vec::new();
        let Some(monitor) = self.by_pid.get_mut(&pid) else { return seen };
        loop {
            match monitor.link.receive() {
                Ok((Word::LoggedIn, fds)) if fds.is_empty() && !monitor.logged_in => {
                    monitor.logged_in = true;
                    self.counts.logged_in();
                }
                Ok((Word::CellEntered { tenant, pid }, fds)) if fds.len() == 1 => {
                    seen.extend(exactly::<1>(fds).ok().map(|[pidfd]| (tenant, pid, pidfd)));
                }
                Err(LinkError::WouldBlock) => return seen,
                // It goes on serving its client; it only counts as what it was.
                Ok((Word::LoggedIn | Word::CellEntered { .. }, _)) => {
                    warn!("monitor {pid} says what it cannot say");
                    monitor.talks = false;
                    return seen;
                }
                Err(_gone) => {
                    monitor.talks = false;
                    return seen;
                }
            }
        }
    }

    /// Forgets `pid`, which was reaped; the cells that it had entered at the last.
    pub(super) fn remove(&mut self, pid: Pid) -> Vec<Seen> {
        let seen = self.hear(pid);
        if let Some(Monitor { source: Some(source), logged_in, .. }) = self.by_pid.remove(&pid) {
            self.counts.remove(source, logged_in);
        }
        seen
    }

    /// Sends `signal` to all.
    pub(super) fn signal_all(&self, signal: i32) {
        for (pid, monitor) in &self.by_pid {
            if let Err(errno) = process::signal_pidfd(monitor.pidfd.as_fd(), signal) {
                warn!("signalling monitor {pid}: {errno}");
            }
        }
    }

    /// Whether `pid` is one of them.
    pub(super) fn has(&self, pid: Pid) -> bool {
        self.by_pid.contains_key(&pid)
    }

    /// How many run.
    pub(super) fn count(&self) -> usize {
        self.by_pid.len()
    }

    /// Lets go of all, in a child that is to become a monitor itself.
    pub(super) fn forget(&mut self) {
        self.by_pid.clear();
    }
}
