//! "`kill -9` of the listener, of the ssh process, of the monitor, of init, each in mid-session: the
//! tenant's client ends or goes on as the design says, the next login works at once, nothing is left
//! behind after it" (issue 2).
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

use nix::sys::signal::Signal;
use support::{Door, procfs, root, soon};

/// The processes of the one connection of a door, found by what they are rather than by name.
struct Cast {
    ssh: i32,
    monitor: i32,
    init: i32,
}

fn cast(door: &Door) -> Cast {
    let all = door.processes();
    let monitors: Vec<_> = all
        .iter()
        .copied()
        .filter(|&pid| {
            procfs::parent(pid) == Some(door.listener())
                && procfs::uid(pid) == Some(0)
                && procfs::exe(pid).ends_with("/cellblock-admin")
        })
        .collect();
    assert_eq!(monitors.len(), 1, "{:?}", door.counts());
    let ssh = door.ssh_processes()[0];
    // pid 1 of a pid namespace other than ours: the last number of NSpid.
    let init = all.iter().copied().find(|&pid| {
        procfs::status(pid, "NSpid")
            .is_some_and(|pids| pids.split_whitespace().count() == 2 && pids.split_whitespace().last() == Some("1"))
            && !procfs::is_ssh_process(pid)
    });
    Cast { ssh, monitor: monitors[0], init: init.expect("init") }
}

fn next_login_works(door: &Door) {
    let ran = door.run("alice", "echo well");
    assert_eq!((ran.status, ran.text().as_str()), (0, "well"), "{}\n{}", ran.err, door.log());
}

#[test]
fn the_end_of_the_ssh_process_ends_its_client_alone() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let before = door.counts();
    let mut client = door.spawn("alice", "echo up; exec cat");
    assert_eq!(client.line(), "up");
    let bob = door.master("bob");
    let ssh = door.ssh_processes().into_iter().min().unwrap();
    procfs::kill(ssh, Signal::SIGKILL);
    assert_eq!(client.wait(), 255);
    next_login_works(&door);
    assert_eq!(bob.ok("echo well"), "well");
    drop(bob);
    door.returns_to(&before);
}

#[test]
fn the_end_of_the_monitor_ends_its_client_and_leaves_nothing() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let before = door.counts();
    let mut client = door.spawn("alice", "echo up; exec cat");
    assert_eq!(client.line(), "up");
    let cast = cast(&door);
    procfs::kill(cast.monitor, Signal::SIGKILL);
    assert_eq!(client.wait(), 255);
    soon("the ssh process ends with its monitor", || procfs::ended(cast.ssh));
    next_login_works(&door);
    door.returns_to(&before);
}

#[test]
fn the_end_of_init_ends_the_cell_and_the_next_login_makes_another() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let before = door.counts();
    let mut client = door.spawn("alice", "echo up; exec cat");
    assert_eq!(client.line(), "up");
    procfs::kill(cast(&door).init, Signal::SIGKILL);
    assert_ne!(client.wait(), 0);
    next_login_works(&door);
    door.returns_to(&before);
}

#[test]
fn the_end_of_init_is_told_to_a_connection_that_stays() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let mut master = door.master("alice");
    let mut client = master.spawn("echo up; exec cat");
    assert_eq!(client.line(), "up");
    procfs::kill(cast(&door).init, Signal::SIGKILL);
    assert_ne!(client.wait(), 0);
    assert!(master.is_running());
    assert_eq!(master.ok("echo well"), "well", "a new cell, over the same connection");
}

#[test]
fn the_end_of_the_listener_leaves_sessions_and_a_new_one_joins_the_cell() {
    if !root() {
        return;
    }
    let mut door = Door::standard();
    let mut client = door.spawn("alice", "echo up $$; exec cat");
    let up = client.line();
    let pid = up.strip_prefix("up ").unwrap().to_owned();
    let before_fds = door.counts().listener_fds;
    door.signal(Signal::SIGKILL);
    door.wait_end();
    client.write("still here\n");
    assert_eq!(client.line(), "still here");
    door.restart();
    assert_eq!(door.ok("alice", &format!("cat /proc/{pid}/comm")), "cat", "the same cell");
    client.write("and here\n");
    assert_eq!(client.line(), "and here");
    client.close_stdin();
    assert_eq!(client.wait(), 0);
    soon("no cell and no monitor is left", || door.processes() == [door.listener()]);
    assert!(door.counts().listener_fds <= before_fds);
    next_login_works(&door);
}

#[test]
fn everything_killed_at_once_leaves_nothing_that_the_next_start_does_not_sweep_up() {
    if !root() {
        return;
    }
    let mut door = Door::standard();
    door.ok("alice", "true");
    soon("quiet", || door.processes() == [door.listener()]);
    let before = door.counts();
    let mut client = door.spawn("alice", "echo up; exec cat");
    assert_eq!(client.line(), "up");
    let cast = cast(&door);
    for pid in [door.listener(), cast.monitor, cast.ssh, cast.init] {
        procfs::kill(pid, Signal::SIGKILL);
    }
    door.wait_end();
    assert_ne!(client.wait(), 0);
    door.restart();
    next_login_works(&door);
    soon("quiet again", || door.processes() == [door.listener()]);
    let after = door.counts();
    assert_eq!((after.mounts, after.cgroups, after.run_entries), (before.mounts, before.cgroups, before.run_entries));
}

/// threats.md, 5.G: "orphan sweep after `kill -9`": the monitor dies while the cell is being made
#[test]
fn a_monitor_that_dies_at_any_moment_of_a_login_leaves_nothing() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let before = door.counts();
    for delay in 0..24 {
        let mut client = door.ssh("eve").arg("sleep 5").stderr(std::process::Stdio::null()).spawn().unwrap();
        let monitor = || {
            door.processes().into_iter().find(|&pid| {
                procfs::parent(pid) == Some(door.listener())
                    && procfs::exe(pid).ends_with("/cellblock-admin")
                    && procfs::uid(pid) == Some(0)
            })
        };
        soon("a monitor", || monitor().is_some());
        // The moments of a login are a few milliseconds apart: this walks over them.
        std::thread::sleep(std::time::Duration::from_millis(delay * 2));
        if let Some(pid) = monitor() {
            procfs::kill(pid, Signal::SIGKILL);
        }
        assert_ne!(client.wait().unwrap().code(), Some(0));
    }
    assert_eq!(door.ok("eve", "echo well"), "well");
    door.returns_to(&before);
}
