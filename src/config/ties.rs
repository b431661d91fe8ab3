//! Which host account is which tenant: no account is two.

use std::collections::BTreeMap;

use super::files::Files;
use super::finding::{Finding, Findings, Place};
use super::keys::{Set, TenantLayer};
use crate::base::TenantName;

/// What was tied so far, over all tenants.
#[derive(Debug, Default)]
pub(super) struct Ties {
    users: BTreeMap<String, (TenantName, Place)>,
    groups: BTreeMap<String, (TenantName, Place)>,
}

impl Ties {
    /// Takes in what one tenant is tied to.
    pub(super) fn check(&mut self, tenant: &TenantName, whole: &TenantLayer, files: &Files, findings: &mut Findings) {
        take("account", &mut self.users, tenant, whole.host_user.as_ref(), files, findings);
        take("group", &mut self.groups, tenant, whole.host_group.as_ref(), files, findings);
    }
}

fn take(
    kind: &str,
    taken: &mut BTreeMap<String, (TenantName, Place)>,
    tenant: &TenantName,
    set: Option<&Set<String>>,
    files: &Files,
    findings: &mut Findings,
) {
    let Some(Set { value, place }) = set else { return };
    match taken.get(value) {
        None => {
            taken.insert(value.clone(), (tenant.clone(), *place));
        }
        Some((other, at)) => {
            let message = format!("the host {kind} `{value}` is tied to two tenants, `{other}` and `{tenant}`");
            let hint = if at == place {
                format!("set host_{} for one tenant, not for a class", if kind == "group" { kind } else { "user" })
            } else {
                format!("{other}'s is set at {}", files.where_is(*at))
            };
            findings.push(Finding::error(*place, message).hint(hint));
        }
    }
}
