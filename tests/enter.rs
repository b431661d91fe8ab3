//! "One table of login scenarios runs through our door and through a real sshd with ForceCommand and with the
//! login shell, and the outcomes are equal" (issue 5).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test support code"
)]

use std::{fs, process::Command};

use support::{Host, Ran, Scratch, TerminalClient, root, run_bounded, soon};

/// Three ways to the tenant alice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Ssh,
    ForceCommand,
    LoginShell,
}

const WAYS: [Way; 3] = [Way::Ssh, Way::ForceCommand, Way::LoginShell];

impl Way {
    /// `ssh` of a user that is alice, to which options and a command can be added.
    fn ssh(self, host: &Host) -> Command {
        match self {
            Self::Ssh => host.door.ssh("alice"),
            Self::ForceCommand => host.ssh("alice"),
            Self::LoginShell => host.ssh("alice-sh"),
        }
    }

    /// A client of OpenSSH's, and what it is to call the host.
    fn client(self, host: &Host, program: &str) -> (Command, &'static str) {
        let mut command = Command::new(program);
        command.arg("-F").arg(host.door.dir.join("ssh_config"));
        match self {
            Self::Ssh => (command, "alice@host"),
            Self::ForceCommand => (host.client(program), "alice@host"),
            Self::LoginShell => (host.client(program), "alice-sh@host"),
        }
    }

    fn run(self, host: &Host, line: &str) -> Ran {
        self.run_with(host, line, b"")
    }

    fn run_with(self, host: &Host, line: &str, input: &[u8]) -> Ran {
        let mut command = self.ssh(host);
        command.arg(line);
        run_bounded(command, input)
    }

    fn ok(self, host: &Host, line: &str) -> String {
        let ran = self.run(host, line);
        assert_eq!(ran.status, 0, "{self:?} {line}: {}\n{}\n{}", ran.err, host.sshd_log(), host.door.log());
        ran.text()
    }
}

/// What each way makes of `line` is what our own door makes of it.
fn alike(host: &Host, line: &str, input: &[u8]) {
    let all = WAYS.map(|way| {
        let ran = way.run_with(host, line, input);
        (ran.status, ran.text(), ran.err)
    });
    assert_eq!(all[1], all[0], "ForceCommand: {line:?}");
    assert_eq!(all[2], all[0], "login shell: {line:?}");
}

/// "exactly `sh -c` semantics as sshd has them: quotes, newlines, `$()`, UTF-8, trailing backslash, empty"
#[test]
fn commands_mean_the_same_by_every_way() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let lines = [
        "echo a  b 'c  d' \"e  f\"",
        "date >/dev/null && date >/dev/null; echo $?",
        "echo one; echo two && false || echo three",
        "echo first\necho second",
        "echo $(echo nested $(echo deeper))",
        "printf '%s' 'grüße 你好' | od -An -tx1",
        "echo trailing\\",
        "printf '%s\\n' \\\\ \\$HOME '$HOME'",
        "echo \"$HOME $USER $SHELL\"; id -un; pwd",
        "echo out; echo err >&2",
        "echo gone >/dev/stderr; echo here >/dev/stdout",
        "'unterminated",
        "echo \"$0\" \"$#\"",
        " \t ",
        "#",
        "no-such-program",
        "cat; echo; wc -c </dev/null",
    ];
    for line in lines {
        alike(&host, line, b"what comes in\n");
    }
    for status in [0, 1, 2, 122, 126, 127, 128, 254, 255] {
        alike(&host, &format!("exit {status}"), b"");
    }
}

/// sshd tells its client of a signal, which ssh(1) ends with 255 for
#[test]
fn a_death_by_signal_arrives_as_one_by_every_way() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    for way in WAYS {
        for signal in ["TERM", "KILL", "SEGV", "HUP"] {
            let mut command = way.ssh(&host);
            command.args(["-vv", &format!("kill -{signal} $$")]);
            let ran = run_bounded(command, b"");
            assert_eq!(ran.status, 255, "{way:?} {signal}: {}", ran.err);
            assert!(ran.err.contains("exit-signal"), "{way:?} {signal}: {}", ran.err);
        }
    }
}

