//! Logins by password, and by more than one method (issue 4, item 1; threats.md 5.A).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test support code"
)]

use std::{fs, process::Command};

use support::{
    Builder, Door, Ran, Scratch, TerminalClient,
    attacker::{Attacker, Key, Message},
    root, run_bounded,
};

/// Made by crypt(3) of libxcrypt from `hunter2`.
const YESCRYPT: &str = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$PmNgGTLMFjJn.URBv11CpTEm5RwlKtPjRtztKe6.b33";

fn cellblock(arguments: &[&str], input: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellblock"));
    command.args(arguments);
    run_bounded(command, input.as_bytes())
}

/// The line that `cellblock passwd` makes.
fn line(password: &str) -> String {
    let ran = cellblock(&["passwd"], &format!("{password}\n"));
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(ran.text().starts_with("password = \"$argon2id$v=19$m=19456,t=2,p=1$"), "{}", ran.text());
    ran.text()
}

fn with(tables: &str) -> Builder {
    Door::with(&format!("[defaults]\nroot = \"host\"\n{tables}\n"))
}

fn by_password(user: &str, password: &str) -> Message {
    Message::new(50).text(user).text("ssh-connection").text("password").byte(0).text(password)
}

/// Methods that can continue, and whether something was passed (RFC 4252, 5.1).
fn failure(client: &mut Attacker) -> (String, bool) {
    let message = client.next(&[51, 52, 1]).unwrap();
    assert_eq!(message[0], 51, "{message:?}");
    let length = u32::from_be_bytes(message[1..5].try_into().unwrap()) as usize;
    (String::from_utf8(message[5..5 + length].to_vec()).unwrap(), message[5 + length] == 1)
}

fn none(user: &str) -> Message {
    Message::new(50).text(user).text("ssh-connection").text("none")
}

fn client(door: &Door) -> Attacker {
    let mut client = Attacker::handshake(door.port);
    client.ask_for_userauth();
    client
}

#[test]
fn a_password_lets_in_and_a_wrong_one_does_not() {
    if !root() {
        return;
    }
    let door = with("auth = [\"password\"]")
        .tenant("alice", &format!("authorized_keys = []\n{}", line("correct horse")))
        .tenant("yes", &format!("authorized_keys = []\npassword = \"{YESCRYPT}\""))
        .tenant("other", &line("another"))
        .start();
    for (user, password) in [("alice", "correct horse"), ("yes", "hunter2")] {
        assert_eq!(door.types(user, "password", &[password]).text(), "in", "{user}\n{}", door.log());
        for wrong in ["", "another", "correct horse "] {
            assert_eq!(door.types(user, "password", &[wrong]).status, 255, "{user} with {wrong:?}");
        }
        assert_eq!(door.types(user, "password", &[&line(password)]).status, 255, "the hash is no password");
    }
    assert_eq!(door.types("other", "publickey", &[]).status, 255, "a key that `auth` does not ask for");
    let logins: Vec<_> = door.audit().into_iter().filter(|event| event["event"] == "login").collect();
    assert_eq!(logins.len(), 2);
    assert!(logins.iter().all(|event| event["method"] == "password" && event.get("key").is_none()), "{logins:?}");
    let log = door.log() + &fs::read_to_string(door.dir.join("audit.jsonl")).unwrap();
    assert!(!log.contains("correct horse") && !log.contains("hunter2") && !log.contains("$argon2id"), "{log}");
}

/// CVE-2026-123158, CVE-2016-6515: passwords of every length, for hashes that are none
#[test]
fn nothing_is_the_password_of_a_tenant_that_has_none() {
    if !root() {
        return;
    }
    let door = with("auth = [\"password\"]")
        .server("max_auth_tries = 100")
        .tenant("bang", "password = \"!\"")
        .tenant("star", "password = \"*\"")
        .tenant("bangs", "password = \"!!\"")
        .tenant("without", "")
        .tenant("locked", &format!("locked = true\n{}", line("x")))
        .start();
    for user in ["bang", "star", "bangs", "without", "locked", "nobody-here"] {
        let mut client = client(&door);
        for length in [0, 1, 255, 256, 1024, 1025, 64 << 10] {
            client.send(&by_password(user, &"x".repeat(length)));
            assert_eq!(failure(&mut client), ("password".to_owned(), false), "{user} by {length}");
        }
        for password in ["!", "*", "!!", "\0", "x\0"] {
            client.send(&by_password(user, password));
            assert_eq!(failure(&mut client), ("password".to_owned(), false), "{user} by {password:?}");
        }
    }
}

