//! Refusals that take the same time whatever they refuse.

use std::{
    thread,
    time::{Duration, Instant},
};

/// What a refusal takes at least. Looking up an unknown name, reading a key file of some hundred
/// lines and comparing its keys all fit in (OpenSSH's `ensure_minimum_time_since` waits as long).
const FLOOR: Duration = Duration::from_millis(5);

/// As [`FLOOR`], where nothing is judged and the list of methods is looked up alone: each login by ssh(1) waits
/// for it.
const LIST_FLOOR: Duration = Duration::from_millis(1);

/// As [`FLOOR`], where a password was hashed: above what the standard costs take on a slow machine, and
/// short for whoever mistyped.
const PASSWORD_FLOOR: Duration = Duration::from_millis(300);

/// Sleeps until the refusal that began at `started` has taken the time that all refusals take; one
/// that took longer goes to the next step of a doubling ladder, so that little can be read from it.
pub fn even_out(started: Instant) {
    thread::sleep(left(started.elapsed(), FLOOR));
}

/// As [`even_out`], for an answer that only says which methods there are.
pub fn even_out_list(started: Instant) {
    thread::sleep(left(started.elapsed(), LIST_FLOOR));
}

/// As [`even_out`], for the refusal of a password: hashes of other costs than the standard ones must not
/// tell that there is such a tenant.
pub fn even_out_password(started: Instant) {
    thread::sleep(left(started.elapsed(), PASSWORD_FLOOR));
}

fn left(taken: Duration, floor: Duration) -> Duration {
    let mut step = floor;
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
            assert_eq!(taken + left(taken, FLOOR), Duration::from_millis(total));
        }
    }
}
