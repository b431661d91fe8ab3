//! What `/proc` tells of processes: which belong to one session or one parent, and when one started.

use std::{fs, time::Duration};

use super::{Errno, SysResult, process::Pid};

/// A process that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its pid in the caller's namespace.
    pub pid: Pid,
    /// Its session, as setsid(2) makes one: the pid of whoever made it.
    pub session: Pid,
    /// When it started, in clock ticks since boot.
    pub started: u64,
}

/// Every process in the caller's `/proc` that runs: one that has ended and waits for its parent is
/// left out (proc_pid_stat(5)). A process that starts meanwhile may be missed.
pub fn running() -> SysResult<Vec<Process>> {
    let parsed = stats()?.into_iter().map(|(pid, stat)| parse(pid, &stat).ok_or(Errno::EIO));
    Ok(parsed.collect::<SysResult<Vec<_>>>()?.into_iter().flatten().collect())
}

/// The children of a process, those that have ended and wait for it among them.
pub fn children(of: Pid) -> SysResult<Vec<Pid>> {
    let own = |(pid, stat): (Pid, Vec<u8>)| (parent(&stat) == Some(of)).then_some(pid);
    Ok(stats()?.into_iter().filter_map(own).collect())
}

/// `/proc/PID/stat` of each. One that ends while we look is none.
fn stats() -> SysResult<Vec<(Pid, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        found.extend(fs::read(format!("/proc/{pid}/stat")).ok().map(|stat| (pid, stat)));
    }
    Ok(found)
}

/// What comes after the name, which may hold anything.
fn fields(stat: &[u8]) -> Option<impl Iterator<Item = &str>> {
    let after = stat.iter().rposition(|byte| *byte == b')')?;
    Some(str::from_utf8(stat.get(after + 2..)?).ok()?.split_ascii_whitespace())
}

fn parent(stat: &[u8]) -> Option<Pid> {
    fields(stat)?.nth(1)?.parse().ok()
}

/// `None`: not of the form that the kernel writes. `Some(None)`: it has ended.
fn parse(pid: Pid, stat: &[u8]) -> Option<Option<Process>> {
    let mut fields = fields(stat)?;
    let state = fields.next()?;
    let session = fields.nth(2)?.parse().ok()?;
    let started = fields.nth(15)?.parse().ok()?;
    Some((state != "Z" && state != "X").then_some(Process { pid, session, started }))
}

/// How long ago `started` (clock ticks since boot) was.
pub fn age(started: u64) -> SysResult<Duration> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).map_err(|_negative| Errno::EINVAL)?;
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    Ok(Duration::from_secs(seconds).saturating_sub(Duration::from_millis(started.saturating_mul(1000) / ticks)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_is_passed_over() {
        let rest = "S 1 7 5 34816 7 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123 9 9";
        let process = parse(7, format!("7 (a) Z b) {rest}\n").as_bytes());
        assert_eq!(process, Some(Some(Process { pid: 7, session: 5, started: 123 })));
        assert_eq!(parse(7, format!("7 (a) Z{}\n", &rest[1..]).as_bytes()), Some(None));
        assert_eq!(parse(7, b"7 (a) S 1"), None);
    }

    #[test]
    fn a_child_is_found_by_its_parent() {
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let own = super::super::process::own_pid();
        assert!(children(own).unwrap().contains(&i32::try_from(child.id()).unwrap()));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(parent(b"7 (a) Z b) S 12 7 5"), Some(12));
    }

    #[test]
    fn this_process_runs_and_is_younger_than_a_day() {
        let own = super::super::process::own_pid();
        let found = running().unwrap().into_iter().find(|process| process.pid == own).unwrap();
        assert_eq!(found.started, super::super::namespace::start_time(own).unwrap());
        assert!(age(found.started).unwrap() < Duration::from_secs(86_400));
    }
}
