//! Who comes: each is judged, and has a monitor of its own or is parted with.

use std::{
    net::SocketAddr,
    os::fd::{AsFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use tracing::error;

use crate::base::{Result, fail};
use crate::sys::{Errno, net, title};

use super::super::callers::{self, Came, Enter};
use super::super::guard::Guard;
use super::super::monitors::Source;
use super::Listener;

/// Connections taken from one socket before signals and monitors are looked at again.
const ACCEPT_BURST: u32 = 16;
/// How long to wait when the host has no descriptors or memory left: the connections that wait
/// would otherwise wake us at once, again and again.
const BREATH: Duration = Duration::from_millis(100);
/// From a caller of this host until a monitor waits for the next one: first the session that just began.
const WAIT_AFTER: Duration = Duration::from_millis(5);

impl Listener {
    /// Takes what waits at the socket of that number.
    pub(super) fn accept_from(&mut self, index: usize) -> Result<()> {
        for _ in 0..ACCEPT_BURST {
            let Some(socket) = self.sockets.get(index) else { return Ok(()) };
            match net::accept(socket.fd.as_fd()) {
                Ok((connection, peer)) => self.take(connection, peer),
                Err(Errno::EAGAIN) => return Ok(()),
                Err(errno @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)) => {
                    error!("{}", fail("accepting", "a connection", errno));
                    thread::sleep(BREATH);
                    return Ok(());
                }
                // accept(2): errors of the connection itself, which is gone already.
                Err(_of_the_connection) => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, connection: OwnedFd, peer: SocketAddr) {
        let (server, counts) = (&self.door.server, &self.monitors.counts);
        if !self.guard.admits(server, counts, connection.as_fd(), peer, &mut self.audit) {
            return;
        }
        let accepted = Instant::now();
        let block = Guard::block(&self.door.server, peer);
        let source = Source::Network { address: peer.ip(), block };
        let forked = self.fork_monitor(source, connection, |door, house, (connection, ssh_program)| {
            door.serve(connection, peer, accepted, house, ssh_program);
        });
        if let Err(failure) = forked {
            error!("{failure}");
        }
    }

    /// Takes processes of this host that came to the enter door.
    pub(super) fn accept_callers(&mut self) {
        for _ in 0..ACCEPT_BURST {
            match self.enter.as_ref().map(Enter::accept) {
                None | Some(Err(Errno::EAGAIN)) => return,
                Some(Ok(socket)) => match Came::by(socket.as_fd()) {
                    Some(came) => self.take_caller(came, socket),
                    None => self.partings.part_with(socket),
                },
                Some(Err(errno)) => {
                    error!("{}", fail("accepting", "a caller", errno));
                    thread::sleep(BREATH);
                    return;
                }
            }
        }
    }

    fn take_caller(&mut self, came: Came, socket: OwnedFd) {
        if !self.guard.admits_caller(&self.door.server, &self.monitors.callers, came.uid, &mut self.audit) {
            callers::turn_away(socket, &mut self.partings);
            return;
        }
        self.wait_at.get_or_insert_with(|| Instant::now() + WAIT_AFTER);
        if let Err(failure) = self.attend(came, socket) {
            error!("{failure}");
        }
    }

    /// Parts with callers that were not taken, if there are any.
    pub(super) fn part(&mut self) {
        // The child lets go of all else that is the listener's.
        let mut partings = std::mem::take(&mut self.partings);
        partings.take_out(|| {
            self.let_go();
            // Only who does not end is ever seen.
            title::set("cellblock: parting with callers").unwrap_or_default();
        });
        self.partings = partings;
    }
}
