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

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use nix::sys::signal::Signal;
use support::{Door, Scratch, procfs, root, run_bounded, soon};

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

/// "README with the two commands": `cargo build` by a user, whose files the programs then are, and sudo
#[test]
fn try_works_from_a_clone_that_a_user_built_and_not_with_programs_of_others() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let built = [
        env!("CARGO_BIN_EXE_cellblock"),
        env!("CARGO_BIN_EXE_cellblock-admin"),
        env!("CARGO_BIN_EXE_cellblock-ssh"),
        env!("CARGO_BIN_EXE_cellblock-init"),
    ]
    .map(Path::new)
    .map(|path| (path, scratch.join(path.file_name().unwrap().to_str().unwrap())));
    for (path, copy) in &built {
        fs::copy(path, copy).unwrap();
        std::os::unix::fs::chown(copy, Some(1000), Some(1000)).unwrap();
        // As with the umask of Debian's users, who have groups of their own.
        fs::set_permissions(copy, fs::Permissions::from_mode(0o775)).unwrap();
    }
    let dir = scratch.join("try");
    let mut command = Command::new(&built[0].1);
    command.arg("try").arg("--dir").arg(&dir).stdout(Stdio::piped());
    let mut tried = command.spawn().unwrap();
    let mut lines = BufReader::new(tried.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "ready"), "it did not get ready");
    let mut ssh = Command::new("ssh");
    ssh.arg("-F").arg(dir.join("ssh_config")).args(["alice", "echo in"]);
    assert_eq!(run_bounded(ssh, b"").text(), "in");
    procfs::kill(tried.id() as i32, Signal::SIGTERM);
    assert!(tried.wait().unwrap().success());

    for (_, copy) in &built[1..] {
        std::os::unix::fs::chown(copy, Some(1001), Some(1001)).unwrap();
        let mut command = Command::new(&built[0].1);
        command.arg("try").arg("--dir").arg(&dir);
        let ran = run_bounded(command, b"");
        assert!(ran.status == 1 && ran.err.contains("only root can write"), "{ran:?}");
        std::os::unix::fs::chown(copy, Some(1000), Some(1000)).unwrap();
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
