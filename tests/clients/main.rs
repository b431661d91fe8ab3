//! What people connect with, each doing what its user would (issue 4, "Interop"). The run makes
//! `docs/clients.md`: a row is there only if its script passed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "test support code"
)]

mod cases;
#[path = "../scratch/mod.rs"]
#[allow(dead_code, reason = "shared by several tests")]
mod scratch;
#[path = "../support/mod.rs"]
mod support;

use std::{fmt::Write as _, fs, path::Path, process::Command};

use support::{Door, Scratch, TerminalClient, root, run_bounded};

use cases::CASES;

/// One client doing one thing.
struct Case {
    client: &'static str,
    /// Debian's package.
    package: &'static str,
    /// Follows "the user …" in the page.
    does: &'static str,
    /// Runs under `bash -euo pipefail` in an empty directory on the client's side.
    script: &'static str,
}

const HEAD: &str = "# Clients\n\n<!-- Made by `BLESS=1 tests/all clients` (tests/clients): do not edit. -->\n\n\
    Each row is a script of [tests/clients/cases.rs](../tests/clients/cases.rs) that runs in every run of the tests, \
    with Debian's package of the client, against a door as `cellblock try` brings it up.\n\n\
    | client | Debian's package | what it did |\n|---|---|---|\n";

#[test]
fn every_client_does_what_its_user_would() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let chosen = std::env::var("CLIENT").unwrap_or_default();
    let mut page = HEAD.to_owned();
    let mut failed = Vec::new();
    for case in CASES.iter().filter(|case| case.client.contains(&chosen)) {
        let dir = Scratch::new();
        let ran = run_bounded(script(&door, &dir, case.script), b"");
        if ran.status == 0 {
            writeln!(page, "| {} | `{}` | {} |", case.client, case.package, case.does).unwrap();
        } else {
            failed.push(format!("{} ({}): status {}\n{}{}", case.client, case.does, ran.status, ran.text(), ran.err));
        }
    }
    assert!(failed.is_empty(), "{}\n{}", failed.join("\n---\n"), door.log());
    if chosen.is_empty() {
        scratch::compare_or_bless(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/clients.md"), &page);
    }
}

/// What every script finds: the key in each client's format, the door's host key, `$F` for ssh(1).
fn script(door: &Door, dir: &Scratch, script: &str) -> Command {
    let host_key = fs::read_to_string(door.dir.join("host_ed25519.pub")).unwrap();
    dir.write("known_hosts", &format!("[127.0.0.1]:{} {host_key}", door.port));
    dir.write(
        "prepare",
        r#"
        fingerprint=$(ssh-keygen -lf "$DOOR/host_ed25519.pub" | cut -d' ' -f2)
        as_dropbear() { dropbearconvert openssh dropbear "$KEY" id.dropbear 2>/dev/null; }
        as_putty() { puttygen "$KEY" -O private -o id.ppk; }
        "#,
    );
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &format!("source ./prepare\n{script}")]);
    bash.current_dir(dir.path());
    bash.env("HOME", dir.path()).env("KEY", door.dir.join("id")).env("DOOR", door.dir.path());
    bash.env("F", door.dir.join("ssh_config")).env("PORT", door.port.to_string());
    bash.env_remove("SSH_AUTH_SOCK").env_remove("LANG").env_remove("LC_ALL");
    bash
}

/// A full-screen program, and one that outlives the line, on a real terminal
#[test]
fn tmux_and_vim_live_through_a_dropped_line() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let client = |line: &str| {
        let mut command = door.ssh_command();
        command.env("TERM", "xterm-256color").args(["-tt", "-l", "alice", "door", line]);
        TerminalClient::start(command, 30, 100)
    };
    let mut first = client("tmux -f /dev/null new -s work");
    first.expect("[work]");
    first.send("echo pane-$((40 + 2))\r");
    first.expect("pane-42");
    first.send("vim -u NONE page\r");
    first.expect("VIM - Vi IMproved");
    first.send("iwritten in vim\u{1b}");
    first.expect("written in vim");
    // The line drops: nothing says goodbye.
    first.child.kill().unwrap();
    first.child.wait().unwrap();

    let mut second = client("tmux attach -t work");
    second.expect("written in vim");
    second.send(":wq\r");
    support::soon("vim wrote the page", || door.run("alice", "cat page").text() == "written in vim");
    second.send("exit\r");
    second.expect("[exited]");
    assert!(second.child.wait().unwrap().success());
}
