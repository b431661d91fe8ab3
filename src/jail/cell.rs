//! Running cells: entered by monitors, cleared away by the listener.
//!
//! A cell belongs to no process but its own pid 1. Whoever wants in joins by its socket or, under
//! the tenant's lock, starts it. What a cell left is removed by whoever comes next: the listener,
//! told by the pidfd, or the monitor that starts the tenant's next cell.

use std::{
    fs::{DirBuilder, File},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::DirBuilderExt as _,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::base::{Failure, Result, TenantName, fail};
use crate::config::settings::{Server, Tenant};
use crate::policy::DEFINED;
use crate::sys::file::{Links, TrustedDir};
use crate::sys::{Errno, credentials, memfd, mount, poll, process, process::Pid};
use crate::wire::{
    Link,
    init::{Order, Report},
};

use super::{
    Facts, Ids, Plan, cgroups,
    child::Tools,
    facts::{Groups, Rights},
    filters::Filters,
    host,
    join::{Joined, join},
    limits, planning, start,
    state::{self, Place, Record, Wait},
    stock::{self, Spares, Stock},
};

/// getrlimit(2).
const RLIMIT_SIGPENDING: u32 = 11;

/// How long to wait for a cell that is ending to be gone: its TERM grace and then some.
const END_WAIT: Duration = Duration::from_secs(30);

/// After how long nothing more is begun, where one cell after another ends before it can be entered.
const ENTER_WAIT: Duration = Duration::from_secs(120);

/// How long the first look at an ending or starting cell waits for it to change.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The most that one looks, twice as long each time: many that wait leave the processors to what they wait for.
const LONGEST_LOOK: Duration = Duration::from_millis(40);

/// How long init may take to say that it takes orders.
const WELCOME_WAIT: Duration = Duration::from_secs(10);

/// What all cells share. Made once, by the listener; monitors inherit it.
#[derive(Debug)]
pub struct Cells {
    run_dir: PathBuf,
    facts: Facts,
    ids: Ids,
    view: PathBuf,
    init: OwnedFd,
    filters: Filters,
    spares: Option<Spares>,
}

/// A link into a running cell.
#[derive(Debug)]
pub struct Cell {
    /// To its init. If it closes before an order is answered, the cell has ended: enter again.
    pub link: Link<Order, Report>,
    /// Its pid 1; readable when the cell has ended.
    pub pidfd: OwnedFd,
    /// Whose it is.
    pub name: TenantName,
    /// Its pid 1 on the host.
    pub pid: Pid,
    /// Whether this call started it. Then its pid 1 is a child of the caller, or, where it was a
    /// spare, of whoever keeps the stock; to be reaped.
    pub started: bool,
    /// The limits that it goes without, as its tenant may, if this call started it.
    pub forgone: Vec<&'static str>,
}

/// A cell that runs.
#[derive(Debug)]
pub struct RunningCell {
    /// Whose it is.
    pub name: TenantName,
    /// Its pid 1 on the host.
    pub pid: Pid,
    /// When that started, in clock ticks since boot.
    pub started: u64,
    /// Readable when it has ended.
    pub pidfd: OwnedFd,
}

impl Cells {
    /// Makes directories and the host view, takes `init_program` into memory, and removes what
    /// earlier cells left.
    ///
    /// Moves the calling process into a mount namespace of its own (the host view lives there).
    pub fn prepare(server: &Server, init_program: &Path) -> Result<Self> {
        Self::prepare_by(Rights::Root, server, init_program)
    }

    /// The same by these rights.
    pub fn prepare_by(rights: Rights, server: &Server, init_program: &Path) -> Result<Self> {
        refuse_readable_dumps()?;
        leave_room_for_the_host()?;
        take_defined_limits()?;
        for directory in [&server.run_dir, &server.state_dir, &state::cells(&server.run_dir)] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(|error| fail("making", directory.display(), error))?;
            // Whoever can write there could put a cell of their own in a tenant's place.
            TrustedDir::open(directory, Links::Follow).map_err(|untrusted| {
                let failure = fail("using", directory.display(), &untrusted);
                match untrusted.hint() {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                }
            })?;
        }
        let facts = Facts::gather_for(server, rights)?;
        let ids = if rights == Rights::Root { Ids::new(server) } else { Ids::of_namespace(server) };
        Self::assemble(&server.run_dir, facts, ids, Filters::compile()?, init_program)
    }

    /// With what is known of the host, who has which ids, and who may call what.
    pub(super) fn assemble(
        run_dir: &Path,
        facts: Facts,
        ids: Ids,
        filters: Filters,
        init_program: &Path,
    ) -> Result<Self> {
        let mut program = File::open(init_program).map_err(|error| fail("opening", init_program.display(), error))?;
        let init = memfd::sealed_program(c"cellblock-init", &mut program)
            .map_err(|errno| fail("copying", init_program.display(), errno))?;
        let view = host::build(run_dir, &facts)?;
        let cells = Self { run_dir: run_dir.to_owned(), facts, ids, view, init, filters, spares: None };
        cells.sweep()?;
        Ok(cells)
    }

    /// Begins to keep spares; none are there before the first [`Cells::restock`]. The stock is for
    /// this process alone: what forks from it drops its copy. `None` where no ids are left for them, or
    /// the host's root does not serve.
    pub fn keep_stock(&mut self) -> Result<Option<Stock>> {
        if self.facts.rights != Rights::Root {
            return Ok(None);
        }
        let Some(owners) = self.ids.owners()? else { return Ok(None) };
        let mut running = Vec::new();
        for name in state::names(&self.run_dir)? {
            running.extend(Place::new(&self.run_dir, &name).record()?);
        }
        let (spares, stock) = stock::make(owners, running)?;
        self.spares = Some(spares);
        Ok(Some(stock))
    }

    /// Makes up for the spares that were taken. Takes a millisecond for each, so: when there is
    /// nothing else to do. Where no plan takes spares (cgroup v2), it does nothing.
    pub fn restock(&self, stock: &Stock) -> Result<()> {
        self.spares.as_ref().map_or(Ok(()), |spares| stock.fill(spares, &self.facts, self.tools()))
    }

    fn tools(&self) -> Tools<'_> {
        let rights = self.facts.rights;
        Tools { view: &self.view, init: self.init.as_fd(), filters: &self.filters, rights }
    }

    /// What is known of the host.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The tenants' ids.
    #[must_use]
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// What starting this tenant's cell would do. Allots its ids, where there are some to give.
    pub fn plan(&self, tenant: &Tenant) -> Result<Plan> {
        let own = self.facts.rights.are_of_one_id();
        let ids = if own { super::rootless::OWN } else { self.ids.allot(&tenant.name, tenant.jail.ids)? };
        Ok(planning::plan(tenant, ids, &self.facts))
    }

    /// Joins the tenant's cell, or starts one. For a process with one thread.
    pub fn enter(&self, tenant: &Tenant) -> Result<Cell> {
        self.enter_by(tenant, || self.plan(tenant))
    }

    /// As [`Cells::enter`], by the plan that `plan` gives if a cell must be started.
    pub fn enter_by(&self, tenant: &Tenant, plan: impl Fn() -> Result<Plan>) -> Result<Cell> {
        let name = &tenant.name;
        let place = Place::new(&self.run_dir, name);
        let deadline = Instant::now() + ENTER_WAIT;
        let mut look_again = LOOK_AGAIN;
        let mut awaited: Option<(Pid, Instant)> = None;
        while Instant::now() < deadline {
            let began = Instant::now();
            let (pid, ending) = match join(&place, name, WELCOME_WAIT)? {
                Joined::Cell(cell) => return Ok(*cell),
                Joined::Ending(pid, pidfd) => (pid, pidfd),
                Joined::Full => return Err(full(name)),
                Joined::None => {
                    let held = place.hold(Wait::Yes)?;
                    // Another monitor may have started it while this one waited for the lock.
                    match (held, join(&place, name, WELCOME_WAIT)?) {
                        (_, Joined::Cell(cell)) => return Ok(*cell),
                        (_, Joined::Ending(pid, pidfd)) => (pid, pidfd),
                        (_, Joined::Full) => return Err(full(name)),
                        (None, Joined::None) => continue,
                        (Some(held), Joined::None) => return self.start_or_clear(tenant, &plan, held),
                    }
                }
            };
            let now = Instant::now();
            let until = awaited.filter(|(other, _)| *other == pid).map_or(began + END_WAIT, |(_, until)| until);
            if now >= until {
                return Err(fail("entering the cell of", name, "the one that runs takes nobody and does not end"));
            }
            awaited = Some((pid, until));
            poll::wait_readable(&[ending.as_fd()], Some(now + look_again))
                .map_err(|errno| fail("waiting for the cell of", name, errno))?;
            look_again = (look_again * 2).min(LONGEST_LOOK);
        }
        Err(fail("entering the cell of", name, "they end as fast as they start"))
    }

    /// Starts the cell; one that does not start leaves nothing.
    fn start_or_clear(&self, tenant: &Tenant, plan: impl Fn() -> Result<Plan>, held: state::Held) -> Result<Cell> {
        let started = plan().and_then(|plan| self.start(tenant, &plan, &held));
        if started.is_err() {
            cgroups::remove(&self.facts.groups, tenant.name.as_str())?;
            held.remove()?;
        }
        started
    }

    fn start(&self, tenant: &Tenant, plan: &Plan, held: &state::Held) -> Result<Cell> {
        let forgone = limits::forgone(&tenant.name, &tenant.jail.limits, &self.facts.controls)?;
        let spares = self.spares.as_ref().filter(|_| planning::takes_spare(plan, &self.facts));
        let started = start::start(plan, self.tools(), held, spares)?;
        let start::Started { link, pidfd, pid } = started;
        Ok(Cell { link, pidfd, name: tenant.name.clone(), pid, started: true, forgone })
    }

    /// Removes what cells that are gone have left.
    pub fn sweep(&self) -> Result<()> {
        for name in state::names(&self.run_dir)? {
            clear_away(&self.run_dir, &self.facts.groups, &name, Wait::No)?;
        }
        for name in cgroups::names(&self.facts.groups)? {
            // A name that is no tenant's was not made by us.
            if let Ok(name) = name.parse() {
                clear_away(&self.run_dir, &self.facts.groups, &name, Wait::No)?;
            }
        }
        Ok(())
    }

    /// Removes what the cell with this pid 1 has left, unless the tenant's next one has started.
    pub fn ended(&self, name: &TenantName, pid: Pid) -> Result<()> {
        match Place::new(&self.run_dir, name).record()? {
            Some(record) if record.pid != pid => Ok(()),
            Some(_) | None => clear_away(&self.run_dir, &self.facts.groups, name, Wait::No),
        }
    }

    /// Tells the tenant's cell, if one runs, to end: TERM, and KILL after `grace`. Does not wait.
    pub fn end(&self, name: &TenantName, grace: Duration) -> Result<()> {
        match join(&Place::new(&self.run_dir, name), name, WELCOME_WAIT)? {
            Joined::Cell(cell) => {
                cell.link.send(&Order::End { grace }).map_err(|why| fail("ending the cell of", name, why))
            }
            Joined::Full => Err(full(name)),
            Joined::None | Joined::Ending(..) => Ok(()),
        }
    }

    /// The cells that run: for a listener that was started again.
    pub fn running(&self) -> Result<Vec<RunningCell>> {
        running(&self.run_dir)
    }
}

