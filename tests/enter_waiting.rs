//! The monitor that is forked before its caller comes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_possible_wrap,
    reason = "test support code"
)]

use nix::sys::signal::Signal;
use support::{Host, Running, procfs, root, run_bounded, soon};

/// Those that wait; there is one at most.
fn waiting(host: &Host) -> Option<i32> {
    let mut all = host.door.processes().into_iter().filter(|pid| procfs::name(*pid) == "cellblock: wait");
    let one = all.next();
    assert_eq!(all.next(), None);
    one
}

/// One is there, once a first caller has come.
fn one_that_waits(host: &Host) -> i32 {
    soon("a monitor waits", || waiting(host).is_some());
    waiting(host).unwrap()
}

#[test]
fn a_monitor_waits_once_a_caller_has_come_and_attends_the_next_one() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    assert_eq!(waiting(&host), None, "for whom?");
    host.entered("alice", &["--", "true"]);
    let first = one_that_waits(&host);
    let session = Running::start(host.enter("alice", &["--", "sh", "-c", "echo up; exec sleep 100000"]));
    session.expect("up");
    assert_eq!(procfs::name(first), "cellblock: alic");
    assert_ne!(one_that_waits(&host), first);
    // It has what every monitor has, and not the host's keys: nobody asks it for them (`Listener::wait_for_a_caller`).
    assert_eq!(procfs::parent(first), Some(host.door.listener()));
}

#[test]
fn a_config_that_was_read_again_holds_for_the_next_caller() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    host.entered("alice", &["--", "true"]);
    let old = one_that_waits(&host);
    host.door.rewrite_config(|text| text.replace("[tenant.alice]\n", "[tenant.alice]\nlocked = true\n"));
    let ran = host.door.verb(&["reload"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    soon("the one that knows the old config is gone", || procfs::ended(old));
    let ran = run_bounded(host.enter("alice", &["--", "true"]), b"");
    assert!(ran.status == 255 && ran.err.contains("locked"), "{ran:?}");
}

#[test]
fn without_the_one_that_waits_a_caller_gets_another() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    host.entered("alice", &["--", "true"]);
    for _again in 0..3 {
        procfs::kill(one_that_waits(&host), Signal::SIGKILL);
        assert_eq!(host.entered("alice", &["--", "echo", "in"]), "in");
    }
    assert!(!host.door.log().contains("was killed"), "it had nobody: {}", host.door.log());
}

#[test]
fn it_ends_with_the_listener_however_that_ends() {
    if !root() {
        return;
    }
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let host = Host::start("", "");
        host.entered("alice", &["--", "true"]);
        let pid = one_that_waits(&host);
        procfs::kill(host.door.listener(), signal);
        soon("it ends", || procfs::ended(pid));
    }
}
