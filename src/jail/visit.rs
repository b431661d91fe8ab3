//! Running cells as the admin's verbs meet them: asked what they hold, and ended.
//!
//! Needs no listener: a cell is found by what is written down of it, and its init answers. An init
//! is believed no more than the tenants that share its cell, and may not answer at all.

use std::{
    os::fd::AsFd as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::base::{Failure, Result, SessionId, TenantName, fail};
use crate::config::settings::Server;
use crate::sys::{Errno, net, poll, process, processes, signal};
use crate::wire::{
    Link,
    init::{MAX_LISTED, Order, Report, Running, RunningSession},
};

use super::{
    Facts,
    cell::{self, Cell, RunningCell},
    facts::Groups,
    join::{Joined, join},
    state::{Place, Wait},
};

/// How long an init may take for each answer. It waits for nobody, so one that lives needs no time.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// How long all inits together may take before the rest is not asked any more.
const LIST_WAIT: Duration = Duration::from_secs(20);

/// Most answers that one cell is asked for: more sessions than it can hold.
const MAX_ANSWERS: usize = 1024;

/// How much longer than its grace an end may take before it is enforced from outside.
const END_MARGIN: Duration = Duration::from_secs(3);

/// How long what was killed may take to be gone.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// The cells of one `run_dir`.
#[derive(Debug)]
pub struct Visitor {
    run_dir: PathBuf,
    groups: Groups,
}

/// A cell that runs, and what it says of itself.
#[derive(Debug)]
pub struct Seen {
    /// Whose it is.
    pub name: TenantName,
    /// Its pid 1 on the host.
    pub pid: i32,
    /// How long it has run.
    pub age: Duration,
    /// What runs in it; why that is not known.
    pub inside: Result<Running>,
}

/// What became of the wish to end something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It is gone.
    Gone,
    /// It did not end by itself and was killed.
    Killed,
    /// There was nothing of that name.
    NotThere,
}

impl Visitor {
    /// For the cells that a listener with this config starts.
    pub fn new(server: &Server) -> Result<Self> {
        let facts = Facts::gather(server)?;
        Ok(Self { run_dir: server.run_dir.clone(), groups: facts.groups })
    }

    /// All cells that run, in the order of their names.
    pub fn list(&self) -> Result<Vec<Seen>> {
        let deadline = Instant::now() + LIST_WAIT;
        let mut running = cell::running(&self.run_dir)?;
        running.sort_by(|a, b| a.name.cmp(&b.name));
        let mut seen = Vec::with_capacity(running.len());
        for RunningCell { name, pid, started, pidfd: _ } in running {
            let age = processes::age(started).map_err(|errno| fail("looking at process", pid, errno))?;
            let inside = if Instant::now() < deadline {
                self.ask(&name)
            } else {
                Err(fail("asking the cell of", &name, "too many others did not answer"))
            };
            seen.push(Seen { name, pid, age, inside });
        }
        Ok(seen)
    }

    fn ask(&self, name: &TenantName) -> Result<Running> {
        let mut cell = self.enter(name)?.ok_or_else(|| fail("asking the cell of", name, "it is ending"))?;
        let mut all = Running { sessions: Vec::new(), more: false, connections: 0 };
        for _answer in 0..MAX_ANSWERS {
            let after = all.sessions.last().map(|session: &RunningSession| session.id.clone());
            let Running { sessions, more, connections } =
                match exchange(&mut cell, &Order::List { after }, ANSWER_WAIT)? {
                    Some(Report::Running(running)) if running.sessions.len() <= MAX_LISTED => running,
                    Some(_other) => return Err(fail("asking the cell of", name, "its init makes no sense")),
                    None => return Err(fail("asking the cell of", name, "it ended just then")),
                };
            let more = more && !sessions.is_empty();
            all.sessions.extend(sessions);
            all.connections = connections;
            if !more {
                break;
            }
        }
        Ok(all)
    }

