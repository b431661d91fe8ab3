//! Who gets in, and that whoever does not learns nothing (issue 2, item 5).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    reason = "test support code"
)]

use std::{fs, process::Command};

use nix::sys::signal::Signal;
use support::{
    Door, Ran,
    attacker::{Attacker, Key, Message},
    root, run_bounded,
};

fn attempt(door: &Door, user: &str, options: &[&str]) -> Ran {
    let mut command = door.ssh_command();
    command.args(options).args(["-l", user, "door", "echo in"]);
    run_bounded(command, b"")
}

/// "Unknown tenant, locked tenant, wrong key: same words"; same time: times.rs
#[test]
fn unknown_locked_and_wrong_key_look_alike_in_words() {
    if !root() {
        return;
    }
    let other = Key::new(9);
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("alice", &format!("authorized_keys = [\"{}\"]", other.line()))
        .tenant("locked", "locked = true")
        .tenant("bob", "")
        .start();
    let words: Vec<_> = ["alice", "locked", "nobody-here"]
        .map(|user| attempt(&door, user, &["-v"]))
        .map(|ran| {
            let said =
                ran.err.lines().filter(|line| line.contains("Permission denied") || line.contains("can continue"));
            (ran.status, said.map(|line| line.replace("debug1: ", "")).collect::<Vec<_>>())
        })
        .into_iter()
        .collect();
    let strip = |(status, lines): &(i32, Vec<String>)| {
        (*status, lines.iter().map(|line| line.split('@').next_back().unwrap().to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(strip(&words[0]), strip(&words[1]));
    assert_eq!(strip(&words[0]), strip(&words[2]));
    assert_eq!(attempt(&door, "bob", &[]).text(), "in");
    let reasons: Vec<_> = door
        .audit()
        .into_iter()
        .filter(|event| event["event"] == "login_refused")
        .map(|event| event["reason"].to_string())
        .collect();
    assert!(reasons.len() >= 3, "the admin is told the difference: {reasons:?}");
    let different: std::collections::BTreeSet<_> = reasons.iter().collect();
    assert!(different.len() >= 3, "{different:?}");
}

/// "The key that is signed with is the key that is granted, even after other offers" (CVE-2024-45337; russh bca12c7)
#[test]
fn an_offer_of_one_key_never_helps_a_signature_by_another() {
    if !root() {
        return;
    }
    let (alices, own) = (Key::new(1), Key::new(2));
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("alice", &format!("authorized_keys = [\"{}\"]", alices.line()))
        .tenant("mallory", &format!("authorized_keys = [\"{}\"]", own.line()))
        .start();
    let mut client = Attacker::handshake(door.port);
    client.ask_for_userauth();
    client.send(&Attacker::offer("alice", &alices));
    assert_eq!(client.next(&[60, 51]).unwrap()[0], 60, "alice's key would do");
    client.send(&client.signed("alice", &own, &own));
    assert_eq!(client.next(&[51, 52, 1]).unwrap()[0], 51, "offered A, signed with B");
    // Named A, signed with B: a signature that does not verify.
    client.send(&client.signed("alice", &alices, &own));
    assert_ne!(client.next(&[51, 52, 1]).map_or(1, |message| message[0]), 52);

    // Offer of alice's, then a login as mallory: mallory it is.
    let mut client = Attacker::handshake(door.port);
    client.ask_for_userauth();
    client.send(&Attacker::offer("alice", &alices));
    client.next(&[60]).unwrap();
    client.send(&client.signed("mallory", &own, &own));
    assert_eq!(client.next(&[51, 52]).unwrap()[0], 52);
    assert_eq!(client.exec("id -un").as_deref(), Some("mallory"));
}

/// Key options "honoured or refused, never ignored"
#[test]
fn key_options_are_honoured() {
    if !root() {
        return;
    }
    let case = |options: &str| format!("authorized_keys = ['{options} {{key}}']");
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("from-here", &case("from=\"127.0.0.0/8\""))
        .tenant("from-there", &case("from=\"192.0.2.0/24,!127.0.0.1\""))
        .tenant("expired", &case("expiry-time=\"20200101Z\""))
        .tenant("not-yet", &case("expiry-time=\"20990101Z\""))
        .tenant("forced", &case("command=\"echo forced $SSH_ORIGINAL_COMMAND\""))
        .tenant("restricted", &case("restrict"))
        .tenant("repermitted", &case("restrict,pty"))
        .start();
    assert_eq!(attempt(&door, "from-here", &[]).text(), "in");
    assert_eq!(attempt(&door, "from-there", &[]).status, 255);
    assert_eq!(attempt(&door, "expired", &[]).status, 255);
    assert_eq!(attempt(&door, "not-yet", &[]).text(), "in");
    assert_eq!(attempt(&door, "forced", &[]).text(), "forced echo in");
    let tty = |user| attempt(&door, user, &["-tt"]);
    assert!(!tty("restricted").text().contains("/dev/pts"));
    assert_eq!(attempt(&door, "restricted", &[]).text(), "in", "a command needs no terminal");
    let mut command = door.ssh_command();
    command.args(["-tt", "-l", "repermitted", "door", "tty"]);
    assert!(run_bounded(command, b"").text().contains("/dev/pts"));
}

/// "in root-owned files outside the jail": read at each login; refused where others can write
#[test]
fn a_key_file_is_read_at_each_login_and_only_if_it_is_roots() {
    if !root() {
        return;
    }
    let door =
        Door::with("[defaults]\nroot = \"host\"\n").tenant("alice", "authorized_keys_file = \"{dir}/keys\"").start();
    assert_eq!(attempt(&door, "alice", &[]).status, 255, "no file, no key");
    let keys = door.dir.join("keys");
    let own = fs::read_to_string(door.dir.join("id.pub")).unwrap();
    fs::write(&keys, format!("# a comment\n\n{own}")).unwrap();
    assert_eq!(attempt(&door, "alice", &[]).text(), "in");
    for (mode, owner) in [("666", "0"), ("644", "1"), ("664", "0")] {
        assert!(Command::new("chmod").arg(mode).arg(&keys).status().unwrap().success());
        assert!(Command::new("chown").arg(owner).arg(&keys).status().unwrap().success());
        assert_eq!(attempt(&door, "alice", &[]).status, 255, "mode {mode}, owner {owner}");
    }
    Command::new("chown").arg("0").arg(&keys).status().unwrap();
    Command::new("chmod").arg("644").arg(&keys).status().unwrap();
    assert_eq!(attempt(&door, "alice", &[]).text(), "in");
    // The same bytes, through a link in place of the file or of its directory.
    let real = door.dir.join("real");
    fs::rename(&keys, &real).unwrap();
    std::os::unix::fs::symlink(&real, &keys).unwrap();
    assert_eq!(attempt(&door, "alice", &[]).status, 255, "a link, as `check` says");
    assert!(door.log().contains("is a symbolic link"), "{}", door.log());
    fs::remove_file(&keys).unwrap();
    fs::write(&keys, format!("no-such-option {own}")).unwrap();
    assert_eq!(attempt(&door, "alice", &[]).status, 255, "an option that is not known is not ignored");
}

/// `check` and the login agree on what is a link in the path of a file of keys
#[test]
fn a_key_file_under_a_linked_directory_lets_nobody_in() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("alice", "authorized_keys_file = \"{dir}/keys.d/alice\"")
        .start();
    let own = fs::read_to_string(door.dir.join("id.pub")).unwrap();
    let (real, linked) = (door.dir.join("real.d"), door.dir.join("keys.d"));
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cellblock"));
        command.arg("--config").arg(door.dir.join("cellblock.toml")).arg("check");
        run_bounded(command, b"")
    };
    fs::create_dir(&linked).unwrap();
    fs::write(linked.join("alice"), own).unwrap();
    assert_eq!((attempt(&door, "alice", &[]).text(), check().status), ("in".into(), 0));
    fs::rename(&linked, &real).unwrap();
    std::os::unix::fs::symlink(&real, &linked).unwrap();
    assert_eq!((attempt(&door, "alice", &[]).status, check().status), (255, 1), "{}", check().text());
}

/// GHSA-g6xm: "max_auth_attempts not enforced": max+1 failures on one connection end it
#[test]
fn too_many_tries_end_the_connection() {
    if !root() {
        return;
    }
    let (right, wrong) = (Key::new(1), Key::new(2));
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .server("max_auth_tries = 3")
        .tenant("alice", &format!("authorized_keys = [\"{}\"]", right.line()))
        .start();
    let mut client = Attacker::handshake(door.port);
    client.ask_for_userauth();
    let mut failures = 0;
    for _ in 0..20 {
        client.send(&client.signed("alice", &wrong, &wrong));
        match client.next(&[51, 52]) {
            Ok(message) if message[0] == 51 => failures += 1,
            Ok(_) => panic!("logged in"),
            Err(_) => break,
        }
    }
    assert!((2..=4).contains(&failures), "{failures} tries");
    // Passwords count too, of whatever length.
    let mut client = Attacker::handshake(door.port);
    client.ask_for_userauth();
    for length in [0, 1, 255, 256, 1024, 60_000] {
        client.send(
            &Message::new(50).text("alice").text("ssh-connection").text("password").byte(0).text(&"x".repeat(length)),
        );
    }
    assert!(!client.hung_up().contains(&52));
}

/// "users `-2`, `--config=x`, `a b`, `a\nb`, `../x`, 1 MB, NUL, RTL marks → rejected by one validator … log line escaped"
#[test]
fn names_that_are_paths_options_or_a_megabyte_are_refused_and_escaped() {
    if !root() {
        return;
    }
    let key = Key::new(1);
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("alice", &format!("authorized_keys = [\"{}\"]", key.line()))
        .start();
    let long = "a".repeat(200_000);
    let names = [
        "-2",
        "--config=x",
        "a b",
        "alice\nbob",
        "../alice",
        "alice/",
        "./alice",
        "",
        "alice\0",
        "al\u{202e}ice",
        "Alice",
        "\u{1b}]52;c;x\u{7}",
        "%n",
        "$(id)",
        long.as_str(),
    ];
    for name in names {
        let mut client = Attacker::handshake(door.port);
        client.ask_for_userauth();
        client.send(&client.signed(name, &key, &key));
        let answer = client.next(&[51, 52, 1]).map_or(1, |message| message[0]);
        assert_ne!(answer, 52, "{name:?} got in");
    }
    // A megabyte is more than a packet may have.
    let mut client = Attacker::handshake(door.port);
    client.ask_for_userauth();
    client.send(&Attacker::offer(&"a".repeat(1 << 20), &key));
    assert!(!client.hung_up().contains(&52));
    assert!(Attacker::login(door.port, "alice", &key).exec("echo well").is_some());

    let log = door.log() + &fs::read_to_string(door.dir.join("audit.jsonl")).unwrap();
    assert!(
        !log.contains('\u{1b}') && !log.contains('\u{202e}') && !log.contains('\0'),
        "a name reached the log as it was"
    );
    let longest = fs::read_to_string(door.dir.join("audit.jsonl")).unwrap().lines().map(str::len).max().unwrap();
    assert!(longest < 8192, "a line of {longest} bytes");
}

/// Without compression before login, without SHA-1 and CBC, ed25519 host key of our own making (item 4)
#[test]
fn only_current_algorithms_are_offered() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let offered = String::from_utf8_lossy(&Attacker::greet(door.port).server_kexinit).into_owned();
    for wanted in [
        "mlkem768x25519-sha256",
        "curve25519-sha256",
        "kex-strict-s-v00@openssh.com",
        "ssh-ed25519",
        "aes128-gcm@openssh.com",
        "aes256-gcm@openssh.com",
        "chacha20-poly1305@openssh.com",
        "aes128-ctr",
        "aes192-ctr",
        "aes256-ctr",
        "hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com",
    ] {
        assert!(offered.contains(wanted), "{wanted} is missing: {offered}");
    }
    for unwanted in [
        "-sha1",
        "cbc",
        "zlib,",
        "diffie-hellman-group1-",
        "ssh-dss",
        "ssh-rsa,",
        "md5",
        "arcfour",
        "3des",
        "hmac-none",
        "hmac-sha2-256,",
        "hmac-sha2-512,",
        ",hmac-sha2-512\0",
    ] {
        assert!(!offered.contains(unwanted), "{unwanted} is offered: {offered}");
    }
    let refused = attempt(&door, "alice", &["-o", "Ciphers=aes128-cbc"]);
    assert_eq!(refused.status, 255);
    assert_eq!(attempt(&door, "alice", &["-o", "Compression=yes"]).text(), "in");
}

