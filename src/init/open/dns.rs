//! Questions to name servers and what they answer (RFC 1035, 4; RFC 3596). Pure.
//!
//! Reads no names in answers but to pass over them: whoever is asked follows aliases itself, and
//! every address in the answer to our question is an answer to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest answer by UDP without extensions (RFC 1035, 2.3.4); one that is longer comes cut, with
/// addresses in it.
pub(super) const MAX_ANSWER: usize = 512;

const HEADER: usize = 12;
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// `QR` and `RCODE` of the header's second pair of bytes.
const IS_ANSWER: u8 = 0x80;
const CODE: u8 = 0x0f;
const NO_SUCH_NAME: u8 = 3;

/// Records of these are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ipv4,
    Ipv6,
}

impl Kind {
    fn number(self) -> u16 {
        match self {
            Self::Ipv4 => 1,
            Self::Ipv6 => 28,
        }
    }
}

/// The server could not say, or makes no sense: ask another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unusable;

/// Asks for records of `kind` of `name`, recursively. `None`: it is no name.
pub(super) fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut out = id.to_be_bytes().to_vec();
    // Recursion desired; one question.
    out.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    if name.is_empty() || name.len() > MAX_NAME {
        return None;
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|_| (1..=MAX_LABEL).contains(&label.len()))?;
        out.push(length);
        out.extend(label.as_bytes());
    }
    out.push(0);
    out.extend(kind.number().to_be_bytes());
    // Class IN.
    out.extend(1_u16.to_be_bytes());
    Some(out)
}

/// Whether `answer` answers `question`: its number and its words.
pub(super) fn answers(answer: &[u8], question: &[u8]) -> bool {
    let words = question.get(HEADER..).unwrap_or_default();
    answer.get(..2) == question.get(..2)
        && answer.get(2).is_some_and(|flags| flags & IS_ANSWER != 0)
        && answer.get(HEADER..HEADER + words.len()).is_some_and(|echoed| echoed.eq_ignore_ascii_case(words))
}

/// The addresses in an answer; none if there is no such name, or none of this kind.
pub(super) fn addresses(answer: &[u8], kind: Kind) -> Result<Vec<IpAddr>, Unusable> {
    let code = answer.get(3).ok_or(Unusable)? & CODE;
    match code {
        0 => {}
        NO_SUCH_NAME => return Ok(Vec::new()),
        _ => return Err(Unusable),
    }
    let count = number(answer, 6).ok_or(Unusable)?;
    let mut at = skip_name(answer, HEADER).ok_or(Unusable)? + 4;
    let mut out = Vec::new();
    for _ in 0..count {
        // An answer that was cut ends anywhere.
        let Some((address, next)) = record(answer, at, kind) else { break };
        out.extend(address);
        at = next;
    }
    Ok(out)
}

/// The address in the record at `at`, if it is one, and where the next begins.
fn record(answer: &[u8], at: usize, kind: Kind) -> Option<(Option<IpAddr>, usize)> {
    let at = skip_name(answer, at)?;
    let (found, class) = (number(answer, at)?, number(answer, at + 2)?);
    // After type, class and time to live.
    let length = usize::from(number(answer, at + 8)?);
    let data = answer.get(at + 10..at + 10 + length)?;
    let address = match kind {
        Kind::Ipv4 => <[u8; 4]>::try_from(data).ok().map(|bytes| IpAddr::from(Ipv4Addr::from(bytes))),
        Kind::Ipv6 => <[u8; 16]>::try_from(data).ok().map(|bytes| IpAddr::from(Ipv6Addr::from(bytes))),
    };
    Some((address.filter(|_| found == kind.number() && class == 1), at + 10 + length))
}

/// Where what follows the name at `at` begins. A pointer ends a name, so none is followed.
fn skip_name(answer: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *answer.get(at)? {
            0 => return Some(at + 1),
            length @ 1..0x40 => at += 1 + usize::from(length),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

fn number(answer: &[u8], at: usize) -> Option<u16> {
    let bytes = answer.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(records: &[u8], count: u8) -> Vec<u8> {
        let mut out = question(7, "web.example", Kind::Ipv4).unwrap();
        out[2] |= IS_ANSWER;
        out[7] = count;
        out.extend(records);
        out
    }

    const ADDRESS: [u8; 16] = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1];

    #[test]
    fn addresses_are_read_behind_aliases() {
        let alias = [0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 3, 1, b'a', 0];
        let whole = answer(&[&alias[..], &ADDRESS].concat(), 2);
        assert!(answers(&whole, &question(7, "WEB.example", Kind::Ipv4).unwrap()));
        assert!(!answers(&whole, &question(8, "web.example", Kind::Ipv4).unwrap()));
        assert!(!answers(&whole, &question(7, "www.example", Kind::Ipv4).unwrap()));
        assert_eq!(addresses(&whole, Kind::Ipv4), Ok(vec!["192.0.2.1".parse().unwrap()]));
        assert_eq!(addresses(&whole, Kind::Ipv6), Ok(vec![]));
    }

    #[test]
    fn no_answer_makes_it_panic_or_loop() {
        let whole = answer(&ADDRESS, 200);
        for length in 0..whole.len() {
            drop(addresses(&whole[..length], Kind::Ipv4));
        }
        for at in 0..whole.len() {
            for byte in [0, 0x3f, 0x40, 0xc0, 0xff] {
                let mut changed = whole.clone();
                changed[at] = byte;
                drop(addresses(&changed, Kind::Ipv4));
            }
        }
        let mut refused = whole;
        refused[3] = 2;
        assert_eq!(addresses(&refused, Kind::Ipv4), Err(Unusable));
        refused[3] = NO_SUCH_NAME;
        assert_eq!(addresses(&refused, Kind::Ipv4), Ok(vec![]));
    }

    #[test]
    fn what_is_no_name_is_not_asked_for() {
        for bad in ["", ".", "a..b", &"a".repeat(64), &"a.".repeat(200)] {
            assert_eq!(question(1, bad, Kind::Ipv4), None, "{bad}");
        }
    }
}
