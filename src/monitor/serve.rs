//! The loop of a connection that is logged in: requests of the ssh process, reports of the cell's
//! init, and the end of either.
//!
//! A session's descriptors pass straight through from init to the ssh process; not one byte of a
//! session is read here.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    time::{Duration, Instant},
};

use tracing::{error, info, warn};

use crate::account::{Event, ExitText, Refusals};
use crate::base::{Failure, Result, SessionId, escape, fail};
use crate::policy::{Ask, Grant, Told};
use crate::sys::process::{self, Reaped, reap};
use crate::sys::signal::SIGHUP;
use crate::sys::{Errno, fd, net, poll};
use crate::wire::door::Word;
use crate::wire::init::{Hit, Order, Report, Start};
use crate::wire::login::{Refusal, Reply, Request};
use crate::wire::session::{Exit, Program, Signal, Usage};
use crate::wire::{Link, LinkError};

use super::clock::{Clock, Due};
use super::files::{Files, Whose};
use super::forwards::Forwards;
use super::leaving::Traced;
use super::limits;
use super::pipeline::{House, Named};
use super::sessions::{Session, Sessions, State};
use super::ssh::{End, Ssh};
use super::unwanted::Unwanted;

/// How long an order may wait for room at init, which never waits for anybody.
const ORDER_LIMIT: Duration = Duration::from_secs(5);
/// How long a client may take to hear why we end its connection, and to go. Less than
/// `cellblock serve --stop-sessions` gives to what runs in cells.
const GOODBYE: Duration = Duration::from_secs(1);

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

/// Serves the holder of `grant` until the connection ends, and writes a receipt for each session.
pub(super) fn serve(ssh: Ssh, conn: Named<'_>, grant: &Grant, told: &Told, house: &mut House) -> Result<(), End> {
    let (sessions, refusals) = (Sessions::default(), Refusals::default());
    let (files, forwards) = (Files::default(), Forwards::default());
    let clock = Clock::new(grant.tenant(), Instant::now());
    let unwanted = Unwanted::default();
    let traced = None;
    let mut served = Served {
        ssh,
        cell: None,
        sessions,
        traced,
        forwards,
        files,
        unwanted,
        refusals,
        clock,
        conn,
        grant,
        told,
        house,
    };
    let end = served.until_the_end();
    served.house.listener.say_the_rest();
    if let Err(end) = &end {
        served.say_goodbye(end);
    }
    served.wind_up(&end);
    end
}

/// A connection that is being served.
pub(super) struct Served<'a> {
    pub(super) ssh: Ssh,
    pub(super) cell: Option<Entered>,
    pub(super) sessions: Sessions,
    /// Of the session of a caller whose time is limited.
    pub(super) traced: Option<Traced>,
    pub(super) forwards: Forwards,
    files: Files,
    pub(super) unwanted: Unwanted,
    refusals: Refusals,
    pub(super) clock: Clock,
    pub(super) conn: Named<'a>,
    pub(super) grant: &'a Grant,
    told: &'a Told,
    pub(super) house: &'a mut House,
}

/// What there is to do next, the most urgent first. The last reports of a cell come before its end,
/// and the last requests of the ssh process before its own. What was done with files waits for all
/// else: there may be much of it.
enum Wake {
    Told,
    Report,
    CellEnded,
    Request,
    SshEnded,
    /// The pipe of that number in [`Files`].
    Files(usize),
    Nothing,
}

impl<'a> Served<'a> {
    fn until_the_end(&mut self) -> Result<(), End> {
        loop {
            match self.clock.due(Instant::now(), self.sessions.anybody()) {
                None => {}
                Some(Due::Warn(text)) => self.tell_all(&text)?,
                Some(Due::End(end)) => return Err(end),
            }
            match self.wait()? {
                Wake::Told => return Err(End::Told),
                Wake::Report => self.hear_cell()?,
                Wake::CellEnded => self.cell_gone()?,
                Wake::Request => {
                    if let Some(request) = self.ssh.request()? {
                        self.answer(request)?;
                    }
                }
                Wake::SshEnded => return Ok(()),
                Wake::Files(number) => {
                    let whose = self.whose();
                    self.files.hear(number, whose, self.house.book());
                }
                Wake::Nothing => {}
            }
            self.house.listener.say_the_rest();
        }
    }