/// "Host keys are made on first start", and are the same ever after
#[test]
fn the_host_key_is_made_at_first_start_and_kept() {
    if !root() {
        return;
    }
    use std::os::unix::fs::MetadataExt;
    let mut door = Door::standard();
    let path = door.dir.join("host_ed25519");
    let meta = fs::metadata(&path).unwrap();
    assert_eq!((meta.mode() & 0o777, meta.uid()), (0o600, 0));
    let first = fs::read(&path).unwrap();
    door.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(door.wait_end(), Some(0));
    door.restart();
    assert_eq!(fs::read(&path).unwrap(), first);
    assert_eq!(door.ok("alice", "echo in"), "in");
}

/// "ed25519 host keys by default (ecdsa and RSA ≥ 3072 if the admin gives them)", and RSA never with SHA-1
#[test]
fn host_keys_of_other_kinds_are_used_if_the_admin_gives_them() {
    if !root() {
        return;
    }
    let mut door = Door::with("[defaults]\nroot = \"host\"\n").tenant("alice", "").start();
    let with = |door: &Door, algorithm: &str| {
        attempt(door, "alice", &["-o", &format!("HostKeyAlgorithms={algorithm}")]).status
    };
    let kinds = ["ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256"];
    assert_eq!(kinds.map(|kind| with(&door, kind)), [255; 3], "nobody gave them");
    assert_eq!(door.ok("alice", "echo in"), "in");
    door.signal(Signal::SIGTERM);
    assert_eq!(door.wait_end(), Some(0));
    let mut keys = String::new();
    for (kind, bits) in [("ecdsa", "256"), ("rsa", "3072")] {
        let path = door.dir.join(&format!("host_{kind}"));
        let made = Command::new("ssh-keygen").args(["-qt", kind, "-b", bits, "-N", "", "-f"]).arg(&path).status();
        assert!(made.unwrap().success());
        keys.push_str(&format!(", \"{}\"", path.display()));
    }
    door.rewrite_config(|text| text.replace("host_ed25519\"]", &format!("host_ed25519\"{keys}]")));
    door.restart();
    assert_eq!(kinds.map(|kind| with(&door, kind)), [0; 3]);
    assert_eq!(with(&door, "ssh-ed25519"), 0);
    assert_eq!(with(&door, "ssh-rsa"), 255, "a signature with SHA-1");
}
