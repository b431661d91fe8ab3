//! Many of everything, and nothing left afterwards (issue 2). Alone in its file so that nothing else counts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test support code"
)]

use std::{process::Stdio, thread, time::Duration};

use support::{Door, root, run_bounded};

fn door() -> Door {
    Door::with("[defaults]\nroot = \"host\"\n")
        .server("max_startups = \"400:30:500\"\nmax_connections = 1000\nmax_connections_per_source = 500")
        .tenant("alice", "max_sessions = 500\nmax_connections = 500\nlimits = { pids = 2048, memory = \"2G\" }")
        .tenant("bob", "max_sessions = 500\nmax_connections = 500\nlimits = { pids = 2048, memory = \"2G\" }")
        .tenant(
            "eve",
            "user = \"root\"\nmax_sessions = 500\nmax_connections = 500\nlimits = { pids = 2048, memory = \"2G\" }",
        )
        .start()
}

/// "1,000 short sessions one after another … no lost byte, no leaked process, fd, mount, namespace, cgroup or file"
#[test]
fn a_thousand_sessions_one_after_another_leave_nothing() {
    if !root() {
        return;
    }
    let door = door();
    let before = door.counts();
    for round in 0..10 {
        {
            let master = door.master("alice");
            for n in 0..80 {
                assert_eq!(master.ok(&format!("echo {round}.{n}")), format!("{round}.{n}"));
            }
        }
        // A connection and, with the last of them, a cell of its own.
        for n in 0..20 {
            let tenant = ["alice", "bob", "eve"][n % 3];
            assert_eq!(door.ok(tenant, &format!("echo {round}.{n}")), format!("{round}.{n}"));
        }
    }
    door.returns_to(&before);
}

/// "200 connections at a time"
#[test]
fn two_hundred_connections_at_a_time_leave_nothing() {
    if !root() {
        return;
    }
    let door = door();
    let before = door.counts();
    let answers: Vec<String> = thread::scope(|scope| {
        let running: Vec<_> = (0..200)
            .map(|n| {
                let mut command = door.ssh(["alice", "bob", "eve"][n % 3]);
                // Its input is there when it is connected; those that stay are the next test's.
                command.arg(format!("read go; echo {n} $go"));
                command.stdin(Stdio::piped());
                scope.spawn(move || run_bounded(command, b"went\n").text())
            })
            .collect();
        running.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let lost: Vec<_> = answers.iter().enumerate().filter(|(n, answer)| **answer != format!("{n} went")).collect();
    assert!(lost.is_empty(), "{} lost: {lost:?}\n{}", lost.len(), door.log());
    door.returns_to(&before);
}

/// 200 that stay: logged in and idle at the same time, then all gone at once
#[test]
fn two_hundred_idle_connections_go_without_a_trace() {
    if !root() {
        return;
    }
    let door = door();
    let before = door.counts();
    let mut clients: Vec<_> = (0..200)
        .map(|n| {
            let mut command = door.ssh(["alice", "bob"][n % 2]);
            command.arg("echo up; exec cat").stdin(Stdio::piped()).stdout(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    let up: usize = clients
        .iter_mut()
        .map(|client| {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(client.stdout.as_mut().unwrap()), &mut line)
                .unwrap();
            usize::from(line == "up\n")
        })
        .sum();
    assert_eq!(up, 200, "{}", door.log());
    for client in &mut clients {
        client.kill().unwrap();
        client.wait().unwrap();
    }
    door.returns_to(&before);
    assert_eq!(door.ok("alice", "echo well"), "well");
    assert!(door.run("alice", "true").took < Duration::from_secs(5));
}
