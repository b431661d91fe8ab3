//! Spare cells, which the listener keeps so that a login need not wait for what all cells have:
//! docs/performance.md and `src/jail/stock.rs`. A spare serves one login; what becomes of the others
//! when anything is killed, told to stop, or reads its config again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "test support code"
)]

use nix::sys::signal::Signal;
use support::{Door, procfs, root, soon};

/// A door with its stock full.
fn stocked() -> (Door, Vec<i32>) {
    let door = Door::standard();
    let spares = full(&door);
    (door, spares)
}

/// Waits until the stock is full.
fn full(door: &Door) -> Vec<i32> {
    soon("two spares", || door.spares().len() == 2);
    door.spares()
}

/// The host's pid of a cell's pid 1, found by a session's namespace.
fn init_of(door: &Door, client: &support::Running) -> i32 {
    let namespace = client.line();
    let found = door.processes().into_iter().find(|&pid| {
        procfs::status(pid, "NSpid").is_some_and(|pids| pids.split_whitespace().last() == Some("1"))
            && procfs::namespaces(pid).contains(&namespace)
    });
    found.expect("the cell's pid 1")
}

#[test]
fn a_login_takes_a_spare_and_the_listener_makes_up_for_it() {
    if !root() {
        return;
    }
    let (door, spares) = stocked();
    let client = door.spawn("alice", "readlink /proc/self/ns/pid; exec cat");
    let init = init_of(&door, &client);
    assert!(spares.contains(&init), "pid 1 is {init}, spares were {spares:?}\n{}", door.log());
    soon("it is no spare any more, and another has its place", || {
        let now = door.spares();
        now.len() == 2 && !now.contains(&init)
    });
    let (other, spares) = (door.spawn("eve", "readlink /proc/self/ns/pid; exec cat"), door.spares());
    let second = init_of(&door, &other);
    assert!(second != init && spares.contains(&second), "{second} {spares:?}");
}

#[test]
fn a_login_works_when_its_spare_was_killed_just_before() {
    if !root() {
        return;
    }
    let (door, spares) = stocked();
    for pid in &spares {
        procfs::kill(*pid, Signal::SIGKILL);
    }
    assert_eq!(door.ok("alice", "echo well"), "well");
    let now = full(&door);
    assert!(now.iter().all(|pid| !spares.contains(pid)), "{now:?} {spares:?}");
    procfs::kill(now[0], Signal::SIGKILL);
    assert_eq!(door.ok("eve", "echo well"), "well");
    full(&door);
}

#[test]
fn spares_end_with_a_killed_listener_and_one_that_was_taken_does_not() {
    if !root() {
        return;
    }
    let (mut door, _) = stocked();
    let mut client = door.spawn("alice", "echo up; exec cat");
    assert_eq!(client.line(), "up");
    let waiting = full(&door);
    door.signal(Signal::SIGKILL);
    door.wait_end();
    soon("no spare is left", || waiting.iter().all(|&pid| procfs::ended(pid)));
    client.write("still here\n");
    assert_eq!(client.line(), "still here");
    // Over a connection of the listener that is gone: its monitor finds no spare.
    client.close_stdin();
    assert_eq!(client.wait(), 0);
    door.restart();
    full(&door);
    assert_eq!(door.ok("alice", "echo well"), "well");
}

#[test]
fn a_monitor_without_its_listener_starts_cells_without_spares() {
    if !root() {
        return;
    }
    let (door, _) = stocked();
    let master = door.master("alice");
    let waiting = full(&door);
    door.signal(Signal::SIGKILL);
    soon("the listener is gone", || procfs::ended(door.listener()));
    soon("no spare is left", || waiting.iter().all(|&pid| procfs::ended(pid)));
    assert_eq!(master.ok("echo well"), "well");
}

#[test]
fn a_stop_ends_spares_and_a_reload_makes_up_for_those_that_were_killed() {
    if !root() {
        return;
    }
    let (mut door, spares) = stocked();
    procfs::kill(spares[0], Signal::SIGKILL);
    soon("it has ended", || procfs::ended(spares[0]));
    door.signal(Signal::SIGHUP);
    soon("a new one", || {
        let now = door.spares();
        now.len() == 2 && now.contains(&spares[1]) && !now.contains(&spares[0])
    });
    let waiting = door.spares();
    door.signal(Signal::SIGTERM);
    assert_eq!(door.wait_end(), Some(0));
    soon("no spare is left", || waiting.iter().all(|&pid| procfs::ended(pid)));
}
