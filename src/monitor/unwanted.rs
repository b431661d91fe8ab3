//! Sockets out of the cell that nobody takes any more: a client gave them up, or has gone. What programs of
//! the tenant's left unread in one could hold up whoever closes it (`sys::parting`): not the monitor, which
//! has hours to keep.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    time::Instant,
};

use crate::sys::parting::Parting;
use crate::sys::{poll, process};

/// Children at once that close some. One takes no time at all, unless a file system of the tenant's own holds
/// it up.
const MAX_CHILDREN: usize = 4;

/// Those that are held, and the children that took some and have not ended, by pidfd.
#[derive(Debug, Default)]
pub(super) struct Unwanted {
    held: Parting,
    children: Vec<OwnedFd>,
}

impl Unwanted {
    /// Has a child close them. Where that cannot be, they go with the next ones, or with the monitor.
    pub(super) fn part_with(&mut self, sockets: Vec<OwnedFd>) {
        if sockets.is_empty() {
            return;
        }
        for socket in sockets {
            self.held.hold(socket);
        }
        self.children.retain(|child| !is_reaped(child));
        if self.children.len() < MAX_CHILDREN
            && let Ok((_pid, pidfd)) = self.held.leave(|| {})
        {
            self.children.push(pidfd);
        }
    }
}

/// Whether it has ended. It leaves nothing of it behind then.
fn is_reaped(child: &OwnedFd) -> bool {
    let ended = poll::wait_readable(&[child.as_fd()], Some(Instant::now())).is_ok_and(|ready| ready.contains(&true));
    if ended {
        // Or whoever reaps all children of the monitor was there before.
        process::wait_for(child.as_fd()).map(|_how| ()).unwrap_or_default();
    }
    ended
}
