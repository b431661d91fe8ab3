//! How much window russh grants, and to whom: the arithmetic of flow control, without bytes.
//!
//! russh looks at a channel's window when a packet of it arrives. If less than half of the target
//! is left, it grants up to the target, says so ([`Policy::granted`]), takes the answer as the next
//! target for *whichever* channel sends next, and only then delivers the packet
//! ([`Policy::received`]). Nothing can be granted at any other moment.
//!
//! A target of 2 is the smallest that still grants (less than one byte left): the peer then sends
//! two bytes per round trip, a *probe*, and each probe is an occasion to grant more. A probe that
//! was answered with two bytes again is followed by a round trip of silence from that channel;
//! that is when a live channel can be granted real window without a frozen one taking it.

use std::collections::HashMap;

use super::Overrun;

/// Window at the start, and the target while no channel is frozen. Large, since russh grants at
/// half: it bounds how fast one channel can be filled over a long distance.
pub(crate) const WINDOW: u32 = 4 << 20;

/// The target that keeps a channel frozen.
const TRICKLE: u32 = 2;

/// The target for a live channel's turn beside a frozen one: what a frozen channel can get at most
/// if it takes the turn.
const SHARED: u32 = 256 << 10;

/// Waiting for the program beyond this freezes a channel …
const HIGH: usize = 1 << 20;

/// … and below this thaws it, early enough that the program does not run dry.
const LOW: usize = 512 << 10;

/// What one queue can hold without having taken anybody's turn.
const FULL: usize = HIGH + (WINDOW as usize) / 2 * 3;

/// What all queues together may hold beyond [`FULL`] each, through turns taken. Turns shrink to
/// [`TRICKLE`] as it fills up.
const LEAK: usize = 16 << 20;

/// No queue passes this, whatever the client does: a bound on memory that needs no trust in the
/// reasoning above.
const MOST: usize = FULL + LEAK + WINDOW as usize;

/// A live channel that sent this much between two probes is worth a turn before it runs dry.
const STREAM: usize = 64 << 10;

/// After a probe, a live channel that runs dry may wait for this many further grants for the next
/// probe to open a turn; after that the frozen channels have nothing to send.
const PATIENCE: u8 = 4;

/// What a channel is up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Its program keeps up.
    Live {
        /// Bytes received since the last probe of a frozen channel.
        sent: usize,
        /// It was granted no more than a trickle, and waits.
        dry: bool,
    },
    /// Its program does not keep up.
    Frozen {
        /// Its probe was answered with a trickle: it is silent for a round trip.
        answered: bool,
        /// It let a hold of the output pass without a probe: it has nothing to send.
        silent: bool,
    },
}

const LIVE: Mode = Mode::Live { sent: 0, dry: false };

/// What becomes of a channel's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sink {
    /// A program reads it.
    Open,
    /// As before, and no more will come.
    Ended,
    /// Nobody: it is dropped.
    Discarded,
}

#[derive(Debug)]
struct Channel {
    waiting: usize,
    /// The peer's window, as russh last reported it.
    window: u32,
    /// What the packet that is being delivered had available, if a grant came before it.
    before_grant: Option<u32>,
    mode: Mode,
    sink: Sink,
}

/// The state of all channels of a connection.
///
/// Invariants: `frozen` counts the channels in [`Mode::Frozen`]; a channel that discards is live.
#[derive(Debug, Default)]
pub(super) struct Policy {
    channels: HashMap<u32, Channel>,
    frozen: usize,
    patience: u8,
    /// A frozen channel sent something since the gate last let a lone packet pass.
    probing: bool,
    /// The output is to be held until the live channel's next packet (see [`super::Gate`]).
    output_held: bool,
}

impl Policy {
    /// A new channel, granted [`WINDOW`].
    pub(super) fn open(&mut self, id: u32) {
        let channel = Channel { waiting: 0, window: WINDOW, before_grant: None, mode: LIVE, sink: Sink::Open };
        self.channels.insert(id, channel);
    }

    /// `id` was just granted window up to `target`: the next target, for any channel.
    pub(super) fn granted(&mut self, id: u32, target: u32) -> u32 {
        self.output_held = false;
        let Some(channel) = self.channels.get_mut(&id) else {
            return if self.frozen == 0 { WINDOW } else { TRICKLE };
        };
        channel.before_grant = Some(channel.window);
        channel.window = target;
        let trickle = target <= TRICKLE;
        match &mut channel.mode {
            Mode::Frozen { answered, .. } => {
                *answered = trickle;
                if self.frozen == 0 { WINDOW } else { self.after_probe() }
            }
            Mode::Live { dry, .. } => {
                *dry = trickle;
                // Grants that were held back go out with this one, and will be answered.
                self.forget_answers();
                match () {
                    () if self.frozen == 0 => WINDOW,
                    // The turn was used.
                    () if !trickle => TRICKLE,
                    // It ran dry; the next probe opens a turn.
                    () if self.patience > 0 => {
                        self.patience -= 1;
                        TRICKLE
                    }
                    // It ran dry, and no frozen channel has anything to send that could take this.
                    () => self.turn(),
                }
            }
        }
    }

