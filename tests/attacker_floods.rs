//! Clients that send without end, open without end, or are many and do nothing (threats.md, 5.A and 5.B): how much of
//! it got in, and what became of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test support code"
)]

use std::{io::Read as _, net::TcpStream};

use support::{
    Door, Peaks,
    attacked::{door, door_with_grace, unharmed, well},
    attacker::{Attacker, Key, Message, is_silence},
    attacker_channels::global,
    patience, procfs, root, soon,
};

/// Channels of one connection (`ssh/channels.rs`).
const MOST_CHANNELS: usize = 64;
/// Connections whose grace runs out.
const GRACES: usize = 1000;

fn is_running(door: &Door, marker: &str) -> bool {
    door.processes().into_iter().any(|pid| procfs::cmdline(pid).contains(marker))
}

/// CVE-2026-116774: "open with max_packet=0/1; the writer ends within T, jail killed". Nothing can be sent in packets of
/// nothing: whoever asks for them is hung up on.
#[test]
fn a_packet_size_of_nothing_ends_the_connection_and_what_runs_on_it() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let before = door.counts();
    let mut client = Attacker::login(door.port, "alice", &key);
    client.starts("echo up; read line; : 31116");
    assert!(is_running(&door, "31116"));
    client.send(&Message::open_session(1, 1 << 21, 0));
    assert!(client.hung_up().is_empty());
    soon("its end is on record", || door.ends().len() == 1);
    soon("its program has ended, while the client is still there", || !is_running(&door, "31116"));
    drop(client);
    unharmed(&door, &key);
    door.returns_to(&before);
}

/// … and in packets of one byte all can be sent
#[test]
fn a_packet_size_of_one_byte_hangs_nobody() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let before = door.counts();
    let mut client = Attacker::login(door.port, "alice", &key);
    let channel = client.open(7, 1).unwrap();
    client.send(&Message::request(channel, "exec", true).text("seq 5000; exit 3"));
    assert_eq!(client.next(&[99, 100]).unwrap()[0], 99);
    let (mut out, mut status) = (Vec::new(), None);
    loop {
        let message = client.receive().unwrap();
        match message[0] {
            94 => {
                assert_eq!(message.len(), 10, "a byte");
                out.push(message[9]);
            }
            98 => status = message.last().copied(),
            97 => break,
            number => assert_eq!(number, 96),
        }
    }
    let expected: String = (1..=5000).map(|number| format!("{number}\n")).collect();
    assert!(out == expected.into_bytes(), "{} bytes", out.len());
    assert_eq!(status, Some(3));
    assert_eq!(client.exec("echo well").as_deref(), Some("well"));
    drop(client);
    unharmed(&door, &key);
    door.returns_to(&before);
}

/// GHSA-4p9f: "100 k EXT_INFO; RSS bounded"; CVE-2025-26466: "1 M PING"; and others that get no answer, or one that is
/// read. All of it is taken.
#[test]
fn floods_of_small_messages_are_taken_and_do_not_grow_memory() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let unknown = Message::request(99, "env", true).text("A").text("B");
    let floods = [
        (100_000, Message::new(7).number(1).text("server-sig-algs").text(&"x".repeat(200))),
        (1_000_000, Message::new(192).text("ping")),
        (100_000, Message::new(192).text(&"p".repeat(1000))),
        (100_000, Message::new(80).text("keepalive@openssh.com").byte(0)),
        (100_000, Message::new(2).text(&"i".repeat(1000))),
        (100_000, unknown),
    ];
    for (count, flood) in floods {
        let mut client = Attacker::login(door.port, "alice", &key);
        for sent in 0..count {
            client.try_send(&flood).unwrap_or_else(|error| panic!("{} after {sent}: {error}", flood.0[0]));
        }
        assert_eq!(client.settled(), Some(Vec::new()), "{}", flood.0[0]);
        assert_eq!(client.exec("echo well").as_deref(), Some("well"));
        well(&door);
    }
    unharmed(&door, &key);
}

/// CVE-2025-26466: "without reading replies": what is not read is not answered, and no more of it is taken
#[test]
fn a_client_that_reads_no_answers_is_not_read_from_either() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let mut client = Attacker::login(door.port, "alice", &key);
    client.stream.set_write_timeout(Some(patience(2))).unwrap();
    let (mut taken, mut end) = (0, None);
    while taken < 5_000_000 && end.is_none() {
        match client.try_send(&global("keepalive@openssh.com")) {
            Ok(()) => taken += 1,
            Err(error) => end = Some(error),
        }
    }
    // The buffers of both kernels are full, and the door waits.
    assert!(end.as_ref().is_some_and(is_silence), "{end:?} after {taken}");
    assert!(taken > 100_000, "{taken}");
    well(&door);
    // Each was answered or will be, once somebody reads.
    for number in 0..taken {
        let answer = client.receive().unwrap_or_else(|error| panic!("{number} of {taken}: {error}"));
        assert_eq!(answer, [82], "{number}");
    }
    drop(client);
    unharmed(&door, &key);
}