    fn wait(&mut self) -> Result<Wake, End> {
        let rested = self.files.rouse(Instant::now());
        let [link, pidfd] = self.ssh.fds();
        let mut fds = vec![self.house.told(), link, pidfd];
        if let Some(cell) = &self.cell {
            fds.extend([cell.link.as_fd(), cell.pidfd.as_fd()]);
        }
        let urgent = fds.len();
        fds.extend(self.files.watched());
        let failed = |errno: Errno| End::Failed(errno.to_string());
        let next = [self.clock.next(), rested].into_iter().flatten().min();
        let unsaid = self.house.listener.has_unsaid();
        let until = if unsaid { Some(Instant::now()) } else { next };
        let mut ready = poll::wait_readable(&fds, until).map_err(failed)?;
        if unsaid && !ready.contains(&true) {
            self.house.listener.say_the_rest();
            ready = poll::wait_readable(&fds, next).map_err(failed)?;
        }
        let (ready, of_files) = ready.split_at_checked(urgent).unwrap_or((&ready, &[]));
        Ok(match ready {
            [true, ..] => Wake::Told,
            [_, _, _, true, _] => Wake::Report,
            [_, _, _, _, true] => Wake::CellEnded,
            [_, true, ..] => Wake::Request,
            [_, _, true, ..] => Wake::SshEnded,
            _none => of_files.iter().position(|ready| *ready).map_or(Wake::Nothing, Wake::Files),
        })
    }

    fn tell_all(&self, text: &str) -> Result<(), End> {
        self.sessions
            .running_channels()
            .into_iter()
            .try_for_each(|channel| self.ssh.reply(&Reply::SessionNotice { channel, text: text.to_owned() }, &[]))
    }

    /// Where we end a connection whose client did nothing wrong, its sessions are told why and end for
    /// the client as by a hang-up, which they get when the connection is gone.
    fn say_goodbye(&self, end: &End) {
        let text = match end {
            End::Told => "cellblock: the server is stopping; this connection ends",
            End::Hours => "cellblock: this account closes; this connection ends",
            End::Time => "cellblock: the time of this connection is over; it ends",
            End::Closed
            | End::Grace
            | End::Tries
            | End::GaveUp(_)
            | End::Crashed
            | End::OutOfTurn(_)
            | End::Wrong(_)
            | End::Full
            | End::Failed(_) => return,
        };
        let channels = self.sessions.running_channels();
        let exit = Exit::Signal { number: SIGHUP, name: "HUP".to_owned(), core: false };
        let said = self.tell_all(text).and_then(|()| {
            channels.iter().try_for_each(|channel| {
                self.ssh.reply(&Reply::SessionEnded { channel: *channel, exit: exit.clone() }, &[])
            })
        });
        // A client that is gone is told nothing; one without sessions has nothing to wait for.
        if said.is_ok() && !channels.is_empty() {
            let [_link, pidfd] = self.ssh.fds();
            if poll::wait_readable(&[pidfd], Some(Instant::now() + GOODBYE)).is_err() {}
        }
    }

