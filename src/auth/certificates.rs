//! Login by certificate (OpenSSH's PROTOCOL.certkeys): which authority vouches for whom, until when
//! and for what.
//!
//! The monitor checks the authority's signature itself, so a captured ssh process can name a
//! certificate that it has seen, and cannot make one. ssh-key decodes and verifies; what it leaves to
//! its caller, by its own documentation, is judged here: type, principals, options, and that the
//! authority is one of ours, compared as a whole blob.

use std::{fmt, net::IpAddr};

use ssh_key::{Algorithm, Certificate, HashAlg, certificate::CertType, public::KeyData};

use crate::base::escape;
use crate::config::authorized_keys::check_key;
use crate::config::revoked::PresentedCertificate;
use crate::config::settings::{AuthorizedKey, KeyOptions, KeyRole, Tenant};
use crate::policy::{BadPattern, networks_allow};

use super::fields::authority_in;

/// Most principals of one certificate: OpenSSH's `SSHKEY_CERT_MAX_PRINCIPALS`.
const MAX_PRINCIPALS: usize = 256;

/// What is said of a certificate that lets somebody in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Vouched {
    /// What the authority calls it, escaped.
    pub(super) key_id: String,
    /// Its number.
    pub(super) serial: u64,
    /// `SHA256:…` of the authority's key.
    pub(super) authority: String,
    /// `SHA256:…` of the certified key, with which the client signed.
    pub(super) fingerprint: String,
    /// What certificate and line together allow.
    pub(super) options: KeyOptions,
}

/// Why a certificate lets nobody in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadCertificate {
    /// It does not decode, or its authority's key is a certificate.
    Malformed,
    /// It is for a host.
    Host,
    /// Nobody trusts its authority.
    Authority,
    /// The authority's signature is of a kind that is not taken (SHA-1).
    Algorithm,
    /// The authority did not sign this.
    Signature,
    /// The certified key is too weak, or of a kind that is not taken.
    Key(String),
    /// It names nobody.
    NoPrincipals,
    /// It names more than anyone needs.
    ManyPrincipals,
    /// It names others.
    Principals,
    /// Its time has not come.
    NotYet,
    /// Its time is over.
    Expired,
    /// A critical option that is not honoured, escaped.
    Option(String),
    /// `source-address` does not cover the address.
    Source,
    /// `source-address` cannot be relied on.
    BadSource(BadPattern),
    /// `force-command` is empty or holds NUL.
    Command,
    /// Certificate and line force different commands.
    Commands,
}

impl fmt::Display for BadCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("certificate does not decode"),
            Self::Host => f.write_str("certificate is for a host"),
            Self::Authority => f.write_str("certificate is by nobody who is trusted"),
            Self::Algorithm => f.write_str("certificate is signed with an algorithm that is not taken"),
            Self::Signature => f.write_str("certificate has a wrong signature"),
            Self::Key(why) => write!(f, "certificate's key: {why}"),
            Self::NoPrincipals => f.write_str("certificate names no principal"),
            Self::ManyPrincipals => write!(f, "certificate names more than {MAX_PRINCIPALS} principals"),
            Self::Principals => f.write_str("certificate names no principal of this tenant"),
            Self::NotYet => f.write_str("certificate is not valid yet"),
            Self::Expired => f.write_str("certificate has expired"),
            Self::Option(name) => write!(f, "certificate has a critical option that is not honoured: {name}"),
            Self::Source => f.write_str("certificate is not for this address"),
            Self::BadSource(why) => write!(f, "certificate has a bad source-address: {why}"),
            Self::Command => f.write_str("certificate has a bad force-command"),
            Self::Commands => f.write_str("certificate and key line force different commands"),
        }
    }
}

impl std::error::Error for BadCertificate {}

/// A certificate, whole and by itself: nobody is trusted yet.
#[derive(Debug)]
pub(super) struct Offered {
    certificate: Certificate,
    /// The authority's key, byte for byte as the certificate has it.
    authority: Vec<u8>,
}

