//! Clients that do what no honest client does (threats.md, 5.A and 5.B). After each attack the
//! process table and the memory are looked at, and a good login is made.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    reason = "test support code"
)]

use std::{
    io::{Read, Write},
    time::Duration,
};

use aws_lc_rs::kem::{DecapsulationKey, ML_KEM_768};
use support::{
    Door,
    attacked::{door, door_with_grace, exec_marker, no_cell, strangers_cost_little, unharmed},
    attacker::{Attacker, HYBRID, Key, Message, encapsulation_key, is_silence},
    procfs, root, soon, until,
};

/// CVE-2025-32433: "CHANNEL_OPEN+exec right after NEWKEYS, and after SERVICE_ACCEPT → nothing spawned"
#[test]
fn channel_messages_before_the_login_start_nothing() {
    if !root() {
        return;
    }
    let (door, key) = door();
    for after_service in [false, true] {
        let mut client = Attacker::handshake(door.port);
        if after_service {
            client.ask_for_userauth();
        }
        exec_marker(&mut client);
        let answers = client.hung_up();
        assert!(!answers.contains(&91) && !answers.contains(&99), "{answers:?}");
        assert!(no_cell(&door));
    }
    // And in the clear, before any keys are there.
    let mut client = Attacker::greet(door.port);
    exec_marker(&mut client);
    assert!(!client.hung_up().contains(&91));
    assert!(no_cell(&door));
    strangers_cost_little(&door);
    unharmed(&door, &key);
}

/// The numbers of what the server says to `message` and to requests for a session, before it lets the user in by a key
/// and a signature; the client after that.
fn answers_before_the_login(port: u16, user: &str, key: &Key, message: &Message) -> (Vec<u8>, Attacker) {
    let mut client = Attacker::handshake(port);
    client.ask_for_userauth();
    client.send(message);
    exec_marker(&mut client);
    client.send(&client.signed(user, key, key));
    let mut answers = Vec::new();
    loop {
        match client.receive().unwrap()[0] {
            52 => return (answers, client),
            number => answers.push(number),
        }
    }
}

/// CVE-2018-10933: "send USERAUTH_SUCCESS (and 60-79 out of order) → disconnect, no channel". Neither sshd nor we
/// disconnect: sshd says that it knows no such message (RFC 4253, 11.4), russh says nothing, and both go on where they
/// were, before the login.
#[test]
fn a_client_cannot_declare_itself_logged_in() {
    if !root() {
        return;
    }
    let numbers = || [51, 52, 53].into_iter().chain(60..=79).chain([80, 81, 82, 91, 99, 100]);
    // So long that nothing ends because of it.
    let (door, key) = door_with_grace("10m");
    for number in numbers() {
        let (answers, mut client) = answers_before_the_login(door.port, "alice", &key, &Message::new(number));
        // Answers to questions that nobody asked are a try like any other.
        let expected: &[u8] = if number == 61 { &[51] } else { &[] };
        assert_eq!(answers, expected, "{number}");
        assert_eq!(client.settled(), Some(Vec::new()), "{number}: what came before the login is not made up for");
        assert_eq!(client.exec("echo well").as_deref(), Some("well"), "{number}");
    }
    let audited = |name: &str| door.audit().into_iter().filter(|event| event["event"] == name).count();
    assert_eq!((audited("login"), audited("session_start")), (numbers().count(), numbers().count()));
    strangers_cost_little(&door);
    unharmed(&door, &key);

    let sshd = Door::sshd();
    std::fs::write(sshd.dir.join("id.pub"), key.line() + "\n").unwrap();
    for number in numbers() {
        let (answers, _client) = answers_before_the_login(sshd.port, "root", &key, &Message::new(number));
        assert_eq!(answers, [3; 4], "{number}: it, the opening and two requests");
    }
}

/// MikroTik CVE-2026-67279: a rekey before userauth does not move into the connection protocol
#[test]
fn a_rekey_before_the_login_opens_nothing() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let mut client = Attacker::handshake(door.port);
    client.send_kexinit();
    exec_marker(&mut client);
    let answers = client.hung_up();
    assert!(!answers.contains(&91) && !answers.contains(&99), "{answers:?}");
    assert!(no_cell(&door));
    strangers_cost_little(&door);
    unharmed(&door, &key);
}

