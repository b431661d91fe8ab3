//! Lists of what forwards may lead to and listen on, in the words of OpenSSH's `PermitOpen` and
//! `PermitListen` (sshd_config(5)) and of `permitopen=` and `permitlisten=` (sshd(8)).
//!
//! A list is compared with what the client asked for, as text: no name is looked up for it.

use std::{fmt, net::Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::wire::forward::MAX_HOST;

/// Stands for every host, and for every port.
const EVERY: &str = "*";

/// What forwards of one direction are bound to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Permit {
    /// Nothing.
    #[default]
    Any,
    /// To these; to none of them, nothing is forwarded.
    Only(Vec<Endpoint>),
}

/// A host and a port, each of which may stand for all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// A name, an address without brackets, or a pattern where the list takes patterns; in lower case.
    pub host: String,
    /// `None`: every port, and the one that the kernel chooses.
    pub port: Option<u16>,
}

/// Which of the two lists it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// Of what may be connected to: `*` or one host.
    Open,
    /// Of what may be listened on: a pattern of hosts, which may be left out.
    Listen,
}

/// Why a text is no entry of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadEndpoint {
    /// There is no port.
    NoPort,
    /// The port is none.
    Port,
    /// The host can be no name, address or pattern.
    Host,
    /// A colon outside of brackets.
    Brackets,
    /// A pattern where none is taken.
    Pattern,
}

impl fmt::Display for BadEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPort => "a port is missing: expected host:port",
            Self::Port => "a port is a number from 1 to 65535, or * for all",
            Self::Host => "the host is neither a name nor an address",
            Self::Brackets => "an IPv6 address stands in brackets",
            Self::Pattern => "a host is given whole here, or as * for all",
        })
    }
}

impl std::error::Error for BadEndpoint {}

impl List {
    /// How entries are written.
    #[must_use]
    pub const fn form(self) -> &'static str {
        match self {
            Self::Open => "write it as \"db:5432\", \"[2001:db8::1]:80\", \"*:80\" or \"localhost:*\"",
            Self::Listen => "write it as \"8080\", \"localhost:8080\", \"*:8080\" or \"localhost:*\"",
        }
    }

    /// One entry.
    pub fn entry(self, text: &str) -> Result<Endpoint, BadEndpoint> {
        let (host, port) = match (text.strip_prefix('['), text.rsplit_once(':')) {
            (Some(rest), _) => {
                let (address, port) = rest.split_once(']').ok_or(BadEndpoint::Brackets)?;
                self.check_address(address)?;
                (address, port.strip_prefix(':').ok_or(BadEndpoint::NoPort)?)
            }
            (None, None) if self == Self::Listen => (EVERY, text),
            (None, None) => return Err(BadEndpoint::NoPort),
            (None, Some((host, _port))) if host.parse::<Ipv6Addr>().is_ok() => return Err(BadEndpoint::Brackets),
            (None, Some((host, port))) => {
                self.check_name(host)?;
                (host, port)
            }
        };
        let port = if port == EVERY { None } else { Some(number(port).ok_or(BadEndpoint::Port)?) };
        Ok(Endpoint { host: host.to_ascii_lowercase(), port })
    }

    fn check_name(self, host: &str) -> Result<(), BadEndpoint> {
        let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if (1..=MAX_HOST).contains(&host.len()) && host.bytes().all(|b| named(b) || is_pattern(b)) {
            self.check_pattern(host)
        } else {
            Err(BadEndpoint::Host)
        }
    }

    fn check_address(self, address: &str) -> Result<(), BadEndpoint> {
        let in_address = |b: u8| b.is_ascii_hexdigit() || matches!(b, b':' | b'.') || is_pattern(b);
        match address.parse::<Ipv6Addr>() {
            Ok(_address) => Ok(()),
            Err(_none) if !address.bytes().any(is_pattern) => Err(BadEndpoint::Host),
            Err(_none) if address.len() > MAX_HOST || !address.bytes().all(in_address) => Err(BadEndpoint::Host),
            Err(_none) => self.check_pattern(address),
        }
    }

    fn check_pattern(self, host: &str) -> Result<(), BadEndpoint> {
        let whole = host == EVERY || !host.bytes().any(is_pattern);
        if whole || self == Self::Listen { Ok(()) } else { Err(BadEndpoint::Pattern) }
    }
}

fn is_pattern(byte: u8) -> bool {
    matches!(byte, b'*' | b'?')
}

/// No sign, no blank; 0 is no port that could be named.
fn number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

impl Endpoint {
    /// Whether it stands for every host.
    #[must_use]
    pub fn is_every_host(&self) -> bool {
        self.host == EVERY
    }

    /// Whether it stands for `port`; 0 is the one that the kernel chooses.
    #[must_use]
    pub fn has_port(&self, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
    }
}

/// As it is written in a list.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port.map_or_else(|| EVERY.to_owned(), |port| port.to_string());
        if self.host.contains(':') { write!(f, "[{}]:{port}", self.host) } else { write!(f, "{}:{port}", self.host) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_openssh_reads_them() {
        for (list, text, host, port) in [
            (List::Open, "localhost:80", "localhost", Some(80)),
            (List::Open, "DB.Example:5432", "db.example", Some(5432)),
            (List::Open, "192.0.2.1:*", "192.0.2.1", None),
            (List::Open, "*:80", "*", Some(80)),
            (List::Open, "*:*", "*", None),
            (List::Open, "[2001:DB8::1]:443", "2001:db8::1", Some(443)),
            (List::Open, "[::1]:*", "::1", None),
            (List::Listen, "8080", "*", Some(8080)),
            (List::Listen, "*", "*", None),
            (List::Listen, "localhost:8080", "localhost", Some(8080)),
            (List::Listen, "*.example:1", "*.example", Some(1)),
            (List::Listen, "[::*]:1", "::*", Some(1)),
        ] {
            let read = list.entry(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!((read.host.as_str(), read.port), (host, port), "{text}");
            assert_eq!(list.entry(&read.to_string()), Ok(read), "{text} is shown as it is read");
        }
    }

    #[test]
    fn what_is_no_entry_is_refused_with_the_reason() {
        use BadEndpoint::{Brackets, Host, NoPort, Pattern, Port};
        for (list, text, why) in [
            (List::Open, "", NoPort),
            (List::Open, "80", NoPort),
            (List::Open, "none", NoPort),
            (List::Open, "[::1]", NoPort),
            (List::Open, "[::1]80", NoPort),
            (List::Open, "localhost:", Port),
            (List::Open, "localhost:0", Port),
            (List::Open, "localhost:65536", Port),
            (List::Open, "localhost:+80", Port),
            (List::Open, "localhost:http", Port),
            (List::Open, ":80", Host),
            (List::Open, "a b:80", Host),
            (List::Open, "a,b:80", Host),
            (List::Open, "a/b:80", Host),
            (List::Open, "a:1,b:2", Host),
            (List::Open, "[localhost]:80", Host),
            (List::Open, "[::1", Brackets),
            (List::Open, "::1:80", Brackets),
            (List::Open, "*.example:80", Pattern),
            (List::Open, "[::*]:80", Pattern),
            (List::Listen, "", Port),
            (List::Listen, "localhost", Port),
            (List::Listen, "[g*]:1", Host),
        ] {
            assert_eq!(list.entry(text), Err(why), "{text:?}");
        }
        assert_eq!(List::Open.entry(&format!("{}:80", "a".repeat(256))), Err(Host));
    }
}
