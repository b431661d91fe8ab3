//! `revoked_keys`: a key revocation list as `ssh-keygen -k` makes it (OpenSSH's PROTOCOL.krl), or a
//! list of public keys, one a line.
//!
//! The list is walked anew for each question, whole, and nothing of it is kept: whatever is in it
//! costs no memory. What is not understood is an error, and an error lets nobody in.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ssh_key::{Fingerprint, HashAlg, PublicKey};

use crate::base::Fields;

/// Largest list. Serial numbers are kept as ranges and bitmaps: a million of them have 125 KiB.
pub const MAX_REVOKED: usize = 16 << 20;

/// `SSHKRL\n\0`.
const MAGIC: &[u8] = b"SSHKRL\n\0";
const VERSION: u32 = 1;

/// Sections of a list.
mod section {
    pub(super) const CERTIFICATES: u8 = 1;
    pub(super) const KEYS: u8 = 2;
    pub(super) const SHA1: u8 = 3;
    pub(super) const SIGNATURE: u8 = 4;
    pub(super) const SHA256: u8 = 5;
    pub(super) const EXTENSION: u8 = 255;
}

/// Sections of [`section::CERTIFICATES`].
mod certificates {
    pub(super) const SERIALS: u8 = 0x20;
    pub(super) const RANGE: u8 = 0x21;
    pub(super) const BITMAP: u8 = 0x22;
    pub(super) const KEY_IDS: u8 = 0x23;
    pub(super) const EXTENSION: u8 = 0x39;
}

/// What a client shows.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// The blob of the key that signed.
    pub key: &'a [u8],
    /// The certificate that it came in.
    pub certificate: Option<PresentedCertificate<'a>>,
}

/// The parts of a certificate by which it can be revoked.
#[derive(Debug, Clone, Copy)]
pub struct PresentedCertificate<'a> {
    /// The blob of the authority's key.
    pub authority: &'a [u8],
    /// Its number; 0 is none.
    pub serial: u64,
    /// What the authority calls it.
    pub key_id: &'a str,
}

/// Why a list cannot be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadList {
    /// It ends within something, or something in it is too long.
    Malformed,
    /// Another version of the format.
    Version(u32),
    /// A section that is not known.
    Section(u8),
    /// Keys by their SHA-1.
    Sha1,
    /// A signature, which nobody would check.
    Signed,
    /// An extension that must be understood.
    Extension,
    /// This line is no key.
    Line(usize),
}

impl fmt::Display for BadList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the revocation list is damaged"),
            Self::Version(version) => write!(f, "the revocation list has the unknown version {version}"),
            Self::Section(kind) => write!(f, "the revocation list has an unknown section ({kind})"),
            Self::Sha1 => f.write_str("the revocation list names keys by SHA-1"),
            Self::Signed => f.write_str("the revocation list is signed, and signatures of lists are not checked"),
            Self::Extension => f.write_str("the revocation list has an extension that must be understood"),
            Self::Line(number) => write!(f, "line {number} is no public key"),
        }
    }
}

impl std::error::Error for BadList {}

impl BadList {
    /// What to do about it.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::Sha1 => "name them as in `hash: SHA256:…` (ssh-keygen(1), KEY REVOCATION LISTS)",
            Self::Line(_) => "a list holds public keys, one a line, or is made by ssh-keygen -k",
            Self::Malformed | Self::Version(_) | Self::Section(_) | Self::Signed | Self::Extension => {
                "make it anew: ssh-keygen -k -f LIST KEYS…"
            }
        }
    }
}

/// Whether `list` revokes what is shown: the key, its authority's key, or the certificate.
pub fn is_revoked(list: &[u8], shown: &Presented<'_>) -> Result<bool, BadList> {
    match list.strip_prefix(MAGIC) {
        Some(rest) => in_krl(Fields::new(rest), shown),
        None => in_lines(list, shown),
    }
}

fn in_lines(list: &[u8], shown: &Presented<'_>) -> Result<bool, BadList> {
    let mut found = false;
    for (number, line) in (1..).zip(list.split(|byte| *byte == b'\n')) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let encoded = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).nth(1);
        let blob = encoded.and_then(|encoded| BASE64.decode(encoded).ok()).ok_or(BadList::Line(number))?;
        PublicKey::from_bytes(&blob).map_err(|_bad| BadList::Line(number))?;
        found |= shown.is_key(&blob);
    }
    Ok(found)
}

