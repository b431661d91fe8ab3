//! Spares: children that the listener makes while it has nothing else to do, so that a login need
//! not wait for a network namespace, an exec, and the mounts that all cells have.
//!
//! The stock is a queue of messages in a socket, each with all that there is of one spare. To take a
//! message out is to take the spare, so no two monitors can have the same one; and the queue is all
//! that holds a spare's link, so when a monitor that has taken it dies, the spare ends too. A spare
//! that nobody has taken ends with the listener.

use std::os::fd::{AsFd as _, OwnedFd};

use crate::base::{Result, fail};
use crate::sys::{Errno, fd, seqpacket};
use crate::wire::{Link, LinkError, link::exactly};

use super::{
    child::{Child, Tools},
    plan::Op,
    state::Record,
};

/// Spares to keep. One is for the next login, the other for the one that comes before the first is
/// made up for. Each holds a network namespace and some 300 KiB.
const SIZE: usize = 2;

/// Where monitors take spares from. Every process that forks from the listener has it.
#[derive(Debug)]
pub(super) struct Spares(OwnedFd);

/// The listener's part. To be dropped by whoever forks from it: spares take its end for the
/// listener's.
#[derive(Debug)]
pub struct Stock {
    queue: Link<Record, ()>,
    alive: OwnedFd,
    _held_by_the_listener: OwnedFd,
}

/// An empty stock.
pub(super) fn make() -> Result<(Spares, Stock)> {
    let failed = |errno: Errno| fail("making", "a stock of spare cells", errno);
    let (queue, spares) = seqpacket::pair().map_err(failed)?;
    fd::set_nonblocking(spares.as_fd(), true).map_err(failed)?;
    fd::set_nonblocking(queue.as_fd(), true).map_err(failed)?;
    let (alive, held) = fd::pipe().map_err(failed)?;
    Ok((Spares(spares), Stock { queue: Link::new(queue), alive, _held_by_the_listener: held }))
}

impl Spares {
    /// Takes a spare that lives, if there is one.
    pub(super) fn take(&self) -> Result<Option<Child>> {
        let failed = |error: LinkError| fail("taking", "a spare cell", error);
        let socket = fd::duplicate(self.0.as_fd()).map_err(|errno| failed(errno.into()))?;
        let mut queue: Link<(), Record> = Link::new(socket);
        loop {
            let (record, fds) = match queue.receive() {
                Ok(received) => received,
                Err(LinkError::WouldBlock | LinkError::Closed) => return Ok(None),
                Err(error) => return Err(failed(error)),
            };
            let [link, pidfd, proc, user_namespace] = exactly(fds).map_err(failed)?;
            let child = Child { link: Link::new(link), record, pidfd, proc, user_namespace };
            if !child.has_ended()? {
                return Ok(Some(child));
            }
        }
    }
}

impl Stock {
    /// Makes up for spares that were taken or have ended.
    pub(super) fn fill(&self, spares: &Spares, clone: &[Op], ahead: &[Op], tools: Tools<'_>) -> Result<()> {
        let mut kept = Vec::new();
        while let Some(spare) = spares.take()? {
            kept.push(spare);
        }
        while kept.len() < SIZE {
            kept.push(Child::make(clone, ahead, tools, None, Some(self.alive.as_fd()))?);
        }
        for Child { link, record, pidfd, proc, user_namespace } in &kept {
            let fds = [link.as_fd(), pidfd.as_fd(), proc.as_fd(), user_namespace.as_fd()];
            self.queue.send_with(record, &fds).map_err(|error| fail("storing", "a spare cell", error))?;
        }
        Ok(())
    }
}
