//! Channels of forwards in the hands of a client that keeps no rule: confirmed twice, never, or
//! unasked; closed twice; agents and displays; new keys in the midst of it (threats.md, 5.A and 5.B).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test support code"
)]

use std::time::Duration;

use nix::sys::signal::Signal;
use support::{
    Door, Running,
    attacked::{MOST_KIB, door_of, memory, unharmed},
    attacker::{Attacker, Key, Message},
    attacker_channels::{confirmation, data, direct, number_at},
    forward::{echo, server},
    procfs, root, soon, until,
};

/// A message about the server's channel of that number.
type Step = Box<dyn Fn(u32) -> Message>;

fn door() -> (Door, Key) {
    door_of("10s", "linger = \"0s\"")
}

/// Somebody in the cell who connects to `port`, says hello, and shows what comes back until it ends.
fn visitor(door: &Door, port: u16) -> Running {
    door.spawn("alice", &format!("exec 3<>/dev/tcp/127.0.0.1/{port}; echo hello >&3; cat <&3; echo; echo over"))
}

/// A client that listens, the visitor who has come, and the channel that the server opens for it.
fn visited(door: &Door, key: &Key) -> (Attacker, Running, u32) {
    let mut client = Attacker::login(door.port, "alice", key);
    let port = client.listen().unwrap();
    let visitor = visitor(door, port);
    let theirs = client.is_opened().unwrap();
    (client, visitor, theirs)
}

/// Forwarded channels as they are meant: the attacker can be honest
#[test]
fn a_forwarded_channel_carries_both_ways_and_closes_once() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let (mut client, visitor, theirs) = visited(&door, &key);
    client.send(&confirmation(theirs, 7));
    let hello = client.next(&[94]).unwrap();
    assert_eq!((number_at(&hello, 1), &hello[9..]), (7, &b"hello\n"[..]));
    client.send(&data(theirs, b"welcome\n"));
    client.send(&Message::new(96).number(theirs));
    visitor.expect("welcome");
    visitor.expect("over");
    client.send(&Message::new(97).number(theirs));
    client.next(&[97]).unwrap();
    unharmed(&door, &key);
}

/// "forwarded channels confirmed or closed twice": only the server's own openings are confirmed, and
/// each of them once
#[test]
fn what_is_confirmed_twice_or_unasked_ends_the_connection() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let before = door.counts();
    // Twice, with other numbers and windows.
    let (mut client, visitor, theirs) = visited(&door, &key);
    client.send(&confirmation(theirs, 7));
    client.next(&[94]).unwrap();
    client.send(&Message::new(91).number(theirs).number(8).number(u32::MAX).number(u32::MAX));
    assert_eq!(client.settled(), None, "it went on");
    visitor.expect("over");
    // A session, which the client opened itself; and one that runs.
    for running in [false, true] {
        let mut client = Attacker::login(door.port, "alice", &key);
        let session = if running { client.starts("echo up; exec cat") } else { client.open(1, 32768).unwrap() };
        client.send(&confirmation(session, 9));
        assert_eq!(client.settled(), None, "{running}");
    }
    // What nobody opened, and what was refused.
    for theirs in [0, 1, 99, u32::MAX] {
        let mut client = Attacker::login(door.port, "alice", &key);
        assert_eq!(client.opens(&direct(3, "localhost", 9)).unwrap(), None);
        client.send(&confirmation(theirs, 9));
        assert_eq!(client.settled(), None, "{theirs}");
    }
    drop(client);
    unharmed(&door, &key);
    door.returns_to(&before);
}

