//! Who starts a caller's session and tells how it goes: a monitor, through which a tenant enters, or the init of a
//! cell of the caller's own (`own.rs`).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::base::Result;
use crate::wire::login::{Reply, Request};
use crate::wire::session::{Exit, Program, Signal, Terminal};
use crate::wire::{Link, LinkError};

/// The one session of a caller.
const CHANNEL: u32 = 0;

/// What was told.
#[derive(Debug)]
pub enum Said {
    /// The session runs: its streams.
    Started(Vec<OwnedFd>),
    /// None was started, because of this.
    Refused(String),
    /// For the caller to read.
    Notice(String),
    /// How it ended.
    Ended(Exit),
    /// Nothing that concerns it.
    Nothing,
    /// What cannot be meant; its name.
    Odd(String),
}

/// See the module. Its descriptor is readable when there is something to hear.
pub trait Starter: AsFd {
    /// Passes a signal on to the session; an error if nobody is there to.
    fn signal(&self, signal: Signal) -> Result<(), LinkError>;
    /// Hears what is told next.
    fn hear(&mut self) -> Result<Said, LinkError>;
}

/// A monitor.
#[derive(Debug)]
pub struct Monitor(Link<Request, Reply>);

impl Monitor {
    /// At the other end of the link of a caller who was let in.
    pub(super) fn new(link: Link<Request, Reply>) -> Self {
        Self(link)
    }

    /// Asks for the session, with these variables.
    pub fn ask(
        &self,
        program: Program,
        terminal: Option<Terminal>,
        environment: Vec<(String, String)>,
    ) -> Result<(), LinkError> {
        self.0.send(&request(program, terminal, environment))
    }
}

/// What [`Monitor::ask`] asks.
pub(super) fn request(program: Program, terminal: Option<Terminal>, environment: Vec<(String, String)>) -> Request {
    Request::StartSession { channel: CHANNEL, program, terminal, environment }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Starter for Monitor {
    fn signal(&self, signal: Signal) -> Result<(), LinkError> {
        self.0.send(&Request::SignalSession { channel: CHANNEL, signal })
    }

    fn hear(&mut self) -> Result<Said, LinkError> {
        let (reply, fds) = match self.0.receive() {
            // What was not read there of what we sent is told first (unix(7)).
            Err(LinkError::Closed) => self.0.receive()?,
            received => received?,
        };
        Ok(match reply {
            Reply::SessionStarted { .. } => Said::Started(fds),
            Reply::SessionRefused { why, .. } => Said::Refused(why.sentence().to_owned()),
            Reply::SessionNotice { text, .. } => Said::Notice(text),
            Reply::SessionEnded { exit, .. } => Said::Ended(exit),
            // Said to all whose cell has ended; there are none here.
            Reply::ForwardsGone => Said::Nothing,
            Reply::Setup(_)
            | Reply::KeyAcceptable
            | Reply::Ask { .. }
            | Reply::LoggedIn(_)
            | Reply::LoginRefused { .. }
            | Reply::ForwardOpened { .. }
            | Reply::ForwardRefused { .. } => Said::Odd(name_of(&reply)),
        })
    }
}

/// The name of a message: its fields and values may be long.
pub(super) fn name_of(message: &impl std::fmt::Debug) -> String {
    format!("{message:?}").chars().take_while(|letter| letter.is_alphanumeric()).collect()
}