/// GHSA-45x7 Terrapin: strict kex is offered, and a message injected before NEWKEYS ends the connection
#[test]
fn terrapins_injected_message_ends_the_connection() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let mut client = Attacker::greet(door.port);
    assert!(client.server_kexinit.windows(28).any(|part| part == b"kex-strict-s-v00@openssh.com"));
    client.send_kexinit();
    client.send(&Message::new(2).text("injected"));
    let mut point = [9; 32];
    point[31] = 1;
    client.send(&Message::new(30).bytes(&point));
    assert!(!client.hung_up().contains(&21), "the exchange went on");
    strangers_cost_little(&door);
    unharmed(&door, &key);
}

/// Points of small order: what is agreed with them is 0, whoever chose the other secret (RFC 7748, 6.1;
/// the list is that of https://cr.yp.to/ecdh.html).
const SMALL_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    little(1, 0, 0),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    // p - 1, p and p + 1.
    little(0xec, 0xff, 0x7f),
    little(0xed, 0xff, 0x7f),
    little(0xee, 0xff, 0x7f),
];

const fn little(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut number = [middle; 32];
    number[0] = first;
    number[31] = last;
    number
}

/// "mlkem768x25519-sha256 and curve25519 key exchange": by an implementation that is not the server's
#[test]
fn a_login_by_the_hybrid_exchange_works() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let mut client = Attacker::hybrid_handshake(door.port);
    client.log_in("alice", &key);
    assert_eq!(client.exec("echo well").as_deref(), Some("well"));
}

/// GHSA-w3jg: "hybrid with zero point → disconnect"; and what is no key of ML-KEM
#[test]
fn bad_points_and_keys_in_the_hybrid_exchange_kill_only_their_connection() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let lattice = encapsulation_key(&DecapsulationKey::generate(&ML_KEM_768).unwrap());
    let mut shares: Vec<Vec<u8>> = SMALL_ORDER.iter().map(|point| [&lattice[..], point].concat()).collect();
    // Coefficients that are not below q (FIPS 203, 7.2), and wrong lengths.
    shares.push([&[0xff; 1184][..], &[9; 32]].concat());
    shares.extend([0, 1, 32, 1184, 1215, 1217, 5000].map(|length| vec![9; length]));
    for share in shares {
        let mut client = Attacker::greet(door.port);
        client.send_kexinit_for(HYBRID);
        client.send(&Message::new(30).bytes(&share));
        let answers = client.hung_up();
        assert!(!answers.contains(&31), "{} bytes, {:x?}: {answers:?}", share.len(), share.last_chunk::<32>());
    }
    for cut in [&[][..], &[0], &[0, 0, 4], &[0xff; 4]] {
        let mut client = Attacker::greet(door.port);
        client.send_kexinit_for(HYBRID);
        client.send(&Message::new(30).raw(cut));
        assert!(!client.hung_up().contains(&31), "{cut:?}");
    }
    strangers_cost_little(&door);
    unharmed(&door, &key);
}

/// A certificate whose signer is a certificate, and so on: `depth` of them, the innermost signed by a key.
fn nested_certificate(depth: usize) -> Vec<u8> {
    let signature = Message::start().text("ssh-ed25519").bytes(&[1; 64]).0;
    (0..depth).fold(Message::start().text("ssh-ed25519").bytes(&[9; 32]).0, |signer, _| {
        Message::start()
            .text("ssh-ed25519-cert-v01@openssh.com")
            .text("")
            .bytes(&[9; 32])
            .raw(&[0; 8])
            .number(1)
            .text("")
            .text("")
            .raw(&[0; 8])
            .raw(&[0xff; 8])
            .text("")
            .text("")
            .text("")
            .bytes(&signer)
            .bytes(&signature)
            .0
    })
}

