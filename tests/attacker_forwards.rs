//! Requests for forwards that no honest client makes (threats.md, 5.A and 5.B): malformed, too many,
//! before the login, for what was never opened.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test support code"
)]

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use support::{
    Door,
    attacked::{MOST_KIB, door, door_of, memory, strangers_cost_little, unharmed, well},
    attacker::{Attacker, Key, Message},
    attacker_channels::{confirmation, data, direct, global, opening, streamlocal},
    forward::{echo, server},
    patience, procfs, root, soon,
};

/// Listeners of one connection (`wire/forward.rs`).
const MOST_LISTENERS: usize = 32;
/// Forwards of one connection.
const MOST_FORWARDS: usize = 256;

/// Paths that no socket has.
fn bad_paths() -> Vec<Message> {
    let long = |length: usize| Message::start().text(&"/".repeat(length));
    let mut all: Vec<Message> =
        ["", "\0abstract", "/a\0b", "/nowhere/x"].map(|path| Message::start().text(path)).into();
    all.extend([long(108), long(200_000), Message::start().bytes(&[0xff; 4]), Message::start().number(u32::MAX)]);
    all
}

/// Hosts and ports that can be neither.
fn bad_places() -> Vec<Message> {
    let place = |host: &str, port| Message::start().text(host).number(port);
    let mut all: Vec<Message> = [65_536, 0x0001_0016, u32::MAX].map(|port| place("localhost", port)).into();
    all.extend([place("a\0b", 1), place(&"a".repeat(256), 1), place(&"a".repeat(200_000), 1)]);
    all.extend([
        Message::start(),
        Message::start().text("localhost"),
        Message::start().text("localhost").raw(&[0, 0]),
        Message::start().bytes(&[0xff; 4]).number(1),
        Message::start().number(u32::MAX),
        place("localhost", 1).byte(0),
    ]);
    all
}

/// Nothing listens in the cell but a server of ours on port 7001.
fn nothing_listens(door: &Door, key: &Key) {
    let line = "tail -qn +2 /proc/net/tcp /proc/net/tcp6 | awk '$4 == \"0A\" && $2 !~ /:1B59$/' | wc -l";
    soon("nothing listens", || Attacker::login(door.port, "alice", key).exec(line).as_deref() == Some("0"));
}

/// Global requests "with wrong lengths, counts, ports > 65535"
#[test]
fn what_is_no_place_is_not_listened_on_and_kills_at_most_its_connection() {
    if !root() {
        return;
    }
    let (door, key) = door();
    for (kind, all) in [
        ("tcpip-forward", bad_places()),
        ("cancel-tcpip-forward", bad_places()),
        ("streamlocal-forward@openssh.com", bad_paths()),
        ("cancel-streamlocal-forward@openssh.com", bad_paths()),
    ] {
        for fields in all {
            let mut client = Attacker::login(door.port, "alice", &key);
            let answer = client.asked(&global(kind).raw(&fields.0));
            let shown = &fields.0[..fields.0.len().min(24)];
            assert!(answer.is_err() || answer.as_ref().is_ok_and(Option::is_none), "{kind} {shown:?}: {answer:?}");
        }
    }
    nothing_listens(&door, &key);
    assert!(door.events("listen_end").is_empty(), "{:?}", door.events("listen_end"));
    unharmed(&door, &key);
}

/// "outstanding forward listeners"; and what is cancelled is what was asked for, once
#[test]
fn listeners_are_counted_and_cancelled_once() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let before = door.counts();
    let mut client = Attacker::login(door.port, "alice", &key);
    let ports: Vec<u32> = (0..MOST_LISTENERS).map(|_| u32::from(client.listen().unwrap())).collect();
    assert_eq!(client.listen(), None);
    assert_eq!(client.asked(&global("streamlocal-forward@openssh.com").text("/tmp/x")).unwrap(), None);
    let mut cancelled = |host: &str, port: u32| {
        client.asked(&global("cancel-tcpip-forward").text(host).number(port)).unwrap().is_some()
    };
    for (host, port) in [("127.0.0.1", ports[0]), ("localhost", 0), ("localhost", ports[0] + 65_536), ("", ports[0])] {
        assert!(!cancelled(host, port), "{host} {port}");
    }
    assert!(cancelled("localhost", ports[0]));
    assert!(!cancelled("localhost", ports[0]), "twice");
    // One that is taken is not given twice, and the place is free again.
    assert_eq!(client.asked(&global("tcpip-forward").text("localhost").number(ports[1])).unwrap(), None);
    assert!(client.listen().is_some());
    // Thousands, and nobody reads the answers.
    client.stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    for _ in 0..10_000 {
        let requests =
            [global("tcpip-forward").text("localhost").number(0), global("cancel-tcpip-forward").text("").number(1)];
        if requests.iter().any(|request| client.try_send(request).is_err()) {
            break;
        }
    }
    assert!(memory(&door) < MOST_KIB, "{} KiB", memory(&door));
    drop(client);
    unharmed(&door, &key);
    nothing_listens(&door, &key);
    door.returns_to(&before);
}

