//! Which process it was: the kernel counts whom it stops for want of memory and does not say.
//!
//! One that is killed goes on being listed, first while its memory is taken back, then until its
//! parent has asked for its status; and init asks for its own children's only after it has looked
//! here. Of those that a signal has killed the victim is the one that had touched most memory.

use std::{fs, path::Path};

use crate::sys::{mount, process::Pid};
use crate::wire::init::Victim;

/// `PF_EXITING` and `PF_SIGNALED` (include/linux/sched.h): it ends, by a signal.
const KILLED: u64 = 0x4 | 0x400;

/// More processes than are looked at: a cell that may have more is told less.
const MOST: usize = 8192;

/// Longest line of `/proc/PID/stat`.
const MAX_STAT: u64 = 4096;

/// What `/proc/PID/stat` says of a process (proc_pid_stat(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) pid: Pid,
    pub(super) name: String,
    /// The session's first process, unless it left that session.
    pub(super) session: Pid,
    flags: u64,
    /// Its memory is gone; its parent has not asked yet. May have been so for long.
    zombie: bool,
    /// Pages it has touched, as minor faults.
    touched: u64,
    /// Pages it holds.
    resident: u64,
    /// Processor time with that of its waited-for children, in ticks.
    pub(super) ticks: u64,
    /// When it started: with the pid, which process it is.
    started: u64,
}

impl Seen {
    /// Whether only its status is left.
    pub(super) fn is_zombie(&self) -> bool {
        self.zombie
    }

    pub(super) fn is_killed(&self) -> bool {
        self.flags & KILLED == KILLED
    }

    /// Pages it holds; or held at most, once it gives them back. The kernel chooses by that, unless one
    /// changes what it thinks of them (`oom_score_adj`).
    pub(super) fn size(&self) -> u64 {
        if self.is_killed() { self.resident.max(self.touched) } else { self.resident }
    }

    /// Which process this is, for good.
    pub(super) fn identity(&self) -> (Pid, u64) {
        (self.pid, self.started)
    }

    pub(super) fn victim(&self) -> Victim {
        Victim { pid: self.pid, name: self.name.clone() }
    }
}

/// All processes of the cell but init.
pub(super) fn processes() -> Vec<Seen> {
    let entries = fs::read_dir("/proc").into_iter().flatten().take(MOST);
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &Pid| *pid != 1).filter_map(seen).collect()
}

/// One process.
pub(super) fn seen(pid: Pid) -> Option<Seen> {
    let mut file = fs::File::open(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    let line = mount::read_capped(&mut file, MAX_STAT).ok()?;
    parse(pid, &String::from_utf8_lossy(&line))
}

/// Whether it has ended and is forgotten.
pub(super) fn is_gone(known: &Seen) -> bool {
    seen(known.pid).is_none_or(|now| now.identity() != known.identity())
}

/// The processes that a signal is ending or has ended: first those whose memory is still being taken
/// back, and of these those that had touched most.
pub(super) fn killed() -> Vec<Seen> {
    let mut killed: Vec<Seen> = processes().into_iter().filter(Seen::is_killed).collect();
    killed.sort_by_key(|seen| (seen.zombie, std::cmp::Reverse(seen.touched)));
    killed
}

pub(super) fn parse(pid: Pid, line: &str) -> Option<Seen> {
    // The name may hold anything, parentheses and spaces too.
    let (before, after) = line.rsplit_once(") ")?;
    let name = before.split_once(" (")?.1.to_owned();
    let fields: Vec<&str> = after.split_ascii_whitespace().collect();
    // The first of these is field 3 of the manual.
    let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
    let ticks = (14..=17).map(field).sum::<Option<u64>>()?;
    Some(Seen {
        pid,
        name,
        session: Pid::try_from(field(6)?).ok()?,
        flags: field(9)?,
        zombie: fields.first() == Some(&"Z"),
        touched: field(10)?,
        resident: field(24)?,
        ticks,
        started: field(22)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_looks_like_the_end_of_a_name_is_read_whole() {
        let line = "42 (a) R 1 (b) Z 7 42 5 34816 42 4228108 9000 3 0 0 10 20 1 2 20 0 1 0 777 0 0 0 0 0 0\n";
        let seen = parse(42, line).unwrap();
        assert_eq!(seen.name, "a) R 1 (b");
        assert_eq!((seen.session, seen.touched, seen.ticks, seen.identity()), (5, 9000, 33, (42, 777)));
        assert!(seen.is_killed());
        assert_eq!(parse(42, "42 (x"), None);
    }

    #[test]
    fn a_process_that_runs_is_not_killed() {
        let own = seen(crate::sys::process::own_pid()).unwrap();
        assert!(!own.is_killed());
    }
}
