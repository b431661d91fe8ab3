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
            let known = self.by_tenant.get(&tenant);
            if !is_news(known, pid, pidfd.as_fd()) {
                continue;
            }
            if let Some(known) = known {
                // A tenant has one cell: the one that we knew has ended, unnoticed so far.
                sweep(cells, &tenant, known.pid);
            }
            self.by_tenant.insert(tenant, Watched { pid, pidfd });
            all = Known::New;
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

/// Whether a cell that somebody entered is another than the one that is known. One that has ended by now is told of
/// late: it says nothing of that one.
fn is_news(known: Option<&Watched>, pid: i32, pidfd: BorrowedFd<'_>) -> bool {
    known.is_none_or(|known| known.pid != pid && process::has_ended(pidfd) != Ok(true))
}

fn sweep(cells: &Cells, tenant: &TenantName, pid: i32) {
    match cells.ended(tenant, pid) {
        Ok(()) => info!("the cell of {tenant} (pid {pid}) ended"),
        Err(failure) => error!("{failure}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::poll;
    use std::process::{Child, Command};

    fn cell(command: &str) -> (Child, i32, OwnedFd) {
        let child = Command::new("sh").args(["-c", command]).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let pidfd = process::pidfd_open(pid).unwrap();
        (child, pid, pidfd)
    }

    #[test]
    fn a_cell_that_is_told_of_when_it_has_ended_takes_no_others_place() {
        let (mut old, old_pid, old_pidfd) = cell("exit");
        let (mut new, new_pid, new_pidfd) = cell("exec sleep 1000");
        poll::wait_readable(&[old_pidfd.as_fd()], None).unwrap();

        let known = Watched { pid: new_pid, pidfd: new_pidfd.try_clone().unwrap() };
        assert!(!is_news(Some(&known), old_pid, old_pidfd.as_fd()));
        assert!(!is_news(Some(&known), new_pid, new_pidfd.as_fd()));
        // As long as none is known it has to be swept up after.
        assert!(is_news(None, old_pid, old_pidfd.as_fd()));
        let known = Watched { pid: old_pid, pidfd: old_pidfd };
        assert!(is_news(Some(&known), new_pid, new_pidfd.as_fd()));

        new.kill().unwrap();
        old.wait().unwrap();
        new.wait().unwrap();
    }
}