fn in_krl(mut fields: Fields<'_>, shown: &Presented<'_>) -> Result<bool, BadList> {
    let version = fields.u32().ok_or(BadList::Malformed)?;
    if version != VERSION {
        return Err(BadList::Version(version));
    }
    let (_number_date_flags, _reserved, _comment) = (
        fields.take(3 * 8).ok_or(BadList::Malformed)?,
        fields.string().ok_or(BadList::Malformed)?,
        fields.string().ok_or(BadList::Malformed)?,
    );
    let hashes = shown.hashes();
    let mut found = false;
    while let Some((kind, body)) = next_section(&mut fields)? {
        found |= match kind {
            section::CERTIFICATES => in_certificates(body, shown)?,
            section::KEYS => any_string(body, |key| shown.is_key(key))?,
            section::SHA256 => any_string(body, |hash| hashes.iter().any(|own| own.as_bytes() == hash))?,
            section::SHA1 => return Err(BadList::Sha1),
            section::SIGNATURE => return Err(BadList::Signed),
            section::EXTENSION => extension(body)?,
            other => return Err(BadList::Section(other)),
        };
    }
    Ok(found)
}

fn in_certificates(mut fields: Fields<'_>, shown: &Presented<'_>) -> Result<bool, BadList> {
    let authority = fields.string().ok_or(BadList::Malformed)?;
    fields.string().ok_or(BadList::Malformed)?;
    // An empty name is that of every authority.
    let meant = shown.certificate.filter(|it| authority.is_empty() || authority == it.authority);
    // 0 is the number of those that have none.
    let serial = meant.map(|it| it.serial).filter(|serial| *serial != 0);
    let is = |number: u64| serial == Some(number);
    let mut found = false;
    while let Some((kind, mut body)) = next_section(&mut fields)? {
        found |= match kind {
            certificates::SERIALS => {
                let mut any = false;
                while !body.is_empty() {
                    any |= is(body.u64().ok_or(BadList::Malformed)?);
                }
                any
            }
            certificates::RANGE => {
                let (first, last) = (body.u64().ok_or(BadList::Malformed)?, body.u64().ok_or(BadList::Malformed)?);
                if first > last || !body.is_empty() {
                    return Err(BadList::Malformed);
                }
                serial.is_some_and(|serial| (first..=last).contains(&serial))
            }
            certificates::BITMAP => {
                let (first, bits) = (body.u64().ok_or(BadList::Malformed)?, body.string().ok_or(BadList::Malformed)?);
                // A number as in RFC 4251: never negative here.
                if bits.first().is_some_and(|top| top & 0x80 != 0) || !body.is_empty() {
                    return Err(BadList::Malformed);
                }
                serial.and_then(|serial| serial.checked_sub(first)).is_some_and(|number| is_set(bits, number))
            }
            certificates::KEY_IDS => any_string(body, |id| meant.is_some_and(|it| it.key_id.as_bytes() == id))?,
            certificates::EXTENSION => extension(body)?,
            other => return Err(BadList::Section(other)),
        };
    }
    Ok(found)
}

/// Bit `number` of a number in big-endian bytes.
fn is_set(bits: &[u8], number: u64) -> bool {
    let byte = usize::try_from(number / 8).ok().and_then(|back| bits.len().checked_sub(back)?.checked_sub(1));
    byte.and_then(|at| bits.get(at)).is_some_and(|byte| byte & (1 << (number % 8)) != 0)
}

fn next_section<'a>(fields: &mut Fields<'a>) -> Result<Option<(u8, Fields<'a>)>, BadList> {
    if fields.is_empty() {
        return Ok(None);
    }
    let kind = fields.byte().ok_or(BadList::Malformed)?;
    Ok(Some((kind, Fields::new(fields.string().ok_or(BadList::Malformed)?))))
}

/// All strings are looked at.
fn any_string(mut fields: Fields<'_>, is: impl Fn(&[u8]) -> bool) -> Result<bool, BadList> {
    let mut any = false;
    while !fields.is_empty() {
        any |= is(fields.string().ok_or(BadList::Malformed)?);
    }
    Ok(any)
}

/// Revokes nothing that we know of, unless it says that it must be understood.
fn extension(mut fields: Fields<'_>) -> Result<bool, BadList> {
    fields.string().ok_or(BadList::Malformed)?;
    let critical = fields.byte().ok_or(BadList::Malformed)?;
    fields.string().ok_or(BadList::Malformed)?;
    match (critical, fields.is_empty()) {
        (0, true) => Ok(false),
        (_, true) => Err(BadList::Extension),
        (_, false) => Err(BadList::Malformed),
    }
}

impl Presented<'_> {
    fn keys(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(self.key).chain(self.certificate.as_ref().map(|certificate| certificate.authority))
    }

    fn is_key(&self, blob: &[u8]) -> bool {
        self.keys().any(|key| key == blob)
    }

    /// Of keys as they are compared: whole blobs.
    fn hashes(&self) -> Vec<Fingerprint> {
        let keys = self.keys().filter_map(|key| PublicKey::from_bytes(key).ok());
        keys.map(|key| key.fingerprint(HashAlg::Sha256)).collect()
    }
}

#[cfg(test)]
#[path = "revoked_tests.rs"]
mod tests;
