//! Where a connection comes from: what `Match` lines can tell apart besides the account. There is no end of
//! such places, so one is asked about for each that the config's `Match` lines name, and one that they do not.
//! What really matches is sshd's to say. Pure.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Origins that are asked about; each costs some 30 ms for each account.
const MAX_ORIGINS: usize = 16;

/// An address for documentation (RFC 5737), which stands for all that no line names.
const ELSEWHERE: &str = "192.0.2.1";

/// A connection, as `Match` sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    host: String,
    address: String,
    local_address: String,
    local_port: String,
}

impl Origin {
    /// One that no line names.
    pub(super) fn elsewhere() -> Self {
        let address = || ELSEWHERE.to_owned();
        Self { host: address(), address: address(), local_address: "192.0.2.2".into(), local_port: "22".into() }
    }

    /// What sshd's `-C` is given. Names of accounts have no comma ([`super::look`] sees to it).
    pub(super) fn asking(&self, account: &str) -> String {
        let Self { host, address, local_address, local_port } = self;
        format!("user={account},host={host},addr={address},laddr={local_address},lport={local_port}")
    }

    /// One that `pattern` fits, as far as that can be guessed.
    fn with(&self, criterion: &str, pattern: &str) -> Option<Self> {
        let own = self.clone();
        match criterion {
            "address" => Some(Self { address: address(pattern)?, ..own }),
            "localaddress" => Some(Self { local_address: address(pattern)?, ..own }),
            "host" => Some(Self { host: fill(pattern, "x"), ..own }),
            "localport" => Some(Self { local_port: pattern.parse::<u16>().ok()?.to_string(), ..own }),
            _other => None,
        }
    }
}

impl fmt::Display for Origin {
    /// What sets it apart.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = Self::elsewhere();
        let mut parts = Vec::new();
        for (what, value, usual) in [
            ("address", &self.address, plain.address),
            ("host", &self.host, plain.host),
            ("local address", &self.local_address, plain.local_address),
            ("local port", &self.local_port, plain.local_port),
        ] {
            if *value != usual {
                parts.push(format!("{what} {value}"));
            }
        }
        f.write_str(&parts.join(", "))
    }
}

fn fill(pattern: &str, with: &str) -> String {
    pattern.replace(['*', '?'], with)
}

/// An address of a network (`10.0.0.0/8`), one that fits a pattern (`10.*`), or itself.
fn address(pattern: &str) -> Option<String> {
    let network = pattern.split('/').next().unwrap_or_default();
    let filled = fill(network, "1");
    // `10.*` means all that begins so.
    let parts = filled.split('.').count();
    let whole = if filled.contains(':') { filled } else { filled + &".1".repeat(4_usize.saturating_sub(parts)) };
    whole.parse::<IpAddr>().ok().map(|address| address.to_string())
}

/// The last address of a network, which another line may name alone.
fn last(pattern: &str) -> Option<String> {
    let (network, bits) = pattern.split_once('/')?;
    let bits: u32 = bits.parse().ok()?;
    Some(match network.parse::<IpAddr>().ok()? {
        IpAddr::V4(first) => {
            Ipv4Addr::from(u32::from(first) | u32::MAX.checked_shr(bits).unwrap_or_default()).to_string()
        }
        IpAddr::V6(first) => {
            Ipv6Addr::from(u128::from(first) | u128::MAX.checked_shr(bits).unwrap_or_default()).to_string()
        }
    })
}

/// The origins to ask about where the config has these `Match` lines, and whether there are more.
pub(super) fn origins(matches: &[String]) -> (Vec<Origin>, bool) {
    let mut all = vec![Origin::elsewhere()];
    for asked in matches {
        let criteria = criteria(asked);
        let mut first = Origin::elsewhere();
        for (criterion, patterns) in &criteria {
            if let Some(pattern) = patterns.split(',').find(|pattern| !pattern.starts_with('!')) {
                first = first.with(criterion, pattern).unwrap_or(first);
            }
        }
        for (criterion, patterns) in &criteria {
            for pattern in patterns.split(',') {
                let pattern = pattern.trim_start_matches('!');
                for pattern in [Some(pattern.to_owned()), last(pattern)].into_iter().flatten() {
                    let origin = first.with(criterion, &pattern);
                    all.extend(origin.filter(|origin| !all.contains(origin)));
                }
            }
        }
    }
    // sshd -T is told no routing domain.
    let unasked = matches.iter().flat_map(|asked| criteria(asked)).any(|(criterion, _)| criterion == "rdomain");
    let more = unasked || all.len() > MAX_ORIGINS;
    all.truncate(MAX_ORIGINS);
    (all, more)
}

/// `User mail Address 10.0.0.0/8`, in pairs.
fn criteria(asked: &str) -> Vec<(String, String)> {
    let unquoted = asked.replace('"', "");
    let words = unquoted.split([' ', '\t', '=']).filter(|word| !word.is_empty());
    // In newer versions a comment may follow.
    let mut words = words.take_while(|word| !word.starts_with('#'));
    let mut pairs = Vec::new();
    while let Some(criterion) = words.next() {
        let criterion = criterion.to_ascii_lowercase();
        // These stand alone.
        if criterion != "all" && criterion != "invalid-user" {
            pairs.push((criterion, words.next().unwrap_or_default().to_owned()));
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(matches: &[&str]) -> Vec<String> {
        let matches: Vec<String> = matches.iter().map(|&line| line.to_owned()).collect();
        origins(&matches).0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_match_lines_name_is_asked_about_and_one_that_they_do_not() {
        assert_eq!(told(&[]), [""]);
        assert_eq!(told(&["User alice", "all", "Group \"tenants\"", "RDomain x # Address 10.0.0.1"]), [""]);
        assert_eq!(
            told(&["Address 10.0.0.0/8,!10.1.0.0/16"]),
            ["", "address 10.0.0.0", "address 10.255.255.255", "address 10.1.0.0", "address 10.1.255.255"]
        );
        assert_eq!(told(&["User a address=172.16.*"]), ["", "address 172.16.1.1"]);
        assert_eq!(
            told(&["Address 2001:db8::/32 LocalPort 2222"]),
            [
                "",
                "address 2001:db8::, local port 2222",
                "address 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff, local port 2222"
            ]
        );
        assert!(origins(&["RDomain vrf1".to_owned()]).1);
        assert_eq!(
            told(&["Host *.example.org", "LocalAddress 10.0.0.1"]),
            ["", "host x.example.org", "local address 10.0.0.1"]
        );
        assert_eq!(told(&["Address *,!192.0.2.9", "Address nonsense/8", "LocalPort x", "Address"]).len(), 3);
    }

    #[test]
    fn there_is_an_end_of_them_and_that_is_said() {
        let many: Vec<String> = (0..300).map(|n| format!("Address 10.0.{}.{}", n / 256, n % 256)).collect();
        let (all, more) = origins(&many);
        assert_eq!((all.len(), more), (MAX_ORIGINS, true));
    }

    #[test]
    fn sshd_is_given_all_that_match_can_ask_for() {
        let asking = Origin::elsewhere().asking("alice");
        assert_eq!(asking, "user=alice,host=192.0.2.1,addr=192.0.2.1,laddr=192.0.2.2,lport=22");
    }
}
