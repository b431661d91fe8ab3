//! One GiB down and up through a session beside Debian's sshd (issue 4, "How fast").
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

use std::process::{Command, Stdio};

use support::Door;

const ROUNDS: usize = 7;
const BYTES: &str = "1073741824";

fn ssh(door: &Door, cipher: &str, line: &str) -> Command {
    let mut command = door.ssh_command();
    command.args(["-c", cipher, "-l", door.login("alice"), "door", line]);
    command
}

/// To nowhere, so that what is measured is not who reads it from the client, which is the same for both.
fn down(door: &Door, cipher: &str) {
    let mut command = ssh(door, cipher, &format!("head -c {BYTES} /dev/zero"));
    assert!(command.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap().success(), "{}", door.log());
}

/// That the bytes of [`down`] arrive.
fn check_down(door: &Door, cipher: &str) {
    let mut command = ssh(door, cipher, &format!("head -c {BYTES} /dev/zero"));
    let mut client = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let counted = std::io::copy(client.stdout.as_mut().unwrap(), &mut std::io::sink()).unwrap();
    assert!(client.wait().unwrap().success() && counted.to_string() == BYTES, "{counted}\n{}", door.log());
}

fn up(door: &Door, cipher: &str) {
    let mut zeros = Command::new("head").args(["-c", BYTES, "/dev/zero"]).stdout(Stdio::piped()).spawn().unwrap();
    let out = ssh(door, cipher, "wc -c").stdin(zeros.stdout.take().unwrap()).output().unwrap();
    zeros.wait().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), BYTES, "{}", door.log());
}

fn main() {
    let (sshd, ours) = (Door::sshd(), Door::standard());
    let keep = ours.spawn("alice", "echo up; exec sleep 100000");
    assert_eq!(keep.line(), "up");
    table::head("sshd");
    for (cipher, at_most) in [
        ("aes128-gcm@openssh.com", 1.0 / 1.5),
        ("aes256-gcm@openssh.com", 1.0 / 1.5),
        ("chacha20-poly1305@openssh.com", 1.0 / 1.6),
    ] {
        let name = cipher.split('@').next().unwrap();
        check_down(&sshd, cipher);
        check_down(&ours, cipher);
        let (theirs, own) = table::interleaved(ROUNDS, || down(&sshd, cipher), || down(&ours, cipher));
        table::line(&format!("1 GiB down, {name}"), theirs.as_secs_f64(), own.as_secs_f64(), "s", at_most);
        let (theirs, own) = table::interleaved(ROUNDS, || up(&sshd, cipher), || up(&ours, cipher));
        table::line(&format!("1 GiB up, {name}"), theirs.as_secs_f64(), own.as_secs_f64(), "s", 1.0 / 1.2);
    }
    println!("medians of {ROUNDS} interleaved rounds");
}
