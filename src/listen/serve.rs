//! The story of the listener, and its loop.

mod accept;
mod fork;
mod reload;
mod stop;

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use sd_notify::NotifyState;
use tracing::{info, warn};

use crate::account::{Allowance, Audit};
use crate::base::{Result, TenantName, fail};
use crate::jail::{Cells, Rights, Stock};
use crate::monitor::{Hashing, Seats};
use crate::sys::poll;
use crate::sys::process::{self, Pid, Reaped};
use crate::sys::signal::{self, Signals};

use super::callers::Enter;
use super::cells::{Known, Watch};
use super::control::Control;
use super::door::Door;
use super::guard::Guard;
use super::monitors::{Monitors, Seen};
use super::partings::Partings;
use super::programs::Programs;
use super::sockets::{self, Socket};
use fork::Waiting;

/// From a cell that a monitor started until spares are made up for: first the session that just began.
const RESTOCK_AFTER: Duration = Duration::from_millis(20);
/// The same from the end of a child that was no monitor: a spare that died, or whose cell could not be
/// made; or a monitor that waited and is not needed any more. Longer, so that spares that cannot live cost little.
const REPLACE_AFTER: Duration = Duration::from_secs(1);

/// How to serve.
#[derive(Debug, Clone)]
pub struct Options {
    /// The config file.
    pub config: PathBuf,
    /// Where our other programs are.
    pub programs: Programs,
    /// By whose rights.
    pub rights: Rights,
    /// What the end of the listener means.
    pub stop: Stop,
}

/// What happens to sessions when the listener is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// They go on; the next listener takes up their cells.
    LeaveSessions,
    /// They end, and so do their cells.
    StopSessions,
}

/// Serves until SIGTERM or SIGINT. `ready` is called once connections are accepted.
pub fn serve(options: &Options, ready: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut listener = Listener::start(options)?;
    listener.restock();
    listener.start_lasting();
    ready()?;
    notify(&[NotifyState::Ready]);
    loop {
        match listener.wait()? {
            Wake::Work => {}
            Wake::Reload => {
                listener.reload();
            }
            Wake::Stop => break,
        }
    }
    notify(&[NotifyState::Stopping]);
    match options.stop {
        Stop::LeaveSessions => {
            info!("stopped; {} connections go on", listener.monitors.count());
            Ok(())
        }
        Stop::StopSessions => listener.stop_sessions(),
    }
}

enum Wake {
    Work,
    Reload,
    Stop,
}

struct Listener {
    config: PathBuf,
    door: Door,
    cells: Rc<Cells>,
    /// Spare cells; none once they are not needed any more.
    stock: Option<Stock>,
    restock_at: Option<Instant>,
    ssh_program: OwnedFd,
    /// None where it is not installed.
    pam_program: Option<OwnedFd>,
    audit: Audit,
    sockets: Vec<Socket>,
    enter: Option<Enter>,
    control: Option<Control>,
    signals: Option<Signals>,
    monitors: Monitors,
    watch: Watch,
    guard: Guard,
    /// Callers that are not taken.
    partings: Partings,
    /// A monitor that waits for the next caller, once one has come.
    waiting: Option<Waiting>,
    /// When one is due.
    wait_at: Option<Instant>,
}

/// What one wait found.
#[derive(Default)]
struct Found {
    signals: bool,
    sockets: Vec<usize>,
    callers: bool,
    monitors: Vec<Pid>,
    cells: Vec<TenantName>,
    control: Vec<bool>,
}

impl Listener {
    fn start(options: &Options) -> Result<Self> {
        // First of all, so that nothing that comes meanwhile is lost.
        let signals = Signals::block(&[signal::SIGHUP, signal::SIGTERM, signal::SIGINT, signal::SIGCHLD])
            .map_err(|errno| fail("blocking", "signals", errno))?;
        process::become_subreaper().map_err(|errno| fail("becoming", "a child subreaper", errno))?;
        process::allow_many_files().map_err(|errno| fail("raising", "the limit of open files", errno))?;

        let door = Door::open(&options.config, options.rights)?;
        let ssh_program = options.programs.seal_ssh()?;
        let pam_program = Programs::seal_pam()?;
        let mut cells = Cells::prepare_by(options.rights, &door.server, &options.programs.find_init()?)?;
        let stock = cells.keep_stock()?;
        Seats::prepare(&door.server.run_dir)?;
        Hashing::prepare(&door.server.run_dir)?;
        Allowance::prepare(&door.server.run_dir)?;
        door.report_unmet(&cells);
        let mut watch = Watch::default();
        watch.take_up(cells.running()?);
        let audit = Audit::open(&door.server.audit_log)?;
        let sockets = sockets::open(&door.server.listen)?;
        let enter = Some(Enter::open(&door.server.run_dir)?);
        let control = Some(Control::open(&door.server.run_dir)?);
        Ok(Self {
            config: options.config.clone(),
            door,
            cells: Rc::new(cells),
            stock,
            restock_at: None,
            ssh_program,
            pam_program,
            audit,
            sockets,
            enter,
            control,
            signals: Some(signals),
            monitors: Monitors::default(),
            watch,
            guard: Guard::default(),
            partings: Partings::default(),
            waiting: None,
            wait_at: None,
        })
    }

