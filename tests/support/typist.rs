//! `ssh` with somebody who types: what it asks for is answered by a program (`SSH_ASKPASS`).

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use super::{Door, Ran, run_bounded};

/// Answers in turn, whatever is asked; what was asked goes to `asked` in the door's directory.
const ASKPASS: &str = r#"#!/bin/sh
printf '%s\n' "$1" >> "$TYPIST_DIR/asked"
n=$(wc -l < "$TYPIST_DIR/asked")
sed -n "${n}p" "$TYPIST_DIR/answers"
"#;

impl Door {
    /// `ssh` as `user` that tries `methods` and types `answers`; a command and options can be added.
    pub fn typist(&self, user: &str, methods: &str, answers: &[&str]) -> Command {
        let askpass = self.dir.join("askpass");
        fs::write(&askpass, ASKPASS).unwrap();
        fs::set_permissions(&askpass, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(self.dir.join("answers"), answers.join("\n") + "\n").unwrap();
        fs::write(self.dir.join("asked"), "").unwrap();
        let mut command = self.ssh_command();
        command.env("SSH_ASKPASS", &askpass).env("SSH_ASKPASS_REQUIRE", "force").env("TYPIST_DIR", self.dir.path());
        command.args(["-o", "BatchMode=no", "-o", "NumberOfPasswordPrompts=1"]);
        command.args(["-o", &format!("PreferredAuthentications={methods}"), "-l", user, "door"]);
        command
    }

    /// Logs in so, and runs `echo in`.
    pub fn types(&self, user: &str, methods: &str, answers: &[&str]) -> Ran {
        let mut command = self.typist(user, methods, answers);
        command.arg("echo in");
        run_bounded(command, b"")
    }

    /// What the last [`typist`](Self::typist) was asked.
    pub fn asked(&self) -> Vec<String> {
        fs::read_to_string(self.dir.join("asked")).unwrap().lines().map(str::to_owned).collect()
    }
}
