//! Classes that are for one program (threats.md, 5.C): what talks its way past such a command is in the
//! jail all the same, and finds there what its tenant has and no more.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test support code"
)]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use support::{Door, procfs, root, run_bounded, until};

/// What rssh, scponly and their like let through, as a forced command: a program by its name.
const FILTER: &str = r#"command = '''case "$SSH_ORIGINAL_COMMAND" in "rsync --server"*|"scp "*|"echo "*|"awk "*) eval "$SSH_ORIGINAL_COMMAND";; *) echo refused; exit 1;; esac'''"#;

/// The same by somebody careful: words are split with no shell, so that neither `;` nor `$()` says anything, and
/// variables before the program's name are no name.
const EXACT: &str = r#"command = '''printf %s "$SSH_ORIGINAL_COMMAND" | xargs sh -c 'for word; do case "$word" in *=*) ;; rsync|scp|tar|svn|unison|busybox|env|awk) exec env "$@" ;; *) break ;; esac; done; echo refused; exit 1' filter'''"#;

/// A program that writes who and where it is to `~/got`, and reads what only host root can.
fn report(secret: &str) -> String {
    // One name at a time: busybox's readlink takes no more.
    let links = ["user", "mnt", "pid"].map(|name| format!("readlink /proc/self/ns/{name}")).join("; ");
    format!("(id -u; {links}; cat {secret}) >~/got 2>&1")
}

/// A door for alice, with this filter; a file that only root of the host can read; and what [`report`] writes.
fn filtered(filter: &str) -> (Door, String, PathBuf) {
    let door = Door::with("[defaults]\nroot = \"host\"\nallow = [\"exec\", \"env\"]\n").tenant("alice", filter).start();
    let secret = door.dir.write("secret", "the host's own");
    let got = door.dir.join("state/tenants/alice/home/got");
    assert_eq!(door.run("alice", "id").text(), "refused", "the filter is one");
    (door, report(&secret.display().to_string()), got)
}

/// That `line` ran the report, and that it found itself in the jail.
fn is_past_the_filter_and_in_the_jail(door: &Door, got: &Path, line: &str) {
    let host = procfs::namespaces(std::process::id().try_into().unwrap());
    fs::remove_file(got).ok();
    let ran = door.run("alice", line);
    let said = fs::read_to_string(got)
        .unwrap_or_else(|why| panic!("{line} gets past nothing: {why}; {}{}", ran.text(), ran.err));
    assert!(said.starts_with("1000\n"), "{line}: {said}");
    assert!(!said.contains("the host's own") && said.contains("No such file"), "{line}: {said}");
    let own: Vec<_> = said.lines().filter(|line| line.contains(":[")).collect();
    assert!(own.len() == 3 && own.iter().all(|link| !host.contains(*link)), "{line}: {said}");
}

/// CVE-2016-6902, CVE-2016-6903 (lshell): line ends and functions that a filter does not know: "it must hold by the
/// jail, not by parsing"
#[test]
fn what_gets_past_a_filter_of_commands_is_still_in_the_jail() {
    if !root() {
        return;
    }
    let (door, report, got) = filtered(FILTER);
    let attempts = [
        format!("scp -o 'ProxyCommand=sh -c \"{report}\"' x:y /tmp"),
        format!("rsync --server . .; {report}"),
        format!("rsync --server x:y /tmp || {report}"),
        format!("echo $({report})"),
        format!("echo () {report}; echo"),
        format!("echo x\n{report}"),
        format!("awk 'BEGIN {{ system(\"{report}\") }}'"),
    ];
    for line in attempts {
        is_past_the_filter_and_in_the_jail(&door, &got, &line);
    }
}