/// "cert whose CA key is itself a cert, 1000 deep → reject, no stack overflow"
#[test]
fn certificates_nested_a_thousand_deep_are_refused_and_overflow_nothing() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let kinds = [("ssh-ed25519-cert-v01@openssh.com", 0), ("ssh-ed25519-cert-v01@openssh.com", 1), ("ssh-ed25519", 0)];
    for depth in [1, 2, 1000] {
        let blob = nested_certificate(depth);
        for (kind, signed) in kinds {
            let mut client = Attacker::handshake(door.port);
            client.ask_for_userauth();
            let offer = Message::new(50).text("alice").text("ssh-connection").text("publickey").byte(signed);
            let mut offer = offer.text(kind).bytes(&blob);
            if signed == 1 {
                offer = offer.bytes(&Message::start().text("ssh-ed25519").bytes(&[1; 64]).0);
            }
            client.send(&offer);
            if depth < 1000 {
                // Refused, and the same connection goes on.
                let answer = client.next(&[51, 52, 60, 1]).map(|message| message[0]);
                assert_eq!(answer.ok(), Some(51), "{depth} {kind} {signed}");
                client.send(&client.signed("alice", &key, &key));
                assert_eq!(client.next(&[51, 52]).unwrap()[0], 52, "{depth} {kind} {signed}");
            } else {
                let answers = client.hung_up();
                assert!(!answers.contains(&52) && !answers.contains(&60), "{kind} {signed}: {answers:?}");
            }
        }
    }
    // It was judged and found wrong, and did not overflow the stack of the process that read it.
    soon("each is in the log", || door.log().matches("certificate field invalid").count() == kinds.len());
    unharmed(&door, &key);
}

/// CVE-2026-73430: "all-zero / wrong-length X25519 panic: send Q_C = 0^32 and 31 bytes"; #515: "message before kex"
#[test]
fn bad_points_and_messages_before_the_exchange_kill_only_their_connection() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let small = SMALL_ORDER.iter().map(|point| &point[..]);
    for point in small.chain([&[0; 31][..], &[0; 33], &[], &[255; 32], &[1; 1000]]) {
        let mut client = Attacker::greet(door.port);
        client.send_kexinit();
        client.send(&Message::new(30).bytes(point));
        let answers = client.hung_up();
        assert!(point.len() == 32 && point[0] == 255 || !answers.contains(&31), "{} bytes: {answers:?}", point.len());
    }
    for number in [0, 2, 3, 5, 6, 7, 21, 30, 31, 50, 80, 90, 98, 192, 255] {
        let mut client = Attacker::greet(door.port);
        client.send(&Message::new(number).number(0));
        client.send(&Message::new(30).bytes(&[9; 32]));
        let answers = client.hung_up();
        assert!(!answers.contains(&52) && !answers.contains(&91), "{number}: {answers:?}");
    }
    strangers_cost_little(&door);
    unharmed(&door, &key);
}

/// Longest packet that russh reads, about: docs/threat-model.md has it.
const LONGEST: u32 = 256 * 1024;

/// What both ends of each connection sent was read (proc_net_tcp of Linux: `tx_queue:rx_queue`).
fn nothing_is_on_its_way(door: &Door) -> bool {
    let port = format!(":{:04X}", door.port);
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    sockets
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .all(|socket| !socket[1].ends_with(&port) && !socket[2].ends_with(&port) || socket[4] == "00000000:00000000")
}

/// CVE-2024-43410: "1000 connections send length 0xFFFFFFFF; RSS stays < X MB, all closed"
#[test]
fn huge_packet_lengths_allocate_nothing() {
    if !root() {
        return;
    }
    // So long that none of the thousand is hung up on for being slow.
    let (door, key) = door_with_grace("10m");
    let mut clients: Vec<_> = (0..1000).map(|_| Attacker::greet(door.port)).collect();
    for client in &mut clients {
        for length in [u32::MAX, 0x7fff_ffff, 0x0fff_ffff] {
            client.stream.write_all(&length.to_be_bytes()).ok();
            client.stream.write_all(&[20; 64]).ok();
        }
    }
    clients.iter_mut().for_each(|client| drop(client.hung_up()));
    // The longest that is read, but for its end: what it takes is seen while the connection waits.
    let mut held: Vec<_> = (0..20).map(|_| Attacker::greet(door.port)).collect();
    for client in &mut held {
        client.stream.write_all(&LONGEST.to_be_bytes()).unwrap();
        client.stream.write_all(&vec![20; LONGEST as usize - 1]).unwrap();
    }
    soon("all of it is read", || nothing_is_on_its_way(&door));
    assert_eq!(door.ssh_processes().len(), held.len());
    strangers_cost_little(&door);
    drop(held);
    // A length that is no multiple, zero, and one, encrypted and in the clear.
    for length in [0u32, 1, 5, 7] {
        let mut client = Attacker::greet(door.port);
        client.stream.write_all(&length.to_be_bytes()).ok();
        client.stream.write_all(&[0; 64]).ok();
        client.hung_up();
    }
    let mut client = Attacker::handshake(door.port);
    client.stream.write_all(&[0xff; 64]).ok();
    client.hung_up();
    strangers_cost_little(&door);
    unharmed(&door, &key);
}

