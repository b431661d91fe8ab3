//! What becomes of a limit that was reached: who is told, and how often.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::base::Bytes;
use crate::sys::{poll::Watch, process::Pid};
use crate::wire::init::{Hit, Victim};

use super::{
    gauges::{Gauge, Gauges},
    suspects::Suspects,
    victims,
};

/// Between two words about one limit: a bomb reaches it thousands of times a second.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

/// The kernel says that memory has run out (v1), then counts the process that it has chosen, then
/// kills it, and then that begins to end: so long and so often it is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
const SEARCH: Duration = Duration::from_millis(100);

/// And so much longer while a suspect is still there: its limit on the processor holds for its end too.
const LOOK_LATER: Duration = Duration::from_millis(20);
const LONGER_SEARCH: Duration = Duration::from_secs(1);

/// How often v1's counter of refused processes is read while there is somebody to tell: it wakes nobody.
const TICK: Duration = Duration::from_secs(1);

/// Victims remembered: the kernel stops one after the other, and each is listed for a while.
const REMEMBERED: usize = 64;

/// Whether a child of init has ended and not been reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Child {
    Ended,
    None,
}

/// Whom a word is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Audience {
    /// The tenant's every session.
    All,
    /// The sessions with these first processes.
    These(BTreeSet<Pid>),
}

/// A word to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) hit: Hit,
    pub(super) to: Audience,
    pub(super) record: Record,
}

/// Whether a word is for the audit file too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    Yes,
    No,
}

/// How often one limit was reached and how much of that was said.
#[derive(Debug, Default)]
struct Tally {
    seen: u64,
    unsaid: u64,
    said: Option<Instant>,
}

impl Tally {
    /// Takes in what the counter says now; how many are new.
    fn count(&mut self, counted: u64) -> u64 {
        let new = counted.saturating_sub(self.seen);
        self.seen = counted;
        self.unsaid = self.unsaid.saturating_add(new);
        new
    }

    /// How many to say now, if it is time.
    fn say(&mut self, now: Instant) -> Option<u64> {
        let may = self.said.is_none_or(|said| now >= said + PAUSE);
        if self.unsaid == 0 || !may {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }

    fn deadline(&self) -> Option<Instant> {
        self.said.filter(|_| self.unsaid > 0).map(|said| said + PAUSE)
    }
}

/// Looks at the counters.
#[derive(Debug)]
pub(super) struct Alarm {
    gauges: Gauges,
    memory: Tally,
    pids: Tally,
    /// Victims that were counted and not found yet.
    missing: u64,
    suspects: Suspects,
    /// The last victim that was not spoken of, and whose it was.
    last: Option<Victim>,
    to: BTreeSet<Pid>,
    /// Some victim was not found, or belongs to no session.
    to_all: bool,
    /// Victims that are still listed.
    known: Vec<(Pid, u64)>,
    /// Victims that are sessions' first processes, until they are reaped.
    first: BTreeSet<Pid>,
    /// Since when victims are looked for.
    since: Option<Instant>,
    again: Option<Instant>,
    looked: Instant,
}

impl Alarm {
    pub(super) fn new(gauges: Gauges) -> Self {
        Self {
            gauges,
            memory: Tally::default(),
            pids: Tally::default(),
            missing: 0,
            suspects: Suspects::default(),
            last: None,
            to: BTreeSet::new(),
            to_all: false,
            known: Vec::new(),
            first: BTreeSet::new(),
            since: None,
            again: None,
            looked: Instant::now(),
        }
    }

    pub(super) fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    /// What to wait for.
    pub(super) fn watched(&self) -> impl Iterator<Item = Watch<'_>> {
        self.gauges.watched()
    }

    /// When to look again, with so many sessions.
    pub(super) fn deadline(&self, sessions: usize) -> Option<Instant> {
        let tick = (sessions > 0 && self.gauges.counts_refused_silently()).then(|| self.looked + TICK);
        [self.again, tick, self.memory.deadline(), self.pids.deadline()].into_iter().flatten().min()
    }

