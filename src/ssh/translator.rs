//! What answers a client: its state, and what more than one kind of request comes to.
//!
//! Holds nothing about the user between requests: the key that signed is the key that is named to
//! the monitor, with the user it was signed for.

use std::sync::{Arc, atomic::AtomicBool};

use cellblock::wire::{
    forward::Target,
    login::{LoggedIn, Refusal, Request, TriedMethod},
    session::Program,
};
use russh::{
    Channel, ChannelId, ChannelOpenFailure, MethodKind, MethodSet,
    server::{Auth, ChannelOpenHandle, Msg, Session},
};

use super::{
    ahead::Ahead,
    algorithms,
    channels::{Channels, Preparing},
    confirmations::Confirmations,
    end::End,
    flow::Flow,
    forwards::{Direct, Forwards},
    idle::Activity,
    monitor::{Ends, Judged, Monitor, Refused},
    overheard, requests,
    session::{self, Streams},
};

/// Extended data type for standard error (RFC 4254, 5.2).
const STDERR: u32 = 1;

/// Exit status of a session that we could not start, as ssh(1) uses it for its own failures.
const OUR_FAULT: u32 = 255;

/// Channels that one connection may open in its life. Of each that we close before the client does,
/// and that is nearly every one, russh 0.65 keeps 3.3 KiB until the connection ends
/// (`server::Session::channels`): so many come to 35 MiB.
pub(super) const MOST_EVER: u32 = 10_000;

/// What answers a client.
pub(crate) struct Translator {
    pub(super) monitor: Monitor,
    pub(super) ends: Ends,
    pub(super) forwards: Forwards,
    pub(super) flow: Flow,
    pub(super) ahead: Ahead,
    pub(super) channels: Channels,
    pub(super) banner: Option<String>,
    pub(super) activity: Activity,
    pub(super) logged_in: Option<LoggedIn>,
    /// Told to the socket.
    pub(super) login_is_through: Arc<AtomicBool>,
    next_number: u32,
    /// Channels opened so far.
    pub(super) opened: u32,
    pub(super) confirmations: Confirmations,
}

/// What a connection has when its first byte is read.
pub(crate) struct Given {
    pub(crate) monitor: Monitor,
    pub(crate) ends: Ends,
    pub(crate) forwards: Forwards,
    pub(crate) flow: Flow,
    pub(crate) channels: Channels,
    pub(crate) banner: Option<String>,
    pub(crate) activity: Activity,
    /// Told to the socket.
    pub(crate) login_is_through: Arc<AtomicBool>,
}

impl Translator {
    /// For a connection that nobody has logged in to.
    pub(crate) fn new(given: Given) -> Self {
        let Given { monitor, ends, forwards, flow, channels, banner, activity, login_is_through } = given;
        let (logged_in, next_number, opened) = (None, 0, 0);
        let ahead = forwards.ahead();
        Self {
            monitor,
            ends,
            forwards,
            flow,
            ahead,
            channels,
            banner,
            activity,
            logged_in,
            login_is_through,
            next_number,
            opened,
            confirmations: Confirmations::default(),
        }
    }

    /// A try by a method that is not offered: counted as any other.
    pub(super) async fn refuse(&mut self, user: &str, method: TriedMethod) -> Result<Auth, End> {
        self.log_in(Request::TriedMethod { user: requests::user(user), method }).await
    }

    /// Asks the monitor, whose word it is.
    pub(super) async fn log_in(&mut self, request: Request) -> Result<Auth, End> {
        Ok(match self.monitor.ask_log_in(&request).await? {
            Judged::In(logged_in) => {
                self.logged_in = Some(logged_in);
                Auth::Accept
            }
            Judged::Refused(refused) => reject(&refused),
            Judged::Asked { text, prompts } => Auth::Partial {
                name: "".into(),
                instructions: text.into(),
                prompts: prompts.into_iter().map(|prompt| (prompt.text.into(), prompt.echo)).collect(),
            },
        })
    }

