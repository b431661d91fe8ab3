//! Who a session runs as inside the cell.

use crate::config::settings::{Tenant, User};
use crate::wire::init::Account;

use super::rlimits::{CORE, DEFINED, OPEN_FILES};

/// Files of a session are readable by others inside its cell, as on any host (umask(2)).
const UMASK: u32 = 0o022;

/// The account of `tenant` in its cell.
pub(super) fn account(tenant: &Tenant) -> Account {
    let jail = &tenant.jail;
    let id = jail.user.id();
    let (name, capabilities) = match jail.user {
        User::Tenant => (tenant.name.to_string(), 0),
        User::Root => ("root".to_owned(), jail.capabilities),
    };
    let bounding = if jail.no_new_privs { capabilities | jail.carried() } else { jail.capabilities };
    let limits = &jail.limits;
    let mut rlimits = DEFINED.to_vec();
    rlimits.extend([(OPEN_FILES, limits.nofile, limits.nofile), (CORE, limits.core.0, limits.core.0)]);
    Account {
        name,
        uid: id,
        gid: id,
        home: jail.home.clone(),
        shell: jail.shell.clone(),
        capabilities,
        bounding,
        no_new_privs: jail.no_new_privs,
        rlimits,
        umask: UMASK,
    }
}
