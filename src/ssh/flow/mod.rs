//! What clients send, on its way to the programs: bounded, and no channel waits for another.
//!
//! russh grants window when data arrives, not when it is used up, one target for all channels. So:
//! - data is taken off russh at once into a queue per channel (`queue.rs`); nobody waits;
//! - a channel whose queue grows past a mark is *frozen*: the target shrinks, its peer runs its
//!   window out and then *probes* with two bytes per round trip (`policy.rs`);
//! - such lone probes are delayed under russh (`gate.rs`), so that a frozen channel costs nothing;
//! - beside a frozen channel the others get their window in turns, while it is silent.
//!
//! Nothing here reads or writes a descriptor.

mod gate;
mod policy;
mod queue;

use std::{
    collections::HashMap,
    future::poll_fn,
    io::{self, IoSlice},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use self::{
    policy::Policy,
    queue::{Queue, Spares},
};

pub(crate) use self::{
    gate::{Gate, ReadBoth},
    policy::WINDOW,
};

/// The peer sent more than its window; the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overrun;

/// What is written to by one call for several buffers, as far as it takes them. It is locked out of the flow
/// meanwhile.
pub(crate) trait WriteSome {
    /// Writes what fits of `buffers`, of which none is empty, once some does.
    fn poll_write_some(&mut self, cx: &mut Context<'_>, buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;
}

/// What arrived for a channel and is not written yet.
#[derive(Debug, Default)]
struct Inflow {
    queue: Queue,
    /// No more will come.
    ended: bool,
    /// The pump, waiting for something to write.
    pump: Option<Waker>,
}

#[derive(Debug, Default)]
struct State {
    policy: Policy,
    inflows: HashMap<u32, Inflow>,
    spares: Spares,
    /// The gate, waiting for a channel to thaw.
    gate: Option<Waker>,
}

/// The flows of a connection's channels. Clones are handles of the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flow(Arc<Mutex<State>>);

impl Flow {
    /// No code between lock and unlock can leave the state half-changed for good, so a poisoned
    /// lock is still good.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new channel, with a full window.
    pub(crate) fn open(&self, channel: u32) {
        let state = &mut *self.state();
        state.policy.open(channel);
        state.inflows.insert(channel, Inflow::default());
    }

    /// russh just granted window up to `target`; returns the next target.
    pub(crate) fn granted(&self, channel: u32, target: u32) -> u32 {
        self.state().policy.granted(channel, target)
    }

    /// Takes what arrived. `rest` is what is left of the window after it. Returns how much waits.
    pub(crate) fn push(&self, channel: u32, data: &[u8], rest: u32) -> Result<usize, Overrun> {
        let state = &mut *self.state();
        if !state.policy.received(channel, data.len(), rest)? {
            return Ok(0);
        }
        let Some(inflow) = state.inflows.get_mut(&channel) else { return Ok(0) };
        inflow.queue.push(data, &mut state.spares);
        let waiting = inflow.queue.len();
        if let Some(pump) = inflow.pump.take() {
            pump.wake();
        }
        Ok(waiting)
    }

    /// Accounts for data that goes nowhere.
    pub(crate) fn ignore(&self, channel: u32, length: usize, rest: u32) -> Result<(), Overrun> {
        let state = &mut *self.state();
        if state.policy.received(channel, length, rest)? {
            state.consumed(channel, length);
        }
        Ok(())
    }

    /// The client sends no more on this channel.
    pub(crate) fn end(&self, channel: u32) {
        let state = &mut *self.state();
        state.policy.end(channel);
        if let Some(inflow) = state.inflows.get_mut(&channel) {
            inflow.ended = true;
            if let Some(pump) = inflow.pump.take() {
                pump.wake();
            }
        }
    }

    /// Nobody reads this channel's data any more: drops what waits, and all that follows.
    pub(crate) fn discard(&self, channel: u32) {
        let state = &mut *self.state();
        if let Some(inflow) = state.inflows.get_mut(&channel) {
            inflow.queue.clear();
            inflow.ended = true;
        }
        if state.policy.discard(channel) {
            state.wake_gate();
        }
    }

    /// The channel is closed.
    pub(crate) fn close(&self, channel: u32) {
        self.discard(channel);
        let state = &mut *self.state();
        state.policy.close(channel);
        state.inflows.remove(&channel);
    }

    /// Moves a channel's data into `program` until the client sends no more. If `program` takes no
    /// more, the rest is discarded.
    pub(crate) async fn pump<W: WriteSome>(&self, channel: u32, mut program: W) {
        loop {
            match poll_fn(|cx| self.poll_pump(cx, channel, &mut program)).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(_takes_no_more) => return self.discard(channel),
            }
        }
    }

    /// Writes some of what waits, once there is any. False if no more will come.
    fn poll_pump(&self, cx: &mut Context<'_>, channel: u32, program: &mut impl WriteSome) -> Poll<io::Result<bool>> {
        let state = &mut *self.state();
        let Some(inflow) = state.inflows.get_mut(&channel) else { return Poll::Ready(Ok(false)) };
        if inflow.queue.len() > 0 {
            let written = inflow.queue.with_slices(|slices| program.poll_write_some(cx, slices));
            let written = ready!(written)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            inflow.queue.advance(written, &mut state.spares);
            state.consumed(channel, written);
            return Poll::Ready(Ok(true));
        }
        if inflow.ended {
            return Poll::Ready(Ok(false));
        }
        inflow.pump = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl State {
    fn consumed(&mut self, channel: u32, length: usize) {
        if self.policy.consumed(channel, length) {
            self.wake_gate();
        }
    }

    fn wake_gate(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.wake();
        }
    }
}
