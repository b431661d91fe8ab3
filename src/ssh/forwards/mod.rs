//! The one table of a connection's forwards and listeners, and what is asked of the monitor for them.
//!
//! Invariants: a forward is in the table from its first byte until it is reported as ended, once; it
//! holds one of [`MAX_FORWARDS`] permits for as long as it has a socket or waits for one.

mod listener;
mod stream;

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cellblock::wire::{
    forward::{MAX_FORWARDS, MAX_LISTENERS, NoForward, Place, Target},
    link,
    login::Request,
};
use russh::{
    ChannelId, ChannelOpenFailure, ChannelWriteHalf,
    server::{ChannelOpenHandle, Handle, Msg},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch},
    task::AbortHandle,
    time::timeout,
};

use super::{ahead::Ahead, flow::Flow, idle::Activity, monitor::Voice};

use listener::Listening;
use stream::State;

/// A socket that is listened on is there after this long, or never: the rest of the connection waits.
const LISTEN_PATIENCE: Duration = Duration::from_secs(60);

/// What became of a request: a port and descriptors.
type Answer = Result<(u16, Vec<OwnedFd>), NoForward>;

/// Bytes that went over a forward.
#[derive(Debug, Default)]
struct Counts {
    to_cell: AtomicU64,
    to_client: AtomicU64,
}

/// A forward whose channel is open.
struct Open {
    number: u32,
    counts: Arc<Counts>,
    state: watch::Sender<State>,
}

struct Listener {
    place: Place,
    /// The port that was chosen.
    port: u16,
    /// The session that it ends with.
    of: Option<ChannelId>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

#[derive(Default)]
struct Table {
    next: u32,
    waiting: HashMap<u32, oneshot::Sender<Answer>>,
    open: HashMap<ChannelId, Open>,
    listeners: HashMap<u32, Listener>,
}

/// The table. Clones are handles of the same.
#[derive(Clone)]
pub(crate) struct Forwards {
    table: Arc<Mutex<Table>>,
    slots: Arc<Semaphore>,
    voice: Voice,
    flow: Flow,
    ahead: Ahead,
    activity: Activity,
    timeout: Arc<OnceLock<Duration>>,
}

impl std::fmt::Debug for Forwards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forwards").field("slots", &self.slots).finish_non_exhaustive()
    }
}

/// A channel that the client opens to something in the cell.
pub(crate) struct Direct {
    /// Sends to the client.
    pub(crate) writer: ChannelWriteHalf<Msg>,
    /// Answers it.
    pub(crate) reply: ChannelOpenHandle,
    /// Where to.
    pub(crate) target: Target,
    /// Who connected at the client's side.
    pub(crate) peer: String,
}

/// How often a listener takes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Times {
    /// One, and no more.
    Once,
    /// As often as they come.
    Always,
}

impl Forwards {
    /// An empty table, which asks by `voice`; `flow` brings what the client sends, `ahead` knows how far to be
    /// ahead of it.
    pub(crate) fn new(voice: Voice, flow: Flow, ahead: Ahead) -> Self {
        let slots = Arc::new(Semaphore::new(MAX_FORWARDS));
        Self { table: Arc::default(), slots, voice, flow, ahead, activity: Activity::new(), timeout: Arc::default() }
    }

    /// Brings what the client sends.
    pub(crate) fn flow(&self) -> Flow {
        self.flow.clone()
    }

    /// How far channels may be ahead of the client.
    pub(crate) fn ahead(&self) -> Ahead {
        self.ahead.clone()
    }

    /// When something moved last on the connection that these are forwards of.
    pub(crate) fn activity(&self) -> Activity {
        self.activity.clone()
    }

    /// From now on nothing may move for `most` on any of them before it is closed.
    pub(crate) fn limit(&self, most: Option<Duration>) {
        if let Some(most) = most {
            self.timeout.get_or_init(|| most);
        }
    }

    /// No code between lock and unlock can panic half-way through a change.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that was not used before.
    fn number(&self) -> u32 {
        let table = &mut *self.table();
        table.next = table.next.wrapping_add(1);
        table.next
    }

    /// The monitor has answered. What nobody waits for any more is closed.
    pub(crate) fn answer(&self, number: u32, answer: Answer) {
        let waiting = self.table().waiting.remove(&number);
        if let Some(waiting) = waiting
            && waiting.send(answer).is_err()
        {}
    }

