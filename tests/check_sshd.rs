//! "`check --sshd /etc/ssh/sshd_config` says which line leaks and what to write (it asks `sshd -T -C user=…`, it
//! does not parse by hand)" (issue 5); and what leaks does reach the host.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    dead_code,
    reason = "test support code"
)]

#[path = "scratch/mod.rs"]
mod golden;

use std::{fs, os::unix::fs::chown, path::Path};

use serde_json::Value;
use support::{Host, Ran, root, run_bounded, soon};

const OURS: &str = "/usr/local/sbin/cellblock enter --sftp";

/// sshd's config of this host, with our piece in it.
fn shipped(host: &Host) -> String {
    fs::read_to_string(host.door.dir.join("sshd_config")).unwrap()
}

/// `cellblock check --sshd` on this text; alice and bob are tenants, both in the group that our piece is for.
fn check(host: &Host, text: &str) -> Ran {
    let config = fs::read_to_string(host.door.dir.join("cellblock.toml")).unwrap();
    let config = config.replace("host_group = \"alices\"\n", "");
    check_by(host, &config, text)
}

fn check_by(host: &Host, config: &str, text: &str) -> Ran {
    let config = host.door.dir.write("checked.toml", config);
    let file = host.door.dir.write("checked_config", text);
    let words = ["cellblock", "--config", config.to_str().unwrap(), "check", "--sshd", file.to_str().unwrap()];
    run_bounded(host.as_root(&words), b"")
}

/// Where `line` stands in the text that is checked, as a finding says it.
fn at(host: &Host, text: &str, line: &str) -> String {
    let number = 1 + text.lines().position(|known| known == line).unwrap_or_else(|| panic!("{line}: {text}"));
    let column = 1 + line.len() - line.trim_start().len();
    format!("--> {}:{number}:{column}", host.door.dir.join("checked_config").display())
}

#[test]
fn the_shipped_config_leaks_nothing() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let ran = check(&host, &shipped(&host));
    assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{}", ran.text());
    assert!(ran.text().ends_with("checked_config: good, all that 2 accounts may do ends in a cell"), "{}", ran.text());
    // What Debian has in its own file changes nothing behind ForceCommand.
    let debian = "X11Forwarding yes\nAcceptEnv LANG LC_*\nSubsystem sftp /usr/lib/openssh/sftp-server\n";
    let ran = check(&host, &shipped(&host).replace(&format!("Subsystem sftp {OURS}\n"), debian));
    assert_eq!(ran.status, 0, "{}", ran.err);
    // Whoever is a tenant by their login shell alone has forwards, as sshd gives them to anybody.
    let config = fs::read_to_string(host.door.dir.join("cellblock.toml")).unwrap();
    let ran = check_by(&host, &config, &shipped(&host));
    assert_eq!(ran.status, 1);
    for line in ["listens there, for alice-sh: no line says otherwise", "3 leaks around the cells of 3 accounts"] {
        assert!(ran.err.contains(line), "{line}: {}", ran.err);
    }
}

