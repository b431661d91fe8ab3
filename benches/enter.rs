//! `cellblock enter`, beside bwrap, no jail at all, and sshd alone (issue 5, "What it must show").
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "measuring code: a panic is a failed run"
)]

#[path = "support/table.rs"]
mod table;

use std::{
    ffi::{OsStr, OsString},
    fs,
    process::{Command, Stdio},
};

use support::{Host, Scratch};

const ROUNDS: usize = 100;
const LARGE_ROUNDS: usize = 5;

fn succeeds(mut command: Command) {
    assert!(command.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap().success(), "{command:?}");
}

/// `bwrap … true`, from the same namespace and by the same account as `enter`, which costs both the same.
fn bwrap(host: &Host) -> Command {
    host.on_host(
        "alice",
        &["bwrap", "--unshare-all", "--bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "true"],
    )
}

/// `cat FILE | COMMAND`, on the host.
fn fed(host: &Host, file: &str, command: &str) -> Command {
    host.as_root(&["sh", "-c", &format!("cat {file} | {command}")])
}

/// The words of `ssh … true` to the newest sshd of this host.
fn client(host: &Host) -> Vec<OsString> {
    let mut command = host.ssh("alice");
    command.arg("true");
    command.get_args().map(OsStr::to_owned).collect()
}

fn main() {
    let scratch = Scratch::new();
    let large = scratch.join("large").display().to_string();
    fs::write(&large, vec![7; 1 << 30]).unwrap();
    let mut host = Host::start("limits.memory = \"4G\"", "");
    // Holds the cell open.
    let mut keep = host.enter("alice", &["--", "sleep", "100000"]).stdin(Stdio::null()).spawn().unwrap();
    host.entered("alice", &["--", "true"]);
    let ours = client(&host);
    // The same sshd without our lines: the account's own shell runs on the host.
    host.another_sshd("internal-sftp", Some(""));
    let alone = client(&host);

    table::head("rival");
    let ms = 1e3;
    let (theirs, own) =
        table::interleaved(ROUNDS, || succeeds(bwrap(&host)), || succeeds(host.enter("alice", &["--", "true"])));
    table::line("enter … true / bwrap", theirs.as_secs_f64() * ms, own.as_secs_f64() * ms, "ms", 0.5);
    let (theirs, own) = table::interleaved(
        LARGE_ROUNDS,
        || succeeds(fed(&host, &large, "sha256sum")),
        || succeeds(fed(&host, &large, "cellblock enter alice -- sha256sum")),
    );
    table::line("1 GiB to sha256sum / without us", theirs.as_secs_f64(), own.as_secs_f64(), "s", 1.1);
    let ssh = |words: &[OsString]| {
        let mut command = Command::new("ssh");
        command.args(words);
        succeeds(command);
    };
    let (theirs, own) = table::interleaved(ROUNDS / 2, || ssh(&alone), || ssh(&ours));
    table::line("ssh … true, sshd alone", theirs.as_secs_f64() * ms, own.as_secs_f64() * ms, "ms", 1.1);
    println!("medians of {ROUNDS}, {LARGE_ROUNDS} and {} interleaved rounds", ROUNDS / 2);
    keep.kill().unwrap();
    keep.wait().unwrap();
}
