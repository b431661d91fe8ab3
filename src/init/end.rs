//! When a cell ends. Pure: times come in, decisions go out.
//!
//! Attached: a monitor is there that has a session running, or has just come. Detached, a cell
//! lives on for its linger while it has processes; then they get TERM, a grace, and KILL.

use std::time::{Duration, Instant};

use crate::sys::signal::{SIGKILL, SIGTERM};

/// Between TERM and KILL, unless an order says otherwise.
const GRACE: Duration = Duration::from_secs(10);

/// Longest grace and linger that make sense; keeps the sums in range.
const MAX_SPAN: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Between one KILL and the next: what forks while all are killed is killed then.
const KILL_AGAIN: Duration = Duration::from_millis(100);

/// Whether anybody is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attached {
    Yes,
    /// Somebody has come who has not said what for.
    Perhaps,
    No,
}

/// Whether the cell has processes besides pid 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Processes {
    Some,
    None,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Go on.
    NotYet,
    /// Take nobody in any more, and send this signal to all.
    Refuse(i32),
    /// It has ended.
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Attached,
    Detached { since: Instant },
    Asked { grace: Duration },
    Ending { kill_at: Instant },
}

/// Where the cell is in its life.
#[derive(Debug)]
pub(super) struct Life {
    phase: Phase,
    linger: Option<Duration>,
    /// Whether somebody may be about to attach: a decision waits for that.
    waits: bool,
}

impl Life {
    pub(super) fn new(now: Instant) -> Self {
        Self { phase: Phase::Detached { since: now }, linger: Some(Duration::ZERO), waits: false }
    }

    /// The newest session's word on how long to stay; `None` for ever.
    pub(super) fn set_linger(&mut self, linger: Option<Duration>) {
        self.linger = linger.map(|linger| linger.min(MAX_SPAN));
    }

    /// The order to end.
    pub(super) fn ask(&mut self, grace: Duration) {
        if !self.is_ending() {
            self.phase = Phase::Asked { grace: grace.min(MAX_SPAN) };
        }
    }

    pub(super) fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending { .. })
    }

    /// When to look again, whatever happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match (self.phase, self.linger) {
            (Phase::Ending { kill_at }, _) => Some(kill_at),
            (Phase::Detached { since }, Some(linger)) if !self.waits => Some(since + linger),
            (Phase::Detached { .. } | Phase::Attached | Phase::Asked { .. }, _) => None,
        }
    }

    pub(super) fn next(&mut self, attached: Attached, processes: Processes, now: Instant) -> End {
        self.waits = attached == Attached::Perhaps;
        match (self.phase, attached) {
            (Phase::Ending { kill_at }, _) => self.ending(kill_at, processes, now),
            (Phase::Asked { grace }, _) => self.begin_to_end(grace, processes, now),
            (Phase::Attached | Phase::Detached { .. }, Attached::Yes) => {
                self.phase = Phase::Attached;
                End::NotYet
            }
            // Whoever only looks around must not make the cell live longer.
            (Phase::Attached | Phase::Detached { .. }, Attached::Perhaps) => End::NotYet,
            (Phase::Attached, Attached::No) => {
                self.phase = Phase::Detached { since: now };
                self.detached(now, processes, now)
            }
            (Phase::Detached { since }, Attached::No) => self.detached(since, processes, now),
        }
    }

    fn detached(&mut self, since: Instant, processes: Processes, now: Instant) -> End {
        match (self.linger, processes) {
            (None, _) => End::NotYet,
            (Some(linger), Processes::Some) if now < since + linger => End::NotYet,
            (Some(_), _) => self.begin_to_end(GRACE, processes, now),
        }
    }

    fn begin_to_end(&mut self, grace: Duration, processes: Processes, now: Instant) -> End {
        self.phase = Phase::Ending { kill_at: now + grace };
        match processes {
            Processes::None => End::Gone,
            Processes::Some => End::Refuse(SIGTERM),
        }
    }

    fn ending(&mut self, kill_at: Instant, processes: Processes, now: Instant) -> End {
        match processes {
            Processes::None => End::Gone,
            Processes::Some if now < kill_at => End::NotYet,
            Processes::Some => {
                self.phase = Phase::Ending { kill_at: now + KILL_AGAIN };
                End::Refuse(SIGKILL)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_detached_cell_without_processes_ends_at_once() {
        let now = Instant::now();
        let mut life = Life::new(now);
        life.set_linger(Some(600 * SECOND));
        assert_eq!(life.next(Attached::Yes, Processes::Some, now), End::NotYet);
        assert_eq!(life.next(Attached::No, Processes::None, now), End::Gone);
    }

    #[test]
    fn a_detached_cell_with_processes_lives_for_its_linger_then_term_then_kill() {
        let now = Instant::now();
        let mut life = Life::new(now);
        life.set_linger(Some(600 * SECOND));
        assert_eq!(life.next(Attached::Yes, Processes::Some, now), End::NotYet);
        assert_eq!(life.next(Attached::No, Processes::Some, now + SECOND), End::NotYet);
        assert_eq!(life.deadline(), Some(now + 601 * SECOND));
        assert_eq!(life.next(Attached::No, Processes::Some, now + 601 * SECOND), End::Refuse(SIGTERM));
        assert_eq!(life.next(Attached::Yes, Processes::Some, now + 602 * SECOND), End::NotYet);
        assert_eq!(life.next(Attached::No, Processes::Some, now + 611 * SECOND), End::Refuse(SIGKILL));
        assert_eq!(life.next(Attached::No, Processes::None, now + 612 * SECOND), End::Gone);
    }

    #[test]
    fn coming_back_ends_the_linger() {
        let now = Instant::now();
        let mut life = Life::new(now);
        life.set_linger(Some(10 * SECOND));
        assert_eq!(life.next(Attached::No, Processes::Some, now + 9 * SECOND), End::NotYet);
        assert_eq!(life.next(Attached::Yes, Processes::Some, now + 9 * SECOND), End::NotYet);
        assert_eq!(life.next(Attached::No, Processes::Some, now + 15 * SECOND), End::NotYet);
        assert_eq!(life.next(Attached::No, Processes::Some, now + 25 * SECOND), End::Refuse(SIGTERM));
    }

    #[test]
    fn looking_around_does_not_lengthen_the_linger() {
        let now = Instant::now();
        let mut life = Life::new(now);
        life.set_linger(Some(10 * SECOND));
        assert_eq!(life.next(Attached::No, Processes::Some, now), End::NotYet);
        assert_eq!(life.next(Attached::Perhaps, Processes::Some, now + 11 * SECOND), End::NotYet);
        assert_eq!(life.deadline(), None, "a deadline that has passed would keep init busy");
        assert_eq!(life.next(Attached::No, Processes::Some, now + 11 * SECOND), End::Refuse(SIGTERM));
    }

    #[test]
    fn a_cell_that_lingers_for_ever_ends_only_when_told() {
        let now = Instant::now();
        let mut life = Life::new(now);
        life.set_linger(None);
        assert_eq!(life.next(Attached::No, Processes::None, now + 1000 * SECOND), End::NotYet);
        life.ask(SECOND);
        assert_eq!(life.next(Attached::No, Processes::Some, now), End::Refuse(SIGTERM));
        assert_eq!(life.next(Attached::No, Processes::Some, now + SECOND), End::Refuse(SIGKILL));
    }
}
