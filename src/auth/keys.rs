//! Login by public key: inline keys and those in a file, their options, and whole-blob comparison.

use std::{fmt, net::IpAddr};

use ssh_key::{HashAlg, PublicKey};

use crate::base::{NameError, Result, TenantName};
use crate::config::revoked::{MAX_REVOKED, Presented, is_revoked};
use crate::config::settings::{AuthorizedKey, KeyOptions, KeyRole, Tenant};
use crate::policy::{BadPattern, Identity, Proof, from_allows};
use crate::sys::file::{Links, read_trusted};

use super::certificates::{BadCertificate, Offered, Vouched};
use super::sources::Source;

/// What a client says and has.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The user name as sent.
    pub user: &'a str,
    /// The blob of its key, or of its certificate.
    pub key: &'a [u8],
    /// Where it is.
    pub peer: IpAddr,
    /// When, in seconds since 1970.
    pub now: i64,
}

/// Why a claim was refused: for the admin's log, never for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The user name is no tenant's, by its form.
    Name(NameError),
    /// There is no such tenant.
    Unknown,
    /// The tenant is locked.
    Locked,
    /// The key is not among the tenant's.
    Key,
    /// The password is not the tenant's.
    Password,
    /// PAM says no, or cannot be asked; why.
    Pam(String),
    /// The key's `from=` does not cover the address.
    From,
    /// The key's `from=` cannot be relied on.
    BadFrom(BadPattern),
    /// The key's `expiry-time=` has passed.
    Expired,
    /// Key, authority or certificate are revoked.
    Revoked,
    /// What is revoked could not be found out.
    Revocation(String),
    /// This method is not asked for now.
    NotInTurn,
    /// The certificate lets nobody in.
    Certificate(BadCertificate),
    /// The config could not be asked.
    Config(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(why) => write!(f, "invalid user name: {why}"),
            Self::Unknown => f.write_str("unknown tenant"),
            Self::Locked => f.write_str("tenant is locked"),
            Self::Key => f.write_str("key is not authorized"),
            Self::Password => f.write_str("wrong password"),
            Self::Pam(why) => write!(f, "PAM: {why}"),
            Self::From => f.write_str("key is not authorized from this address"),
            Self::BadFrom(why) => write!(f, "key has a bad from= list: {why}"),
            Self::Expired => f.write_str("key has expired"),
            Self::Revoked => f.write_str("key is revoked"),
            Self::Revocation(why) => write!(f, "no key is taken, because the revoked keys are not known: {why}"),
            Self::NotInTurn => f.write_str("method is not asked for"),
            Self::Certificate(why) => why.fmt(f),
            Self::Config(why) => write!(f, "config: {why}"),
        }
    }
}

impl std::error::Error for Refused {}

/// Reads the lines that a source has for a tenant, or takes as long for a name that is nobody's.
pub type Lines<'a> = dyn Fn(Source, Option<&Tenant>, &Claim<'_>) -> Vec<AuthorizedKey> + 'a;

/// Judges `claim`: the identity that it proves, if the client holds the key, and its tenant.
///
/// `tenant` looks a name up; `lines` reads what lines of keys a source has for it. Locked and unknown
/// tenants cost the same look-ups and comparisons as others; see also [`even_out`](super::even_out).
/// With `to_the_end` a key that is authorized costs what one costs that is not, too.
pub fn prove(
    claim: &Claim<'_>,
    tenant: &dyn Fn(&TenantName) -> Result<Option<Tenant>>,
    lines: &Lines<'_>,
    to_the_end: bool,
) -> Result<(Identity, Tenant), Refused> {
    let (tenant, refused) = look_up(claim.user, tenant);
    let nobodys = [nobodys_key(claim.key.len())];
    let mut judged = judge(tenant.as_ref().map_or(&nobodys, |tenant| &tenant.authorized_keys), claim);
    for source in Source::ALL {
        if to_the_end || judged.is_err() {
            judged = better(judged, judge(&lines(source, tenant.as_ref(), claim), claim), &Refused::Key);
        }
    }
    let to_check = tenant.as_ref().filter(|_| to_the_end || judged.is_ok());
    let shown = Presented { key: claim.key, certificate: None };
    let checked = to_check.map_or(Ok(()), |tenant| check_revoked(tenant, &shown));
    let (tenant, options) = admit(tenant, refused, judged)?;
    checked?;
    let proof = Proof::Key { fingerprint: fingerprint(claim.key), options };
    Ok((Identity::proved(tenant.name.clone(), proof, claim.peer), tenant))
}

/// As [`prove`], for a client that holds the key which the certificate `claim.key` is for.
pub fn prove_certificate(
    claim: &Claim<'_>,
    tenant: &dyn Fn(&TenantName) -> Result<Option<Tenant>>,
    lines: &Lines<'_>,
) -> Result<(Identity, Tenant), Refused> {
    let offered = Offered::decode(claim.key).map_err(Refused::Certificate)?;
    let (tenant, refused) = look_up(claim.user, tenant);
    let mut judged = Err(Refused::Certificate(BadCertificate::Authority));
    if let Some(tenant) = &tenant {
        let others = Refused::Certificate(BadCertificate::Authority);
        judged = offered.by_trusted(tenant, claim.peer, claim.now).map_err(Refused::Certificate);
        judged = better(judged, vouched(&offered, &tenant.authorized_keys, tenant, claim), &others);
        for source in Source::ALL {
            if judged.is_err() {
                let lines = lines(source, Some(tenant), claim);
                judged = better(judged, vouched(&offered, &lines, tenant, claim), &others);
            }
        }
    } else {
        for source in Source::ALL {
            drop(lines(source, None, claim));
        }
    }
    let (tenant, Vouched { key_id, serial, authority, fingerprint, options }) = admit(tenant, refused, judged)?;
    let key = offered.key().map_err(Refused::Certificate)?;
    check_revoked(&tenant, &Presented { key: &key, certificate: Some(offered.presented()) })?;
    let proof = Proof::Certificate { key_id, serial, authority, fingerprint, options };
    Ok((Identity::proved(tenant.name.clone(), proof, claim.peer), tenant))
}

