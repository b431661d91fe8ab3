//! Password messages that no honest client sends (threats.md, 5.A and 5.B): huge, cut, with changes of
//! passwords, after the login; and what becomes of half a login meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test support code"
)]

use std::{io::ErrorKind, process::Command};

use support::{
    Door,
    attacked::{door_of, strangers_cost_little, unharmed},
    attacker::{Attacker, Key, Message},
    root, run_bounded, soon,
};

const RIGHT: &str = "correct horse";

/// `max_auth_tries`, unless the config says otherwise.
const TRIES: usize = 6;

/// The line that `cellblock passwd` makes of [`RIGHT`].
fn password() -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellblock"));
    command.arg("passwd");
    run_bounded(command, format!("{RIGHT}\n").as_bytes()).text()
}

/// alice gets in by her key or by [`RIGHT`].
fn door(grace: &str) -> (Door, Key) {
    door_of(grace, &format!("auth = [\"publickey\", \"password\"]\n{}", password()))
}

/// A password message up to its flag: whether the password is to be changed.
fn asking(user: &str, change: u8) -> Message {
    Message::new(50).text(user).text("ssh-connection").text("password").byte(change)
}

fn client(door: &Door) -> Attacker {
    let mut client = Attacker::handshake(door.port);
    client.ask_for_userauth();
    client
}

fn refusals(answers: &[u8]) -> usize {
    answers.iter().filter(|&&number| number == 51).count()
}

/// Nobody logged in by a password, and what was typed is in no log.
fn nobody_came_in(door: &Door) {
    let logins: Vec<_> = door.audit().into_iter().filter(|event| event["event"] == "login").collect();
    assert!(logins.iter().all(|event| event["method"] == "publickey"), "{logins:?}");
    let log = door.log() + &std::fs::read_to_string(door.dir.join("audit.jsonl")).unwrap();
    assert!(!log.contains(RIGHT), "{log}");
}

/// "password messages (huge, …, NUL bytes, empty)"
#[test]
fn a_password_that_is_cut_or_huge_or_no_text_lets_nobody_in() {
    if !root() {
        return;
    }
    let (door, key) = door("60s");
    let long = |length: usize| asking("alice", 0).text(&RIGHT.repeat(length / RIGHT.len() + 1)[..length]);
    let mut all: Vec<Message> = [0, 1025, 32_000, 60_000, 250_000, 300_000].map(long).into();
    all.extend(
        ["\0", "correct horse\0", "\0correct horse", "correct horse\n", "correct\0horse"]
            .map(|text| asking("alice", 0).text(text)),
    );
    all.extend([
        asking("alice", 0),
        asking("alice", 0).raw(&[0, 0, 0]),
        asking("alice", 0).number(u32::MAX),
        asking("alice", 0).number(0x7fff_ffff).raw(RIGHT.as_bytes()),
        asking("alice", 0).bytes(&[0xff, 0xfe]),
        asking("alice", 0).bytes(&[0xff; 100_000]),
        // What follows the password would be lost on whoever does not look.
        asking("alice", 0).text(RIGHT).byte(0),
        asking("alice", 0).text(RIGHT).text(RIGHT),
        Message::new(50).text("alice").text("ssh-connection").text("password"),
        Message::new(50).text("alice").text("ssh-connection").number(u32::MAX),
        Message::new(50).number(u32::MAX),
        Message::new(50),
    ]);
    for message in all {
        let mut client = client(&door);
        client.send(&message);
        let shown = &message.0[..message.0.len().min(60)];
        match client.next(&[51, 52, 60, 1]) {
            Ok(answer) => assert!(matches!(answer[0], 51 | 1), "{shown:?}: {answer:?}"),
            Err(error) => assert_ne!(error.kind(), ErrorKind::WouldBlock, "no answer to {shown:?}"),
        }
    }
    nobody_came_in(&door);
    strangers_cost_little(&door);
    unharmed(&door, &key);
}

/// "with change-request flag": no password is changed here, and the right one with a wish for another
/// is no login
#[test]
fn a_wish_to_change_the_password_is_refused_and_is_a_try() {
    if !root() {
        return;
    }
    let (door, key) = door("10s");
    for flag in [1, 2, 255] {
        let mut client = client(&door);
        client.send(&asking("alice", flag).text(RIGHT).text("another"));
        assert_eq!(client.next(&[51, 52, 60]).unwrap()[0], 51, "{flag}");
    }
    let mut cut = client(&door);
    cut.send(&asking("alice", 1).text(RIGHT));
    assert!(!cut.hung_up().contains(&52));
    // However many, under however many names: each waits, and each counts.
    let mut flood = client(&door);
    for number in 0..1000 {
        let user = if number % 2 == 0 { "alice" } else { "root" };
        if flood.try_send(&asking(user, 1).text(RIGHT).text("another")).is_err() {
            break;
        }
    }
    let answers = flood.hung_up();
    assert!(refusals(&answers) <= TRIES + 1 && !answers.contains(&52), "{answers:?}");
    nobody_came_in(&door);
    strangers_cost_little(&door);
    unharmed(&door, &key);
}

