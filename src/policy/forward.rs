//! Which sockets a client may have opened in the cell.

use crate::config::settings::Allow;
use crate::wire::forward::{MAX_HOST, MAX_PATH, NoForward, Place, Socket, Target};
use crate::wire::init::Open;

use super::account::account;
use super::grant::{Grant, linger};

/// Longest name of an X authentication protocol; there is `MIT-MAGIC-COOKIE-1`.
const MAX_PROTOCOL: usize = 64;
/// Longest cookie in hexadecimal digits; that protocol's has 32.
const MAX_COOKIE: usize = 256;

impl Grant {
    /// The order to connect to `target`, as init's `forward`.
    pub fn connect(&self, forward: u64, target: Target) -> Result<Open, NoForward> {
        let sound = match &target {
            Target::Tcp { host, .. } => is_host(host),
            Target::Unix { path } => is_path(path),
        };
        if !sound || !self.allows(Allow::LocalForward) {
            return Err(NoForward::Prohibited);
        }
        Ok(self.open(forward, Socket::To(target)))
    }

    /// The order to listen at `place`, as init's `forward`. `directory` is one that nobody else knows.
    pub fn listen(&self, forward: u64, place: Place, directory: &str, name: &str) -> Result<Open, NoForward> {
        let allowed = match &place {
            Place::Tcp { host, port: _ } => {
                host.len() <= MAX_HOST && !host.contains('\0') && self.allows(Allow::RemoteForward)
            }
            Place::Unix { path } => is_path(path) && self.allows(Allow::RemoteForward),
            Place::Agent => self.allows(Allow::Agent),
            Place::Display { .. } => self.allows(Allow::X11),
        };
        if !allowed {
            return Err(NoForward::Prohibited);
        }
        let directory = directory.to_owned();
        let socket = match place {
            Place::Tcp { host: _, port } => Socket::Loopback(port),
            Place::Unix { path } => Socket::Path(path),
            Place::Agent => Socket::Private { directory, name: name.to_owned() },
            Place::Display { protocol, cookie, screen: _ } => {
                if !is_protocol(&protocol) {
                    return Err(NoForward::Prohibited);
                }
                Socket::Display { directory, protocol, cookie: bytes(&cookie).ok_or(NoForward::Prohibited)? }
            }
        };
        Ok(self.open(forward, socket))
    }

    fn open(&self, forward: u64, socket: Socket) -> Open {
        let tenant = self.tenant();
        Open { forward, socket, account: account(tenant), linger: linger(tenant.jail.linger) }
    }
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
    fn what_cannot_be_a_name_or_a_path_is_none() {
        for bad in ["", "a b", "a\0", "ä", &"a".repeat(256)] {
            assert!(!is_host(bad), "{bad:?}");
        }
        for bad in ["", "\0abstract", "/a\0b", &"/".repeat(108)] {
            assert!(!is_path(bad), "{bad:?}");
        }
    }
}
