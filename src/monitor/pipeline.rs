//! The story of one connection, from accept to its end.

use std::{
    fmt,
    net::IpAddr,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::PathBuf,
    time::{Duration, Instant},
};

use tracing::{error, info, warn};

use crate::account::{Allowance, Audit, CertificateText, Event, LastLogin, exchange};
use crate::auth::Lines;
use crate::base::{Result, TenantName};
use crate::config::settings::{Stranger, Tenant};
use crate::policy::{Ends, Grant, Identity, Proof, Told, grant};
use crate::sys::signal::Signals;
use crate::sys::title;
use crate::wire::Link;
use crate::wire::door::{Outcome, Word};
use crate::wire::login::{Refusal, Reply, Request, Setup};

use super::cell::Entered;
use super::clock;
use super::confine::start_ssh;
use super::ear::Ear;
use super::files::Book;
use super::hashing::Hashing;
use super::login::wait_for_identity;
use super::outcome::Tally;
use super::pam::Pam;
use super::phase::Phase;
use super::progress::Proved;
use super::seats::{Seat, Seats};
use super::serve::serve;
use super::ssh::{End, Ssh};

/// How long one that is turned away may take to ask for something and hear why not.
const TURN_AWAY: Duration = Duration::from_secs(10);

/// A connection that the listener took.
#[derive(Debug)]
pub struct Conn {
    /// Our name for it, in every line that is written about it.
    pub id: String,
    /// Who is at either end.
    pub ends: Ends,
    /// When it was accepted: `login_grace` counts from here.
    pub accepted: Instant,
}

/// What a connection is called in all that is written about it, whichever door it came by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) id: &'a str,
}

/// Looks a tenant up.
pub type FindTenant = dyn Fn(&TenantName) -> Result<Option<Tenant>>;
/// Reads the lines of keys that a source has for a tenant.
pub type ReadLines = Lines<'static>;
/// Joins a tenant's cell, or starts it.
pub type EnterCell = dyn Fn(&Tenant) -> Result<Entered>;

/// What a monitor needs of the house. The listener makes it; each monitor has a copy by fork.
pub struct House {
    /// What those are asked for who are nobody.
    pub stranger: Stranger,
    /// Looks a tenant up in the compiled config.
    pub tenant: Box<FindTenant>,
    /// Reads lines of keys that are not in the config; what is wrong with them goes to the admin's log.
    pub key_lines: Box<ReadLines>,
    /// Joins the tenant's cell, or starts it.
    pub enter: Box<EnterCell>,
    /// Whether anybody at all may come by certificate.
    pub certificates: bool,
    /// What the ssh process is told.
    pub setup: Setup,
    /// From accept to logged in.
    pub login_grace: Duration,
    /// Where last logins are kept.
    pub state_dir: PathBuf,
    /// Who counts a tenant's connections.
    pub seats: Seats,
    /// A sealed copy of `cellblock-pam`, where it is installed.
    pub pam: Option<OwnedFd>,
    /// Who counts the passwords that are hashed.
    pub hashing: Hashing,
    /// Where events are written.
    pub audit: Audit,
    /// How much of what a tenant can do in a loop is written.
    pub allowance: Allowance,
    /// SIGTERM, as an event: the admin ends the connection.
    pub signals: Signals,
    /// What happened before a login.
    pub tally: Tally,
    /// The listener.
    pub listener: Ear,
}

impl fmt::Debug for House {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("House").field("setup", &self.setup).field("audit", &self.audit).finish_non_exhaustive()
    }
}

impl House {
    /// They are for ssh processes.
    pub fn forget_host_keys(&mut self) {
        self.setup.host_keys.clear();
    }