/// What tells where somebody comes from is the connection's, and nothing that a client sets gets in but what the
/// config lets in
#[test]
fn the_environment_is_the_same_by_every_way() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let all = WAYS.map(|way| {
        let mut command = way.ssh(&host);
        command.env("LANG", "C.UTF-8").env("EVIL", "1").args(["-o", "SendEnv=LANG EVIL"]);
        command.arg("env | grep -v '^SSH_\\|^_=\\|^SHLVL=' | LC_ALL=C sort");
        run_bounded(command, b"").text()
    });
    assert!(all[0].contains("LANG=C.UTF-8") && all[0].contains("HOME=/home/alice"), "{}", all[0]);
    assert!(!all[0].contains("EVIL"), "{}", all[0]);
    assert_eq!(all[1], all[0]);
    assert_eq!(all[2], all[0]);
    for way in WAYS {
        let words = way.ok(&host, "echo $SSH_CONNECTION; echo ${SSH_ORIGINAL_COMMAND-unset}");
        let (connection, original) = words.split_once('\n').unwrap();
        assert!(connection.starts_with("127.0.0.1 ") && connection.split(' ').count() == 4, "{way:?} {words}");
        assert_eq!(original, "unset", "{way:?}");
    }
}

/// One cell: what runs by one way is there by the others
#[test]
fn all_ways_lead_into_one_cell() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let running = host.door.spawn("alice", "echo up; exec sleep 1000");
    assert_eq!(running.line(), "up");
    let cells = WAYS.map(|way| way.ok(&host, "touch ~/$$.seen; readlink /proc/self/ns/pid"));
    assert!(cells.iter().all(|cell| *cell == cells[0]), "{cells:?}");
    assert_eq!(Way::Ssh.ok(&host, "ls ~ | grep -c seen"), "3");
    assert_ne!(host.run("bob", "readlink /proc/self/ns/pid").text(), cells[0]);
}

/// "Terminals: a terminal of the cell relayed with modes, size changes, signals and job control right"
#[test]
fn a_terminal_is_like_the_clients_by_every_way() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    for way in WAYS {
        let mut command = way.ssh(&host);
        command.env("TERM", "xterm-256color").args([
            "-tt",
            "tty; stty size; echo $TERM; stty -a | tr ';' '\\n' | grep erase; trap 'stty size' WINCH; trap 'echo interrupted; exit 3' INT; \
             echo ready; while :; do sleep 0.1; done",
        ]);
        let mut client = TerminalClient::start(command, 33, 101);
        client.expect("ready");
        let shown = client.shown();
        assert!(
            shown.contains("/dev/pts/0") && shown.contains("33 101") && shown.contains("xterm-256color"),
            "{way:?} {shown}"
        );
        assert!(shown.contains("erase = ^?"), "{way:?} {shown}");
        client.resize(40, 120);
        client.expect("40 120");
        client.send("\u{3}");
        client.expect("interrupted");
        assert_eq!(client.wait(), 3, "{way:?}");
    }
}

#[test]
fn a_login_shell_is_one_by_every_way() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    for way in WAYS {
        let mut command = way.ssh(&host);
        command.arg("-tt");
        let mut client = TerminalClient::start(command, 24, 80);
        client.expect("$ ");
        client.send("echo \"<$0>\" \"<$(jobs)>\"; sleep 100 &\n");
        client.expect("<-bash>");
        client.send("sh -c 'echo in''side; exec sleep 1000'\n");
        client.expect("inside");
        client.send("\u{1a}");
        client.expect("Stopped");
        client.send("kill -9 %1 %2; disown -a; exit 5\n");
        soon(&format!("{way:?} ends"), || client.child.try_wait().unwrap().is_some());
        assert_eq!(client.wait(), 5, "{way:?}");
    }
}