    /// A link into the tenant's cell; none if none runs, or it takes nobody.
    fn enter(&self, name: &TenantName) -> Result<Option<Cell>> {
        match join(&Place::new(&self.run_dir, name), name, ANSWER_WAIT)? {
            Joined::Cell(cell) => {
                let limited = net::set_send_timeout(cell.link.as_fd(), ANSWER_WAIT);
                limited.map_err(|errno| fail("asking the cell of", name, errno))?;
                Ok(Some(*cell))
            }
            Joined::Full => Err(cell::full(name)),
            Joined::None | Joined::Ending(..) => Ok(None),
        }
    }

    /// Whether the tenant's cell runs.
    pub fn runs(&self, name: &TenantName) -> Result<bool> {
        Ok(cell::find(&self.run_dir, name)?.is_some())
    }

    /// Ends the tenant's cell: TERM, `grace`, KILL; returns when nothing of it is left.
    pub fn end_cell(&self, name: &TenantName, grace: Duration) -> Result<Ended> {
        let Some(RunningCell { pidfd, .. }) = cell::find(&self.run_dir, name)? else { return Ok(Ended::NotThere) };
        let failed = |errno| fail("ending the cell of", name, errno);
        let asked = self.enter(name).is_ok_and(|cell| match cell {
            Some(cell) => cell.link.send(&Order::End { grace }).is_ok(),
            // It ends already, by itself or on somebody's word.
            None => true,
        });
        let gone_by = |time: Duration| -> Result<bool> {
            let deadline = Instant::now() + time;
            while Instant::now() < deadline {
                if poll::wait_readable(&[pidfd.as_fd()], Some(deadline)).map_err(failed)?.contains(&true) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        let mut ended = Ended::Gone;
        // An init that takes no order would not end for any grace.
        if !asked || !gone_by(grace.saturating_add(END_MARGIN))? {
            match process::signal_pidfd(pidfd.as_fd(), signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(failed(errno)),
            }
            if !gone_by(KILL_WAIT)? {
                return Err(fail("ending the cell of", name, "it was killed and still runs"));
            }
            ended = Ended::Killed;
        }
        cell::clear_away(&self.run_dir, &self.groups, name, Wait::Yes)?;
        Ok(ended)
    }

    /// Whose session that is.
    pub fn find_session(&self, id: &SessionId) -> Result<Option<TenantName>> {
        let holds = |seen: &Seen| {
            seen.inside.as_ref().is_ok_and(|running| running.sessions.iter().any(|session| session.id == *id))
        };
        Ok(self.list()?.into_iter().find(holds).map(|seen| seen.name))
    }

    /// Ends one session of the tenant's: HUP and TERM, `grace`, KILL; returns when no process is left
    /// in it.
    pub fn end_session(&self, name: &TenantName, id: &SessionId, grace: Duration) -> Result<Ended> {
        let Some(mut cell) = self.enter(name)? else { return Ok(Ended::NotThere) };
        let order = Order::EndSession { id: id.clone(), grace };
        match exchange(&mut cell, &order, grace.saturating_add(END_MARGIN))? {
            Some(Report::SessionGone { id: told, existed }) if told == *id => {
                Ok(if existed { Ended::Gone } else { Ended::NotThere })
            }
            Some(_other) => Err(fail("ending session", id, "its init makes no sense")),
            // It was the cell's last.
            None => Ok(Ended::Gone),
        }
    }
}

/// Sends `order` and waits for the answer; `None`: the cell ended.
fn exchange(cell: &mut Cell, order: &Order, wait: Duration) -> Result<Option<Report>> {
    let name = cell.name.clone();
    let failed = |cause: &dyn std::fmt::Display| -> Failure { fail("asking the cell of", &name, cause) };
    let link: &mut Link<Order, Report> = &mut cell.link;
    match link.send(order) {
        Ok(()) => {}
        Err(crate::wire::LinkError::Closed) => return Ok(None),
        Err(why) => return Err(failed(&why)),
    }
    let deadline = Instant::now() + wait;
    loop {
        let ready = poll::wait_readable(&[link.as_fd()], Some(deadline)).map_err(|errno| failed(&errno))?;
        if ready.contains(&true) {
            return match link.receive() {
                Ok((report, _fds)) => Ok(Some(report)),
                Err(crate::wire::LinkError::Closed) => Ok(None),
                Err(why) => Err(failed(&why)),
            };
        }
        if Instant::now() >= deadline {
            return Err(failed(&"its init does not answer"));
        }
    }
}
