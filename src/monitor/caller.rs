//! The story of one caller at the enter door, from accept to the end: as that of a connection, but that
//! the kernel says who is there, and that whoever is let in speaks for itself.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsFd as _, OwnedFd},
    time::{Duration, Instant},
};

use tracing::{error, info, warn};

use crate::account::Event;
use crate::auth::{HostAccount, HostClaim, NotTied, host_account, prove_host};
use crate::base::{Result, TenantName, escape, escape_to};
use crate::config::settings::Tenant;
use crate::policy::{Ends, Identity, Proof, Told, grant};
use crate::sys::{Errno, fd, net, poll, title};
use crate::wire::Link;
use crate::wire::door::{Outcome, Word};
use crate::wire::enter::{Answer, Call, NoEntry};

use super::clock;
use super::pipeline::{House, Named, last_login};
use super::serve::serve;
use super::ssh::{End, Ssh};

/// From accept to having called: no person types anything here.
const CALL_WAIT: Duration = Duration::from_secs(10);

/// Longest name of a tenant that was asked for in the audit file.
const MAX_ASKED: usize = 64;

/// A caller that the listener took.
#[derive(Debug)]
pub struct Caller {
    /// Our name for the connection.
    pub id: String,
    /// Whose process it was when it connected.
    pub uid: u32,
    /// Its pid then: for the audit file alone.
    pub pid: i32,
    /// That very process, where the kernel gives one.
    pub pidfd: Option<OwnedFd>,
    /// When it was accepted.
    pub accepted: Instant,
}

/// Which tenant a host account is.
pub struct Tied {
    /// Whether that takes the account's groups.
    pub groups: bool,
    /// Looks it up.
    pub find: Find,
}

/// Looks up the tenant of a host account; none: it is no tenant.
pub type Find = Box<dyn Fn(&HostAccount) -> Result<Option<Tenant>>>;

impl fmt::Debug for Tied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tied").field("groups", &self.groups).finish_non_exhaustive()
    }
}

/// Serves `caller`, who is at the other end of `socket`, until it ends. Every way out is recorded.
pub fn attend(mut caller: Caller, socket: OwnedFd, tied: &Tied, house: &mut House) {
    let Caller { uid, pid, accepted, .. } = caller;
    let pidfd = caller.pidfd.take();
    house.audit.record(&Event::CallerAccepted { connection: &caller.id, uid, pid });
    let mut progress = Progress::default();
    let end = match story(&caller, (socket, pidfd), tied, house, &mut progress) {
        Ok(()) => End::Closed,
        Err(end) => end,
    };
    let reason = match &end {
        End::OutOfTurn(request) => format!("the caller sent {request} out of turn"),
        End::Wrong(why) => format!("the caller sent a wrong message: {why}"),
        End::Closed
        | End::Grace
        | End::Tries
        | End::GaveUp(_)
        | End::Crashed
        | End::Told
        | End::Full
        | End::Hours
        | End::Time
        | End::Failed(_) => end.to_string(),
    };
    info!("{} of uid {uid} ended: {reason}", caller.id);
    // What somebody of this host does who is let in harms nobody else; the rest is counted, also those
    // who come as a tenant outside of their hours, or once too often.
    if !progress.let_in {
        house.listener.tell(&Word::Ended(progress.outcome(&end)));
    }
    house.audit.record(&Event::ConnectionEnd {
        connection: &caller.id,
        peer: None,
        tenant: progress.tenant.as_ref(),
        reason,
        seconds: accepted.elapsed().as_secs(),
    });
}

/// How far a caller came.
#[derive(Debug, Default)]
struct Progress {
    /// Whether it said what it wants.
    called: bool,
    /// Who it is.
    tenant: Option<TenantName>,
    /// Whether it was told that it is in.
    let_in: bool,
}

impl Progress {
    /// What a caller counts as that was not let in; nothing, where the end says nothing about it.
    fn outcome(&self, end: &End) -> Option<Outcome> {
        match end {
            End::Grace => Some(Outcome::GraceExceeded),
            End::Hours => Some(Outcome::RefusedConnection),
            // It speaks for itself, and no process of ours that it could have taken over.
            End::OutOfTurn(_) | End::Wrong(_) | End::Crashed => Some(Outcome::AuthFail),
            End::Closed | End::Tries | End::GaveUp(_) if self.called => Some(Outcome::AuthFail),
            End::Closed | End::Tries | End::GaveUp(_) => Some(Outcome::NoAuth),
            End::Told | End::Full | End::Time | End::Failed(_) => None,
        }
    }
}

