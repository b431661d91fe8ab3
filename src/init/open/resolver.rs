//! From the name of a host to its addresses, by the cell's own `/etc/hosts` and then by the servers of
//! its `/etc/resolv.conf`: what getaddrinfo(3) does where nsswitch.conf says `files dns`.
//!
//! getaddrinfo(3) itself would load what nsswitch.conf names, the tenant's libraries, into init's own
//! program; getent(1) is not in every root.

use std::{
    fs::File,
    io::Read as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use crate::sys::{Errno, random, stream};

use super::dns;

/// Longest file that is read: block lists in `/etc/hosts` have a few MiB.
const MAX_FILE: u64 = 8 << 20;

/// As in resolv.conf(5).
const MAX_SERVERS: usize = 3;
const MAX_SEARCHED: usize = 6;
const DNS_PORT: u16 = 53;

/// How long one server may take, and how often all are asked: the defaults of resolv.conf(5).
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const ROUNDS: usize = 2;

/// The addresses of `host`, the best first.
///
/// `ENOENT`: there is no such name. `EAGAIN`: no server could say before `deadline`.
pub(super) fn look_up(host: &str, deadline: Instant) -> Result<Vec<IpAddr>, Errno> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![address]);
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let listed = in_hosts(&read("/etc/hosts"), name);
    if !listed.is_empty() {
        return Ok(listed);
    }
    // RFC 6761, 6.3.
    if is_localhost(name) {
        return Ok(vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]);
    }
    let known = Servers::parse(&read("/etc/resolv.conf"));
    for candidate in known.candidates(host) {
        let found = known.ask(&candidate, deadline)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Err(Errno::ENOENT)
}

fn is_localhost(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// What a file says; nothing, if it is not there or not a regular one: a FIFO would be waited for.
fn read(path: &str) -> String {
    let mut text = Vec::new();
    let is_file = Path::new(path).metadata().is_ok_and(|facts| facts.is_file());
    let opened = if is_file { File::open(path).ok() } else { None };
    if let Some(file) = opened
        && file.take(MAX_FILE).read_to_end(&mut text).is_err()
    {
        text.clear();
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The addresses of every line of hosts(5) that names `name`.
fn in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let entries = lines.filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    });
    entries.collect()
}

/// resolv.conf(5), as far as it is used here.
#[derive(Debug, PartialEq, Eq)]
struct Servers {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    dots: usize,
}

impl Servers {
    fn parse(text: &str) -> Self {
        let mut out = Self { servers: Vec::new(), search: Vec::new(), dots: 1 };
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    out.servers.extend(address.map(|address| SocketAddr::new(address, DNS_PORT)));
                }
                Some("search" | "domain") => out.search = words.take(MAX_SEARCHED).map(str::to_owned).collect(),
                Some("options") => {
                    let dots = words.find_map(|word| word.strip_prefix("ndots:")?.parse::<usize>().ok());
                    out.dots = dots.unwrap_or(out.dots).min(15);
                }
                Some(_) | None => {}
            }
        }
        out.servers.truncate(MAX_SERVERS);
        if out.servers.is_empty() {
            out.servers.push((Ipv4Addr::LOCALHOST, DNS_PORT).into());
        }
        out
    }

    /// The full names to ask for, in order.
    fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(full) = host.strip_suffix('.') {
            return vec![full.to_owned()];
        }
        let mut out: Vec<String> =
            self.search.iter().map(|domain| format!("{host}.{}", domain.trim_matches('.'))).collect();
        let first = host.bytes().filter(|b| *b == b'.').count() >= self.dots;
        out.insert(if first { 0 } else { out.len() }, host.to_owned());
        out
    }

    /// IPv6 before IPv4: where there is no way there, the kernel says so at once.
    fn ask(&self, name: &str, deadline: Instant) -> Result<Vec<IpAddr>, Errno> {
        let mut out = Vec::new();
        for kind in [dns::Kind::Ipv6, dns::Kind::Ipv4] {
            out.extend(self.ask_for(name, kind, deadline)?);
        }
        Ok(out)
    }

    fn ask_for(&self, name: &str, kind: dns::Kind, deadline: Instant) -> Result<Vec<IpAddr>, Errno> {
        let id = u16::from_be_bytes(random::bytes()?);
        // A name that cannot be asked for is no name.
        let Some(question) = dns::question(id, name, kind) else { return Ok(Vec::new()) };
        let mut buffer = [0; dns::MAX_ANSWER];
        for server in self.servers.iter().cycle().take(self.servers.len() * ROUNDS) {
            let until = deadline.min(Instant::now() + ANSWER_LIMIT);
            let fits = |answer: &[u8]| dns::answers(answer, &question);
            let Ok(length) = stream::ask_by_udp(*server, &question, &mut buffer, until, fits) else { continue };
            if let Ok(addresses) = dns::addresses(buffer.get(..length).unwrap_or_default(), kind) {
                return Ok(addresses);
            }
        }
        Err(Errno::EAGAIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_by_every_name_and_in_order() {
        let text = "127.0.0.1 localhost\n::1\tlocalhost ip6-localhost # loopback\n# 10.0.0.1 web\n10.0.0.2 web WWW\nnonsense web\n";
        assert_eq!(in_hosts(text, "LOCALHOST"), ["127.0.0.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        assert_eq!(in_hosts(text, "www"), ["10.0.0.2".parse::<IpAddr>().unwrap()]);
        assert_eq!(in_hosts(text, "loopback"), Vec::<IpAddr>::new());
    }

    #[test]
    fn addresses_and_localhost_need_nobody() {
        let deadline = Instant::now();
        assert_eq!(look_up("192.0.2.1", deadline), Ok(vec!["192.0.2.1".parse().unwrap()]));
        assert_eq!(look_up("::1", deadline), Ok(vec!["::1".parse().unwrap()]));
        assert!(look_up("foo.localhost.", deadline).unwrap().contains(&"127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn names_are_completed_as_resolv_conf_says() {
        let servers =
            Servers::parse("search a.example b.example.\nnameserver 192.0.2.1\nnameserver x\noptions ndots:2\n");
        assert_eq!(servers.servers, ["192.0.2.1:53".parse().unwrap()]);
        assert_eq!(servers.candidates("web"), ["web.a.example", "web.b.example", "web"]);
        assert_eq!(servers.candidates("a.b.c"), ["a.b.c", "a.b.c.a.example", "a.b.c.b.example"]);
        assert_eq!(servers.candidates("web."), ["web"]);
        assert_eq!(Servers::parse("").servers, ["127.0.0.1:53".parse().unwrap()]);
    }
}
