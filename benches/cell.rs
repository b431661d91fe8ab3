//! How long a new cell and a session take, each beside its rivals in the same run, interleaved.
//!
//! Needs root, bwrap, unshare and busybox. `cargo bench --bench cell`; prints medians and ratios.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    clippy::wildcard_imports,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "benchmark code"
)]

use std::{
    os::fd::AsFd as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use cellblock::{
    config::settings::{Root, Tenant},
    sys::{poll, process},
    wire::{
        init::{Order, Report},
        session::Program,
    },
};
use support::cells::{self, *};

/// Rounds; every round measures each line once.
const ROUNDS: usize = 150;

/// A line may take at most this part of the rival's time.
const TARGETS: [(&str, &str, f64); 3] =
    [("new cell", "bwrap", 0.6), ("new cell", "unshare", 1.0), ("session", "bwrap", 0.3)];

fn main() {
    let yard = Yard::with_run_in_memory("bench");
    let root = yard.busybox_root("root");
    for mount_point in ["proc", "dev", "tmp"] {
        std::fs::create_dir_all(root.join(mount_point)).unwrap();
    }
    let tenant = tenant("bench", Root::Directory(root.clone()));
    let of_host = cells::tenant("hosted", Root::Host);
    let lingering = cells::tenant("running", Root::Directory(root.clone()));
    // Holds the second cell open.
    let mut holder = yard.cells.enter(&lingering).unwrap();
    let held = begin(&mut holder, start(&lingering, 1, Program::Command("exec sleep 1000".into()), None));

    let mut times: [Vec<Duration>; 5] = Default::default();
    for _round in 0..ROUNDS {
        times[0].push(new_cell(&yard, &tenant));
        times[1].push(session(&yard, &lingering));
        times[2].push(rival(&mut bwrap(&root)));
        times[3].push(rival(&mut unshare(&root)));
        times[4].push(new_cell(&yard, &of_host));
    }
    drop(held);
    end(&yard.cells, holder);
    yard.remove();

    let mut named = Vec::new();
    for (name, mut line) in ["new cell", "session", "bwrap", "unshare", "host cell"].into_iter().zip(times) {
        line.sort_unstable();
        let ms = |part: usize| line[line.len() * part / 100].as_secs_f64() * 1e3;
        println!("{name:10} {:6.2} ms (10 % below {:.2}, 10 % above {:.2})", ms(50), ms(10), ms(90));
        named.push((name, ms(50)));
    }
    let of = |name: &str| named.iter().find(|(known, _)| *known == name).unwrap().1;
    for (ours, theirs, target) in TARGETS {
        println!("{ours:10} / {theirs:8} {:.2} x (at most {target})", of(ours) / of(theirs));
    }
}

/// From request to the exit of `/bin/true`, in a cell that did not run.
///
/// With spares in stock, as a listener has them: it makes them while it has nothing else to do.
fn new_cell(yard: &Yard, tenant: &Tenant) -> Duration {
    yard.restock();
    let begun = Instant::now();
    let mut cell = yard.cells.enter(tenant).unwrap();
    assert!(cell.started);
    cell.link.send(&Order::Start(Box::new(true_of(tenant)))).unwrap();
    await_report(&mut cell);
    let time = begun.elapsed();
    poll::wait_readable(&[cell.pidfd.as_fd()], None).unwrap();
    process::wait_for(cell.pidfd.as_fd()).unwrap();
    yard.cells.ended(&cell.name, cell.pid).unwrap();
    time
}

fn session(yard: &Yard, tenant: &Tenant) -> Duration {
    let begun = Instant::now();
    let mut cell = yard.cells.enter(tenant).unwrap();
    assert!(!cell.started);
    cell.link.send(&Order::Start(Box::new(true_of(tenant)))).unwrap();
    await_report(&mut cell);
    begun.elapsed()
}

fn true_of(tenant: &Tenant) -> cellblock::wire::init::Start {
    let mut start = start(tenant, 1, Program::Command(b"".to_vec()), None);
    start.account.shell = "/bin/true".into();
    start.account.home = "/".into();
    start
}

fn await_report(cell: &mut cellblock::jail::Cell) {
    loop {
        match cell.link.receive().unwrap().0 {
            Report::Started { .. } => {}
            Report::Ended { exit, .. } => {
                assert_eq!(exit, cellblock::wire::session::Exit::Status(0));
                return;
            }
            other => panic!("{other:?}"),
        }
    }
}

fn rival(command: &mut Command) -> Duration {
    let begun = Instant::now();
    let status = command.stdin(Stdio::null()).status().unwrap();
    let time = begun.elapsed();
    assert!(status.success());
    time
}

fn bwrap(root: &Path) -> Command {
    let mut command = Command::new("bwrap");
    command.args(["--unshare-all", "--bind"]).arg(root);
    command.args(["/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "/bin/true"]);
    command
}

fn unshare(root: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--user", "--map-root-user", "chroot"]);
    command.arg(root).arg("/bin/true");
    command
}
