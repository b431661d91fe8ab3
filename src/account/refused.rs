//! How many refusals get a line of their own: a flood of connections that are turned away, or of
//! requests that one connection may not make, must not become a flood of writes.

use std::time::{Duration, Instant};

/// Lines per [`WINDOW`].
const MOST: u32 = 10;
const WINDOW: Duration = Duration::from_secs(1);

/// Counts them.
#[derive(Debug, Default)]
pub struct Refusals {
    since: Option<Instant>,
    listed: u32,
    unlisted: u64,
}

impl Refusals {
    /// One more. `Some`: it gets a line, which also says how many had none since the last.
    pub fn list(&mut self) -> Option<u64> {
        self.list_at(Instant::now())
    }

    /// The line that was to say this was not written: the next one says it.
    pub fn take_back(&mut self, unlisted: u64) {
        self.unlisted = self.unlisted.saturating_add(unlisted).saturating_add(1);
    }

    fn list_at(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            self.since = Some(now);
            self.listed = 0;
        }
        if self.listed >= MOST {
            self.unlisted = self.unlisted.saturating_add(1);
            return None;
        }
        self.listed = self.listed.saturating_add(1);
        Some(std::mem::take(&mut self.unlisted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_a_few_lines_and_a_count() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let listed = (0..1000).filter(|_| refusals.list_at(start).is_some()).count();
        assert_eq!(listed, 10);
        assert_eq!(refusals.list_at(start + WINDOW), Some(990));
        assert_eq!(refusals.list_at(start + WINDOW), Some(0));
        let unlisted = refusals.list_at(start + WINDOW).unwrap();
        refusals.take_back(unlisted);
        assert_eq!(refusals.list_at(start + WINDOW), Some(1));
    }
}
