//! A loaded config with what was made of it: what each monitor forked under it starts from.

use std::{
    mem,
    net::SocketAddr,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

use tracing::{error, warn};

use crate::account::{Allowance, Audit};
use crate::auth::{HostAccount, Source, ask_in_vain, key_lines};
use crate::base::{Result, fail};
use crate::config::settings::{Linger, Server, Tenant};
use crate::config::{self, Compiled};
use crate::jail::{Cell, Cells, Rights, review};
use crate::monitor::{Caller, Conn, Ear, Entered, Hashing, House, MAX_CHANNELS, Seats, Tally, Tied, attend, run};
use crate::policy::{Ends, next_methods};
use crate::sys::parting::Parting;
use crate::sys::signal::{self, Signals};
use crate::sys::{SysResult, fd, net, process, random, title};
use crate::wire::login::Setup;

use super::host_keys;

/// What a key exchange may take after the login. A client answers within two round trips; one that was
/// put to sleep meanwhile has lost its connection soon after anyway.
const MOST_EXCHANGE: Duration = Duration::from_secs(30);

/// One per config.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) server: Server,
    /// What the admin should know about the config, drawn.
    pub(super) warnings: String,
    compiled: Rc<Compiled>,
    setup: Setup,
    ids: (u32, u32),
}

impl Door {
    /// Loads the config at `path`, and the host keys that it names, for a listener with these rights.
    pub(super) fn open(path: &Path, rights: Rights) -> Result<Self> {
        let loaded =
            config::load(path).map_err(|report| fail("reading the config", path.display(), format!("\n{report}")))?;
        if !loaded.warnings.is_empty() {
            warn!("{}", loaded.warnings);
        }
        let server = loaded.compiled.server()?;
        let setup = Setup {
            host_keys: host_keys::load(&server)?,
            banner: server.banner.clone(),
            methods: next_methods(&loaded.compiled.stranger()?.auth, &[]),
            max_auth_tries: server.max_auth_tries,
            max_channels: MAX_CHANNELS,
            client_alive_interval: server.client_alive_interval,
            client_alive_count_max: server.client_alive_count_max,
            rekey_bytes: server.rekey_limit.bytes.0,
            rekey_time: server.rekey_limit.time,
            // Where a login with its exchange has less, an exchange alone needs no more.
            most_exchange: MOST_EXCHANGE.min(server.login_grace),
            encrypt_and_mac: server.encrypt_and_mac,
        };
        // Where there is one id, which is 0 here, the ssh process has that.
        let ids = if rights.are_of_one_id() { (0, 0) } else { service_ids(&server)? };
        let warnings = loaded.warnings.to_string();
        Ok(Self { server, warnings, compiled: Rc::new(loaded.compiled), setup, ids })
    }

    /// How many tenants the config has.
    pub(super) fn tenants(&self) -> usize {
        self.compiled.count()
    }

    /// Whose cells run from the start.
    pub(super) fn lasting(&self) -> Vec<Tenant> {
        let lasting = |tenant: &Tenant| tenant.jail.linger == Linger::Forever && !tenant.locked;
        self.compiled.tenants().filter_map(Result::ok).filter(lasting).collect()
    }

    /// Says which limits `cells` cannot enforce, and what becomes of their tenants.
    pub(super) fn report_unmet(&self, cells: &Cells) {
        for line in review(self.compiled.tenants().filter_map(Result::ok), &cells.facts().controls) {
            warn!("{line}");
        }
    }