    /// Readable when the admin wants the connection to end.
    pub(super) fn told(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// One of the tenant's connections; none is left.
    pub(super) fn seat(&self, grant: &Grant) -> Result<Option<Seat>, End> {
        let most = grant.tenant().jail.max_connections;
        self.seats.take(grant.name(), most).map_err(|failure| End::Failed(failure.to_string()))
    }

    /// For many events at once.
    pub(super) fn book(&mut self) -> Book<'_> {
        Book { audit: &mut self.audit, allowance: &self.allowance }
    }

    /// Writes what `tenant` can do in a loop; false: it has no more room for that now.
    pub(super) fn record_within(&mut self, tenant: &TenantName, event: &Event<'_>) -> bool {
        self.allowance.record(&mut self.audit, tenant, std::slice::from_ref(event)) == 1
    }
}

/// Serves the client behind `connection` to its end: starts the ssh process, as host ids `ids`, and
/// converses with it.
pub fn run(
    conn: &Conn,
    connection: OwnedFd,
    ssh_program: BorrowedFd<'_>,
    ids: (u32, u32),
    house: &mut House,
) -> Result<()> {
    let (link, pidfd) = start_ssh(ssh_program, connection, ids.0, ids.1)?;
    converse(conn, link, pidfd, house);
    Ok(())
}

/// Serves `conn` whose ssh process was just started, until it ends. Every way out is recorded.
pub fn converse(conn: &Conn, link: Link<Reply, Request>, pidfd: OwnedFd, house: &mut House) {
    let Ends { peer, local } = conn.ends;
    house.audit.record(&Event::ConnectionAccepted { connection: &conn.id, peer, local });
    let mut tenant = None;
    let end = match story(conn, link, pidfd, house, &mut tenant) {
        Ok(()) => End::Closed,
        Err(end) => end,
    };
    match &end {
        End::Closed | End::Told | End::Grace | End::Tries | End::GaveUp(_) | End::Full | End::Hours | End::Time => {
            info!("{} from {peer} ended: {end}", conn.id)
        }
        End::Crashed | End::OutOfTurn(_) | End::Wrong(_) | End::Failed(_) => {
            error!("{} from {peer} ended: {end}", conn.id)
        }
    }
    if tenant.is_none()
        && let Some(outcome) = house.tally.outcome(&end)
    {
        house.listener.tell(&Word::Ended(Some(outcome)));
    }
    house.audit.record(&Event::ConnectionEnd {
        connection: &conn.id,
        peer: Some(peer),
        tenant: tenant.as_ref(),
        reason: end.to_string(),
        seconds: conn.accepted.elapsed().as_secs(),
    });
}

/// Conn → Identity → Grant → Cell → Streams → Receipt; each is the proof that the one before was had.
fn story(
    conn: &Conn,
    link: Link<Reply, Request>,
    pidfd: OwnedFd,
    house: &mut House,
    who: &mut Option<TenantName>,
) -> Result<(), End> {
    let mut ssh = Ssh::new(link, pidfd)?;

    let met = wait_for_identity(&mut ssh, conn, house);
    let met = met.map_err(|end| if end == End::Closed && ssh.has_crashed() { End::Crashed } else { end });
    let Proved { identity, tenant, methods, pam } = met?;
    *who = Some(identity.tenant().clone());
    record_login(house, conn, &identity, &methods);

    let Some(grant) = grant(identity, tenant, conn.ends) else {
        ssh.reply(&Reply::LoginRefused { next: Vec::new(), partial: false }, &[])?;
        return Err(End::Failed("the tenant was locked meanwhile".to_owned()));
    };
    if let Err(errno) = title::set(&format!("cellblock: {} [monitor]", grant.name())) {
        warn!("naming the monitor: {errno}");
    }
    if !clock::is_open(grant.tenant()).map_err(End::Failed)? {
        house.listener.tell(&Word::Ended(Some(Outcome::RefusedConnection)));
        return Err(turn_away(&mut ssh, house, &grant, Refusal::Closed, End::Hours));
    }
    let Some(_seat) = house.seat(&grant)? else {
        return Err(turn_away(&mut ssh, house, &grant, Refusal::TooManyConnections, End::Full));
    };
    // Its session ends with this value, so when the connection does.
    let (_pam, said) = match open_pam_session(pam, house)? {
        Ok(opened) => opened,
        Err(why) => {
            let end = End::Failed(format!("the PAM session of {} was not opened: {why}", grant.name()));
            return Err(turn_away(&mut ssh, house, &grant, Refusal::JailFailed, end));
        }
    };
    let told = Told { last_login: last_login(house, conn.ends.peer.ip(), grant.name()), said };
    house.listener.tell(&Word::LoggedIn);

    ssh.enter(Phase::Open);
    ssh.reply(&Reply::LoggedIn(grant.outline()), &[])?;

    // Each request for a session enters the cell, gets its streams, and ends in a receipt.
    serve(ssh, Named { id: &conn.id }, &grant, &told, house)
}

