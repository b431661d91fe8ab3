//! The enter door's socket, and who of this host is let near a monitor: counted by uid, so that no
//! account's processes keep those of another out.

use std::{
    collections::HashMap,
    fs,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::fs::PermissionsExt as _,
    },
    path::Path,
    time::{Duration, Instant},
};

use crate::base::{self, fail};
use crate::config::settings::Server;
use crate::sys::{SysResult, seqpacket};
use crate::wire::Link;
use crate::wire::enter::{Answer, Call, NoEntry, socket};

use super::partings::Partings;
use super::sockets::{self, Brings};
use super::startups::drop_percent;

/// Callers that wait in the kernel until the listener gets to them.
const BACKLOG: i32 = 128;

/// So many of one uid may wait whatever `max_startups` says: a job that starts many at once is served. The listener
/// takes several before it hears that the first was let in, and a cell that starts holds up all who come for it.
const AT_ONCE: u32 = 64;

/// Callers of one uid that may fail in [`WINDOW`] before the rest of it is closed to that uid, whatever
/// `penalties` says. Each costs a fork and two lines in the audit file.
const MAX_FAILED: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);

/// Uids that are remembered before those are forgotten of whom nothing is left to know.
const MANY_UIDS: usize = 1024;

/// The socket.
#[derive(Debug)]
pub(super) struct Enter(OwnedFd);

/// Whoever connected to it. The socket is not here: nobody but [`Partings`](super::partings::Partings) may
/// close it.
#[derive(Debug)]
pub(super) struct Came {
    pub(super) pid: i32,
    pub(super) uid: u32,
    pub(super) pidfd: Option<OwnedFd>,
}

impl Enter {
    /// Opens the socket in `run_dir`, in place of what an earlier listener left there, for everybody; and
    /// lets everybody through the directory, which shows them nothing else.
    pub(super) fn open(run_dir: &Path) -> base::Result<Self> {
        let path = socket(run_dir);
        let listening = sockets::open_path(&path, 0o666, BACKLOG, Brings::Nothing)?;
        // The directory is root's, and nobody else writes there.
        fs::set_permissions(run_dir, fs::Permissions::from_mode(0o711))
            .map_err(|cause| fail("opening to callers", run_dir.display(), cause))?;
        Ok(Self(listening))
    }

    /// What to poll.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The next who waits. `EAGAIN`: nobody does.
    pub(super) fn accept(&self) -> SysResult<OwnedFd> {
        seqpacket::accept_one(self.0.as_fd())
    }

    /// Nobody is taken any more, and whoever connects is refused. What waits goes with the socket.
    pub(super) fn close(self, partings: &mut Partings) {
        partings.part_with(self.0);
    }
}

impl Came {
    /// Who connected. `None`: they have gone again.
    pub(super) fn by(socket: BorrowedFd<'_>) -> Option<Self> {
        let (pid, uid) = seqpacket::peer_ids(socket).ok()?;
        let pidfd = seqpacket::peer_pidfd(socket).ok()?;
        Some(Self { pid, uid, pidfd })
    }
}

/// Says so to a caller that is not taken. Best effort: nothing is owed to it.
pub(super) fn turn_away(socket: OwnedFd, partings: &mut Partings) {
    let link: Link<Answer, Call> = Link::new(socket);
    link.send(&Answer::Refused(NoEntry::Busy)).unwrap_or_default();
    partings.part_with(link.into());
}

/// What one uid has.
#[derive(Debug, Default)]
struct Of {
    callers: u32,
    waiting: u32,
    failed: u32,
    since: Option<Instant>,
}

impl Of {
    fn failed_lately(&self, now: Instant) -> u32 {
        if self.since.is_some_and(|since| now.duration_since(since) < WINDOW) { self.failed } else { 0 }
    }
}

/// Live callers, counted.
#[derive(Debug, Default)]
pub(super) struct Callers {
    all: u32,
    by_uid: HashMap<u32, Of>,
}

impl Callers {
    /// Whether one more of `uid` may come in; why not, for the audit file. Root always may.
    /// `draw` gives a fresh random number, and is asked for one where it counts.
    pub(super) fn judge(
        &self,
        server: &Server,
        uid: u32,
        draw: impl FnOnce() -> u32,
        now: Instant,
    ) -> Result<(), &'static str> {
        if uid == 0 {
            return Ok(());
        }
        if self.all >= server.max_connections {
            return Err("max_connections");
        }
        let Some(of) = self.by_uid.get(&uid) else { return Ok(()) };
        if of.callers >= server.max_connections_per_source {
            Err("max_connections_per_source")
        } else if of.waiting >= AT_ONCE && draw() % 100 < drop_percent(server.max_startups, of.waiting) {
            Err("max_startups")
        } else if of.failed_lately(now) >= MAX_FAILED {
            Err("too many that failed")
        } else {
            Ok(())
        }
    }

    /// One more, not let in yet.
    pub(super) fn add(&mut self, uid: u32) {
        if self.by_uid.len() >= MANY_UIDS {
            let now = Instant::now();
            self.by_uid.retain(|_uid, of| of.callers > 0 || of.failed_lately(now) > 0);
        }
        self.all = self.all.saturating_add(1);
        let of = self.by_uid.entry(uid).or_default();
        of.callers = of.callers.saturating_add(1);
        of.waiting = of.waiting.saturating_add(1);
    }

    /// One of them was let in.
    pub(super) fn let_in(&mut self, uid: u32) {
        if let Some(of) = self.by_uid.get_mut(&uid) {
            of.waiting = of.waiting.saturating_sub(1);
        }
    }

    /// One of them was not.
    pub(super) fn failed(&mut self, uid: u32, now: Instant) {
        let of = self.by_uid.entry(uid).or_default();
        of.failed = of.failed_lately(now).saturating_add(1);
        if of.failed == 1 {
            of.since = Some(now);
        }
    }

    /// One of them ended.
    pub(super) fn remove(&mut self, uid: u32, was_let_in: bool) {
        self.all = self.all.saturating_sub(1);
        if let Some(of) = self.by_uid.get_mut(&uid) {
            of.callers = of.callers.saturating_sub(1);
            if !was_let_in {
                of.waiting = of.waiting.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
#[path = "callers_tests.rs"]
mod tests;
