//! How far a channel may be ahead of its client while a person has a terminal on the connection.
//!
//! What a download has on its way lies before the echo of the next key, in the client's own socket if
//! nowhere else, and a client's window is megabytes. So beside a terminal each channel gets less: a fixed
//! amount, or twice what the line holds. A client that gives window seldom gets ever more: when it has
//! everything and nothing comes back.

use std::{
    collections::HashMap,
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use cellblock::sys::tcp;
use russh::{ChannelWriteHalf, server::Msg};
use tokio::{sync::Notify, time::timeout};

/// Ahead at first. OpenSSH's client gives window once it has used three packets, 96 KiB.
const FIRST: u64 = 512 << 10;

/// Sent at once: so much further ahead a channel may be.
const PIECE: usize = 64 << 10;

/// A client that has used nothing for so long though all has arrived is not slow to read, but waits for more.
const PATIENCE: Duration = Duration::from_millis(100);

/// A connection's channels towards the client. Clones are handles of the same.
#[derive(Debug, Clone)]
pub(crate) struct Ahead(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    terminals: AtomicUsize,
    channels: Mutex<HashMap<u32, Arc<Channel>>>,
}

#[derive(Debug)]
struct Channel {
    state: Mutex<State>,
    used: Notify,
}

#[derive(Debug)]
struct State {
    sent: u64,
    /// The client's window when it first gave more, and all that was sent until then: nobody tells us
    /// its first window, and what it had used then is less than counts.
    first: Option<u64>,
    used: u64,
    most: u64,
}

/// A terminal is open as long as this is.
#[derive(Debug)]
pub(crate) struct Terminal(Arc<Connection>);

/// One channel's way to the client, as long as this is.
#[derive(Debug)]
pub(crate) struct Way {
    id: u32,
    channel: Arc<Channel>,
    connection: Arc<Connection>,
}

impl Ahead {
    /// Of the connection at the other end of `socket`.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self(Arc::new(Connection { socket, terminals: AtomicUsize::new(0), channels: Mutex::default() }))
    }

    /// A terminal was opened.
    pub(crate) fn terminal(&self) -> Terminal {
        self.0.terminals.fetch_add(1, Ordering::Relaxed);
        Terminal(Arc::clone(&self.0))
    }

    /// The way of a channel that was opened.
    pub(crate) fn way(&self, id: u32) -> Way {
        let state = State { sent: 0, first: None, used: 0, most: FIRST };
        let channel = Arc::new(Channel { state: Mutex::new(state), used: Notify::new() });
        self.0.channels().insert(id, Arc::clone(&channel));
        Way { id, channel, connection: Arc::clone(&self.0) }
    }

    /// The client gave window: it has so much now.
    pub(crate) fn given(&self, id: u32, window: u32) {
        if let Some(channel) = self.0.channels().get(&id) {
            channel.state().given(u64::from(window));
            channel.used.notify_one();
        }
    }
}

impl Connection {
    /// Twice what is on the line when it is full and nothing waits in it; as far as the kernel can tell.
    fn twice_the_line(&self) -> u64 {
        tcp::line(self.socket.as_fd()).map_or(0, |line| line.holds().saturating_mul(2))
    }

    /// Whether the client's kernel has all that was sent.
    fn has_all(&self) -> bool {
        tcp::unacknowledged(self.socket.as_fd()).is_ok_and(|bytes| bytes == 0)
    }

    /// No code between lock and unlock can panic half-way through a change.
    fn channels(&self) -> MutexGuard<'_, HashMap<u32, Arc<Channel>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channel {
    /// No code between lock and unlock can panic half-way through a change.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn given(&mut self, window: u64) {
        let all = self.sent.saturating_add(window);
        let first = *self.first.get_or_insert(all);
        self.used = all.saturating_sub(first);
    }

    fn wait_was_in_vain(&mut self) {
        self.most = self.most.saturating_mul(2);
    }

    fn is_far(&self, line: u64) -> bool {
        self.sent.saturating_sub(self.used) >= self.most.max(line)
    }
}

