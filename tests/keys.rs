//! Keys of every kind and from every place: security keys, the tenant's own file, revocation (issue 4, item 1).
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

use std::{
    fs,
    os::unix::fs::{PermissionsExt, lchown, symlink},
    path::Path,
    process::Command,
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use support::{
    Door, Ran, Scratch,
    attacker::{Attacker, Message},
    root, run_bounded,
};

const HOST: &str = "[defaults]\nroot = \"host\"\n";
const SK_ED25519: &str = "sk-ssh-ed25519@openssh.com";
const SK_ECDSA: &str = "sk-ecdsa-sha2-nistp256@openssh.com";

fn keygen(arguments: &[&str]) {
    assert!(Command::new("ssh-keygen").arg("-q").args(arguments).status().unwrap().success(), "{arguments:?}");
}

fn attempt(door: &Door, user: &str, options: &[&str]) -> Ran {
    let mut command = door.ssh_command();
    command.args(options).args(["-l", user, "door", "echo in"]);
    run_bounded(command, b"")
}

/// Why logins were refused, for the admin.
fn refusals(door: &Door) -> Vec<String> {
    let refused = |event: &serde_json::Value| event["event"] == "login_refused";
    door.audit().iter().filter(|event| refused(event)).map(|event| event["reason"].to_string()).collect()
}

/// What a security key signs (OpenSSH's PROTOCOL.u2f): flags say whether somebody touched it.
fn sk_signed(message: &[u8], flags: u8) -> Vec<u8> {
    let hash = |bytes: &[u8]| digest(&SHA256, bytes).as_ref().to_vec();
    [hash(b"ssh:"), vec![flags], 7_u32.to_be_bytes().to_vec(), hash(message)].concat()
}

/// "A software sk signature in a test"; what is said of touch is in no callback (docs/upstream.md)
#[test]
fn security_keys_let_in_whoever_signs_with_them() {
    if !root() {
        return;
    }
    let ed = Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap();
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let ed_blob = Message::start().text(SK_ED25519).bytes(ed.public_key().as_ref()).text("ssh:").0;
    let ec_blob = Message::start().text(SK_ECDSA).text("nistp256").bytes(ec.public_key().as_ref()).text("ssh:").0;
    let line = |kind: &str, blob: &[u8]| format!("authorized_keys = [\"{kind} {} token\"]", STANDARD.encode(blob));
    let door =
        Door::with(HOST).tenant("ed", &line(SK_ED25519, &ed_blob)).tenant("ec", &line(SK_ECDSA, &ec_blob)).start();
    let ed_signature = |message: &[u8]| {
        let signature = ed.sign(&sk_signed(message, 1));
        Message::start().text(SK_ED25519).bytes(signature.as_ref()).byte(1).number(7).0
    };
    let ec_signature = |message: &[u8]| {
        let both = ec.sign(&SystemRandom::new(), &sk_signed(message, 1)).unwrap();
        let (r, s) = both.as_ref().split_at(32);
        let numbers = Message::start().mpint(r).mpint(s).0;
        Message::start().text(SK_ECDSA).bytes(&numbers).byte(1).number(7).0
    };
    let mut client = Attacker::handshake(door.port);
    client.ask_for_userauth();
    client.send(&client.signed_by("ed", SK_ED25519, &ed_blob, ed_signature));
    assert_eq!(client.next(&[51, 52]).unwrap()[0], 52, "{}", door.log());
    assert_eq!(client.exec("id -un").as_deref(), Some("ed"));
    let mut client = Attacker::handshake(door.port);
    client.ask_for_userauth();
    client.send(&client.signed_by("ec", SK_ECDSA, &ec_blob, ec_signature));
    assert_eq!(client.next(&[51, 52]).unwrap()[0], 52, "{}", door.log());

    // A flag that was not signed, and a key of another application.
    let changed = |message: &[u8]| {
        let signature = ed.sign(&sk_signed(message, 0));
        Message::start().text(SK_ED25519).bytes(signature.as_ref()).byte(1).number(7).0
    };
    let mut client = Attacker::handshake(door.port);
    client.ask_for_userauth();
    client.send(&client.signed_by("ed", SK_ED25519, &ed_blob, changed));
    assert_ne!(client.next(&[51, 52, 1]).map_or(1, |message| message[0]), 52);
    let other = Message::start().text(SK_ED25519).bytes(ed.public_key().as_ref()).text("https:").0;
    let mut client = Attacker::handshake(door.port);
    client.ask_for_userauth();
    client.send(&client.signed_by("ed", SK_ED25519, &other, ed_signature));
    assert_ne!(client.next(&[51, 52, 1]).map_or(1, |message| message[0]), 52);
}

/// "the tenant's own `~/.ssh/authorized_keys` where the class allows it … so that `ssh-copy-id` works"
#[test]
fn ssh_copy_id_gives_a_tenant_another_key_where_that_is_allowed() {
    if !root() {
        return;
    }
    let door = Door::with(HOST).tenant("alice", "own_keys = true").tenant("bob", "").start();
    let new = door.dir.join("new");
    keygen(&["-t", "ed25519", "-N", "", "-f", new.to_str().unwrap()]);
    let with_new = |user: &str| {
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-i", new.to_str().unwrap(), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]);
        command.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]);
        command.args(["-p", &door.port.to_string(), &format!("{user}@127.0.0.1"), "echo in"]);
        run_bounded(command, b"")
    };
    for user in ["alice", "bob"] {
        assert_eq!(with_new(user).status, 255);
        fs::create_dir_all(door.dir.join(".ssh")).unwrap();
        let mut copy = Command::new("ssh-copy-id");
        // Which keeps its scratch files there.
        copy.env("HOME", door.dir.path());
        // `-f`: it would take a login by the old key, which it is told to use, for one by the new.
        copy.args(["-f", "-i", new.to_str().unwrap(), "-p", &door.port.to_string()]);
        for option in [
            format!("IdentityFile={}", door.dir.join("id").display()),
            "IdentitiesOnly=yes".into(),
            "BatchMode=yes".into(),
            "StrictHostKeyChecking=no".into(),
            "UserKnownHostsFile=/dev/null".into(),
        ] {
            copy.args(["-o", &option]);
        }
        copy.arg(format!("{user}@127.0.0.1"));
        let ran = run_bounded(copy, b"");
        assert_eq!(ran.status, 0, "{}{}", ran.text(), ran.err);
        assert!(door.ok(user, "cat .ssh/authorized_keys").contains("ssh-ed25519"));
    }
    assert_eq!(with_new("alice").text(), "in", "{}", door.log());
    assert_eq!(with_new("bob").status, 255, "bob's class does not allow it");
}