/// "sftp, scp, rsync, git through sshd end in the cell"
#[test]
fn files_go_into_the_cell_by_every_way() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let scratch = Scratch::new();
    let bytes: Vec<u8> = (0..700_001_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let file = scratch.join("file");
    fs::write(&file, &bytes).unwrap();
    let ok = |mut command: Command, input: &str| {
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        let shown = format!("{command:?}");
        let ran = run_bounded(command, input.as_bytes());
        assert_eq!(ran.status, 0, "{shown}: {}\n{}\n{}", ran.text(), ran.err, host.sshd_log());
        ran.text()
    };
    for (number, way) in WAYS.into_iter().enumerate() {
        let (mut sftp, at) = way.client(&host, "sftp");
        sftp.args(["-q", "-b", "-", at]);
        let out = ok(sftp, &format!("put {} sftp{number}\npwd\nls /home\n", file.display()));
        assert!(out.contains("/home/alice") && !out.contains("bob"), "{way:?} {out}");

        for (protocol, name) in [("-O", "old"), ("-s", "new")] {
            let (mut scp, at) = way.client(&host, "scp");
            scp.args(["-q", protocol]).arg(&file).arg(format!("{at}:{name}{number}"));
            ok(scp, "");
            let back = scratch.join(&format!("{name}{number}"));
            let (mut scp, at) = way.client(&host, "scp");
            scp.args(["-q", protocol]).arg(format!("{at}:{name}{number}")).arg(&back);
            ok(scp, "");
            assert!(fs::read(back).unwrap() == bytes, "{way:?} scp {protocol}");
        }

        let (client, at) = way.client(&host, "ssh");
        let words: Vec<_> = client.get_args().map(|word| word.to_str().unwrap().to_owned()).collect();
        let remote = format!("ssh {}", words.join(" "));
        let mut rsync = Command::new("rsync");
        rsync.args(["-a", "-e", &remote]).arg(&file).arg(format!("{at}:rsync{number}"));
        ok(rsync, "");
        assert_eq!(
            way.ok(&host, &format!("cat sftp{number} old{number} new{number} rsync{number} | wc -c")),
            (4 * bytes.len()).to_string()
        );

        way.ok(&host, &format!("git init -q --bare repo{number}.git"));
        let tree = scratch.join(&format!("tree{number}"));
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("a"), "a").unwrap();
        let git = |words: &[&str]| {
            let mut git = Command::new("git");
            git.env("GIT_SSH_COMMAND", &remote).arg("-C").arg(&tree);
            git.args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]).args(words);
            git
        };
        ok(git(&["init", "-q"]), "");
        ok(git(&["add", "a"]), "");
        ok(git(&["commit", "-qm", "a"]), "");
        ok(git(&["push", "-q", &format!("ssh://{at}/home/alice/repo{number}.git"), "HEAD:main"]), "");
        assert_eq!(way.ok(&host, &format!("git -C repo{number}.git log --format=%s main")), "a");
    }
}

/// Policy is one for all doors: `allow`, `command`, terminals
#[test]
fn what_is_switched_off_is_off_by_every_way() {
    if !root() {
        return;
    }
    let host = Host::start("allow = [\"exec\", \"sftp\"]\n", "");
    for way in WAYS {
        let ran = run_bounded(way.ssh(&host), b"echo ran\n");
        assert!(ran.status == 255 && !ran.text().contains("ran"), "{way:?}: a shell: {} {}", ran.status, ran.text());
        // A terminal is refused, and the command runs without one. (ssh(1) with -tt gives up there.)
        if way == Way::Ssh {
            continue;
        }
        let mut command = way.ssh(&host);
        command.args(["-t", "-t", "tty; echo $?"]);
        let mut client = TerminalClient::start(command, 24, 80);
        client.expect("no terminal is given to this account");
        client.expect("not a tty");
        assert_eq!(client.wait(), 0, "{way:?}");
    }
    drop(host);
    let host = Host::start("command = \"echo forced: $SSH_ORIGINAL_COMMAND\"\n", "");
    for line in ["id; id", "internal-sftp -R", "a  'b"] {
        alike(&host, line, b"");
    }
    assert_eq!(Way::ForceCommand.ok(&host, "x y"), "forced: x y");
}