    /// Starts `program` on a channel, and answers the request for it.
    pub(super) async fn start(&mut self, id: ChannelId, program: Program, session: &mut Session) -> Result<(), End> {
        let Some(preparing) = self.channels.start(id) else { return Ok(session.channel_failure(id)?) };
        let number = self.next_number;
        self.next_number = number.checked_add(1).ok_or(End::OutOfTurn)?;
        let is_subsystem = matches!(program, Program::Subsystem(_));
        let request = Request::StartSession {
            channel: number,
            program,
            terminal: preparing.terminal.clone(),
            environment: preparing.environment.clone(),
        };
        let news = self.ends.expect(number);
        match self.monitor.ask_start_session(number, &request).await? {
            Ok(fds) => {
                let streams = Streams::new(fds, preparing.terminal.is_some())?;
                session.channel_success(id)?;
                let running = session::Session {
                    writer: preparing.writer,
                    way: self.ahead.way(u32::from(id)),
                    terminal: preparing.terminal.as_ref().map(|_it| self.ahead.terminal()),
                    handle: session.handle(),
                    flow: self.flow.clone(),
                    news,
                    activity: self.activity.session(self.logged_in.as_ref().and_then(|may| may.channel_timeout)),
                    number,
                    ends: self.ends.clone(),
                };
                self.spawn(id, number, running, streams);
                Ok(())
            }
            Err(why) => {
                self.ends.forget(number);
                self.refuse_program(id, is_subsystem, preparing, why, session).await
            }
        }
    }

    fn spawn(&self, id: ChannelId, number: u32, running: session::Session, streams: Streams) {
        let (channels, flow, ends) = (self.channels.clone(), self.flow.clone(), self.ends.clone());
        let forwards = self.forwards.clone();
        let master = streams.master();
        let task = tokio::spawn(async move {
            running.run(streams).await;
            ends.forget(number);
            flow.close(u32::from(id));
            forwards.session_ended(id).await;
            // Last: it ends this task.
            channels.close(id);
        });
        self.channels.started(id, number, master, task.abort_handle());
    }

    /// A subsystem that is refused is refused as a request: clients then try something else. Where
    /// a person waits, a sentence is shown instead, as by a program that failed.
    pub(super) async fn refuse_program(
        &self,
        id: ChannelId,
        is_subsystem: bool,
        preparing: Preparing,
        why: Refusal,
        session: &mut Session,
    ) -> Result<(), End> {
        if is_subsystem {
            session.channel_failure(id)?;
            self.channels.start_failed(id, preparing);
            return Ok(());
        }
        session.channel_success(id)?;
        let sentence = format!("{}\r\n", why.sentence());
        // What a client has no window for would wait in the library, and all that other channels send behind it.
        if preparing.writer.writable_packet_size().await >= sentence.len() {
            session.extended_data(id, STDERR, sentence)?;
        }
        session.exit_status_request(id, OUR_FAULT)?;
        session.eof(id)?;
        session.close(id)?;
        self.flow.close(u32::from(id));
        self.channels.close(id);
        Ok(())
    }

    /// A channel to `target`, which the client opens.
    pub(super) async fn connect(
        &mut self,
        channel: Channel<Msg>,
        target: Option<Target>,
        peer: &str,
        reply: ChannelOpenHandle,
    ) -> Result<(), End> {
        // The half that reads must go, as for sessions.
        let (_reader, writer) = channel.split();
        match target.filter(|_| self.logged_in.is_some()) {
            None => reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await,
            Some(_) if self.opened >= MOST_EVER => reply.reject(ChannelOpenFailure::ResourceShortage).await,
            Some(target) => {
                self.opened += 1;
                self.confirmations.opened_by_client(writer.id());
                self.forwards.connect(Direct { writer, reply, target, peer: peer.to_owned() });
            }
        }
        Ok(())
    }

    /// Whether what was asked for on that channel was done.
    pub(super) fn answer(id: ChannelId, done: bool, session: &mut Session) -> Result<(), End> {
        Ok(if done { session.channel_success(id) } else { session.channel_failure(id) }?)
    }
}

/// With the monitor's list of methods, not one that the library keeps.
pub(super) fn reject(refused: &Refused) -> Auth {
    overheard::refusal_passed_on();
    let methods: Vec<MethodKind> = refused.next.iter().map(|method| algorithms::method(*method)).collect();
    Auth::Reject { proceed_with_methods: Some(MethodSet::from(&*methods)), partial_success: refused.partial }
}
