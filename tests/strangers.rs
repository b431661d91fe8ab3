//! What strangers cost: penalties, floods, and the bounds of every process that meets them
//! (issue 4, item 7; docs/threat-model.md, "What a stranger can use up").
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    reason = "test support code"
)]

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use serde_json::Value;
use support::{Door, Peaks, Ran, patience, procfs, root, run_bounded, soon};

/// Silent sockets, and connections that send what is no SSH.
const SILENT: usize = 500;
const GARBAGE: usize = 10_000;

/// Addresses that they come from: few enough that each comes more than once a second, which is what a
/// connection without a try costs (`penalties.noauth`).
const ADDRESSES: usize = 8;

/// A connection to the door from an address of this host's loopback network.
fn connect_from(source: [u8; 4], port: u16) -> TcpStream {
    let fd = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    bind(&fd, &SocketAddrV4::new(Ipv4Addr::from(source), 0)).unwrap();
    connect(&fd, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).unwrap();
    TcpStream::from(fd)
}

/// The first line that the door sends; empty where it hangs up without one.
fn first_line(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.last() != Some(&b'\n') && matches!(stream.read(&mut byte), Ok(1)) {
        line.push(byte[0]);
    }
    String::from_utf8_lossy(&line).trim_end().to_owned()
}

/// Whether a connection from `source` is served, and not turned away.
fn is_served(door: &Door, source: [u8; 4]) -> bool {
    let line = first_line(&mut connect_from(source, door.port));
    assert!(line.starts_with("SSH-2.0-") || line == "Not allowed at this time", "{line:?}");
    line.starts_with("SSH-2.0-")
}

/// Sends what is no SSH and reads until the door hangs up.
fn send_garbage(source: [u8; 4], port: u16) {
    let mut stream = connect_from(source, port);
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The door may have hung up already.
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\0\xff\xfe garbage \r\n").ok();
    let mut rest = [0; 4096];
    while matches!(stream.read(&mut rest), Ok(length) if length > 0) {}
}

fn ssh_from(door: &Door, source: &str, user: &str) -> Ran {
    let mut command = door.ssh_command();
    command.args(["-b", source, "-l", user, "door", "true"]);
    run_bounded(command, b"")
}

fn listed(door: &Door) -> Value {
    serde_json::from_str(&door.verb(&["list", "--json"]).text()).unwrap()
}

fn penalties(door: &Door) -> Vec<Value> {
    listed(door)["penalties"].as_array().unwrap().clone()
}

/// How long a good login takes, from the start of `ssh` to its end.
fn login_takes(door: &Door) -> Duration {
    let ran = door.run("alice", "echo in");
    assert_eq!((ran.status, ran.text().as_str()), (0, "in"), "{}", ran.err);
    ran.took
}

/// "a good login in the meantime takes less than 1 s": the worst of them, on a machine that is not busy with others'
/// work.
fn took_less_than_promised(logins: &[Duration]) {
    let worst = logins.iter().max().unwrap();
    assert!(*worst < patience(1), "{logins:?}");
}

/// OpenSSH's `PerSourcePenalties`: an address that fails again and again is turned away, no other is,
/// and `list`, log and audit log say so.
#[test]
fn whoever_fails_again_and_again_is_turned_away_and_nobody_else_is() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .server("penalties = { invaliduser = \"60s\", authfail = \"60s\", min = \"90s\" }")
        .tenant("alice", "")
        .start();
    // One failure is a typo.
    assert_ne!(ssh_from(&door, "127.0.0.2", "nobody").status, 0);
    soon("the failure is on record", || door.events("connection_end").len() == 1);
    assert!(is_served(&door, [127, 0, 0, 2]));
    assert_eq!(penalties(&door), [] as [Value; 0]);
    // Two are too many.
    assert_ne!(ssh_from(&door, "127.0.0.2", "nobody").status, 0);
    soon("the address is turned away", || penalties(&door).len() == 1);
    assert!(!is_served(&door, [127, 0, 0, 2]));
    assert!(is_served(&door, [127, 0, 0, 3]));
    assert_eq!(door.ok("alice", "echo in"), "in");

    let [penalty] = &penalties(&door)[..] else { panic!() };
    assert_eq!((&penalty["source"], &penalty["cause"]), (&Value::from("127.0.0.2"), &Value::from("invaliduser")));
    let [start] = &door.events("penalty_start")[..] else { panic!("{:?}", door.audit()) };
    assert_eq!((&start["source"], &start["cause"]), (&Value::from("127.0.0.2"), &Value::from("invaliduser")));
    assert!(door.events("connection_refused").iter().any(|event| event["reason"] == "penalty"));
    assert!(door.log().contains("connections from 127.0.0.2 are refused for"), "{}", door.log());
}

/// "never locking out a whole NAT for one user's typos"
#[test]
fn an_office_is_not_locked_out_by_one_who_types_the_wrong_name() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .server("penalties = { invaliduser = \"5s\", min = \"15s\" }")
        .tenant("alice", "")
        .start();
    assert_eq!(door.ok("alice", "echo in"), "in");
    for _ in 0..8 {
        assert_ne!(ssh_from(&door, "127.0.0.1", "nobody").status, 0);
    }
    assert_eq!(door.ok("alice", "echo in"), "in");
    assert_eq!(penalties(&door), [] as [Value; 0]);
    // From where nobody ever logged in, the same is enough.
    for _ in 0..8 {
        assert_ne!(ssh_from(&door, "127.0.0.2", "nobody").status, 0);
    }
    soon("the other address is turned away", || !is_served(&door, [127, 0, 0, 2]));
}

