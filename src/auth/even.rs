//! Refusals that take the same time whatever they refuse.

use std::{
    thread,
    time::{Duration, Instant},
};

/// What a refusal takes at least. Looking up an unknown name, reading a key file of some hundred
/// lines and comparing its keys all fit in (OpenSSH's `ensure_minimum_time_since` waits as long).
const FLOOR: Duration = Duration::from_millis(5);

/// Sleeps until the refusal that began at `started` has taken the time that all refusals take; one
/// that took longer goes to the next step of a doubling ladder, so that little can be read from it.
pub fn even_out(started: Instant) {
    thread::sleep(left(started.elapsed()));
}

fn left(taken: Duration) -> Duration {
    let mut step = FLOOR;
    while step < taken {
        step = step.saturating_mul(2);
    }
    step.saturating_sub(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_ends_on_a_step() {
        for (taken, total) in [(0, 5), (3, 5), (5, 5), (6, 10), (11, 20)] {
            let taken = Duration::from_millis(taken);
            assert_eq!(taken + left(taken), Duration::from_millis(total));
        }
    }
}