    /// A frozen channel's probe was answered: the next target, a turn if a live channel needs one
    /// and every frozen channel is silent.
    fn after_probe(&mut self) -> u32 {
        let turn = self.turn();
        let needs_turn = |channel: &Channel| match channel.mode {
            Mode::Live { sent, dry } => {
                channel.sink != Sink::Ended && (dry || sent >= STREAM && channel.window < turn / 2)
            }
            Mode::Frozen { .. } => false,
        };
        let needed = self.channels.values().any(needs_turn);
        let may_probe = |channel: &Channel| matches!(channel.mode, Mode::Frozen { answered: false, silent: false });
        self.output_held = needed;
        if needed && self.channels.values().any(may_probe) {
            return TRICKLE;
        }
        for channel in self.channels.values_mut() {
            match &mut channel.mode {
                Mode::Live { sent, dry } => {
                    *sent = 0;
                    *dry &= !needed;
                }
                Mode::Frozen { answered, .. } => *answered = false,
            }
        }
        if needed { turn } else { TRICKLE }
    }

    fn turn(&self) -> u32 {
        let taken: usize = self.channels.values().map(|channel| channel.waiting.saturating_sub(FULL)).sum();
        let left = u32::try_from(LEAK.saturating_sub(taken) / 8).unwrap_or(SHARED);
        left.clamp(TRICKLE, SHARED)
    }

    fn forget_answers(&mut self) {
        for channel in self.channels.values_mut() {
            if let Mode::Frozen { answered, .. } = &mut channel.mode {
                *answered = false;
            }
        }
    }

    /// A packet of `length` bytes arrived, after which `rest` is left of the window. Whether it is
    /// to be queued; if not, it is dropped.
    pub(super) fn received(&mut self, id: u32, length: usize, rest: u32) -> Result<bool, Overrun> {
        let Some(channel) = self.channels.get_mut(&id) else { return Ok(false) };
        let available = channel.before_grant.take().unwrap_or(channel.window);
        // russh does not enforce it.
        if u32::try_from(length).map_or(true, |length| length > available) {
            return Err(Overrun);
        }
        channel.window = rest;
        match &mut channel.mode {
            Mode::Live { sent, .. } => *sent = sent.saturating_add(length),
            Mode::Frozen { silent, .. } => {
                *silent = false;
                self.patience = PATIENCE;
                self.probing = true;
            }
        }
        if channel.sink == Sink::Discarded {
            return Ok(false);
        }
        channel.waiting += length;
        if channel.waiting > MOST {
            return Err(Overrun);
        }
        self.review(id);
        Ok(true)
    }

    /// The program took `length` bytes. Whether that thawed the channel.
    pub(super) fn consumed(&mut self, id: u32, length: usize) -> bool {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.waiting = channel.waiting.saturating_sub(length);
        }
        self.review(id)
    }

    /// The client sends no more on this channel.
    pub(super) fn end(&mut self, id: u32) {
        if let Some(channel) = self.channels.get_mut(&id)
            && channel.sink == Sink::Open
        {
            channel.sink = Sink::Ended;
        }
    }

    /// Nobody reads this channel any more. Whether that thawed it.
    pub(super) fn discard(&mut self, id: u32) -> bool {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.sink = Sink::Discarded;
            channel.waiting = 0;
        }
        self.review(id)
    }

    /// Forgets a channel, after [`Policy::discard`].
    pub(super) fn close(&mut self, id: u32) {
        self.channels.remove(&id);
    }

    /// Freezes or thaws `id` by what waits for it. Whether it thawed.
    fn review(&mut self, id: u32) -> bool {
        let Some(channel) = self.channels.get_mut(&id) else { return false };
        match channel.mode {
            Mode::Live { .. } if channel.waiting > HIGH => {
                channel.mode = Mode::Frozen { answered: false, silent: false };
                self.frozen += 1;
                false
            }
            Mode::Frozen { .. } if channel.waiting <= LOW => {
                channel.mode = LIVE;
                self.frozen -= 1;
                true
            }
            Mode::Live { .. } | Mode::Frozen { .. } => false,
        }
    }

    /// Whether a lone small packet is likely a probe that can wait.
    pub(super) fn probe_can_wait(&self) -> bool {
        self.frozen > 0 && self.probing && !self.output_held
    }

    /// Whether any channel is frozen.
    pub(super) fn any_frozen(&self) -> bool {
        self.frozen > 0
    }

    /// A lone packet waited long enough. If it was no probe, none is held until one comes.
    pub(super) fn probe_passed(&mut self) {
        self.probing = false;
    }

    /// Whether the output is to be held back for a live channel's turn.
    pub(super) fn output_held(&self) -> bool {
        self.output_held
    }

    /// The output was held long enough: frozen channels that sent no probe have nothing to send.
    pub(super) fn output_waited(&mut self) {
        self.output_held = false;
        for channel in self.channels.values_mut() {
            if let Mode::Frozen { answered, silent } = &mut channel.mode {
                *silent |= !*answered;
                *answered = false;
            }
        }
    }

    /// The output can be held no longer.
    pub(super) fn release_output(&mut self) {
        self.output_held = false;
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
