//! Login by certificate: what an authority vouches for is had, and nothing else (issue 4, item 1).
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
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use support::{Door, Ran, Scratch, attacker::Attacker, root, run_bounded};

const HOST: &str = "[defaults]\nroot = \"host\"\n";

fn keygen(arguments: &[&str]) {
    assert!(Command::new("ssh-keygen").arg("-q").args(arguments).status().unwrap().success(), "{arguments:?}");
}

/// A key that certifies others.
struct Authority(Scratch);

impl Authority {
    fn new() -> Self {
        Self::of(&["-t", "ed25519"])
    }

    fn of(kind: &[&str]) -> Self {
        let dir = Scratch::new();
        keygen(&[kind, &["-N", "", "-C", "the authority", "-f", dir.join("ca").to_str().unwrap()]].concat());
        Self(dir)
    }

    fn line(&self) -> String {
        fs::read_to_string(self.0.join("ca.pub")).unwrap().trim().to_owned()
    }

    fn fingerprint(&self) -> String {
        let out = Command::new("ssh-keygen").arg("-lf").arg(self.0.join("ca.pub")).output().unwrap();
        String::from_utf8(out.stdout).unwrap().split(' ').nth(1).unwrap().to_owned()
    }

    /// A certificate for the key of `door`, made with these options of ssh-keygen(1).
    fn certify(&self, door: &Door, options: &[&str]) -> PathBuf {
        self.certify_key(&door.dir.join("id.pub"), options)
    }

