//! Entering a jail of one's own: without the listener, and without root. The caller's process makes the cell by its own
//! rights (`jail/rootless.rs`) and is its monitor for one session; then it gives those rights up and relays.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::auth::{host_account, own_identity};
use crate::base::{Result, SessionId, TenantName, fail};
use crate::config::settings::{Allow, Tenant};
use crate::config::{Report, default_jail, load_own};
use crate::jail::Cells;
use crate::jail::rootless::{self, Place, SCOPE};
use crate::policy::{Ask, Ends, Told, grant};
use crate::sys::{credentials, process, pty, random};
use crate::wire::session::Program;

use super::end::Ending;
use super::own::{Init, SESSION};
use super::session::Session;
use super::{end, environment, failed, terminal, variable};

/// The tenant where neither the caller nor the host's list of accounts has a name that can be one's.
const NAMELESS: &str = "me";

/// Whom to enter as, what to run, and by what.
#[derive(Debug)]
pub struct Own {
    /// Whose cell of the caller's own; none: the one that is named after their account.
    pub tenant: Option<String>,
    /// What to run there.
    pub program: Program,
    /// The caller's config; none: every default.
    pub config: Option<PathBuf>,
    /// `cellblock-init`.
    pub init_program: PathBuf,
    /// Whether to say what could not be had wherever it is read.
    pub verbose: bool,
}

/// Enters, and stays until the session ends. Ends as the program that ran there did.
pub fn run(own: Own) -> ExitCode {
    ExitCode::from(end(enter(own)))
}

/// Config → Tenant → Grant → Cells → the session → its streams, relayed → the end.
fn enter(own: Own) -> Result<Ending> {
    let uid = process::effective_uid();
    if uid == 0 {
        return Err(fail("making a jail without root", "", "you are root")
            .hint("cellblock serve makes jails that are worth more; cellblock try shows them"));
    }
    let known = host_account(uid, false).map(|account| account.name);
    let account = known.clone().unwrap_or_else(|| format!("uid {uid}"));
    let name = name(own.tenant.as_deref(), &account)?;
    let tenant = tenant(own.config.as_deref(), uid, &name)?;
    rootless::check(&tenant)?;
    let groups = credentials::other_groups().map_err(failed("asking for your groups"))?;
    let tells = own.verbose || (own.program == Program::Shell && io::stderr().is_terminal());
    let on_terminal = pty::are_terminals_at_both_ends();
    let grant = grant(own_identity(uid, &account, name.clone()), tenant.clone(), None::<Ends>)
        .ok_or_else(|| fail("entering the cell of", &name, "it is locked"))?;
    let with_terminal = on_terminal && grant.allows(Allow::Pty);
    let terminal = if with_terminal { Some(terminal::wanted(variable("TERM"))?) } else { None };
    let environment = environment::of(env::vars_os(), false);
    let ask = Ask { program: own.program, terminal, environment, sockets: Vec::new() };
    let refused = |why: crate::wire::login::Refusal| fail("entering the cell of", &name, why.sentence());
    let mut start = grant.session(SESSION, session_id()?, ask, &Told::default()).map_err(refused)?;
    bound_processes(&mut start.account.rlimits, tenant.jail.limits.pids);

    let cells = Cells::by_own_rights(&place()?, known.as_deref(), &tenant, &own.init_program)?;
    if tells {
        // Groups can be given up where others are mapped.
        let groups = if cells.has_one_id() { groups.len() } else { 0 };
        tell(&lacks(cells.has_one_id(), (cells.has_groups(), &cells.goes_without(&tenant)), groups));
    }
    let init = Init::enter(Box::new(move || cells.enter_by_own_rights(&tenant)), start, grant.takes_signals())?;
    let mut session = Session::begin(init, with_terminal)?;
    let streams = session.start(Init::ask)?;
    rootless::give_up_rights()?;
    session.relay(streams, with_terminal)
}

