//! Callers that the listener is done with. It closes none of their sockets itself: what they left unread
//! there could hold it up for years (`sys::parting`), and it is all that answers at the doors.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    time::{Duration, Instant},
};

use tracing::{error, info};

use crate::sys::parting::Parting;
use crate::sys::process::Pid;
use crate::sys::{Errno, seqpacket};

/// Sockets that are held before a child takes them out: those who are turned away come many at a time, and
/// each fork costs a fraction of a millisecond.
const MANY: usize = 64;

/// Children at once. One takes no time at all, unless a file system whose owner does not answer holds it up.
const MAX_CHILDREN: usize = 16;

/// When it is tried again, where nothing else wakes the listener.
const AGAIN: Duration = Duration::from_secs(1);

/// Sockets, and the children that took some out and have not ended.
#[derive(Debug, Default)]
pub(super) struct Partings {
    held: Parting,
    children: Vec<Pid>,
    is_stuck: bool,
}

impl Partings {
    /// Hangs up on whoever is at the other end, who sees it at once.
    pub(super) fn part_with(&mut self, socket: OwnedFd) {
        // Not connected any more, or never: then there is nobody to see it.
        seqpacket::hang_up(socket.as_fd()).unwrap_or_default();
        self.held.hold(socket);
    }

    /// Whether so many are held that a child is due.
    pub(super) fn are_many(&self) -> bool {
        self.held.count() >= MANY
    }

    /// Whether any are held.
    pub(super) fn hold_any(&self) -> bool {
        self.held.count() > 0
    }

    /// Whether no more may come for now: no child takes out those that there are.
    pub(super) fn are_stuck(&self) -> bool {
        self.are_many() && self.is_stuck
    }

    /// When to try again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.are_stuck().then(|| Instant::now() + AGAIN)
    }

    /// Whether `pid` was one of the children. It is no more.
    pub(super) fn ended(&mut self, pid: Pid) -> bool {
        let before = self.children.len();
        self.children.retain(|child| *child != pid);
        self.children.len() < before
    }

    /// Has a child take out all that are held; it does `in_child` first. Before another process is forked,
    /// too, which would hold them as well, and not only for a moment.
    pub(super) fn take_out(&mut self, in_child: impl FnOnce()) {
        if self.held.count() == 0 {
            return;
        }
        let left = if self.children.len() < MAX_CHILDREN { self.held.leave(in_child) } else { Err(Errno::EAGAIN) };
        let was_stuck = std::mem::replace(&mut self.is_stuck, left.is_err());
        match left {
            Ok((pid, _pidfd)) => {
                self.children.push(pid);
                if was_stuck {
                    info!("callers are let in again");
                }
            }
            Err(errno) if !was_stuck => {
                let (held, children) = (self.held.count(), self.children.len());
                error!(
                    "{held} callers that were turned away cannot be parted with, and {children} processes that \
                     part with others do not end: {errno}. No caller is let in until they do"
                );
            }
            Err(_as_before) => {}
        }
    }

    /// In a child, which has what is held only where it could not be taken out: until it ends.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
#[path = "partings_tests.rs"]
mod tests;
