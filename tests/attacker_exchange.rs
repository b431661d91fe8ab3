//! Key exchanges in the midst of a connection that are begun and not finished (issue 4, item 5: "rekey by
//! bytes and time in both directions with a deadline"; threats.md, 5.A, CVE-2026-102821).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test support code"
)]

use std::time::Duration;

use support::{
    Door,
    attacked::{door_with_grace, unharmed, well},
    attacker::{Attacker, Key, Message},
    attacker_channels::{direct, global, opening},
    patience, procfs, root, soon, until,
};

/// What an exchange may take is 30 seconds, or `login_grace` where that is shorter.
const DEADLINE: &str = "4s";
/// Longer than that.
const LATER: Duration = Duration::from_secs(9);

const REASON: &str = "a key exchange was not finished in time";
const TOO_MUCH: &str = "too much was sent in a key exchange";

/// Openings in one exchange that are put up with (`ssh/socket.rs`).
const MOST_OPENINGS: u32 = 1024;

/// The first messages of the server's, up to its KEXINIT, which it sends after 1 MiB.
fn until_the_server_wants_new_keys(client: &mut Attacker) {
    let channel = client.open(9, 32768).unwrap();
    client.send(&Message::request(channel, "exec", true).text("head -c 1500000 /dev/zero"));
    client.server_kexinit = client.next(&[20]).unwrap();
}

fn ignored() -> Message {
    Message::new(2).text("still there")
}

/// A door that wants new keys after 1 MiB, as [`door_with_grace`] otherwise.
fn renewing_door() -> (Door, Key) {
    let key = Key::new(1);
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .watched()
        .server(&format!("login_grace = \"{DEADLINE}\"\nrekey_limit = \"1M 1h\""))
        .tenant("alice", &format!("authorized_keys = [\"{}\"]", key.line()))
        .start();
    (door, key)
}

#[test]
fn a_client_that_begins_an_exchange_and_does_not_finish_it_is_cut_off_with_its_sessions() {
    if !root() {
        return;
    }
    let (door, key) = door_with_grace(DEADLINE);
    let before = door.counts();
    let mut beside = Attacker::login(door.port, "alice", &key);
    // Silent from then on, or saying what one may say meanwhile (RFC 4253, 7.1), or half-way through.
    for talk in [None, Some(ignored()), Some(Message::new(30).bytes(&[9; 32]))] {
        let ended = door.ends().len();
        let mut client = Attacker::login(door.port, "alice", &key);
        client.starts("echo up; read line; : 31234");
        client.send_kexinit();
        let half_way = talk.as_ref().is_some_and(|message| message.0[0] == 30);
        if let (true, Some(message)) = (half_way, &talk) {
            client.send(message);
        }
        let cut = until(patience(20), || {
            if let (false, Some(message)) = (half_way, &talk) {
                client.send(message);
            }
            door.ends().len() > ended
        });
        assert!(cut, "{:?}: {}", talk.map(|message| message.0), door.log());
        assert_eq!(door.ends().last().unwrap(), REASON);
        client.hung_up();
        soon("its program has nobody to read from", || {
            !door.processes().iter().any(|pid| procfs::cmdline(*pid).contains("31234"))
        });
    }
    // Connections that wait for nothing are not meant.
    assert_eq!(beside.exec("echo well").as_deref(), Some("well"));
    drop(beside);
    unharmed(&door, &key);
    door.returns_to(&before);
}

#[test]
fn a_client_that_does_not_answer_the_servers_wish_for_keys_and_talks_on_is_cut_off() {
    if !root() {
        return;
    }
    let (door, key) = renewing_door();
    let mut client = Attacker::login(door.port, "alice", &key);
    until_the_server_wants_new_keys(&mut client);
    let cut = until(patience(20), || {
        client.send(&ignored());
        !door.ends().is_empty()
    });
    assert!(cut, "{}", door.log());
    assert_eq!(door.ends(), [REASON]);
    unharmed(&door, &key);
}

