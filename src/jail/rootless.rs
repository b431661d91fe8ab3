//! Cells by the rights of an ordinary user: the same plan with fewer operations.
//!
//! The caller's process moves into a user namespace of its own, in which its one id is 0 and no other is mapped, with
//! a mount namespace below it. There it is to its cell what root of the host is to a tenant's: it attaches the host
//! view, and the cell's user namespace, which lies below, gets a copy whose attributes the kernel locks (docs/kernel.md,
//! A). What takes more than that is left out: other ids, owners that are shifted, another's priority; and control groups,
//! but where systemd has delegated one (`delegated.rs`).

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::AsFd as _,
        unix::fs::{DirBuilderExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use crate::base::{Failure, Result, fail};
use crate::config::settings::{CallSet, Enforce, Jail, Network, Root, Tenant};
use crate::sys::{Errno, credentials, namespace, path::by_descriptor, process};

use super::{
    Cell, Cells, Facts, IdRange, Ids,
    cell::{refuse_readable_dumps, take_defined_limits},
    delegated,
    facts::Rights,
    filters::Filters,
    limits, planning,
    ranges::{Granted, Outsider, Wanted},
};

/// The one id, as the namespace around the cell has it.
pub(super) const OWN: IdRange = IdRange { first: 0, count: 1 };

/// What gives a command of an ordinary user control groups of its own.
pub const SCOPE: &str = "systemd-run --user --scope -p Delegate=yes";

/// How many user namespaces a user may have (namespaces(7)).
const MOST_NAMESPACES: &str = "user.max_user_namespaces";

/// Where an ordinary user's cells are written down and kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What is gone with the machine: sockets, locks.
    pub run_dir: PathBuf,
    /// Homes.
    pub state_dir: PathBuf,
}

impl Cells {
    /// Makes the directories and the host view, and removes what earlier cells left.
    ///
    /// Moves the calling process, which must have one thread and not be root's, into a user namespace and a mount
    /// namespace of its own, with every capability there: [`give_up_rights`] ends that.
    /// `account` is the user's name, by which the host may have granted more ids. For cells like `tenant`'s alone.
    pub fn by_own_rights(place: &Place, account: Option<&str>, tenant: &Tenant, init_program: &Path) -> Result<Self> {
        refuse_readable_dumps()?;
        take_defined_limits()?;
        let (state_dir, run_dir) = (make_private(&place.state_dir)?, make_private(&place.run_dir)?);
        let granted = match account {
            Some(account) => Granted::look_up(account, process::effective_uid(), Wanted::AROUND)?,
            None => None,
        };
        // Their files are the user's, whom programs in the jail are, too: mounted read-only. Who may mount can mount
        // the hierarchy anew, and lift its own limits.
        let mounts = tenant.jail.syscalls.contains(&CallSet::Nesting);
        let groups = if mounts { delegated::none() } else { delegated::take()? };
        become_root_of_own(granted)?;
        let rights = Rights::User { others: granted.map_or(0, |granted| granted.count) };
        let facts = Facts::gather_for_user(rights, &state_dir, groups)?;
        refuse_unmet(tenant, &facts)?;
        // Most of the time of a start would go into lists for others.
        let filters = Filters::compile_for([tenant.jail.syscalls.clone()])?;
        Self::assemble(&run_dir, facts, Ids::none(&state_dir), filters, init_program)
    }

    /// Joins the user's cell of this name, or starts one; `tenant` has passed [`check`].
    pub fn enter_by_own_rights(&self, tenant: &Tenant) -> Result<Cell> {
        let cell = self.enter_by(tenant, || Ok(planning::plan(tenant, OWN, self.facts())))?;
        // Whoever started it may have had no groups.
        if !cell.started && tenant.jail.limits.enforce == Enforce::Strict && !delegated::holds_cell(cell.pid)? {
            let cause = "the jail that runs was started without control groups, and may be missing none";
            return Err(fail("entering the cell of", &tenant.name, format_args!("(limits): {cause}"))
                .hint("end what runs there, or limits.enforce = \"best-effort\""));
        }
        Ok(cell)
    }

    /// Whether there are no ids in the cell but one.
    #[must_use]
    pub fn has_one_id(&self) -> bool {
        self.facts().rights.are_of_one_id()
    }

    /// Whether there are control groups for the cell.
    #[must_use]
    pub fn has_groups(&self) -> bool {
        self.facts().groups != delegated::none()
    }

    /// The keys of `tenant`'s limits that nothing here enforces. Processes are bounded all the same, by
    /// `RLIMIT_NPROC`: what the kernel counts for it, it counts for each user namespace.
    #[must_use]
    pub fn goes_without(&self, tenant: &Tenant) -> Vec<&'static str> {
        let unmet = limits::unmet(&tenant.jail.limits, &self.facts().controls);
        unmet.into_iter().filter(|key| *key != "limits.pids").collect()
    }
}