#[test]
fn closes_ends_and_refusals_that_come_twice_or_too_early_harm_nobody() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let before = door.counts();
    let end = |number: u8| move |theirs: u32| Message::new(number).number(theirs);
    let refusal = |theirs: u32| Message::new(92).number(theirs).number(1).text("no").text("");
    let (eof, close) = (end(96), end(97));
    let orders: [(&str, Vec<Step>); 8] = [
        ("close without an answer", vec![Box::new(close), Box::new(close)]),
        ("data without an answer", vec![Box::new(|theirs| data(theirs, b"early")), Box::new(eof)]),
        ("refused twice", vec![Box::new(refusal), Box::new(refusal)]),
        ("confirmed, then refused", vec![Box::new(|theirs| confirmation(theirs, 7)), Box::new(refusal)]),
        ("closed twice", vec![Box::new(|theirs| confirmation(theirs, 7)), Box::new(close), Box::new(close)]),
        ("ended twice", vec![Box::new(|theirs| confirmation(theirs, 7)), Box::new(eof), Box::new(eof)]),
        (
            "data after the end and the close",
            vec![
                Box::new(|theirs| confirmation(theirs, 7)),
                Box::new(eof),
                Box::new(|theirs| data(theirs, b"late")),
                Box::new(close),
                Box::new(|theirs| data(theirs, b"later")),
                Box::new(|theirs| Message::new(93).number(theirs).number(u32::MAX)),
            ],
        ),
        (
            "a session's requests",
            vec![
                Box::new(|theirs| confirmation(theirs, 7)),
                Box::new(|theirs| Message::request(theirs, "exec", true).text("sleep 30 # attack-marker")),
                Box::new(|theirs| Message::request(theirs, "subsystem", true).text("sftp")),
                Box::new(|theirs| Message::request(theirs, "auth-agent-req@openssh.com", true)),
            ],
        ),
    ];
    for (what, order) in orders {
        let (mut client, _visitor, theirs) = visited(&door, &key);
        order.iter().for_each(|message| client.send(&message(theirs)));
        let numbers = client.settled().unwrap_or_default();
        assert!(!numbers.contains(&99), "{what}: {numbers:?}");
        if client.settled().is_some() {
            assert_eq!(client.exec("echo well").as_deref(), Some("well"), "{what}");
        }
        drop(client);
        unharmed(&door, &key);
    }
    door.returns_to(&before);
}

/// warpgate GHSA-qw79: "client never confirms; bounded"
#[test]
fn a_client_that_never_confirms_makes_nothing_grow() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let before = door.counts();
    let mut client = Attacker::login(door.port, "alice", &key);
    let port = client.listen().unwrap();
    let program = format!(
        "import socket\ndef full(c):\n try:\n  while True: c.send(b'x'*65536)\n except OSError: pass\nall=[]\nfor n in range(400):\n c=socket.socket();c.setsockopt(socket.SOL_SOCKET,socket.SO_SNDBUF,131072);c.setblocking(False)\n c.connect_ex(('127.0.0.1',{port}));all.append(c)\nprint('up')\nimport select\nn=0\nwhile n<300:\n for c in select.select([],all,[])[1][:256]:\n  full(c);n+=1\nprint('full')\nimport sys;sys.stdin.read()"
    );
    let pushing = server(&door, "alice", &program);
    pushing.expect("full");
    // So many at once; one more is ready for the listener's other family.
    for opening in 1..256 {
        assert!(client.next(&[90]).is_ok(), "{opening}");
    }
    assert_eq!(client.settled().map(|numbers| numbers.contains(&90)), Some(false), "no more than so many at once");
    assert!(memory(&door) < MOST_KIB, "{} KiB", memory(&door));
    unharmed(&door, &key);
    drop((client, pushing));
    door.returns_to(&before);
}

