//! What a login costs beside Debian's sshd (issue 2, "How fast"): time of one, of 200, memory of an
//! idle one. The cell runs already; sshd has no jail and no PAM.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    reason = "measuring code: a panic is a failed run"
)]

#[path = "support/table.rs"]
mod table;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use support::{Door, procfs, soon};

const ROUNDS: usize = 40;
const LOGINS: usize = 200;
const AT_A_TIME: usize = 16;
const IDLE: usize = 20;

fn door() -> Door {
    Door::with("[defaults]\nroot = \"host\"\n")
        .server("max_startups = \"100:30:200\"")
        .tenant("alice", "max_sessions = 500")
        .start()
}

fn login(door: &Door) {
    let status = door.ssh("alice").arg("true").stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "{}", door.log());
}

fn many(door: &Door) {
    let left = AtomicUsize::new(LOGINS);
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    login(door);
                }
            });
        }
    });
}

/// The listener and all below it; for ours also what does not descend from it.
fn memory(door: &Door) -> u64 {
    let mut all: BTreeSet<i32> = BTreeSet::from([door.listener()]);
    loop {
        let more: Vec<_> = procfs::pids()
            .into_iter()
            .filter(|pid| procfs::parent(*pid).is_some_and(|parent| all.contains(&parent)))
            .collect();
        let before = all.len();
        all.extend(more);
        if all.len() == before {
            break;
        }
    }
    if !door.is_sshd() {
        all.extend(door.processes());
    }
    // Not the tenant's own programs.
    all.into_iter().filter(|&pid| door.is_sshd() || procfs::exe(pid).contains("cellblock")).map(procfs::pss_kib).sum()
}

/// KiB that one idle, logged-in connection adds. For sshd a user who is not root, so that it has both its processes.
fn idle(door: &Door, user: &str) -> f64 {
    let before = memory(door);
    let sockets: Vec<_> = (0..IDLE).map(|n| door.dir.join(&format!("idle{n}"))).collect();
    let mut clients: Vec<Child> = sockets
        .iter()
        .map(|socket| {
            let mut command: Command = door.ssh_command();
            command.args(["-N", "-M", "-S"]).arg(socket).args(["-l", user, "door"]);
            command.stdin(Stdio::null()).spawn().unwrap()
        })
        .collect();
    // The control socket is there once the login is through.
    soon("all are logged in", || sockets.iter().all(|socket| socket.exists()));
    let after = memory(door);
    clients.iter_mut().for_each(|client| client.kill().unwrap());
    for client in &mut clients {
        client.wait().unwrap();
    }
    after.saturating_sub(before) as f64 / IDLE as f64
}

fn main() {
    let (sshd, ours) = (Door::sshd(), door());
    let keep = ours.spawn("alice", "echo up; exec sleep 100000");
    assert_eq!(keep.line(), "up");
    table::head("sshd");
    let (theirs, own) = table::interleaved(ROUNDS, || login(&sshd), || login(&ours));
    table::line("ssh … true, running cell", theirs.as_secs_f64() * 1e3, own.as_secs_f64() * 1e3, "ms", 0.2);
    let (theirs, own) = table::interleaved(3, || many(&sshd), || many(&ours));
    table::line("200 logins, 16 at a time", theirs.as_secs_f64(), own.as_secs_f64(), "s", 0.5);
    // sshd reads the keys of an ordinary account as that account, which must get at the file.
    for (path, mode) in [(sshd.dir.path().to_owned(), 0o711), (sshd.dir.join("id.pub"), 0o644)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let (theirs, own) = (idle(&sshd, "nobody"), idle(&ours, "alice"));
    table::line("PSS per idle logged-in connection", theirs / 1024.0, own / 1024.0, "Mi", 0.5);
    println!("medians of {ROUNDS} and 3 interleaved rounds; PSS over {IDLE} connections");
}