/// "openat2 beneath root/home fd, no symlinks, regular file, size capped, owner check …, not group/world-writable"
#[test]
fn a_tenants_own_file_counts_only_as_one_that_nobody_else_could_make() {
    if !root() {
        return;
    }
    let door = Door::with(HOST)
        .tenant("alice", "own_keys = true\nauthorized_keys = []")
        .tenant("eve", "own_keys = true\nuser = \"root\"\nauthorized_keys = []")
        .tenant("warm", "")
        .start();
    let own = fs::read_to_string(door.dir.join("id.pub")).unwrap();
    // As a login would have made it: owners on disk are those inside.
    let make = |user: &str, owner: u32| {
        let home = door.dir.join("state").join("tenants").join(user).join("home");
        fs::remove_dir_all(&home).ok();
        fs::create_dir_all(home.join(".ssh")).unwrap();
        fs::write(home.join(".ssh/authorized_keys"), &own).unwrap();
        for path in [home.clone(), home.join(".ssh"), home.join(".ssh/authorized_keys")] {
            lchown(&path, Some(owner), Some(owner)).unwrap();
            let mode = if path.is_dir() { 0o700 } else { 0o600 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        home
    };
    make("alice", 1000);
    assert_eq!(attempt(&door, "alice", &[]).text(), "in", "{}", door.log());
    make("eve", 0);
    assert_eq!(attempt(&door, "eve", &[]).text(), "in");
    let broken = |what: &str, change: &dyn Fn(&Path)| {
        let home = make("alice", 1000);
        change(&home);
        assert_eq!(attempt(&door, "alice", &[]).status, 255, "{what}");
    };
    let outside = door.dir.write("outside", &own);
    fs::create_dir_all(door.dir.join("elsewhere")).unwrap();
    fs::write(door.dir.join("elsewhere/authorized_keys"), &own).unwrap();
    let file = |home: &Path| home.join(".ssh/authorized_keys");
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    broken("a link to a file", &|home| {
        fs::remove_file(file(home)).unwrap();
        symlink(&outside, file(home)).unwrap();
    });
    broken("a link to a file within", &|home| {
        fs::rename(file(home), home.join("keys")).unwrap();
        symlink("../keys", file(home)).unwrap();
    });
    broken("a link to a directory", &|home| {
        fs::remove_dir_all(home.join(".ssh")).unwrap();
        symlink(door.dir.join("elsewhere"), home.join(".ssh")).unwrap();
    });
    broken("a FIFO", &|home| {
        fs::remove_file(file(home)).unwrap();
        assert!(Command::new("mkfifo").arg(file(home)).status().unwrap().success());
        lchown(file(home), Some(1000), Some(1000)).unwrap();
    });
    broken("another user's", &|home| lchown(file(home), Some(1001), None).unwrap());
    broken("in another user's directory", &|home| lchown(home.join(".ssh"), Some(1001), None).unwrap());
    broken("writable by all", &|home| mode(&file(home), 0o606));
    broken("writable by the group", &|home| mode(&file(home), 0o660));
    broken("in a directory that all can write to", &|home| mode(&home.join(".ssh"), 0o777));
    broken("in a home that all can write to", &|home| mode(home, 0o777));
    broken("too large", &|home| {
        fs::write(file(home), format!("{own}{}", "# filler\n".repeat(40_000))).unwrap();
    });
    broken("an authority's", &|home| fs::write(file(home), format!("cert-authority {own}")).unwrap());
    broken("with an option that is not honoured", &|home| {
        fs::write(file(home), format!("tunnel=\"0\" {own}")).unwrap()
    });
    let home = make("alice", 1000);
    fs::write(file(&home), format!("\u{1b}]52;c;x\u{7}\nev\u{202e}il x\ncommand=\"echo own\" {own}")).unwrap();
    assert_eq!(attempt(&door, "alice", &[]).text(), "own");
    assert!(!door.log().contains(['\u{1b}', '\u{202e}']));
}

/// "revocation by KRL … or list of keys, fail-closed when the file can't be read"
#[test]
fn what_is_revoked_is_not_taken_and_without_the_list_nothing_is() {
    if !root() {
        return;
    }
    let dir = Scratch::new();
    let ca = dir.join("ca");
    keygen(&["-t", "ed25519", "-N", "", "-f", ca.to_str().unwrap()]);
    let revoked = dir.write("revoked", "# nothing yet\n");
    let ca_line = fs::read_to_string(dir.join("ca.pub")).unwrap().trim().to_owned();
    let door = Door::with(&format!(
        "{HOST}revoked_keys = \"{}\"\ntrusted_user_ca_keys = [\"{ca_line}\"]\n",
        revoked.display()
    ))
    .tenant("alice", "")
    .tenant("carol", "authorized_keys = []")
    .start();
    let certify = |serial: &str, id: &str| {
        let public = dir.join(&format!("c{serial}.pub"));
        fs::copy(door.dir.join("id.pub"), &public).unwrap();
        keygen(&["-s", ca.to_str().unwrap(), "-I", id, "-z", serial, "-n", "carol", public.to_str().unwrap()]);
        format!("CertificateFile={}", dir.join(&format!("c{serial}-cert.pub")).display())
    };
    let (five, nine) = (certify("5", "of carol"), certify("9", "other"));
    let key = || attempt(&door, "alice", &[]).status == 0;
    let certificate = |option: &str| attempt(&door, "carol", &["-o", option]).status == 0;
    let all = || (key(), certificate(&five), certificate(&nine));
    let krl = |spec: &str| {
        dir.write("spec", spec);
        let (list, spec) = (revoked.to_str().unwrap().to_owned(), dir.join("spec"));
        keygen(&["-k", "-f", &list, "-s", dir.join("ca.pub").to_str().unwrap(), spec.to_str().unwrap()]);
    };
    assert_eq!(all(), (true, true, true), "{}", door.log());
    krl("serial: 5\n");
    assert_eq!(all(), (true, false, true));
    krl("serial: 6-20\n");
    assert_eq!(all(), (true, true, false));
    krl("id: of carol\n");
    assert_eq!(all(), (true, false, true));
    krl(&format!("key: {ca_line}\n"));
    assert_eq!(all(), (true, false, false));
    fs::copy(door.dir.join("id.pub"), &revoked).unwrap();
    assert_eq!(all(), (false, false, false), "the key, by itself and certified");
    let last = |why: &str| refusals(&door).iter().rev().take(6).any(|reason| reason.contains(why));
    assert!(last("key is revoked"), "{:?}", refusals(&door));

    fs::write(&revoked, "no key\n").unwrap();
    assert_eq!(all(), (false, false, false));
    fs::remove_file(&revoked).unwrap();
    assert_eq!(all(), (false, false, false));
    assert!(last("revoked keys are not known"), "{:?}", refusals(&door));
    fs::write(&revoked, "").unwrap();
    fs::set_permissions(&revoked, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(all(), (false, false, false), "others could have emptied it");
    fs::set_permissions(&revoked, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(all(), (true, true, true));
}

/// "run as an unprivileged user …, clean environment, … killed at the end" (CVE-2021-41617: with no other groups)
#[test]
fn a_command_is_asked_for_keys_as_an_account_that_may_nothing() {
    if !root() {
        return;
    }
    let dir = Scratch::new();
    // Where the account can get to, and only root can write.
    let at = format!("/usr/local/lib/cellblock-test-{}", std::process::id());
    fs::create_dir_all(&at).unwrap();
    let program = |name: &str, body: &str| {
        let path = format!("{at}/{name}");
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let said = dir.join("said");
    fs::write(&said, "").unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    fs::set_permissions(&said, fs::Permissions::from_mode(0o666)).unwrap();
    let tell = format!(
        "{{ echo \"args $*\"; echo \"ids $(id -u) $(id -G)\"; grep -E '^(Cap(Eff|Prm|Bnd|Amb)|NoNewPrivs)' /proc/self/status; \
         env; ls /proc/self/fd; }} > {}",
        said.display()
    );
    let good = program("good", &format!("{tell}\necho \"command=\\\"echo asked\\\" $3 $2\""));
    let bad = program("bad", "echo \"$3 $2\"; exit 3");
    let hides = program("hides", "setsid sleep 600 & echo \"$3 $2\"; exit 0");
    let slow = program("slow", "echo \"$3 $2\"; sleep 600");
    let floods = program("floods", "yes");
    let command = |program: &str| {
        format!(
            "authorized_keys = []\nauthorized_keys_command = \"{program} %u %k %t %f 100%%\"\nauthorized_keys_command_user = \"nobody\""
        )
    };
    let door = Door::with(HOST)
        .tenant("asked", &command(&good))
        .tenant("bad", &command(&bad))
        .tenant("hides", &command(&hides))
        .tenant("slow", &command(&slow))
        .tenant("floods", &command(&floods))
        .tenant("listed", &command(&bad).replace("authorized_keys = []", "authorized_keys = ['{key}']"))
        .start();
    assert_eq!(attempt(&door, "asked", &[]).text(), "asked", "{}", door.log());
    let said = fs::read_to_string(&said).unwrap();
    let own = fs::read_to_string(door.dir.join("id.pub")).unwrap();
    let mut own = own.split(' ');
    let (kind, blob) = (own.next().unwrap(), own.next().unwrap());
    assert!(said.starts_with(&format!("args asked {blob} {kind} SHA256:")) && said.contains(" 100%\n"), "{said}");
    assert!(said.contains("ids 65534 65534\n"), "{said}");
    for line in ["CapEff", "CapPrm", "CapBnd", "CapAmb"] {
        assert!(said.contains(&format!("{line}:\t0000000000000000")), "{said}");
    }
    assert!(said.contains("NoNewPrivs:\t1"));
    let names: Vec<_> = said.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    let names: Vec<_> = names.into_iter().filter(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name)).collect();
    assert!(names.len() == 4 && names.iter().all(|name| ["PATH", "USER", "LOGNAME", "HOME"].contains(name)), "{said}");

    assert_eq!(attempt(&door, "bad", &[]).status, 255, "it ended with 3");
    assert_eq!(attempt(&door, "floods", &[]).status, 255);
    assert!(door.log().contains("it said more than"), "{}", door.log());
    assert_eq!(attempt(&door, "listed", &[]).text(), "in", "nobody is asked where a key is known");
    assert_eq!(attempt(&door, "slow", &[]).status, 255);
    assert!(door.log().contains("it took more than 10 seconds"), "{}", door.log());
    assert_eq!(attempt(&door, "hides", &[]).text(), "in", "what it leaves behind ends with it, and is not waited for");
    let left = Command::new("pgrep").args(["-u", "65534", "-f", "^sleep 600$"]).output().unwrap();
    assert!(left.stdout.is_empty(), "{left:?}");
    fs::set_permissions(&good, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(attempt(&door, "asked", &[]).status, 255, "others could have changed it");
    fs::remove_dir_all(&at).unwrap();
}
