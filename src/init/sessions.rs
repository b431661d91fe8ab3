//! The sessions that run: whose they are, how they end.

use std::{collections::BTreeSet, net::SocketAddr, os::fd::OwnedFd, time::Instant};

use crate::base::{SessionId, command_line};
use crate::sys::{
    Errno, namespace,
    process::{self, Ended, Pid, Reaped, Rusage},
    signal,
};
use crate::wire::{
    init::{MAX_LISTED, MAX_SHOWN, Report, RunningSession, Start},
    session::{Exit, Program, Signal, Usage},
};

use super::{
    alarm::{Alarm, Audience},
    end::Processes,
    hang_ups::Leader,
    links::LinkId,
    spawn::{self, Bounds, Groups, Step},
};

/// Sessions at once on one link: OpenSSH's MaxSessions is 10; a config may allow more.
const MAX_SESSIONS_PER_LINK: usize = 1024;

#[derive(Debug)]
struct Session {
    link: LinkId,
    number: u64,
    id: SessionId,
    peer: Option<SocketAddr>,
    pid: Pid,
    /// The same, told from a later process; none: it had ended before that could be seen.
    leader: Option<Leader>,
    /// As it is shown: a command is cut.
    program: Program,
    terminal: bool,
    started: Instant,
}

/// A child of init that was reaped.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    ended: Ended,
    usage: Rusage,
}

/// A session whose first process has ended. Others of it may run, and are ended with it.
#[derive(Debug)]
struct Remains {
    link: LinkId,
    id: SessionId,
    leader: Leader,
}

/// All sessions whose first process has not ended.
#[derive(Debug)]
pub(super) struct Sessions {
    running: Vec<Session>,
    /// The last of each link: a caller at the enter door has one, and may have kept its streams. Those
    /// of an ssh connection end with it.
    remains: Vec<Remains>,
    groups: Groups,
    bounds: Bounds,
    processes: Processes,
}

impl Sessions {
    pub(super) fn new(groups: Groups, bounds: Bounds) -> Self {
        Self { running: Vec::new(), remains: Vec::new(), groups, bounds, processes: Processes::None }
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
        let (id, peer, program) = (start.id.clone(), start.peer, shown(&start.program));
        let started = Instant::now();
        let (pid, streams) = spawn::spawn(&start, &self.groups, &self.bounds)?;
        self.processes = Processes::Some;
        let leader = namespace::start_time(pid).ok().map(|started| Leader { pid, started });
        self.running.push(Session { link, number, id, peer, pid, leader, program, terminal, started });
        Ok((pid, streams))
    }

    /// What another process of the tenant's is started with. The caller starts one.
    pub(super) fn tools(&mut self) -> (&Groups, &Bounds) {
        self.processes = Processes::Some;
        (&self.groups, &self.bounds)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.running.len()
    }

    /// Their first processes.
    pub(super) fn pids(&self) -> BTreeSet<Pid> {
        self.running.iter().map(|session| session.pid).collect()
    }

    /// The numbers of a link's sessions that `to` means.
    pub(super) fn addressed(&self, link: LinkId, to: &Audience) -> Vec<u64> {
        let meant = |session: &&Session| match to {
            Audience::All => true,
            Audience::These(pids) => pids.contains(&session.pid),
        };
        let of_link = self.running.iter().filter(|session| session.link == link);
        of_link.filter(meant).map(|session| session.number).collect()
    }

    /// Reaps one child that has ended, for [`Sessions::end`]; none: no more has.
    pub(super) fn reap(&mut self) -> Result<Option<Child>, Errno> {
        match process::reap()? {
            Reaped::Child { pid, ended, usage } => return Ok(Some(Child { pid, ended, usage })),
            Reaped::NoneEnded => self.processes = Processes::Some,
            Reaped::NoChildren => self.processes = Processes::None,
        }
        Ok(None)
    }

    /// Whether it was a session's first process, and did not end well.
    pub(super) fn failed(&self, child: &Child) -> bool {
        child.ended != Ended::Exited(0) && self.running.iter().any(|session| session.pid == child.pid)
    }

    /// If it was a session's first process, that session is over: what to tell whom.
    pub(super) fn end(&mut self, child: &Child, alarm: &mut Alarm) -> Option<(LinkId, Report)> {
        let Child { pid, ended, usage: used } = *child;
        let place = self.running.iter().position(|session| session.pid == pid)?;
        let session = self.running.swap_remove(place);
        let exit = match ended {
            Ended::Exited(status) => Exit::Status(u8::try_from(status & 0xff).unwrap_or(u8::MAX)),
            Ended::Killed { signal: signal::SIGKILL, .. } if alarm.was_victim(pid) => Exit::MemoryLimit,
            Ended::Killed { signal, core } => Exit::Signal { number: signal, name: signal::name(signal), core },
        };
        let Rusage { user_us, system_us, max_rss_kib } = used;
        let wall_ms = u64::try_from(session.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let usage = Usage { user_us, system_us, max_rss_kib, wall_ms };
        self.remains.retain(|remains| remains.link != session.link);
        self.remains.extend(session.leader.map(|leader| Remains { link: session.link, id: session.id, leader }));
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

    /// Sessions with names after `after`, in their order, at most [`MAX_LISTED`]; and whether there are more.
    pub(super) fn list(&self, after: Option<&SessionId>) -> (Vec<RunningSession>, bool) {
        let mut wanted: Vec<&Session> =
            self.running.iter().filter(|session| after.is_none_or(|after| session.id > *after)).collect();
        wanted.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let show = |session: &Session| RunningSession {
            id: session.id.clone(),
            peer: session.peer,
            pid: session.pid,
            age: session.started.elapsed(),
            terminal: session.terminal,
            program: session.program.clone(),
        };
        (wanted.iter().take(MAX_LISTED).map(|session| show(session)).collect(), wanted.len() > MAX_LISTED)
    }

    /// The first process of the session of that name, which may have ended.
    pub(super) fn leader(&self, id: &SessionId) -> Option<Leader> {
        let running = self.running.iter().find(|session| session.id == *id).and_then(|session| session.leader);
        running.or_else(|| self.remains.iter().find(|remains| remains.id == *id).map(|remains| remains.leader))
    }

    /// Nobody is there any more who could ask for what remains of a link's sessions.
    pub(super) fn forget(&mut self, is_there: impl Fn(LinkId) -> bool) {
        self.remains.retain(|remains| is_there(remains.link));
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

fn shown(program: &Program) -> Program {
    let cut = |command: &[u8]| Program::Command(command.iter().copied().take(MAX_SHOWN).collect());
    match program {
        Program::Command(command) => cut(command),
        Program::Words(words) => cut(&command_line(words)),
        Program::Shell => Program::Shell,
        Program::Probe => Program::Probe,
        Program::Sftp(access) => Program::Sftp(*access),
        Program::Subsystem(name) => Program::Subsystem(name.chars().take(MAX_SHOWN).collect()),
    }
}
