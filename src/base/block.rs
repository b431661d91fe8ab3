//! Blocks of IP addresses, as people write them: `192.0.2.0/24`, `2001:db8::1`.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

/// An address and how many of its leading bits count; the others are zero. An IPv4 address mapped
/// into IPv6 is the IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Block {
    first: IpAddr,
    length: u8,
}

/// Why a text is not a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockError(&'static str);

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BlockError {}

impl Block {
    /// The block of `v4` or `v6` leading bits that `address` is in. More bits than an address has
    /// are all of them.
    #[must_use]
    pub fn around(address: IpAddr, v4: u8, v6: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let length = v4.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                Self { first: IpAddr::V4((address.to_bits() & mask).into()), length }
            }
            IpAddr::V6(address) => {
                let length = v6.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                Self { first: IpAddr::V6((address.to_bits() & mask).into()), length }
            }
        }
    }

    /// Whether `address` is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        Self::around(address, self.length, self.length) == *self
    }

    /// Whether it is one of IPv4 addresses.
    #[must_use]
    pub fn is_v4(&self) -> bool {
        self.first.is_ipv4()
    }
}

impl FromStr for Block {
    type Err = BlockError;
    fn from_str(text: &str) -> Result<Self, BlockError> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_not_one| {
            BlockError("expected an address or a network, as in \"192.0.2.0/24\" or \"2001:db8::/32\"")
        })?;
        if first != first.to_canonical() {
            return Err(BlockError("write an IPv4 address as such, not inside of an IPv6 one"));
        }
        let most = if first.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => most,
            Some(length) => length
                .parse()
                .ok()
                .filter(|length| *length <= most)
                .ok_or(BlockError("the length of a network does not fit its address"))?,
        };
        let block = Self::around(first, length, length);
        if block.first == first { Ok(block) } else { Err(BlockError("a network has bits set beyond its length")) }
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.first.is_ipv4() { 32 } else { 128 };
        if self.length == whole { write!(f, "{}", self.first) } else { write!(f, "{}/{}", self.first, self.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_what_their_leading_bits_say() {
        for (block, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.0/24", "::ffff:192.0.2.1", "::192.0.2.1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("0.0.0.0/0", "255.1.1.1", "2001:db8::1"),
            ("::/0", "2001:db8::1", "127.0.0.1"),
            ("::1", "::1", "::2"),
        ] {
            let parsed: Block = block.parse().unwrap();
            assert_eq!(parsed.to_string(), block);
            assert!(parsed.contains(inside.parse().unwrap()), "{block} {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{block} {outside}");
        }
        for bad in ["", "192.0.2.1/24", "192.0.2.0/33", "::/129", "host.example", "1.2.3.4/", "::ffff:1.2.3.4"] {
            assert!(bad.parse::<Block>().is_err(), "{bad}");
        }
    }
}