/// "agent and x11 requests twice": one agent for a connection, and as many displays as may listen
#[test]
fn agents_and_displays_that_are_asked_for_again_and_again_are_counted() {
    if !root() {
        return;
    }
    let (door, key) = door_of("10s", "linger = \"0s\"\nallow = [\"exec\", \"agent\", \"x11\"]");
    let before = door.counts();
    let mut client = Attacker::login(door.port, "alice", &key);
    let session = client.open(1, 32768).unwrap();
    let agent = |session| Message::request(session, "auth-agent-req@openssh.com", true);
    for _ in 0..100 {
        client.send(&agent(session));
        assert_eq!(client.next(&[99, 100]).unwrap()[0], 99);
    }
    let cookie = "0f".repeat(16);
    let display = |protocol: &str, cookie: &str, screen: u32| {
        Message::request(session, "x11-req", true).byte(0).text(protocol).text(cookie).number(screen)
    };
    let bad: [(&str, &str); 9] = [
        ("", &cookie),
        ("a b", &cookie),
        ("MIT\nsource", &cookie),
        (&"p".repeat(100_000), &cookie),
        ("MIT-MAGIC-COOKIE-1", ""),
        ("MIT-MAGIC-COOKIE-1", "0"),
        ("MIT-MAGIC-COOKIE-1", "0g"),
        ("MIT-MAGIC-COOKIE-1", "00\nadd"),
        ("MIT-MAGIC-COOKIE-1", &"0".repeat(100_000)),
    ];
    for (protocol, cookie) in bad {
        client.send(&display(protocol, cookie, 0));
        assert_eq!(client.next(&[99, 100]).unwrap()[0], 100, "{protocol:.20} {cookie:.20}");
    }
    let mut displays = 0;
    for screen in (0..100).chain([u32::MAX]) {
        client.send(&display("MIT-MAGIC-COOKIE-1", &cookie, screen));
        displays += usize::from(client.next(&[99, 100]).unwrap()[0] == 99);
    }
    assert_eq!(displays, 31, "with the agent, 32 listeners");
    // The session gets the newest, and a program that runs gets no more.
    client.send(&Message::request(session, "exec", true).text("ls -d /tmp/ssh-* | wc -l; exec cat"));
    assert_eq!(String::from_utf8_lossy(&client.next(&[94]).unwrap()[9..]).trim(), "32");
    for message in [agent(session), display("MIT-MAGIC-COOKIE-1", &cookie, 0)] {
        client.send(&message);
        assert_eq!(client.next(&[99, 100]).unwrap()[0], 100);
    }
    drop(client);
    soon("all of it is gone", || {
        Attacker::login(door.port, "alice", &key)
            .exec("ls -dA /tmp/ssh-* /tmp/.X11-unix/* 2>/dev/null | wc -l")
            .as_deref()
            == Some("0")
    });
    unharmed(&door, &key);
    door.returns_to(&before);
}

/// GHSA-g9f8-wqj9-fjw5: "fake agent behind a forwarded socket answers length 2^32-1"
#[test]
fn an_agent_that_lies_about_lengths_is_the_programs_that_asked_it() {
    if !root() {
        return;
    }
    let (door, key) = door();
    for answer in [vec![0xff; 4], [&[0xff; 4][..], &[12; 60_000]].concat(), vec![0; 4], vec![0, 0, 0, 1]] {
        let mut client = Attacker::login(door.port, "alice", &key);
        let session = client.open(1, 32768).unwrap();
        client.send(&Message::request(session, "auth-agent-req@openssh.com", true));
        assert_eq!(client.next(&[99, 100]).unwrap()[0], 99);
        client.send(&Message::request(session, "exec", true).text("timeout 20 ssh-add -l; echo status $?"));
        let theirs = client.is_opened().unwrap();
        client.send(&confirmation(theirs, 9));
        client.next(&[94]).unwrap();
        client.send(&data(theirs, &answer));
        client.send(&Message::new(96).number(theirs));
        client.send(&Message::new(97).number(theirs));
        let mut out = Vec::new();
        while !out.windows(6).any(|part| part == b"status") {
            let message = client.next(&[94]).unwrap();
            if number_at(&message, 1) == 1 {
                out.extend(&message[9..]);
            }
        }
        assert!(!String::from_utf8_lossy(&out).contains("status 0"), "{}", String::from_utf8_lossy(&out));
        drop(client);
        unharmed(&door, &key);
    }
}

