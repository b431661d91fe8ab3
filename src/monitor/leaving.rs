//! The end of a connection that was served: receipts, and what goes on without it.
//!
//! An ssh process takes the streams of its sessions along. A caller at the enter door had them for
//! itself, and may have handed them on; so may what runs in the cell. Where the tenant's time is
//! limited, none of that is of use to anybody once it is over.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    time::{Duration, Instant},
};

use tracing::{error, warn};

use crate::account::ExitText;
use crate::base::SessionId;
use crate::sys::{SysResult, poll, trace};
use crate::wire::init::{Order, Report};

use super::cell::reap_children;
use super::clock::Due;
use super::limits;
use super::serve::Served;
use super::ssh::End;

/// How long a connection that ended waits for its sessions to be hung up, for their receipts.
const WIND_UP: Duration = Duration::from_secs(1);

/// Between TERM and KILL for the session of a caller that is gone, or is to go. Less than [`WIND_UP`].
const CALLER_GRACE: Duration = Duration::from_millis(500);

/// How often it is seen whether anybody in the cell still holds a stream of a session that has ended.
const LOOK: Duration = Duration::from_secs(1);

/// The session of a caller, and its streams as far as they can be seen without being held.
#[derive(Debug)]
pub(super) struct Traced {
    id: Option<SessionId>,
    streams: Streams,
    /// Whether its pipes are root's.
    sealed: bool,
    /// init was told to end what remains of it, and has not said that it has.
    ending: bool,
}

#[derive(Debug)]
enum Streams {
    Terminal(OwnedFd),
    /// What the cell reads, and what it writes.
    Pipes(OwnedFd, Vec<OwnedFd>),
}

impl Traced {
    /// The streams of the session of that name, as they came from init.
    pub(super) fn new(id: &str, terminal: bool, fds: &[OwnedFd]) -> SysResult<Self> {
        let streams = match fds {
            [master] if terminal => Streams::Terminal(trace::of_terminal(master.as_fd())?),
            [stdin, outputs @ ..] => {
                let outputs = outputs.iter().map(|output| trace::of(output.as_fd())).collect::<SysResult<_>>()?;
                Streams::Pipes(trace::of(stdin.as_fd())?, outputs)
            }
            [] => return Err(crate::sys::Errno::EINVAL),
        };
        Ok(Self { id: id.parse().ok(), streams, sealed: false, ending: false })
    }

    /// Whether a pipe has somebody at both ends yet, so that they can talk. What cannot be told is taken
    /// for a yes. A terminal can be cut, whoever holds it. From the first time on nobody opens a pipe again.
    fn is_held(&mut self) -> bool {
        let Streams::Pipes(stdin, outputs) = &self.streams else { return false };
        let mut pipes = outputs.iter().chain([stdin]).map(OwnedFd::as_fd);
        // Before they are looked at: an end that is open to no eye could be opened again.
        self.sealed = self.sealed || pipes.clone().all(|pipe| trace::seal(pipe).is_ok());
        !self.sealed
            || pipes.any(|pipe| trace::has_readers(pipe).unwrap_or(true) && trace::has_writers(pipe).unwrap_or(true))
    }

    fn cut(&self) {
        let Streams::Terminal(terminal) = &self.streams else { return };
        if let Err(errno) = trace::cut(terminal.as_fd()) {
            error!("hanging up a terminal whose time is over: {errno}");
        }
    }
}

