//! What the kernel tells of the cell's control groups: read by init from the cell's own, read-only
//! `/sys/fs/cgroup`, which is a mount of ours and out of the tenant's reach.

use std::{
    fs::File,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::{Path, PathBuf},
};

use crate::sys::{mount, poll::Watch};

/// More than any of these files holds.
const MAX_FILE: usize = 4096;

/// Which kind of hierarchy the cell's groups are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gauge {
    Memory,
    MemoryPeak,
    MemoryMax,
    Swap,
    Pids,
    PidsMax,
}

/// The groups' files.
#[derive(Debug)]
pub(super) struct Gauges {
    version: Version,
    /// v1: readable when memory has run out; the counter follows a moment later.
    memory_event: Option<OwnedFd>,
    /// Counts processes that were stopped.
    memory_events: Option<File>,
    /// Counts processes that were refused.
    pids_events: Option<File>,
}

impl Gauges {
    /// A file that is not there means that nothing is limited by it.
    pub(super) fn open(version: Version, memory_event: Option<OwnedFd>) -> Self {
        let memory_events = match version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let open = |file: &str| File::open(path(version, file)).ok();
        Self { version, memory_event, memory_events: open(memory_events), pids_events: open("pids.events") }
    }

    /// What to wait for: each means that a counter may have changed.
    pub(super) fn watched(&self) -> impl Iterator<Item = Watch<'_>> {
        let event = self.memory_event.as_ref().map(|event| Watch::Readable(event.as_fd()));
        let memory = self.memory_events.as_ref().filter(|_| self.version == Version::V2);
        let files = [memory, self.pids_events.as_ref()].into_iter().flatten();
        event.into_iter().chain(files.map(|file| Watch::Changed(file.as_fd())))
    }

    /// Whether nobody is woken when a process is refused: seen so of v1 on 6.18.
    pub(super) fn counts_refused_silently(&self) -> bool {
        self.version == Version::V1 && self.pids_events.is_some()
    }

    /// Whether memory ran out since this was asked last (v1).
    pub(super) fn take_memory_event(&self) -> bool {
        let Some(event) = &self.memory_event else { return false };
        event.try_clone().is_ok_and(|event| std::io::Read::read(&mut File::from(event), &mut [0; 8]).is_ok())
    }

    /// How many processes were stopped because memory ran out.
    pub(super) fn stopped(&self) -> u64 {
        self.memory_events.as_ref().map_or(0, |file| entry(&read(file), "oom_kill").unwrap_or(0))
    }

    /// How often memory was short or nearly so, and something had to be given back first (v2; v1 does not say).
    pub(super) fn strained(&self) -> u64 {
        let Some(file) = self.memory_events.as_ref().filter(|_| self.version == Version::V2) else { return 0 };
        let events = read(file);
        ["high", "max"].iter().filter_map(|key| entry(&events, key)).fold(0, u64::saturating_add)
    }

    /// How many new processes were refused.
    pub(super) fn refused(&self) -> u64 {
        self.pids_events.as_ref().map_or(0, |file| entry(&read(file), "max").unwrap_or(0))
    }

    /// A number, if it is there.
    pub(super) fn number(&self, gauge: Gauge) -> Option<u64> {
        let file = match (self.version, gauge) {
            (Version::V1, Gauge::Memory) => "memory.usage_in_bytes",
            (Version::V1, Gauge::MemoryPeak) => "memory.max_usage_in_bytes",
            (Version::V1, Gauge::MemoryMax) => "memory.limit_in_bytes",
            (Version::V1, Gauge::Swap) => {
                let both = number(&self.text("memory.memsw.usage_in_bytes")?)?;
                return Some(both.saturating_sub(self.number(Gauge::Memory)?));
            }
            (Version::V2, Gauge::Memory) => "memory.current",
            (Version::V2, Gauge::MemoryPeak) => "memory.peak",
            (Version::V2, Gauge::MemoryMax) => "memory.max",
            (Version::V2, Gauge::Swap) => "memory.swap.current",
            (_, Gauge::Pids) => "pids.current",
            (_, Gauge::PidsMax) => "pids.max",
        };
        number(&self.text(file)?)
    }

    /// Microseconds of processor time, if the kernel counts them for the group; and for how long
    /// the quota has held it up.
    pub(super) fn processor(&self) -> (Option<u64>, Option<u64>) {
        let stat = self.text("cpu.stat").unwrap_or_default();
        match self.version {
            Version::V2 => (entry(&stat, "usage_usec"), entry(&stat, "throttled_usec")),
            Version::V1 => {
                let used = self.text("cpuacct.usage").and_then(|text| number(&text));
                let nanos = |time: u64| time / 1000;
                (used.map(nanos), entry(&stat, "throttled_time").map(nanos))
            }
        }
    }

    fn text(&self, file: &str) -> Option<String> {
        let mut file = File::open(path(self.version, file)).ok()?;
        let bytes = mount::read_capped(&mut file, u64::try_from(MAX_FILE).ok()?).ok()?;
        String::from_utf8(bytes).ok()
    }
}

/// Where a file of the sessions' group lies.
fn path(version: Version, file: &str) -> PathBuf {
    let groups = Path::new("/sys/fs/cgroup");
    match version {
        Version::V2 => groups.join("sessions").join(file),
        Version::V1 => {
            let controller = file.split('.').next().unwrap_or(file);
            // Mounted together, and named after the one that is needed.
            let controller = if controller == "cpuacct" { "cpu" } else { controller };
            groups.join(controller).join("sessions").join(file)
        }
    }
}

/// Reads a file from its start: that also makes it wait for the next change.
fn read(file: &File) -> String {
    let mut bytes = [0; MAX_FILE];
    let length = file.read_at(&mut bytes, 0).unwrap_or(0);
    String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned()
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The number in the line that begins with `key`.
fn entry(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_taken_for_one_that_begins_like_it() {
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n";
        let v2 = "low 0\nhigh 0\nmax 41\noom 3\noom_kill 2\noom_group_kill 0\n";
        assert_eq!(entry(v1, "oom_kill"), Some(7));
        assert_eq!(entry(v2, "oom_kill"), Some(2));
        assert_eq!(entry(v2, "max"), Some(41));
        assert_eq!(entry(v2, "peak"), None);
    }
}