/// "rekeys in the midst of forwards": not a byte is lost
#[test]
fn keys_that_the_client_renews_in_the_midst_of_a_forward_lose_no_byte() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let _echo = echo(&door, "alice", 7001);
    let mut client = Attacker::login(door.port, "alice", &key);
    let theirs = client.opens(&direct(5, "localhost", 7001)).unwrap().unwrap();
    let (mut sent, mut back) = (Vec::new(), Vec::new());
    let mut take = |message: &[u8]| {
        if message[0] == 94 && number_at(message, 1) == 5 {
            back.extend_from_slice(&message[9..]);
        }
    };
    for round in 0..48_u8 {
        let chunk: Vec<u8> = (0..16_384_u32).map(|n| (n % 251) as u8 ^ round).collect();
        client.send(&data(theirs, &chunk));
        sent.extend(chunk);
        if round % 3 == 0 {
            client.rekey().iter().for_each(|message| take(message));
        }
    }
    client.send(&Message::new(96).number(theirs));
    loop {
        let message = client.receive().unwrap();
        take(&message);
        if message[0] == 96 {
            break;
        }
    }
    assert!(sent == back, "{} bytes of {}", back.len(), sent.len());
    assert_eq!(client.exec("echo well").as_deref(), Some("well"));
    unharmed(&door, &key);
}

/// CVE-2025-22869: "clients which complete the key exchange slowly, or not at all": what a forward
/// brings meanwhile waits in the cell, not with us
#[test]
fn a_key_exchange_that_stalls_in_the_midst_of_forwards_makes_nothing_grow() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let before = door.counts();
    let program = "import socket,threading\ns=socket.create_server(('127.0.0.1',7001),backlog=99)\nprint('up')\ndef pour(c):\n try:\n  while True: c.sendall(b'x'*65536)\n except OSError: pass\nwhile True: threading.Thread(target=pour,args=(s.accept()[0],),daemon=True).start()";
    let pouring = server(&door, "alice", program);
    let mut client = Attacker::login(door.port, "alice", &key);
    client.stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let channels: Vec<u32> =
        (0..16).map(|channel| client.opens(&direct(channel, "localhost", 7001)).unwrap().unwrap()).collect();
    client.send_kexinit();
    // Against the rules: nothing but the exchange may follow it (RFC 4253, 7.1).
    for theirs in channels.iter().cycle().take(2000) {
        let window = Message::new(93).number(*theirs).number(1 << 20);
        if client.try_send(&window).is_err() || client.try_send(&data(*theirs, &[7; 1024])).is_err() {
            break;
        }
    }
    assert!(!until(Duration::from_secs(3), || memory(&door) >= MOST_KIB), "{} KiB", memory(&door));
    unharmed(&door, &key);
    drop((client, pouring));
    door.returns_to(&before);
    assert_eq!(door.events("forward_end").len(), 16);
}

/// A client that gives no window, and whose terminal's last program is stopped for want of memory: the exit needs none,
/// and what is said of the limit waits until there is some
#[test]
fn a_client_that_gives_no_window_is_told_of_the_exit_and_of_the_rest_later() {
    if !root() {
        return;
    }
    let (door, key) = door_of("10s", "limits = { memory = \"64M\" }");
    let mut client = Attacker::login(door.port, "alice", &key);
    client.send(&Message::open_session(1, 0, 32768));
    let session = number_at(&client.next(&[91]).unwrap(), 5);
    let terminal = Message::request(session, "pty-req", true).text("x");
    client.send(&terminal.number(80).number(24).number(0).number(0).text(""));
    assert_eq!(client.next(&[99, 100]).unwrap()[0], 99);
    let hog = "until [ -e go ]; do sleep 0.1; done; exec python3 -c 'a = bytearray(b\"x\") * (200 << 20)'";
    client.send(&Message::request(session, "exec", true).text(hog));
    assert_eq!(client.next(&[99, 100]).unwrap()[0], 99);
    let is_there = || door.processes().into_iter().any(|pid| procfs::cmdline(pid).contains("until [ -e go ]"));
    soon("the shell is there", is_there);
    let ssh = door.ssh_processes()[0];
    let monitor = procfs::parent(ssh).unwrap();
    procfs::kill(monitor, Signal::SIGSTOP);
    door.ok("alice", "touch go");
    soon("python runs, or did", || !is_there());
    soon("it is stopped", || !door.processes().into_iter().any(|pid| procfs::cmdline(pid).contains("200 << 20")));
    procfs::kill(monitor, Signal::SIGCONT);
    let exit = client.next(&[98]).unwrap();
    assert!(exit.windows(11).any(|part| part == b"exit-status"), "{exit:?}");
    assert_eq!(number_at(&exit, exit.len() - 4), 122, "the documented status");
    client.send(&Message::new(93).number(session).number(1 << 20));
    let told = client.next(&[94]).unwrap();
    assert!(String::from_utf8_lossy(&told).contains("memory limit reached (64M"), "{told:?}");
    assert_eq!(client.next(&[97]).unwrap()[0], 97);
}