impl Offered {
    /// Decodes `blob`. Never recurses: the authority's key is looked at before ssh-key does, which
    /// would decode a certificate there, and one in that, and so on.
    pub(super) fn decode(blob: &[u8]) -> Result<Self, BadCertificate> {
        let authority = authority_in(blob).ok_or(BadCertificate::Malformed)?.to_vec();
        let certificate = Certificate::from_bytes(blob).map_err(|_bad| BadCertificate::Malformed)?;
        Ok(Self { certificate, authority })
    }

    /// The blob of the certified key.
    pub(super) fn key(&self) -> Result<Vec<u8>, BadCertificate> {
        blob_of(self.certificate.public_key()).ok_or(BadCertificate::Malformed)
    }

    /// By what it can be revoked, besides its key.
    pub(super) fn presented(&self) -> PresentedCertificate<'_> {
        let (serial, key_id) = (self.certificate.serial(), self.certificate.key_id());
        PresentedCertificate { authority: &self.authority, serial, key_id }
    }

    /// `SHA256:…` of the certified key.
    pub(super) fn fingerprint(&self) -> String {
        self.certificate.public_key().fingerprint(HashAlg::Sha256).to_string()
    }

    /// Judges it as an authority of `tenant` vouches for it: at `now`, seconds since 1970, from `peer`.
    pub(super) fn by_trusted(&self, tenant: &Tenant, peer: IpAddr, now: i64) -> Result<Vouched, BadCertificate> {
        if !tenant.trusted_user_ca_keys.contains(&self.authority) {
            return Err(BadCertificate::Authority);
        }
        self.judge(&tenant.authorized_principals, peer, now)
    }

    /// Judges it as the `cert-authority` line `key` of `tenant` vouches for it. The line's own `from=`
    /// and `expiry-time=` are the caller's.
    pub(super) fn by_line(
        &self,
        key: &AuthorizedKey,
        tenant: &Tenant,
        peer: IpAddr,
        now: i64,
    ) -> Result<Vouched, BadCertificate> {
        let KeyRole::Authority { principals } = &key.role else { return Err(BadCertificate::Authority) };
        if key.blob != self.authority {
            return Err(BadCertificate::Authority);
        }
        let name = [tenant.name.to_string()];
        let vouched = self.judge(principals.as_deref().unwrap_or(&name), peer, now)?;
        let options = both(&key.options, &vouched.options)?;
        Ok(Vouched { options, ..vouched })
    }

    /// All that does not depend on who trusts the authority. `principals`: of whom it must name one.
    fn judge(&self, principals: &[String], peer: IpAddr, now: i64) -> Result<Vouched, BadCertificate> {
        let certificate = &self.certificate;
        if certificate.cert_type() != CertType::User {
            return Err(BadCertificate::Host);
        }
        self.check_signature()?;
        check_key(&self.key()?, &KeyRole::User).map_err(|why| BadCertificate::Key(why.to_string()))?;

        // An empty list meant everybody once, and is nobody (OpenSSH 10.3). Names are compared whole:
        // one with a comma is no list (CVE-2026-35414).
        let named = certificate.valid_principals();
        match named.len() {
            0 => return Err(BadCertificate::NoPrincipals),
            1..=MAX_PRINCIPALS => {}
            _more => return Err(BadCertificate::ManyPrincipals),
        }
        if !named.iter().any(|name| principals.contains(name)) {
            return Err(BadCertificate::Principals);
        }
        // By the numbers: as times, those that no clock shows would be no bounds at all.
        let now = u64::try_from(now).map_err(|_before_1970| BadCertificate::NotYet)?;
        if now < certificate.valid_after() {
            return Err(BadCertificate::NotYet);
        }
        if now >= certificate.valid_before() {
            return Err(BadCertificate::Expired);
        }
        Ok(Vouched {
            key_id: escape(certificate.key_id()),
            serial: certificate.serial(),
            authority: certificate.signature_key().fingerprint(HashAlg::Sha256).to_string(),
            fingerprint: self.fingerprint(),
            options: self.options(peer)?,
        })
    }

    fn check_signature(&self) -> Result<(), BadCertificate> {
        let certificate = &self.certificate;
        match certificate.signature().algorithm() {
            Algorithm::Rsa { hash: Some(HashAlg::Sha256 | HashAlg::Sha512) }
            | Algorithm::Ecdsa { .. }
            | Algorithm::Ed25519
            | Algorithm::SkEd25519
            | Algorithm::SkEcdsaSha2NistP256 => {}
            Algorithm::Dsa | Algorithm::Rsa { .. } | Algorithm::Other(_) | _ => return Err(BadCertificate::Algorithm),
        }
        // Validity is judged above with a reason; in the middle of the window this is the signature alone.
        let fingerprint = certificate.signature_key().fingerprint(HashAlg::Sha256);
        certificate
            .validate_at(certificate.valid_after(), [&fingerprint])
            .map_err(|_not_said_why| BadCertificate::Signature)
    }

    /// Critical options, which must all be known, and extensions, which each grant one thing.
    fn options(&self, peer: IpAddr) -> Result<KeyOptions, BadCertificate> {
        let grants = |name: &str| self.certificate.extensions().contains_key(name);
        let mut options = KeyOptions {
            no_pty: !grants("permit-pty"),
            no_port_forwarding: !grants("permit-port-forwarding"),
            no_agent_forwarding: !grants("permit-agent-forwarding"),
            no_x11_forwarding: !grants("permit-X11-forwarding"),
            no_user_rc: !grants("permit-user-rc"),
            no_touch_required: grants("no-touch-required"),
            ..KeyOptions::default()
        };
        for (name, value) in self.certificate.critical_options().iter() {
            match name.as_str() {
                "force-command" if value.is_empty() || value.contains('\0') => return Err(BadCertificate::Command),
                "force-command" => options.command = Some(value.clone()),
                "source-address" => match networks_allow(value, peer) {
                    Ok(true) => {}
                    Ok(false) => return Err(BadCertificate::Source),
                    Err(why) => return Err(BadCertificate::BadSource(why)),
                },
                // `verify-required` among them: the flags of the signature are not seen (docs/upstream.md).
                unknown => return Err(BadCertificate::Option(escape(unknown))),
            }
        }
        Ok(options)
    }
}