impl Way {
    /// Sends data, or extended data of a `kind`, as the client's window allows: each piece once more should be sent.
    /// Says of each that it was `sent`: a slow client takes minutes for all of them, or goes between two.
    pub(crate) async fn send(
        &self,
        writer: &ChannelWriteHalf<Msg>,
        kind: Option<u32>,
        mut bytes: Bytes,
        sent: impl Fn(usize),
    ) -> Result<(), russh::Error> {
        while !bytes.is_empty() {
            self.turn().await;
            let piece = bytes.split_to(bytes.len().min(PIECE));
            let length = piece.len();
            match kind {
                None => writer.data_bytes(piece).await?,
                Some(kind) => writer.extended_data_bytes(kind, piece).await?,
            }
            self.sent(length);
            sent(length);
        }
        Ok(())
    }

    /// So much was sent.
    fn sent(&self, length: usize) {
        let state = &mut *self.channel.state();
        state.sent = state.sent.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
    }

    /// Waits until more should be sent.
    async fn turn(&self) {
        if !self.is_far() {
            return;
        }
        while self.is_far() {
            let before = self.channel.state().used;
            let waited = timeout(PATIENCE, self.channel.used.notified()).await;
            if waited.is_err() && self.channel.state().used == before && self.connection.has_all() {
                self.channel.state().wait_was_in_vain();
            }
        }
        // For the other streams of this channel.
        self.channel.used.notify_one();
    }

    fn is_far(&self) -> bool {
        let beside_terminal = self.connection.terminals.load(Ordering::Relaxed) > 0;
        beside_terminal && self.channel.state().is_far(0) && {
            let line = self.connection.twice_the_line();
            self.channel.state().is_far(line)
        }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.connection.channels().remove(&self.id);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.0.terminals.fetch_sub(1, Ordering::Relaxed);
        for channel in self.0.channels().values() {
            channel.used.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: u32 = 3;

    /// Of a connection to nobody: the kernel knows nothing of the line, and all that was sent has arrived.
    fn ahead() -> Ahead {
        Ahead::new(std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into())
    }

    /// Whether the way is free at once.
    async fn is_free(way: &Way) -> bool {
        timeout(Duration::ZERO, way.turn()).await.is_ok()
    }

    /// Sends more than fits, in two parts; the client has given window after the first.
    fn send_two_parts(ahead: &Ahead, way: &Way) {
        let part = usize::try_from(FIRST).unwrap() * 2 / 3;
        way.sent(part);
        ahead.given(CHANNEL, 1 << 21);
        way.sent(part);
    }

    #[tokio::test]
    async fn only_beside_a_terminal_a_channel_waits_for_its_client() {
        let ahead = ahead();
        let way = ahead.way(CHANNEL);
        way.sent(10 << 20);
        assert!(is_free(&way).await);
        let terminal = ahead.terminal();
        assert!(!is_free(&way).await);
        drop(terminal);
        assert!(is_free(&way).await);
    }

    #[tokio::test]
    async fn window_that_the_client_gives_is_what_it_has_used() {
        let ahead = ahead();
        let (way, _terminal) = (ahead.way(CHANNEL), ahead.terminal());
        send_two_parts(&ahead, &way);
        assert!(!is_free(&way).await);
        ahead.given(CHANNEL, 1 << 21);
        assert!(is_free(&way).await);
        way.sent(1 << 20);
        assert!(!is_free(&way).await);
    }

    #[tokio::test]
    async fn all_streams_of_a_channel_go_on_when_the_client_has_used_what_it_had() {
        let ahead = ahead();
        let (way, _terminal) = (ahead.way(CHANNEL), ahead.terminal());
        send_two_parts(&ahead, &way);
        let used = async { ahead.given(CHANNEL, 1 << 21) };
        let both = async { tokio::join!(way.turn(), way.turn(), used) };
        assert!(timeout(PATIENCE / 2, both).await.is_ok());
    }

    #[tokio::test]
    async fn a_channel_that_is_closed_is_forgotten() {
        let ahead = ahead();
        drop(ahead.way(CHANNEL));
        assert!(ahead.0.channels().is_empty());
    }

    #[test]
    fn a_client_that_gives_no_window_gets_ever_more_and_a_long_line_at_once() {
        let mut state = State { sent: 1 << 30, first: None, used: 0, most: FIRST };
        assert!(state.is_far(1 << 30) && !state.is_far((1 << 30) + 1));
        let doublings = (1..).find(|_doubling| {
            state.wait_was_in_vain();
            !state.is_far(0)
        });
        assert_eq!(doublings, Some(12), "from 512 KiB to more than 1 GiB");
    }
}