    fn answer(&mut self, request: Request) -> Result<(), End> {
        match request {
            Request::StartSession { channel, program, terminal, environment } => {
                let sockets = self.forwards.variables();
                self.start(channel, Ask { program, terminal, environment, sockets })
            }
            Request::SignalSession { channel, signal } => self.signal(channel, signal),
            Request::LeaveSession { channel } => {
                self.leave(channel);
                Ok(())
            }
            Request::Connect { forward, target, peer } => self.connect(forward, target, &peer),
            Request::Listen { forward, place } => self.listen(forward, place),
            Request::Accepted { forward, listener, peer } => self.accepted(forward, listener, &peer),
            Request::ForwardEnded { forward, to_cell, to_client } => self.forward_ended(forward, (to_cell, to_client)),
            Request::GaveUp { why } => Err(End::GaveUp(why)),
            Request::Note { .. } | Request::RefusedUnasked { .. } => Ok(()),
            // The table of phases lets none of these through once somebody is logged in.
            Request::Confined
            | Request::OfferKey { .. }
            | Request::LogIn { .. }
            | Request::LogInByCertificate { .. }
            | Request::Password { .. }
            | Request::KeyboardInteractive { .. }
            | Request::Answers { .. }
            | Request::TriedMethod { .. } => Err(End::OutOfTurn("login request")),
        }
    }

    fn start(&mut self, channel: u32, ask: Ask) -> Result<(), End> {
        if self.sessions.on_channel(channel).is_some() {
            return Err(End::OutOfTurn("StartSession for a channel that has one"));
        }
        let number = self.sessions.number();
        let id = SessionId::new(self.conn.id, number).map_err(|why| End::Failed(why.to_string()))?;
        let (kind, command) = (ask.program.kind(), ask.program.command());
        let mut session = Session {
            channel,
            id: id.to_string(),
            terminal: ask.terminal.is_some(),
            sftp: false,
            kind,
            command,
            state: State::Asked(None),
        };
        if !self.sessions.has_room() {
            return self.refuse(&session, Refusal::TooMany, "the connection has too many sessions");
        }
        let start = match ask.program {
            // For `verify`, which comes by the enter door as root of this host.
            Program::Probe => self.grant.probe(number, id).ok_or(Refusal::NotAllowed),
            Program::Shell | Program::Command(_) | Program::Words(_) | Program::Subsystem(_) | Program::Sftp(_) => {
                self.grant.session(number, id, ask, self.told)
            }
        };
        match start {
            Ok(start) => {
                session.sftp = matches!(start.program, Program::Sftp(_));
                self.ask_init(number, session, start, Attempt::First)
            }
            Err(why @ Refusal::TooLong) => self.refuse(&session, why, "the command is too long"),
            Err(why) => self.refuse(&session, why, "not allowed"),
        }
    }

    /// Orders `session` from the tenant's cell, which is started if none runs.
    fn ask_init(&mut self, number: u64, mut session: Session, start: Start, attempt: Attempt) -> Result<(), End> {
        let order = Order::Start(Box::new(start));
        let sent = self.send_to_this_or_the_next(&order)?;
        let Order::Start(start) = order else { return Ok(()) };
        match sent {
            Ok(()) => {
                session.state = State::Asked((attempt == Attempt::First).then_some(start));
                self.sessions.add(number, session);
                Ok(())
            }
            Err(Unsent::Link(LinkError::TooLong)) => {
                self.refuse(&session, Refusal::TooLong, "command and environment are too long")
            }
            Err(Unsent::Link(why)) => self.refuse(&session, Refusal::JailFailed, &format!("init: {why}")),
            Err(Unsent::NoCell(failure)) => self.refuse(&session, Refusal::JailFailed, &failure.to_string()),
        }
    }

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