fn name(asked: Option<&str>, account: &str) -> Result<TenantName> {
    match asked {
        Some(asked) => asked.parse().map_err(|why| fail("entering the cell of", asked, why)),
        None => account.parse().or_else(|_no_name| NAMELESS.parse()).map_err(|why| fail("naming", "your cell", why)),
    }
}

fn tenant(config: Option<&Path>, uid: u32, name: &TenantName) -> Result<Tenant> {
    let (loaded, from) = match config {
        None => (default_jail(name), "(built in)".into()),
        Some(path) => (load_own(path, uid, name), path.to_string_lossy()),
    };
    loaded.map_err(|report: Report| fail("reading", from, format_args!("\n{report}")))
}

/// Where XDG says (basedir-spec): what is kept, and what is gone with the machine.
fn place() -> Result<Place> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let kept = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
    let state_dir = kept
        .ok_or_else(|| fail("looking for", "your directory", "HOME is not set").hint("HOME=/home/you"))?
        .join("cellblock");
    let run_dir = absolute("XDG_RUNTIME_DIR").map_or_else(|| state_dir.join("run"), |dir| dir.join("cellblock"));
    Ok(Place { run_dir, state_dir })
}

/// A name for the session in its cell, as a listener would give it.
fn session_id() -> Result<SessionId> {
    let connection = random::hex::<6>().map_err(failed("naming the session"))?;
    SessionId::new(&connection, SESSION).map_err(|why| fail("naming", "the session", why))
}

/// In place of what a control group would count. init is one more of the same user.
fn bound_processes(rlimits: &mut Vec<(u32, u64, u64)>, most: u32) {
    let most = u64::from(most).saturating_add(1);
    rlimits.retain(|(resource, ..)| *resource != credentials::LIMIT_PROCESSES);
    rlimits.push((credentials::LIMIT_PROCESSES, most, most));
}

/// What a jail that root makes has beyond this one.
fn lacks(one_id: bool, (has_groups, limits): (bool, &[&str]), groups: usize) -> Vec<String> {
    let mut lacks =
        vec!["no listener: nothing is recorded, and `cellblock list` and `kill` do not see the jail".to_owned()];
    if one_id {
        lacks.push("one id: the jail's own files, in /etc and /run, are its programs' to change".to_owned());
    }
    if !limits.is_empty() {
        let list = list(limits);
        lacks.push(if has_groups {
            format!("systemd has not delegated all controllers: {list} not enforced")
        } else {
            format!("no control groups: {list} not enforced; `{SCOPE} cellblock …` has some")
        });
    }
    if groups > 0 {
        lacks.push(format!("your groups besides your own stay, {groups} of them: they cannot be given up"));
    }
    lacks
}

fn list(limits: &[&str]) -> String {
    let verb = if limits.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", limits.join(", "))
}

fn tell(lacks: &[String]) {
    let mut out = io::stderr().lock();
    for line in lacks {
        // Whoever closed it does not want to know.
        drop(writeln!(out, "cellblock: without root: {line}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_by_name() {
        let lines = lacks(true, (false, &["limits.memory", "limits.cpu"]), 2);
        assert!(lines.iter().any(|line| line.contains("limits.memory, limits.cpu are not enforced")), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("2 of them")), "{lines:?}");
        assert_eq!(lacks(false, (true, &[]), 0).len(), 1);
    }

    #[test]
    fn a_cell_is_named_as_asked_or_after_the_account() {
        let named = |asked: Option<&str>, account: &str| name(asked, account).map(|name| name.to_string());
        assert_eq!(named(Some("box"), "me"), Ok("box".to_owned()));
        assert_eq!(named(None, "alice"), Ok("alice".to_owned()));
        assert_eq!(named(None, "uid 1000"), Ok(NAMELESS.to_owned()));
        assert!(named(Some("../x"), "alice").is_err());
    }

    #[test]
    fn processes_are_bounded_once() {
        let unlimited = u64::MAX;
        let mut rlimits = vec![(6, unlimited, unlimited), (7, 1, 1)];
        bound_processes(&mut rlimits, 50);
        assert_eq!(rlimits, [(7, 1, 1), (6, 51, 51)]);
    }
}
