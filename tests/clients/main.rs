//! What people connect with, each doing what its user would (issue 4, "Interop"). `docs/clients.md`
//! is made from the same table.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test support code"
)]

mod cases;
mod page;
mod terminal;

use std::{fs, process::Command};

use support::{Door, Scratch, free_port, root, run_bounded};

/// One client doing one thing.
struct Case {
    client: &'static str,
    /// Debian's package.
    package: &'static str,
    does: &'static str,
    /// What to know before using it; empty if there is nothing.
    note: &'static str,
    /// Lines for `[server]` that it needs.
    server: &'static str,
    /// Runs under `bash -euo pipefail` in an empty directory of the client's machine, which is its home.
    script: &'static str,
}

/// What every script finds: a key in each client's form, and the door's host key.
const PREPARE: &str = r#"
fingerprint=$(ssh-keygen -lf "$DOOR/host_ed25519.pub" | cut -d' ' -f2)
as_dropbear() { dropbearconvert openssh dropbear "$KEY" id.dropbear 2>/dev/null; }
as_putty() { puttygen "$KEY" -O private -o id.ppk; }
"#;

impl Case {
    fn run(&self) {
        if !root() {
            return;
        }
        let door = Door::with("[defaults]\nroot = \"host\"\n").server(self.server).tenant("alice", "").start();
        let home = Scratch::new();
        let host_key = fs::read_to_string(door.dir.join("host_ed25519.pub")).unwrap();
        home.write("known_hosts", &format!("[127.0.0.1]:{} {host_key}", door.port));
        let mut bash = Command::new("bash");
        // From tracing, the last line shown is the one that failed.
        bash.args(["-xeuo", "pipefail", "-c", &format!("{PREPARE}{}", self.script)]).current_dir(home.path());
        bash.env("HOME", home.path()).env("DOOR", door.dir.path()).env("KEY", door.dir.join("id"));
        bash.env("F", door.dir.join("ssh_config")).env("PORT", door.port.to_string());
        bash.env("FREE_PORT", free_port().to_string());
        for inherited in ["SSH_AUTH_SOCK", "LANG", "LC_ALL"] {
            bash.env_remove(inherited);
        }
        let ran = run_bounded(bash, b"");
        assert_eq!(ran.status, 0, "{} ({})\n{}\n{}\n{}", self.client, self.package, ran.text(), ran.err, door.log());
    }
}
