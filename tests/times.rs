//! A refusal takes as long for a tenant as for nobody (CVE-2016-6515, CVE-2016-6210, CVE-2018-15473; threats.md,
//! 5.B: "1 k trials existing vs missing: same distribution"). The words are in login.rs, passwords.rs and pam.rs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test support code"
)]

use std::time::{Duration, Instant};

use support::{
    Builder, Door,
    attacker::{Attacker, Key, Message},
    pam::Service,
    root,
    times::{Trials, look_alike},
};

/// What the ssh process waits before it refuses, whatever the monitor did (src/ssh/algorithms.rs).
const REFUSAL: Duration = Duration::from_millis(100);
/// The steps of src/auth/even.rs: of a list of methods, a key and a password.
const LIST: Duration = Duration::from_millis(1);
const KEY: Duration = Duration::from_millis(5);
const PASSWORD: Duration = Duration::from_millis(300);

fn door(defaults: &str) -> Builder {
    let many = "max_auth_tries = 100\nmax_startups = \"200:30:300\"\nmax_connections_per_source = 200\n\
                login_grace = \"120s\"";
    Door::with(&format!("[defaults]\nroot = \"host\"\n{defaults}\n")).server(many)
}

fn client(door: &Door) -> Attacker {
    let mut client = Attacker::handshake(door.port);
    client.ask_for_userauth();
    client
}

/// From a request to its answer, which is this.
fn took(client: &mut Attacker, request: &Message, answer: u8) -> Duration {
    let started = Instant::now();
    client.send(request);
    assert_eq!(client.next(&[51, 52, 60]).unwrap()[0], answer);
    started.elapsed()
}

fn asking(user: &str, method: &str) -> Message {
    Message::new(50).text(user).text("ssh-connection").text(method)
}

/// A hundred keys, so that to read them takes its time; the first is that of `seed`.
fn authorized(seed: u8) -> String {
    let lines: Vec<_> = (0..100).map(|more| format!("\"{}\"", Key::new(seed + more).line())).collect();
    format!("authorized_keys = [{}]", lines.join(", "))
}

/// The line that `cellblock passwd` makes.
fn hashed(password: &str) -> String {
    let hash = cellblock::auth::hash(&cellblock::base::Secret::new(password.into())).unwrap();
    format!("password = \"{hash}\"")
}

/// alice, whose key is another; someone locked, whose key is the one that is tried; nobody
#[test]
fn unknown_locked_and_wrong_key_look_alike_in_time() {
    if !root() {
        return;
    }
    let door =
        door("").tenant("alice", &authorized(1)).tenant("locked", &format!("{}\nlocked = true", authorized(101)));
    let (door, wrong) = (door.start(), Key::new(101));
    let users = ["alice", "locked", "nobody-here"];
    let trials = Trials { connections: 24, at_once: 24, turns: 75 };
    let signed = trials.make(
        &users,
        || client(&door),
        |client, user| {
            let request = client.signed(user, &wrong, &wrong);
            took(client, &request, 51)
        },
    );
    look_alike(&users, &signed, REFUSAL);
    let offered =
        trials.make(&users, || client(&door), |client, user| took(client, &Attacker::offer(user, &wrong), 51));
    look_alike(&users, &offered, REFUSAL);
}

/// The first request of most clients, which the ssh process answers at once
#[test]
fn the_list_of_methods_comes_as_soon_for_nobody_as_for_a_tenant() {
    if !root() {
        return;
    }
    let door = door("").tenant("alice", &authorized(1)).start();
    let users = ["alice", "nobody-here"];
    let trials = Trials { connections: 1200, at_once: 2, turns: 1 };
    let times = trials.make(&users, || client(&door), |client, user| took(client, &asking(user, "none"), 51));
    look_alike(&users, &times, LIST);
}

/// docs/threat-model.md: "offers of keys are answered alike for everybody, and as late"
#[test]
fn where_an_authority_is_trusted_an_authorized_key_is_acceptable_as_late_as_any() {
    if !root() {
        return;
    }
    let door = door(&format!("trusted_user_ca_keys = [\"{}\"]", Key::new(250).line()))
        .tenant("alice", &authorized(1))
        .tenant("bob", &authorized(101))
        .tenant("locked", &format!("{}\nlocked = true", authorized(1)))
        .start();
    let (users, alices) = (["alice", "bob", "locked", "nobody-here"], Key::new(1));
    let trials = Trials { connections: 20, at_once: 2, turns: 100 };
    let times = trials.make(&users, || client(&door), |client, user| took(client, &Attacker::offer(user, &alices), 60));
    look_alike(&users, &times, KEY);
}

/// While others keep all places taken where passwords are hashed: whoever waits for none would be told by that
#[test]
fn unknown_locked_and_wrong_password_look_alike_in_time() {
    if !root() {
        return;
    }
    let dear = "$argon2id$v=19$m=65536,t=3,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let door = door("auth = [\"publickey\", \"password\"]")
        .tenant("alice", &hashed("right"))
        .tenant("keyed", &authorized(1))
        .tenant("locked", &format!("locked = true\n{}", hashed("wrong")))
        .tenant("dear", &format!("password = \"{dear}\""))
        .start();
    let users = ["alice", "keyed", "locked", "nobody-here", "Not A Name", "dear"];
    let trials = Trials { connections: 50, at_once: 50, turns: 12 };
    let password = |user: &str| asking(user, "password").byte(0).text("wrong");
    let times = trials.make(&users, || client(&door), |client, user| took(client, &password(user), 51));
    look_alike(&users[..5], &times[..5], PASSWORD);
}

#[test]
fn unknown_locked_and_wrong_answers_look_alike_in_time() {
    if !root() {
        return;
    }
    let service = Service::new("auth required pam_exec.so expose_authtok quiet DIR/check\n");
    let door = door(&format!("auth = [\"keyboard-interactive\"]\npam_service = \"{}\"", service.name))
        .tenant("alice", "")
        .tenant("locked", "locked = true")
        .start();
    let users = ["alice", "locked", "nobody-here", "Not A Name"];
    let trials = Trials { connections: 20, at_once: 10, turns: 20 };
    let answers = Message::new(61).number(1).text("wrong");
    let question = |user: &str| asking(user, "keyboard-interactive").text("").text("");
    let times = trials.make(
        &users,
        || client(&door),
        |client, user| (took(client, &question(user), 60), took(client, &answers, 51)),
    );
    let (asked, refused): (Vec<Vec<_>>, Vec<Vec<_>>) =
        times.into_iter().map(|of_user| of_user.into_iter().unzip()).unzip();
    // No step is waited for here: modules take what they take.
    look_alike(&users, &asked, Duration::from_micros(100));
    look_alike(&users, &refused, PASSWORD);
}
