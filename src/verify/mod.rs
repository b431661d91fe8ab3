//! `cellblock verify`: shows that a tenant is contained, by trying to break out of their cell.
//!
//! Runs as root on the host, in a process with one thread. The probe (`probe`) tries from inside, in
//! a session that has all that an ssh login of the tenant's has; what only the host can see is looked
//! at from here. Nothing that comes out of the cell is believed beyond its own check.

mod door;
mod enter;
mod outside;
mod reference;
mod report;
mod session;
mod task;

use std::{
    net::{Ipv4Addr, SocketAddr},
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::base::{Result, SessionId, TenantName, fail};
use crate::config::settings::{Server, Tenant};
use crate::jail::{Cell, Cells, Plan};
use crate::policy::{Ends, Grant, Identity, Proof, grant};
use crate::sys::{poll, process};
use crate::wire::init::Start;
use crate::wire::verify::{Attempt, Bombs, Check, Finding, Group, Side, Task, Verdict};

pub use door::{Answer, knock};
pub use outside::{Neighbours, Suspect, look};
pub use reference::reference;
pub use report::{Detail, as_json, as_text};
pub use session::{Heard, Reading};

/// How long a cell that was started for this may take to end.
const END_WAIT: Duration = Duration::from_secs(5);

/// What verifying one tenant came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Whose cell.
    pub tenant: TenantName,
    /// Whether the cell was started for this.
    pub started: bool,
    /// One for each check, in the order of the table.
    pub findings: Vec<Finding>,
    /// What the probe found that came by the enter door.
    pub by_enter: ByEnter,
}

/// What became of the enter door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum ByEnter {
    /// No account of the host is this tenant (`host_user`, `host_group`), so nobody comes by it.
    NoAccount,
    /// No listener is there.
    Off,
    /// It was gone through: one finding for each check that the probe makes.
    Through(Vec<Finding>),
}

impl ByEnter {
    fn findings(&self) -> &[Finding] {
        match self {
            Self::NoAccount | Self::Off => &[],
            Self::Through(findings) => findings,
        }
    }
}

impl Verified {
    /// The worst of all.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let all = self.findings.iter().chain(self.by_enter.findings());
        all.map(Finding::verdict).max().unwrap_or(Verdict::Unknown)
    }

    /// How many checks came to `verdict`, of those that were made in the cell.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        count(&self.findings, verdict)
    }
}

/// How many of these came to `verdict`.
fn count(findings: &[Finding], verdict: Verdict) -> usize {
    findings.iter().filter(|finding| finding.verdict() == verdict).count()
}

/// What every tenant of one run is verified with.
#[derive(Debug)]
pub struct Verifier<'a> {
    /// The cells.
    pub cells: &'a Cells,
    /// The config's `[server]`.
    pub server: &'a Server,
    /// The cells that ran when it began.
    pub neighbours: Neighbours,
    /// Whether limits are tried.
    pub bombs: Bombs,
}

