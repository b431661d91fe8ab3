//! How long addresses that misbehave are turned away: OpenSSH's `PerSourcePenalties`, with grace for
//! addresses that many people share. The same for uids of this host, at the enter door. Pure counting;
//! time is given.
//!
//! Each connection that ends without a login adds the penalty of its kind to what its block has; what
//! it has runs down with time. A block is turned away once it has more than the least. Unlike in
//! OpenSSH, a login takes off what the typos of neighbours added, and for an hour after one the
//! block is given ten times the least: strangers cannot have a login, so this helps no stranger.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::base::Block;
use crate::config::settings::{Overflow, Penalties};
use crate::wire::control::Origin;
use crate::wire::door::Outcome;

/// A block from which somebody has logged in is known to be used by our tenants for so long …
const STANDING: Duration = Duration::from_secs(3600);
/// … and has to have so many times the least before it is turned away: a colleague's script with a
/// wrong key must not lock out an office.
const STANDING_GRACE: u32 = 10;

/// When the table is full, one in so many entries makes room at once, those that run out first: a
/// search for each newcomer would be work that strangers can order.
const EVICTED: usize = 16;

/// Uids that are remembered. Who has many of them (`/etc/subuid`) can make others' logins be forgotten, and with them
/// what they may have more, but nobody's address.
const MAX_ACCOUNTS: usize = 4096;

/// From where a connection comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// From this address.
    Address(IpAddr),
    /// From a process of this host, of this uid.
    Account(u32),
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// What it has is what is left until then.
    until: Instant,
    /// For the admin: what added to it last.
    cause: Outcome,
    /// Its last login, if that is not long ago.
    login: Option<Instant>,
    /// Turned away. Goes on until it has nothing left, so that there is no flicker at the least.
    refused: bool,
}

/// Somebody who is turned away, for the admin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    /// Who.
    pub(super) origin: Origin,
    /// What it did last.
    pub(super) cause: Outcome,
    /// For how long yet.
    pub(super) left: Duration,
}

/// One table per family, and one for this host: a flood of one does not push out the others.
#[derive(Debug, Default)]
pub(super) struct Penalised {
    v4: HashMap<Origin, Entry>,
    v6: HashMap<Origin, Entry>,
    accounts: HashMap<Origin, Entry>,
}

impl Penalised {
    /// Whether a connection from `source` is turned away.
    pub(super) fn refuses(&self, settings: &Penalties, source: Source, now: Instant) -> bool {
        if !settings.enabled || is_exempt(settings, source) {
            return false;
        }
        let origin = origin(settings, source);
        let (most, overflow) = limits(settings, origin);
        let table = self.table(origin);
        match table.get(&origin) {
            Some(entry) => entry.refused && entry.until > now,
            None => {
                overflow == Overflow::DenyAll && table.len() >= most && table.values().all(|entry| is_live(entry, now))
            }
        }
    }

    /// A connection from `source` ended without a login. `Some`: its block is turned away from now on.
    pub(super) fn add(
        &mut self,
        settings: &Penalties,
        source: Source,
        outcome: Outcome,
        now: Instant,
    ) -> Option<Refused> {
        let penalty = penalty(settings, outcome);
        if !settings.enabled || penalty.is_zero() || is_exempt(settings, source) {
            return None;
        }
        let origin = origin(settings, source);
        let (most, overflow) = limits(settings, origin);
        let table = self.table_mut(origin);
        if !table.contains_key(&origin) && !make_room(table, most, overflow, now) {
            return None;
        }
        let entry = table.entry(origin).or_insert(Entry { until: now, cause: outcome, login: None, refused: false });
        if entry.until <= now {
            entry.refused = false;
        }
        entry.cause = outcome;
        entry.until = entry.until.max(now).checked_add(penalty).unwrap_or(now).min(now + settings.max);
        let grace = if entry.login.is_some_and(|login| now < login + STANDING) { STANDING_GRACE } else { 1 };
        let least = settings.min.saturating_mul(grace).min(settings.max);
        let left = entry.until.duration_since(now);
        // At the most it is always enough, or a grace beyond the most would never end.
        if entry.refused || (left <= least && left < settings.max) {
            return None;
        }
        entry.refused = true;
        Some(Refused { origin, cause: outcome, left })
    }

