//! What the end-to-end tests share: a real door on a loopback port, a real `ssh` client, and a
//! count of everything that a door may leave behind.
//!
//! Waits are for events (a ready line, the end of a process) or, through [`until`] alone, for a
//! condition with a deadline. Everything that a test starts ends with its values.
//!
//! A package of its own, so that sixty test programs and the benchmarks do not each compile it.
#![allow(
    missing_docs,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::let_underscore_must_use,
    clippy::new_without_default,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "test support code: a panic is a failed test"
)]

pub mod attacked;
pub mod attacker;
pub mod attacker_channels;
pub mod caller;
pub mod cells;
mod client;
mod counts;
mod door;
pub mod forward;
mod host;
pub mod pam;
mod peaks;
pub mod probe;
pub mod procfs;
mod scratch;
pub mod sftp;
mod terminal;
pub mod times;
mod tree;
pub mod typist;

pub use client::{Master, Ran, Running, run_bounded};
pub use counts::Counts;
pub use door::{Builder, Door, doors, free_port};
pub use host::{Host, with_etc};
pub use peaks::Peaks;
pub use scratch::Scratch;
pub use terminal::TerminalClient;
pub use tree::{debian_root, workshop_root};

use std::{
    env,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

/// One of our programs, as built with whatever calls this: a test program or a benchmark, which lies
/// one directory below.
pub fn program(name: &str) -> PathBuf {
    env::current_exe().unwrap().ancestors().nth(2).unwrap().join(name)
}

/// A file of the repository.
pub fn in_tree(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

/// Whether the test can run. Without root it is skipped loudly; with `REQUIRE_ROOT=1` that is a failure.
pub fn root() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(env::var_os("REQUIRE_ROOT").is_none(), "REQUIRE_ROOT is set and this is not root");
    eprintln!("SKIPPED: needs root (run tests/all)");
    false
}

/// How long a test waits for what takes no time, before it says that it does not happen: `seconds`,
/// and where all is slow `PATIENCE` times as long (tests/vm/init).
pub fn patience(seconds: u64) -> Duration {
    let times = env::var("PATIENCE").ok().and_then(|times| times.parse::<u64>().ok()).unwrap_or(1);
    Duration::from_secs(seconds * times)
}

/// Whether root here may raise hard limits and lower OOM scores (`CAP_SYS_RESOURCE`): in containers it may not.
pub fn may_raise_limits() -> bool {
    let own = procfs::status(std::process::id() as i32, "CapEff").unwrap();
    u64::from_str_radix(own.trim(), 16).unwrap() & (1 << 24) != 0
}

/// Waits until `condition` holds; false after `limit`. The one place where tests poll.
pub fn until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// As [`until`], and a failed test if it does not come true.
pub fn soon(what: &str, condition: impl FnMut() -> bool) {
    assert!(until(patience(15), condition), "did not happen in time: {what}");
}
