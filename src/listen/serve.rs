//! The story of the listener, and its loop.

mod fork;

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::PathBuf,
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use sd_notify::NotifyState;
use tracing::{error, info, warn};

use crate::account::{Allowance, Audit};
use crate::base::{Result, TenantName, fail};
use crate::jail::{Cells, Rights, Stock};
use crate::monitor::{Hashing, Seats};
use crate::sys::process::{self, Forked, Pid, Reaped};
use crate::sys::signal::{self, Signals};
use crate::sys::{Errno, fd, net, poll, seqpacket, title};
use crate::wire::Link;
use crate::wire::control::{Answer, Ask, bounded};

use super::callers::{self, Came, Enter};
use super::cells::{Known, Watch};
use super::control::Control;
use super::door::Door;
use super::guard::Guard;
use super::lasting;
use super::monitors::{Monitor, Monitors, Seen, Source};
use super::partings::Partings;
use super::programs::Programs;
use super::sockets::{self, Socket};
use fork::{ExitGuard, Waiting};

/// Connections taken from one socket before signals and monitors are looked at again.
const ACCEPT_BURST: u32 = 16;
/// How long to wait when the host has no descriptors or memory left: the connections that wait
/// would otherwise wake us at once, again and again.
const BREATH: Duration = Duration::from_millis(100);
/// Time between TERM and KILL for what runs in cells, with `--stop-sessions`.
const STOP_GRACE: Duration = Duration::from_secs(3);
/// How long `--stop-sessions` waits for all of that, before it kills.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// How long what was killed then may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// From a cell that a monitor started until spares are made up for: first the session that just began.
const RESTOCK_AFTER: Duration = Duration::from_millis(20);
/// From a caller of this host until a monitor waits for the next one: first the session that just began.
const WAIT_AFTER: Duration = Duration::from_millis(5);
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
        let found = self.poll([self.restock_at, self.wait_at, self.partings.deadline()].into_iter().flatten().min())?;
        for pid in found.monitors {
            let seen = self.monitors.hear(pid);
            self.watch(seen);
        }
        for tenant in found.cells {
            self.watch.ended(&tenant, &self.cells);
        }
        // Before the next connections: each is judged by all that was known when it came.
        let wake = if found.signals { self.take_signals()? } else { Wake::Work };
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

    fn accept_from(&mut self, index: usize) -> Result<()> {
        for _ in 0..ACCEPT_BURST {
            let Some(socket) = self.sockets.get(index) else { return Ok(()) };
            match net::accept(socket.fd.as_fd()) {
                Ok((connection, peer)) => self.take(connection, peer),
                Err(Errno::EAGAIN) => return Ok(()),
                Err(errno @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)) => {
                    error!("{}", fail("accepting", "a connection", errno));
                    thread::sleep(BREATH);
                    return Ok(());
                }
                // accept(2): errors of the connection itself, which is gone already.
                Err(_of_the_connection) => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, connection: OwnedFd, peer: std::net::SocketAddr) {
        let (server, counts) = (&self.door.server, &self.monitors.counts);
        if !self.guard.admits(server, counts, connection.as_fd(), peer, &mut self.audit) {
            return;
        }
        let accepted = Instant::now();
        let block = Guard::block(&self.door.server, peer);
        let source = Source::Network { address: peer.ip(), block };
        let forked = self.fork_monitor(source, connection, |door, house, (connection, ssh_program)| {
            door.serve(connection, peer, accepted, house, ssh_program);
        });
        if let Err(failure) = forked {
            error!("{failure}");
        }
    }

    /// Takes processes of this host that came to the enter door.
    fn accept_callers(&mut self) {
        for _ in 0..ACCEPT_BURST {
            match self.enter.as_ref().map(Enter::accept) {
                None | Some(Err(Errno::EAGAIN)) => return,
                Some(Ok(socket)) => match Came::by(socket.as_fd()) {
                    Some(came) => self.take_caller(came, socket),
                    None => self.partings.part_with(socket),
                },
                Some(Err(errno)) => {
                    error!("{}", fail("accepting", "a caller", errno));
                    thread::sleep(BREATH);
                    return;
                }
            }
        }
    }

    fn take_caller(&mut self, came: Came, socket: OwnedFd) {
        if !self.guard.admits_caller(&self.door.server, &self.monitors.callers, came.uid, &mut self.audit) {
            callers::turn_away(socket, &mut self.partings);
            return;
        }
        self.wait_at.get_or_insert_with(|| Instant::now() + WAIT_AFTER);
        if let Err(failure) = self.attend(came, socket) {
            error!("{failure}");
        }
    }

    /// Parts with callers that were not taken, if there are any.
    fn part(&mut self) {
        // The child lets go of all else that is the listener's.
        let mut partings = std::mem::take(&mut self.partings);
        partings.take_out(|| {
            self.let_go();
            // Only who does not end is ever seen.
            title::set("cellblock: parting with callers").unwrap_or_default();
        });
        self.partings = partings;
    }

    /// Starts the cells that run from the start (`linger = "forever"`), in a child of its own: that
    /// may take a while, and connections are accepted meanwhile.
    fn start_lasting(&mut self) {
        let tenants = self.door.lasting();
        if tenants.is_empty() {
            return;
        }
        self.part();
        let forked = seqpacket::pair().and_then(|(ours, theirs)| {
            fd::set_nonblocking(ours.as_fd(), true)?;
            Ok((ours, theirs, process::fork()?))
        });
        match forked {
            Ok((_ours, theirs, Forked::Child)) => {
                let _never_back = ExitGuard;
                self.let_go();
                lasting::start(&tenants, &self.cells, &Link::new(theirs));
                process::exit_now(0)
            }
            Ok((ours, _theirs, Forked::Parent { pid, pidfd })) => {
                let link = Link::new(ours);
                let monitor = Monitor { link, pidfd, source: None, logged_in: false, talks: true, outcome: None };
                self.monitors.add(pid, monitor);
            }
            Err(errno) => error!("{}", fail("starting", "cells with linger = \"forever\"", errno)),
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

    /// Does what the admin's verbs ask. An answer that does not go out at once is not waited for.
    fn hear_admin(&mut self, ready: &[bool]) {
        let Some(control) = self.control.as_mut() else { return };
        for (caller, ask) in control.hear(ready) {
            let answer = match ask {
                Ask::Reload => self.reload(),
                Ask::Penalties => self.guard.answer(),
            };
            if let Err(why) = caller.send(&answer) {
                warn!("answering the admin: {why}");
            }
        }
    }

    /// New connections see the new config; a broken one changes nothing.
    fn reload(&mut self) -> Answer {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(cause) => warn!("telling systemd: {cause}"),
        }
        let config = self.config.display().to_string();
        let answer = match self.try_reload() {
            Ok(()) => {
                info!("the config was read again");
                self.restock();
                self.start_lasting();
                let tenants = u64::try_from(self.door.tenants()).unwrap_or(u64::MAX);
                Answer::Taken { config, tenants, warnings: bounded(self.door.warnings.clone()) }
            }
            Err(failure) => {
                error!("the config stays as it was: {failure}");
                Answer::Kept { config, why: bounded(failure.to_string()) }
            }
        };
        notify(&[NotifyState::Ready]);
        answer
    }

    fn try_reload(&mut self) -> Result<()> {
        let door = Door::open(&self.config, self.cells.facts().rights)?;
        let server = &door.server;
        let old = &self.door.server;
        if (&server.state_dir, &server.run_dir, server.id_pool) != (&old.state_dir, &old.run_dir, old.id_pool) {
            return Err(fail("reloading", "[server]", "state_dir, run_dir and id_pool cannot change while we run")
                .hint("restart: systemctl restart cellblock"));
        }
        let audit = Audit::open(&server.audit_log)?;
        if self.pam_program.is_none() {
            self.pam_program = Programs::seal_pam()?;
        }
        let opened = sockets::missing(&self.sockets, &server.listen)?;
        sockets::replace(&mut self.sockets, opened, &server.listen);
        door.report_unmet(&self.cells);
        self.audit = audit;
        self.door = door;
        // It knows the old one.
        self.waiting = None;
        Ok(())
    }

    fn close_to_callers(&mut self) {
        self.waiting = None;
        if let Some(enter) = self.enter.take() {
            enter.close(&mut self.partings);
        }
    }

    /// Ends all monitors and cells, and waits for that. What does not end by itself is killed.
    fn stop_sessions(&mut self) -> Result<()> {
        let deadline = Instant::now() + STOP_LIMIT;
        self.stock = None;
        self.sockets.clear();
        self.close_to_callers();
        self.control = None;
        self.monitors.signal_all(signal::SIGTERM);
        // Monitors of an earlier listener have told us nothing of the cells that they entered.
        self.watch.take_up(self.cells.running()?);
        for tenant in self.watch.tenants() {
            // An init that does not answer takes some seconds of everybody's.
            if Instant::now() >= deadline {
                break;
            }
            if let Err(failure) = self.cells.end(tenant, STOP_GRACE) {
                error!("{failure}");
            }
        }
        self.wait_for_the_end(deadline)?;
        self.monitors.signal_all(signal::SIGKILL);
        self.watch.kill_all();
        self.wait_for_the_end(Instant::now() + KILL_LIMIT)?;
        let left: Vec<&str> = self.watch.tenants().map(TenantName::as_str).collect();
        if left.is_empty() { Ok(()) } else { Err(fail("ending the cells of", left.join(" "), "they still run")) }
    }

    /// Until no monitor and no cell is left, or `deadline`.
    fn wait_for_the_end(&mut self, deadline: Instant) -> Result<()> {
        while (self.monitors.count() > 0 || !self.watch.is_empty()) && Instant::now() < deadline {
            let found = self.poll(Some(deadline))?;
            for pid in found.monitors {
                let seen = self.monitors.hear(pid);
                self.watch(seen);
            }
            for tenant in found.cells {
                self.watch.ended(&tenant, &self.cells);
            }
            if found.signals {
                self.take_signals()?;
            }
        }
        Ok(())
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