    fn certify_key(&self, public: &std::path::Path, options: &[&str]) -> PathBuf {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("user{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let copy = self.0.join(&format!("{name}.pub"));
        fs::copy(public, &copy).unwrap();
        let ca = self.0.join("ca");
        keygen(&[&["-s", ca.to_str().unwrap(), "-I", "of a test"], options, &[copy.to_str().unwrap()]].concat());
        self.0.join(&format!("{name}-cert.pub"))
    }
}

fn attempt(door: &Door, user: &str, certificate: &std::path::Path, options: &[&str]) -> Ran {
    let mut command = door.ssh_command();
    command.arg("-o").arg(format!("CertificateFile={}", certificate.display()));
    command.args(options).args(["-l", user, "door", "echo in"]);
    run_bounded(command, b"")
}

#[track_caller]
fn lets_in(door: &Door, user: &str, certificate: &std::path::Path) {
    assert_eq!(attempt(door, user, certificate, &[]).text(), "in", "{}", door.log());
}

#[track_caller]
fn keeps_out(door: &Door, user: &str, certificate: &std::path::Path, why: &str) {
    let ran = attempt(door, user, certificate, &[]);
    assert_eq!(ran.status, 255, "{}", ran.text());
    let refused = refusals(door);
    assert!(refused.last().is_some_and(|reason| reason.contains(why)), "{why}: {refused:?}");
}

/// Why certificates were refused, for the admin.
fn refusals(door: &Door) -> Vec<String> {
    let refused = |event: &serde_json::Value| event["event"] == "login_refused" && event["method"] == "certificate";
    door.audit().iter().filter(|event| refused(event)).map(|event| event["reason"].to_string()).collect()
}

/// Trusted for all, for a class, for a tenant; "principals exact (an empty list never matches)"
#[test]
fn an_authority_that_is_trusted_lets_its_principals_in_and_nobody_else() {
    if !root() {
        return;
    }
    let (of_all, of_class, of_one, stranger) = (Authority::new(), Authority::new(), Authority::new(), Authority::new());
    let trust = |authority: &Authority| format!("trusted_user_ca_keys = [\"{}\"]\n", authority.line());
    let door = Door::with(&format!("{HOST}{}[class.shop]\n{}", trust(&of_all), trust(&of_class)))
        .tenant("alice", "authorized_keys = []")
        .tenant("shop", "class = \"shop\"\nauthorized_keys = []\nauthorized_principals = [\"sales\", \"office\"]")
        .tenant("own", &format!("authorized_keys = []\n{}", trust(&of_one)))
        .tenant("nobody", "authorized_keys = []\nauthorized_principals = []")
        .tenant("locked", "authorized_keys = []\nlocked = true")
        .start();
    let alice = of_all.certify(&door, &["-n", "bob,alice", "-z", "77"]);
    lets_in(&door, "alice", &alice);
    keeps_out(&door, "shop", &alice, "by nobody who is trusted");
    keeps_out(&door, "own", &alice, "by nobody who is trusted");
    keeps_out(&door, "nobody", &alice, "no principal of this tenant");
    keeps_out(&door, "locked", &alice, "locked");
    keeps_out(&door, "no-such-tenant", &alice, "unknown");
    let sales = of_class.certify(&door, &["-n", "sales"]);
    lets_in(&door, "shop", &sales);
    keeps_out(&door, "alice", &sales, "by nobody who is trusted");
    keeps_out(&door, "shop", &of_class.certify(&door, &["-n", "shop"]), "no principal of this tenant");
    lets_in(&door, "own", &of_one.certify(&door, &["-n", "own"]));
    for names in ["Alice", "alic", "alice2", "*"] {
        keeps_out(&door, "alice", &of_all.certify(&door, &["-n", names]), "no principal of this tenant");
    }
    keeps_out(&door, "alice", &of_all.certify(&door, &[]), "names no principal");
    keeps_out(&door, "alice", &stranger.certify(&door, &["-n", "alice"]), "by nobody who is trusted");

    let login = door.audit().into_iter().find(|event| event["event"] == "login").unwrap();
    assert_eq!((&login["tenant"], &login["method"]), (&"alice".into(), &"certificate".into()));
    let certificate = serde_json::json!({"id": "of a test", "serial": 77, "authority": of_all.fingerprint()});
    assert_eq!(login["certificate"], certificate);
}

/// "validity window, source-address, force-command, every unknown critical option refused"
#[test]
fn what_a_certificate_demands_is_honoured_or_it_is_refused() {
    if !root() {
        return;
    }
    let ca = Authority::new();
    let door = Door::with(&format!("{HOST}trusted_user_ca_keys = [\"{}\"]", ca.line()))
        .tenant("alice", "authorized_keys = []")
        .tenant("ruled", "authorized_keys = []\ncommand = \"echo ruled\"")
        .start();
    let certify = |options: &[&str]| ca.certify(&door, &[&["-n", "alice,ruled"], options].concat());
    lets_in(&door, "alice", &certify(&["-V", "-1h:+1h"]));
    // The library refuses these two before we are asked; `auth` judges the same by itself (unit tests).
    for window in ["-2h:-1h", "+1h:+2h"] {
        assert_eq!(attempt(&door, "alice", &certify(&["-V", window]), &[]).status, 255, "{window}");
    }
    lets_in(&door, "alice", &certify(&["-O", "source-address=192.0.2.1,127.0.0.0/8"]));
    keeps_out(&door, "alice", &certify(&["-O", "source-address=192.0.2.0/24"]), "not for this address");
    keeps_out(&door, "alice", &certify(&["-O", "critical:x@example.com=1"]), "not honoured: x@example.com");
    keeps_out(&door, "alice", &certify(&["-O", "verify-required"]), "not honoured: verify-required");
    lets_in(&door, "alice", &certify(&["-O", "extension:x@example.com=1"]));
    let forced = certify(&["-O", "force-command=echo forced $SSH_ORIGINAL_COMMAND"]);
    assert_eq!(attempt(&door, "alice", &forced, &[]).text(), "forced echo in");
    assert_eq!(attempt(&door, "ruled", &forced, &[]).text(), "ruled", "the config goes first");
}

/// "extensions (permit-pty, …) honoured as grants"
#[test]
fn a_certificate_gives_what_its_extensions_say_and_no_more() {
    if !root() {
        return;
    }
    let ca = Authority::new();
    let door = Door::with(&format!("{HOST}trusted_user_ca_keys = [\"{}\"]", ca.line()))
        .tenant("alice", "authorized_keys = []")
        .start();
    let tty = |certificate: PathBuf| {
        let mut command = door.ssh_command();
        command.arg("-o").arg(format!("CertificateFile={}", certificate.display()));
        command.args(["-tt", "-l", "alice", "door", "tty"]);
        run_bounded(command, b"").text().contains("/dev/pts")
    };
    assert!(tty(ca.certify(&door, &["-n", "alice"])), "ssh-keygen's defaults permit it");
    assert!(tty(ca.certify(&door, &["-n", "alice", "-O", "clear", "-O", "permit-pty"])));
    let bare = ca.certify(&door, &["-n", "alice", "-O", "clear"]);
    lets_in(&door, "alice", &bare);
    assert!(!tty(bare));
}

/// `cert-authority` and `principals=` in lines of keys, whose own options hold as well
#[test]
fn a_line_of_keys_can_name_an_authority() {
    if !root() {
        return;
    }
    let ca = Authority::new();
    let line = |options: &str| format!("authorized_keys = ['{options} {}']", ca.line());
    let door = Door::with(HOST)
        .tenant("alice", &line("cert-authority"))
        .tenant("staff", &line("cert-authority,principals=\"boss,clerk\""))
        .tenant("quiet", &line("cert-authority,no-pty,command=\"echo quiet\""))
        .tenant("there", &line("cert-authority,from=\"192.0.2.0/24\""))
        .tenant("past", &line("cert-authority,expiry-time=\"20200101Z\""))
        .tenant("filed", "authorized_keys_file = \"{dir}/keys\"")
        .start();
    let certify = |names: &str, options: &[&str]| ca.certify(&door, &[&["-n", names], options].concat());
    let alice = certify("alice", &[]);
    lets_in(&door, "alice", &alice);
    keeps_out(&door, "staff", &alice, "no principal of this tenant");
    lets_in(&door, "staff", &certify("clerk", &[]));
    keeps_out(&door, "staff", &certify("staff", &[]), "no principal of this tenant");
    let all = certify("quiet,there,past,filed", &[]);
    assert_eq!(attempt(&door, "quiet", &all, &[]).text(), "quiet");
    let other = certify("quiet", &["-O", "force-command=echo loud"]);
    keeps_out(&door, "quiet", &other, "force different commands");
    let same = certify("quiet", &["-O", "force-command=echo quiet"]);
    assert_eq!(attempt(&door, "quiet", &same, &[]).text(), "quiet");
    keeps_out(&door, "there", &all, "not authorized from this address");
    keeps_out(&door, "past", &all, "key has expired");
    keeps_out(&door, "filed", &all, "by nobody who is trusted");
    door.dir.write("keys", &format!("cert-authority {}\n", ca.line()));
    lets_in(&door, "filed", &all);

    // The authority's own key is nobody's, and a key that is authorized vouches for nobody.
    let mut command = door.ssh_command();
    command.args(["-o", "IdentityFile=none", "-i", ca.0.join("ca").to_str().unwrap(), "-l", "alice", "door", "id"]);
    assert_eq!(run_bounded(command, b"").status, 255);
}

/// "CA signature algorithms (no SHA-1 …)"; keys of users that are RSA
#[test]
fn signatures_of_authorities_are_made_without_sha1() {
    if !root() {
        return;
    }
    let ca = Authority::of(&["-t", "rsa", "-b", "3072"]);
    let door = Door::with(&format!("{HOST}trusted_user_ca_keys = [\"{}\"]", ca.line()))
        .tenant("alice", "authorized_keys = []")
        .start();
    let users = Authority::of(&["-t", "rsa", "-b", "2048"]);
    let weak = Authority::of(&["-t", "rsa", "-b", "1024"]);
    for kind in ["rsa-sha2-512", "rsa-sha2-256"] {
        lets_in(&door, "alice", &ca.certify(&door, &["-n", "alice", "-t", kind]));
    }
    keeps_out(&door, "alice", &ca.certify(&door, &["-n", "alice", "-t", "ssh-rsa"]), "algorithm that is not taken");
    let by = |user: &Authority| {
        let certificate = ca.certify_key(&user.0.join("ca.pub"), &["-n", "alice"]);
        let mut command = door.ssh_command();
        command.arg("-o").arg(format!("CertificateFile={}", certificate.display()));
        command.arg("-i").arg(user.0.join("ca")).args(["-o", "RequiredRSASize=1024", "-l", "alice", "door", "echo in"]);
        run_bounded(command, b"")
    };
    assert_eq!(by(&users).text(), "in");
    assert_eq!(by(&weak).status, 255);
    assert!(refusals(&door).last().unwrap().contains("1024 bits can be broken"), "{:?}", refusals(&door));
}

/// "the key that signed is the key that's granted, even after other offers"
#[test]
fn a_certificate_of_another_key_helps_nobody() {
    if !root() {
        return;
    }
    use support::attacker::Key;
    let ca = Authority::new();
    let (alices, mallorys) = (Key::new(1), Key::new(2));
    let door = Door::with(&format!("{HOST}trusted_user_ca_keys = [\"{}\"]", ca.line()))
        .tenant("alice", "authorized_keys = []")
        .tenant("mallory", &format!("authorized_keys = [\"{}\"]", mallorys.line()))
        .start();
    let certificate = |key: &Key, options: &[&str]| {
        let public = ca.0.join("raw.pub");
        fs::write(&public, key.line()).unwrap();
        let text = fs::read_to_string(ca.certify_key(&public, options)).unwrap();
        text.split(' ').nth(1).unwrap().to_owned()
    };
    let (of_alice, of_mallory) = (certificate(&alices, &["-n", "alice"]), certificate(&mallorys, &["-n", "mallory"]));
    let mut client = Attacker::handshake(door.port);
    client.ask_for_userauth();
    // Offered with alice's certificate, signed with the own key, and with the own certificate.
    client.send(&Attacker::offer_certificate("alice", &of_alice));
    assert_eq!(client.next(&[60, 51]).unwrap()[0], 60);
    client.send(&client.signed_with_certificate("alice", &of_mallory, &mallorys));
    assert_eq!(client.next(&[51, 52, 1]).unwrap()[0], 51);
    client.send(&client.signed("alice", &mallorys, &mallorys));
    assert_eq!(client.next(&[51, 52, 1]).unwrap()[0], 51);
    client.send(&Attacker::offer_certificate("alice", &of_alice));
    client.next(&[60]).unwrap();
    client.send(&client.signed_with_certificate("alice", &of_alice, &mallorys));
    assert_ne!(client.next(&[51, 52, 1]).map_or(1, |message| message[0]), 52, "a signature by another key");
    // What is signed in the end is what is had.
    let mut client = Attacker::handshake(door.port);
    client.ask_for_userauth();
    client.send(&Attacker::offer_certificate("mallory", &of_alice));
    client.next(&[60]).unwrap();
    client.send(&client.signed_with_certificate("mallory", &of_mallory, &mallorys));
    assert_eq!(client.next(&[51, 52]).unwrap()[0], 52);
    assert_eq!(client.exec("id -un").as_deref(), Some("mallory"));

    // "type user only": ssh(1) would not even offer one of a host.
    let mut client = Attacker::handshake(door.port);
    client.ask_for_userauth();
    let of_host = certificate(&alices, &["-h", "-n", "alice"]);
    client.send(&client.signed_with_certificate("alice", &of_host, &alices));
    assert_eq!(client.next(&[51, 52, 1]).unwrap()[0], 51);
    assert!(refusals(&door).last().unwrap().contains("is for a host"), "{:?}", refusals(&door));
}

/// Same words whatever is wrong; the admin is told, with what a stranger chose made harmless
#[test]
fn whoever_is_refused_with_a_certificate_learns_nothing() {
    if !root() {
        return;
    }
    let ca = Authority::new();
    let other = Authority::new();
    let door = Door::with(HOST)
        .tenant("alice", &format!("authorized_keys = []\ntrusted_user_ca_keys = [\"{}\"]", ca.line()))
        .tenant("bob", "")
        .tenant("locked", "locked = true")
        .start();
    let certificates = [ca.certify(&door, &["-n", "carol"]), other.certify(&door, &["-n", "alice"])];
    let mut words = std::collections::BTreeSet::new();
    for certificate in &certificates {
        for user in ["alice", "locked", "nobody-here"] {
            let ran = attempt(&door, user, certificate, &["-v"]);
            let told = |line: &&str| {
                line.contains("Permission denied")
                    || line.contains("Server accepts key")
                    || line.contains("Authentications that can continue")
            };
            let bare = |line: &str| line.split('@').next_back().unwrap().split(" key: ").next().unwrap().to_owned();
            let said: Vec<_> = ran.err.lines().filter(told).map(bare).collect();
            words.insert((ran.status, said.join("\n")));
        }
    }
    assert_eq!(words.len(), 1, "{words:?}");
    let named = ca.certify(&door, &["-n", "alice", "-I", "\u{1b}]52;c;x\u{7}\nev\u{202e}il"]);
    lets_in(&door, "alice", &named);
    let log = door.log() + &fs::read_to_string(door.dir.join("audit.jsonl")).unwrap();
    assert!(log.contains("\\\\x1b") || log.contains("\\x1b"), "{log}");
    assert!(!log.contains('\u{1b}') && !log.contains('\u{202e}'));
}