/// CVE-2016-6210, CVE-2018-15473: same words; same time: times.rs
#[test]
fn unknown_locked_and_wrong_password_look_alike() {
    if !root() {
        return;
    }
    let dear = "$argon2id$v=19$m=65536,t=3,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let door = with("auth = [\"publickey\", \"password\"]")
        .tenant("alice", &line("right"))
        .tenant("dear", &format!("password = \"{dear}\""))
        .tenant("keyed", "")
        .tenant("locked", &format!("locked = true\n{}", line("wrong")))
        .start();
    for user in ["alice", "keyed", "locked", "nobody-here", "Not A Name", "dear"] {
        let mut client = client(&door);
        client.send(&none(user));
        assert_eq!(failure(&mut client), ("publickey,password".to_owned(), false), "{user}");
        client.send(&by_password(user, "wrong"));
        assert_eq!(failure(&mut client), ("publickey,password".to_owned(), false), "{user}");
    }
}

#[test]
fn a_sequence_asks_for_all_of_its_methods_in_order() {
    if !root() {
        return;
    }
    let door = with("auth = [\"publickey+password\"]").tenant("alice", &line("right")).start();
    let both = door.types("alice", "publickey,password", &["right"]);
    assert_eq!(both.text(), "in", "{}\n{}", both.err, door.log());
    for (methods, answers) in [
        ("publickey", &[][..]),
        ("password", &["right"]),
        ("publickey,password", &["wrong"]),
        ("publickey,password", &[""]),
    ] {
        assert_eq!(door.types("alice", methods, answers).status, 255, "{methods} with {answers:?}");
    }
    let logins: Vec<_> = door.audit().into_iter().filter(|event| event["event"] == "login").collect();
    assert_eq!(logins.len(), 1);
    assert_eq!(logins[0]["method"], "publickey+password");
    assert!(logins[0]["key"].as_str().unwrap().starts_with("SHA256:"));
}

/// A key's options hold, whatever is shown beside it
#[test]
fn what_a_key_forbids_a_password_beside_it_does_not_allow() {
    if !root() {
        return;
    }
    let door = with("auth = [\"publickey+password\"]")
        .tenant("alice", &format!("authorized_keys = ['command=\"echo forced\" {{key}}']\n{}", line("right")))
        .start();
    assert_eq!(door.types("alice", "publickey,password", &["right"]).text(), "forced");
}

/// GHSA-hpv4-5h6f-wqr3: partial success as alice, then the next method as bob; GHSA-3cjp-w4cp-m9c8:
/// method 2 satisfied by an empty one
#[test]
fn what_one_user_passed_helps_no_other_and_is_forgotten() {
    if !root() {
        return;
    }
    let key = Key::new(1);
    let keys = format!("authorized_keys = [\"{}\"]", key.line());
    let door = with("auth = [\"publickey+password\"]")
        .server("max_auth_tries = 50")
        .tenant("alice", &format!("{keys}\n{}", line("alices")))
        .tenant("bob", &format!("authorized_keys = []\n{}", line("bobs")))
        .start();
    let mut client = client(&door);
    client.send(&by_password("alice", "alices"));
    assert_eq!(failure(&mut client), ("publickey".to_owned(), false), "not in this order");
    client.send(&client.signed("alice", &key, &key));
    assert_eq!(failure(&mut client), ("password".to_owned(), true));
    for empty in ["", "\0", "bobs"] {
        client.send(&by_password("alice", empty));
        assert_eq!(failure(&mut client), ("password".to_owned(), false), "{empty:?}");
    }
    client.send(&client.signed("alice", &key, &key));
    assert_eq!(failure(&mut client), ("password".to_owned(), false), "the same method twice");
    // Another user has shown nothing; and then neither has alice.
    client.send(&by_password("bob", "bobs"));
    assert_eq!(failure(&mut client), ("publickey".to_owned(), false));
    client.send(&by_password("alice", "alices"));
    assert_eq!(failure(&mut client), ("publickey".to_owned(), false));
    // Begun anew, it leads in.
    client.send(&client.signed("alice", &key, &key));
    assert_eq!(failure(&mut client), ("password".to_owned(), true));
    client.send(&by_password("alice", "alices"));
    assert_eq!(client.next(&[51, 52]).unwrap()[0], 52);
    assert_eq!(client.exec("id -un").as_deref(), Some("alice"));
}

