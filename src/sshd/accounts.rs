//! Accounts of the host that are tenants: those that the enter door would let in.

use std::{
    collections::BTreeSet,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use users::os::unix::{GroupExt as _, UserExt as _};

use super::pam;
use crate::auth::host_account;
use crate::base::Result;
use crate::config::Compiled;
use crate::sys::support;
use crate::wire::enter::SHELL_NAME;

/// Shells that let nobody run anything.
const SHUT: [&str; 2] = ["nologin", "false"];

/// Files of the home that a shell reads before it runs a command (bash as Debian builds it).
const STARTUP: [(&str, &[&str]); 7] = [
    ("bash", &[".bashrc"]),
    ("rbash", &[".bashrc"]),
    ("zsh", &[".zshenv"]),
    ("rzsh", &[".zshenv"]),
    ("csh", &[".cshrc"]),
    ("tcsh", &[".tcshrc", ".cshrc"]),
    ("fish", &[".config", ".config/fish", ".config/fish/config.fish", ".config/fish/conf.d"]),
];

/// Shells that read no file before a command. Of any other it is not known.
const PLAIN: [&str; 6] = ["", "sh", "dash", "ash", "ksh", "mksh"];

/// A host account that is a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) groups: Vec<String>,
    pub(super) shell: Shell,
    /// It can write the file that pam_env(8) takes variables from.
    pub(super) writes_variables: bool,
}

/// Its login shell, by which sshd runs all that it runs for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shell {
    /// `cellblock-shell`: all ends in the cell.
    Ours,
    /// Nothing is run.
    Shut,
    /// One of this host's.
    Hosts {
        path: String,
        /// What it runs first, and the account can write.
        startup: Option<PathBuf>,
    },
}

/// The names of all of them.
pub fn names(compiled: &Compiled) -> Result<Vec<String>> {
    Ok(tied(compiled)?.into_iter().map(|account| account.name).collect())
}

/// All of them, by name. Asks the host's directory of accounts (NSS), as the door does.
pub(super) fn tied(compiled: &Compiled) -> Result<Vec<Account>> {
    let mut names = BTreeSet::new();
    let mut groups = BTreeSet::new();
    for tenant in compiled.tenants() {
        let tenant = tenant?;
        names.extend(tenant.host_user);
        if let Some(group) = tenant.host_group.as_deref().and_then(users::get_group_by_name) {
            groups.insert(group.gid());
            names.extend(group.members().iter().filter_map(|name| name.to_str()).map(str::to_owned));
        }
    }
    if !groups.is_empty() {
        names.extend(support::host_accounts_in(&groups));
    }
    let mut accounts = Vec::new();
    for name in &names {
        // Whoever has no account, sshd lets in nowhere; root is nobody's tenant.
        let Some(user) = users::get_user_by_name(name).filter(|user| user.uid() != 0) else { continue };
        let Some(known) = host_account(user.uid(), true) else { continue };
        if compiled.tied_to(&known.name, &known.groups)?.is_some() {
            let (owner, home) = (Owner::of(&user), user.home_dir());
            let shell = shell(user.shell(), &owner, home);
            let writes_variables = owner.can_write(home) || owner.can_write(&home.join(pam::OWN));
            accounts.push(Account { name: name.clone(), groups: known.groups, shell, writes_variables });
        }
    }
    Ok(accounts)
}

/// Who an account is to the file system.
struct Owner {
    uid: u32,
    gids: Vec<u32>,
}

impl Owner {
    fn of(user: &users::User) -> Self {
        let others = user.groups().unwrap_or_default();
        Self { uid: user.uid(), gids: others.iter().map(users::Group::gid).chain([user.primary_group_id()]).collect() }
    }

    /// Whether it can write there; what is not there, it cannot.
    fn can_write(&self, path: &Path) -> bool {
        path.metadata().is_ok_and(|found| {
            found.uid() == self.uid
                || found.mode() & 0o002 != 0
                || (found.mode() & 0o020 != 0 && self.gids.contains(&found.gid()))
        })
    }
}

fn shell(path: &Path, owner: &Owner, home: &Path) -> Shell {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name == SHELL_NAME {
        return Shell::Ours;
    }
    if SHUT.contains(&name) {
        return Shell::Shut;
    }
    let files = STARTUP.iter().find(|(shell, _)| *shell == name).map(|(_, files)| *files).unwrap_or_default();
    let writable = |file: &&&str| owner.can_write(home) || owner.can_write(&home.join(file));
    let unknown = files.is_empty() && !PLAIN.contains(&name);
    let startup = match files.iter().find(writable) {
        Some(file) => Some(home.join(file)),
        None => Some(home.to_owned()).filter(|home| unknown && owner.can_write(home)),
    };
    // An empty field is /bin/sh (passwd(5)).
    let path = if path.as_os_str().is_empty() { "/bin/sh".into() } else { path.display().to_string() };
    Shell::Hosts { path, startup }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::chown};

    use super::*;

    #[test]
    fn a_shell_runs_what_its_account_can_write_if_it_reads_it_at_all() {
        let home = PathBuf::from(format!("/tmp/cellblock-sshd-home-{}", std::process::id()));
        fs::create_dir(&home).unwrap();
        let (owner, other) = (Owner { uid: 61_001, gids: vec![61_001] }, Owner { uid: 61_002, gids: vec![61_001] });
        let of = |path: &str, owner: &Owner| shell(Path::new(path), owner, &home);
        let runs = |path: &str, owner: &Owner| match of(path, owner) {
            Shell::Hosts { startup, .. } => startup.is_some(),
            Shell::Ours | Shell::Shut => panic!("{path} is a shell of the host's"),
        };
        assert!(!runs("/bin/bash", &owner), "a home of root's");
        fs::write(home.join(".zshenv"), "").unwrap();
        chown(home.join(".zshenv"), Some(61_001), None).unwrap();
        assert!(runs("/usr/bin/zsh", &owner) && !runs("/usr/bin/zsh", &other) && !runs("/bin/bash", &owner));
        chown(&home, Some(61_001), Some(61_001)).unwrap();
        assert!(runs("/bin/bash", &owner) && runs("/bin/tcsh", &owner) && !runs("/bin/bash", &other));
        assert!(!runs("/bin/sh", &owner) && !runs("/bin/dash", &owner));
        assert!(runs("/bin/rbash", &owner), "it reads .bashrc before it is restricted");
        assert!(runs("/opt/own-shell", &owner) && !runs("/opt/own-shell", &other), "nobody knows what it reads");
        assert_eq!(of("/usr/sbin/cellblock-shell", &owner), Shell::Ours);
        assert_eq!(of("/usr/sbin/nologin", &owner), Shell::Shut);
        fs::remove_dir_all(&home).unwrap();
    }
}
