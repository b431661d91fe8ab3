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
use crate::sys::signal;
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
    /// How far its client came.
    pub(super) stage: Stage,
    /// Whether it will tell something yet.
    pub(super) talks: bool,
    /// How its connection ended without a login, once it has said so.
    pub(super) outcome: Option<Outcome>,
}

impl Monitor {
    fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Startup { until } => until,
            Stage::LoggedIn | Stage::GivenUp => None,
        }
    }
}

/// How far a client came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not logged in. Whoever is that after `until` is killed.
    Startup { until: Option<Instant> },
    /// Logged in.
    LoggedIn,
    /// Killed for that.
    GivenUp,
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
                // Too late, by a moment.
                Ok((Word::LoggedIn, fds)) if fds.is_empty() && monitor.stage == Stage::GivenUp => {}
                Ok((Word::LoggedIn, fds)) if fds.is_empty() && matches!(monitor.stage, Stage::Startup { .. }) => {
                    monitor.stage = Stage::LoggedIn;
                    started(monitor.source, &mut self.counts, &mut self.callers);
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
    /// before anybody had logged in, and not by us, counts as crashed.
    pub(super) fn remove(&mut self, pid: Pid, killed: bool) -> Vec<Seen> {
        let seen = self.hear(pid);
        let Some(Monitor { source: Some(source), stage, outcome, .. }) = self.by_pid.remove(&pid) else {
            return seen;
        };
        let has_started = !matches!(stage, Stage::Startup { .. });
        let crashed = killed && !has_started && outcome.is_none();
        match source {
            Source::Network { block, .. } => self.counts.remove(block, has_started),
            Source::Host(uid) => {
                self.callers.remove(uid, has_started);
                if crashed {
                    self.callers.failed(uid, Instant::now());
                }
            }
        }
        self.news.extend(crashed.then_some((source.penalised(), Some(Outcome::Crash))));
        seen
    }

    /// When the first of them will have been without a login for too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.by_pid.values().filter_map(Monitor::deadline).min()
    }

    /// Kills those that have been without a login for too long; the cells of those that were not, after all. A
    /// monitor ends its client's login in time, but not while the kernel makes it wait, for storage that does not
    /// answer. It may take until that answers before it is gone, so that no startup is counted for it any more; the
    /// connection is.
    pub(super) fn kill_overdue(&mut self, now: Instant) -> Vec<Seen> {
        let is_overdue = |monitor: &Monitor| monitor.deadline().is_some_and(|until| until <= now);
        let overdue: Vec<Pid> =
            self.by_pid.iter().filter(|(_, monitor)| is_overdue(monitor)).map(|(pid, _)| *pid).collect();
        // What one of them has said may not have been heard yet.
        let seen = overdue.iter().flat_map(|pid| self.hear(*pid)).collect();
        for pid in overdue {
            let Some(monitor) = self.by_pid.get_mut(&pid).filter(|monitor| is_overdue(monitor)) else { continue };
            monitor.stage = Stage::GivenUp;
            started(monitor.source, &mut self.counts, &mut self.callers);
            if monitor.outcome.is_none() {
                monitor.outcome = Some(Outcome::GraceExceeded);
                self.news.extend(monitor.source.map(|source| (source.penalised(), monitor.outcome)));
            }
            warn!("monitor {pid} hangs, long after login_grace: it is killed");
            if let Err(errno) = process::signal_pidfd(monitor.pidfd.as_fd(), signal::SIGKILL) {
                warn!("signalling monitor {pid}: {errno}");
            }
        }
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

/// Whoever came from `source` does not count as a startup any more.
fn started(source: Option<Source>, counts: &mut Counts, callers: &mut Callers) {
    match source {
        Some(Source::Network { .. }) => counts.started(),
        Some(Source::Host(uid)) => callers.let_in(uid),
        None => {}
    }
}

#[cfg(test)]
#[path = "monitors_tests.rs"]
mod tests;