/// The cells that run.
pub(super) fn running(run_dir: &Path) -> Result<Vec<RunningCell>> {
    let mut running = Vec::new();
    for name in state::names(run_dir)? {
        running.extend(find(run_dir, &name)?);
    }
    Ok(running)
}

/// The tenant's cell, if it runs.
pub(super) fn find(run_dir: &Path, name: &TenantName) -> Result<Option<RunningCell>> {
    let Some(record) = Place::new(run_dir, name).record()? else { return Ok(None) };
    let name = name.clone();
    Ok(live(record)?.map(|pidfd| RunningCell { name, pid: record.pid, started: record.started, pidfd }))
}

/// Why nobody more gets into the tenant's cell.
pub(super) fn full(name: &TenantName) -> Failure {
    fail("entering the cell of", name, "its init serves as many connections as it can")
        .hint("`cellblock kill` ends what is not needed any more")
}

/// Removes what the tenant's cell left, unless one runs.
pub(super) fn clear_away(run_dir: &Path, groups: &Groups, name: &TenantName, wait: Wait) -> Result<()> {
    let place = Place::new(run_dir, name);
    // Whoever holds the lock starts a cell, or does what we would do here.
    let Some(held) = place.hold(wait)? else { return Ok(()) };
    if let Some(record) = place.record()?
        && live(record)?.is_some()
    {
        return Ok(());
    }
    cgroups::remove(groups, name.as_str())?;
    held.remove()
}

