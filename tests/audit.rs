//! "One JSON line per connection, login attempt with its reason, session start and end (tenant,
//! connection and session ids, exit, usage) in an audit file, names from outside escaped" (issue 2, item 9).
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

use std::{fs, net::TcpStream, os::unix::fs::PermissionsExt, path::Path, process::Command};

use support::{
    Door,
    attacker::{Attacker, Key},
    root, soon,
};

#[test]
fn a_session_leaves_one_line_for_each_thing_that_happened() {
    if !root() {
        return;
    }
    let door = Door::standard();
    assert_eq!(door.run("alice", "exit 7").status, 7);
    soon("the end of the connection is written", || door.events("connection_end").len() == 1);
    let kinds: Vec<_> = door.audit().iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect();
    let expected = ["connection_accepted", "login", "session_start", "session_end", "connection_end"];
    assert_eq!(
        kinds.iter().filter(|kind| expected.contains(&kind.as_str())).collect::<Vec<_>>(),
        expected.iter().collect::<Vec<_>>()
    );

    let connection = door.events("connection_accepted")[0]["connection"].clone();
    assert!(connection.is_string());
    for event in door.audit() {
        assert_eq!(event["connection"], connection, "{event}");
        assert!(event["time"].as_str().unwrap().ends_with('Z'), "{event}");
    }
    let login = &door.events("login")[0];
    assert_eq!((login["tenant"].as_str(), login["method"].as_str()), (Some("alice"), Some("publickey")));
    assert!(login["key"].as_str().unwrap().starts_with("SHA256:"), "{login}");
    assert!(login["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{login}");
    let (start, end) = (&door.events("session_start")[0], &door.events("session_end")[0]);
    assert!(start["session"].is_string());
    assert_eq!(start["session"], end["session"]);
    assert_eq!((start["tenant"].as_str(), start["command"].as_str()), (Some("alice"), Some("exit 7")));
    assert_eq!(end["exit"]["status"], 7, "{end}");
    for used in ["user_us", "system_us", "max_rss_kib", "wall_ms"] {
        assert!(end["usage"][used].is_u64(), "{used}: {end}");
    }
    let mode = fs::metadata(door.dir.join("audit.jsonl")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "only root reads it");
}

#[test]
fn a_death_by_signal_and_a_session_left_running_are_told_apart() {
    if !root() {
        return;
    }
    let door = Door::standard();
    door.run("alice", "kill -TERM $$");
    soon("the end", || door.events("session_end").len() == 1);
    assert_eq!(door.events("session_end")[0]["exit"]["signal"], "TERM");
    let mut client = door.spawn("alice", "echo up; exec sleep 1000");
    client.line();
    client.child.kill().unwrap();
    soon("the end", || door.events("session_end").len() == 2);
    assert_eq!(door.events("session_end")[1]["exit"], "left_running");
}

#[test]
fn a_refused_login_has_its_reason_and_an_escaped_name() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let name = "ev\u{1b}[2Jil\nalice";
    // OpenSSH's client refuses to send such a name.
    let mut client = Attacker::handshake(door.port);
    client.ask_for_userauth();
    client.send(&Attacker::offer(name, &Key::new(3)));
    assert_eq!(client.next(&[51, 60]).unwrap()[0], 51);
    soon("it is written", || !door.events("login_refused").is_empty());
    let refused = &door.events("login_refused")[0];
    let user = refused["user"].as_str().unwrap();
    assert!(!user.contains('\u{1b}') && !user.contains('\n') && user.contains("\\x1b"), "{user:?}");
    assert!(!refused["reason"].as_str().unwrap().is_empty());
    assert!(refused["peer"].is_string());
    assert_eq!(door.events("login").len(), 0);

    // One that is long is cut, and so is its line: whoever is nobody fills no disk by it.
    client.send(&Attacker::offer(&"\"".repeat(1000), &Key::new(3)));
    assert_eq!(client.next(&[51, 60]).unwrap()[0], 51);
    soon("it is written", || door.events("login_refused").len() == 2);
    let refused = &door.events("login_refused")[1];
    assert!(refused["user"].as_str().unwrap().ends_with('…') && refused.to_string().len() < 600, "{refused}");
}

/// A command is text from a tenant: escaped and bounded
#[test]
fn commands_are_written_escaped_and_bounded() {
    if !root() {
        return;
    }
    let door = Door::standard();
    door.run("alice", &format!("true '\u{1b}]0;title\u{7}' {}", "x".repeat(20_000)));
    soon("it is written", || !door.events("session_start").is_empty());
    let command = door.events("session_start")[0]["command"].as_str().unwrap().to_owned();
    assert!(!command.contains('\u{1b}') && command.len() < 2048, "{} bytes", command.len());
}

/// The file may be moved away while we run (logrotate): running monitors go on in the new one
#[test]
fn a_moved_file_is_followed_by_a_new_one() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let master = door.master("alice");
    master.ok("true");
    fs::rename(door.dir.join("audit.jsonl"), door.dir.join("audit.1")).unwrap();
    master.ok("true");
    soon("the new file has the session", || !door.events("session_end").is_empty());
    assert!(fs::read_to_string(door.dir.join("audit.1")).unwrap().contains("\"login\""));
}

/// `config/logrotate.d/cellblock`, by logrotate(8) itself: nothing is told to anybody, and no line is lost
#[test]
fn logrotate_moves_the_file_away_and_listener_and_monitors_go_on_in_a_new_one() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .server("max_connections_per_source = 1")
        .tenant("alice", "")
        .start();
    let master = door.master("alice");
    master.ok("true");
    soon("its end is written", || door.events("session_end").len() == 1);
    let shipped =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/logrotate.d/cellblock")).unwrap();
    let at = door.dir.join("audit.jsonl");
    let config =
        shipped.replace("/var/log/cellblock/audit.jsonl", at.to_str().unwrap()).replace("maxsize 100M", "maxsize 100");
    assert!(config.contains(at.to_str().unwrap()) && config.contains("maxsize 100\n"), "{config}");
    let rotate = || {
        let mut logrotate = Command::new("logrotate");
        logrotate.arg("-s").arg(door.dir.join("rotated")).arg(door.dir.write("logrotate", &config));
        let done = logrotate.output().unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    rotate();
    assert!(!at.exists(), "whoever writes next makes it");
    master.ok("exit 0");
    soon("the monitor writes to the new one", || door.events("session_end").len() == 1);
    let mode = fs::metadata(&at).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only root reads it");

    rotate();
    // One that says nothing is the first of its source; the second is turned away by the listener itself.
    let _first = TcpStream::connect(("127.0.0.1", door.port)).unwrap();
    soon("the listener writes to the newest one", || {
        drop(TcpStream::connect(("127.0.0.1", door.port)).unwrap());
        !door.events("connection_refused").is_empty()
    });
    let old = |name: &str| fs::read(door.dir.join(name)).unwrap();
    let newer = String::from_utf8(old("audit.jsonl.1")).unwrap();
    assert!(newer.contains("\"session_start\"") && newer.contains("\"session_end\""), "{newer}");
    let mut unpack = Command::new("gzip");
    let oldest = unpack.arg("-dc").arg(door.dir.join("audit.jsonl.2.gz")).output().unwrap();
    assert!(String::from_utf8_lossy(&oldest.stdout).contains("\"login\""), "{oldest:?}");
}
