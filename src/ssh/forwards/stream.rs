//! One forward: two directions that end each for itself, as sshd does it.
//!
//! The end of what the client sends shuts the socket's sending half down, the end of what the socket
//! sends is an end of file for the client, and after both the channel closes.

use std::{
    io::{self, IoSlice},
    os::fd::OwnedFd,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use russh::{ChannelWriteHalf, server::Msg};
use tokio::{sync::watch, time::sleep};

use super::Counts;
use crate::ssh::{
    ahead::Way,
    descriptor::{Buffer, Descriptor},
    flow::{Flow, WriteSome},
    idle::Activity,
};

/// How long the socket may take to read what a client had sent before it closed the channel.
const LAST_BYTES: Duration = Duration::from_secs(60);

/// What became of a channel from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing.
    Open,
    /// The client closed it.
    Closed,
    /// The cell has ended.
    Gone,
}

/// A socket to write to, that counts.
struct Sink<'a> {
    socket: &'a Descriptor,
    counts: &'a Counts,
    activity: &'a Activity,
}

impl WriteSome for Sink<'_> {
    fn poll_write_some(&mut self, cx: &mut Context<'_>, buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = ready!(self.socket.poll_write(cx, buffers))?;
        self.counts.to_cell.fetch_add(u64::try_from(written).unwrap_or(0), Ordering::Relaxed);
        self.activity.moved();
        Poll::Ready(Ok(written))
    }
}

/// Serves `socket` until both directions have ended, or the channel has, or nothing moved for too long.
pub(super) async fn run(
    (writer, way): (&ChannelWriteHalf<Msg>, &Way),
    socket: OwnedFd,
    flow: &Flow,
    counts: &Arc<Counts>,
    activity: &Activity,
    states: watch::Receiver<State>,
) {
    let channel = u32::from(writer.id());
    if let Ok(socket) = Descriptor::new(socket) {
        let input = async {
            tokio::select! {
                () = flow.pump(channel, Sink { socket: &socket, counts, activity }) => {}
                () = too_late(states.clone()) => {}
            }
            flow.discard(channel);
            socket.end_sending();
        };
        let output = async {
            tokio::select! {
                () = copy(&socket, writer, way, counts, activity) => {}
                _ended = ended(states.clone()) => {}
            }
        };
        tokio::select! {
            _both = async { tokio::join!(input, output) } => {}
            () = activity.is_over() => flow.discard(channel),
        }
    }
    if *states.borrow() != State::Closed {
        // If the connection is ending, so is the channel.
        drop(writer.close().await);
    }
}

/// Copies until the socket has no more to send or the connection is ending.
async fn copy(socket: &Descriptor, writer: &ChannelWriteHalf<Msg>, way: &Way, counts: &Counts, activity: &Activity) {
    let mut buffer = Buffer::default();
    while let Ok(bytes) = socket.read(&mut buffer).await {
        let sent = |length| {
            counts.to_client.fetch_add(u64::try_from(length).unwrap_or(0), Ordering::Relaxed);
            activity.moved();
        };
        if bytes.is_empty() || way.send(writer, None, bytes, sent).await.is_err() {
            break;
        }
    }
    drop(writer.eof().await);
}

async fn ended(mut states: watch::Receiver<State>) -> State {
    // The sender goes when the connection does.
    states.wait_for(|state| *state != State::Open).await.map_or(State::Gone, |state| *state)
}

async fn too_late(states: watch::Receiver<State>) {
    if ended(states).await == State::Closed {
        sleep(LAST_BYTES).await;
    }
}