/// A hold on the cell's pid 1, if it has not ended (reaped or not).
pub(super) fn live(record: Record) -> Result<Option<OwnedFd>> {
    let Some(pidfd) = record.pidfd()? else { return Ok(None) };
    let ended = process::has_ended(pidfd.as_fd()).map_err(|errno| fail("looking at", record.pid, errno))?;
    Ok((!ended).then_some(pidfd))
}

/// Signals and timers that cells queue are charged to root of the host as well, who made their user
/// namespaces; together they get what the maker's soft limit was at the clone
/// (`set_userns_rlimit_max` in the kernel). Half of root's stay root's.
fn leave_room_for_the_host() -> Result<()> {
    let failed = |errno: Errno| fail("setting limits", "", errno);
    let (_soft, hard) = credentials::limit_of(RLIMIT_SIGPENDING).map_err(failed)?;
    credentials::set_limit(RLIMIT_SIGPENDING, hard / 2, hard).map_err(failed)
}

/// Takes the limits that sessions are to have: nobody in a cell can raise a hard one that the door's
/// starter had. Without `CAP_SYS_RESOURCE` neither can we, and theirs hold.
pub(super) fn take_defined_limits() -> Result<()> {
    let failed = |errno: Errno| fail("setting limits", "", errno);
    for (resource, soft, hard) in DEFINED {
        match credentials::set_limit(resource, soft, hard) {
            Err(Errno::EPERM) => {
                let (_soft, given) = credentials::limit_of(resource).map_err(failed)?;
                credentials::set_limit(resource, soft.min(given), hard.min(given)).map_err(failed)?;
            }
            set => set.map_err(failed)?,
        }
    }
    Ok(())
}

/// With `fs.suid_dumpable` 1, a process that changes ids can be traced by those it changes to
/// (docs/kernel.md, D).
pub(super) fn refuse_readable_dumps() -> Result<()> {
    const PATH: &str = "/proc/sys/fs/suid_dumpable";
    let mut file = File::open(PATH).map_err(|error| fail("opening", PATH, error))?;
    let value = mount::read_capped(&mut file, 16).map_err(|errno| fail("reading", PATH, errno))?;
    if value.trim_ascii() == b"1" {
        return Err(
            fail("checking", PATH, "tenants could trace processes that change ids").hint("sysctl fs.suid_dumpable=0")
        );
    }
    Ok(())
}