    /// Looks at the counters, before anything is reaped; `sessions` are their first processes. If a
    /// child has ended, what is to be said of it is said now: its session may be over next.
    pub(super) fn look(&mut self, now: Instant, sessions: &BTreeSet<Pid>, child: Child) -> Vec<Word> {
        self.looked = now;
        let event = self.gauges.take_memory_event();
        let stopped = self.memory.count(self.gauges.stopped());
        // Others that follow do not prolong it: somebody waits for a word about the first.
        if (event || stopped > 0) && self.missing == 0 {
            self.since = Some(now);
        }
        self.missing = self.missing.saturating_add(stopped);
        let mut words = Vec::new();
        if self.missing > 0 {
            words.extend(self.find_victims(sessions));
            if self.missing == 0 || child == Child::Ended {
                self.since = None;
            }
        }
        self.again = self.since.and_then(|since| self.next_look(now, since));
        if self.again.is_none() && self.missing > 0 {
            self.last = self.suspects.take_gone(now).map(|seen| seen.victim());
            self.to_all = true;
            self.missing = 0;
        }
        if self.missing == 0 {
            words.extend(self.memory_word(now));
            self.suspects.look(now, self.gauges.strained());
        }
        self.pids.count(self.gauges.refused());
        words.extend(self.pids.say(now).map(|refused| Word {
            hit: Hit::Pids { most: self.gauges.number(Gauge::PidsMax).unwrap_or(0), refused },
            to: Audience::All,
            record: Record::Yes,
        }));
        words
    }

    /// When to look again for victims that are looked for `since` then; none: it was long enough.
    fn next_look(&self, now: Instant, since: Instant) -> Option<Instant> {
        let waited = now.saturating_duration_since(since);
        if waited < SEARCH {
            return Some(now + LOOK_AGAIN);
        }
        (self.missing > 0 && waited < LONGER_SEARCH && self.suspects.first_is_there()).then(|| now + LOOK_LATER)
    }

    /// Whether this first process of a session, which is being reaped, was a victim.
    pub(super) fn was_victim(&mut self, pid: Pid) -> bool {
        self.first.remove(&pid)
    }

    /// Finds who was stopped. A session whose first process it was ends by that: its client is told
    /// at once, however often others were.
    fn find_victims(&mut self, sessions: &BTreeSet<Pid>) -> Vec<Word> {
        let killed = victims::killed();
        self.known.retain(|known| killed.iter().any(|seen| seen.identity() == *known));
        let most = usize::try_from(self.missing).unwrap_or(REMEMBERED).min(REMEMBERED);
        let new = killed.into_iter().filter(|seen| !self.known.contains(&seen.identity()));
        let new: Vec<_> = new.take(most).collect();
        self.missing = self.missing.saturating_sub(u64::try_from(new.len()).unwrap_or(0));
        let mut words = Vec::new();
        for seen in &new {
            self.known.push(seen.identity());
            self.suspects.forget(seen);
            if sessions.contains(&seen.pid) {
                self.first.insert(seen.pid);
                words.push(self.word(1, Some(seen.victim()), Audience::These(BTreeSet::from([seen.pid]))));
                self.memory.unsaid = self.memory.unsaid.saturating_sub(1);
            } else {
                self.last = Some(seen.victim());
                if sessions.contains(&seen.session) {
                    self.to.insert(seen.session);
                } else {
                    self.to_all = true;
                }
            }
        }
        words
    }

    fn memory_word(&mut self, now: Instant) -> Option<Word> {
        let stopped = self.memory.say(now)?;
        let to = std::mem::take(&mut self.to);
        let to = if std::mem::take(&mut self.to_all) { Audience::All } else { Audience::These(to) };
        let victim = self.last.take();
        Some(self.word(stopped, victim, to))
    }

    fn word(&self, stopped: u64, victim: Option<Victim>, to: Audience) -> Word {
        let most = Bytes(self.gauges.number(Gauge::MemoryMax).unwrap_or(0));
        Word { hit: Hit::Memory { most, stopped, victim }, to, record: Record::Yes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_is_said_at_once_and_the_next_ones_after_a_pause() {
        let (mut tally, start) = (Tally::default(), Instant::now());
        assert_eq!(tally.say(start), None);
        assert_eq!(tally.count(3), 3);
        assert_eq!(tally.say(start), Some(3));
        assert_eq!(tally.deadline(), None, "nothing is left to say");
        assert_eq!(tally.count(1000), 997);
        assert_eq!(tally.say(start + Duration::from_secs(1)), None);
        assert_eq!(tally.deadline(), Some(start + PAUSE));
        assert_eq!(tally.say(start + PAUSE), Some(997));
        assert_eq!(tally.say(start + PAUSE * 2), None);
    }
}
