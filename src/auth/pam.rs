//! Login through PAM: who is asked about, and what its word is worth.
//!
//! Names that are nobody's, and locked tenants, are asked about as well, with answers that are not theirs
//! (OpenSSH's `fakepw`): the prompts and the time that modules take tell nobody whom there is.

use std::net::IpAddr;

use crate::base::{Result, Secret, TenantName};
use crate::config::settings::Tenant;
use crate::policy::{Identity, Proof};

use super::Refused;
use super::keys::{admit, look_up};

/// Stands for names that no tenant can have, which anybody can tell: modules get none that they might not
/// be made for.
const NOBODY: &str = "NOUSER";

/// What stands for an answer of somebody who is not to be let in: no password, whatever its length.
const FAKE: &[u8] = b"\x08\n\r\x7fINCORRECT";

/// Whom PAM is asked about.
#[derive(Debug)]
pub struct Candidate {
    service: String,
    user: String,
    tenant: Option<Tenant>,
    refused: Option<Refused>,
}

impl Candidate {
    /// Whoever calls itself `user`; those who are nobody meet the service of `[defaults]`.
    pub fn new(user: &str, service: &str, tenant: &dyn Fn(&TenantName) -> Result<Option<Tenant>>) -> Self {
        let (tenant, refused) = look_up(user, tenant);
        let named = user.parse::<TenantName>().is_ok();
        Self {
            service: tenant.as_ref().map_or(service, |tenant| &tenant.pam_service).to_owned(),
            user: if named { user } else { NOBODY }.to_owned(),
            tenant,
            refused,
        }
    }

    /// The service to ask.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The name to ask about.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// What modules get for `answers`.
    #[must_use]
    pub fn answers(&self, answers: Vec<Secret>) -> Vec<Secret> {
        if self.refused.is_none() && self.tenant.is_some() {
            return answers;
        }
        answers.iter().map(fake).collect()
    }

    /// The identity that PAM's word proves, and its tenant.
    pub fn judge(self, word: Result<(), Refused>, peer: IpAddr) -> Result<(Identity, Tenant), Refused> {
        let (tenant, ()) = admit(self.tenant, self.refused, word)?;
        Ok((Identity::proved(tenant.name.clone(), Proof::Pam, peer), tenant))
    }
}

/// As long as `answer`, so that modules take as long over it.
fn fake(answer: &Secret) -> Secret {
    Secret::new(FAKE.iter().copied().cycle().take(answer.expose().len()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody(_name: &TenantName) -> Result<Option<Tenant>> {
        Ok(None)
    }

    #[test]
    fn whoever_is_nobody_is_asked_about_with_answers_that_are_not_theirs() {
        for (user, asked) in [("mallory", "mallory"), ("Not A Name", NOBODY), ("", NOBODY), ("../x", NOBODY)] {
            let candidate = Candidate::new(user, "cellblock", &nobody);
            assert_eq!((candidate.service(), candidate.user()), ("cellblock", asked));
            let typed = || Secret::new(b"right".to_vec());
            let given = candidate.answers(vec![typed(), Secret::new(Vec::new())]);
            assert_eq!(given.iter().map(|answer| answer.expose().len()).collect::<Vec<_>>(), [5, 0]);
            assert!(given.first().is_some_and(|answer| *answer != typed()));
            assert!(candidate.judge(Ok(()), IpAddr::from([127, 0, 0, 1])).is_err(), "{user}: PAM alone lets nobody in");
        }
    }
}
