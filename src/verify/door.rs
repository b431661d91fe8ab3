//! Whether the ssh door is on: it is knocked at, and no more.
//!
//! To go through it takes a key of the tenant's, which root of the host does not have and must not
//! make. What a login gets is decided behind the door, where `verify` comes in too: that the probe finds
//! the same when it comes by ssh with a key is a test (`verify_command.rs`,
//! `a_probe_that_comes_through_the_ssh_door_finds_what_verify_finds`).

use std::{
    io::{self, BufRead as _, BufReader, Read as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use serde::Serialize;

use crate::config::settings::Server;

/// How long a door may take to open, and to say its name.
const WAIT: Duration = Duration::from_secs(3);

/// Longest first line of an SSH server (RFC 4253, 4.2).
const MAX_BANNER: u64 = 255;

/// What answers where the config says that the door is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Where.
    pub address: SocketAddr,
    /// The first line that it sent; `None`: nothing answers, so the door is off.
    pub banner: Option<String>,
}

/// Knocks at each address that the config names.
#[must_use]
pub fn knock(server: &Server) -> Vec<Answer> {
    let reach = |address: &SocketAddr| {
        let mut address = *address;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            });
        }
        Answer { address, banner: banner(address).ok() }
    };
    server.listen.iter().map(reach).collect()
}

fn banner(address: SocketAddr) -> io::Result<String> {
    let stream = TcpStream::connect_timeout(&address, WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    let mut line = Vec::new();
    BufReader::new(stream.take(MAX_BANNER)).read_until(b'\n', &mut line)?;
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}