    /// Somebody at `source` logged in: what its neighbours' mistakes added is forgiven, up to the
    /// least. What keeps a block out runs on, or whoever has one account could guess at others.
    pub(super) fn forgive(&mut self, settings: &Penalties, source: Source, now: Instant) {
        if !settings.enabled || is_exempt(settings, source) {
            return;
        }
        let origin = origin(settings, source);
        let (most, _overflow) = limits(settings, origin);
        let table = self.table_mut(origin);
        if !table.contains_key(&origin) && !make_room(table, most, Overflow::Permissive, now) {
            return;
        }
        let entry =
            table.entry(origin).or_insert(Entry { until: now, cause: Outcome::NoAuth, login: None, refused: false });
        entry.login = Some(now);
        if !entry.refused || entry.until <= now {
            entry.refused = false;
            entry.until = entry.until.checked_sub(settings.min).map_or(now, |until| until.max(now));
        }
    }

    /// Those that are turned away, the longest first; at most `most`, and how many there are in all.
    pub(super) fn refused(&self, now: Instant, most: usize) -> (Vec<Refused>, usize) {
        let everybody = self.v4.iter().chain(&self.v6).chain(&self.accounts);
        let mut all: Vec<Refused> = everybody
            .filter(|(_, entry)| entry.refused && entry.until > now)
            .map(|(origin, entry)| Refused {
                origin: *origin,
                cause: entry.cause,
                left: entry.until.duration_since(now),
            })
            .collect();
        all.sort_by(|a, b| b.left.cmp(&a.left).then(a.origin.cmp(&b.origin)));
        let count = all.len();
        all.truncate(most);
        (all, count)
    }

    fn table(&self, origin: Origin) -> &HashMap<Origin, Entry> {
        match origin {
            Origin::Block(block) if block.is_v4() => &self.v4,
            Origin::Block(_) => &self.v6,
            Origin::Account(_) => &self.accounts,
        }
    }

    fn table_mut(&mut self, origin: Origin) -> &mut HashMap<Origin, Entry> {
        match origin {
            Origin::Block(block) if block.is_v4() => &mut self.v4,
            Origin::Block(_) => &mut self.v6,
            Origin::Account(_) => &mut self.accounts,
        }
    }
}

fn limits(settings: &Penalties, origin: Origin) -> (usize, Overflow) {
    let (most, overflow) = match origin {
        Origin::Block(block) if block.is_v4() => (settings.max_sources4, settings.overflow),
        Origin::Block(_) => (settings.max_sources6, settings.overflow6),
        Origin::Account(_) => return (MAX_ACCOUNTS, Overflow::Permissive),
    };
    (usize::try_from(most).unwrap_or(usize::MAX), overflow)
}

/// Whether an entry says anything yet.
fn is_live(entry: &Entry, now: Instant) -> bool {
    entry.until > now || entry.login.is_some_and(|login| now < login + STANDING)
}

/// Room for one more, if there can be.
fn make_room(table: &mut HashMap<Origin, Entry>, most: usize, overflow: Overflow, now: Instant) -> bool {
    if table.len() < most {
        return true;
    }
    table.retain(|_, entry| is_live(entry, now));
    if table.len() < most {
        return true;
    }
    if overflow == Overflow::DenyAll {
        return false;
    }
    let mut ends: Vec<(Instant, Origin)> = table.iter().map(|(origin, entry)| (entry.until, *origin)).collect();
    ends.sort_unstable();
    for (_until, origin) in ends.iter().take((table.len() / EVICTED).max(1)) {
        table.remove(origin);
    }
    table.len() < most
}

/// Root of this host always gets in.
fn is_exempt(settings: &Penalties, source: Source) -> bool {
    match source {
        Source::Address(address) => settings.exempt.iter().any(|block| block.contains(address)),
        Source::Account(uid) => uid == 0,
    }
}

fn origin(settings: &Penalties, source: Source) -> Origin {
    match source {
        Source::Address(address) => Origin::Block(Block::around(address, settings.netblock4, settings.netblock6)),
        Source::Account(uid) => Origin::Account(uid),
    }
}

fn penalty(settings: &Penalties, outcome: Outcome) -> Duration {
    match outcome {
        Outcome::Crash => settings.crash,
        Outcome::AuthFail => settings.authfail,
        Outcome::InvalidUser => settings.invaliduser,
        Outcome::NoAuth => settings.noauth,
        Outcome::GraceExceeded => settings.grace_exceeded,
        Outcome::RefusedConnection => settings.refuseconnection,
    }
}

#[cfg(test)]
#[path = "penalties_tests.rs"]
mod tests;