/// `~^Z`, or a machine that sleeps: who was not there to answer may answer late
#[test]
fn a_client_that_says_nothing_since_the_server_wanted_keys_is_waited_for() {
    if !root() {
        return;
    }
    let (door, key) = renewing_door();
    let mut client = Attacker::login(door.port, "alice", &key);
    until_the_server_wants_new_keys(&mut client);
    assert!(!until(LATER, || !door.ends().is_empty()), "{}", door.log());
    client.send_kexinit();
    client.exchange_keys();
    assert_eq!(client.exec("echo well").as_deref(), Some("well"));
    // The time of one that was finished is no later one's.
    assert!(!until(LATER, || !door.ends().is_empty()), "{}", door.log());
    assert_eq!(client.exec("echo well").as_deref(), Some("well"));
    well(&door);
}

/// Whoever uploads by a slow line has much on its way when the server wants keys, and cannot take it back
#[test]
fn a_client_that_still_sends_what_it_had_on_its_way_is_waited_for() {
    if !root() {
        return;
    }
    let (door, key) = renewing_door();
    let mut client = Attacker::login(door.port, "alice", &key);
    until_the_server_wants_new_keys(&mut client);
    let on_its_way = Message::new(2).bytes(&[0; 8192]);
    let cut = until(LATER, || {
        client.send(&on_its_way);
        !door.ends().is_empty()
    });
    assert!(!cut, "{}", door.log());
    client.send_kexinit();
    client.exchange_keys();
    assert_eq!(client.exec("echo well").as_deref(), Some("well"));
    well(&door);
}

/// The n-th message of a flood.
type Numbered = fn(u32) -> Message;

/// CVE-2026-102821: "client stalls rekey, floods CHANNEL_OPEN → OOM, default config". Nothing is answered before the
/// exchange is over, and the client may not have heard of it yet.
#[test]
fn what_floods_an_exchange_that_the_server_began_makes_nothing_grow() {
    if !root() {
        return;
    }
    let floods: [(&str, Numbered); 6] = [
        ("sessions", |number| Message::open_session(number, 1 << 21, 32768)),
        ("forwards", |number| direct(number, "localhost", 9)),
        ("displays", |number| opening("x11", number).text("127.0.0.1").number(6000)),
        ("agents", |number| opening("auth-agent@openssh.com", number)),
        ("tunnels", |number| opening("tun@openssh.com", number).number(1).number(0)),
        ("requests", |_number| global("keepalive@openssh.com")),
    ];
    let (door, key) = renewing_door();
    let before = door.counts();
    for (ended, (what, message)) in floods.into_iter().enumerate() {
        let mut client = Attacker::login(door.port, "alice", &key);
        until_the_server_wants_new_keys(&mut client);
        let taken = (0..1_000_000).take_while(|&number| client.try_send(&message(number)).is_ok()).count();
        assert!((MOST_OPENINGS as usize..1_000_000).contains(&taken), "{what}: {taken}");
        soon("its end is on record", || door.ends().len() > ended);
        assert_eq!(door.ends()[ended], TOO_MUCH, "{what}");
        well(&door);
    }
    unharmed(&door, &key);
    door.returns_to(&before);
}

/// … and what an honest client had on its way is answered, all of it
#[test]
fn channels_that_were_opened_before_the_client_heard_of_an_exchange_are_answered_after_it() {
    if !root() {
        return;
    }
    let (door, key) = renewing_door();
    let mut client = Attacker::login(door.port, "alice", &key);
    for _ in 0..2 {
        until_the_server_wants_new_keys(&mut client);
        for number in 100..100 + MOST_OPENINGS {
            client.send(&direct(number, "localhost", 9));
        }
        client.send_kexinit();
        client.exchange_keys();
        for number in 0..MOST_OPENINGS {
            assert_eq!(client.next(&[91, 92]).unwrap()[0], 92, "{number}");
        }
    }
    unharmed(&door, &key);
}
