//! Answers that come at once: the echo of a key, and what a server says to a small request. The kernel, or
//! the server, makes them in about the time that it takes this process to fall asleep and wake up again, so
//! they are awaited awake, for a moment.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::yield_now};

/// What is asked by one write of at most so many bytes, and how its answer is awaited.
#[derive(Debug)]
struct Kind {
    most: usize,
    /// Whatever takes longer is waited for asleep.
    moment: Duration,
    /// After an answer that took longer, so many are waited for asleep.
    rest: u32,
}

/// A key's sequence, or a letter of any script. More was not typed.
const KEY: Kind = Kind { most: 16, moment: Duration::from_micros(50), rest: 0 };

/// All requests of SFTP but those that carry much, and names of most lengths.
const REQUEST: Kind = Kind { most: 2048, moment: Duration::from_micros(150), rest: 16 };

#[derive(Debug)]
struct State {
    kind: Kind,
    asked: Notify,
    awaited: AtomicBool,
}

/// The answers of one program. Clones are handles of the same.
#[derive(Debug, Clone)]
pub(super) struct Answers(Arc<State>);

impl Answers {
    /// Of a terminal.
    pub(super) fn to_keys() -> Self {
        Self::new(KEY)
    }

    /// Of a program that reads a pipe.
    pub(super) fn to_requests() -> Self {
        Self::new(REQUEST)
    }

    fn new(kind: Kind) -> Self {
        Self(Arc::new(State { kind, asked: Notify::new(), awaited: AtomicBool::new(false) }))
    }

    /// So many bytes were written to the program.
    pub(super) fn asked(&self, length: usize) {
        if length <= self.0.kind.most {
            self.0.awaited.store(true, Ordering::Relaxed);
            self.0.asked.notify_one();
        }
    }

    /// The program said something.
    pub(super) fn came(&self) {
        self.0.awaited.store(false, Ordering::Relaxed);
    }

    /// Keeps the process awake for a moment after each question. Never ends.
    pub(super) async fn attend(&self) {
        let State { kind, asked, awaited } = &*self.0;
        loop {
            asked.notified().await;
            let began = Instant::now();
            while awaited.load(Ordering::Relaxed) && began.elapsed() < kind.moment {
                // For the process that answers, where there is but one processor.
                thread::yield_now();
                yield_now().await;
            }
            if awaited.load(Ordering::Relaxed) {
                for _unattended in 0..kind.rest {
                    asked.notified().await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_is_awaited_after_a_key_and_not_after_a_long_write() {
        let answers = Answers::to_keys();
        let awaited = || answers.0.awaited.load(Ordering::Relaxed);
        answers.asked(KEY.most + 1);
        assert!(!awaited());
        answers.asked(1);
        assert!(awaited());
        answers.came();
        assert!(!awaited());
    }
}
