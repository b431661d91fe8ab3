//! Medians of interleaved rounds, and the table that is printed of them.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "each benchmark uses a part of it"
)]

use std::time::{Duration, Instant};

/// The median, which a busy moment does not move.
pub fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// How long `work` takes.
pub fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Runs rival and ours in turn, `rounds` times, after one round that is not counted.
pub fn interleaved(rounds: usize, mut rival: impl FnMut(), mut ours: impl FnMut()) -> (Duration, Duration) {
    rival();
    ours();
    let (mut theirs, mut own) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        theirs.push(timed(&mut rival));
        own.push(timed(&mut ours));
    }
    (median(&mut theirs), median(&mut own))
}

/// The head of a table.
pub fn head(rival: &str) {
    println!("{:<44} {rival:>12} {:>12} {:>8} {:>8}", "", "cellblock", "ratio", "at most");
}

/// A line: what, theirs, ours, and the ratio that issue 2 asks for.
pub fn line(what: &str, theirs: f64, ours: f64, unit: &str, at_most: f64) {
    let ratio = ours / theirs;
    let verdict = if ratio <= at_most { "" } else { "  MISSED" };
    println!("{what:<44} {theirs:>9.2} {unit:<2} {ours:>9.2} {unit:<2} {ratio:>8.2} {at_most:>8.2}{verdict}");
}
