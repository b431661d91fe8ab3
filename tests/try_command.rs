//! `cellblock try`: a door with nothing configured, that cleans up after itself (issue 2, item 8).
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

mod support;

use std::{collections::BTreeSet, fs, process::Command};

use nix::sys::signal::Signal;
use support::{Door, procfs, root, run_bounded, soon};

#[test]
fn try_brings_up_three_tenants_and_prints_lines_that_work_when_pasted() {
    if !root() {
        return;
    }
    let door = Door::tried();
    for (tenant, uid) in [("alice", "1000"), ("bob", "1000"), ("eve", "0")] {
        assert_eq!(door.ok(tenant, "id -u; hostname"), format!("{uid}\n{tenant}"));
    }
    let printed =
        fs::read_to_string(door.dir.join("out")).unwrap() + &fs::read_to_string(door.dir.join("err")).unwrap();
    let lines: Vec<_> = printed.lines().map(str::trim).filter(|line| line.starts_with("ssh ")).collect();
    assert!(lines.len() >= 3, "{printed}");
    for line in lines {
        let mut command = Command::new("sh");
        // What follows is for the reader.
        let line = line.split('#').next().unwrap();
        command.args(["-c", &format!("{line} echo pasted")]);
        assert_eq!(run_bounded(command, b"").text(), "pasted", "{line}");
    }
}

#[test]
fn try_cleans_up_when_it_ends() {
    if !root() {
        return;
    }
    let mounts = || {
        fs::read_to_string("/proc/self/mountinfo").unwrap().lines().filter(|line| line.contains("cellblock")).count()
    };
    let (subuid, mounted) = (fs::read("/etc/subuid").unwrap_or_default(), mounts());
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut door = Door::tried();
        let mut live = door.spawn("eve", "echo up; setsid sleep 1000 & exec cat");
        assert_eq!(live.line(), "up");
        door.signal(signal);
        assert_eq!(door.wait_end(), Some(0), "{signal}");
        assert_ne!(live.wait(), 0);
        soon("no process is left", || door.processes().is_empty());
        let left: BTreeSet<_> = fs::read_dir(door.dir.path())
            .map(|dir| dir.map(|entry| entry.unwrap().file_name()).collect())
            .unwrap_or_default();
        // The test's own two logs were there before.
        let ours: Vec<_> = left.iter().filter(|name| *name != "out" && *name != "err").collect();
        assert!(ours.is_empty(), "{signal}: {ours:?}");
    }
    assert_eq!(fs::read("/etc/subuid").unwrap_or_default(), subuid, "nothing is registered on the host");
    assert_eq!(mounts(), mounted);
}

#[test]
fn try_without_root_says_so() {
    if !root() {
        return;
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
    // The binary may lie in a directory that nobody can enter: a copy is run.
    let scratch = support::Scratch::new();
    let copy = std::path::Path::new("/tmp").join(format!("cbt-copy-{}", std::process::id()));
    fs::copy(env!("CARGO_BIN_EXE_cellblock"), &copy).unwrap();
    command.arg(&copy).arg("try");
    let ran = run_bounded(command, b"");
    fs::remove_file(&copy).unwrap();
    drop(scratch);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.err.contains("root"), "{}", ran.err);
}

#[test]
fn two_tries_do_not_disturb_each_other() {
    if !root() {
        return;
    }
    let (first, second) = (Door::tried(), Door::tried());
    let keep = first.spawn("alice", "echo up; exec sleep 31415");
    keep.line();
    assert_eq!(second.run("alice", "pgrep -x sleep").text(), "", "another alice");
    drop(second);
    assert_eq!(first.ok("alice", "pgrep -cx sleep"), "1");
    assert!(!procfs::ended(first.listener()));
}