/// "channels per connection": all that are asked for at once are answered, and so many open
#[test]
fn channels_of_a_connection_are_limited() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let mut client = Attacker::login(door.port, "alice", &key);
    for number in 0..20_000 {
        client.try_send(&Message::open_session(number, 1 << 21, 32768)).unwrap();
    }
    let answers: Vec<u8> = (0..20_000).map(|_| client.next(&[91, 92]).unwrap()[0]).collect();
    assert_eq!(answers.iter().filter(|&&answer| answer == 91).count(), MOST_CHANNELS);
    assert!(answers[..MOST_CHANNELS].iter().all(|&answer| answer == 91), "the first");
    well(&door);
    drop(client);
    unharmed(&door, &key);
}

/// CVE-2026-102821: "start KEXINIT, never finish, 1 M CHANNEL_OPEN": nothing but the exchange may follow one's own
/// KEXINIT (RFC 4253, 7.1). An exchange that the server began: `attacker_exchange.rs`.
#[test]
fn a_channel_that_is_opened_in_the_clients_own_exchange_ends_the_connection_at_once() {
    if !root() {
        return;
    }
    let (door, key) = door_with_grace("10m");
    let mut client = Attacker::login(door.port, "alice", &key);
    client.send_kexinit();
    let taken = (0..1_000_000).take_while(|&number| client.try_send(&Message::open_session(number, 1, 1)).is_ok());
    assert!(taken.count() < 1_000_000);
    // It may have been lost to the reset.
    assert!(matches!(client.hung_up()[..], [20] | []));
    soon("its end is on record", || door.ends().len() == 1);
    assert!(door.log().contains("ssh process: Inconsistent state of the protocol"), "{}", door.log());
    unharmed(&door, &key);
}

/// Channels that the server closes first, and that the client never closes, do not add up for ever
#[test]
fn channels_that_come_and_go_do_not_add_up() {
    if !root() {
        return;
    }
    let key = Key::new(1);
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .watched()
        .tenant("alice", &format!("authorized_keys = [\"{}\"]\nallow = [\"shell\"]", key.line()))
        .start();
    let mut client = Attacker::login(door.port, "alice", &key);
    let mut opened = 0_u32;
    while let Some(channel) = client.open(opened, 32768) {
        opened += 1;
        assert!(opened <= 20_000, "no end of them");
        client.send(&Message::request(channel, "exec", true).text("not allowed"));
        client.next(&[99]).unwrap();
    }
    assert!(opened > 1000, "{opened} channels");
    well(&door);
    let refused = door.audit().into_iter().filter(|event| event["event"] == "session_refused").count();
    assert!(refused < 1000, "{refused} lines for {opened} requests");
}

/// Signals that may have a handler: Rust's, which says that a stack overflowed (SIGBUS and SIGSEGV).
const HANDLED: u64 = 1 << 6 | 1 << 10;

/// CVE-2024-6387: "no signal handlers with logic; 10 k grace expiries": a thousand here, at the same time. A grace that
/// runs out interrupts nobody: nothing of ours has a handler for SIGALRM, or any other with logic in it.
#[test]
fn a_thousand_graces_that_run_out_leave_nothing_behind() {
    if !root() {
        return;
    }
    let key = Key::new(1);
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .server("max_startups = \"1100:30:1100\"\nmax_connections = 2000\nmax_connections_per_source = 2000\nlogin_grace = \"3s\"")
        .tenant("alice", &format!("authorized_keys = [\"{}\"]", key.line()))
        .start();
    let before = door.counts();
    let mut silent: Vec<TcpStream> =
        (0..GRACES).map(|_| TcpStream::connect(("127.0.0.1", door.port)).unwrap()).collect();
    let ssh = door.ssh_processes();
    let monitors: Vec<i32> = ssh.iter().filter_map(|&pid| procfs::parent(pid)).collect();
    let handled: Vec<_> = ssh
        .iter()
        .chain(&monitors)
        .chain([&door.listener()])
        .filter_map(|&pid| u64::from_str_radix(&procfs::status(pid, "SigCgt")?, 16).ok())
        .collect();
    assert!(handled.len() > 200, "{}", handled.len());
    assert!(handled.iter().all(|signals| signals & !HANDLED == 0), "{handled:x?}");
    Peaks::of(&door).are_of_strangers();
    for stream in &mut silent {
        stream.set_read_timeout(Some(patience(30))).unwrap();
        let mut banner = String::new();
        stream.read_to_string(&mut banner).unwrap();
        assert!(banner.starts_with("SSH-2.0-"), "{banner:?}");
    }
    soon("all ends are on record", || door.ends().len() >= GRACES);
    let ends = door.ends();
    assert!(ends.iter().all(|reason| reason == "not logged in within login_grace"), "{ends:?}");
    door.returns_to(&before);
    unharmed(&door, &key);
}