/// What PAM holds open for this login, and what its modules said; or why it does not.
fn open_pam_session(pam: Option<Pam>, house: &House) -> Result<Result<(Option<Pam>, String), String>, End> {
    let Some(mut pam) = pam else { return Ok(Ok((None, String::new()))) };
    Ok(pam.open_session(house.told())?.map(|said| (Some(pam), said)))
}

/// The tenant may not come in now. Whoever is there is told why at the first request that can be
/// answered with words, and then hung up on.
fn turn_away(ssh: &mut Ssh, house: &House, grant: &Grant, why: Refusal, turned: End) -> End {
    house.listener.tell(&Word::LoggedIn);
    ssh.enter(Phase::Open);
    let told = ssh.reply(&Reply::LoggedIn(grant.outline()), &[]).and_then(|()| {
        let deadline = Instant::now() + TURN_AWAY;
        let channel = loop {
            if let Request::StartSession { channel, .. } = ssh.wait(deadline, house.told())? {
                break channel;
            }
        };
        ssh.reply(&Reply::SessionRefused { channel, why }, &[])?;
        // Until the client has read it and gone.
        loop {
            ssh.wait(deadline, house.told())?;
        }
    });
    match told {
        Ok(never) => never,
        Err(End::Closed | End::Grace) => turned,
        Err(end) => end,
    }
}

fn record_login(house: &mut House, conn: &Conn, identity: &Identity, method: &str) {
    let (tenant, peer) = (identity.tenant(), conn.ends.peer);
    let (key, certificate) = match identity.proof() {
        Proof::Key { fingerprint, .. } => (Some(fingerprint.as_str()), None),
        Proof::Certificate { key_id, serial, authority, fingerprint, .. } => {
            (Some(fingerprint.as_str()), Some(CertificateText { id: key_id, serial: *serial, authority }))
        }
        Proof::Password | Proof::Pam => (None, None),
        // These do not come by ssh.
        Proof::HostRoot | Proof::HostAccount { .. } => return,
    };
    let with = key.map(|key| format!(" with {key}")).unwrap_or_default();
    match &certificate {
        None => info!("{} {tenant} logged in from {peer} by {method}{with}", conn.id),
        Some(CertificateText { id, serial, authority }) => {
            let what = format!("certificate \"{id}\" (serial {serial}) by {authority}");
            info!("{} {tenant} logged in from {peer} by {method}{with}, {what}", conn.id);
        }
    }
    let peer = Some(peer);
    house.audit.record(&Event::Login { connection: &conn.id, peer, tenant, method, key, certificate });
}

/// The line that greets, and this login for the next one. A full disk keeps nobody out.
pub(super) fn last_login(house: &House, from: IpAddr, tenant: &TenantName) -> Option<String> {
    match exchange(&house.state_dir, tenant, LastLogin::now(from)) {
        Ok(before) => before.and_then(|before| before.line()),
        Err(failure) => {
            warn!("{failure}");
            None
        }
    }
}
