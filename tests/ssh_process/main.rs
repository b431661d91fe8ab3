//! The ssh process, started as the monitor starts it, and the real `ssh` client.
//!
//! Behind it is a fake monitor (`fake_monitor.rs`): what is tested is the sandbox, the protocol and
//! the flow of data. Needs root, ssh, strace. Without root all is skipped, and that is a failure if
//! `REQUIRE_ROOT=1`. Arguments that are no options are parts of the names of tests to run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::too_many_lines,
    missing_debug_implementations,
    missing_docs,
    unreachable_pub,
    reason = "test support code"
)]

mod client;
mod fake_monitor;
mod sandbox;
mod sessions;
mod streams;

use std::{path::Path, process::ExitCode, time::Instant};

use client::Door;

/// A test, by its sentence.
pub type Test = (&'static str, fn(&Door));

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, dir] = args.as_slice()
        && mode == "--fake-monitor"
    {
        fake_monitor::run(Path::new(dir));
        return ExitCode::SUCCESS;
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: all tests of the ssh process need root");
        return ExitCode::from(u8::from(std::env::var_os("REQUIRE_ROOT").is_some()));
    }
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let tests = [sandbox::TESTS, sessions::TESTS, streams::TESTS].concat();
    let door = Door::open();
    let mut failed = 0;
    for (name, test) in tests {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let start = Instant::now();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&door)));
        failed += usize::from(outcome.is_err());
        let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {verdict} ({:.2} s)", start.elapsed().as_secs_f64());
    }
    println!("{failed} failed");
    ExitCode::from(u8::from(failed > 0))
}
