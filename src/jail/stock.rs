//! Spares: children that the listener makes while it has nothing else to do, so that a login need
//! not wait for a network namespace, an exec, and the mounts that all cells have.
//!
//! The stock is a queue of messages in a socket, each with all that there is of one spare. To take a
//! message out is to take the spare, so no two monitors can have the same one; and the queue is all
//! that holds a spare's link, so when a monitor that has taken it dies, the spare ends too. A spare
//! that nobody has taken ends with the listener.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    os::fd::{AsFd as _, OwnedFd},
};

use crate::base::{Result, fail};
use crate::sys::{Errno, fd, random, seqpacket};
use crate::wire::{Link, LinkError, link::exactly};

use super::{
    Facts, IdRange, cell,
    child::{Child, Tools},
    planning,
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
    owners: RefCell<Owners>,
    _held_by_the_listener: OwnedFd,
}

/// The ids that spares' user namespaces belong to: each one's own, since the kernel counts by them.
#[derive(Debug)]
struct Owners {
    range: IdRange,
    /// Where to look next. Round the range: an id comes again as late as it can.
    next: u32,
    /// Who had one last.
    given: BTreeMap<u32, Record>,
}

impl Owners {
    /// One that no process that lives has, if there is one.
    fn pick(&mut self) -> Result<Option<u32>> {
        for _id in 0..self.range.count {
            let owner = self.range.first + self.next % self.range.count;
            self.next = self.next.wrapping_add(1) % self.range.count;
            let lives = match self.given.get(&owner) {
                Some(record) => cell::live(*record)?.is_some(),
                None => false,
            };
            if !lives {
                self.given.remove(&owner);
                return Ok(Some(owner));
            }
        }
        Ok(None)
    }
}

/// An empty stock, for spares that belong to the ids of `range`, of which `running` cells have some.
pub(super) fn make(range: IdRange, running: Vec<Record>) -> Result<(Spares, Stock)> {
    let failed = |errno: Errno| fail("making", "a stock of spare cells", errno);
    let (queue, spares) = seqpacket::pair().map_err(failed)?;
    fd::set_nonblocking(spares.as_fd(), true).map_err(failed)?;
    fd::set_nonblocking(queue.as_fd(), true).map_err(failed)?;
    let (alive, held) = fd::pipe().map_err(failed)?;
    // Not where an earlier listener began: what a monitor took of it may not be written down yet.
    let next = u32::from_ne_bytes(random::bytes().map_err(failed)?) % range.count.max(1);
    let given = running.into_iter().map(|record| (record.owner, record)).collect();
    let owners = RefCell::new(Owners { range, next, given });
    Ok((Spares(spares), Stock { queue: Link::new(queue), alive, owners, _held_by_the_listener: held }))
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
    /// Makes up for spares that were taken or have ended. Where no plan takes spares, or no id is
    /// left that one could belong to, it makes none.
    pub(super) fn fill(&self, spares: &Spares, facts: &Facts, tools: Tools<'_>) -> Result<()> {
        let mut kept = Vec::new();
        while let Some(spare) = spares.take()? {
            kept.push(spare);
        }
        while kept.len() < SIZE {
            let mut owners = self.owners.borrow_mut();
            let Some(owner) = owners.pick()? else { break };
            let Some((clone, ahead)) = planning::spare(facts, owner) else { break };
            let spare = Child::make(&clone, &ahead, tools, None, Some(self.alive.as_fd()))?;
            owners.given.insert(owner, spare.record);
            kept.push(spare);
        }
        for Child { link, record, pidfd, proc, user_namespace } in &kept {
            let fds = [link.as_fd(), pidfd.as_fd(), proc.as_fd(), user_namespace.as_fd()];
            self.queue.send_with(record, &fds).map_err(|error| fail("storing", "a spare cell", error))?;
        }
        Ok(())
    }
}
