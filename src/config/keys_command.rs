//! `authorized_keys_command` and whom it runs as, looked at once for all tenants that share it.

use std::{collections::HashMap, path::Path};

use super::finding::{Finding, Findings};
use super::keys::{Set, TenantLayer};
use super::settings::KeysCommand;
use crate::sys::file::{Links, trusted_file};

/// What became of each command line with each account.
#[derive(Debug, Default)]
pub(super) struct Commands(HashMap<(Vec<String>, Option<String>), Option<KeysCommand>>);

impl Commands {
    /// The command of a tenant, if it has one that can be used.
    pub(super) fn check(&mut self, whole: &TenantLayer, findings: &mut Findings) -> Option<KeysCommand> {
        let command = whole.authorized_keys_command.as_ref()?;
        let user = whole.authorized_keys_command_user.as_ref();
        let key = (command.value.clone(), user.map(|user| user.value.clone()));
        self.0.entry(key).or_insert_with(|| usable(command, user, findings)).clone()
    }
}

fn usable(command: &Set<Vec<String>>, user: Option<&Set<String>>, findings: &mut Findings) -> Option<KeysCommand> {
    if let Some(program) = command.value.first()
        && let Err(untrusted) = trusted_file(Path::new(program), Links::Follow)
    {
        let finding = Finding::error(command.place, format!("the command cannot be used: {untrusted}"));
        findings.push(finding.maybe_hint(untrusted.hint()));
    }
    let Some(user) = user else {
        let finding = Finding::error(command.place, "nobody is named whom the command runs as");
        findings.push(finding.hint("authorized_keys_command_user = \"nobody\", or better an account of its own"));
        return None;
    };
    let account = users::get_user_by_name(&user.value);
    match account.map(|account| (account.uid(), account.primary_group_id())) {
        Some((uid, gid)) if uid != 0 && gid != 0 => {
            Some(KeysCommand { words: command.value.clone(), user: user.value.clone(), uid, gid })
        }
        Some(_root) => {
            let message = format!("the account `{}` is root's, or has root's group", user.value);
            findings.push(Finding::error(user.place, message));
            None
        }
        None => {
            let message = format!("there is no account `{}` on this host", user.value);
            findings.push(Finding::error(user.place, message).hint(format!("useradd --system {}", user.value)));
            None
        }
    }
}