/// A change of the service ends the connection: there is but one
#[test]
fn another_service_name_ends_the_login() {
    if !root() {
        return;
    }
    let key = Key::new(1);
    let door = with("auth = [\"publickey+password\"]")
        .tenant("alice", &format!("authorized_keys = [\"{}\"]\n{}", key.line(), line("right")))
        .start();
    let mut client = client(&door);
    client.send(&client.signed("alice", &key, &key));
    assert_eq!(failure(&mut client), ("password".to_owned(), true));
    client.send(&Message::new(50).text("alice").text("ssh-userauth").text("password").byte(0).text("right"));
    assert!(!client.hung_up().contains(&52));
}

#[test]
fn either_of_two_ways_leads_in() {
    if !root() {
        return;
    }
    let door = with("auth = [\"publickey\", \"password\"]").tenant("alice", &line("right")).start();
    assert_eq!(door.types("alice", "publickey", &[]).text(), "in");
    assert_eq!(door.types("alice", "password", &["right"]).text(), "in");
    assert_eq!(door.types("alice", "password", &["wrong"]).status, 255);
}

/// GHSA-g6xm-f9xp-qq35: tries count across methods
#[test]
fn tries_count_across_methods() {
    if !root() {
        return;
    }
    let wrong = Key::new(2);
    let door = with("auth = [\"publickey\", \"password\"]")
        .server("max_auth_tries = 4")
        .tenant("alice", &line("right"))
        .start();
    let mut client = client(&door);
    let mut failures = 0;
    for number in 0..20 {
        let message =
            if number % 2 == 0 { by_password("alice", "wrong") } else { client.signed("alice", &wrong, &wrong) };
        if client.try_send(&message).is_err() {
            break;
        }
        match client.next(&[51, 52]) {
            Ok(message) if message[0] == 51 => failures += 1,
            Ok(_) => panic!("logged in"),
            Err(_) => break,
        }
    }
    assert!((3..=5).contains(&failures), "{failures} tries");
}

#[test]
fn passwd_asks_twice_and_echoes_nothing() {
    let terminal = |first: &str, second: &str, answer: &str| {
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait", env!("CARGO_BIN_EXE_cellblock"), "passwd"]);
        let mut client = TerminalClient::start(command, 24, 200);
        client.expect("Password: ");
        client.send(&format!("{first}\n"));
        client.expect("Again: ");
        client.send(&format!("{second}\n"));
        client.expect(answer);
        (client.wait(), client.shown())
    };
    let (status, shown) = terminal("sesame-1", "sesame-1", "password = \"$argon2id$");
    assert_eq!(status, 0, "{shown}");
    assert!(!shown.contains("sesame"), "{shown}");
    let (status, shown) = terminal("sesame-1", "sesame-2", "the two are not the same");
    assert_eq!(status, 1, "{shown}");
    assert!(!shown.contains("sesame"), "{shown}");
    for refused in ["", "\n", &format!("{}\n", "x".repeat(1025))] {
        assert_eq!(cellblock(&["passwd"], refused).status, 1);
    }
}

#[test]
fn check_names_hashes_that_cannot_be_used_without_showing_them() {
    if !root() {
        return;
    }
    let dir = Scratch::new();
    let config = dir.join("cellblock.toml");
    let check = |lines: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        let text = format!("[defaults]\nauth = [\"password\"]\n[tenant.alice]\n{lines}\n");
        fs::write(&config, text).unwrap();
        fs::set_permissions(&config, fs::Permissions::from_mode(mode)).unwrap();
        let ran = cellblock(&["--config", config.to_str().unwrap(), "check"], "");
        (ran.status, ran.text() + &ran.err)
    };
    let cases = [
        ("password = \"hunter2\"", "no password hash"),
        ("password = \"$6$abc$hunter2\"", "only argon2id and yescrypt"),
        ("password = \"$argon2id$v=19$m=19456,t=2,p=1$hunter2\"", "malformed"),
        (
            "password = \"$argon2id$v=19$m=99999999,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAhunter2A\"",
            "256M",
        ),
    ];
    for (lines, words) in cases {
        let (status, said) = check(lines, 0o600);
        assert_eq!(status, 1, "{said}");
        assert!(said.contains(words) && !said.contains("hunter2"), "{said}");
    }
    let (status, said) = check(&line("x"), 0o644);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("others than root can read this hash") && !said.contains("$m="), "{said}");
    let (status, said) = check(&line("x"), 0o600);
    assert!(status == 0 && !said.contains("can read"), "{said}");
    let (_, said) = check("", 0o600);
    assert!(said.contains("nobody can log in as `alice`: there is no password"), "{said}");
    let (status, said) = check("auth = [\"publickey+publickey\"]", 0o600);
    assert!(status == 1 && said.contains("twice"), "{said}");
}
