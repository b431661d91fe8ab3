//! Connections and sessions on which nothing moves: warned, then ended.
//!
//! What counts is bytes to or from a program, and over forwards. This process is not believed to keep time by anybody:
//! a captured one that stays does no harm that it could not do before.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::sleep};

/// How long before the end those inside are told; a fifth of the time where it is short.
const WARNING: Duration = Duration::from_secs(60);
const WARNING_PART: u32 = 5;

/// When something moved last. Clones are handles of the same.
#[derive(Debug, Clone)]
pub(crate) struct Activity(Arc<Moved>);

#[derive(Debug)]
struct Moved {
    start: Instant,
    /// Milliseconds after `start`.
    last: AtomicU64,
    /// Milliseconds; zero: it may be idle for ever.
    most: AtomicU64,
    limited: Notify,
    /// Counts what moves here, too.
    also: Option<Activity>,
}

/// What idleness comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It will end in so long.
    Warn(Duration),
    /// It ends.
    End,
}

impl Activity {
    /// Of a connection, which may be idle for ever until [`limit`](Self::limit) says otherwise.
    pub(crate) fn new() -> Self {
        Self::with(None)
    }

    fn with(also: Option<Self>) -> Self {
        let (last, most) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Moved { start: Instant::now(), last, most, limited: Notify::new(), also }))
    }

    /// Of a session or a forward: what moves there moves here as well.
    pub(crate) fn session(&self, most: Option<Duration>) -> Self {
        let session = Self::with(Some(self.clone()));
        session.0.most.store(most.map_or(0, millis), Ordering::Relaxed);
        session
    }

    /// From now on it may be idle for `most`.
    pub(crate) fn limit(&self, most: Option<Duration>) {
        self.moved();
        self.0.most.store(most.map_or(0, millis), Ordering::Relaxed);
        self.0.limited.notify_one();
    }

    /// Something moved.
    pub(crate) fn moved(&self) {
        self.0.last.store(millis(self.0.start.elapsed()), Ordering::Relaxed);
        if let Some(also) = &self.0.also {
            also.moved();
        }
    }

    /// Waits for the next step. `warned` is what the last one left behind: whether it was a warning.
    pub(crate) async fn step(&self, warned: &mut bool) -> Step {
        loop {
            let most = Duration::from_millis(self.0.most.load(Ordering::Relaxed));
            if most.is_zero() {
                self.0.limited.notified().await;
                continue;
            }
            let last = Duration::from_millis(self.0.last.load(Ordering::Relaxed));
            let idle = self.0.start.elapsed().saturating_sub(last);
            match judge(idle, most, *warned) {
                Verdict::Step(step) => {
                    *warned = true;
                    return step;
                }
                Verdict::Wait { time, warned: still } => {
                    *warned = still;
                    sleep(time).await;
                }
            }
        }
    }

    /// Waits until nothing has moved for too long, where nobody is warned.
    pub(crate) async fn is_over(&self) {
        let mut warned = false;
        while let Step::Warn(_left) = self.step(&mut warned).await {}
    }
}

enum Verdict {
    Step(Step),
    Wait { time: Duration, warned: bool },
}

fn judge(idle: Duration, most: Duration, warned: bool) -> Verdict {
    let warning = WARNING.min(most / WARNING_PART);
    let quiet = most.saturating_sub(warning);
    if idle >= most {
        Verdict::Step(Step::End)
    } else if idle < quiet {
        Verdict::Wait { time: quiet.saturating_sub(idle), warned: false }
    } else if warned {
        Verdict::Wait { time: most.saturating_sub(idle), warned }
    } else {
        Verdict::Step(Step::Warn(most.saturating_sub(idle)))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The warning.
pub(crate) fn warning(what: &str, left: Duration) -> String {
    format!("cellblock: nothing has moved here for long; {what} ends in {} s", left.as_secs().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn idleness_is_warned_of_and_then_ended() {
        assert!(
            matches!(judge(seconds(0), seconds(600), false), Verdict::Wait { time, warned: false } if time == seconds(540))
        );
        assert!(
            matches!(judge(seconds(540), seconds(600), false), Verdict::Step(Step::Warn(left)) if left == seconds(60))
        );
        assert!(
            matches!(judge(seconds(550), seconds(600), true), Verdict::Wait { time, warned: true } if time == seconds(50))
        );
        assert!(matches!(judge(seconds(600), seconds(600), true), Verdict::Step(Step::End)));
        // A key pressed after the warning: all begins anew.
        assert!(matches!(judge(seconds(1), seconds(600), true), Verdict::Wait { warned: false, .. }));
        assert!(matches!(judge(seconds(8), seconds(10), false), Verdict::Step(Step::Warn(left)) if left == seconds(2)));
    }

    #[test]
    fn what_moves_in_a_session_moves_its_connection() {
        let connection = Activity::new();
        let session = connection.session(Some(seconds(5)));
        std::thread::sleep(Duration::from_millis(5));
        session.moved();
        assert!(connection.0.last.load(Ordering::Relaxed) >= 5);
        assert_eq!(connection.0.most.load(Ordering::Relaxed), 0);
    }
}
