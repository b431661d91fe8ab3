//! The lists of `from=` (sshd(8)).
//!
//! No name service is ever asked: a host name in a list matches nobody.

use std::{fmt, net::IpAddr};

use crate::base::matches;

/// Longest pattern list; sshd reads lines of 8 KiB at most.
const MAX_LIST: usize = 8 << 10;

/// A list that cannot be relied on: whoever it guards is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadPattern {
    /// An empty list or entry, or a lone `!`.
    Empty,
    /// A list longer than 8 KiB.
    TooLong,
    /// A network whose length does not fit its address.
    Length,
    /// A network with bits set beyond its length.
    HostBits,
    /// Neither an address nor a network, where nothing else may stand.
    Address,
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "an entry is empty",
            Self::TooLong => "the list is longer than 8 KiB",
            Self::Length => "the length of a network does not fit its address",
            Self::HostBits => "a network has bits set beyond its length",
            Self::Address => "an entry is neither an address nor a network",
        })
    }
}

impl std::error::Error for BadPattern {}

/// Whether a `from=` list lets `peer` in: some entry covers it and no `!` entry does.
pub fn from_allows(list: &str, peer: IpAddr) -> Result<bool, BadPattern> {
    if list.len() > MAX_LIST {
        return Err(BadPattern::TooLong);
    }
    let peer = peer.to_canonical();
    let mut allowed = false;
    let mut forbidden = false;
    // All entries are looked at, so that a bad one is found wherever it stands.
    for entry in list.split(',') {
        let (negated, entry) = match entry.trim().strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, entry.trim()),
        };
        let covered = covers(entry, peer)?;
        allowed |= covered && !negated;
        forbidden |= covered && negated;
    }
    Ok(allowed && !forbidden)
}

/// Whether a certificate's `source-address` list lets `peer` in: addresses and networks only, none
/// of them negated or a pattern (PROTOCOL.certkeys).
pub fn networks_allow(list: &str, peer: IpAddr) -> Result<bool, BadPattern> {
    if list.len() > MAX_LIST {
        return Err(BadPattern::TooLong);
    }
    let peer = peer.to_canonical();
    let mut allowed = false;
    for entry in list.split(',') {
        let (address, length) = entry.split_once('/').map_or((entry, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_not_one| BadPattern::Address)?;
        allowed |= match length {
            Some(length) => in_network(address, length, peer)?,
            None => address.to_canonical() == peer,
        };
    }
    Ok(allowed)
}

fn covers(entry: &str, peer: IpAddr) -> Result<bool, BadPattern> {
    if entry.is_empty() {
        return Err(BadPattern::Empty);
    }
    if let Some((address, length)) = entry.split_once('/')
        && let Ok(network) = address.parse::<IpAddr>()
    {
        return in_network(network, length, peer);
    }
    match entry.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_canonical() == peer),
        Err(_not_an_address) => Ok(matches(&entry.to_ascii_lowercase(), &peer.to_string())),
    }
}

fn in_network(network: IpAddr, length: &str, peer: IpAddr) -> Result<bool, BadPattern> {
    let length: u32 = length.parse().map_err(|_not_a_number| BadPattern::Length)?;
    let (bits, width) = wide(network);
    if length > width {
        return Err(BadPattern::Length);
    }
    // A shift by the full width is undefined; a /0 covers everything.
    let host = width - length;
    let outside = |value: u128| value.checked_shr(host).unwrap_or(0);
    if outside(bits).checked_shl(host).unwrap_or(0) != bits {
        return Err(BadPattern::HostBits);
    }
    let (peer_bits, peer_width) = wide(peer);
    Ok(peer_width == width && outside(peer_bits) == outside(bits))
}

fn wide(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(list: &str, peer: &str) -> Result<bool, BadPattern> {
        from_allows(list, peer.parse().unwrap())
    }

    #[test]
    fn from_lists_match_as_in_sshd() {
        for (list, peer) in [
            ("10.0.0.0/8", "10.1.2.3"),
            ("10.0.0.0/8", "::ffff:10.1.2.3"),
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.*,2001:db8::/32", "2001:db8::5"),
            ("0.0.0.0/0", "1.2.3.4"),
            ("::/0", "2001:db8::1"),
            ("!10.0.0.1,10.0.0.0/8", "10.0.0.2"),
            ("10.0.0.?", "10.0.0.9"),
            ("*", "2001:db8::1"),
            ("2001:DB8::*", "2001:db8::1"),
        ] {
            assert_eq!(allows(list, peer), Ok(true), "{list} {peer}");
        }
        for (list, peer) in [
            ("10.0.0.0/8", "11.0.0.1"),
            ("10.0.0.0/8,!10.0.0.1", "10.0.0.1"),
            ("!10.0.0.1", "10.0.0.2"),
            ("0.0.0.0/0", "2001:db8::1"),
            ("host.example", "192.0.2.1"),
            ("192.0.2.7", "192.0.2.70"),
        ] {
            assert_eq!(allows(list, peer), Ok(false), "{list} {peer}");
        }
    }

    #[test]
    fn a_list_of_networks_knows_neither_patterns_nor_negation() {
        let allows = |list: &str| networks_allow(list, "10.1.2.3".parse().unwrap());
        for list in ["10.0.0.0/8", "192.0.2.1,10.1.2.3", "0.0.0.0/0", "::/0,10.1.2.3"] {
            assert_eq!(allows(list), Ok(true), "{list}");
        }
        assert_eq!(allows("192.0.2.0/24,2001:db8::/32"), Ok(false));
        for list in ["", "*", "10.*", "!192.0.2.1,10.0.0.0/8", "10.0.0.0/8,", "10.1.2.3,host", "10.0.0.0/8 "] {
            assert!(allows(list).is_err(), "{list}");
        }
    }

    #[test]
    fn a_list_with_a_bad_entry_lets_nobody_in() {
        assert_eq!(allows("10.0.0.1/8", "10.0.0.1"), Err(BadPattern::HostBits));
        assert_eq!(allows("10.0.0.0/33", "10.0.0.1"), Err(BadPattern::Length));
        assert_eq!(allows("*,10.0.0.0/x", "10.0.0.1"), Err(BadPattern::Length));
        assert_eq!(allows("", "10.0.0.1"), Err(BadPattern::Empty));
        assert_eq!(allows("*,!", "10.0.0.1"), Err(BadPattern::Empty));
    }
}