    /// Asks for a socket; `request` bears `number`.
    async fn ask(&self, number: u32, request: &Request) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.table().waiting.insert(number, answer);
        // The monitor is gone, and this process about to be.
        self.voice.send(request).await.map_err(|_gone| NoForward::Failed)?;
        answered.await.unwrap_or(Err(NoForward::Failed))
    }

    /// Connects, and serves the channel to its end.
    pub(crate) fn connect(&self, direct: Direct) {
        match Arc::clone(&self.slots).try_acquire_owned() {
            Ok(permit) => {
                let forwards = self.clone();
                tokio::spawn(async move { forwards.serve_direct(direct, permit).await });
            }
            Err(_none_left) => {
                tokio::spawn(direct.reply.reject(ChannelOpenFailure::ResourceShortage));
            }
        }
    }

    async fn serve_direct(self, direct: Direct, permit: OwnedSemaphorePermit) {
        let Direct { writer, reply, target, peer } = direct;
        let number = self.number();
        let answer = self.ask(number, &Request::Connect { forward: number, target, peer }).await;
        let socket = answer.and_then(|(_port, fds)| link::exactly::<1>(fds).map_err(|_count| NoForward::Failed));
        match socket {
            Ok([socket]) => {
                self.flow.open(u32::from(writer.id()));
                reply.accept().await;
                self.serve(number, writer, socket).await;
            }
            Err(why) => reply.reject(failure(why)).await,
        }
        drop(permit);
    }

    /// Serves an open channel to its end, and reports that.
    async fn serve(&self, number: u32, writer: ChannelWriteHalf<Msg>, socket: OwnedFd) {
        let id = writer.id();
        let counts = Arc::new(Counts::default());
        let (state, states) = watch::channel(State::Open);
        self.table().open.insert(id, Open { number, counts: Arc::clone(&counts), state });
        let way = self.ahead.way(u32::from(id));
        let activity = self.activity.session(self.timeout.get().copied());
        stream::run((&writer, &way), socket, &self.flow, &counts, &activity, states).await;
        self.flow.close(u32::from(id));
        let open = self.table().open.remove(&id);
        if let Some(open) = open {
            self.report(open.number, &open.counts).await;
        }
    }

    async fn report(&self, number: u32, counts: &Counts) {
        let (to_cell, to_client) = (counts.to_cell.load(Ordering::Relaxed), counts.to_client.load(Ordering::Relaxed));
        let request = Request::ForwardEnded { forward: number, to_cell, to_client };
        // The monitor is gone, and this process about to be.
        drop(self.voice.send(&request).await);
    }

    /// The client has closed a channel. Whether it was a forward: then what has come from the client
    /// still goes where it should.
    pub(crate) fn closed_by_client(&self, id: ChannelId) -> bool {
        match self.table().open.get(&id) {
            Some(open) => open.state.send(State::Closed).is_ok(),
            None => false,
        }
    }

    /// The cell has ended: so does everything that leads into it.
    pub(crate) fn end_all(&self) {
        let table = &mut *self.table();
        for open in table.open.values() {
            open.state.send(State::Gone).unwrap_or_default();
        }
        let listeners: Vec<u32> = table.listeners.drain().map(|(number, _)| number).collect();
        let (forwards, none) = (self.clone(), Counts::default());
        tokio::spawn(async move {
            for number in listeners {
                forwards.report(number, &none).await;
            }
        });
    }

    /// The connection has ended: reports what is open.
    pub(crate) async fn report_all(&self) {
        let (open, listeners) = {
            let table = &mut *self.table();
            (std::mem::take(&mut table.open), std::mem::take(&mut table.listeners))
        };
        for open in open.into_values() {
            self.report(open.number, &open.counts).await;
        }
        for number in listeners.keys() {
            self.report(*number, &Counts::default()).await;
        }
    }

    /// Listens at `place` for the client behind `handle`; the port. `of`: ends with this session.
    pub(crate) async fn listen(
        &self,
        place: Place,
        of: Option<ChannelId>,
        times: Times,
        handle: Handle,
    ) -> Option<u16> {
        let number = self.number();
        if self.table().listeners.len() >= MAX_LISTENERS {
            return None;
        }
        let request = Request::Listen { forward: number, place: place.clone() };
        let Ok((port, fds)) = timeout(LISTEN_PATIENCE, self.ask(number, &request)).await.ok()? else { return None };
        let listening = Listening { forwards: self.clone(), number, place: place.clone(), port, times, handle };
        let tasks = listening.start(fds)?;
        self.table().listeners.insert(number, Listener { place, port, of, tasks });
        Some(port)
    }

    /// Whether the client's agent can be reached already.
    pub(crate) fn has_agent(&self) -> bool {
        self.table().listeners.values().any(|listener| listener.place == Place::Agent)
    }

    /// Stops to listen where `is_meant`. False if nothing was listened on there.
    async fn cancel(&self, is_meant: impl Fn(&Listener) -> bool) -> bool {
        let meant: Vec<u32> = {
            let table = &mut *self.table();
            let meant = table.listeners.iter().filter(|(_, listener)| is_meant(listener));
            let meant = meant.map(|(number, _)| *number).collect::<Vec<_>>();
            table.listeners.retain(|number, _| !meant.contains(number));
            meant
        };
        for number in &meant {
            self.report(*number, &Counts::default()).await;
        }
        !meant.is_empty()
    }

    /// `cancel-tcpip-forward`, with the port that was chosen.
    pub(crate) async fn cancel_port(&self, address: &str, number: u32) -> bool {
        self.cancel(|listener| match &listener.place {
            Place::Tcp { host, .. } => host == address && u32::from(listener.port) == number,
            Place::Unix { .. } | Place::Agent | Place::Display { .. } => false,
        })
        .await
    }

    /// `cancel-streamlocal-forward@openssh.com`.
    pub(crate) async fn cancel_path(&self, wanted: &str) -> bool {
        self.cancel(|listener| match &listener.place {
            Place::Unix { path } => path == wanted,
            Place::Tcp { .. } | Place::Agent | Place::Display { .. } => false,
        })
        .await
    }

    /// A session has ended, and with it what listened for it.
    pub(crate) async fn session_ended(&self, id: ChannelId) {
        self.cancel(|listener| listener.of == Some(id)).await;
    }
}

/// In OpenSSH's words: "administratively prohibited", "connect failed", "resource shortage".
fn failure(why: NoForward) -> ChannelOpenFailure {
    match why {
        NoForward::Prohibited => ChannelOpenFailure::AdministrativelyProhibited,
        NoForward::Failed => ChannelOpenFailure::ConnectFailed,
        NoForward::TooMany => ChannelOpenFailure::ResourceShortage,
    }
}
