//! Lines of keys that are not in the config: read at each login, in this order, until one lets in.

use std::path::Path;

use tracing::warn;

use crate::base::{TenantName, escape, fail};
use crate::config::MAX_KEYS_FILE;
use crate::config::authorized_keys::parse_file;
use crate::config::settings::{AuthorizedKey, KeyRole, KeysCommand, Root, Tenant, kept};
use crate::sys::Errno;
use crate::sys::file::{Distrust, Links, TrustedDir, Untrusted, read_beneath, read_trusted};

use super::command;
use super::keys::Claim;

/// Largest file of a tenant's own: a thousand keys, and nobody's login takes long because of it.
const MAX_OWN_KEYS: usize = 256 << 10;

/// Lines of such a file that are complained of, each time it is read.
const MOST_COMPLAINTS: usize = 4;

/// Where lines of keys come from besides the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `authorized_keys_file`, which is root's.
    File,
    /// `~/.ssh/authorized_keys`, which is the tenant's (`own_keys`).
    Home,
    /// `authorized_keys_command`.
    Command,
}

impl Source {
    /// In the order in which they are asked.
    pub(super) const ALL: [Self; 3] = [Self::File, Self::Home, Self::Command];
}

/// The usable lines that `source` has for `tenant`; what is wrong with it is for the admin's log.
#[must_use]
pub fn key_lines(source: Source, tenant: &Tenant, claim: &Claim<'_>, state_dir: &Path) -> Vec<AuthorizedKey> {
    match source {
        Source::Command => tenant.keys_command.as_ref().map(|command| asked(command, claim)).unwrap_or_default(),
        Source::File => tenant.authorized_keys_file.as_deref().map(file_keys).unwrap_or_default(),
        Source::Home if tenant.own_keys => own_keys(tenant, state_dir),
        Source::Home => Vec::new(),
    }
}

/// Asks `command` about a name that is nobody's, for the time that it takes.
pub fn ask_in_vain(command: &KeysCommand, claim: &Claim<'_>) {
    if claim.user.parse::<TenantName>().is_ok() {
        drop(asked(command, claim));
    }
}

fn asked(command: &KeysCommand, claim: &Claim<'_>) -> Vec<AuthorizedKey> {
    match command::ask(command, claim.user, claim.key) {
        Ok(output) => parsed(&output, command.words.first().map_or("", String::as_str), MOST_COMPLAINTS),
        Err(failure) => {
            warn!("{failure}");
            Vec::new()
        }
    }
}

fn file_keys(path: &Path) -> Vec<AuthorizedKey> {
    match read_trusted(path, Links::Refuse, MAX_KEYS_FILE) {
        Ok(bytes) => parsed(&bytes, &path.display().to_string(), usize::MAX),
        Err(why) => {
            warn!("{}", fail("reading the keys in", path.display(), why));
            Vec::new()
        }
    }
}

/// The tenant is no authority on who may certify keys: such lines are for root's files.
fn own_keys(tenant: &Tenant, state_dir: &Path) -> Vec<AuthorizedKey> {
    let name = format!("~{}/.ssh/authorized_keys", tenant.name);
    match read_own(tenant, state_dir) {
        Ok(bytes) => {
            let mut keys = parsed(&bytes, &name, MOST_COMPLAINTS);
            keys.retain(|key| key.role == KeyRole::User);
            keys
        }
        // A tenant who has never logged in, or made no such file.
        Err(Untrusted { why: Distrust::Os(Errno::ENOENT), .. }) => Vec::new(),
        Err(Untrusted { why, .. }) => {
            warn!("{}", fail("reading the keys in", name, why));
            Vec::new()
        }
    }
}

fn read_own(tenant: &Tenant, state_dir: &Path) -> Result<Vec<u8>, Untrusted> {
    let inner = tenant.jail.home.trim_start_matches('/');
    // Only root of the host can get into what is above, so nobody exchanges it under way.
    let (above, home) = match &tenant.jail.root {
        Root::Host => (kept(state_dir, &tenant.name), Path::new("home").to_owned()),
        Root::Directory(root) => {
            let name = root.file_name().unwrap_or_default();
            (root.parent().unwrap_or(root).to_owned(), Path::new(name).join(inner))
        }
    };
    let dir = TrustedDir::open(&above, Links::Refuse)?;
    read_beneath(&dir, &home, &[".ssh", "authorized_keys"], tenant.jail.user.id(), MAX_OWN_KEYS)
        .map_err(|why| Untrusted { path: above, why })
}

/// The usable keys of `text`; at most `most` complaints about the rest.
fn parsed(bytes: &[u8], shown: &str, most: usize) -> Vec<AuthorizedKey> {
    let (keys, wrong) = parse_file(&String::from_utf8_lossy(bytes));
    for (line, why) in wrong.iter().take(most) {
        warn!("{shown}:{line}: key is not used: {}", escape(&why.to_string()));
    }
    keys
}
