//! What the program does when no monitor started it: nothing, and it says so by its status alone.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use std::process::{Command, Output, Stdio};

/// Runs it with this as descriptor 3, in the shell's words.
fn run_with(link: &str) -> Output {
    let line = format!("exec \"$0\" {link}");
    let program = env!("CARGO_BIN_EXE_cellblock-pam");
    Command::new("sh").args(["-c", &line, program]).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn without_a_link_to_a_monitor_it_asks_nobody_and_fails() {
    // Nothing, a file, a device that gives no end of zeros, and the end of a pipe.
    for link in ["3<&-", "3<\"$0\"", "3</dev/zero", "3<&0"] {
        let out = run_with(link);
        assert_eq!(out.status.code(), Some(1), "{link}: {out:?}");
        assert!(out.stdout.is_empty() && out.stderr.is_empty(), "{link}: {out:?}");
    }
}