/// Many terminals whose programs end at one time, while their output waits for a client that does not read: all that
/// waits is sent, and all exits are told
#[test]
fn many_ends_at_once_behind_a_client_that_does_not_read_are_all_told() {
    const TERMINALS: u32 = 16;
    if !root() {
        return;
    }
    let (door, key) = door_of("10s", "max_sessions = 20");
    let mut client = Attacker::login(door.port, "alice", &key);
    for channel in 0..TERMINALS {
        let session = client.open(channel, 32768).unwrap();
        let terminal = Message::request(session, "pty-req", true).text("x");
        client.send(&terminal.number(80).number(24).number(0).number(0).text(""));
        client.send(&Message::request(session, "exec", true).text("exec yes"));
    }
    let programs = || door.processes().into_iter().filter(|&pid| procfs::cmdline(pid) == "yes").collect::<Vec<_>>();
    soon("all run", || programs().len() == TERMINALS as usize);
    let written = || programs().into_iter().map(procfs::written).sum::<u64>();
    let (mut before, mut unchanged) = (0, 0);
    soon("nothing moves any more", || {
        let now = written();
        unchanged = if now == before { unchanged + 1 } else { 0 };
        before = now;
        unchanged == 30
    });
    for pid in programs() {
        procfs::kill(pid, Signal::SIGKILL);
    }
    soon("the monitor knows of all ends", || door.events("session_end").len() == TERMINALS as usize);
    for _ in 0..TERMINALS {
        let exit = client.next(&[98]).unwrap();
        assert!(exit.windows(11).any(|part| part == b"exit-signal"), "{exit:?}");
    }
    assert_eq!(client.exec("echo well").as_deref(), Some("well"));
}

/// The same for what a program writes, and for the sentence of a program that is refused: neither keeps from others
/// what is theirs
#[test]
fn what_waits_for_window_that_never_comes_holds_up_nothing_else() {
    if !root() {
        return;
    }
    let (door, key) = door_of("10s", "max_sessions = 2");
    let mut client = Attacker::login(door.port, "alice", &key);
    let cat = client.starts("echo up; exec cat");
    let narrow = |client: &mut Attacker, line: &str| {
        client.send(&Message::open_session(1, 0, 32768));
        let session = number_at(&client.next(&[91]).unwrap(), 5);
        let terminal = Message::request(session, "pty-req", true).text("x");
        client.send(&terminal.number(80).number(24).number(0).number(0).text(""));
        assert_eq!(client.next(&[99, 100]).unwrap()[0], 99);
        client.send(&Message::request(session, "exec", true).text(line));
        let exit = client.next(&[98]).unwrap();
        assert!(exit.windows(11).any(|part| part == b"exit-status"), "{exit:?}");
        client.send(&data(cat, b"hello"));
        assert_eq!(client.next(&[94]).unwrap()[9..], b"hello"[..]);
        number_at(&exit, exit.len() - 4)
    };
    assert_eq!(narrow(&mut client, "echo out; exit 3"), 3, "its output waits still");
    client.starts("echo up; exec cat");
    assert_eq!(narrow(&mut client, "true"), 255, "the cell holds two sessions already");
}