/// What a connection sends 10,000 times, under two names in turn.
const FLOODS: [&str; 7] = ["telepathy@example.com", "hostbased", "gssapi-with-mic", "", "change", "none", "signature"];

fn flood(name: &str, client: &Attacker, key: &Key) -> [Message; 2] {
    ["alice", "nobody"].map(|user| {
        let of = |method: &str| Message::new(50).text(user).text("ssh-connection").text(method);
        match name {
            "hostbased" => of(name).text("ssh-ed25519").text("").text("host").text(user).text(""),
            "gssapi-with-mic" => of(name).number(1).text("oid"),
            "change" => asking(user, 1).text(RIGHT).text("another"),
            // By somebody who does not have the key.
            "signature" => client.signed("alice", key, &Key::new(2)),
            _ => of(name),
        }
    })
}

/// Item 7: "limits on every count": what the library refuses without asking anybody is a try like any other
#[test]
fn ten_thousand_requests_by_methods_that_nobody_knows_are_six_tries() {
    if !root() {
        return;
    }
    let (door, key) = door("60s");
    for (number, name) in FLOODS.into_iter().enumerate() {
        let mut client = client(&door);
        for message in flood(name, &client, &key).iter().cycle().take(10_000) {
            if client.try_send(message).is_err() {
                break;
            }
        }
        let answers = client.hung_up();
        // The first "none" asks for the list, and is no try.
        assert!(refusals(&answers) <= TRIES + 1 && !answers.contains(&52), "{name}: {answers:?}");
        soon("it is on record", || door.events("connection_end").len() > number);
        let end = &door.events("connection_end")[number];
        assert_eq!(end["reason"], "too many login attempts", "{name}");
        let tries = door.events("login_refused").into_iter().filter(|event| event["connection"] == end["connection"]);
        let methods: Vec<_> = tries.map(|event| event["method"].as_str().unwrap().to_owned()).collect();
        let expected = if name == "none" { "none" } else { "other" };
        assert_eq!(methods, vec![expected; TRIES], "{name}");
    }
    nobody_came_in(&door);
    strangers_cost_little(&door);
    unharmed(&door, &key);
}

/// Item 7: a source that tries such methods is penalised as one that tries passwords
#[test]
fn tries_that_the_library_refuses_are_penalised() {
    if !root() {
        return;
    }
    let key = Key::new(1);
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .server("penalties = { authfail = \"60s\", noauth = \"0s\", min = \"90s\" }")
        .tenant("alice", &format!("authorized_keys = [\"{}\"]", key.line()))
        .start();
    for tries in 1..=2 {
        let mut client = client(&door);
        client.send(&Message::new(50).text("alice").text("ssh-connection").text("hostbased"));
        assert_eq!(client.next(&[51, 52]).unwrap()[0], 51);
        drop(client);
        soon("it is on record", || door.events("connection_end").len() == tries);
    }
    soon("the source is turned away", || !door.events("penalty_start").is_empty());
    assert_eq!(door.events("penalty_start")[0]["cause"], "authfail");
}

/// … and what an honest client does is called what it was: a list that is asked for, a key that is not
/// the right one, one that is
#[test]
fn an_honest_login_has_no_tries_that_nobody_knows() {
    if !root() {
        return;
    }
    let (door, key) = door("60s");
    let mut client = client(&door);
    for message in [
        Message::new(50).text("alice").text("ssh-connection").text("none"),
        Attacker::offer("alice", &Key::new(2)),
        asking("alice", 0).text("a slip of the hand"),
        Attacker::offer("alice", &key),
    ] {
        client.send(&message);
        client.next(&[51, 60]).unwrap();
    }
    let signed = client.signed("alice", &key, &key);
    client.send(&signed);
    assert_eq!(client.next(&[51, 52]).unwrap()[0], 52);
    assert_eq!(client.exec("echo well").as_deref(), Some("well"));
    let methods: Vec<_> = door.events("login_refused").into_iter().map(|event| event["method"].clone()).collect();
    assert_eq!(methods, ["publickey", "password"]);
}