#[test]
fn each_line_that_leaks_is_named_with_what_to_write_instead() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let shipped = shipped(&host);
    let swap = |from: &str, to: &str| {
        assert!(shipped.contains(from), "{from} is not in {shipped}");
        shipped.replace(from, to)
    };
    let piece = "Match Group tenants\n";
    // The text, the line that leaks, what is said of it, and a word of what to write.
    #[rustfmt::skip]
    let cases = [
        (swap("exec /usr/local/sbin/cellblock enter", "/bin/bash"), "    ForceCommand /bin/bash", "sshd runs `/bin/bash` for alice and bob", "ForceCommand exec"),
        (swap("exec /usr/local/sbin/cellblock", "cellblock"), "    ForceCommand cellblock enter", "in the PATH of alice and bob", "ForceCommand exec"),
        (swap("exec /usr/local/sbin/cellblock enter", "internal-sftp"), "    ForceCommand internal-sftp", "sshd itself serves alice and bob", "ForceCommand exec"),
        (swap("    DisableForwarding yes\n    AllowTcpForwarding no", "    AllowTcpForwarding local"), "    AllowTcpForwarding local", "connects to this host's network for alice and bob", "`AllowTcpForwarding no` instead"),
        (swap("    DisableForwarding yes\n    AllowTcpForwarding no\n", "").replace(piece, &format!("AllowTcpForwarding remote\n{piece}")), "AllowTcpForwarding remote", "listens in this host's network", "in a Match block"),
        (swap("    DisableForwarding yes\n", "").replace("AllowStreamLocalForwarding no", "AllowStreamLocalForwarding yes"), "    AllowStreamLocalForwarding yes", "unix sockets of this host", "AllowStreamLocalForwarding no"),
        (swap("AllowAgentForwarding no", "AllowAgentForwarding yes"), "    AllowAgentForwarding yes", "the ssh agent of alice and bob", "DisableForwarding closes it from OpenSSH 10.0 on only"),
        (swap("X11Forwarding no", "X11Forwarding yes"), "    X11Forwarding yes", "runs xauth there", "X11Forwarding no"),
        (swap("PermitTunnel no", "PermitTunnel ethernet"), "    PermitTunnel ethernet", "a network device of this host", "PermitTunnel no"),
        (swap("PermitUserEnvironment no", "PermitUserEnvironment yes"), "PermitUserEnvironment yes", "by ~/.ssh/environment", "outside of Match blocks"),
        (swap("AcceptEnv LANG LC_* EVIL", "AcceptEnv LANG \"LD_*\""), "AcceptEnv LANG \"LD_*\"", "sshd takes LD_PRELOAD from alice and bob", "take `LD_*` out of this line"),
        (swap(piece, &format!("Match User bob Address 10.0.0.0/8\n  X11Forwarding yes\n{piece}")), "  X11Forwarding yes", "for bob (from address 10.0.0.0)", "X11Forwarding no"),
    ];
    for (text, line, said, write) in &cases {
        let ran = check(&host, text);
        assert_eq!(ran.status, 1, "{line}: {}{}", ran.text(), ran.err);
        for words in [*said, *write, &at(&host, text, line), "checked_config: 1 leak around the cells of 2 accounts"] {
            assert!(ran.err.contains(words), "{line}: {words}: {}", ran.err);
        }
        assert!(ran.err.contains(&format!("{}\n", line.trim_end())) && ran.err.contains("^^^"), "{line}: {}", ran.err);
    }
}

/// Debian 12's service for sshd does so, and sshd passes on what comes of it, unasked
#[test]
fn variables_that_pam_takes_from_a_home_are_told_where_the_account_can_write_them() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let text = shipped(&host).replace("UsePAM no\n", "UsePAM yes\n");
    let service = |line: &str| {
        let line = format!("echo 'session required pam_env.so {line}' >/etc/pam.d/sshd");
        assert_eq!(run_bounded(host.as_root(&["sh", "-c", &line]), b"").status, 0);
    };
    service("user_readenv=0");
    let ran = check(&host, &text);
    assert_eq!(ran.status, 0, "{}", ran.err);
    service("user_readenv=1");
    let ran = check(&host, &text);
    // bob's home is not his to write in.
    for words in ["pam_env lets alice set LD_PRELOAD by ~/.pam_environment", "/etc/pam.d/sshd", "1 leak around"] {
        assert!(ran.status == 1 && ran.err.contains(words), "{words}: {}", ran.err);
    }
    let ran = check(&host, &shipped(&host));
    assert_eq!(ran.status, 0, "PAM is not asked: {}", ran.err);
}

/// The exact text, as an admin sees it
#[test]
fn many_leaks_are_told_in_the_order_of_the_files() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let dir = host.door.dir.path().display().to_string();
    host.door
        .dir
        .write("more.conf", "# Forwards for everybody\nAllowTcpForwarding yes\nGatewayPorts clientspecified\n");
    let text = format!(
        "HostKey {dir}/sshd_key\nInclude {dir}/more.conf\nSubsystem sftp internal-sftp -l INFO\n\
         AcceptEnv LANG BASH_ENV\nPermitUserRC yes\n\nMatch User alice\n\tAllowStreamLocalForwarding no\n\
         Match LocalPort 2222\n    ForceCommand exec /usr/sbin/cellblock enter\n"
    );
    let ran = check(&host, &text);
    let told = format!("exit status {}\n--- stderr\n{}\n", ran.status, ran.err.trim_end()).replace(&dir, "DIR");
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages/sshd/expected.txt");
    golden::compare_or_bless(&expected, &told);
}