/// "direct-tcpip and direct-streamlocal with malformed fields"
#[test]
fn what_is_no_target_is_not_opened_and_kills_at_most_its_connection() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let origin = |message: Message| message.text("127.0.0.1").number(1);
    let mut all: Vec<Message> =
        bad_places().iter().map(|fields| origin(opening("direct-tcpip", 5).raw(&fields.0))).collect();
    all.extend(["", " ", "a b", "localhost\n", "[::1]", "::1%lo"].map(|host| direct(5, host, 1)));
    all.extend([direct(5, "localhost", 0), direct(5, "localhost", 9).byte(0)]);
    all.push(opening("direct-tcpip", 5).text("localhost").number(9).number(u32::MAX));
    all.push(opening("direct-tcpip", 5).text("localhost").number(9).bytes(&[0xff; 9]).number(0));
    all.push(opening("direct-tcpip", 5).text("localhost").number(9).text(&"o".repeat(200_000)).number(u32::MAX));
    let path = |fields: &Message| opening("direct-streamlocal@openssh.com", 5).raw(&fields.0).text("").number(0);
    all.extend(bad_paths().iter().map(path));
    all.push(opening("direct-streamlocal@openssh.com", 5).text("/tmp"));
    all.push(streamlocal(5, "/tmp"));
    all.push(streamlocal(5, "/proc/1/root/x"));
    all.push(streamlocal(5, "/dev/null").byte(0));
    for message in all {
        let mut client = Attacker::login(door.port, "alice", &key);
        let opened = client.opens(&message);
        let shown = &message.0[..message.0.len().min(60)];
        assert!(opened.is_err() || opened.as_ref().is_ok_and(Option::is_none), "{shown:?}: {opened:?}");
    }
    let told = door.events("forward_refused");
    assert!(told.iter().all(|event| !event.to_string().contains("\\u0000")), "{told:?}");
    unharmed(&door, &key);
}

/// "direct-tcpip … floods"; lines in the audit file are bounded
#[test]
fn floods_of_forwards_grow_nothing_and_are_counted() {
    if !root() {
        return;
    }
    let (door, key) = door_of("10s", "linger = \"0s\"");
    let before = door.counts();
    for flood in [direct(1, "localhost", 9), streamlocal(1, "/tmp/none"), direct(1, "no.such.name.test", 9)] {
        let mut client = Attacker::login(door.port, "alice", &key);
        client.stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        for _ in 0..20_000 {
            if client.try_send(&flood).is_err() {
                break;
            }
        }
        assert!(memory(&door) < MOST_KIB, "{} KiB", memory(&door));
    }
    // To one who takes connections and does nothing with them.
    let program = "import socket\ns=socket.create_server(('127.0.0.1',7001),backlog=500)\nprint('up')\nc=[]\nwhile True: c.append(s.accept())";
    let idle = server(&door, "alice", program);
    let mut client = Attacker::login(door.port, "alice", &key);
    let mut opened = 0;
    for channel in 0..u32::try_from(MOST_FORWARDS).unwrap() + 20 {
        opened += usize::from(client.opens(&direct(channel, "localhost", 7001)).unwrap().is_some());
    }
    assert_eq!(opened, MOST_FORWARDS);
    assert_eq!(client.exec("echo well").as_deref(), Some("well"), "a session beside them");
    unharmed(&door, &key);
    drop((client, idle));
    door.returns_to(&before);
}

/// warpgate GHSA-xm63: nothing is forwarded for whom nobody knows
#[test]
fn forwards_before_the_login_open_nothing() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let _echo = echo(&door, "alice", 7001);
    let all = [
        direct(0, "localhost", 7001),
        streamlocal(0, "/tmp/x"),
        global("tcpip-forward").text("localhost").number(0),
        global("streamlocal-forward@openssh.com").text("/tmp/x"),
        confirmation(1, 0),
        data(1, b"x"),
    ];
    for after_service in [false, true] {
        let mut client = Attacker::handshake(door.port);
        if after_service {
            client.ask_for_userauth();
        }
        all.iter().for_each(|message| client.send(message));
        let answers = client.hung_up();
        assert!(![81, 91, 94].iter().any(|number| answers.contains(number)), "{answers:?}");
    }
    nothing_listens(&door, &key);
    assert!(door.events("forward_end").is_empty());
    strangers_cost_little(&door);
    unharmed(&door, &key);
}