    /// What a monitor needs; in the monitor, which is left no other copy of the host keys.
    pub(super) fn house(
        &mut self,
        audit: Audit,
        cells: Rc<Cells>,
        pam: Option<OwnedFd>,
        listener: Ear,
    ) -> Result<House> {
        // Out of the terminal's reach, if there is one: ^C is for the listener.
        process::new_session().map_err(|errno| fail("starting", "a session", errno))?;
        // All other signals stay blocked as the listener had them; what is exec'd resets them.
        let signals = Signals::block(&[signal::SIGTERM]).map_err(|errno| fail("blocking", "signals", errno))?;
        let compiled = Rc::clone(&self.compiled);
        let state_dir = self.server.state_dir.clone();
        let unknown = self.server.keys_command.clone();
        Ok(House {
            stranger: compiled.stranger()?,
            tenant: Box::new(move |name| compiled.tenant(name)),
            key_lines: Box::new(move |source, tenant, claim| match (tenant, &unknown) {
                (Some(tenant), _) => key_lines(source, tenant, claim, &state_dir),
                (None, Some(command)) if source == Source::Command => {
                    ask_in_vain(command, claim);
                    Vec::new()
                }
                (None, _) => Vec::new(),
            }),
            certificates: self.compiled.takes_certificates(),
            enter: Box::new(move |tenant| {
                let Cell { link, pidfd, pid, forgone, name: _, started: _ } = cells.enter(tenant)?;
                Ok(Entered { link, pidfd, pid, forgone })
            }),
            setup: Setup { host_keys: mem::take(&mut self.setup.host_keys), ..self.setup.clone() },
            login_grace: self.server.login_grace,
            state_dir: self.server.state_dir.clone(),
            seats: Seats::prepare(&self.server.run_dir)?,
            allowance: Allowance::prepare(&self.server.run_dir)?,
            pam,
            hashing: Hashing::prepare(&self.server.run_dir)?,
            audit,
            signals,
            tally: Tally::default(),
            listener,
        })
    }

    /// Serves one connection to its end; in the monitor.
    pub(super) fn serve(
        &self,
        connection: OwnedFd,
        peer: SocketAddr,
        accepted: Instant,
        mut house: House,
        ssh_program: BorrowedFd<'_>,
    ) {
        let served = conn(connection.as_fd(), peer, accepted)
            .and_then(|conn| run(&conn, connection, ssh_program, self.ids, &mut house));
        if let Err(failure) = served {
            error!("{failure}");
        }
    }

    /// Serves one caller of this host to its end; in the monitor.
    pub(super) fn attend(
        &self,
        (pid, uid, pidfd): (i32, u32, Option<OwnedFd>),
        socket: OwnedFd,
        accepted: Instant,
        mut house: House,
    ) {
        house.forget_host_keys();
        if let Err(errno) = title::set(&format!("cellblock: uid {uid} [enter]")) {
            warn!("naming the monitor: {errno}");
        }
        // What a caller leaves unread there is not to hold the monitor up while it has something to do.
        let own = fd::duplicate(socket.as_fd());
        let mut parting = Parting::default();
        parting.hold(socket);
        let compiled = Rc::clone(&self.compiled);
        let find = move |account: &HostAccount| compiled.tied_to(&account.name, &account.groups);
        let tied = Tied { groups: self.compiled.ties_groups(), find: Box::new(find) };
        match own.and_then(|own| Ok((own, new_id()?))) {
            Ok((socket, id)) => attend(Caller { id, uid, pid, pidfd, accepted }, socket, &tied, &mut house),
            Err(errno) => error!("{}", fail("serving", "a caller", errno)),
        }
    }
}

/// A name for a connection.
fn new_id() -> SysResult<String> {
    random::hex::<6>()
}

fn conn(connection: BorrowedFd<'_>, peer: SocketAddr, accepted: Instant) -> Result<Conn> {
    let failed = |errno| fail("serving", peer, errno);
    let local = net::local_address(connection).map_err(failed)?;
    let id = new_id().map_err(failed)?;
    if let Err(errno) = title::set(&format!("cellblock: {peer} [monitor]")) {
        warn!("naming the monitor: {errno}");
    }
    Ok(Conn { id, ends: Ends { peer, local }, accepted })
}

/// Host ids of the ssh process.
fn service_ids(server: &Server) -> Result<(u32, u32)> {
    let Some(name) = &server.user else { return Ok((server.id_pool.first, server.id_pool.first)) };
    let user = users::get_user_by_name(name).ok_or_else(|| {
        fail("finding the user", name, "there is none").hint(format!("useradd --system --shell /bin/false {name}"))
    })?;
    if user.uid() == 0 || user.primary_group_id() == 0 {
        return Err(fail("taking the user", name, "root must not read the network")
            .hint("`user` in [server] names an account without privileges"));
    }
    Ok((user.uid(), user.primary_group_id()))
}
