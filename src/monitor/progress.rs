//! What a connection has proved so far: methods that one user passed, in order.
//!
//! All of it belongs to one user name. With the first request that says another, it is gone
//! (GHSA-hpv4-5h6f-wqr3: what alice showed must not help bob).

use crate::base::TenantName;
use crate::config::settings::Tenant;
use crate::policy::{Identity, Proof, is_complete, next_methods};
use crate::wire::login::Method;

use super::pam::Pam;
use super::pipeline::House;

/// Somebody who passed all of one way.
#[derive(Debug)]
pub(super) struct Proved {
    pub(super) identity: Identity,
    pub(super) tenant: Tenant,
    /// The methods, joined by `+`.
    pub(super) methods: String,
    /// What PAM was asked by, if it was: its session is still to be opened.
    pub(super) pam: Option<Pam>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Progress {
    user: String,
    passed: Vec<Method>,
    /// What the audit log calls them.
    names: Vec<&'static str>,
    identity: Option<Identity>,
    pam: Option<Pam>,
}

impl Progress {
    /// What `user` may go on with. Forgets everything that another user has passed.
    ///
    /// Whoever is no tenant is offered what strangers are.
    pub(super) fn next(&mut self, user: &str, house: &House) -> Vec<Method> {
        if self.user != user {
            *self = Self { user: user.to_owned(), ..Self::default() };
        }
        let tenant = user.parse::<TenantName>().ok().and_then(|name| (house.tenant)(&name).ok().flatten());
        next_methods(tenant.as_ref().map_or(&house.stranger.auth, |tenant| &tenant.auth), &self.passed)
    }

    /// Notes that the user of the last [`next`](Self::next) passed `method`, which was in it. `Some`: that
    /// was all.
    pub(super) fn pass(
        &mut self,
        method: Method,
        (identity, tenant): (Identity, Tenant),
        pam: Option<Pam>,
    ) -> Option<Proved> {
        self.names.push(match identity.proof() {
            Proof::Certificate { .. } => "certificate",
            Proof::Key { .. } | Proof::Password | Proof::Pam | Proof::HostRoot | Proof::HostAccount { .. } => {
                method.name()
            }
        });
        // Keys bring options that restrict; a password beside one lifts none of them, nor does PAM.
        let identity = match self.identity.take() {
            Some(before) if before.proof().options().is_some() => before,
            Some(_) | None => identity,
        };
        self.passed.push(method);
        self.pam = self.pam.take().or(pam);
        if is_complete(&tenant.auth, &self.passed) {
            return Some(Proved { identity, tenant, methods: self.names.join("+"), pam: self.pam.take() });
        }
        self.identity = Some(identity);
        None
    }
}
