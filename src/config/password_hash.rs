//! Password hashes as the config holds them: which forms are taken, and what they may cost.
//!
//! A monitor hashes what a stranger typed with the parameters of the stored hash, so these decide how
//! much memory and time a login takes. What is too dear is refused when the config is checked.

use std::{fmt, str::FromStr};

use argon2::Params;
use argon2::password_hash::phc;
use serde::{Deserialize, Serialize};
use yescrypt::{Mode, PasswordHashRef};

/// Memory that one hash may take: above what RFC 9106 recommends for logins (64 MiB), and so little
/// that [`MAX_AT_ONCE`] of them fit on a small host.
const MAX_MEMORY_KIB: u64 = 256 << 10;

/// Memory times passes: some seconds of one processor.
const MAX_WORK_KIB: u64 = 1 << 20;

/// Lanes are computed one after the other here; more than this is no one's setting.
const MAX_LANES: u32 = 16;

/// Longest text: an argon2id hash with the longest salt and output has under 200 bytes.
const MAX_TEXT: usize = 512;

/// Least salt and output, in bytes: with less, hashes can be tabled or hit by chance.
const LEAST_SALT: usize = 8;
/// See [`LEAST_SALT`].
const LEAST_OUTPUT: usize = 16;

/// Hashes that are computed at one time on this host; the monitors wait for each other. Four of the
/// dearest come to 1 GiB, four of those that `cellblock passwd` makes to 76 MiB.
pub const MAX_AT_ONCE: u32 = 4;

/// What a tenant's password is compared with. Has the form that its variant says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PasswordHash {
    /// `!…` or `*…`, as in shadow(5): no password ever matches.
    Locked,
    /// `$argon2id$…` (a PHC string).
    Argon2id(String),
    /// `$y$…` (crypt(5)).
    Yescrypt(String),
}

impl fmt::Debug for PasswordHash {
    /// Whoever has the hash can try passwords at leisure.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scheme())
    }
}

impl PasswordHash {
    /// What kind it is, without what could be tried against.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::Locked => "!",
            Self::Argon2id(_) => "$argon2id$…",
            Self::Yescrypt(_) => "$y$…",
        }
    }
}

/// Why a text is no hash that is taken. Never says what the text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadHash {
    /// Nothing that looks like one.
    Form,
    /// Another scheme.
    Scheme,
    /// argon2id or yescrypt, but its parts are not.
    Malformed,
    /// More memory or time than a login may take.
    TooDear,
}

impl fmt::Display for BadHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "this is no password hash",
            Self::Scheme => "only argon2id and yescrypt hashes are taken",
            Self::Malformed => "this password hash is malformed, and no password would match it",
            Self::TooDear => "a login with this hash takes more than 256M of memory, or seconds of a processor",
        })
    }
}

impl std::error::Error for BadHash {}

impl FromStr for PasswordHash {
    type Err = BadHash;

    fn from_str(text: &str) -> Result<Self, BadHash> {
        if text.starts_with(['!', '*']) {
            return Ok(Self::Locked);
        }
        if !text.starts_with('$') || text.len() > MAX_TEXT {
            return Err(BadHash::Form);
        }
        if text.starts_with("$argon2id$") {
            check_argon2id(text)?;
            Ok(Self::Argon2id(text.to_owned()))
        } else if text.starts_with("$y$") {
            check_yescrypt(text)?;
            Ok(Self::Yescrypt(text.to_owned()))
        } else {
            Err(BadHash::Scheme)
        }
    }
}

fn check_argon2id(text: &str) -> Result<(), BadHash> {
    let hash = phc::PasswordHash::new(text).map_err(|_why| BadHash::Malformed)?;
    // Without a version, 16 is meant, which has a known weakness and which no tool writes.
    let is_whole = hash.version == Some(0x13)
        && hash.salt.as_ref().is_some_and(|salt| salt.len() >= LEAST_SALT)
        && hash.hash.as_ref().is_some_and(|output| output.len() >= LEAST_OUTPUT);
    let params = Params::try_from(&hash).map_err(|_why| BadHash::Malformed)?;
    if !is_whole {
        return Err(BadHash::Malformed);
    }
    affordable(u64::from(params.m_cost()), u64::from(params.t_cost()), params.p_cost())
}

fn check_yescrypt(text: &str) -> Result<(), BadHash> {
    let hash = PasswordHashRef::new(text).map_err(|_why| BadHash::Malformed)?;
    let mut fields = hash.fields();
    let (Some(cost), Some(salt), Some(output), None) = (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(BadHash::Malformed);
    };
    let decoded = |text: &str| text.len() * 3 / 4;
    if decoded(salt.as_str()) < LEAST_SALT || decoded(output.as_str()) < LEAST_OUTPUT {
        return Err(BadHash::Malformed);
    }
    let params: yescrypt::Params = cost.as_str().parse().map_err(|_why| BadHash::Malformed)?;
    let (n, r) = (params.n(), params.r());
    // What crypt(3) writes: the one mode, one lane, no further passes. Whatever else the text might
    // ask for, it then does not.
    let plain = yescrypt::Params::new(Mode::default(), n, r, 1).map_err(|_why| BadHash::Malformed)?;
    if plain.to_string() != cost.as_str() {
        return Err(BadHash::Malformed);
    }
    affordable(n.saturating_mul(u64::from(r)) / 8, 1, 1)
}

fn affordable(memory_kib: u64, passes: u64, lanes: u32) -> Result<(), BadHash> {
    let fits = memory_kib <= MAX_MEMORY_KIB && memory_kib.saturating_mul(passes) <= MAX_WORK_KIB && lanes <= MAX_LANES;
    if fits { Ok(()) } else { Err(BadHash::TooDear) }
}

#[cfg(test)]
#[path = "password_hash_tests.rs"]
mod tests;