impl Served<'_> {
    /// Hangs up, waits a moment for what that ends, and writes the receipts that are still open.
    pub(super) fn wind_up(&mut self, end: &Result<(), End>) {
        self.ssh.kill();
        self.wind_up_forwards();
        match end {
            _ if !self.ssh.is_caller() => {}
            Ok(()) | Err(End::Closed) => self.outlast(),
            Err(_ended_by_us) => self.end_callers_session(),
        }
        let deadline = Instant::now() + WIND_UP;
        while self.waits_for_init() && Instant::now() < deadline {
            let Some(cell) = &self.cell else { break };
            match poll::wait_readable(&[cell.link.as_fd()], Some(deadline)).as_deref() {
                Ok([true]) => self.hear_receipt(),
                Ok(_none) => continue,
                Err(_failed) => break,
            }
        }
        self.cut_streams();
        let exit = if self.cell.is_some() { ExitText::LeftRunning } else { ExitText::CellGone };
        for session in self.sessions.take_all().into_values() {
            self.receipt(&session, exit.clone(), None);
        }
        reap_children();
    }

    fn waits_for_init(&self) -> bool {
        !self.sessions.is_empty() || self.traced.as_ref().is_some_and(|traced| traced.ending)
    }

    /// A caller went and left a session running, or something that holds its streams. Where its time is
    /// limited, that is watched.
    fn outlast(&mut self) {
        while let Some(look) = self.clock.next().filter(|_| self.goes_on()) {
            let over = matches!(self.clock.due(Instant::now(), false), Some(Due::End(_)));
            let Some(cell) = self.cell.as_ref().filter(|_| !over) else { break };
            let look = if self.sessions.is_empty() { look.min(Instant::now() + LOOK) } else { look };
            let fds = [self.house.told(), cell.link.as_fd()];
            match poll::wait_readable(&fds, Some(look)).as_deref() {
                Ok([false, false]) => {}
                Ok([false, true]) => self.hear_receipt(),
                Ok(_told) => break,
                Err(_failed) => break,
            }
        }
        if self.clock.next().is_some() && self.goes_on() {
            self.end_callers_session();
        }
    }

    fn goes_on(&mut self) -> bool {
        !self.sessions.is_empty() || self.traced.as_mut().is_some_and(Traced::is_held)
    }

    /// Ends what the caller left running, and what remains of a session whose first process has ended: no
    /// session outlasts its tenant's hours by that.
    fn end_callers_session(&mut self) {
        let Some(cell) = &self.cell else { return };
        let mut ids = self.sessions.ids();
        if let Some(remains) = self.traced.as_ref().and_then(|traced| traced.id.clone())
            && !ids.contains(&remains)
        {
            ids.push(remains);
        }
        for id in ids {
            // A cell that is gone has ended its sessions.
            if cell.link.send(&Order::EndSession { id, grace: CALLER_GRACE }).is_err() {
                return;
            }
        }
        if let Some(traced) = &mut self.traced {
            traced.ending = true;
        }
    }

    /// What made a session of its own (setsid(2)) cannot be told from what the tenant runs besides. If it
    /// still holds a pipe that the caller may hold at the other end, all of the cell ends.
    fn cut_streams(&mut self) {
        let Some(traced) = &mut self.traced else { return };
        traced.cut();
        if traced.is_held()
            && let Some(cell) = &self.cell
        {
            let (connection, tenant) = (self.conn.id, self.grant.name());
            warn!("{connection} the cell of {tenant} ends: something in it holds on to a session whose time is over");
            // A cell that takes no order has ended.
            if cell.link.send(&Order::End { grace: CALLER_GRACE }).is_err() {}
        }
    }

    /// Takes one report of init's, when nobody is there any more but for the receipts.
    fn hear_receipt(&mut self) {
        let Some(cell) = self.cell.as_mut() else { return };
        match cell.link.receive() {
            Ok((Report::Ended { session, exit, usage }, _)) => {
                if let Some(session) = self.sessions.remove(session) {
                    self.receipt(&session, ExitText::from(&exit), Some(usage));
                }
            }
            Ok((Report::LimitHit { hit, record: true, .. }, _)) => {
                limits::record(&hit, self.conn, self.grant.name(), self.house);
            }
            Ok((Report::SessionGone { .. }, _)) => {
                if let Some(traced) = &mut self.traced {
                    traced.ending = false;
                }
            }
            Ok((Report::LimitHit { .. }, _)) => {}
            // A session that starts only now finds its ends closed, and ends.
            Ok((Report::Started { .. } | Report::Running(_), _)) => {}
            Ok((Report::Opened { .. }, fds)) => self.unwanted.part_with(fds),
            Ok((Report::NotOpened { .. }, _)) => {}
            Ok((Report::NotStarted { session, .. } | Report::Full { session }, _)) => {
                self.sessions.remove(session);
            }
            Err(_gone) => self.cell = None,
        }
    }
}