/// Caller → Identity → Grant → Cell → Streams → Receipt.
fn story(
    caller: &Caller,
    (socket, pidfd): (OwnedFd, Option<OwnedFd>),
    tied: &Tied,
    house: &mut House,
    progress: &mut Progress,
) -> Result<(), End> {
    let mut desk = Desk { link: open(socket)?, caller, house };
    let Call { tenant: asked, came_by } = desk.hear()?;
    progress.called = true;
    let claim = HostClaim { uid: caller.uid, asked: asked.as_deref() };
    let account = || host_account(caller.uid, tied.groups);
    let (identity, tenant) = match prove_host(&claim, account, &*desk.house.tenant, &*tied.find) {
        Ok(proved) => proved,
        Err(why) => return Err(desk.refuse(&claim, &why)),
    };
    let by_root = *identity.proof() == Proof::HostRoot;
    let tenant = if by_root { unbound(tenant) } else { tenant };
    // From where the admin came is not for the tenant to know.
    let ends = came_by.filter(|_| !by_root).map(|(peer, local)| Ends { peer, local });
    let name = tenant.name.clone();
    let Some(grant) = grant(identity, tenant, ends) else {
        return Err(desk.turn_away(&claim, NoEntry::Locked, "tenant is locked", End::Closed));
    };
    progress.tenant = Some(name);
    if let Err(errno) = title::set(&format!("cellblock: {} [enter]", grant.name())) {
        warn!("naming the monitor: {errno}");
    }
    if !clock::is_open(grant.tenant()).map_err(End::Failed)? {
        return Err(desk.turn_away(&claim, NoEntry::Closed, "outside of the tenant's hours", End::Hours));
    }
    // The admin always gets in.
    let _seat = if by_root {
        None
    } else {
        let Some(seat) = desk.house.seat(&grant)? else {
            return Err(desk.turn_away(&claim, NoEntry::TooMany, "too many connections", End::Full));
        };
        Some(seat)
    };
    desk.record_login(grant.identity());
    let mut told = Told::default();
    // Or else it is not the tenant who comes.
    if !by_root {
        let from = ends.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ends| ends.peer.ip());
        told.last_login = last_login(desk.house, from, grant.name());
    }
    desk.house.listener.tell_soon(Word::LoggedIn, None);
    progress.let_in = true;
    desk.answer(Answer::Entered(grant.outline()))?;

    let Desk { link, caller, house } = desk;
    let ssh = Ssh::of_caller(Link::new(link.into()), pidfd)?;
    serve(ssh, Named { id: &caller.id }, &grant, &told, house)
}

/// Neither hours nor a limit of time hold for root of the host.
fn unbound(tenant: Tenant) -> Tenant {
    Tenant { open: None, max_session_time: None, ..tenant }
}

fn open(socket: OwnedFd) -> Result<Link<Answer, Call>, End> {
    let failed = |errno: Errno| End::Failed(errno.to_string());
    // Nobody who does not read holds a monitor for long.
    net::set_send_timeout(socket.as_fd(), CALL_WAIT).map_err(failed)?;
    fd::set_nonblocking(socket.as_fd(), false).map_err(failed)?;
    Ok(Link::new(socket))
}

/// Where a caller is heard before it is let in.
struct Desk<'a> {
    link: Link<Answer, Call>,
    caller: &'a Caller,
    house: &'a mut House,
}

impl Desk<'_> {
    /// Waits for the call.
    fn hear(&mut self) -> Result<Call, End> {
        let deadline = self.caller.accepted + CALL_WAIT;
        while Instant::now() < deadline {
            let fds = [self.house.told(), self.link.as_fd()];
            match poll::wait_readable(&fds, Some(deadline)).as_deref() {
                Ok([true, _]) => return Err(End::Told),
                Ok([_, true]) => {
                    // Nothing of a caller's is taken, and nothing closed here.
                    return Ok(self.link.receive_alone()?);
                }
                Ok(_none) => {}
                Err(errno) => return Err(End::Failed(errno.to_string())),
            }
        }
        Err(End::Grace)
    }

    fn answer(&self, answer: Answer) -> Result<(), End> {
        Ok(self.link.send(&answer)?)
    }

    fn refuse(&mut self, claim: &HostClaim<'_>, why: &NotTied) -> End {
        let end = match why {
            NotTied::Config(failure) => {
                error!("{failure}");
                End::Failed(why.to_string())
            }
            NotTied::NoAccount | NotTied::NoTenant | NotTied::Another(_) | NotTied::Unnamed | NotTied::Unknown => {
                End::Closed
            }
        };
        self.turn_away(claim, why.told(), &why.to_string(), end)
    }

    /// Says why not, and writes it down.
    fn turn_away(&mut self, claim: &HostClaim<'_>, told: NoEntry, reason: &str, end: End) -> End {
        let Caller { id, uid, .. } = self.caller;
        info!("{id} uid {uid} may not enter: {reason}");
        self.house.audit.record(&Event::CallerRefused {
            connection: id,
            uid: *uid,
            account: host_account(*uid, false).map(|account| escape(&account.name)),
            asked: claim.asked.map(|asked| escape_to(MAX_ASKED, asked)),
            reason: reason.to_owned(),
        });
        match self.answer(Answer::Refused(told)) {
            Ok(()) => end,
            Err(gone) => gone,
        }
    }

    fn record_login(&mut self, identity: &Identity) {
        let (id, tenant) = (&self.caller.id, identity.tenant());
        let method = match identity.proof() {
            Proof::HostRoot => "host-root",
            Proof::HostAccount { .. } => "host-account",
            Proof::Key { .. } | Proof::Certificate { .. } | Proof::Password | Proof::Pam => return,
        };
        info!("{id} uid {} entered as {tenant} by {method}", self.caller.uid);
        let login = Event::Login { connection: id, peer: None, tenant, method, key: None, certificate: None };
        self.house.audit.record(&login);
    }
}
