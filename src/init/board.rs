//! `/run/cellblock/usage`: what the tenant's sessions use, up to date whenever it is opened, and no
//! work for anybody as long as it is not.
//!
//! init holds a lease on the file (fcntl(2)): whoever opens it waits while init, told by SIGIO, writes
//! the figures. While somebody has it open there can be no lease; then it is written every second. So it
//! is for who opens it in a loop: init's processor time is outside of the tenant's quota.

use std::{
    fmt::Write as _,
    fs::File,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::Path,
    time::{Duration, Instant},
};

use crate::sys::{lease, path};
use crate::wire::init::Store;

use super::{
    gauges::{Gauge, Gauges},
    victims,
};

/// Between two looks at a file that somebody keeps open.
const REFRESH: Duration = Duration::from_secs(1);

/// Openings that are answered with new figures, within [`REFRESH`]; from then on without a lease.
const FRESH: u32 = 10;

/// Ticks per second in `/proc/PID/stat` (`USER_HZ`, which is 100 wherever Linux runs).
const TICKS: u64 = 100;

/// The file.
#[derive(Debug)]
pub(super) struct Board {
    file: File,
    /// When to write it again; none: there is a lease.
    refresh: Option<Instant>,
    /// Since when openings are counted, and how many there were.
    counted: (Instant, u32),
}

impl Board {
    pub(super) fn new(file: OwnedFd) -> Self {
        let mut board = Self { file: File::from(file), refresh: None, counted: (Instant::now(), 0) };
        board.lease();
        board
    }

    /// When to look again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.refresh
    }

    /// Somebody waits to open it.
    pub(super) fn asked(&mut self, now: Instant, gauges: &Gauges, sessions: usize) {
        if self.refresh.is_some() {
            return;
        }
        self.write(gauges, sessions);
        match (lease::release(self.file.as_fd()), self.pause(now)) {
            // Whoever waits goes on now.
            (Ok(()), None) => self.lease(),
            (Ok(()), until) => self.refresh = until,
            // The kernel takes it away by itself (lease-break-time, 45 s).
            (Err(_kept), _) => self.refresh = Some(now + REFRESH),
        }
    }

    /// Counts an opening; until when there is to be no lease after it.
    fn pause(&mut self, now: Instant) -> Option<Instant> {
        let (since, openings) = &mut self.counted;
        if now >= *since + REFRESH {
            self.counted = (now, 1);
            return None;
        }
        *openings = openings.saturating_add(1);
        (*openings >= FRESH).then(|| *since + REFRESH)
    }

    /// The time may have come.
    pub(super) fn look(&mut self, now: Instant, gauges: &Gauges, sessions: usize) {
        if self.refresh.is_some_and(|at| at <= now) {
            self.write(gauges, sessions);
            self.lease();
        }
    }

    fn lease(&mut self) {
        self.refresh = match lease::take(self.file.as_fd()) {
            Ok(()) => None,
            Err(_somebody_has_it_open) => Some(Instant::now() + REFRESH),
        };
    }

    fn write(&mut self, gauges: &Gauges, sessions: usize) {
        let text = usage(gauges, sessions);
        // A full /run can keep the figures from being written, and nothing else depends on them.
        if self.file.write_all_at(text.as_bytes(), 0).is_ok()
            && self.file.set_len(u64::try_from(text.len()).unwrap_or(0)).is_err()
        {}
    }
}

/// The figures, as TOML.
fn usage(gauges: &Gauges, sessions: usize) -> String {
    let mut text = String::from("# What all of your sessions use together; `limits` says what they may.\n");
    let mut line = |key: &str, value: Option<String>, note: &str| {
        // Writing to a text cannot fail.
        if let Some(value) = value
            && writeln!(text, "{key} = {value}{}{note}", if note.is_empty() { "" } else { "  # " }).is_err()
        {}
    };
    let number = |gauge| gauges.number(gauge).map(|number| number.to_string());
    line("memory", number(Gauge::Memory), "bytes, with /tmp, /run, /dev/shm and cached files");
    line("memory_peak", number(Gauge::MemoryPeak), "");
    line("swap", number(Gauge::Swap), "");
    line("processes_stopped", Some(gauges.stopped().to_string()), "because memory ran out");
    line("pids", number(Gauge::Pids), "processes and threads");
    line("pids_refused", Some(gauges.refused().to_string()), "");
    let (used, held_up) = gauges.processor();
    let seconds = |micros: u64| format!("{}.{:02}", micros / 1_000_000, micros % 1_000_000 / 10_000);
    line("cpu_seconds", Some(seconds(used.unwrap_or_else(counted_up))), "");
    line("cpu_throttled_seconds", held_up.map(seconds), "");
    for store in Store::ALL {
        let found = path::file_system(Path::new(store.path()));
        line(store.key(), found.ok().map(|found| found.used().to_string()), "");
    }
    line("sessions", Some(sessions.to_string()), "");
    text
}

/// Microseconds of all processes and of those that were waited for, where no group counts them.
fn counted_up() -> u64 {
    let of_init = victims::seen(1).map_or(0, |init| init.ticks);
    let ticks = victims::processes().iter().map(|seen| seen.ticks).sum::<u64>().saturating_add(of_init);
    ticks.saturating_mul(1_000_000 / TICKS)
}
