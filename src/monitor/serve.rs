//! The loop of a connection that is logged in: requests of the ssh process, reports of the cell's
//! init, and the end of either.

use std::{
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use crate::account::Refusals;
use crate::policy::{Ask, Grant, Told};
use crate::sys::signal::SIGHUP;
use crate::sys::{Errno, poll};
use crate::wire::login::{Reply, Request};
use crate::wire::session::Exit;

use super::cell::Entered;
use super::clock::{Clock, Due};
use super::files::{Files, Whose};
use super::forwards::Forwards;
use super::leaving::Traced;
use super::pipeline::{House, Named};
use super::sessions::Sessions;
use super::ssh::{End, Ssh};
use super::unwanted::Unwanted;

/// How long a client may take to hear why we end its connection, and to go. Less than
/// `cellblock serve --stop-sessions` gives to what runs in cells.
const GOODBYE: Duration = Duration::from_secs(1);

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
    pub(super) files: Files,
    pub(super) unwanted: Unwanted,
    pub(super) refusals: Refusals,
    pub(super) clock: Clock,
    pub(super) conn: Named<'a>,
    pub(super) grant: &'a Grant,
    pub(super) told: &'a Told,
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

    pub(super) fn whose(&self) -> Whose<'a> {
        Whose { connection: self.conn.id, tenant: self.grant.name() }
    }
}
