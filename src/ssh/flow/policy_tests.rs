//! russh's side of the bargain, simulated: what `Policy` promises must hold for any client.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// What `session.rs` of russh does with windows.
struct Russh {
    policy: Policy,
    target: u32,
    windows: HashMap<u32, u32>,
}

impl Russh {
    fn new(channels: u32) -> Self {
        let mut policy = Policy::default();
        let windows = (0..channels).map(|id| (id, WINDOW)).collect();
        (0..channels).for_each(|id| policy.open(id));
        Self { policy, target: WINDOW, windows }
    }

    /// The client sends `length` bytes, or as many as it may. How many it sent.
    fn send(&mut self, id: u32, length: u32) -> u32 {
        let window = self.windows.get_mut(&id).unwrap();
        let length = length.min(*window).min(32 << 10);
        *window -= length;
        if *window < self.target / 2 {
            *window = self.target;
            self.target = self.policy.granted(id, self.target).max(1);
        }
        let rest = self.windows[&id];
        assert_eq!(self.policy.received(id, usize::try_from(length).unwrap(), rest), Ok(true));
        length
    }

    fn waiting(&self, id: u32) -> usize {
        self.policy.channels[&id].waiting
    }
}

#[test]
fn a_program_that_does_not_read_stops_its_client() {
    let mut russh = Russh::new(1);
    for _ in 0..100_000 {
        russh.send(0, 32 << 10);
    }
    assert!(russh.waiting(0) <= FULL + 200_000, "{}", russh.waiting(0));
    assert!(russh.policy.any_frozen());
}

#[test]
fn a_frozen_channel_gets_its_window_back_when_it_thaws() {
    let mut russh = Russh::new(1);
    for _ in 0..1000 {
        russh.send(0, 32 << 10);
    }
    let waiting = russh.waiting(0);
    assert!(russh.policy.consumed(0, waiting), "thaws");
    russh.send(0, 2);
    russh.send(0, 2);
    assert!(russh.windows[&0] >= WINDOW / 2);
}

#[test]
fn a_live_channel_beside_a_frozen_one_keeps_moving() {
    let mut russh = Russh::new(2);
    for _ in 0..1000 {
        russh.send(0, 32 << 10);
    }
    let mut moved: u64 = 0;
    for _ in 0..2000 {
        // One round trip: the frozen channel probes once, the live one sends what it may.
        russh.send(0, 2);
        for _ in 0..8 {
            let sent = russh.send(1, 32 << 10);
            russh.policy.consumed(1, usize::try_from(sent).unwrap());
            moved += u64::from(sent);
        }
    }
    assert!(moved > 50 << 20, "{moved}");
    assert!(russh.waiting(0) <= FULL + LEAK);
}

#[test]
fn an_overrun_is_noticed() {
    let mut policy = Policy::default();
    policy.open(0);
    assert_eq!(policy.received(0, WINDOW as usize + 1, 0), Err(Overrun));
    let mut policy = Policy::default();
    policy.open(0);
    assert_eq!(policy.received(0, 10, WINDOW - 10), Ok(true));
    // A grant between does not make up for what was not there before it.
    policy.received(0, WINDOW as usize - 10, 0).unwrap();
    policy.granted(0, WINDOW);
    assert_eq!(policy.received(0, 1, WINDOW), Err(Overrun));
}

#[test]
fn discarding_thaws() {
    let mut russh = Russh::new(1);
    for _ in 0..1000 {
        russh.send(0, 32 << 10);
    }
    assert!(russh.policy.discard(0));
    assert!(!russh.policy.any_frozen());
    russh.policy.close(0);
    assert_eq!(russh.policy.received(0, 1, 0), Ok(false), "unknown channels are ignored");
}

proptest! {
    #[test]
    fn no_client_can_make_the_queues_grow_without_bound(
        steps in prop::collection::vec((0u32..4, 0u32..40_000, 0usize..60_000, prop::bool::ANY), 1..4000)
    ) {
        let mut russh = Russh::new(4);
        for (id, send, take, wait) in steps {
            russh.send(id, send);
            // Channels 0 and 1 have programs that never read.
            if id > 1 { russh.policy.consumed(id, take); }
            if wait { russh.policy.output_waited(); russh.policy.probe_passed(); }
            let frozen = russh.policy.channels.values().filter(|c| matches!(c.mode, Mode::Frozen { .. })).count();
            prop_assert_eq!(russh.policy.frozen, frozen);
            let beyond: usize = (0..4).map(|id| russh.waiting(id).saturating_sub(FULL)).sum();
            prop_assert!(beyond <= LEAK + WINDOW as usize, "{}", beyond);
        }
    }
}
