//! The init of a cell of the caller's own, asked without a monitor in between.

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use crate::base::{Result, escape, fail};
use crate::jail::Cell;
use crate::sys::{Errno, net};
use crate::wire::init::{Order, Report, Start};
use crate::wire::session::{Exit, Signal};
use crate::wire::{Link, LinkError};

use super::starter::{Said, Starter, name_of};

/// The one session of this link.
pub(super) const SESSION: u64 = 1;

/// How long an order may wait for room at init, which never waits for anybody.
const ORDER_LIMIT: Duration = Duration::from_secs(5);

/// Joins the caller's cell, or starts one.
pub(super) type Enter = Box<dyn Fn() -> Result<Cell>>;

/// See the module.
pub(super) struct Init {
    link: Link<Order, Report>,
    enter: Enter,
    state: State,
    /// Whether signals are delivered (`allow`).
    signals: bool,
}

/// Where the session is.
enum State {
    /// To be asked for, or asked for once. Kept to ask again if the cell ends before it answers: one whose linger runs
    /// out just then is no reason to refuse anybody.
    First(Box<Start>),
    /// Asked for again.
    Second,
    Running,
    Ended,
}

impl Init {
    /// Enters the cell that `start` is to run in.
    pub(super) fn enter(enter: Enter, start: Start, signals: bool) -> Result<Self> {
        let link = link(&enter)?;
        Ok(Self { link, enter, state: State::First(Box::new(start)), signals })
    }

    /// Asks for the session. That the cell has gone meanwhile is heard as an answer.
    pub(super) fn ask(&mut self) -> Result<(), LinkError> {
        let State::First(start) = &self.state else { return Ok(()) };
        match self.link.send(&Order::Start(start.clone())) {
            Err(LinkError::Closed) => Ok(()),
            sent => sent,
        }
    }

    /// The link has closed.
    fn gone(&mut self) -> Result<Said, LinkError> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::First(start) => {
                self.link = match link(&self.enter) {
                    Ok(link) => link,
                    Err(failure) => return Ok(Said::Refused(failure.to_string())),
                };
                self.state = State::Second;
                self.link.send(&Order::Start(start)).map(|()| Said::Nothing)
            }
            State::Second => Ok(Said::Refused("the jail ends as soon as it starts".to_owned())),
            State::Running => Ok(Said::Ended(Exit::CellGone)),
            State::Ended => Err(LinkError::Closed),
        }
    }
}

fn link(enter: &Enter) -> Result<Link<Order, Report>> {
    let cell = enter()?;
    net::set_send_timeout(cell.link.as_fd(), ORDER_LIMIT)
        .map_err(|errno| fail("entering the cell of", &cell.name, errno))?;
    Ok(cell.link)
}

impl AsFd for Init {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

impl Starter for Init {
    fn signal(&self, signal: Signal) -> Result<(), LinkError> {
        if self.signals { self.link.send(&Order::Signal { session: SESSION, signal }) } else { Ok(()) }
    }

    fn hear(&mut self) -> Result<Said, LinkError> {
        let (report, fds) = match self.link.receive() {
            Err(LinkError::Closed) => return self.gone(),
            heard => heard?,
        };
        Ok(match report {
            Report::Started { session: SESSION, .. } => {
                self.state = State::Running;
                Said::Started(fds)
            }
            Report::NotStarted { session: SESSION, step, errno } => {
                Said::Refused(format!("the jail failed: {}: {}", escape(&step), Errno::from_raw(errno)))
            }
            Report::Full { session: SESSION } => Said::Refused("too many sessions are open in the jail".to_owned()),
            Report::Ended { session: SESSION, exit, .. } => {
                self.state = State::Ended;
                Said::Ended(exit)
            }
            Report::LimitHit { hit, sessions, .. } if sessions.contains(&SESSION) => Said::Notice(hit.sentence()),
            Report::LimitHit { .. } => Said::Nothing,
            Report::Started { .. }
            | Report::NotStarted { .. }
            | Report::Full { .. }
            | Report::Ended { .. }
            | Report::Opened { .. }
            | Report::NotOpened { .. }
            | Report::Running(_)
            | Report::SessionGone { .. } => Said::Odd(name_of(&report)),
        })
    }
}

impl fmt::Debug for Init {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Init").field("link", &self.link).finish_non_exhaustive()
    }
}