    fn signal(&mut self, channel: u32, signal: Signal) -> Result<(), End> {
        // A session that has just ended is still there for the client: not an error.
        let Some(session) = self.sessions.on_channel(channel) else { return Ok(()) };
        if !self.grant.takes_signals() {
            return Ok(());
        }
        match self.cell.as_ref().map(|cell| cell.link.send(&Order::Signal { session, signal })) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(_gone)) => self.cell_gone(),
        }
    }

    fn leave(&mut self, channel: u32) {
        if let Some(session) = self.sessions.on_channel(channel).and_then(|number| self.sessions.get_mut(number)) {
            session.state = State::Left { started: session.state.is_started() };
        }
    }

    fn hear_cell(&mut self) -> Result<(), End> {
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

    fn started(&mut self, number: u64, pid: i32, mut fds: Vec<OwnedFd>) -> Result<(), End> {
        let Some(session) = self.sessions.get_mut(number) else { return self.distrust("Started") };
        let expected = match (session.terminal, session.sftp) {
            (true, _) => 1,
            (false, false) => 3,
            (false, true) => 4,
        };
        if fds.len() != expected || session.state.is_started() {
            return self.distrust("Started");
        }
        if session.sftp
            && let Some(records) = fds.pop()
        {
            self.files.add(&session.id, records).map_err(|errno| End::Failed(errno.to_string()))?;
        }
        if self.ssh.is_caller() && self.clock.next().is_some() {
            let traced = Traced::new(&session.id, session.terminal, &fds);
            self.traced = Some(traced.map_err(|errno| End::Failed(format!("tracing the session's streams: {errno}")))?);
        }
        let channel = session.channel;
        let held = session.state.is_held();
        session.state = if held { State::Running } else { State::Left { started: true } };
        self.house.audit.record(&Event::SessionStart {
            connection: self.conn.id,
            session: &session.id,
            tenant: self.grant.name(),
            kind: session.kind,
            command: session.command.clone(),
            terminal: session.terminal,
            pid,
        });
        if !held {
            return Ok(());
        }
        let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
        self.ssh.reply(&Reply::SessionStarted { channel }, &fds)
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

    fn ended(&mut self, session: &Session, exit: Exit, usage: Option<Usage>) -> Result<(), End> {
        self.receipt(session, ExitText::from(&exit), usage);
        match session.state {
            State::Running => {
                if self.ssh.is_caller() {
                    // What is left is to see it go, and its end is not to wait for that.
                    process::be_in_no_hurry().unwrap_or_default();
                }
                self.ssh.reply(&Reply::SessionEnded { channel: session.channel, exit }, &[])
            }
            State::Left { .. } => Ok(()),
            State::Asked(_) => {
                let why = Refusal::JailFailed;
                self.ssh.reply(&Reply::SessionRefused { channel: session.channel, why }, &[])
            }
        }
    }

    fn whose(&self) -> Whose<'a> {
        Whose { connection: self.conn.id, tenant: self.grant.name() }
    }

    pub(super) fn receipt(&mut self, session: &Session, exit: ExitText, usage: Option<Usage>) {
        let whose = self.whose();
        self.files.finish(&session.id, whose, self.house.book());
        self.house.audit.record(&Event::SessionEnd {
            connection: self.conn.id,
            session: &session.id,
            tenant: self.grant.name(),
            exit,
            usage: usage.map(Into::into),
        });
    }

    fn refuse(&mut self, session: &Session, why: Refusal, reason: &str) -> Result<(), End> {
        if let Some(unlisted) = self.refusals.list() {
            warn!("{} {}: session refused: {reason}", session.id, self.grant.name());
            let refused = Event::SessionRefused {
                connection: self.conn.id,
                session: &session.id,
                tenant: self.grant.name(),
                reason: reason.to_owned(),
                unlisted,
            };
            if !self.house.record_within(self.grant.name(), &refused) {
                self.refusals.take_back(unlisted);
            }
        }
        if !session.state.is_held() {
            return Ok(());
        }
        self.ssh.reply(&Reply::SessionRefused { channel: session.channel, why }, &[])
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

/// Why an order did not get to an init.
pub(super) enum Unsent {
    NoCell(Failure),
    Link(LinkError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    First,
    Second,
}

/// Inits that this monitor started, and the ssh process, are its children.
pub(super) fn reap_children() {
    while let Ok(Reaped::Child { .. }) = reap() {}
}