/// Item 7: "limits on every count and length before authentication": what is answered with nothing, and so
/// is no try, has an end as well
#[test]
fn what_the_library_passes_over_before_the_login_ends_after_a_mebibyte() {
    if !root() {
        return;
    }
    let (door, key) = door("60s");
    for (number, message) in [
        Message::new(2).text(&"x".repeat(10_000)),
        Message::new(5).text("ssh-nothing"),
        Message::new(250).text(&"y".repeat(1000)),
        Message::new(94).number(0).text(&"z".repeat(30_000)),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Attacker::handshake(door.port);
        let mut sent = 0;
        // More than what lies in the buffers of both ends.
        while sent < 64 << 20 && client.try_send(&message).is_ok() {
            sent += message.0.len();
        }
        assert!(sent < 64 << 20, "{:?}", message.0.first());
        assert!(!client.hung_up().contains(&52));
        soon("it is on record", || door.events("connection_end").len() == number + 1);
        assert_eq!(door.events("connection_end")[number]["reason"], "too much was sent before the login");
    }
    strangers_cost_little(&door);
    unharmed(&door, &key);
}

/// "after success": RFC 4252, 5.1 has them ignored; nobody becomes somebody else
#[test]
fn login_messages_after_the_login_change_nothing() {
    if !root() {
        return;
    }
    let key = Key::new(1);
    let lines = format!("authorized_keys = [\"{}\"]\nauth = [\"publickey\", \"password\"]\n{}", key.line(), password());
    let door = Door::with("[defaults]\nroot = \"host\"\n").tenant("alice", &lines).tenant("bob", &lines).start();
    let mut client = Attacker::login(door.port, "alice", &key);
    for message in [
        asking("bob", 0).text(RIGHT),
        asking("alice", 1).text(RIGHT).text("x"),
        asking("bob", 0).text(&"x".repeat(200_000)),
        client.signed("bob", &key, &key),
        Message::new(50).text("bob").text("ssh-connection").text("none"),
        Message::new(50).text("bob").text("ssh-userauth").text("none"),
        Message::new(61).number(1).text(RIGHT),
        Message::new(5).text("ssh-userauth"),
        Message::new(52),
        Message::new(51).text("password").byte(1),
    ] {
        client.send(&message);
        let numbers = client.settled().expect("the connection goes on");
        assert!(numbers.iter().all(|number| !(50..80).contains(number)), "{numbers:?}");
    }
    assert_eq!(client.exec("id -un").as_deref(), Some("alice"));
    let logins: Vec<_> = door.audit().into_iter().filter(|event| event["event"] == "login").collect();
    assert_eq!(logins.len(), 1, "{logins:?}");
    unharmed(&door, &key);
}

/// "sequence state reset when the user name or service changes": half of a login is alice's alone
#[test]
fn half_a_login_is_worth_nothing_to_another_name_or_after_a_new_key_exchange() {
    if !root() {
        return;
    }
    let key = Key::new(1);
    let keys = format!("authorized_keys = [\"{}\"]\n{}", key.line(), password());
    let door = Door::with("[defaults]\nroot = \"host\"\nauth = [\"publickey+password\"]\n")
        .server("max_auth_tries = 50\nlogin_grace = \"30s\"")
        .tenant("alice", &keys)
        .tenant("bob", &keys)
        .start();
    let passed = |client: &mut Attacker, message: &Message| {
        client.send(message);
        let answer = client.next(&[51, 52]).unwrap();
        (answer[0], *answer.last().unwrap())
    };
    // bob by every kind of message: none of them is the second half of alice's login.
    for other in [
        asking("bob", 0).text(RIGHT),
        asking("bob", 0).text(""),
        asking("bob", 1).text(RIGHT).text(""),
        Message::new(50).text("bob").text("ssh-connection").text("none"),
        Message::new(50).text("bob").text("ssh-connection").text("keyboard-interactive").text("").text(""),
        Message::new(50).text("bob").text("ssh-connection").text("hostbased"),
        asking("Alice", 0).text(RIGHT),
        asking("alice ", 0).text(RIGHT),
        asking("alice\0", 0).text(RIGHT),
        asking("", 0).text(RIGHT),
    ] {
        let mut client = client(&door);
        let signed = client.signed("alice", &key, &key);
        assert_eq!(passed(&mut client, &signed), (51, 1));
        assert_eq!(passed(&mut client, &other), (51, 0), "{:?}", other.0);
    }
    // A new key exchange between the two is no new login, and no way around the second.
    let mut client = client(&door);
    let signed = client.signed("alice", &key, &key);
    assert_eq!(passed(&mut client, &signed), (51, 1));
    client.rekey();
    assert_eq!(passed(&mut client, &asking("alice", 0).text("")), (51, 0));
    assert_eq!(passed(&mut client, &asking("alice", 0).text(RIGHT)).0, 52);
    assert_eq!(client.exec("id -un").as_deref(), Some("alice"));
    // Of the service as of another protocol's.
    for service in ["", "ssh-userauth", "ssh-connection\0", "SSH-CONNECTION"] {
        let mut client = self::client(&door);
        let signed = client.signed("alice", &key, &key);
        assert_eq!(passed(&mut client, &signed), (51, 1));
        client.send(&Message::new(50).text("alice").text(service).text("password").byte(0).text(RIGHT));
        assert!(!client.hung_up().contains(&52), "{service:?}");
    }
}
