//! Sessions from the client's request to their receipt.
//!
//! A session's descriptors pass straight through from init to the ssh process; not one byte of a
//! session is read here.

use std::os::fd::{AsFd as _, OwnedFd};

use tracing::warn;

use crate::account::{Event, ExitText};
use crate::base::SessionId;
use crate::policy::Ask;
use crate::sys::process;
use crate::wire::LinkError;
use crate::wire::init::{Order, Start};
use crate::wire::login::{Refusal, Reply};
use crate::wire::session::{Exit, Program, Signal, Usage};

use super::cell::Unsent;
use super::leaving::Traced;
use super::serve::Served;
use super::sessions::{Session, State};
use super::ssh::End;

impl Served<'_> {
    /// The client asks for a program on `channel`.
    pub(super) fn start(&mut self, channel: u32, ask: Ask) -> Result<(), End> {
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
    pub(super) fn ask_init(
        &mut self,
        number: u64,
        mut session: Session,
        start: Start,
        attempt: Attempt,
    ) -> Result<(), End> {
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

    /// The client signals its session.
    pub(super) fn signal(&mut self, channel: u32, signal: Signal) -> Result<(), End> {
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

    /// The client closed the channel of a session, which goes on.
    pub(super) fn leave(&mut self, channel: u32) {
        if let Some(session) = self.sessions.on_channel(channel).and_then(|number| self.sessions.get_mut(number)) {
            session.state = State::Left { started: session.state.is_started() };
        }
    }

    /// init started session `number`: its streams go to the client.
    pub(super) fn started(&mut self, number: u64, pid: i32, mut fds: Vec<OwnedFd>) -> Result<(), End> {
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

    /// A session ended, and so does its channel.
    pub(super) fn ended(&mut self, session: &Session, exit: Exit, usage: Option<Usage>) -> Result<(), End> {
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

    /// What is left of a session in the audit file.
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

    /// A session that does not start: on record, within bounds, and told.
    pub(super) fn refuse(&mut self, session: &Session, why: Refusal, reason: &str) -> Result<(), End> {
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
}

/// Which time init is asked for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    First,
    Second,
}