/// Refuses a jail that an ordinary user's rights do not reach to, by the name of its key.
pub fn check(tenant: &Tenant) -> Result<()> {
    let Jail { root, network, no_new_privs, syscalls, .. } = &tenant.jail;
    let refused = |key: &str, why: &str, hint: &str| {
        Err(fail("making a jail without root", format_args!("({key})"), why).hint(hint))
    };
    if *root != Root::Host {
        return refused("root", "the owners of a tree are shifted by root alone", "root = \"host\"");
    }
    if *network != Network::None {
        return refused("network", "your own services would be the jail's to talk to", "network = \"none\"");
    }
    if !no_new_privs {
        return refused("no_new_privs", "there is no second id that a program could gain", "no_new_privs = true");
    }
    for (set, name) in [(CallSet::Fuse, "fuse"), (CallSet::Ping, "ping")] {
        if syscalls.contains(&set) {
            return refused("syscalls", "what it needs besides is root's to give", &format!("leave out \"{name}\""));
        }
    }
    Ok(())
}

/// Refuses limits that may not be missing and are.
fn refuse_unmet(tenant: &Tenant, facts: &Facts) -> Result<()> {
    let unmet = limits::unmet(&tenant.jail.limits, &facts.controls);
    if unmet.is_empty() || tenant.jail.limits.enforce == Enforce::BestEffort {
        return Ok(());
    }
    Err(fail(
        "making a jail without root",
        "(limits)",
        format!("no control group of yours enforces {}", unmet.join(", ")),
    )
    .hint(format!("limits.enforce = \"best-effort\" goes without; or run it by `{SCOPE}`, where systemd gives some")))
}

/// Gives up every capability in the namespace around the cell.
pub fn give_up_rights() -> Result<()> {
    credentials::keep_capabilities(0).map_err(|errno| fail("giving up", "the capabilities that made the jail", errno))
}

/// A directory that nobody but the user enters, by its path without links.
fn make_private(directory: &Path) -> Result<PathBuf> {
    let failed = |cause: &dyn std::fmt::Display| fail("using", directory.display(), cause);
    match DirBuilder::new().recursive(true).mode(0o700).create(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(&error)),
    }
    let opened = File::open(directory).map_err(|error| failed(&error))?;
    let found = opened.metadata().map_err(|error| failed(&error))?;
    if !found.is_dir() {
        return Err(failed(&"it is not a directory"));
    }
    if found.uid() != process::effective_uid() {
        return Err(failed(&format_args!("it belongs to uid {}", found.uid())));
    }
    if found.mode() & 0o077 != 0 {
        return Err(failed(&"others can enter it").hint(format!("chmod 700 {}", directory.display())));
    }
    fs::read_link(by_descriptor(opened.as_fd())).map_err(|error| failed(&error))
}

/// Becomes root of a user namespace of its own, with the ids that root of the host has granted; or else with none but
/// its own, which whoever may not set groups may map without help (user_namespaces(7)).
pub(super) fn become_root_of_own(granted: Option<Granted>) -> Result<()> {
    let (uid, gid) = (process::effective_uid(), credentials::effective_gid());
    let outsider = granted.map(Outsider::start).transpose()?;
    namespace::leave_users_and_mounts().map_err(no_namespace)?;
    match outsider {
        Some(outsider) => {
            outsider.map()?;
            credentials::become_user(0, 0)
        }
        None => {
            map_own(uid, gid)?;
            credentials::become_only_user(0, 0)
        }
    }
    .map_err(|errno| fail("becoming root of", "a user namespace", errno))
}

fn map_own(uid: u32, gid: u32) -> Result<()> {
    for (name, text) in
        [("setgroups", "deny".to_owned()), ("gid_map", format!("0 {gid} 1\n")), ("uid_map", format!("0 {uid} 1\n"))]
    {
        let path = Path::new("/proc/self").join(name);
        fs::write(&path, text).map_err(|error| {
            fail("mapping your id in", path.display(), error).hint(
                "this host keeps ordinary users from what user namespaces are for: see kernel.apparmor_restrict_unprivileged_userns, and docs/rootless.md",
            )
        })?;
    }
    Ok(())
}

fn no_namespace(errno: Errno) -> Failure {
    let failure = fail("making a user namespace", "", errno);
    match errno {
        Errno::ENOSPC => failure.hint(format!("root of the host can allow more: sysctl {MOST_NAMESPACES}=N")),
        Errno::EPERM | Errno::EACCES => failure.hint(
            "this host allows none to ordinary users: see kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns, and docs/rootless.md",
        ),
        _other => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sample;
    use crate::config::settings::Limits;

    fn jail() -> Jail {
        let limits = Limits { enforce: Enforce::BestEffort, ..sample::jail().limits };
        Jail { limits, ..sample::jail() }
    }

    fn refused(jail: Jail) -> Option<String> {
        check(&Tenant::new("alice".parse().unwrap(), jail)).err().map(|failure| failure.to_string())
    }

    #[test]
    fn what_takes_root_is_refused_by_its_key() {
        assert_eq!(refused(jail()), None);
        for (key, asked) in [
            ("(root)", Jail { root: Root::Directory("/srv/a".into()), ..jail() }),
            ("(network)", Jail { network: Network::Host, ..jail() }),
            ("(no_new_privs)", Jail { no_new_privs: false, ..jail() }),
            ("(syscalls)", Jail { syscalls: [CallSet::Ping].into(), ..jail() }),
            ("(syscalls)", Jail { syscalls: [CallSet::Nesting, CallSet::Fuse].into(), ..jail() }),
        ] {
            let why = refused(asked).unwrap();
            assert!(why.contains(key) && why.contains("hint: "), "{key}: {why}");
        }
    }
}
