//! Which sockets a client may have opened in the cell.

use std::net::IpAddr;

use crate::base::matches;
use crate::config::permit::{Endpoint, List, Permit};
use crate::config::settings::Allow;
use crate::wire::forward::{MAX_HOST, MAX_PATH, Place, Socket, Target};
use crate::wire::init::Open;

use super::account::account;
use super::grant::{Grant, linger};

/// Longest name of an X authentication protocol; there is `MIT-MAGIC-COOKIE-1`.
const MAX_PROTOCOL: usize = 64;
/// Longest cookie in hexadecimal digits; that protocol's has 32.
const MAX_COOKIE: usize = 256;

/// Why a forward is prohibited, for the audit file; the client learns that it is.
pub type Prohibited = &'static str;

const MALFORMED: Prohibited = "it can be no name, path or cookie";

impl Grant {
    /// The order to connect to `target`, as init's `forward`; or why it is prohibited.
    pub fn connect(&self, forward: u64, target: Target) -> Result<Open, Prohibited> {
        self.check(Allow::LocalForward)?;
        match &target {
            Target::Tcp { host, port } if is_host(host) => {
                self.listed(List::Open, |entry| opens(entry, host, *port))?
            }
            Target::Unix { path } if is_path(path) => {}
            Target::Tcp { .. } | Target::Unix { .. } => return Err(MALFORMED),
        }
        Ok(self.open(forward, Socket::To(target)))
    }

    /// The order to listen at `place`, as init's `forward`; or why it is prohibited. `directory` is one
    /// that nobody else knows.
    pub fn listen(&self, forward: u64, place: Place, directory: &str, name: &str) -> Result<Open, Prohibited> {
        match &place {
            Place::Tcp { host, port } => {
                self.check(Allow::RemoteForward)?;
                if host.len() > MAX_HOST || host.contains('\0') {
                    return Err(MALFORMED);
                }
                self.listed(List::Listen, |entry| listens(entry, host, *port))?;
            }
            Place::Unix { path } => {
                self.check(Allow::RemoteForward)?;
                if !is_path(path) {
                    return Err(MALFORMED);
                }
            }
            Place::Agent => self.check(Allow::Agent)?,
            Place::Display { .. } => self.check(Allow::X11)?,
        }
        let directory = directory.to_owned();
        let socket = match place {
            Place::Tcp { host: _, port } => Socket::Loopback(port),
            Place::Unix { path } => Socket::Path(path),
            Place::Agent => Socket::Private { directory, name: name.to_owned() },
            Place::Display { protocol, cookie, screen: _ } => {
                if !is_protocol(&protocol) {
                    return Err(MALFORMED);
                }
                Socket::Display { directory, protocol, cookie: bytes(&cookie).ok_or(MALFORMED)? }
            }
        };
        Ok(self.open(forward, socket))
    }

    fn check(&self, kind: Allow) -> Result<(), Prohibited> {
        if self.allows(kind) { Ok(()) } else { Err("not allowed") }
    }

    /// Both the tenant's list and the key's must have an entry that `fits`.
    fn listed(&self, list: List, fits: impl Fn(&Endpoint) -> bool) -> Result<(), Prohibited> {
        let (jail, key) = (&self.tenant().jail, self.identity().proof().options());
        let (of_tenant, of_key, not_of_tenant, not_of_key) = match list {
            List::Open => (
                &jail.permit_open,
                key.map(|options| &options.permit_open),
                "not in permit_open",
                "not in permitopen of the key",
            ),
            List::Listen => (
                &jail.permit_listen,
                key.map(|options| &options.permit_listen),
                "not in permit_listen",
                "not in permitlisten of the key",
            ),
        };
        let has = |permit: &Permit| match permit {
            Permit::Any => true,
            Permit::Only(entries) => entries.iter().any(&fits),
        };
        match (has(of_tenant), of_key.is_none_or(has)) {
            (false, _) => Err(not_of_tenant),
            (true, false) => Err(not_of_key),
            (true, true) => Ok(()),
        }
    }

    fn open(&self, forward: u64, socket: Socket) -> Open {
        let tenant = self.tenant();
        Open { forward, socket, account: account(tenant), linger: linger(tenant.jail.linger) }
    }
}

/// Whether `entry` means that host and port, of which no name was looked up yet: two that would lead
/// to the same are two.
fn opens(entry: &Endpoint, host: &str, port: u16) -> bool {
    let same_host = || match (entry.host.parse::<IpAddr>(), host.parse::<IpAddr>()) {
        (Ok(listed), Ok(asked)) => listed == asked,
        _ => entry.host.eq_ignore_ascii_case(host),
    };
    entry.has_port(port) && (entry.is_every_host() || same_host())
}

