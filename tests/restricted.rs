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

use std::fs;

use support::{Door, procfs, root, run_bounded, until};

/// What rssh, scponly and their like let through, as a forced command: a program by its name.
const FILTER: &str = r#"command = '''case "$SSH_ORIGINAL_COMMAND" in "rsync --server"*|"scp "*|"echo "*|"awk "*) eval "$SSH_ORIGINAL_COMMAND";; *) echo refused; exit 1;; esac'''"#;

/// A program that writes who and where it is to `~/got`, and reads what only host root can.
fn report(secret: &str) -> String {
    format!("(id -u; readlink /proc/self/ns/user /proc/self/ns/mnt /proc/self/ns/pid; cat {secret}) >~/got 2>&1")
}

/// CVE-2019-1000018, CVE-2019-3463, CVE-2019-3464, CVE-2012-2251, CVE-2012-2252, CVE-2012-3478 (rssh),
/// CVE-2007-6415 (scponly), CVE-2016-6902, CVE-2016-6903 (lshell): "it must hold by the jail, not by
/// parsing: allowed rsync with `-e sh` gives a shell in the jail only"
#[test]
fn what_gets_past_a_filter_of_commands_is_still_in_the_jail() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\nallow = [\"exec\", \"env\"]\n").tenant("alice", FILTER).start();
    let secret = door.dir.join("secret");
    fs::write(&secret, "the host's own").unwrap();
    let report = report(&secret.display().to_string());
    let got = door.dir.join("state/tenants/alice/home/got");
    assert_eq!(door.run("alice", "id").text(), "refused", "the filter is one");
    let host = procfs::namespaces(std::process::id().try_into().unwrap());
    let attempts = [
        format!("scp -o 'ProxyCommand=sh -c \"{report}\"' x:y /tmp"),
        format!("rsync --server -e 'sh -c \"{report}\"' . x:y; {report}"),
        format!("rsync --server --rsh='sh -c \"{report}\"' x:y /tmp || {report}"),
        format!("echo $({report})"),
        format!("echo () {report}; echo"),
        format!("echo x\n{report}"),
        format!("awk 'BEGIN {{ system(\"{report}\") }}'"),
    ];
    for line in attempts {
        fs::remove_file(&got).ok();
        door.run("alice", &line);
        let said = fs::read_to_string(&got).unwrap_or_else(|why| panic!("{line} gets past nothing: {why}"));
        assert!(said.starts_with("1000\n"), "{line}: {said}");
        assert!(!said.contains("the host's own") && said.contains("No such file"), "{line}: {said}");
        let own: Vec<_> = said.lines().filter(|line| line.contains(":[")).collect();
        assert!(own.len() == 3 && own.iter().all(|link| !host.contains(*link)), "{line}: {said}");
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
