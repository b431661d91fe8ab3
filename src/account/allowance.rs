//! How many lines about files one connection may write: who moves files about all day is on record,
//! and who makes a loop of it fills no disk.

use std::time::Instant;

/// At once: 10,000 files brought and fetched are 40,000 lines.
const MOST: u64 = 50_000;

/// Per second from then on: at some 300 bytes a line, 60 kB.
const PER_SECOND: u64 = 200;

/// What is left of it.
#[derive(Debug)]
pub struct Allowance {
    left: u64,
    counted: Instant,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: MOST, counted: Instant::now() }
    }
}

impl Allowance {
    /// Whether one more line may be written now.
    pub fn take(&mut self) -> bool {
        self.take_at(Instant::now())
    }

    fn take_at(&mut self, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.counted).as_secs();
        if seconds > 0 {
            self.left = self.left.saturating_add(seconds.saturating_mul(PER_SECOND)).min(MOST);
            self.counted = now;
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_loop_gets_the_first_lines_and_then_a_few_each_second() {
        let mut allowance = Allowance::default();
        let start = allowance.counted;
        let taken = |allowance: &mut Allowance, at| (0..2 * MOST).filter(|_| allowance.take_at(at)).count();
        assert_eq!(taken(&mut allowance, start), 50_000);
        assert_eq!(taken(&mut allowance, start + Duration::from_millis(900)), 0);
        assert_eq!(taken(&mut allowance, start + Duration::from_secs(2)), 400);
        assert_eq!(taken(&mut allowance, start + Duration::from_secs(1_000_000)), 50_000);
    }
}
