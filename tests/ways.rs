//! What must be shown together: certificates in every way to log in and from every source of authorities, and
//! sequences in every order (issue 4, item 1; threats.md, 5.B: "cert with source-address via every auth method",
//! "AND-policies: every ordering").
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
    os::unix::fs::{PermissionsExt, lchown},
    path::Path,
    process::Command,
};

use support::{
    Builder, Door, Scratch,
    attacker::{Attacker, Key, Message},
    pam::Service,
    root,
};

const RIGHT: &str = "right";

/// A door where keyboard-interactive asks for [`RIGHT`].
fn door(service: &Service, defaults: &str) -> Builder {
    let many = "max_auth_tries = 50\nmax_startups = \"200:30:300\"";
    Door::with(&format!("[defaults]\nroot = \"host\"\npam_service = \"{}\"\n{defaults}\n", service.name)).server(many)
}

fn service() -> Service {
    Service::new("auth required SCRIPT [ask=Word: ] is=right\n")
}

/// The line of the config that makes [`RIGHT`] the password.
fn password() -> String {
    let hash = cellblock::auth::hash(&cellblock::base::Secret::new(RIGHT.into())).unwrap();
    format!("password = \"{hash}\"")
}

fn client(door: &Door) -> Attacker {
    let mut client = Attacker::handshake(door.port);
    client.ask_for_userauth();
    client
}

fn asking(user: &str, method: &str) -> Message {
    Message::new(50).text(user).text("ssh-connection").text(method)
}

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    In,
    /// That was one of several.
    More,
    Refused,
}

/// Shows what `method` asks for; the key or certificate is what `signed` makes.
fn show(client: &mut Attacker, user: &str, method: &str, signed: &dyn Fn(&Attacker) -> Message) -> Got {
    let request = match method {
        "publickey" => signed(client),
        "password" => asking(user, method).byte(0).text(RIGHT),
        _ => asking(user, method).text("").text(""),
    };
    client.send(&request);
    let mut answer = client.next(&[51, 52, 60]).unwrap();
    if answer[0] == 60 {
        client.send(&Message::new(61).number(1).text(RIGHT));
        answer = client.next(&[51, 52]).unwrap();
    }
    match (answer[0], answer.last()) {
        (52, _) => Got::In,
        (_, Some(1)) => Got::More,
        _ => Got::Refused,
    }
}

/// Why the last certificate was refused, for the admin.
fn last_refusal(door: &Door) -> String {
    let refused = |event: &serde_json::Value| event["event"] == "login_refused" && event["method"] == "certificate";
    door.audit().iter().rfind(|event| refused(event)).map(|event| event["reason"].to_string()).unwrap_or_default()
}

/// Certificates for `key` by an authority of its own, in base64.
struct Authority(Scratch);

impl Authority {
    fn new() -> Self {
        let dir = Scratch::new();
        keygen(&["-t", "ed25519", "-N", "", "-f", dir.join("ca").to_str().unwrap()]);
        Self(dir)
    }

    fn line(&self) -> String {
        fs::read_to_string(self.0.join("ca.pub")).unwrap().trim().to_owned()
    }

    fn certify(&self, key: &Key, principals: &str, source: &str) -> String {
        let public = self.0.write("user.pub", &key.line());
        let (ca, option) = (self.0.join("ca"), format!("source-address={source}"));
        let arguments = ["-s", ca.to_str().unwrap(), "-I", "x", "-n", principals, "-O", &option];
        keygen(&[&arguments[..], &[public.to_str().unwrap()]].concat());
        let text = fs::read_to_string(self.0.join("user-cert.pub")).unwrap();
        text.split(' ').nth(1).unwrap().to_owned()
    }
}

fn keygen(arguments: &[&str]) {
    assert!(Command::new("ssh-keygen").arg("-q").args(arguments).status().unwrap().success(), "{arguments:?}");
}

/// A program that prints `text`, where the account that asks it can get to, and only root can write.
struct Printer(String);

