//! Requests within a session that a class takes or refuses, and what the client is answered (issue 4, item 6).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test support code"
)]

use support::{
    attacked::door_of,
    attacker::{Attacker, Message},
    attacker_channels::data,
    root,
};

const SUCCESS: u8 = 99;
const FAILURE: u8 = 100;

/// As sshd answers them: a client that asks for a reply is told of each variable whether it was taken
#[test]
fn the_client_is_told_which_variables_are_taken() {
    if !root() {
        return;
    }
    let answers = |alice: &str| {
        let (door, key) = door_of("10s", alice);
        let mut client = Attacker::login(door.port, "alice", &key);
        let session = client.open(1, 32768).unwrap();
        let asked = ["LANG", "LC_TIME", "SECRET", "LD_PRELOAD", "OWN"].map(|name| {
            client.send(&Message::request(session, "env", true).text(name).text("de"));
            client.next(&[SUCCESS, FAILURE]).unwrap()[0]
        });
        client.send(&Message::request(session, "exec", true).text("echo ${LANG-}${SECRET-}${LD_PRELOAD-}${OWN-}."));
        (asked, String::from_utf8_lossy(&client.next(&[94]).unwrap()[9..]).trim_end().to_owned())
    };
    assert_eq!(answers(""), ([SUCCESS, SUCCESS, FAILURE, FAILURE, FAILURE], "de.".into()));
    assert_eq!(answers("accept_env = [\"OWN\"]"), ([FAILURE, FAILURE, FAILURE, FAILURE, SUCCESS], "de.".into()));
    assert_eq!(answers("allow = [\"exec\"]"), ([FAILURE; 5], ".".into()));
}

#[test]
fn a_signal_is_delivered_where_signals_are_taken_and_refused_where_not() {
    if !root() {
        return;
    }
    let told = |alice: &str| {
        let (door, key) = door_of("10s", alice);
        let mut client = Attacker::login(door.port, "alice", &key);
        let session = client.starts("trap 'echo hit; exit' TERM; echo up; read line; echo $line");
        client.send(&Message::request(session, "signal", true).text("TERM"));
        let answer = client.next(&[SUCCESS, FAILURE]).unwrap()[0];
        if answer == FAILURE {
            client.send(&data(session, b"unharmed\n"));
        }
        (answer, String::from_utf8_lossy(&client.next(&[94]).unwrap()[9..]).trim_end().to_owned())
    };
    assert_eq!(told(""), (SUCCESS, "hit".into()));
    assert_eq!(told("allow = [\"exec\"]"), (FAILURE, "unharmed".into()));
}
