//! The listener's ear for the admin's verbs: a socket in `run_dir`, never waited for.

use std::{
    fs, io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::fs::PermissionsExt as _,
    },
    path::Path,
};

use tracing::warn;

use crate::base::{Result, fail};
use crate::sys::{fd, seqpacket};
use crate::wire::control::{Answer, Ask, socket};
use crate::wire::{Link, LinkError};

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
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(fail("removing", path.display(), cause)),
        }
        let failed = |errno| fail("listening on", path.display(), errno);
        let socket = seqpacket::bind_path(&path).map_err(failed)?;
        // Callers go through the directory; this is for root alone.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .map_err(|cause| fail("closing to others", path.display(), cause))?;
        fd::set_nonblocking(socket.as_fd(), true).map_err(failed)?;
        seqpacket::start_listening(socket.as_fd(), BACKLOG).map_err(failed)?;
        Ok(Self { socket, callers: Vec::new() })
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
