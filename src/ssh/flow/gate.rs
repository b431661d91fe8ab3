//! The stream under russh, with a gate in each direction, open unless a channel is frozen.
//!
//! Inwards it holds back a read that brought one lone small packet, likely a frozen channel's
//! probe: until more arrives, the time is up or the channel thaws. Outwards it holds back a frozen
//! channel's grant while a live channel is about to have its turn, so that no probe comes first.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::Flow;

/// How long a lone packet, or the output, waits at first. Unseen by a person typing.
const HOLD: Duration = Duration::from_millis(10);

/// A lone packet waits twice as long after each 16 that waited in vain, three times at most: a
/// stuck channel costs a dozen wake-ups a second.
const HOLDS_PER_DOUBLING: u32 = 16;
const MOST_DOUBLINGS: u32 = 3;

/// A read of at most this many bytes is one small packet.
const LONE: usize = 80;

/// Read ahead at most: two of the largest data packets.
const INPUT: usize = 64 << 10;

/// From here on what the library asks for is the rest of a large packet, and read to where it is
/// wanted: only this much of what follows is read ahead with it, enough for the next one's length.
const DIRECT: usize = 8 << 10;
const WITH_DIRECT: usize = 256;

/// Output held back at most.
const OUTPUT: usize = 64 << 10;

/// A stream that is read into two buffers by one call, the second once the first is full.
pub(crate) trait ReadBoth: AsyncRead + AsyncWrite + Unpin {
    /// As [`AsyncRead::poll_read`]; ready with nothing in either is the end.
    fn poll_read_both(
        &mut self,
        cx: &mut Context<'_>,
        first: &mut ReadBuf<'_>,
        second: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>>;
}

/// A stream with gates.
#[derive(Debug)]
pub(crate) struct Gate<S> {
    inner: S,
    flow: Flow,
    input: Input,
    output: Vec<u8>,
    output_hold: Option<Pin<Box<Sleep>>>,
}

/// What was read ahead and not taken yet: `bytes[start..end]`.
#[derive(Debug)]
struct Input {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    hold: Option<Pin<Box<Sleep>>>,
    /// Lone packets in a row that waited in vain.
    in_vain: u32,
}

impl Input {
    /// Gives what there is, up to the room in `buffer`. False if there is nothing.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let ready = self.bytes.get(self.start..self.end).unwrap_or_default();
        let given = ready.get(..buffer.remaining()).unwrap_or(ready);
        buffer.put_slice(given);
        self.start += given.len();
        !given.is_empty()
    }

    fn hold_lone_packet(&mut self) {
        let doublings = (self.in_vain / HOLDS_PER_DOUBLING).min(MOST_DOUBLINGS);
        self.hold = Some(Box::pin(sleep(HOLD * (1 << doublings))));
    }
}

impl<S: ReadBoth> Gate<S> {
    /// A gate over `inner`, opened and closed by `flow`.
    pub(crate) fn new(inner: S, flow: Flow) -> Self {
        let input = Input { bytes: vec![0; INPUT].into(), start: 0, end: 0, hold: None, in_vain: 0 };
        Self { inner, flow, input, output: Vec::new(), output_hold: None }
    }

    /// Writes what was held back, unless it must still wait: whether nothing is left.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if let Some(timer) = &mut self.output_hold {
            let policy = &mut self.flow.state().policy;
            if policy.output_held() && timer.as_mut().poll(cx).is_ready() {
                policy.output_waited();
            }
            if policy.output_held() {
                return Poll::Ready(Ok(false));
            }
        }
        self.output_hold = None;
        while !self.output.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.output))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.drain(..written);
        }
        Poll::Ready(Ok(true))
    }

    /// Reads more behind what is held. Ready if there is something to do: give, or the end.
    fn read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let room = self.input.bytes.get_mut(self.input.end..).unwrap_or_default();
        let mut buffer = ReadBuf::new(room);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer))?;
        let length = buffer.filled().len();
        self.input.end += length;
        Poll::Ready(Ok(length))
    }

    /// Reads the rest of a large packet to where it is wanted.
    fn read_direct(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut ahead = ReadBuf::new(self.input.bytes.get_mut(..WITH_DIRECT).unwrap_or_default());
        ready!(self.inner.poll_read_both(cx, buffer, &mut ahead))?;
        (self.input.start, self.input.end) = (0, ahead.filled().len());
        self.input.in_vain = 0;
        Poll::Ready(Ok(()))
    }

    /// Whether the lone packet that is held still has to wait. If so, this task is woken in time.
    fn still_held(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(timer) = &mut self.input.hold else { return false };
        let state = &mut *self.flow.state();
        if state.policy.any_frozen() {
            if timer.as_mut().poll(cx).is_pending() {
                state.gate = Some(cx.waker().clone());
                return true;
            }
            self.input.in_vain = self.input.in_vain.saturating_add(1);
            state.policy.probe_passed();
        }
        self.input.hold = None;
        false
    }
}

impl<S: ReadBoth> AsyncRead for Gate<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        // Held output must go out in time even if nothing more is written.
        if let Poll::Ready(drained) = gate.drain(cx) {
            drained?;
        }
        loop {
            if gate.input.hold.is_none() {
                if gate.input.give(buffer) {
                    return Poll::Ready(Ok(()));
                }
                (gate.input.start, gate.input.end) = (0, 0);
                if buffer.remaining() >= DIRECT {
                    return gate.read_direct(cx, buffer);
                }
            }
            match gate.read_ahead(cx)? {
                // The end, unless a packet is held: that goes first.
                Poll::Ready(0) if gate.input.hold.take().is_none() => return Poll::Ready(Ok(())),
                Poll::Ready(0) => {}
                Poll::Ready(length) => {
                    let first = gate.input.hold.take().is_none();
                    // What is asked for in part already is the middle of a packet.
                    let begins = buffer.filled().is_empty();
                    if first && begins && length <= LONE && gate.flow.state().policy.probe_can_wait() {
                        gate.input.hold_lone_packet();
                    } else {
                        gate.input.in_vain = 0;
                    }
                }
                Poll::Pending if gate.input.hold.is_none() => return Poll::Pending,
                Poll::Pending => {
                    if gate.still_held(cx) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl<S: ReadBoth> AsyncWrite for Gate<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let gate = self.get_mut();
        if gate.output.len() < OUTPUT && gate.output_hold.is_none() && gate.flow.state().policy.output_held() {
            gate.output_hold = Some(Box::pin(sleep(HOLD)));
        }
        if !ready!(gate.drain(cx))? {
            if gate.output.len() < OUTPUT {
                gate.output.extend_from_slice(bytes);
                return Poll::Ready(Ok(bytes.len()));
            }
            gate.output_hold = None;
            gate.flow.state().policy.release_output();
            ready!(gate.drain(cx))?;
        }
        Pin::new(&mut gate.inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        if ready!(gate.drain(cx))? { Pin::new(&mut gate.inner).poll_flush(cx) } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        gate.output_hold = None;
        ready!(gate.drain(cx))?;
        Pin::new(&mut gate.inner).poll_shutdown(cx)
    }
}
