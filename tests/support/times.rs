//! Whether the time that an answer takes tells what it is an answer to: trials of several kinds in turn, on
//! several connections at once, and a comparison of their distributions.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

/// Standard deviations that are no accident: one such among ten comparisons comes by chance once in two
/// million runs.
const NO_ACCIDENT: f64 = 5.5;

/// How trials are made.
#[derive(Clone, Copy)]
pub struct Trials {
    /// Connections in all.
    pub connections: usize,
    /// Connections at once.
    pub at_once: usize,
    /// Trials on each connection.
    pub turns: usize,
}

impl Trials {
    /// What `trial` took of each of `kinds`. They come in no order, and equally often, so that whatever comes
    /// of load, of timers, or of the place in a connection falls on all kinds alike.
    pub fn make<C, T: Send>(
        self,
        kinds: &[&str],
        connect: impl Fn() -> C + Sync,
        trial: impl Fn(&mut C, &str) -> T + Sync,
    ) -> Vec<Vec<T>> {
        let next = AtomicUsize::new(0);
        let one = || {
            let mut times: Vec<Vec<T>> = kinds.iter().map(|_| Vec::new()).collect();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= self.connections {
                    return times;
                }
                let mut client = connect();
                let mut order: Vec<usize> = (0..self.turns).map(|turn| (number + turn) % kinds.len()).collect();
                shuffle(&mut order, number);
                for kind in order {
                    times[kind].push(trial(&mut client, kinds[kind]));
                }
            }
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..self.at_once).map(|_| scope.spawn(one)).collect();
            let mut all: Vec<Vec<T>> = kinds.iter().map(|_| Vec::new()).collect();
            for thread in threads {
                for (of_kind, more) in all.iter_mut().zip(thread.join().unwrap()) {
                    of_kind.extend(more);
                }
            }
            all
        })
    }
}

/// The same order in each run (xorshift64).
fn shuffle(order: &mut [usize], seed: usize) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed as u64 + 1);
    for last in (1..order.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        order.swap(last, (state % (last as u64 + 1)) as usize);
    }
}

/// Fails if of two `kinds` one tends to take longer, by the rank test of Mann and Whitney, or lands more often
/// on some step of the ladder `floor`, twice that, four times that … (src/auth/even.rs), than chance has it.
/// Nothing takes less than `floor`.
pub fn look_alike(kinds: &[&str], times: &[Vec<Duration>], floor: Duration) {
    for (number, (kind, of_kind)) in kinds.iter().zip(times).enumerate() {
        let least = of_kind.iter().min().unwrap();
        assert!(*least >= floor, "{kind}: {least:?}");
        for (other, of_other) in kinds.iter().zip(times).skip(number + 1) {
            let (longer, chance) = longer(of_kind, of_other);
            let both = format!("{kind}: {}\n{other}: {}", told(of_kind, floor), told(of_other, floor));
            assert!(
                (longer - 0.5).abs() < chance,
                "{kind} takes longer than {other} in {longer:.3} ± {chance:.3}\n{both}"
            );
            for step in 0..16 {
                let (a, b) = (share(of_kind, floor, step), share(of_other, floor, step));
                let middle = f64::midpoint(a, b);
                let chance =
                    NO_ACCIDENT * (middle * (1.0 - middle) * (1.0 / count(of_kind) + 1.0 / count(of_other))).sqrt();
                assert!((a - b).abs() <= chance, "on step {step}: {a:.3} and {b:.3} ± {chance:.3}\n{both}");
            }
        }
    }
}

/// How often one of `a` is more than one of `b`, ties being half; and how far that is from a half by chance.
fn longer(a: &[Duration], b: &[Duration]) -> (f64, f64) {
    let half_wins = |one: &Duration| b.iter().map(|other| 1.0 + f64::from(one.cmp(other) as i8)).sum::<f64>();
    let (of_a, of_b) = (count(a), count(b));
    let longer = a.iter().map(half_wins).sum::<f64>() / (2.0 * of_a * of_b);
    (longer, NO_ACCIDENT * ((of_a + of_b + 1.0) / (12.0 * of_a * of_b)).sqrt())
}

/// Of `times`, how many lie on this step.
fn share(times: &[Duration], floor: Duration, step: u32) -> f64 {
    let here = floor * (1 << step)..floor * (2 << step);
    times.iter().filter(|time| here.contains(time)).count() as f64 / count(times)
}

fn count(times: &[Duration]) -> f64 {
    times.len() as f64
}

/// Deciles, and the shares of the first steps.
fn told(times: &[Duration], floor: Duration) -> String {
    let mut sorted = times.to_vec();
    sorted.sort();
    let deciles: Vec<_> = (1..10).map(|tenth| sorted[sorted.len() * tenth / 10]).collect();
    let shares = [0, 1, 2, 3].map(|step| share(times, floor, step));
    format!("{} trials, deciles {deciles:.1?}, steps {shares:.2?}", times.len())
}
