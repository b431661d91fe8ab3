//! What the SSH library tells nobody but its log: tries that it refuses by itself, when a key exchange
//! begins and ends, and how many channels the client opens meanwhile.
//!
//! russh has no callback for these (`docs/upstream.md`), and its log lines are no promise:
//! `attacker_logins.rs` and `attacker_exchange.rs` fail where a release words them otherwise. Only
//! lines without a client's words in them, or their fixed beginnings, are looked at, and none is
//! kept.

use std::{
    fmt::{self, Write as _},
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Instant,
};

use log::{LevelFilter, Log, Metadata, Record, SetLoggerError};
use tokio::sync::Notify;

/// Who writes the lines.
const LIBRARY: &str = "russh";
const CLIENT_ASKS: &str = "Client has initiated re-key";
const EXCHANGE_BEGINS: &str = "beginning re-key";
const EXCHANGE_ENDS: &str = "kex done";
const REFUSED: &str = "rejecting ";
/// `SSH_MSG_CHANNEL_OPEN`, of whatever type.
const OPENING: &str = "< msg type 90,";

/// A process serves one connection, and has one log.
static OVERHEARD: Overheard = Overheard::new();

struct Overheard {
    /// Refusals of the monitor's that the library is about to write.
    passed_on: AtomicU32,
    /// Refusals that are the library's own, and not reported yet.
    refused: AtomicU32,
    news: Notify,
    logged_in: AtomicBool,
    exchanges: Mutex<Exchanges>,
}

#[derive(Debug)]
struct Exchanges {
    /// For the one that is about to begin.
    client_asked: bool,
    running: Option<Exchange>,
}

/// A key exchange that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) began: Instant,
    /// The client began it, and not we.
    pub(crate) by_client: bool,
    /// Channels that the client wished to open meanwhile.
    pub(crate) openings: u32,
}

/// Begins to listen. Once in the life of the process.
pub(crate) fn listen() -> Result<(), SetLoggerError> {
    log::set_logger(&OVERHEARD)?;
    log::set_max_level(LevelFilter::Debug);
    Ok(())
}

/// The library is about to refuse a try because the monitor said so.
pub(crate) fn refusal_passed_on() {
    OVERHEARD.passed_on.fetch_add(1, Ordering::Relaxed);
}

/// There are no more tries to hear of.
pub(crate) fn login_is_through() {
    OVERHEARD.logged_in.store(true, Ordering::Relaxed);
}

/// Waits until the library has refused tries by itself; how many since the last time.
pub(crate) async fn refusals() -> u32 {
    loop {
        match refusals_so_far() {
            0 => OVERHEARD.news.notified().await,
            some => return some,
        }
    }
}

/// As [`refusals`], without waiting.
pub(crate) fn refusals_so_far() -> u32 {
    OVERHEARD.refused.swap(0, Ordering::Relaxed)
}

/// The key exchange that is under way.
pub(crate) fn exchange() -> Option<Exchange> {
    OVERHEARD.exchanges().running
}

impl Overheard {
    const fn new() -> Self {
        Self {
            passed_on: AtomicU32::new(0),
            refused: AtomicU32::new(0),
            news: Notify::const_new(),
            logged_in: AtomicBool::new(false),
            exchanges: Mutex::new(Exchanges { client_asked: false, running: None }),
        }
    }

    fn exchanges(&self) -> MutexGuard<'_, Exchanges> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, line: &fmt::Arguments<'_>) {
        match line.as_str() {
            Some(CLIENT_ASKS) => self.exchanges().client_asked = true,
            Some(EXCHANGE_BEGINS) => {
                let exchanges = &mut *self.exchanges();
                let by_client = mem::take(&mut exchanges.client_asked);
                exchanges.running = Some(Exchange { began: Instant::now(), by_client, openings: 0 });
            }
            Some(EXCHANGE_ENDS) => self.exchanges().running = None,
            Some(_) => {}
            None if self.logged_in.load(Ordering::Relaxed) => self.hear_opening(line),
            None => self.hear_refusal(line),
        }
    }

    fn hear_opening(&self, line: &fmt::Arguments<'_>) {
        if let Some(exchange) = &mut self.exchanges().running
            && begins_with(line, OPENING)
        {
            exchange.openings = exchange.openings.saturating_add(1);
        }
    }

    fn hear_refusal(&self, line: &fmt::Arguments<'_>) {
        if !begins_with(line, REFUSED) {
            return;
        }
        let less = |passed_on: u32| passed_on.checked_sub(1);
        if self.passed_on.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            self.news.notify_one();
        }
    }
}

