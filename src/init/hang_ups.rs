//! Sessions that are ended on the admin's word: HUP and TERM, a grace, KILL.
//!
//! A session is what setsid(2) makes: its first process, and all that it started which did not make
//! a session of its own. What did (tmux, a daemon) outlives it, as it outlives a dropped line.

use std::time::{Duration, Instant};

use crate::base::SessionId;
use crate::sys::{
    process::{self, Pid},
    processes::{self, Process},
    signal::{SIGCONT, SIGHUP, SIGKILL, SIGTERM},
};
use crate::wire::init::Report;

use super::links::LinkId;

/// How often to look what is left, besides when a child of init ends.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Longest grace; keeps the sums in range.
const MAX_GRACE: Duration = Duration::from_secs(24 * 3600);

/// The first process of a session, told from a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) pid: Pid,
    pub(super) started: u64,
}

#[derive(Debug)]
struct HangUp {
    link: LinkId,
    id: SessionId,
    leader: Leader,
    kill_at: Instant,
    look_at: Instant,
}

/// All that are under way: one per link at most.
#[derive(Debug, Default)]
pub(super) struct HangUps {
    pending: Vec<HangUp>,
}

impl HangUps {
    /// Begins to end a session; [`HangUps::tend`] tells when it is gone.
    pub(super) fn begin(&mut self, link: LinkId, id: SessionId, leader: Leader, grace: Duration, now: Instant) {
        // Who could not be found now is found when the grace is over.
        let members = processes::running().map_or(Vec::new(), |running| members(&running, leader));
        // A shell at a prompt takes HUP and not TERM; what nohup(1) started takes TERM and not HUP;
        // what is stopped takes neither before CONT.
        for signal in [SIGHUP, SIGTERM, SIGCONT] {
            send(&members, signal);
        }
        self.pending.retain(|hang_up| hang_up.link != link);
        self.pending.push(HangUp { link, id, leader, kill_at: now + grace.min(MAX_GRACE), look_at: now });
    }

    /// Looks after those whose time has come; whom to tell what.
    pub(super) fn tend(&mut self, now: Instant) -> Vec<(LinkId, Report)> {
        let mut gone = Vec::new();
        if !self.pending.iter().any(|hang_up| hang_up.look_at <= now) {
            return gone;
        }
        let running = processes::running();
        for hang_up in &mut self.pending {
            hang_up.look_at = now + LOOK_AGAIN;
            // No descriptor or no memory is left: the next look may have some.
            let Ok(running) = &running else { continue };
            let left = members(running, hang_up.leader);
            if left.is_empty() {
                gone.push((hang_up.link, Report::SessionGone { id: hang_up.id.clone(), existed: true }));
            } else if hang_up.kill_at <= now {
                send(&left, SIGKILL);
            }
        }
        self.pending.retain(|hang_up| !gone.iter().any(|(link, _)| *link == hang_up.link));
        gone
    }

    /// When to look again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.pending.iter().map(|hang_up| hang_up.look_at).min()
    }
}

/// Who belongs to the session of `leader`. Its number cannot be given to another process while
/// somebody is in it; so if another has it, nobody is.
fn members(running: &[Process], leader: Leader) -> Vec<Pid> {
    let another = |process: &Process| process.pid == leader.pid && process.started != leader.started;
    if running.iter().any(another) {
        return Vec::new();
    }
    // Its first process may not have made the session yet.
    let own = |process: &&Process| process.session == leader.pid || process.pid == leader.pid;
    running.iter().filter(own).map(|process| process.pid).collect()
}

/// Whom it does not reach is seen by the next look.
fn send(pids: &[Pid], signal: i32) {
    for pid in pids {
        if process::kill(*pid, signal).is_err() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: Pid, session: Pid, started: u64) -> Process {
        Process { pid, session, started }
    }

    #[test]
    fn a_session_is_its_first_process_and_what_stayed_in_it() {
        let leader = Leader { pid: 7, started: 100 };
        let all = [process(1, 0, 1), process(7, 7, 100), process(8, 7, 101), process(9, 9, 102)];
        assert_eq!(members(&all, leader), [7, 8]);
        assert_eq!(members(&all[2..], leader), [8], "its first process has ended");
        assert_eq!(members(&[process(7, 0, 100)], leader), [7], "it has not made the session yet");
    }

    #[test]
    fn a_later_session_with_the_same_number_is_left_alone() {
        let all = [process(7, 7, 200), process(8, 7, 201)];
        assert!(members(&all, Leader { pid: 7, started: 100 }).is_empty());
    }
}
