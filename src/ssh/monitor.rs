//! The monitor, as this process sees it: questions with one answer each, and ends of sessions.
//!
//! Three parts share the link: [`Voice`] sends, [`Ear`] receives and sorts, [`Monitor`] asks and
//! waits for what the ear hears. One question is open at a time.

use std::{
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cellblock::wire::{
    Link, LinkError,
    login::{LoggedIn, Method, Refusal, Reply, Request, Setup},
    pam::Prompt,
    session::Exit,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{end::End, forwards::Forwards, ready};

/// A monitor that is silent for this long is stuck. Longer than a jail on a slow disk takes to
/// start; the connection's other channels wait while a session starts.
const PATIENCE: Duration = Duration::from_secs(60);

/// The same for a login: the longest `login_grace`, which the monitor keeps, and [`PATIENCE`]. A module of
/// PAM may wait for a person who is looking for a telephone.
const LOGIN_PATIENCE: Duration = Duration::from_secs(3600 + 60);

type ToMonitor = Link<Request, Reply>;

/// Sends to the monitor.
#[derive(Debug, Clone)]
pub(crate) struct Voice(Arc<AsyncFd<ToMonitor>>);

impl Voice {
    /// Takes over one descriptor of the link, which must be non-blocking.
    pub(crate) fn new(link: OwnedFd) -> io::Result<Self> {
        Ok(Self(Arc::new(ready::watch(Link::new(link), Interest::WRITABLE)?)))
    }

    /// Sends one request; waits while the monitor does not read.
    pub(crate) async fn send(&self, request: &Request) -> Result<(), End> {
        loop {
            let mut ready = self.0.writable().await.map_err(closed)?;
            match ready.get_inner().send(request) {
                Err(LinkError::WouldBlock) => ready.clear_ready(),
                sent => return Ok(sent?),
            }
        }
    }
}

/// Notices that one session keeps until its client has taken them; one more is dropped.
const MAX_NOTICES: usize = 8;

/// What the monitor will say of a session.
#[derive(Debug)]
pub(crate) struct News {
    /// How the program ended.
    pub(crate) exit: oneshot::Receiver<Exit>,
    /// What the client is told meanwhile.
    pub(crate) notices: mpsc::Receiver<String>,
}

type Expecting = (oneshot::Sender<Exit>, mpsc::Sender<String>);

/// Sessions whose end the monitor will report, by their channel's number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ends(Arc<Mutex<HashMap<u32, Expecting>>>);

impl Ends {
    /// Where the end of the session on channel `number` will arrive, and notices before.
    pub(crate) fn expect(&self, number: u32) -> News {
        let (report, exit) = oneshot::channel();
        let (notice, notices) = mpsc::channel(MAX_NOTICES);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number, (report, notice));
        News { exit, notices }
    }

    /// Passes a notice on. One for a channel that the client has closed, or does not read, is dropped.
    pub(crate) fn notice(&self, number: u32, text: String) {
        if let Some((_, notices)) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&number)
            && notices.try_send(text).is_err()
        {}
    }

    /// Tells all sessions.
    pub(crate) fn notice_all(&self, text: &str) {
        let numbers: Vec<u32> = self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        for number in numbers {
            self.notice(number, text.to_owned());
        }
    }

    /// Nobody waits for it any more.
    pub(crate) fn forget(&self, number: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    /// Passes an end on. One that nobody expects belongs to a channel that the client has closed.
    fn report(&self, number: u32, exit: Exit) {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        if let Some((waiting, _notices)) = waiting {
            // The other end is gone if the channel was closed in the meantime.
            drop(waiting.send(exit));
        }
    }
}

/// The client is not in.
#[derive(Debug)]
pub(crate) struct Refused {
    /// What it may go on with.
    pub(crate) next: Vec<Method>,
    /// What it showed was right, and more is needed.
    pub(crate) partial: bool,
}

/// What a request to be let in came to.
#[derive(Debug)]
pub(crate) enum Judged {
    /// The client is in.
    In(LoggedIn),
    /// It is not.
    Refused(Refused),
    /// It is to be shown and asked this first.
    Asked { text: String, prompts: Vec<Prompt> },
}

type Answer = (Reply, Vec<OwnedFd>);

/// Receives from the monitor.
#[derive(Debug)]
pub(crate) struct Ear {
    link: AsyncFd<ToMonitor>,
    ends: Ends,
    forwards: Forwards,
    answers: mpsc::Sender<Answer>,
}

impl Ear {
    /// Takes over the other descriptor of the link. Answers go to the receiver returned.
    pub(crate) fn new(link: OwnedFd, forwards: Forwards) -> io::Result<(Self, Ends, mpsc::Receiver<Answer>)> {
        let link = ready::watch(Link::new(link), Interest::READABLE)?;
        let ends = Ends::default();
        // One question, one answer.
        let (answers, heard) = mpsc::channel(1);
        Ok((Self { link, ends: ends.clone(), forwards, answers }, ends, heard))
    }

    /// Sorts what the monitor sends, until it is gone or makes no sense.
    pub(crate) async fn listen(mut self) -> End {
        loop {
            let (reply, fds) = match self.hear().await {
                Ok(heard) => heard,
                Err(end) => return end,
            };
            match reply {
                Reply::SessionEnded { channel, exit } => self.ends.report(channel, exit),
                Reply::SessionNotice { channel, text } => self.ends.notice(channel, text),
                Reply::ForwardOpened { forward, port } => self.forwards.answer(forward, Ok((port, fds))),
                Reply::ForwardRefused { forward, why } => self.forwards.answer(forward, Err(why)),
                Reply::ForwardsGone => self.forwards.end_all(),
                Reply::Setup(_)
                | Reply::KeyAcceptable
                | Reply::Ask { .. }
                | Reply::LoggedIn(_)
                | Reply::LoginRefused { .. }
                | Reply::SessionStarted { .. }
                | Reply::SessionRefused { .. } => {
                    if self.answers.try_send((reply, fds)).is_err() {
                        return End::OutOfTurn;
                    }
                }
            }
        }
    }

    async fn hear(&mut self) -> Result<Answer, End> {
        loop {
            let mut ready = self.link.readable_mut().await.map_err(closed)?;
            match ready.get_inner_mut().receive() {
                Err(LinkError::WouldBlock) => ready.clear_ready(),
                heard => return Ok(heard?),
            }
        }
    }
}

fn closed(_error: io::Error) -> End {
    End::Link(LinkError::Closed)
}

/// Asks the monitor.
#[derive(Debug)]
pub(crate) struct Monitor {
    voice: Voice,
    answers: mpsc::Receiver<Answer>,
}

impl Monitor {
    /// From the parts.
    pub(crate) fn new(voice: Voice, answers: mpsc::Receiver<Answer>) -> Self {
        Self { voice, answers }
    }

    /// Says something that is not answered.
    pub(crate) async fn tell(&self, request: &Request) -> Result<(), End> {
        self.voice.send(request).await
    }

    async fn ask(&mut self, request: &Request) -> Result<Answer, End> {
        self.ask_patiently(request, PATIENCE).await
    }

    async fn ask_patiently(&mut self, request: &Request, patience: Duration) -> Result<Answer, End> {
        self.voice.send(request).await?;
        let answer = timeout(patience, self.answers.recv()).await.map_err(|_elapsed| End::NoAnswer)?;
        answer.ok_or(End::Link(LinkError::Closed))
    }

    /// The sandbox holds: how is this connection to be served?
    pub(crate) async fn ask_setup(&mut self) -> Result<Setup, End> {
        match self.ask(&Request::Confined).await?.0 {
            Reply::Setup(setup) => Ok(*setup),
            Reply::KeyAcceptable
            | Reply::Ask { .. }
            | Reply::LoggedIn(_)
            | Reply::LoginRefused { .. }
            | Reply::SessionStarted { .. }
            | Reply::SessionRefused { .. }
            | Reply::SessionNotice { .. }
            | Reply::SessionEnded { .. }
            | Reply::ForwardOpened { .. }
            | Reply::ForwardRefused { .. }
            | Reply::ForwardsGone => Err(End::OutOfTurn),
        }
    }

    /// Would this key be accepted?
    pub(crate) async fn ask_offer_key(&mut self, user: String, key: Vec<u8>) -> Result<Result<(), Refused>, End> {
        match self.ask(&Request::OfferKey { user, key }).await?.0 {
            Reply::KeyAcceptable => Ok(Ok(())),
            Reply::LoginRefused { next, partial } => Ok(Err(Refused { next, partial })),
            Reply::Setup(_)
            | Reply::Ask { .. }
            | Reply::LoggedIn(_)
            | Reply::SessionStarted { .. }
            | Reply::SessionRefused { .. }
            | Reply::SessionNotice { .. }
            | Reply::SessionEnded { .. }
            | Reply::ForwardOpened { .. }
            | Reply::ForwardRefused { .. }
            | Reply::ForwardsGone => Err(End::OutOfTurn),
        }
    }

    /// `request` proves something, or tries to: is the client in?
    pub(crate) async fn ask_log_in(&mut self, request: &Request) -> Result<Judged, End> {
        match self.ask_patiently(request, LOGIN_PATIENCE).await?.0 {
            Reply::LoggedIn(logged_in) => Ok(Judged::In(logged_in)),
            Reply::LoginRefused { next, partial } => Ok(Judged::Refused(Refused { next, partial })),
            Reply::Ask { text, prompts } => Ok(Judged::Asked { text, prompts }),
            Reply::Setup(_)
            | Reply::KeyAcceptable
            | Reply::SessionStarted { .. }
            | Reply::SessionRefused { .. }
            | Reply::SessionNotice { .. }
            | Reply::SessionEnded { .. }
            | Reply::ForwardOpened { .. }
            | Reply::ForwardRefused { .. }
            | Reply::ForwardsGone => Err(End::OutOfTurn),
        }
    }

    /// Starts a program; `request` is a `StartSession` for channel `number`.
    pub(crate) async fn ask_start_session(
        &mut self,
        number: u32,
        request: &Request,
    ) -> Result<Result<Vec<OwnedFd>, Refusal>, End> {
        match self.ask(request).await? {
            (Reply::SessionStarted { channel }, fds) if channel == number => Ok(Ok(fds)),
            (Reply::SessionRefused { channel, why }, _none) if channel == number => Ok(Err(why)),
            (
                Reply::SessionStarted { .. }
                | Reply::SessionRefused { .. }
                | Reply::Setup(_)
                | Reply::KeyAcceptable
                | Reply::Ask { .. }
                | Reply::LoggedIn(_)
                | Reply::LoginRefused { .. }
                | Reply::SessionNotice { .. }
                | Reply::SessionEnded { .. }
                | Reply::ForwardOpened { .. }
                | Reply::ForwardRefused { .. }
                | Reply::ForwardsGone,
                _fds,
            ) => Err(End::OutOfTurn),
        }
    }
}