#[test]
fn what_cannot_be_asked_or_trusted_is_no_pass() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let shipped = shipped(&host);
    let ran = check(&host, &format!("{shipped}Foo bar\n"));
    assert!(ran.status == 1 && ran.err.contains("Bad configuration option: Foo"), "{}", ran.err);
    assert!(ran.err.contains("hint: sshd -t -f "), "{}", ran.err);

    let words = ["cellblock", "check", "--sshd"];
    let ran = run_bounded(host.on_host("alice", &words), b"");
    assert!(ran.status == 1 && ran.err.contains("run it with sudo"), "{}", ran.err);

    // Whoever can write a part of sshd's config is as good as root.
    let theirs = host.door.dir.write("theirs.conf", "# nothing yet\n");
    chown(&theirs, Some(Host::uid("mallory")), None).unwrap();
    let ran = check(&host, &format!("Include {}\n{shipped}", theirs.display()));
    assert_eq!(ran.status, 1, "{}", ran.text());
    let uid = Host::uid("mallory");
    assert!(ran.err.contains(&format!("it belongs to uid {uid}, not to root: sshd does what it says")), "{}", ran.err);
    assert!(ran.err.contains(&format!("hint: chown root {}", theirs.display())), "{}", ran.err);

    let ran = check_by(&host, "[tenant.zoe]\nroot = \"host\"\n", &shipped);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(ran.text().contains("no account of this host is a tenant"), "{}", ran.text());
}

/// A real sshd with such a line lets a tenant reach the host, and `check` says so beforehand
#[test]
fn what_leaks_does_reach_the_host() {
    if !root() {
        return;
    }
    let mut host = Host::start("", "");
    let forced = "Match all\nForceCommand exec /usr/local/sbin/cellblock enter\n";
    let ssh_dir = host.home.join(".ssh");
    fs::create_dir(&ssh_dir).unwrap();
    let loader = |to: &str| format!("LD_DEBUG=statistics\nLD_DEBUG_OUTPUT={}/{to}\n", host.home.display());
    fs::write(ssh_dir.join("environment"), loader("by-file")).unwrap();
    fs::write(ssh_dir.join("rc"), format!("echo ran >{}/by-rc\n", host.home.display())).unwrap();
    // What sshd has for sftp, its lines, what is said of them, and whether that is so.
    type Reaches = fn(&Host) -> bool;
    let cases: [(&str, String, &str, Reaches); 6] = [
        (OURS, String::new(), "sshd gives alice and bob /bin/sh of this host", |host| {
            let own = fs::read_link("/proc/self/ns/pid").unwrap();
            host.run("alice", "readlink /proc/self/ns/pid").text() == own.to_str().unwrap()
        }),
        (OURS, String::new(), "sshd runs ~/.ssh/rc for alice and bob on this host", |host| {
            host.run("alice", "true");
            host.home.join("by-rc").exists()
        }),
        ("internal-sftp", String::new(), "sshd itself serves alice, alice-sh and bob the files of this host", |host| {
            let mut sftp = host.client("sftp");
            sftp.args(["-q", "-b", "-", "alice-sh@host"]);
            let line = format!("ls {}\n", host.door.dir.join("keys").display());
            run_bounded(sftp, line.as_bytes()).text().contains("/keys/mallory")
        }),
        (OURS, forced.into(), "connects to this host's network, and listens there, for alice", |host| {
            let mut ssh = host.client("ssh");
            ssh.args(["-W", &format!("127.0.0.1:{}", host.port), "-l", "alice", "host"]);
            run_bounded(ssh, b"").text().starts_with("SSH-2.0-OpenSSH")
        }),
        (OURS, format!("AcceptEnv LD_*\n{forced}"), "sshd takes LD_PRELOAD from alice", |host| {
            let mut ssh = host.client("ssh");
            ssh.env("LD_DEBUG", "statistics").env("LD_DEBUG_OUTPUT", host.home.join("by-client"));
            // Only sshd's own children are to have them: the client asks for them by name.
            ssh.args(["-o", "SendEnv=LD_*", "-l", "alice", "host", "true"]);
            run_bounded(ssh, b"");
            wrote_as_alice(host, "by-client")
        }),
        (OURS, format!("PermitUserEnvironment yes\n{forced}"), "set LD_PRELOAD by ~/.ssh/environment", |host| {
            host.run("alice", "true");
            wrote_as_alice(host, "by-file")
        }),
    ];
    for (number, (sftp, lines, said, reaches)) in cases.into_iter().enumerate() {
        host.another_sshd(sftp, Some(&lines));
        let config = fs::read_to_string(host.door.dir.join("cellblock.toml")).unwrap();
        let text = fs::read_to_string(host.door.dir.join(&format!("sshd{}_config", number + 1))).unwrap();
        let ran = check_by(&host, &config, &text);
        assert!(ran.status == 1 && ran.err.contains(said), "{said}: {}{}", ran.text(), ran.err);
        soon(said, || reaches(&host));
    }
    // By our piece of config, none of it is so.
    host.another_sshd(OURS, None);
    for path in fs::read_dir(&host.home).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_file() {
            fs::remove_file(path).unwrap();
        }
    }
    let own = fs::read_link("/proc/self/ns/pid").unwrap();
    assert_ne!(host.run("alice", "readlink /proc/self/ns/pid").text(), own.to_str().unwrap());
    let left: Vec<_> = fs::read_dir(&host.home).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".ssh"]);
}

