//! What a check tried so far: bounded, whatever the cell holds.

use std::{fmt::Display, io, time::Duration};

use crate::sys::{Errno, SysResult, attempt, attempt::Outcome, file, signal};
use crate::wire::verify::{Attempt, Verdict};

/// Most attempts of one check. More of the same tell nothing new.
const MAX_ATTEMPTS: usize = 160;

/// Longest text of an attempt: names in it may be the tenant's.
const MAX_TEXT: usize = 200;

/// Longest file in `/proc` that is read.
const MAX_FILE: usize = 1 << 20;

/// How long a single call may take.
const CALL: Duration = Duration::from_secs(5);

/// The attempts of a check.
#[derive(Debug, Default)]
pub(super) struct Tries(Vec<Attempt>);

/// Which errors show that it was the filter or a lack of rights that refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Any error will do: it did not work.
    Any,
    /// It must not have got as far as its arguments.
    AtOnce,
}

impl Tries {
    pub(super) fn done(self) -> Vec<Attempt> {
        self.0
    }

    pub(super) fn add(&mut self, tried: impl Display, happened: impl Display, verdict: Verdict) {
        // An escape is never the one that is left out.
        if self.0.len() < MAX_ATTEMPTS || verdict == Verdict::Escaped && self.0.len() < 2 * MAX_ATTEMPTS {
            self.0.push(Attempt { tried: short(tried), happened: short(happened), verdict });
        }
    }

    /// What is so if it is right, and what is wrong if not.
    pub(super) fn expect(&mut self, tried: impl Display, right: bool, happened: impl Display) {
        self.add(tried, happened, if right { Verdict::Held } else { Verdict::Escaped });
    }

    pub(super) fn not_applicable(&mut self, tried: impl Display, reason: impl Display) {
        self.add(tried, reason, Verdict::NotApplicable);
    }

    /// It could not be tried.
    pub(super) fn unknown(&mut self, tried: impl Display, errno: Errno) {
        self.add(tried, errno, Verdict::Unknown);
    }

    /// Tries something in a child that must be refused.
    pub(super) fn refuse(&mut self, tried: impl Display, refusal: Refusal, attempt: impl FnOnce() -> SysResult<i64>) {
        match attempt::in_child(CALL, attempt) {
            Ok(outcome) => self.outcome(tried, refusal, outcome),
            Err(errno) => self.unknown(tried, errno),
        }
    }

    fn outcome(&mut self, tried: impl Display, refusal: Refusal, outcome: Outcome) {
        match outcome {
            Outcome::Done(0) => self.add(tried, "it worked", Verdict::Escaped),
            Outcome::Done(value) => self.add(tried, format_args!("it worked: {value}"), Verdict::Escaped),
            Outcome::Killed(number) => {
                // A filter's signal, and what a processor without that ABI answers. Any other may be
                // the tenant's, and says nothing.
                let refused = matches!(number, signal::SIGSYS | signal::SIGSEGV);
                let verdict = if refused { Verdict::Held } else { Verdict::Unknown };
                self.add(tried, format_args!("killed by SIG{}", signal::name(number)), verdict);
            }
            Outcome::Hung => self.add(tried, "it did not come back", Verdict::Unknown),
            Outcome::Refused(errno) => {
                let refused = refusal == Refusal::Any || at_once(errno);
                let happened =
                    if refused { format!("refused: {errno}") } else { format!("the kernel took it: {errno}") };
                self.expect(tried, refused, happened);
            }
        }
    }

    /// Takes back what worked, and says so if that does not.
    pub(super) fn undo(&mut self, undone: io::Result<()>) {
        if let Err(error) = undone {
            self.unknown("taking it back", error.into());
        }
    }

    /// Tries something in this process that must fail.
    pub(super) fn fail<T>(&mut self, tried: impl Display, result: Result<T, impl Into<Errno>>) {
        match result {
            Ok(_works) => self.add(tried, "it worked", Verdict::Escaped),
            Err(error) => self.add(tried, format_args!("refused: {}", error.into()), Verdict::Held),
        }
    }
}

/// What a filter answers, and the kernel to whom it never shows its arguments.
fn at_once(errno: Errno) -> bool {
    matches!(errno, Errno::EPERM | Errno::ENOSYS | Errno::EACCES)
}

fn short(text: impl Display) -> String {
    let mut text = text.to_string();
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A file as text, at most a MiB of it.
pub(super) fn read(path: &str) -> SysResult<String> {
    let bytes = file::read_capped(path.as_ref(), MAX_FILE)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A field of `/proc/PID/status`.
pub(super) fn status(pid: &str, field: &str) -> SysResult<String> {
    let text = read(&format!("/proc/{pid}/status"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.map(|value| value.trim().to_owned()).ok_or(Errno::ENOENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_attempts_are_bounded_and_an_escape_is_always_told() {
        let mut tries = Tries::default();
        for _ in 0..1000 {
            tries.expect("ä".repeat(1000), true, "x");
        }
        tries.expect("last", false, "out");
        let done = tries.done();
        assert_eq!(done.len(), MAX_ATTEMPTS + 1);
        assert!(done.iter().all(|attempt| attempt.tried.len() <= MAX_TEXT + 3));
        assert_eq!(done.last().unwrap().verdict, Verdict::Escaped);
    }
}