impl Verifier<'_> {
    /// Tenant → Grant → Cell → probe → findings.
    pub fn verify(&self, tenant: &Tenant) -> Result<Verified> {
        let grant = self.grant(tenant)?;
        let plan = self.cells.plan(tenant)?;
        let mut cell = self.cells.enter(tenant)?;
        let start = probe_of(&grant, cell.started)?;
        let task = self.task(tenant, &plan, &start);
        let heard = self.probe(&mut cell, tenant, start, &task);
        let started = cell.started;
        let_go(self.cells, cell)?;
        let findings = complete(heard?);
        Ok(Verified { tenant: tenant.name.clone(), started, findings, by_enter: self.by_enter(tenant, task) })
    }

    /// The same again by the enter door, where accounts of the host come by it. Limits are the cell's, whoever
    /// comes by whatever door, so they are not tried twice.
    fn by_enter(&self, tenant: &Tenant, task: Task) -> ByEnter {
        if tenant.host_user.is_none() && tenant.host_group.is_none() {
            return ByEnter::NoAccount;
        }
        let task = Task { bombs: Bombs::None, ..task };
        // What the first probe found is told whatever comes of the second.
        let heard = match enter::hear(&self.server.run_dir, &tenant.name, &task) {
            Ok(None) => return ByEnter::Off,
            Ok(Some(heard)) => heard,
            Err(why) => Heard { findings: Vec::new(), silence: why.to_string() },
        };
        ByEnter::Through(complete_of(heard, is_inside))
    }

    /// Root of the host may have every cell but a locked tenant's: no session of theirs would start.
    pub fn grant(&self, tenant: &Tenant) -> Result<Grant> {
        // As an ssh login from this host would have it.
        let local = self.server.listen.first().copied().unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 22)));
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let identity = Identity::proved(tenant.name.clone(), Proof::HostRoot, peer.ip());
        grant(identity, tenant.clone(), Ends { peer, local })
            .ok_or_else(|| fail("verifying", &tenant.name, "the tenant is locked: no session starts"))
    }

    /// What the probe is told of a cell made by `plan`, in a session made by `start`.
    #[must_use]
    pub fn task(&self, tenant: &Tenant, plan: &Plan, start: &Start) -> Task {
        task::of(tenant, plan, start, self)
    }

    /// Runs the probe in `cell`: what it found, and what the host sees of the cell meanwhile.
    pub fn probe(&self, cell: &mut Cell, tenant: &Tenant, start: Start, task: &Task) -> Result<Heard> {
        let running = session::begin(cell, start)?;
        let suspect = Suspect::find(cell.pid, running.pid())?;
        let outside = outside::look(self.cells, tenant, suspect, &self.neighbours)?;
        let mut heard = running.hear(cell, task)?;
        heard.findings.extend(outside);
        Ok(heard)
    }
}

/// The session that runs the probe. A cell that was started for it ends with it, unless somebody
/// else has come.
pub fn probe_of(grant: &Grant, started: bool) -> Result<Start> {
    let id = SessionId::new(&format!("verify{}", process::own_pid()), 1)
        .map_err(|error| fail("naming", "the probe's session", error))?;
    let start = grant.probe(1, id).ok_or_else(|| fail("verifying", grant.name(), "only root of the host may"))?;
    Ok(if started { Start { linger: Some(Duration::ZERO), ..start } } else { start })
}

/// Lets go of a cell, and clears it away if it was started here and ends.
fn let_go(cells: &Cells, cell: Cell) -> Result<()> {
    let Cell { link, pidfd, name, pid, started, forgone: _ } = cell;
    drop(link);
    if !started {
        return Ok(());
    }
    let failed = |errno| fail("ending the cell of", &name, errno);
    let deadline = Some(Instant::now() + END_WAIT);
    // Else somebody has logged in meanwhile, and it is theirs now.
    if poll::wait_readable(&[pidfd.as_fd()], deadline).map_err(failed)?.contains(&true) {
        process::wait_for(pidfd.as_fd()).map_err(failed)?;
        cells.ended(&name, pid)?;
    }
    Ok(())
}

/// One finding per check. What nobody reported is not known.
#[must_use]
pub fn complete(heard: Heard) -> Vec<Finding> {
    complete_of(heard, |_any| true)
}

fn complete_of(heard: Heard, wanted: impl Fn(Check) -> bool) -> Vec<Finding> {
    let Heard { mut findings, silence } = heard;
    let all = Check::ALL.iter().filter(|check| wanted(**check)).map(|check| {
        let place = findings.iter().position(|finding| finding.check == *check);
        place.map(|place| findings.swap_remove(place)).unwrap_or_else(|| {
            let attempt = Attempt { tried: "it".into(), happened: silence.clone(), verdict: Verdict::Unknown };
            Finding { check: *check, attempts: vec![attempt] }
        })
    });
    all.collect()
}

/// Groups that have a check in `findings`, in the order of the table.
fn groups() -> impl Iterator<Item = Group> {
    Group::ALL.iter().copied()
}

/// Whether the probe makes a check.
fn is_inside(check: Check) -> bool {
    match check.group().side() {
        Side::Inside => true,
        Side::Outside => false,
    }
}
