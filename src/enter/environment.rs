//! What a caller's environment says that the cell may be told. What is taken of it, the config decides
//! (`accept_env`).

use std::{
    ffi::OsString,
    net::{IpAddr, SocketAddr},
};

/// What ssh(1) sends as Debian ships it, and what programs are told of colours by.
const COMMON: [&str; 3] = ["LANG", "COLORTERM", "NO_COLOR"];

/// The same by how they begin.
const COMMON_PREFIX: &str = "LC_";

/// As much as the monitor looks at.
const MAX_VARIABLES: usize = 128;

/// Bytes of names and values; with the longest command line it fits into one message.
const MAX_BYTES: usize = 16 << 10;

/// What is offered of `variables`, the common ones first. Root offers nothing else: whatever class a tenant
/// has, what is root's is not theirs to see.
pub(super) fn of(variables: impl IntoIterator<Item = (OsString, OsString)>, is_root: bool) -> Vec<(String, String)> {
    let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    let (mut offered, others): (Vec<_>, Vec<_>) =
        variables.into_iter().filter_map(text).partition(|(name, _)| is_common(name));
    if !is_root {
        offered.extend(others);
    }
    let mut bytes = 0_usize;
    offered.retain(|(name, value)| {
        let length = name.len().saturating_add(value.len());
        let fits = bytes.saturating_add(length) <= MAX_BYTES;
        if fits {
            bytes = bytes.saturating_add(length);
        }
        fits
    });
    offered.truncate(MAX_VARIABLES);
    offered
}

fn is_common(name: &str) -> bool {
    COMMON.contains(&name) || name.starts_with(COMMON_PREFIX)
}

/// Both ends of the connection that sshd says the caller came by (`SSH_CONNECTION`).
pub(super) fn came_by(variable: Option<OsString>) -> Option<(SocketAddr, SocketAddr)> {
    let text = variable?.into_string().ok()?;
    let mut words = text.split(' ');
    let mut end = || Some(SocketAddr::new(words.next()?.parse::<IpAddr>().ok()?, words.next()?.parse().ok()?));
    let ends = (end()?, end()?);
    words.next().is_none().then_some(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(variables: &[(&str, &str)], is_root: bool) -> Vec<String> {
        let own = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
        of(variables.iter().map(own).collect::<Vec<_>>(), is_root).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn what_is_common_comes_first_and_is_all_that_root_offers() {
        let variables = [("SECRET", "x"), ("LANG", "C"), ("PATH", "/bin"), ("LC_ALL", "C")];
        assert_eq!(offered(&variables, false), ["LANG", "LC_ALL", "SECRET", "PATH"]);
        assert_eq!(offered(&variables, true), ["LANG", "LC_ALL"]);
    }

    #[test]
    fn a_huge_environment_is_cut_and_keeps_what_is_common() {
        let big = "x".repeat(MAX_BYTES);
        assert_eq!(offered(&[("BIG", &big), ("A", "1"), ("LANG", "C")], false), ["LANG", "A"]);
        let many: Vec<(OsString, OsString)> = (0..1000).map(|n| (format!("V{n}").into(), "x".into())).collect();
        assert_eq!(of(many, false).len(), MAX_VARIABLES);
    }

    #[test]
    fn a_connection_is_two_ends_and_nothing_else() {
        let parsed = |text: &str| came_by(Some(text.into()));
        let ends = ("192.0.2.1:5".parse().unwrap(), "[2001:db8::1]:22".parse().unwrap());
        assert_eq!(parsed("192.0.2.1 5 2001:db8::1 22"), Some(ends));
        for bad in [
            "",
            "192.0.2.1 5",
            "192.0.2.1 5 192.0.2.2 22 x",
            "a 5 b 22",
            "192.0.2.1 5 192.0.2.2 99999",
            "UNKNOWN 65535 UNKNOWN 65535",
        ] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }
}