/// The same where a MAC goes beside the cipher: the length comes in the clear
#[test]
fn what_is_not_authentic_under_counter_mode_ends_its_connection() {
    if !root() {
        return;
    }
    // So long that the end is not that of its time.
    let (door, key) = door_with_grace("10m");
    for length in [u32::MAX, 0x0fff_ffff, 0, 1, 12, 16, 32] {
        let mut client = Attacker::counter_mode_handshake(door.port);
        client.stream.write_all(&length.to_be_bytes()).unwrap();
        client.stream.write_all(&[0xa5; 64]).ok();
        let ended = client.stream.read_to_end(&mut Vec::new());
        assert!(!ended.as_ref().is_err_and(is_silence), "the server waits for more after {length}");
    }
    strangers_cost_little(&door);
    unharmed(&door, &key);
}

/// CVE-2026-48108, -48110: unbounded banner lines, and name-lists without end
#[test]
fn endless_banners_and_name_lists_are_cut_off() {
    if !root() {
        return;
    }
    let (door, key) = door();
    for garbage in [vec![b'A'; 1 << 20], b"x\r\n".repeat(100_000), vec![0; 1 << 16]] {
        let mut client = Attacker::connect(door.port);
        client.stream.write_all(&garbage).ok();
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut client.stream, &mut all).ok();
        assert!(all.len() < 64 * 1024);
    }
    let mut client = Attacker::greet(door.port);
    let mut kexinit = Message::new(20);
    kexinit.0.extend([0; 16]);
    for _ in 0..10 {
        kexinit = kexinit.text(&"a,".repeat(12_000));
    }
    client.send(&kexinit.byte(0).number(0));
    client.hung_up();
    let mut client = Attacker::greet(door.port);
    let mut kexinit = Message::new(20);
    kexinit.0.extend([0; 16]);
    client.send(&kexinit.number(u32::MAX));
    client.hung_up();
    strangers_cost_little(&door);
    unharmed(&door, &key);
}

/// CVE-2026-42189, GHSA-f5v4: a count in an answer that nobody asked for; and CVE-2016-6515: long passwords
#[test]
fn counts_in_login_messages_are_not_believed() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let mut client = Attacker::handshake(door.port);
    client.ask_for_userauth();
    client.send(&Message::new(50).text("alice").text("ssh-connection").text("keyboard-interactive").text("").text(""));
    client.send(&Message::new(61).number(0x1000_0000));
    assert!(!client.hung_up().contains(&52));
    let mut client = Attacker::handshake(door.port);
    client.ask_for_userauth();
    client.send(
        &Message::new(50)
            .text("alice")
            .text("ssh-connection")
            .text("publickey")
            .byte(1)
            .text("ssh-ed25519")
            .number(u32::MAX),
    );
    assert!(!client.hung_up().contains(&52));
    strangers_cost_little(&door);
    unharmed(&door, &key);
}

/// CVE-2026-46705: what was proved for one name does not help another
#[test]
fn a_changed_user_name_starts_from_nothing() {
    if !root() {
        return;
    }
    let (alices, bobs) = (Key::new(1), Key::new(2));
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("alice", &format!("authorized_keys = [\"{}\"]", alices.line()))
        .tenant("bob", &format!("authorized_keys = [\"{}\"]", bobs.line()))
        .start();
    let mut client = Attacker::handshake(door.port);
    client.ask_for_userauth();
    client.send(&Attacker::offer("alice", &alices));
    client.next(&[60]).unwrap();
    client.send(&client.signed("bob", &alices, &alices));
    assert_ne!(client.next(&[51, 52, 1]).map_or(1, |message| message[0]), 52);
}

