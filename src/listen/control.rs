//! The listener's ear for the admin's verbs: a socket in `run_dir`, never waited for.

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use tracing::warn;

use crate::base::Result;
use crate::sys::seqpacket;
use crate::wire::control::{Answer, Ask, socket};
use crate::wire::{Link, LinkError};

use super::sockets::{self, Brings};

/// Verbs that are connected at once: an admin runs one. The oldest gives way.
const MAX_CALLERS: usize = 8;

/// Verbs that wait to be taken.
const BACKLOG: i32 = 8;

/// A verb that is connected.
type Caller = Link<Answer, Ask>;

/// The socket, and who is connected.
#[derive(Debug)]
pub(super) struct Control {
    socket: OwnedFd,
    callers: Vec<Caller>,
}

impl Control {
    /// Opens the socket, in place of what an earlier listener left there.
    pub(super) fn open(run_dir: &Path) -> Result<Self> {
        let path = socket(run_dir);
        // Callers go through the directory; this is for root alone.
        Ok(Self { socket: sockets::open_path(&path, 0o600, BACKLOG, Brings::Anything)?, callers: Vec::new() })
    }

    /// What to poll: the socket, then those connected.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [self.socket.as_fd()].into_iter().chain(self.callers.iter().map(|caller| caller.as_fd()))
    }

    /// Takes in what has come; `ready` is as [`Control::fds`]. Whoever asks is handed out, and is
    /// answered once.
    pub(super) fn hear(&mut self, ready: &[bool]) -> Vec<(Caller, Ask)> {
        let mut ready = ready.iter().copied();
        let knocked = ready.next() == Some(true);
        let mut asked = Vec::new();
        let mut silent = Vec::new();
        for mut caller in self.callers.drain(..) {
            if ready.next() != Some(true) {
                silent.push(caller);
                continue;
            }
            match caller.receive() {
                Ok((ask, fds)) if fds.is_empty() => asked.push((caller, ask)),
                Err(LinkError::WouldBlock) => silent.push(caller),
                Err(LinkError::Closed) => {}
                Ok(_) | Err(_) => warn!("what came over the control socket is none of our messages"),
            }
        }
        self.callers = silent;
        if knocked && let Ok(socket) = seqpacket::accept_one(self.socket.as_fd()) {
            if self.callers.len() >= MAX_CALLERS {
                self.callers.remove(0);
            }
            self.callers.push(Link::new(socket));
        }
        asked
    }
}
