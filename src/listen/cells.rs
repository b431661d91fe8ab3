//! The cells that run, whoever started them: watched by pidfd, swept up after when they end.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use tracing::{error, info, warn};

use crate::base::TenantName;
use crate::jail::{Cells, RunningCell};
use crate::sys::{process, signal};

use super::monitors::Seen;

#[derive(Debug)]
struct Watched {
    pid: i32,
    pidfd: OwnedFd,
}

/// Whether something was known before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// It was.
    Already,
    /// Not all of it.
    New,
}

/// One per tenant at most.
#[derive(Debug, Default)]
pub(super) struct Watch {
    by_tenant: BTreeMap<TenantName, Watched>,
}

impl Watch {
    /// Takes up cells that ran before this listener did.
    pub(super) fn take_up(&mut self, running: Vec<RunningCell>) {
        for RunningCell { name, pid, pidfd, started: _ } in running {
            if self.by_tenant.get(&name).is_some_and(|known| known.pid == pid) {
                continue;
            }
            info!("taking up the cell of {name} (pid {pid})");
            self.by_tenant.insert(name, Watched { pid, pidfd });
        }
    }

    /// Watches cells that monitors entered; whether it did before.
    pub(super) fn add(&mut self, seen: Vec<Seen>, cells: &Cells) -> Known {
        let mut all = Known::Already;
        for (tenant, pid, pidfd) in seen {
            match self.by_tenant.get(&tenant) {
                Some(known) if known.pid == pid => {}
                known => {
                    if let Some(known) = known {
                        // A tenant has one cell: the one that we knew has ended, unnoticed so far.
                        sweep(cells, &tenant, known.pid);
                    }
                    self.by_tenant.insert(tenant, Watched { pid, pidfd });
                    all = Known::New;
                }
            }
        }
        all
    }

    /// What to poll, and whose it is.
    pub(super) fn pidfds(&self) -> impl Iterator<Item = (&TenantName, BorrowedFd<'_>)> {
        self.by_tenant.iter().map(|(tenant, watched)| (tenant, watched.pidfd.as_fd()))
    }

    /// Kills all: the end of its pid 1 is the end of a cell.
    pub(super) fn kill_all(&self) {
        for (tenant, watched) in &self.by_tenant {
            warn!("the cell of {tenant} (pid {}) does not end by itself: killing it", watched.pid);
            if let Err(errno) = process::signal_pidfd(watched.pidfd.as_fd(), signal::SIGKILL) {
                warn!("killing the cell of {tenant}: {errno}");
            }
        }
    }

    /// The cell of `tenant` ended.
    pub(super) fn ended(&mut self, tenant: &TenantName, cells: &Cells) {
        if let Some(watched) = self.by_tenant.remove(tenant) {
            sweep(cells, tenant, watched.pid);
        }
    }

    /// Whose cells run.
    pub(super) fn tenants(&self) -> impl Iterator<Item = &TenantName> {
        self.by_tenant.keys()
    }

    /// Whether none runs.
    pub(super) fn is_empty(&self) -> bool {
        self.by_tenant.is_empty()
    }

    /// Lets go of all, in a child that is to become a monitor.
    pub(super) fn forget(&mut self) {
        self.by_tenant.clear();
    }
}

fn sweep(cells: &Cells, tenant: &TenantName, pid: i32) {
    match cells.ended(tenant, pid) {
        Ok(()) => info!("the cell of {tenant} (pid {pid}) ended"),
        Err(failure) => error!("{failure}"),
    }
}
