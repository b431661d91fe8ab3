//! The monitors that this listener forked and that still run.

use std::{
    collections::HashMap,
    net::IpAddr,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::Instant,
};

use tracing::warn;

use crate::base::{Block, TenantName};
use crate::sys::process::{self, Pid};
use crate::wire::door::{Outcome, Word};
use crate::wire::link::exactly;
use crate::wire::{Link, LinkError};

use super::callers::Callers;
use super::penalties;
use super::startups::Counts;

/// A cell that a monitor entered: whose, its init, and a hold on it.
pub(super) type Seen = (TenantName, i32, OwnedFd);

/// From where a connection came, and how it ended without a login; none: somebody logged in.
pub(super) type News = (penalties::Source, Option<Outcome>);

/// One of them.
#[derive(Debug)]
pub(super) struct Monitor {
    /// What it tells; non-blocking.
    pub(super) link: Link<(), Word>,
    /// Of the process.
    pub(super) pidfd: OwnedFd,
    /// Where its connection comes from; `None`: it starts lasting cells and serves no connection.
    pub(super) source: Option<Source>,
    /// Whether its client logged in.
    pub(super) logged_in: bool,
    /// Whether it will tell something yet.
    pub(super) talks: bool,
    /// How its connection ended without a login, once it has said so.
    pub(super) outcome: Option<Outcome>,
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    /// From the network.
    Network {
        /// From here.
        address: IpAddr,
        /// Whom it counted for when it was accepted.
        block: Block,
    },
    /// From a process of this host, of this uid.
    Host(u32),
}

impl Source {
    /// Whose penalty it is.
    fn penalised(self) -> penalties::Source {
        match self {
            Self::Network { address, .. } => penalties::Source::Address(address),
            Self::Host(uid) => penalties::Source::Account(uid),
        }
    }
}

/// All of them, and what they count for.
#[derive(Debug, Default)]
pub(super) struct Monitors {
    by_pid: HashMap<Pid, Monitor>,
    news: Vec<News>,
    /// Connections from the network, counted.
    pub(super) counts: Counts,
    /// Those from this host.
    pub(super) callers: Callers,
}

impl Monitors {
    /// Adds one that was just forked.
    pub(super) fn add(&mut self, pid: Pid, monitor: Monitor) {
        match monitor.source {
            Some(Source::Network { block, .. }) => self.counts.add(block),
            Some(Source::Host(uid)) => self.callers.add(uid),
            None => {}
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
                    match monitor.source {
                        Some(Source::Network { .. }) => self.counts.logged_in(),
                        Some(Source::Host(uid)) => self.callers.let_in(uid),
                        None => {}
                    }
                    // Who is turned away with a penalty is not forgiven others.
                    let forgiven = monitor.source.filter(|_| monitor.outcome.is_none());
                    self.news.extend(forgiven.map(|source| (source.penalised(), None)));
                }
                // Also after a login: somebody may have come outside of their hours.
                Ok((Word::Ended(outcome), fds)) if fds.is_empty() && monitor.outcome.is_none() => {
                    monitor.outcome = outcome;
                    // It cost as much as any other.
                    if let Some(Source::Host(uid)) = monitor.source {
                        self.callers.failed(uid, Instant::now());
                    }
                    let penalised = monitor.source.filter(|_| outcome.is_some());
                    self.news.extend(penalised.map(|source| (source.penalised(), outcome)));
                }
                Ok((Word::CellEntered { tenant, pid }, fds)) if fds.len() == 1 => {
                    seen.extend(exactly::<1>(fds).ok().map(|[pidfd]| (tenant, pid, pidfd)));
                }
                Err(LinkError::WouldBlock) => return seen,
                // It goes on serving its client; it only counts as what it was.
                Ok((Word::LoggedIn | Word::CellEntered { .. } | Word::Ended(_), _)) => {
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

    /// Forgets `pid`, which was reaped; the cells that it had entered at the last. One that was killed
    /// before anybody had logged in counts as crashed.
    pub(super) fn remove(&mut self, pid: Pid, killed: bool) -> Vec<Seen> {
        let seen = self.hear(pid);
        let Some(Monitor { source: Some(source), logged_in, outcome, .. }) = self.by_pid.remove(&pid) else {
            return seen;
        };
        let crashed = killed && !logged_in && outcome.is_none();
        match source {
            Source::Network { block, .. } => self.counts.remove(block, logged_in),
            Source::Host(uid) => {
                self.callers.remove(uid, logged_in);
                if crashed {
                    self.callers.failed(uid, Instant::now());
                }
            }
        }
        self.news.extend(crashed.then_some((source.penalised(), Some(Outcome::Crash))));
        seen
    }

    /// What has happened since this was asked last.
    pub(super) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
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