fn listens(entry: &Endpoint, host: &str, port: u16) -> bool {
    entry.has_port(port) && matches(&entry.host, &host.to_ascii_lowercase())
}

fn is_host(host: &str) -> bool {
    (1..=MAX_HOST).contains(&host.len()) && host.bytes().all(|byte| byte.is_ascii_graphic())
}

/// No NUL: an abstract name would be one that begins with it.
fn is_path(path: &str) -> bool {
    (1..=MAX_PATH).contains(&path.len()) && !path.contains('\0')
}

/// CVE-2016-3115: what follows a line's end in it would be commands to xauth(1); none is run here.
fn is_protocol(name: &str) -> bool {
    (1..=MAX_PROTOCOL).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The bytes of an even number of hexadecimal digits.
fn bytes(cookie: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        cookie.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    if digits.is_empty() || digits.len() > MAX_COOKIE || !digits.len().is_multiple_of(2) {
        return None;
    }
    Some(digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_that_is_more_than_digits_is_none() {
        assert_eq!(bytes("00fF"), Some(vec![0, 255]));
        for bad in ["", "0", "0g", "00\nadd", "0 ", &"00".repeat(200)] {
            assert_eq!(bytes(bad), None, "{bad:?}");
        }
        assert!(!is_protocol("MIT-MAGIC-COOKIE-1\nsource /etc/shadow"));
    }

    #[test]
    fn a_port_is_opened_by_the_name_or_address_that_is_listed() {
        let has = |entry: &str, host: &str, port| opens(&List::Open.entry(entry).unwrap(), host, port);
        for (entry, host, port) in [
            ("db:5432", "db", 5432),
            ("DB.example:5432", "db.EXAMPLE", 5432),
            ("*:80", "anything", 80),
            ("localhost:*", "localhost", 1),
            ("*:*", "::1", 65535),
            ("[::1]:80", "::1", 80),
            ("[2001:db8::1]:80", "2001:DB8:0:0:0:0:0:1", 80),
            ("192.0.2.1:22", "192.0.2.1", 22),
        ] {
            assert!(has(entry, host, port), "{entry} {host} {port}");
        }
        for (entry, host, port) in [
            ("db:5432", "db", 5433),
            ("db:5432", "db.", 5432),
            ("db:5432", "db2", 5432),
            ("db:5432", "xdb", 5432),
            ("localhost:80", "127.0.0.1", 80),
            ("127.0.0.1:80", "localhost", 80),
            ("127.0.0.1:80", "::ffff:127.0.0.1", 80),
            ("[::1]:80", "[::1]", 80),
            ("localhost:80", "", 80),
        ] {
            assert!(!has(entry, host, port), "{entry} {host} {port}");
        }
    }

    #[test]
    fn a_port_is_listened_on_where_a_pattern_has_it_and_any_port_needs_every_port() {
        let has = |entry: &str, host: &str, port| listens(&List::Listen.entry(entry).unwrap(), host, port);
        for (entry, host, port) in [
            ("8080", "localhost", 8080),
            ("8080", "", 8080),
            ("LocalHost:8080", "LOCALHOST", 8080),
            ("*.example:1", "a.example", 1),
            ("127.0.0.?:1", "127.0.0.1", 1),
            ("[::1]:1", "::1", 1),
            ("localhost:*", "localhost", 0),
            ("*", "0.0.0.0", 0),
        ] {
            assert!(has(entry, host, port), "{entry} {host} {port}");
        }
        for (entry, host, port) in [
            ("8080", "localhost", 8081),
            ("8080", "localhost", 0),
            ("localhost:8080", "127.0.0.1", 8080),
            ("localhost:8080", "", 8080),
            ("localhost:*", "0.0.0.0", 0),
            ("[::1]:1", "::2", 1),
        ] {
            assert!(!has(entry, host, port), "{entry} {host} {port}");
        }
    }

    #[test]
    fn what_cannot_be_a_name_or_a_path_is_none() {
        for bad in ["", "a b", "a\0", "ä", &"a".repeat(256)] {
            assert!(!is_host(bad), "{bad:?}");
        }
        for bad in ["", "\0abstract", "/a\0b", &"/".repeat(108)] {
            assert!(!is_path(bad), "{bad:?}");
        }
    }
}