/// CVE-2026-68930: "exec/data/window-adjust on random recipient ids → no process spawned"
#[test]
fn requests_on_channels_that_were_never_opened_start_nothing() {
    if !root() {
        return;
    }
    let (door, key) = door();
    for channel in [0, 1, 2, 100, u32::MAX] {
        let mut client = Attacker::login(door.port, "alice", &key);
        client.send(&Message::request(channel, "exec", true).text("sleep 30 # attack-marker"));
        client.send(&Message::request(channel, "shell", true));
        client.send(&Message::new(94).number(channel).bytes(b"data"));
        client.send(&Message::new(93).number(channel).number(1));
        client.send(&Message::new(96).number(channel));
        client.send(&Message::new(97).number(channel));
        // Either it hangs up or it goes on well; it never runs the command.
        let answer = client.exec("echo well");
        assert!(answer.is_none() || answer.as_deref() == Some("well"), "{channel}: {answer:?}");
        let spawned = door.processes().into_iter().any(|pid| procfs::cmdline(pid).contains("attack-marker"));
        assert!(!spawned, "channel {channel}");
    }
    unharmed(&door, &key);
}

/// A second exec on a channel, and requests after its close, start nothing
#[test]
fn a_channel_runs_one_program() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let mut client = Attacker::login(door.port, "alice", &key);
    let channel = client.open(7, 32768).unwrap();
    client.send(&Message::request(channel, "exec", true).text("echo first; sleep 2"));
    assert_eq!(&client.next(&[94]).unwrap()[9..], b"first\n");
    client.send(&Message::request(channel, "exec", true).text("sleep 30 # attack-marker"));
    client
        .send(&Message::request(channel, "pty-req", true).text("x").number(80).number(24).number(0).number(0).text(""));
    let refused = client.next(&[99, 100]);
    assert!(refused.is_err() || refused.unwrap()[0] == 100);
    unharmed(&door, &key);
}

/// CVE-2026-73489: "pty-req with >130 modes panics: 131 and 10 000 mode records"
#[test]
fn any_number_of_terminal_modes_is_survived() {
    if !root() {
        return;
    }
    let (door, key) = door();
    for count in [131, 10_000] {
        let mut client = Attacker::login(door.port, "alice", &key);
        let channel = client.open(0, 32768).unwrap();
        let mut modes: Vec<u8> = (0..count).flat_map(|n: u32| [(n % 120 + 1) as u8, 0, 0, 0, 1]).collect();
        modes.push(0);
        client.send(
            &Message::request(channel, "pty-req", true)
                .text("xterm")
                .number(80)
                .number(24)
                .number(0)
                .number(0)
                .bytes(&modes),
        );
        client.next(&[99, 100, 97, 1]).ok();
    }
    let mut client = Attacker::login(door.port, "alice", &key);
    let channel = client.open(0, 32768).unwrap();
    client.send(
        &Message::request(channel, "pty-req", true)
            .text(&"t".repeat(30_000))
            .number(u32::MAX)
            .number(u32::MAX)
            .number(u32::MAX)
            .number(u32::MAX)
            .bytes(&[1, 0]),
    );
    client.next(&[99, 100, 97, 1]).ok();
    unharmed(&door, &key);
}

/// CVE-2025-54804: "WINDOW_ADJUST overflow: adjust by 0xFFFFFFFF twice"
#[test]
fn a_window_that_overflows_kills_at_most_its_connection() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let mut client = Attacker::login(door.port, "alice", &key);
    let channel = client.open(0, 32768).unwrap();
    client.send(&Message::request(channel, "exec", true).text("head -c 100000 /dev/zero"));
    client.send(&Message::new(93).number(channel).number(u32::MAX));
    client.send(&Message::new(93).number(channel).number(u32::MAX));
    client.next(&[97, 1]).ok();
    unharmed(&door, &key);
}

/// "env count/size · exec string size, NUL"
#[test]
fn long_commands_and_many_variables_are_bounded() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let mut client = Attacker::login(door.port, "alice", &key);
    let channel = client.open(0, 32768).unwrap();
    for n in 0..5000 {
        client.send(&Message::request(channel, "env", false).text(&format!("LC_{n}")).text(&"v".repeat(1000)));
    }
    client.send(&Message::request(channel, "exec", true).text("env | wc -c"));
    let answer = client.next(&[94, 100, 97, 1]);
    if let Ok(message) = answer
        && message[0] == 94
    {
        let bytes: usize = String::from_utf8_lossy(&message[9..]).trim().parse().unwrap();
        assert!(bytes < 256 * 1024, "{bytes}");
    }
    for command in ["echo a\0b".to_owned(), format!("echo {}", "x".repeat(200_000))] {
        let mut client = Attacker::login(door.port, "alice", &key);
        let answer = client.exec(&command);
        assert!(answer.as_deref() != Some("a"), "cut at the NUL");
    }
    unharmed(&door, &key);
}