/// Nobody is let in on a key while it is not known what is revoked.
fn check_revoked(tenant: &Tenant, shown: &Presented<'_>) -> Result<(), Refused> {
    let Some(path) = &tenant.revoked_keys else { return Ok(()) };
    let list = read_trusted(path, Links::Refuse, MAX_REVOKED).map_err(|why| Refused::Revocation(why.to_string()))?;
    match is_revoked(&list, shown) {
        Ok(false) => Ok(()),
        Ok(true) => Err(Refused::Revoked),
        Err(bad) => Err(Refused::Revocation(format!("{}: {bad}", path.display()))),
    }
}

/// The tenant of the name that was claimed, and why that is not one who may log in.
pub(super) fn look_up(
    user: &str,
    tenant: &dyn Fn(&TenantName) -> Result<Option<Tenant>>,
) -> (Option<Tenant>, Option<Refused>) {
    let name: Result<TenantName, NameError> = user.parse();
    let found = match &name {
        Ok(name) => tenant(name).map_err(|failure| Refused::Config(failure.to_string())),
        Err(why) => Err(Refused::Name(*why)),
    };
    match found {
        Ok(Some(tenant)) => {
            let refused = tenant.locked.then_some(Refused::Locked);
            (Some(tenant), refused)
        }
        Ok(None) => (None, Some(Refused::Unknown)),
        Err(refused) => (None, Some(refused)),
    }
}

/// The first that lets in; otherwise a reason that says more than `nothing`, that no line is meant.
fn better<T>(first: Result<T, Refused>, second: Result<T, Refused>, nothing: &Refused) -> Result<T, Refused> {
    match (first, second) {
        (Ok(in_), _) | (Err(_), Ok(in_)) => Ok(in_),
        (Err(why), Err(other)) => Err(if why == *nothing { other } else { why }),
    }
}

/// The tenant and what was `judged`, unless there is none who may log in.
pub(super) fn admit<T>(
    tenant: Option<Tenant>,
    refused: Option<Refused>,
    judged: Result<T, Refused>,
) -> Result<(Tenant, T), Refused> {
    match (refused, tenant) {
        (Some(refused), _) => Err(refused),
        (None, None) => Err(Refused::Unknown),
        (None, Some(tenant)) => judged.map(|judged| (tenant, judged)),
    }
}

/// What the first `cert-authority` line says that vouches for the certificate.
fn vouched(offered: &Offered, keys: &[AuthorizedKey], tenant: &Tenant, claim: &Claim<'_>) -> Result<Vouched, Refused> {
    let nothing = Refused::Certificate(BadCertificate::Authority);
    let mut verdict = Err(nothing.clone());
    for key in keys {
        let vouched = || offered.by_line(key, tenant, claim.peer, claim.now).map_err(Refused::Certificate);
        let this = vouched().and_then(|vouched| usable(&key.options, claim).map(|()| vouched));
        verdict = better(verdict, this, &nothing);
    }
    verdict
}

/// The options of the first line that lets the claim in; all lines are looked at.
fn judge(keys: &[AuthorizedKey], claim: &Claim<'_>) -> Result<KeyOptions, Refused> {
    let mut verdict = Err(Refused::Key);
    for key in keys {
        if !same(&key.blob, claim.key) || key.role != KeyRole::User {
            continue;
        }
        let this = usable(&key.options, claim).map(|()| key.options.clone());
        if verdict.is_err() {
            verdict = this;
        }
    }
    verdict
}

fn usable(options: &KeyOptions, claim: &Claim<'_>) -> Result<(), Refused> {
    if options.expiry.is_some_and(|end| claim.now >= end) {
        return Err(Refused::Expired);
    }
    match options.from.as_deref().map(|list| from_allows(list, claim.peer)) {
        None | Some(Ok(true)) => Ok(()),
        Some(Ok(false)) => Err(Refused::From),
        Some(Err(why)) => Err(Refused::BadFrom(why)),
    }
}

/// Compares whole blobs, all bytes of them: a key is its type, curve, exponent and modulus together.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |different, (x, y)| different | (x ^ y)) == 0
}

/// A key that nobody has, for tenants that do not exist: all bytes 0, while a blob starts with the
/// length of its type's name, which is never 0.
fn nobodys_key(length: usize) -> AuthorizedKey {
    AuthorizedKey {
        blob: vec![0; length.max(1)],
        comment: String::new(),
        options: KeyOptions::default(),
        role: KeyRole::User,
    }
}

/// `SHA256:…` of a key blob, as `ssh-keygen -l` prints it.
#[must_use]
pub fn fingerprint(blob: &[u8]) -> String {
    match PublicKey::from_bytes(blob) {
        Ok(key) => key.fingerprint(HashAlg::Sha256).to_string(),
        Err(_unknown_type) => "unreadable key".to_owned(),
    }
}

/// `SHA256:…` of the key that the certificate `blob` is for.
#[must_use]
pub fn certified_fingerprint(blob: &[u8]) -> String {
    Offered::decode(blob).map_or_else(|_bad| "unreadable certificate".to_owned(), |offered| offered.fingerprint())
}

#[cfg(test)]
mod tests;