impl Log for Overheard {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(LIBRARY)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.hear(record.args());
        }
    }

    fn flush(&self) {}
}

/// Formats no more of `line` than tells: it may be long.
fn begins_with(line: &fmt::Arguments<'_>, beginning: &'static str) -> bool {
    let mut rest = Rest(beginning);
    // The error is what ends the formatting, either way.
    rest.write_fmt(*line).unwrap_or_default();
    rest.0.is_empty()
}

/// What is still to come of a beginning.
struct Rest(&'static str);

impl fmt::Write for Rest {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        match self.0.strip_prefix(piece) {
            Some("") => {
                self.0 = "";
                Err(fmt::Error)
            }
            Some(rest) => {
                self.0 = rest;
                Ok(())
            }
            None if piece.starts_with(self.0) => {
                self.0 = "";
                Err(fmt::Error)
            }
            None => Err(fmt::Error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_told_however_the_line_is_cut() {
        let (cut, number) = ("rejec", 7);
        assert!(begins_with(&format_args!("{cut}ting {number}"), REFUSED));
        assert!(begins_with(&format_args!("rejecting {number} and more"), REFUSED));
        for other in ["", "reject", "rejecting", "Rejecting 7", "not rejecting 7"] {
            assert!(!begins_with(&format_args!("{other}"), REFUSED), "{other}");
        }
    }

    #[test]
    fn a_refusal_counts_unless_it_is_one_that_was_passed_on() {
        let heard = Overheard::new();
        let refuse = |name: &str| heard.hear(&format_args!("rejecting {name:?}"));
        refuse("a");
        heard.passed_on.store(1, Ordering::Relaxed);
        refuse("b");
        refuse("c");
        assert_eq!(heard.refused.load(Ordering::Relaxed), 2);
        heard.logged_in.store(true, Ordering::Relaxed);
        refuse("d");
        assert_eq!(heard.refused.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn an_exchange_lasts_from_its_beginning_to_its_end_whatever_is_said_between() {
        let heard = Overheard::new();
        let running = || heard.exchanges().running;
        heard.hear(&format_args!("beginning re-key"));
        let first = running();
        assert!(first.is_some_and(|exchange| !exchange.by_client));
        // What a client can have put into a line is never one of the two.
        let name = "kex done";
        heard.hear(&format_args!("{name}{name}"));
        heard.hear(&format_args!("negotiated: {name:?}"));
        assert_eq!(running(), first);
        heard.hear(&format_args!("kex done"));
        assert_eq!(running(), None);
        heard.hear(&format_args!("Client has initiated re-key"));
        heard.hear(&format_args!("beginning re-key"));
        assert!(running().is_some_and(|exchange| exchange.by_client));
        heard.hear(&format_args!("kex done"));
        heard.hear(&format_args!("beginning re-key"));
        assert!(running().is_some_and(|exchange| !exchange.by_client));
    }

    #[test]
    fn openings_are_counted_from_the_beginning_of_an_exchange_to_its_end() {
        let heard = Overheard::new();
        heard.logged_in.store(true, Ordering::Relaxed);
        let message = |number: u8| heard.hear(&format_args!("< msg type {number:?}, seqn {:?}, len {}", 7, 30));
        let openings = || heard.exchanges().running.map(|exchange| exchange.openings);
        message(90);
        assert_eq!(openings(), None);
        for _ in 0..2 {
            heard.hear(&format_args!("beginning re-key"));
            [90, 9, 91, 190, 90].into_iter().for_each(message);
            assert_eq!(openings(), Some(2));
        }
        heard.hear(&format_args!("kex done"));
        message(90);
        assert_eq!(openings(), None);
    }
}