/// CVE-2019-1000018, CVE-2019-3463, CVE-2019-3464, CVE-2012-2251, CVE-2012-2252, CVE-2012-3478 (rssh),
/// CVE-2007-6415 (scponly), OpenClaw ("busybox multiplexer, GNU abbreviations, env prefix"): programs that run
/// others themselves: "allowed rsync with `-e sh` gives a shell in the jail only"
#[test]
fn what_an_allowed_program_runs_is_still_in_the_jail() {
    if !root() {
        return;
    }
    let (door, report, got) = filtered(EXACT);
    let program = got.with_file_name("report");
    fs::write(&program, format!("#!/bin/sh\n{report}\n")).unwrap();
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    for nothing in
        ["rsync --version; sh report", "tar --version\nsh report", "env $(sh report)", "sh report", "X=y sh report"]
    {
        door.run("alice", nothing);
        assert!(!got.exists(), "the filter is one: {nothing}");
    }
    for line in [
        "rsync -e 'sh report' x:y z",
        "rsync --rsh='sh report' x:y z",
        "RSYNC_RSH='sh report' rsync x:y z",
        "env RSYNC_RSH='sh report' rsync x:y z",
        "scp -S ./report x:y z",
        "scp -o 'ProxyCommand=sh report' x:y z",
        "svn ls --config-option 'config:tunnels:x=sh report' svn+x://x/y",
        "SVN_SSH='sh report' svn ls svn+ssh://x/y",
        // Which asks its program for the host of this name.
        "unison -batch -sshcmd sh . ssh://report//x",
        "tar cf z --use-comp='sh report' report",
        "tar cf z --checkpoint=1 --checkpoint-act='exec=sh report' report",
        "busybox sh report",
        "busybox env sh report",
        "env sh report",
        "X=y env sh report",
        "X=y busybox ash report",
        "awk 'BEGIN { system(\"sh report\") }'",
    ] {
        is_past_the_filter_and_in_the_jail(&door, &got, line);
    }
}

/// "noexec/empty root gives none": a class without commands has none to talk past
#[test]
fn a_class_for_files_alone_starts_no_program_whatever_is_asked() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\nallow = [\"sftp\"]\n").tenant("alice", "").start();
    for line in ["id", "scp -t /tmp", "rsync --server . .", "/usr/lib/openssh/sftp-server", "", "sftp"] {
        let mut command = door.ssh("alice");
        command.arg("-n").arg(line);
        let ran = run_bounded(command, b"");
        assert_ne!(ran.status, 0, "{line}");
        assert!(ran.out.is_empty(), "{line}: {}", ran.text());
    }
    for options in [&["-tt"][..], &["-A"], &["-o", "SetEnv=LC_ALL=x"], &["-W", "localhost:1"], &["-R", "0:localhost:1"]]
    {
        let mut command = door.ssh_command();
        command.args(["-o", "ExitOnForwardFailure=yes"]).args(options).args(["-l", "alice", "door"]);
        if !options.contains(&"-W") {
            command.arg("id");
        }
        let ran = run_bounded(command, b"");
        assert!(ran.status != 0 && !ran.text().contains("uid="), "{options:?}: {}", ran.text());
    }
    assert!(!door.audit().iter().any(|event| event["event"] == "session_start"));
}

/// CVE-2017-8386 (git-shell): "`--help` → pager → shell": the class of examples/git-only.toml has no
/// terminal that a pager could read commands from
#[test]
fn git_alone_leads_to_no_pager_and_no_shell() {
    if !root() {
        return;
    }
    let lines = "allow = [\"exec\", \"env\"]\ncommand = 'git-shell -c \"$SSH_ORIGINAL_COMMAND\"'\nmotd = false";
    let door = Door::with("[defaults]\nroot = \"host\"\n").tenant("git", lines).start();
    let got = door.dir.join("state/tenants/git/home/got");
    for line in [
        "git-upload-pack '--help'",
        "git-receive-pack '--help'",
        "git-upload-archive '--help'",
        "git upload-pack --help",
        "cvs server --help",
        "sh -c 'touch ~/got'",
        "git-upload-pack '.;touch ~/got'",
        "git-upload-pack '$(touch ~/got)'",
        "git-upload-pack '`touch ~/got`'",
        "git-upload-pack '--exec=touch ~/got' x",
    ] {
        let mut command = door.ssh_command();
        command.args(["-tt", "-l", "git", "door", line]);
        let ran = run_bounded(command, b"!touch ~/got\n:!touch ~/got\nq\n");
        assert_ne!(ran.status, 0, "{line}");
        assert!(!got.exists(), "{line}");
        let pager = |pid: &i32| matches!(procfs::name(*pid).as_str(), "less" | "more" | "man" | "pager");
        assert!(until(std::time::Duration::from_secs(5), || !door.processes().iter().any(pager)), "{line}");
    }
}