/// What both allow: each takes away from the other, and two forced commands must be one.
fn both(line: &KeyOptions, certificate: &KeyOptions) -> Result<KeyOptions, BadCertificate> {
    let command = match (&line.command, &certificate.command) {
        (Some(a), Some(b)) if a != b => return Err(BadCertificate::Commands),
        (a, b) => a.as_ref().or(b.as_ref()).cloned(),
    };
    Ok(KeyOptions {
        from: line.from.clone(),
        expiry: line.expiry,
        command,
        no_pty: line.no_pty || certificate.no_pty,
        no_port_forwarding: line.no_port_forwarding || certificate.no_port_forwarding,
        no_agent_forwarding: line.no_agent_forwarding || certificate.no_agent_forwarding,
        no_x11_forwarding: line.no_x11_forwarding || certificate.no_x11_forwarding,
        no_user_rc: line.no_user_rc || certificate.no_user_rc,
        no_touch_required: line.no_touch_required && certificate.no_touch_required,
        permit_open: line.permit_open.clone(),
        permit_listen: line.permit_listen.clone(),
    })
}

fn blob_of(key: &KeyData) -> Option<Vec<u8>> {
    ssh_key::PublicKey::new(key.clone(), "").to_bytes().ok()
}

/// What the certificate `blob` gives to `principals`, whoever signed it: policy alone, which lets
/// nobody in (`fuzz/targets.rs`).
pub fn judge_certificate(
    blob: &[u8],
    principals: &[String],
    peer: IpAddr,
    now: i64,
) -> Result<KeyOptions, BadCertificate> {
    Offered::decode(blob)?.judge(principals, peer, now).map(|vouched| vouched.options)
}

#[cfg(test)]
#[path = "certificates_tests.rs"]
mod tests;
