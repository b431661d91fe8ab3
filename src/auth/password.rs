//! Login by password: what was typed, against the hash in the config.

use std::net::IpAddr;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use yescrypt::Yescrypt;

use crate::base::{Failure, Result, Secret, TenantName, fail};
use crate::config::PasswordHash;
use crate::config::settings::Tenant;
use crate::policy::{Identity, Proof};
use crate::wire::login::MAX_PASSWORD;

use super::Refused;
use super::keys::{admit, look_up};

/// A hash as [`hash`] makes them, of a password that nobody knows.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$Pk5qd0h2T1JhY2xlTm9ib2R5$ExLcC61v4fjUYCQ9nVHVdhPnrwqxwQNg1cB1i4NxVOQ";

/// Judges a password: the identity that it proves, and its tenant.
///
/// Unknown and locked tenants, and those without a password, cost one hash as others do.
pub fn prove_password(
    user: &str,
    password: &Secret,
    peer: IpAddr,
    tenant: &dyn Fn(&TenantName) -> Result<Option<Tenant>>,
) -> Result<(Identity, Tenant), Refused> {
    let (tenant, refused) = look_up(user, tenant);
    let matched = matches(tenant.as_ref().and_then(|tenant| tenant.password.as_ref()), password);
    let (tenant, ()) = admit(tenant, refused, if matched { Ok(()) } else { Err(Refused::Password) })?;
    Ok((Identity::proved(tenant.name.clone(), Proof::Password, peer), tenant))
}

/// Whether `password` is the one that was hashed. Empty ones, and those of more than [`MAX_PASSWORD`]
/// bytes, are refused before anything is computed; nothing matches a hash that is locked or missing.
fn matches(hash: Option<&PasswordHash>, password: &Secret) -> bool {
    let bytes = password.expose();
    if bytes.is_empty() || bytes.len() > MAX_PASSWORD {
        return false;
    }
    match hash {
        Some(PasswordHash::Argon2id(hash)) => Argon2::default().verify_password(bytes, hash.as_str()).is_ok(),
        Some(PasswordHash::Yescrypt(hash)) => Yescrypt::default().verify_password(bytes, hash.as_str()).is_ok(),
        Some(PasswordHash::Locked) | None => {
            // For the time that it takes; whoever finds the password of that hash has nobody's.
            std::hint::black_box(Argon2::default().verify_password(bytes, NOBODYS).is_ok());
            false
        }
    }
}

/// A new hash of `password` by argon2id, with a salt of its own and OWASP's first choice of costs
/// (19 MiB, two passes). For whoever sets a password; root or not.
pub fn hash(password: &Secret) -> Result<String, Failure> {
    let bytes = password.expose();
    if bytes.is_empty() {
        return Err(fail("hashing", "the password", "it is empty"));
    }
    if bytes.len() > MAX_PASSWORD {
        return Err(fail("hashing", "the password", format!("it has more than {MAX_PASSWORD} bytes")));
    }
    let hashed = Argon2::default().hash_password(bytes);
    hashed.map(|hash| hash.to_string()).map_err(|why| fail("hashing", "the password", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    fn parsed(text: &str) -> PasswordHash {
        text.parse().unwrap()
    }

    #[test]
    fn a_password_matches_its_own_hash_alone() {
        let own = parsed(&hash(&secret("correct horse")).unwrap());
        assert!(matches(Some(&own), &secret("correct horse")));
        for wrong in ["", "correct hors", "correct horse ", "Correct horse"] {
            assert!(!matches(Some(&own), &secret(wrong)), "{wrong:?}");
        }
        assert_ne!(hash(&secret("x")).unwrap(), hash(&secret("x")).unwrap(), "each has a salt of its own");
    }

    #[test]
    fn a_hash_of_crypt_3_matches() {
        let hash = parsed("$y$j9T$F5Jx5fExrKuPp53xLKQ..1$PmNgGTLMFjJn.URBv11CpTEm5RwlKtPjRtztKe6.b33");
        assert!(matches(Some(&hash), &secret("hunter2")));
        assert!(!matches(Some(&hash), &secret("hunter3")));
    }

    /// CVE-2026-123158: passwords of these lengths matched hash fields that were no hashes
    #[test]
    fn nothing_matches_a_hash_that_is_locked_or_missing() {
        for length in [0, 1, 255, 256, 1024, 1025, 65_536] {
            let typed = secret(&"x".repeat(length));
            for locked in ["!", "*", "!!", "!x", "*LK*"] {
                assert!(!matches(Some(&parsed(locked)), &typed), "{locked} by {length}");
            }
            assert!(!matches(None, &typed), "none by {length}");
        }
    }

    #[test]
    fn the_longest_password_matches_and_a_longer_one_is_not_hashed() {
        let longest = "x".repeat(MAX_PASSWORD);
        let own = parsed(&hash(&secret(&longest)).unwrap());
        assert!(matches(Some(&own), &secret(&longest)));
        let longer = secret(&"x".repeat(MAX_PASSWORD + 1));
        assert!(hash(&longer).is_err());
        assert!(!matches(Some(&own), &longer));
    }

    #[test]
    fn nobodys_hash_costs_what_a_new_one_does() {
        let costs = |text: &str| text.split('$').nth(3).map(str::to_owned);
        assert_eq!(costs(NOBODYS), costs(&hash(&secret("x")).unwrap()));
        assert!(matches!(parsed(NOBODYS), PasswordHash::Argon2id(_)));
    }
}
