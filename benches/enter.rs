//! `cellblock enter`, beside bwrap, no jail at all, and sshd alone (issue 5, "What it must show").
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
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

/// `bwrap … true`, as root of the host.
fn bwrap() -> Command {
    let mut command = Command::new("bwrap");
    command.args(["--unshare-all", "--bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "true"]);
    command
}

/// `cellblock enter alice -- …`, as root of the host, who needs no account.
fn enter(host: &Host) -> Vec<String> {
    let socket = host.door.dir.join("run/enter.sock").display().to_string();
    let program = support::program("cellblock").display().to_string();
    [&program, "enter", "--socket", &socket, "alice", "--"].map(str::to_owned).to_vec()
}

/// `cat FILE | COMMAND`, on the host.
fn fed(file: &str, command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("cat {file} | {command}")]);
    shell
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
    let (theirs, own) = table::interleaved(
        ROUNDS,
        || succeeds(bwrap()),
        || {
            let words = enter(&host);
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]).arg("true");
            succeeds(command);
        },
    );
    table::line("enter … true / bwrap", theirs.as_secs_f64() * ms, own.as_secs_f64() * ms, "ms", 0.5);
    let (theirs, own) = table::interleaved(
        LARGE_ROUNDS,
        || succeeds(fed(&large, "sha256sum")),
        || succeeds(fed(&large, &format!("{} sha256sum", enter(&host).join(" ")))),
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