/// "the account's own `~/.bashrc` on the host runs before the jail" (docs/enter.md)
#[test]
fn a_shell_that_runs_a_file_of_its_account_first_is_named() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let shipped = shipped(&host);
    let mark = host.home.join("by-bashrc");
    fs::write(host.home.join(".bashrc"), format!("echo ran >{}\n", mark.display())).unwrap();
    let runs = || {
        assert_eq!(host.run("alice", "echo in").text(), "in");
        mark.exists()
    };
    assert!(!runs(), "sh reads no such file");
    assert_eq!(check(&host, &shipped).status, 0);

    // /etc is the host's own here.
    let change = host.as_root(&["sed", "-i", "/^alice:/s|/bin/sh$|/bin/bash|", "/etc/passwd"]).status().unwrap();
    assert!(change.success() && runs());
    let ran = check(&host, &shipped);
    let said = format!("/bin/bash runs {}/.bashrc for alice on this host", host.home.display());
    assert!(ran.status == 1 && ran.err.contains(&said) && ran.err.contains("chsh -s"), "{}", ran.err);

    fs::remove_file(&mark).unwrap();
    let theirs = host.as_root(&["chown", "-R", "root:root", host.home.to_str().unwrap()]).status().unwrap();
    assert!(theirs.success());
    assert_eq!(check(&host, &shipped).status, 0, "a home that the account cannot write to");
}

/// Whether the dynamic loader wrote such a file on the host, in a process of alice's account.
fn wrote_as_alice(host: &Host, begins: &str) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::read_dir(&host.home).unwrap().map(|entry| entry.unwrap()).any(|entry| {
        let named = entry.file_name().to_str().unwrap().starts_with(begins);
        named && entry.metadata().unwrap().uid() == Host::uid("alice")
    })
}

/// "with `internal-sftp` or forwards left on for tenants, `doctor` fails"
#[test]
fn doctor_fails_where_sshd_leaks_and_passes_where_it_does_not() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let config = fs::read_to_string(host.door.dir.join("cellblock.toml")).unwrap();
    let config = host.door.dir.write("checked.toml", &config.replace("host_group = \"alices\"\n", ""));
    let doctor = |text: &str| {
        let file = host.door.dir.write("checked_config", text);
        // /etc is the host's own here.
        let install = host.as_root(&["cp", file.to_str().unwrap(), "/etc/ssh/sshd_config"]).status().unwrap();
        assert!(install.success());
        let words = ["cellblock", "--config", config.to_str().unwrap(), "doctor", "--json"];
        let ran = run_bounded(host.as_root(&words), b"");
        let json: Value = serde_json::from_str(&ran.text()).unwrap();
        let all = json["checks"].as_array().unwrap().clone();
        let told: Vec<Value> = all.into_iter().filter(|check| check["id"] == "sshd-leaks").collect();
        assert_eq!(told.len(), 1, "{told:?}");
        (told[0]["level"].as_str().unwrap().to_owned(), told[0].to_string(), ran.status)
    };
    let shipped = shipped(&host);
    let (level, told, _) = doctor(&shipped);
    assert!(level == "ok" && told.contains("2 accounts"), "{told}");
    let (level, told, status) = doctor(&shipped.replace("X11Forwarding no", "X11Forwarding yes"));
    assert_eq!((level.as_str(), status), ("fail", 1), "{told}");
    for words in ["/etc/ssh/sshd_config:", "for alice and bob", "X11Forwarding no", "cellblock check --sshd"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let (level, told, _) = doctor("Foo bar\n");
    assert!(level == "unknown" && told.contains("Bad configuration option"), "{told}");
}