/// Blocks count as one, the exempt are never turned away, and crashes cost most.
#[test]
fn what_breaks_the_protocol_behind_the_monitor_counts_as_a_crash() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .server(
            "penalties = { noauth = \"0s\", crash = \"90s\", netblock4 = 24, exempt = [\"127.0.0.1\", \"127.0.7.9\"] }",
        )
        .tenant("alice", "")
        .start();
    let mut stream = connect_from([127, 0, 7, 1], door.port);
    assert!(first_line(&mut stream).starts_with("SSH-2.0-"));
    let ssh = door.processes().into_iter().find(|pid| procfs::name(*pid).contains("ssh")).unwrap();
    procfs::kill(ssh, nix::sys::signal::Signal::SIGSEGV);
    soon("the block is turned away", || penalties(&door).len() == 1);
    assert_eq!(penalties(&door)[0]["source"], "127.0.7.0/24");
    assert_eq!(penalties(&door)[0]["cause"], "crash");
    soon("the end is on record", || door.events("connection_end").len() == 1);
    assert_eq!(door.events("connection_end")[0]["reason"], "ssh process crashed");
    assert!(!is_served(&door, [127, 0, 7, 2]));
    assert!(is_served(&door, [127, 0, 7, 9]));
    assert!(is_served(&door, [127, 0, 8, 1]));
}

/// "exempt list, address blocks for v4 and v6": of IPv6, as whoever has one address there has many
#[test]
fn blocks_of_ipv6_count_as_one_and_can_be_exempt() {
    if !root() {
        return;
    }
    let door = |exempt: &str| {
        Door::with("[defaults]\nroot = \"host\"\n")
            .listen("[\"127.0.0.1:PORT\", \"[::1]:PORT\"]")
            .server(&format!(
                "penalties = {{ invaliduser = \"90s\", authfail = \"90s\", netblock6 = 64, exempt = [{exempt}] }}"
            ))
            .tenant("alice", "")
            .start()
    };
    let ssh = |door: &Door, user: &str| {
        let mut command = door.ssh_command();
        command.args(["-o", "HostName=::1", "-l", user, "door", "echo in"]);
        run_bounded(command, b"")
    };
    let exempt = door("\"::/16\"");
    assert_ne!(ssh(&exempt, "nobody").status, 0);
    soon("the failure is on record", || exempt.events("connection_end").len() == 1);
    assert_eq!(ssh(&exempt, "alice").text(), "in", "{}", exempt.log());
    drop(exempt);

    let door = door("");
    assert_ne!(ssh(&door, "nobody").status, 0);
    soon("the block is turned away", || penalties(&door).len() == 1);
    assert_eq!(penalties(&door)[0]["source"], "::/64");
    assert_eq!(ssh(&door, "alice").status, 255);
    assert_eq!(door.events("connection_refused")[0]["reason"], "penalty");
    // An address of IPv4 is no part of a block of IPv6.
    assert_eq!(door.ok("alice", "echo in"), "in");
}

/// "Five hundred silent sockets: a good login in the meantime takes less than 1 s; RSS of listener and
/// monitors stays within stated bounds"
#[test]
fn five_hundred_silent_sockets_hold_nobody_up() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .server("max_startups = \"600:30:700\"\nmax_connections = 1000\nmax_connections_per_source = 1000")
        .tenant("alice", "")
        .start();
    let before = door.counts();
    let alone = login_takes(&door);
    let mut silent: Vec<TcpStream> = (0..SILENT).map(|_| connect_from([127, 0, 0, 2], door.port)).collect();
    // All of them are served: the last has heard from its process.
    for stream in &mut silent {
        assert!(first_line(stream).starts_with("SSH-2.0-"));
    }
    let logins: Vec<Duration> = (0..10).map(|_| login_takes(&door)).collect();
    eprintln!("logins beside {SILENT} silent sockets: {logins:?}, alone: {alone:?}");
    took_less_than_promised(&logins);
    assert_eq!(door.ssh_processes().len(), SILENT);
    Peaks::of(&door).are_of_strangers();
    drop(silent);
    door.returns_to(&before);
}

/// "10,000 garbage connections": from a few addresses, each of which is soon turned away.
#[test]
fn ten_thousand_garbage_connections_hold_nobody_up() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .server("max_startups = \"600:30:700\"\npenalties = { exempt = [\"127.0.0.1\"] }")
        .tenant("alice", "")
        .watched()
        .start();
    let before = door.counts();
    let alone = login_takes(&door);
    let port = door.port;
    let start = Instant::now();
    let mut logins = Vec::new();
    std::thread::scope(|scope| {
        let floods: Vec<_> = (0..4_usize)
            .map(|part| {
                scope.spawn(move || {
                    for number in (part..GARBAGE).step_by(4) {
                        send_garbage([127, 0, 1, (number % ADDRESSES) as u8 + 1], port);
                    }
                })
            })
            .collect();
        while floods.iter().any(|flood| !flood.is_finished()) {
            logins.push(login_takes(&door));
        }
    });
    let took = start.elapsed();
    eprintln!("{GARBAGE} garbage connections in {took:?}; logins meanwhile: {logins:?}, alone: {alone:?}");
    took_less_than_promised(&logins);
    let started = door.events("penalty_start");
    let sources: BTreeSet<&str> = started.iter().filter_map(|event| event["source"].as_str()).collect();
    assert_eq!(sources.len(), ADDRESSES, "{started:?}");
    let served = door.events("connection_accepted").len();
    assert!(served < GARBAGE / 2, "{served} connections were served");
    door.peaks().unwrap().are_of_strangers();
    assert!(!door.log().contains("panicked"), "{}", door.log());
    door.returns_to(&before);
}
