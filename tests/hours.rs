//! The hours of classes (issue 4, item 6): who may come in, and what becomes of those inside at closing
//! time. The door's clock is set so that the hour strikes soon: nobody waits for a real one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test support code"
)]

use support::{Door, Ran, procfs, root, run_bounded, soon};

/// From the start of the door to closing time: time for three logins on a busy machine.
const OPEN_FOR: i64 = 25;

/// A time zone some seconds ahead of UTC (POSIX `TZ`), by whose clock a new minute begins in
/// [`OPEN_FOR`] seconds, and that minute of the day.
fn clock() -> (String, i64) {
    let now = jiff::Timestamp::now().as_second();
    let ahead = (60 - OPEN_FOR - now).rem_euclid(60);
    (format!("TZ=TST-0:00:{ahead:02}"), ((now + ahead) / 60 + 1) % 1440)
}

/// The hours from `from` to `to`, minutes of a day.
fn hours(from: i64, to: i64) -> String {
    let time = |minute: i64| format!("{:02}:{:02}", minute.rem_euclid(1440) / 60, minute.rem_euclid(60));
    format!("open = [\"{}-{}\"]\n", time(from), time(to))
}

fn on_a_terminal(door: &Door, tenant: &str, line: &str) -> Ran {
    let mut command = door.ssh_command();
    command.args(["-tt", "-l", tenant, "door", line]);
    run_bounded(command, b"")
}

fn is_turned_away(door: &Door, tenant: &str) {
    let ran = door.run(tenant, "echo in");
    assert_ne!(ran.status, 0, "{tenant}: {}", ran.text());
    assert!(ran.err.contains("This account is closed at this time."), "{tenant}: {}", ran.err);
}

#[test]
fn a_class_closes_on_those_inside_with_a_warning_and_another_opens() {
    if !root() {
        return;
    }
    let (zone, closing) = clock();
    let tables = format!(
        "[defaults]\nroot = \"host\"\nlinger = \"0s\"\n[class.day]\n{}[class.night]\n{}",
        hours(closing - 60, closing),
        hours(closing, closing + 60)
    );
    let door = Door::with(&tables)
        .tenant("alice", "class = \"day\"")
        .tenant("bob", "class = \"night\"")
        .wrapped(&["env", &zone])
        .start();
    is_turned_away(&door, "bob");
    let mut quiet = door.spawn("alice", "echo up; exec cat");
    assert_eq!(quiet.line(), "up", "{}", door.log());

    let ran = on_a_terminal(&door, "alice", "echo up; exec sleep 1000");
    let text = ran.text();
    let parts = ["up", "this account closes in 1 minute; save your work", "this account closes; this connection ends"];
    let at: Vec<_> =
        parts.iter().map(|part| text.find(part).unwrap_or_else(|| panic!("no {part:?}: {text}"))).collect();
    assert!(at.is_sorted(), "{text}");
    assert_ne!(ran.status, 0);
    // So do those who have no terminal to be told on.
    assert_ne!(quiet.wait(), 0);
    let ended = || -> Vec<_> {
        let ends = door.audit().into_iter().filter(|event| event["event"] == "connection_end");
        ends.filter(|event| event["tenant"] == "alice").map(|event| event["reason"].clone()).collect()
    };
    // A client is gone before its end is written down.
    soon("both ends are in the audit file", || ended().len() == 2);
    assert_eq!(ended(), ["outside of the tenant's hours"; 2]);
    soon("what they left running is ended", || {
        !door.processes().iter().any(|pid| procfs::cmdline(*pid) == "sleep 1000")
    });

    is_turned_away(&door, "alice");
    assert_eq!(door.ok("bob", "echo in"), "in");
}