/// CVE-2025-32728: "`forwarding=off` closes direct-tcpip, streamlocal, tcpip-forward, agent, x11, tun"
#[test]
fn what_is_switched_off_is_off_by_every_request() {
    if !root() {
        return;
    }
    let (door, key) = door_of("10s", "allow = [\"exec\"]");
    let _echo = echo(&door, "alice", 7001);
    let mut client = Attacker::login(door.port, "alice", &key);
    for message in
        [direct(1, "localhost", 7001), streamlocal(1, "/tmp/x"), opening("tun@openssh.com", 1).number(1).number(0)]
    {
        assert_eq!(client.opens(&message).unwrap(), None, "{:?}", message.0);
        // russh refuses some of these twice (docs/upstream.md).
        client.settled().unwrap();
    }
    for message in
        [global("tcpip-forward").text("localhost").number(0), global("streamlocal-forward@openssh.com").text("/tmp/x")]
    {
        assert_eq!(client.asked(&message).unwrap(), None);
    }
    let channel = client.open(3, 32768).unwrap();
    let cookie = "00".repeat(16);
    for message in [
        Message::request(channel, "auth-agent-req@openssh.com", true),
        Message::request(channel, "x11-req", true).byte(0).text("MIT-MAGIC-COOKIE-1").text(&cookie).number(0),
        Message::request(channel, "auth-agent-req", true),
    ] {
        client.send(&message);
        assert_eq!(client.next(&[99, 100]).unwrap()[0], 100, "{:?}", message.0);
    }
    let refused: Vec<_> =
        door.events("forward_refused").iter().map(|e| e["kind"].as_str().unwrap().to_owned()).collect();
    for kind in ["direct-tcpip", "direct-streamlocal", "forwarded-tcpip", "forwarded-streamlocal", "auth-agent", "x11"]
    {
        assert!(refused.contains(&kind.to_owned()), "{kind}: {refused:?}");
    }
    nothing_listens(&door, &key);
    well(&door);
}

/// Takes no connection until it is told to, and then leaves a TCP socket in the second one whose last close
/// takes 90 seconds (`SO_LINGER`, and bytes that nobody reads).
const LINGERING_SERVER: &str = "import array, socket as s, struct, sys, time
l = s.socket(s.AF_UNIX); l.bind('/tmp/full'); l.listen(0)
filler = s.socket(s.AF_UNIX); filler.connect('/tmp/full')
print('up')
sys.stdin.readline()
kept = [l.accept(), l.accept()]
a = s.create_server(('127.0.0.1', 0)); f = s.create_connection(a.getsockname()); kept.append(a.accept())
f.setblocking(False)
try:
    while True: f.send(b'x' * 65536)
except BlockingIOError: pass
f.setsockopt(s.SOL_SOCKET, s.SO_LINGER, struct.pack('ii', 1, 90))
kept[1][0].sendmsg([b'x'], [(s.SOL_SOCKET, s.SCM_RIGHTS, array.array('i', [f.fileno()]))])
f.close()
print('left')
time.sleep(1000)";

/// A client that goes before its forward is open: nobody takes the socket, and init does not sleep over it
#[test]
fn what_a_server_leaves_in_a_socket_that_nobody_takes_does_not_stop_the_cell() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let mut lingering = server(&door, "alice", LINGERING_SERVER);
    let inits =
        || -> Vec<i32> { door.processes().into_iter().filter(|&pid| procfs::name(pid) == "cellblock-init").collect() };
    let [init] = inits()[..] else { panic!("{:?}", inits()) };
    let mut client = Attacker::login(door.port, "alice", &key);
    client.send(&streamlocal(1, "/tmp/full"));
    soon("the socket is being opened", || inits().len() == 2);
    drop(client);
    soon("the client has gone", || door.events("connection_end").len() == 1);

    // All of it is there before init sees it.
    procfs::kill(init, Signal::SIGSTOP);
    lingering.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    lingering.expect("left");
    procfs::kill(init, Signal::SIGCONT);
    let begin = Instant::now();
    assert_eq!(door.ok("alice", "echo in"), "in");
    assert!(begin.elapsed() < patience(10), "{:?}", begin.elapsed());
    soon("nothing of it is left", || inits() == [init]);
}
