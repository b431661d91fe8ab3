//! `cellblock try`: a door on 127.0.0.1 in a directory of its own, gone without a trace when it ends.
//!
//! The listener is a child, because it goes into a mount namespace of its own: here, outside, the
//! directory holds nothing but files that may be removed.

use std::{
    env, io,
    net::{Ipv4Addr, TcpListener},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use crate::account::start_logging;
use crate::auth::host_account;
use crate::base::{Result, escape, fail};
use crate::jail::Rights;
use crate::jail::rootless::SCOPE;
use crate::jail::subordinate::{self, Grant, Held};
use crate::listen::{self, HeldPrograms, Options, Programs, Stop, make_ed25519};
use crate::sys::credentials;
use crate::sys::file::{Crash, write_atomic};
use crate::sys::poll;
use crate::sys::process::{self, Ended, Forked};
use crate::sys::signal::{self, Signals};

use super::serve::ProgramArgs;
use super::try_place::Place;
use super::{Trouble, output};

/// Who can log in, and what their tables hold.
const TENANTS: [(&str, &str); 3] = [("alice", ""), ("bob", ""), ("eve", "user = \"root\"\n")];
/// Far above what useradd(8) and the pool of an installed cellblock give out first.
const POOL_FIRST: u32 = 1_700_000_000;
/// Room for the tenants and the ssh process.
const POOL_COUNT: u32 = 1_000_000;
/// Doors that can be tried at once without sharing ids, as far as chance goes.
const POOLS: u32 = 150;
/// What an ordinary user's door does without, and shares out of fewer ids.
const FEWER: &str = "ids = 16384\nlimits = { enforce = \"best-effort\" }\n";

/// The arguments of `try`.
#[derive(Debug, Args)]
pub struct TryDoor {
    /// Directory for keys and state [default: a new one in /tmp or /var/tmp]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Port of 127.0.0.1 to listen on [default: a free one]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    #[command(flatten)]
    programs: ProgramArgs,
}

impl TryDoor {
    /// Opens the door, and takes it away on SIGINT, SIGTERM or the death of whoever started it.
    pub(super) fn run(&self) -> Result<ExitCode, Trouble> {
        start_logging()?;
        let signals = Signals::block(&[signal::SIGINT, signal::SIGTERM, signal::SIGHUP, signal::SIGCHLD])
            .map_err(|errno| fail("blocking", "signals", errno))?;

        let grant = grant()?;
        let programs = self.programs.programs();
        // An ordinary user's door sees the host's directories only: ours may lie elsewhere.
        let held = grant.map(|_| programs.hold()).transpose()?;
        let programs = held.as_ref().map_or(programs, HeldPrograms::by_number);
        let rights = grant.map_or(Rights::Root, Grant::rights);
        // What a tenant has left is removed with a descriptor for each level of directories.
        process::allow_many_files().map_err(|errno| fail("raising", "the limit of open files", errno))?;
        let place = Place::make(self.dir.as_deref(), rights)?;
        // While it is known who the user is.
        let one_id = rights.are_of_one_id().then(OneId::look_up).transpose()?;
        let served = grant
            .map_or(Ok(Held::ToLimits), |grant| grant.become_root(&place.dir))
            .and_then(|held| lay_out(&place.dir, self.port, rights).map(|()| held))
            .and_then(|held| serve_in_child(&place.dir, programs, &Made { rights, held, one_id }, signals));
        let removed = place.remove();
        if let (Err(_), Err(failure)) = (&served, &removed) {
            output::complain(failure);
        }
        served.and(removed)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// By what a door is made.
struct Made {
    rights: Rights,
    held: Held,
    one_id: Option<OneId>,
}

/// What there is to know where all of it has the user's one id.
struct OneId {
    /// How root of the host grants more.
    to_grant: String,
    /// Groups of the user's that nobody in there can give up.
    groups: usize,
}

impl OneId {
    fn look_up() -> Result<Self> {
        let groups = credentials::other_groups().map_err(|errno| fail("asking for", "your groups", errno))?;
        Ok(Self { to_grant: subordinate::how_to_grant(&account()), groups: groups.len() })
    }
}

/// Writes keys, config and what the client needs.
fn lay_out(dir: &Path, port: Option<u16>, rights: Rights) -> Result<()> {
    let port = match port {
        Some(port) => port,
        None => free_port().map_err(|cause| fail("finding", "a free port", cause))?,
    };
    make_ed25519(&dir.join("id_ed25519"), "cellblock-try")?;
    make_ed25519(&dir.join("host_ed25519"), "")?;
    let read = |name: &str| {
        let path = dir.join(name);
        let bytes =
            crate::sys::file::read_capped(&path, 4096).map_err(|errno| fail("reading", path.display(), errno))?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    let (client_key, host_key) = (read("id_ed25519.pub")?, read("host_ed25519.pub")?);
    write(dir, "cellblock.toml", &config(dir, port, &client_key, rights))?;
    write(dir, "known_hosts", &format!("[127.0.0.1]:{port} {host_key}\n"))?;
    write(dir, "ssh_config", &ssh_config(dir, port))
}

fn write(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(name);
    write_atomic(&path, text.as_bytes(), 0o600, Crash::Keeps).map_err(|why| fail("writing", path.display(), why))
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn config(dir: &Path, port: u16, client_key: &str, rights: Rights) -> String {
    let quoted = |name: &str| toml::Value::String(dir.join(name).to_string_lossy().into_owned()).to_string();
    let (first, count) = match rights {
        Rights::Root => (POOL_FIRST + process::own_pid().unsigned_abs() % POOLS * POOL_COUNT, POOL_COUNT),
        Rights::Lender | Rights::User { .. } => (subordinate::FIRST, subordinate::COUNT),
    };
    let mut text = format!(
        "[server]\nlisten = [\"127.0.0.1:{port}\"]\nhost_keys = [{}]\nstate_dir = {}\nrun_dir = {}\naudit_log = {}\n\
         id_pool = {{ first = {first}, count = {count}, register = false }}\n\
         penalties = {{ enabled = false }}\n\n[defaults]\nroot = \"host\"\n",
        quoted("host_ed25519"),
        quoted("state"),
        quoted("run"),
        quoted("audit.jsonl"),
    );
    if rights != Rights::Root {
        text.push_str(FEWER);
    }
    for (name, table) in TENANTS {
        text.push_str(&format!("\n[tenant.{name}]\n{table}authorized_keys = [\"{client_key}\"]\n"));
    }
    text
}

fn ssh_config(dir: &Path, port: u16) -> String {
    let at = dir.display();
    let mut text = String::new();
    for (name, _) in TENANTS {
        text.push_str(&format!(
            "Host {name}\n    User {name}\n    HostName 127.0.0.1\n    Port {port}\n    IdentityFile \"{at}/id_ed25519\"\n    \
             IdentitiesOnly yes\n    IdentityAgent none\n    UserKnownHostsFile \"{at}/known_hosts\"\n    \
             GlobalKnownHostsFile none\n    StrictHostKeyChecking yes\n"
        ));
    }
    text
}

/// The ids that an ordinary user has to give to tenants; none: root has all.
fn grant() -> Result<Option<Grant>> {
    if process::effective_uid() == 0 { Ok(None) } else { Grant::look_up(&account()).map(Some) }
}

fn account() -> String {
    host_account(process::effective_uid(), false).map_or_else(|| "$USER".to_owned(), |account| account.name)
}

fn serve_in_child(dir: &Path, programs: Programs, made: &Made, mut signals: Signals) -> Result<()> {
    match process::fork().map_err(|errno| fail("forking", "the listener", errno))? {
        Forked::Child => {
            drop(signals);
            let served = process::die_with_parent(signal::SIGTERM)
                .map_err(|errno| fail("following", "the parent process", errno))
                .and_then(|()| listen::serve(&options(dir, programs, made.rights), || announce(dir, made)));
            if let Err(failure) = &served {
                output::complain(failure);
            }
            process::exit_now(i32::from(served.is_err()))
        }
        Forked::Parent { pidfd, .. } => {
            loop {
                let ready = poll::wait_readable(&[pidfd.as_fd(), signals.as_fd()], None)
                    .map_err(|errno| fail("waiting for", "the listener", errno))?;
                if ready.first() == Some(&true) {
                    break;
                }
                while let Some(number) = signals.take_one().map_err(|errno| fail("reading", "signals", errno))? {
                    if number != signal::SIGCHLD {
                        process::signal_pidfd(pidfd.as_fd(), signal::SIGTERM)
                            .map_err(|errno| fail("stopping", "the listener", errno))?;
                    }
                }
            }
            match process::wait_for(pidfd.as_fd()).map_err(|errno| fail("waiting for", "the listener", errno))? {
                Ended::Exited(0) => Ok(()),
                Ended::Exited(_) => Err(fail("trying", "the door", "the listener failed; the reason is above")),
                Ended::Killed { signal, .. } => Err(fail("trying", "the door", format!("signal {signal} killed it"))),
            }
        }
    }
}

fn options(dir: &Path, programs: Programs, rights: Rights) -> Options {
    Options { config: dir.join("cellblock.toml"), programs, rights, stop: Stop::StopSessions }
}

fn announce(dir: &Path, made: &Made) -> Result<()> {
    let at = escape(&dir.to_string_lossy());
    // Whoever came by sudo has another terminal that is not root's, and the key is root's alone.
    let sudo = if made.rights == Rights::Root && env::var_os("SUDO_UID").is_some() { "sudo " } else { "" };
    let mut text = String::from("A door is open on this machine. Paste one of these into another terminal:\n\n");
    for (name, table) in TENANTS {
        let about = if table.is_empty() { "an ordinary user" } else { "root in a jail of their own" };
        text.push_str(&format!("    {sudo}ssh -F {at}/ssh_config {name}    # {about}\n"));
    }
    if let Some(OneId { to_grant, groups }) = &made.one_id {
        text.push_str(&format!(
            "\nAll of it has one id, which is yours: namespaces and filters keep the three apart, and from you, and ids do\n\
             not. Root of this host can grant you ids for them: {to_grant}\n"
        ));
        if *groups > 0 {
            text.push_str(&format!(
                "\nYou have {groups} groups besides your own, which nobody here can give up: the three read what these may\n\
                 read of the host's programs.\n"
            ));
        }
    }
    if made.held == Held::ToNone {
        text.push_str(&format!(
            "\nMade by your own rights: no control groups, so limits on memory and processors are not kept.\n\
             `{SCOPE} cellblock try` has some.\n"
        ));
    }
    text.push_str("\nPress ^C to end it; nothing of it stays.\nready");
    output::say(text).map_err(|cause| fail("printing", "the ssh lines", cause))
}
