//! The tenant's cell, as this connection has it: orders to its init, reports of it, and its end.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use tracing::{error, info, warn};

use crate::account::Event;
use crate::base::{Failure, Result, escape, fail};
use crate::sys::process::{Reaped, reap};
use crate::sys::{Errno, fd, net};
use crate::wire::door::Word;
use crate::wire::init::{Hit, Order, Report};
use crate::wire::login::{Refusal, Reply};
use crate::wire::session::Exit;
use crate::wire::{Link, LinkError};

use super::limits;
use super::serve::Served;
use super::sessions::State;
use super::ssh::End;
use super::starting::Attempt;

/// How long an order may wait for room at init, which never waits for anybody.
const ORDER_LIMIT: Duration = Duration::from_secs(5);

/// A running cell that was entered.
#[derive(Debug)]
pub struct Entered {
    /// To its init.
    pub link: Link<Order, Report>,
    /// Of its init.
    pub pidfd: OwnedFd,
    /// Its init, in our pid namespace.
    pub pid: i32,
    /// The limits that it goes without, if it was started for this.
    pub forgone: Vec<&'static str>,
}

/// Why an order did not get to an init.
pub(super) enum Unsent {
    NoCell(Failure),
    Link(LinkError),
}

impl Served<'_> {
    /// As [`send`](Self::send). The cell that we knew may have ended meanwhile: whoever comes now gets the
    /// next one.
    pub(super) fn send_to_this_or_the_next(&mut self, order: &Order) -> Result<Result<(), Unsent>, End> {
        match self.send(order) {
            Err(Unsent::Link(LinkError::Closed)) => {
                self.cell_gone()?;
                Ok(self.send(order))
            }
            sent => Ok(sent),
        }
    }

    /// Sends `order` to the init of the tenant's cell, which is entered, and started where none runs.
    pub(super) fn send(&mut self, order: &Order) -> Result<(), Unsent> {
        let cell = match self.cell.take() {
            Some(cell) => cell,
            None => self.enter().map_err(Unsent::NoCell)?,
        };
        self.cell.insert(cell).link.send(order).map_err(Unsent::Link)
    }

    fn enter(&mut self) -> Result<Entered> {
        let cell = (self.house.enter)(self.grant.tenant())?;
        net::set_send_timeout(cell.link.as_fd(), ORDER_LIMIT)
            .map_err(|errno| fail("entering the cell of", self.grant.name(), errno))?;
        let word = Word::CellEntered { tenant: self.grant.name().clone(), pid: cell.pid };
        let pidfd = fd::duplicate(cell.pidfd.as_fd())
            .map_err(|errno| fail("entering the cell of", self.grant.name(), errno))?;
        self.house.listener.tell_soon(word, Some(pidfd));
        if !cell.forgone.is_empty() {
            let (connection, tenant, limits) = (self.conn.id, self.grant.name(), &cell.forgone);
            warn!("{connection} the cell of {tenant} goes without {}", limits.join(", "));
            self.house.audit.record(&Event::LimitsForgone { connection, tenant, limits });
        }
        Ok(cell)
    }

    /// Takes the next report of init.
    pub(super) fn hear_cell(&mut self) -> Result<(), End> {
        let Some(cell) = self.cell.as_mut() else { return Ok(()) };
        match cell.link.receive() {
            Ok((report, fds)) => self.hear(report, fds),
            Err(LinkError::Closed) => self.cell_gone(),
            Err(why) => {
                error!("{} init of {}: {why}", self.conn.id, self.grant.name());
                self.cell_gone()
            }
        }
    }

    fn hear(&mut self, report: Report, fds: Vec<OwnedFd>) -> Result<(), End> {
        match report {
            Report::Started { session, pid } => self.started(session, pid, fds),
            Report::NotStarted { session, step, errno } => {
                let Some(session) = self.sessions.remove(session) else { return self.distrust("NotStarted") };
                let why = format!("{}: {}", escape(&step), Errno::from_raw(errno));
                self.refuse(&session, Refusal::JailFailed, &why)
            }
            Report::Full { session } => {
                let Some(session) = self.sessions.remove(session) else { return self.distrust("Full") };
                self.refuse(&session, Refusal::TooMany, "the tenant has too many sessions")
            }
            Report::LimitHit { hit, sessions, record } => self.limit_hit(&hit, &sessions, record),
            Report::Ended { session, exit, usage } => {
                let Some(session) = self.sessions.remove(session) else { return self.distrust("Ended") };
                self.ended(&session, exit, Some(usage))
            }
            Report::Opened { forward, number } => self.opened(forward, number, fds),
            Report::NotOpened { forward, step, errno } => self.not_opened(forward, &step, errno),
            // Answers to what only the admin's verbs ask.
            Report::Running(_) => self.distrust("Running"),
            Report::SessionGone { .. } => self.distrust("SessionGone"),
        }
    }

    fn limit_hit(&mut self, hit: &Hit, sessions: &[u64], record: bool) -> Result<(), End> {
        if record {
            limits::record(hit, self.conn, self.grant.name(), self.house);
        }
        let channels: Vec<u32> = sessions.iter().filter_map(|number| self.sessions.running_on(*number)).collect();
        channels
            .into_iter()
            .try_for_each(|channel| self.ssh.reply(&Reply::SessionNotice { channel, text: hit.sentence() }, &[]))
    }

    /// An init that makes no sense is treated as one that is gone.
    pub(super) fn distrust(&mut self, report: &str) -> Result<(), End> {
        error!("{} init of {} sent {report} that fits nothing", self.conn.id, self.grant.name());
        self.cell_gone()
    }

    /// The cell ended: so did what ran in it; what it had not begun is asked for once more.
    pub(super) fn cell_gone(&mut self) -> Result<(), End> {
        self.cell = None;
        reap_children();
        for (number, mut session) in self.sessions.take_all() {
            match std::mem::replace(&mut session.state, State::Running) {
                State::Asked(Some(start)) => {
                    info!("{} {}: the cell ended just then; trying the next one", session.id, self.grant.name());
                    self.ask_init(number, session, *start, Attempt::Second)?;
                }
                state @ (State::Asked(None) | State::Running | State::Left { .. }) => {
                    session.state = state;
                    self.ended(&session, Exit::CellGone, None)?;
                }
            }
        }
        self.forwards_gone()
    }
}

/// Inits that this monitor started, and the ssh process, are its children.
pub(super) fn reap_children() {
    while let Ok(Reaped::Child { .. }) = reap() {}
}