    fn wait(&mut self) -> Result<Wake> {
        let deadlines = [self.restock_at, self.wait_at, self.partings.deadline(), self.monitors.deadline()];
        let found = self.poll(deadlines.into_iter().flatten().min())?;
        for pid in found.monitors {
            let seen = self.monitors.hear(pid);
            self.watch(seen);
        }
        for tenant in found.cells {
            self.watch.ended(&tenant, &self.cells);
        }
        // Before the next connections: each is judged by all that was known when it came.
        let wake = if found.signals { self.take_signals()? } else { Wake::Work };
        let seen = self.monitors.kill_overdue(Instant::now());
        self.watch(seen);
        self.guard.learn(&self.door.server, self.monitors.take_news(), &mut self.audit);
        for socket in found.sockets {
            self.accept_from(socket)?;
        }
        if found.callers {
            self.accept_callers();
        }
        if self.partings.are_many() {
            self.part();
        }
        self.hear_admin(&found.control);
        if self.restock_at.is_some_and(|at| at <= Instant::now()) {
            self.restock();
        }
        if self.wait_at.is_some_and(|at| at <= Instant::now()) {
            self.have_one_wait();
        }
        Ok(wake)
    }

    fn poll(&self, deadline: Option<Instant>) -> Result<Found> {
        let mut fds: Vec<BorrowedFd<'_>> = Vec::new();
        fds.extend(self.signals.as_ref().map(|signals| signals.as_fd()));
        fds.extend(self.sockets.iter().map(|socket| socket.fd.as_fd()));
        let takes_callers = self.enter.is_some() && !self.partings.are_stuck();
        fds.extend(self.enter.iter().filter(|_| takes_callers).map(Enter::fd));
        fds.extend(self.monitors.links().map(|(_, link)| link));
        fds.extend(self.watch.pidfds().map(|(_, pidfd)| pidfd));
        fds.extend(self.control.iter().flat_map(Control::fds));
        let ready = poll::wait_readable(&fds, deadline).map_err(|errno| fail("waiting", "", errno))?;
        let mut ready = ready.into_iter();
        let mut next = || ready.next().unwrap_or(false);
        let signals = self.signals.is_some() && next();
        let sockets = (0..self.sockets.len()).filter(|_| next()).collect();
        let callers = takes_callers && next();
        let monitors = self.monitors.links().filter(|_| next()).map(|(pid, _)| pid).collect();
        let cells = self.watch.pidfds().filter(|_| next()).map(|(tenant, _)| tenant.clone()).collect();
        Ok(Found { signals, sockets, callers, monitors, cells, control: ready.collect() })
    }

    fn take_signals(&mut self) -> Result<Wake> {
        let mut wake = Wake::Work;
        while let Some(number) = self.next_signal()? {
            match number {
                signal::SIGCHLD => self.reap(),
                signal::SIGHUP if matches!(wake, Wake::Work) => wake = Wake::Reload,
                signal::SIGTERM | signal::SIGINT => wake = Wake::Stop,
                _other => {}
            }
        }
        Ok(wake)
    }

    fn next_signal(&mut self) -> Result<Option<i32>> {
        let Some(signals) = self.signals.as_mut() else { return Ok(None) };
        signals.take_one().map_err(|errno| fail("reading", "signals", errno))
    }

    /// Monitors that ended, and inits of cells whose monitors ended before them.
    fn reap(&mut self) {
        while let Ok(Reaped::Child { pid, ended, .. }) = process::reap() {
            if self.partings.ended(pid) {
                continue;
            }
            if self.waiting.take_if(|waiting| waiting.pid() == pid).is_some() {
                continue;
            }
            if !self.monitors.has(pid) {
                self.restock_in(REPLACE_AFTER);
                continue;
            }
            let killed = match ended {
                process::Ended::Killed { signal, .. } => {
                    warn!("monitor {pid} was killed by signal {signal}");
                    true
                }
                process::Ended::Exited(_) => false,
            };
            let seen = self.monitors.remove(pid, killed);
            self.watch(seen);
        }
    }

    /// Watches cells that monitors entered. For one that is new, a spare may have been taken.
    fn watch(&mut self, seen: Vec<Seen>) {
        if self.watch.add(seen, &self.cells) == Known::New {
            self.restock_in(RESTOCK_AFTER);
        }
    }

    /// Makes up for spares after `pause`, or sooner if that was said before.
    fn restock_in(&mut self, pause: Duration) {
        let at = Instant::now() + pause;
        self.restock_at = Some(self.restock_at.map_or(at, |before| before.min(at)));
    }

    /// Without spares logins take a little longer, no more: what fails here is tried again when the next
    /// cell starts or ends.
    fn restock(&mut self) {
        self.restock_at = None;
        self.part();
        if let Some(Err(failure)) = self.stock.as_ref().map(|stock| self.cells.restock(stock)) {
            warn!("{failure}");
        }
    }

    /// In a child: what belongs to the listener alone.
    fn let_go(&mut self) {
        self.sockets.clear();
        self.enter = None;
        self.control = None;
        self.partings.forget();
        self.monitors.forget();
        self.watch.forget();
        self.stock = None;
        self.signals = None;
        self.waiting = None;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.close_to_callers();
    }
}

/// sd_notify(3); does nothing where systemd did not start us.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(cause) = sd_notify::notify(state) {
        warn!("telling systemd: {cause}");
    }
}