/// Refused whole: channels that only servers open, tunnels, displays whose cookie is none, subsystems
/// of no name; and what leads nowhere in the cell
#[test]
fn what_is_not_there_is_refused() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let mut client = Attacker::login(door.port, "alice", &key);
    let opening = |kind: &str| Message::new(90).text(kind).number(5).number(1 << 20).number(32768);
    let address = |kind: &str| opening(kind).text("127.0.0.1").number(22).text("127.0.0.1").number(1);
    for (kind, message) in [
        ("direct-tcpip", address("direct-tcpip")),
        ("forwarded-tcpip", address("forwarded-tcpip")),
        ("direct-streamlocal@openssh.com", opening("direct-streamlocal@openssh.com").text("/run/x").text("").number(0)),
        ("tun@openssh.com", opening("tun@openssh.com").number(1).number(0)),
        ("x11", opening("x11").text("127.0.0.1").number(6000)),
        ("auth-agent@openssh.com", opening("auth-agent@openssh.com")),
        ("no-such", opening("no-such")),
        ("", opening("")),
    ] {
        client.send(&message);
        assert_eq!(client.next(&[91, 92]).unwrap()[0], 92, "{kind}");
    }
    // russh refuses some of these twice (docs/upstream.md): past all of that.
    client.send(&Message::new(80).text("nothing@example.com").byte(1));
    assert_eq!(client.next(&[81, 82]).unwrap()[0], 82);
    let channel = client.open(6, 32768).unwrap();
    let asking = |request: &str| Message::request(channel, request, true);
    for (request, message) in [
        ("x11-req", asking("x11-req").byte(0).text("MIT-MAGIC-COOKIE-1").text("\n evil").number(0)),
        ("no-such-request", asking("no-such-request")),
    ] {
        client.send(&message);
        assert_eq!(client.next(&[99, 100]).unwrap()[0], 100, "{request}");
    }
    client.send(&Message::request(channel, "subsystem", true).text("../../bin/sh"));
    assert_eq!(client.next(&[99, 100]).unwrap()[0], 100);
    assert_eq!(client.exec("echo well").as_deref(), Some("well"));
    unharmed(&door, &key);
}

/// The sandbox of the process that reads all this: design.md's process table, as the kernel tells it
#[test]
fn the_ssh_process_is_confined_before_the_first_byte() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let silent = Attacker::connect(door.port);
    let ssh = || door.ssh_processes().first().copied();
    // The banner is sent by the confined process.
    soon("the ssh process", || ssh().is_some_and(|pid| procfs::status(pid, "Seccomp").as_deref() == Some("2")));
    let pid = ssh().unwrap();
    assert_ne!(procfs::uid(pid), Some(0));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(procfs::status(pid, set).as_deref(), Some("0000000000000000"), "{set}");
    }
    assert_eq!(procfs::status(pid, "NoNewPrivs").as_deref(), Some("1"));
    let host = procfs::namespaces(std::process::id() as i32);
    let own = procfs::namespaces(pid);
    let shared: Vec<_> = host.intersection(&own).filter(|link| !link.starts_with("cgroup:")).collect();
    assert!(shared.is_empty(), "{shared:?}");
    assert_eq!(std::fs::read_dir(format!("/proc/{pid}/root/")).unwrap().count(), 0, "an empty root");
    let fds: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|fd| std::fs::read_link(fd.unwrap().path()).unwrap())
        .collect();
    let files: Vec<_> = fds
        .iter()
        .filter(|link| link.starts_with("/") && !link.starts_with("/dev/null") && !link.ends_with("err"))
        .collect();
    assert!(files.is_empty(), "{fds:?}");
    drop(silent);
    assert!(until(Duration::from_secs(15), || ssh().is_none()), "it ends with its client");
    unharmed(&door, &key);
}

/// The attacker can be honest: against Debian's sshd it logs in and runs a command, so that its
/// failures above are the server's doing
#[test]
fn the_attacker_speaks_ssh_with_sshd() {
    if !root() {
        return;
    }
    let key = Key::new(1);
    let door = Door::sshd();
    std::fs::write(door.dir.join("id.pub"), key.line() + "\n").unwrap();
    assert_eq!(Attacker::login(door.port, "root", &key).exec("echo well").as_deref(), Some("well"), "{}", door.log());
}