#[test]
fn limits_are_told_alike_by_every_way() {
    if !root() {
        return;
    }
    let host = Host::start("limits = { memory = \"64M\" }\n", "");
    for way in WAYS {
        let ran = way.run(&host, "exec tail /dev/zero");
        assert_eq!(ran.status, 122, "{way:?}: {}", ran.err);
        assert!(
            ran.err.contains("memory limit reached (64M for all of your sessions together)"),
            "{way:?}: {}",
            ran.err
        );
    }
}

/// A cell that cannot be made: nobody gets in elsewhere instead, and all learn as much
#[test]
fn a_broken_jail_is_told_alike_by_every_way() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = scratch.join("root");
    fs::create_dir(&tree).unwrap();
    let host = Host::start(&format!("root = {:?}\n", tree.display().to_string()), "");
    fs::remove_dir(&tree).unwrap();
    for way in WAYS {
        let ran = way.run(&host, "echo in");
        assert_eq!((ran.status, ran.text().as_str()), (255, ""), "{way:?}: {}", ran.err);
        let told = "Your session could not be started. Please tell the administrator.";
        assert!(ran.err.contains(told), "{way:?}: {}\n{}", ran.err, host.door.log());
    }
}

/// Hours that are over by now, or have not come.
fn closed() -> String {
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let (from, to) = ((now.hour() + 11) % 24, (now.hour() + 12) % 24);
    format!("open = [\"{from:02}:00-{to:02}:00\"]\ntime_zone = \"Etc/UTC\"\n")
}

/// Here the doors differ: whoever has an account of the host may know why not
#[test]
fn whoever_is_locked_out_is_told_so_where_the_host_knows_them() {
    if !root() {
        return;
    }
    let host = Host::start("locked = true\n", &closed());
    assert_eq!(Way::Ssh.run(&host, "echo in").status, 255);
    for way in [Way::ForceCommand, Way::LoginShell] {
        let ran = way.run(&host, "echo in");
        assert_eq!((ran.status, ran.text().as_str()), (255, ""), "{way:?}");
        assert!(ran.err.contains("This account is locked."), "{way:?}: {}", ran.err);
    }
    for (account, sentence) in
        [("bob", "closed at this time"), ("mallory", "no tenant of cellblock"), ("trudy", "no tenant of cellblock")]
    {
        let ran = host.run(account, "echo in");
        assert_eq!((ran.status, ran.text().as_str()), (255, ""), "{account}");
        assert!(ran.err.contains(sentence), "{account}: {}", ran.err);
    }
}

/// "sftp skips the shell" (threats.md, 5.C): where a command is forced, it is forced for internal-sftp too
#[test]
fn internal_sftp_behind_a_forced_command_is_the_cells() {
    if !root() {
        return;
    }
    let mut host = Host::start("", "");
    for subsystem in ["internal-sftp", "internal-sftp -l INFO", "/usr/lib/openssh/sftp-server"] {
        host.another_sshd(subsystem, None);
        let mut sftp = host.client("sftp");
        sftp.args(["-q", "-b", "-", "alice@host"]);
        let ran = run_bounded(sftp, b"pwd\nls /home\n-ls /etc/shadow-\n");
        assert_eq!(ran.status, 0, "{subsystem}: {}", ran.err);
        assert!(ran.text().contains("Remote working directory: /home/alice"), "{subsystem}: {}", ran.text());
    }
    // An option that ours does not know is not left out: nothing is served.
    host.another_sshd("internal-sftp -d /etc", None);
    let mut sftp = host.client("sftp");
    sftp.args(["-q", "-b", "-", "alice@host"]);
    assert_ne!(run_bounded(sftp, b"pwd\n").status, 0);
}
