//! The sessions that run: whose they are, how they end.

use std::{os::fd::OwnedFd, time::Instant};

use crate::sys::{
    Errno,
    process::{self, Ended, Pid, Reaped, Rusage},
    signal,
};
use crate::wire::{
    init::{Report, Start},
    session::{Exit, Signal, Usage},
};

use super::{
    end::Processes,
    links::LinkId,
    spawn::{self, Filter, Groups, Step},
};

/// Sessions at once on one link: OpenSSH's MaxSessions is 10; a config may allow more.
const MAX_SESSIONS_PER_LINK: usize = 1024;

#[derive(Debug)]
struct Session {
    link: LinkId,
    number: u64,
    pid: Pid,
    terminal: bool,
    started: Instant,
}

/// All sessions whose first process has not ended.
#[derive(Debug)]
pub(super) struct Sessions {
    running: Vec<Session>,
    groups: Groups,
    filter: Filter,
    processes: Processes,
}

impl Sessions {
    pub(super) fn new(groups: Groups, filter: Filter) -> Self {
        Self { running: Vec::new(), groups, filter, processes: Processes::None }
    }

    /// Whether the cell holds as many sessions as it may, over all monitors.
    pub(super) fn is_full(&self, max_sessions: u32) -> bool {
        u32::try_from(self.running.len()).map_or(true, |running| running >= max_sessions)
    }

    /// Starts a session: its pid and the descriptors for the monitor.
    pub(super) fn start(&mut self, link: LinkId, start: Start) -> Result<(Pid, Vec<OwnedFd>), (Step, Errno)> {
        let of_link = self.running.iter().filter(|session| session.link == link);
        if of_link.clone().count() >= MAX_SESSIONS_PER_LINK {
            return Err(("counting sessions", Errno::EAGAIN));
        }
        let number = start.session;
        if of_link.clone().any(|session| session.number == number) {
            return Err(("numbering the session", Errno::EEXIST));
        }
        let terminal = start.terminal.is_some();
        let started = Instant::now();
        let (pid, streams) = spawn::spawn(&start, &self.groups, &self.filter)?;
        self.processes = Processes::Some;
        self.running.push(Session { link, number, pid, terminal, started });
        Ok((pid, streams))
    }

    /// Reaps all that has ended, and says what to tell whom.
    pub(super) fn reap(&mut self) -> Result<Vec<(LinkId, Report)>, Errno> {
        let mut reports = Vec::new();
        loop {
            match process::reap()? {
                Reaped::Child { pid, ended, usage } => reports.extend(self.end(pid, ended, usage)),
                Reaped::NoneEnded => {
                    self.processes = Processes::Some;
                    return Ok(reports);
                }
                Reaped::NoChildren => {
                    self.processes = Processes::None;
                    return Ok(reports);
                }
            }
        }
    }

    fn end(&mut self, pid: Pid, ended: Ended, used: Rusage) -> Option<(LinkId, Report)> {
        let place = self.running.iter().position(|session| session.pid == pid)?;
        let session = self.running.swap_remove(place);
        let exit = match ended {
            Ended::Exited(status) => Exit::Status(u8::try_from(status & 0xff).unwrap_or(u8::MAX)),
            Ended::Killed { signal, core } => Exit::Signal { number: signal, name: signal::name(signal), core },
        };
        let Rusage { user_us, system_us, max_rss_kib } = used;
        let wall_ms = u64::try_from(session.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let usage = Usage { user_us, system_us, max_rss_kib, wall_ms };
        Some((session.link, Report::Ended { session: session.number, exit, usage }))
    }

    /// Signals a session. What has ended meanwhile gets nothing, as with kill(2).
    pub(super) fn signal(&self, link: LinkId, number: u64, which: Signal) {
        let found = self.running.iter().find(|session| session.link == link && session.number == number);
        let Some(session) = found else { return };
        let foreground = if session.terminal { process::foreground_group_of(session.pid) } else { None };
        let signal = signal::number(which.name()).unwrap_or(signal::SIGTERM);
        // The group is not there before the child's setsid: then the child itself is meant.
        if process::kill(-foreground.unwrap_or(session.pid), signal).is_err()
            && let Err(Errno::ESRCH) = process::kill(session.pid, signal)
        {}
    }

    pub(super) fn has_any(&self, link: LinkId) -> bool {
        self.running.iter().any(|session| session.link == link)
    }

    pub(super) fn processes(&self) -> Processes {
        self.processes
    }

    /// Signals every process of the cell but pid 1; stopped ones are woken to take it.
    pub(super) fn signal_all(&self, which: i32) -> Result<(), Errno> {
        for signal in [which, signal::SIGCONT] {
            match process::kill(-1, signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}