impl Printer {
    fn of(text: &str) -> Self {
        let at = format!("/usr/local/lib/cellblock-ways-{}", std::process::id());
        fs::create_dir_all(&at).unwrap();
        let path = format!("{at}/print");
        fs::write(&path, format!("#!/bin/sh\necho '{text}'\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(at)
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Where a `cert-authority` line can stand, and whether one that stands there counts.
const SOURCES: [(&str, bool); 5] =
    [("trusted", true), ("inline", true), ("file", true), ("command", true), ("home", false)];

/// Each with a name for tenants.
const WAYS: [(&str, &str); 5] = [
    ("key", "publickey"),
    ("key-word", "publickey+password"),
    ("key-asked", "publickey+keyboard-interactive"),
    ("word-key", "password+publickey"),
    ("asked-key", "keyboard-interactive+publickey"),
];

/// CVE-2024-45337, CVE-2026-46595, CVE-2026-56854: `source-address` binds wherever the authority is named, and
/// whatever is shown beside the certificate
#[test]
fn where_a_certificate_may_be_used_from_holds_in_every_way_to_log_in() {
    if !root() {
        return;
    }
    let (service, ca, key) = (service(), Authority::new(), Key::new(1));
    let line = format!("cert-authority {}", ca.line());
    let printer = Printer::of(&line);
    let mut builder = door(&service, "");
    let tenants: Vec<_> = SOURCES
        .iter()
        .flat_map(|(source, counts)| WAYS.map(|(short, way)| (format!("{source}-{short}"), *source, *counts, way)))
        .collect();
    for (name, source, _, way) in &tenants {
        let keys = match *source {
            "trusted" => format!("authorized_keys = []\ntrusted_user_ca_keys = [\"{}\"]", ca.line()),
            "inline" => format!("authorized_keys = ['{line}']"),
            "file" => "authorized_keys = []\nauthorized_keys_file = \"{dir}/keys\"".to_owned(),
            "command" => format!(
                "authorized_keys = []\nauthorized_keys_command = \"{}/print %u\"\n\
                 authorized_keys_command_user = \"nobody\"",
                printer.0
            ),
            _ => "authorized_keys = []\nown_keys = true".to_owned(),
        };
        builder = builder.tenant(name, &format!("auth = [\"{way}\"]\n{}\n{keys}", password()));
    }
    let door = builder.start();
    door.dir.write("keys", &format!("{line}\n"));
    for (name, source, ..) in &tenants {
        if *source == "home" {
            own_file(&door.dir.join("state/tenants").join(name).join("home"), &line);
        }
    }
    let names: Vec<_> = tenants.iter().map(|(name, ..)| name.as_str()).collect();
    let here = ca.certify(&key, &names.join(","), "192.0.2.1,127.0.0.0/8");
    let elsewhere = ca.certify(&key, &names.join(","), "192.0.2.0/24");
    let logs_in = |user: &str, way: &str, certificate: &str| {
        let mut client = client(&door);
        let signed = |client: &Attacker| client.signed_with_certificate(user, certificate, &key);
        let got: Vec<_> = way.split('+').map(|method| show(&mut client, user, method, &signed)).collect();
        let at_key = way.split('+').position(|method| method == "publickey").unwrap();
        let refused = (got[at_key] == Got::Refused).then(|| last_refusal(&door));
        (got.last() == Some(&Got::In), refused)
    };
    for (user, _, counts, way) in &tenants {
        let (is_in, refused) = logs_in(user, way, &here);
        assert_eq!((is_in, refused.is_none()), (*counts, *counts), "{user} from here: {refused:?}\n{}", door.log());
        let (is_in, refused) = logs_in(user, way, &elsewhere);
        let why = if *counts { "not for this address" } else { "by nobody who is trusted" };
        assert!(
            !is_in && refused.as_ref().is_some_and(|said| said.contains(why)),
            "{user} from elsewhere: {refused:?}"
        );
    }
}

/// A tenant's own file of keys, as a login would have made it: owners on disk are those inside.
fn own_file(home: &Path, line: &str) {
    fs::create_dir_all(home.join(".ssh")).unwrap();
    fs::write(home.join(".ssh/authorized_keys"), line).unwrap();
    for path in [home, &home.join(".ssh"), &home.join(".ssh/authorized_keys")] {
        lchown(path, Some(1000), Some(1000)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(if path.is_dir() { 0o700 } else { 0o600 })).unwrap();
    }
}

/// All orders of three.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// "AND-policies: every ordering": of everything that is right, shown in each order, only the order of the config
/// leads in
#[test]
fn three_methods_lead_in_in_their_own_order_alone() {
    if !root() {
        return;
    }
    let (service, key) = (service(), Key::new(1));
    let methods = ["publickey", "password", "keyboard-interactive"];
    let name = |order: [usize; 3]| format!("t{}{}{}", order[0], order[1], order[2]);
    let mut builder = door(&service, "");
    for order in ORDERS {
        let way = order.map(|method| methods[method]).join("+");
        let lines = format!("auth = [\"{way}\"]\n{}\nauthorized_keys = [\"{}\"]", password(), key.line());
        builder = builder.tenant(&name(order), &lines);
    }
    let door = builder.start();
    for asked in ORDERS {
        let user = name(asked);
        for shown in ORDERS {
            let mut client = client(&door);
            let signed = |client: &Attacker| client.signed(&user, &key, &key);
            let got = shown.map(|method| show(&mut client, &user, methods[method], &signed));
            // Each counts where it is the next that is asked for, and is refused where it is not.
            let mut next = asked.into_iter().peekable();
            let due = shown.map(|method| next.next_if_eq(&method).is_some());
            let expected = due.map(|due| if due { Got::More } else { Got::Refused });
            if shown == asked {
                assert_eq!(got, [Got::More, Got::More, Got::In], "{user}");
            } else {
                assert_eq!(got, expected, "{user}, shown in the order {shown:?}\n{}", door.log());
            }
        }
    }
}

/// docs/threat-model.md: "offers of keys are answered alike for everybody": also where no key is asked for, or not
/// yet, or no more
#[test]
fn offers_that_are_not_in_turn_tell_nothing_of_a_key() {
    if !root() {
        return;
    }
    let (ca, key, other) = (Authority::new(), Key::new(1), Key::new(2));
    let lines = |way: &str| format!("auth = [\"{way}\"]\n{}\nauthorized_keys = [\"{}\"]", password(), key.line());
    let door = door(&service(), &format!("trusted_user_ca_keys = [\"{}\"]", ca.line()))
        .tenant("word", &lines("password"))
        .tenant("word-key", &lines("password+publickey"))
        .tenant("key-word", &lines("publickey+password"))
        .tenant("key", &lines("publickey"))
        .start();
    let offered = |client: &mut Attacker, user: &str| {
        [&key, &other].map(|key| {
            client.send(&Attacker::offer(user, key));
            client.next(&[51, 60]).unwrap()
        })
    };
    for (user, answer) in [("word", 51), ("word-key", 51), ("key-word", 60), ("key", 60), ("nobody-here", 60)] {
        let of = offered(&mut client(&door), user).map(|answer| answer[0]);
        assert_eq!(of, [answer; 2], "{user}: the key that is authorized, and another");
    }
    let mut client = client(&door);
    let signed = |client: &Attacker| client.signed("key-word", &key, &key);
    assert_eq!(show(&mut client, "key-word", "publickey", &signed), Got::More);
    assert_eq!(offered(&mut client, "key-word").map(|answer| answer[0]), [51; 2], "it was shown");
}
