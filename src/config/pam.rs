//! Whether there is what PAM needs, looked at once for all tenants that need it.

use std::{collections::BTreeSet, path::Path};

use super::finding::{Finding, Findings};
use super::keys::TenantLayer;
use super::programs::{LIBEXEC, installed};
use super::settings::Tenant;
use crate::wire::login::Method;

/// The program that PAM's modules run in.
pub const PAM_PROGRAM: &str = "cellblock-pam";

/// Where libpam looks for a service (pam.d(5)). Where there is none, it takes that of `other`.
const SERVICES: [&str; 2] = ["/etc/pam.d", "/usr/lib/pam.d"];

/// Whether the tenant's logins need PAM.
#[must_use]
pub fn needs_pam(tenant: &Tenant) -> bool {
    tenant.use_pam || asks(&tenant.auth)
}

/// Whether libpam finds this service.
#[must_use]
pub fn has_service(name: &str) -> bool {
    SERVICES.iter().any(|directory| Path::new(directory).join(name).is_file())
}

fn asks(auth: &[Vec<Method>]) -> bool {
    auth.iter().flatten().any(|method| *method == Method::KeyboardInteractive)
}

/// What was looked at.
#[derive(Debug, Default)]
pub(super) struct Pam {
    program: bool,
    services: BTreeSet<String>,
}

impl Pam {
    /// Reports what a tenant needs and is not there: they are refused until it is.
    pub(super) fn check(&mut self, whole: &TenantLayer, findings: &mut Findings) {
        let asked = whole.auth.as_ref().filter(|auth| asks(&auth.value.0)).map(|auth| auth.place);
        let used = whole.use_pam.as_ref().filter(|used| used.value).map(|used| used.place);
        let (Some(place), Some(service)) = (asked.or(used), &whole.pam_service) else { return };
        if !self.program && installed(PAM_PROGRAM).is_err() {
            self.program = true;
            let message = format!("this needs {PAM_PROGRAM}, which is neither beside this program nor in {LIBEXEC}");
            let finding = Finding::warning(place, message);
            findings.push(finding.hint("install the package cellblock-pam; whoever needs it is refused until then"));
        }
        if !has_service(&service.value) && self.services.insert(service.value.clone()) {
            let message = format!("PAM has no service `{0}`: there is no /etc/pam.d/{0}", service.value);
            let finding = Finding::warning(place, message);
            findings.push(finding.hint("PAM takes /etc/pam.d/other for it, which as a rule lets nobody in"));
        }
    }
}
