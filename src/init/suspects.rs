//! Whom the kernel will have stopped (v2): a victim's parent may bury it before we hear of its end, since
//! events less than 10 ms apart are told as one. So who holds most is noted while memory is short.

use std::time::{Duration, Instant};

use super::victims::{self, Seen};

/// Between two looks at who is there: at least so long, and so many times what the last look took, since init's time
/// is in nobody's quota.
const AGAIN: Duration = Duration::from_millis(10);
const REST: u32 = 100;

/// Kept at once: the biggest.
const MOST: usize = 8;

/// Who has gone is remembered so long after it was seen last; then its end was another matter.
const REMEMBERED: Duration = Duration::from_secs(5);

/// The biggest of those that were seen lately. The last look may come too late to see one: the kernel kills
/// while we look.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    known: Vec<(Seen, Instant)>,
    /// From when on it may be looked again.
    rested: Option<Instant>,
    strained: u64,
}

impl Suspects {
    /// Looks at who is there, if memory was short since it did so last: `strained` counts how often it was.
    pub(super) fn look(&mut self, now: Instant, strained: u64) {
        if strained > self.strained && self.rested.is_none_or(|rested| now >= rested) {
            self.strained = strained;
            let start = Instant::now();
            self.note(now, victims::processes());
            self.rested = Some(now + AGAIN.max(start.elapsed() * REST));
        }
    }

    fn note(&mut self, now: Instant, mut there: Vec<Seen>) {
        there.sort_by_key(|seen| std::cmp::Reverse(seen.size()));
        there.truncate(MOST);
        for seen in there {
            match self.known.iter_mut().find(|(known, _)| known.identity() == seen.identity()) {
                Some((known, last)) => {
                    // One that is ending has given back what it had.
                    if seen.size() >= known.size() || !seen.is_killed() {
                        *known = seen;
                    }
                    *last = now;
                }
                // Who had ended before may have done so long ago.
                None if seen.is_zombie() => {}
                None => self.known.push((seen, now)),
            }
        }
        self.known.retain(|(_, last)| now < *last + REMEMBERED);
        self.known.sort_by_key(|(seen, _)| std::cmp::Reverse(seen.size()));
        self.known.truncate(MOST);
    }

    /// This one was found otherwise.
    pub(super) fn forget(&mut self, found: &Seen) {
        self.known.retain(|(seen, _)| seen.identity() != found.identity());
    }

    /// Whether the one that is suspected most is still there.
    pub(super) fn first_is_there(&self) -> bool {
        self.known.first().is_some_and(|(first, _)| !victims::is_gone(first))
    }

    /// The biggest that has gone lately; all that have are forgotten.
    pub(super) fn take_gone(&mut self, now: Instant) -> Option<Seen> {
        self.known.retain(|(_, last)| now < *last + REMEMBERED);
        let mut gone = self.known.extract_if(.., |(seen, _)| victims::is_gone(seen));
        let first = gone.next().map(|(seen, _)| seen);
        gone.for_each(drop);
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::Pid;

    /// No process has such a pid (`PID_MAX_LIMIT`).
    const GONE: Pid = 1 << 23;

    fn seen(pid: Pid, flags: u32, touched: u32, resident: u32) -> Seen {
        let line = format!("{pid} (x) R 1 7 7 0 -1 {flags} {touched} 0 0 0 0 0 0 0 20 0 1 0 777 0 {resident} 0\n");
        victims::parse(pid, &line).unwrap()
    }

    #[test]
    fn who_was_killed_while_we_looked_is_remembered_from_before() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        let shell = victims::seen(crate::sys::process::own_pid()).unwrap();
        suspects.note(now, vec![shell.clone(), seen(GONE, 0, 0, 1 << 30)]);
        suspects.note(now + AGAIN, vec![shell.clone()]);
        assert!(!suspects.first_is_there());
        assert_eq!(suspects.take_gone(now).map(|seen| seen.pid), Some(GONE));
        assert!(suspects.first_is_there(), "the shell");
        assert_eq!(suspects.take_gone(now), None);
    }

    #[test]
    fn who_is_ending_is_as_big_as_it_was() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        // PF_EXITING and PF_SIGNALED; what it held is counted in its faults alone.
        suspects.note(now, vec![seen(GONE, 0, 50, 900), seen(GONE + 1, 0x404, 20_000, 0)]);
        suspects.note(now, vec![seen(GONE, 0x404, 50, 0)]);
        assert_eq!(suspects.known.iter().map(|(seen, _)| seen.pid).collect::<Vec<_>>(), [GONE + 1, GONE]);
    }

    #[test]
    fn who_ended_long_ago_is_suspected_no_more() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        suspects.note(now, vec![seen(GONE, 0, 0, 900)]);
        assert_eq!(suspects.take_gone(now + REMEMBERED), None);
    }

    #[test]
    fn no_more_are_kept_than_the_biggest() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        suspects.note(now, (1..100).map(|size| seen(GONE + size, 0, 0, size.cast_unsigned())).collect());
        assert_eq!(suspects.known.len(), MOST);
        suspects.forget(&seen(GONE + 99, 0, 0, 0));
        assert_eq!(suspects.take_gone(now).map(|seen| seen.pid), Some(GONE + 98));
    }
}
