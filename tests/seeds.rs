//! The seeds of the fuzz targets, and small changes of them, whenever the tests run (`fuzz/README.md`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "test support code"
)]

#[path = "../fuzz/targets.rs"]
mod targets;

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use cellblock::{
    base::Secret,
    wire::{
        control::{Answer, Ask, Origin, Penalty},
        door::{Given, Outcome, Word},
        enter::{self, Call, NoEntry},
        forward::{Place, Socket, Target},
        init::{Account, Greeting, Hit, Open, Order, Report, Running, RunningSession, Start, Victim},
        link,
        login::{LoggedIn, Method, Reply, Request, Setup, TriedMethod},
        pam,
        session::{Exit, Program, Signal, Terminal, Usage, WindowSize},
        sftp::{Access, Entry, Operation, Record},
        verify::{Attempt, Check, Finding, Verdict},
    },
};
use serde::Serialize;
use targets::string;

/// Seeds that are made from messages: their names, and the bytes.
type Made = Vec<(&'static str, Vec<u8>)>;

/// Longer seeds are cut and changed in their beginning alone.
const CHANGED: usize = 512;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs `target` over every seed of the directory: it must take it for what it should be, and survive
/// what a fuzzer does first: shorter, and one bit wrong.
fn seeds(directory: &str, target: fn(&[u8]) -> bool) {
    let mut count = 0;
    for entry in fs::read_dir(repository(directory)).unwrap() {
        let path = entry.unwrap().path();
        let data = fs::read(&path).unwrap();
        assert!(target(&data), "{} is no longer taken; BLESS=1 makes those anew that can be", path.display());
        for length in 0..data.len().min(CHANGED) {
            target(&data[..length]);
            let mut wrong = data.clone();
            wrong[length] ^= 1 << (length % 8);
            target(&wrong);
        }
        count += 1;
    }
    assert!(count > 0, "no seeds in {directory}");
}

/// Compares seeds that are made with those that are there, or writes them where `BLESS=1` is set.
fn made(target: &str, seeds: Made) {
    for (name, bytes) in seeds {
        let path = repository(&format!("fuzz/seeds/{target}/{name}"));
        if env::var_os("BLESS").is_some() {
            fs::write(&path, &bytes).unwrap();
        }
        assert!(fs::read(&path).ok() == Some(bytes), "{} differs; BLESS=1 writes it anew", path.display());
    }
}

fn message<T: Serialize>(kind: u8, message: &T) -> Vec<u8> {
    [&[kind][..], &**link::encode(message).unwrap()].concat()
}

fn terminal() -> Terminal {
    let size = WindowSize { columns: 80, rows: 24, width: 0, height: 0 };
    Terminal { term: "xterm-256color".into(), size, modes: vec![(1, 3), (53, 1), (128, 38400)] }
}

fn account() -> Account {
    Account {
        name: "alice".into(),
        uid: 1000,
        gid: 1000,
        home: "/home/alice".into(),
        shell: "/bin/bash".into(),
        capabilities: 0,
        bounding: 0xff,
        no_new_privs: true,
        rlimits: vec![(7, 1024, 4096)],
        umask: 0o022,
    }
}

/// Between the ssh process and its monitor.
fn logins() -> Made {
    let user = || "alice".to_owned();
    let start = Request::StartSession {
        channel: 3,
        program: Program::Command(b"ls -l".to_vec()),
        terminal: Some(terminal()),
        environment: vec![("LANG".into(), "C.UTF-8".into())],
    };
    let display = Place::Display { protocol: "MIT-MAGIC-COOKIE-1".into(), cookie: "00ff".into(), screen: 0 };
    let setup = Setup {
        host_keys: vec![Secret::new("key".into())],
        banner: Some("welcome".into()),
        methods: Method::ALL.to_vec(),
        max_auth_tries: 6,
        max_channels: 64,
        client_alive_interval: Some(Duration::from_secs(15)),
        client_alive_count_max: 3,
        rekey_bytes: 1 << 30,
        rekey_time: Duration::from_secs(3600),
        most_exchange: Duration::from_secs(30),
        encrypt_and_mac: false,
    };
    let inside = LoggedIn {
        pty: true,
        signals: true,
        accept_env: vec!["LANG".into(), "LC_*".into()],
        idle_timeout: Some(Duration::from_secs(60)),
        channel_timeout: None,
        forward_timeout: Some(Duration::from_secs(600)),
    };
    vec![
        ("offer-key", message(0, &Request::OfferKey { user: user(), key: vec![0, 0, 0, 1, 7] })),
        ("password", message(0, &Request::Password { user: user(), password: Secret::new("secret".into()) })),
        ("tried", message(0, &Request::TriedMethod { user: user(), method: TriedMethod::None })),
        ("start-session", message(0, &start)),
        ("listen", message(0, &Request::Listen { forward: 1, place: display })),
        ("setup", message(1, &Reply::Setup(Box::new(setup)))),
        ("logged-in", message(1, &Reply::LoggedIn(inside))),
        ("session-ended", message(1, &Reply::SessionEnded { channel: 3, exit: Exit::Status(7) })),
    ]
}

/// Between monitors and the init of a cell.
fn orders() -> Made {
    let id = || "0123456789ab-1".parse().unwrap();
    let start = Start {
        session: 1,
        id: id(),
        peer: Some("192.0.2.1:50000".parse().unwrap()),
        program: Program::Sftp(Access::ReadWrite),
        terminal: Some(terminal()),
        account: account(),
        environment: vec![("PATH".into(), "/bin".into())],
        greeting: Some(Greeting { said: String::new(), last_login: Some("Last login".into()), motd: true }),
        linger: Some(Duration::from_secs(600)),
        max_sessions: 10,
    };
    let open = |socket| Open { forward: 2, socket, account: account(), linger: None };
    let target = Target::Tcp { host: "localhost".into(), port: 80 };
    let directory = "/tmp/ssh-x".to_owned();
    let running = RunningSession {
        id: id(),
        peer: None,
        pid: 7,
        age: Duration::from_secs(1),
        terminal: false,
        program: Program::Shell,
    };
    let hit = Hit::Memory {
        most: "512M".parse().unwrap(),
        stopped: 1,
        victim: Some(Victim { pid: 9, name: "python3".into() }),
    };
    let exit = Exit::Signal { number: 15, name: "TERM".into(), core: false };
    vec![
        ("start", message(2, &Order::Start(Box::new(start)))),
        ("connect", message(2, &Order::Open(Box::new(open(Socket::To(target)))))),
        ("private", message(2, &Order::Open(Box::new(open(Socket::Private { directory, name: "agent".into() }))))),
        ("signal", message(2, &Order::Signal { session: 1, signal: Signal::Hup })),
        ("list", message(2, &Order::List { after: Some(id()) })),
        ("running", message(3, &Report::Running(Running { sessions: vec![running], more: true, connections: 1 }))),
        ("hit", message(3, &Report::LimitHit { hit, sessions: vec![1, 2], record: true })),
        ("ended", message(3, &Report::Ended { session: 1, exit, usage: Usage::default() })),
    ]
}

/// All other messages.
fn others() -> Made {
    let source = Origin::Block("192.0.2.0/24".parse().unwrap());
    let penalty = Penalty { source, cause: Outcome::AuthFail, left: Duration::from_secs(9) };
    let record = Record {
        operation: Operation::Rename,
        path: b"a".to_vec(),
        to: Some(b"b".to_vec()),
        bytes: Some((1, 2)),
        error: Some("Permission denied".into()),
    };
    let mut journal = vec![7];
    Entry::Done(record).append_to(&mut journal);
    Entry::Missing(4).append_to(&mut journal);
    let attempt = Attempt { tried: "a".into(), happened: "b".into(), verdict: Verdict::Held };
    let finding = serde_json::to_vec(&Finding { check: Check::ALL[0], attempts: vec![attempt] }).unwrap();
    vec![
        ("ask", message(4, &Ask::Reload)),
        ("penalties", message(5, &Answer::Penalties { penalties: vec![penalty], count: 1 })),
        ("cell-entered", message(6, &Word::CellEntered { tenant: "alice".parse().unwrap(), pid: 4 })),
        ("journal", journal),
        ("finding", [&[8][..], &*finding].concat()),
    ]
}

/// With callers of this host, and with `cellblock-pam`.
fn callers_and_pam() -> Made {
    let came_by = Some(("192.0.2.1:50000".parse().unwrap(), "[2001:db8::1]:22".parse().unwrap()));
    let inside = LoggedIn {
        pty: false,
        signals: false,
        accept_env: Vec::new(),
        idle_timeout: None,
        channel_timeout: Some(Duration::from_secs(60)),
        forward_timeout: None,
    };
    let begin = pam::Order::Begin {
        service: "cellblock".into(),
        user: "alice".into(),
        peer: "192.0.2.1".into(),
        authenticate: true,
        seconds: 120,
    };
    let prompt = pam::Prompt { text: "Password: ".into(), echo: false };
    let ask = pam::Word::Ask { text: "Welcome".into(), prompts: vec![prompt] };
    let said = || "Account expires tomorrow".to_owned();
    vec![
        ("call", message(9, &Call { tenant: Some("alice".into()), came_by })),
        ("call-own", message(9, &Call { tenant: None, came_by: None })),
        ("entered", message(10, &enter::Answer::Entered(inside))),
        ("no-entry", message(10, &enter::Answer::Refused(NoEntry::Another))),
        ("pam-begin", message(11, &begin)),
        ("pam-answers", message(11, &pam::Order::Answers(vec![Secret::new("secret".into())]))),
        ("pam-ask", message(12, &ask)),
        ("pam-refused", message(12, &pam::Word::Refused(said()))),
        ("pam-opened", message(12, &pam::Word::SessionOpened { text: said() })),
        ("given", message(13, &Given { pid: 7, uid: 1000 })),
    ]
}

#[test]
fn messages_between_our_processes_come_out_as_they_went_in_or_not_at_all() {
    made("wire", [logins(), orders(), others(), callers_and_pam()].concat());
    seeds("fuzz/seeds/wire", targets::wire);
}

#[test]
fn configs_are_taken_whole_or_refused_with_a_finding() {
    if !support::root() {
        return;
    }
    seeds("fuzz/seeds/config", targets::config);
    for example in fs::read_dir(repository("examples")).unwrap() {
        targets::config(&fs::read(example.unwrap().path()).unwrap());
    }
}

#[test]
fn lines_of_keys_are_keys_nothing_or_errors() {
    seeds("fuzz/seeds/authorized_keys", targets::authorized_keys);
}

/// What an authority signs: `options` are critical, `extensions` are not.
fn certified(name: &str, options: &[[&str; 2]], extensions: &[&str]) -> Vec<u8> {
    let option = |[name, value]: &[&str; 2]| [string(name.as_bytes()), string(&string(value.as_bytes()))].concat();
    let extension = |name: &&str| [string(name.as_bytes()), string(b"")].concat();
    [
        &9_u64.to_be_bytes()[..],
        &1_u32.to_be_bytes(),
        &string(b"of alice"),
        &string(&string(name.as_bytes())),
        &0_u64.to_be_bytes(),
        &u64::MAX.to_be_bytes(),
        &string(&options.iter().flat_map(option).collect::<Vec<u8>>()),
        &string(&extensions.iter().flat_map(extension).collect::<Vec<u8>>()),
        &string(b""),
    ]
    .concat()
}

#[test]
fn a_certificate_gives_what_the_rules_say_whatever_is_signed() {
    let bound = certified("alice", &[["force-command", "ls"], ["source-address", "192.0.2.0/24"]], &[]);
    made("certificate", vec![("free", certified("alice", &[], &["permit-pty"])), ("bound", bound)]);
    seeds("fuzz/seeds/certificate", targets::certificate);
    for (name, option) in [("bob", "force-command"), ("alice", "verify-required")] {
        assert!(!targets::certificate(&certified(name, &[[option, "x"]], &[])), "{name}, {option}");
    }
}

/// An sftp packet: its type, what follows, and its length before all.
fn packet(kind: u8, rest: &[&[u8]]) -> Vec<u8> {
    string(&[&[kind][..], &*rest.concat()].concat())
}

#[test]
fn packets_of_sftp_are_requests_or_the_end() {
    let hello = packet(1, &[&3_u32.to_be_bytes()]);
    let id = 7_u32.to_be_bytes();
    let path = string(b"file");
    let all = 15_u32.to_be_bytes();
    let attributes = [&all[..], &[0; 8], &[1; 8], &[2; 4], &[3; 8]].concat();
    let (handle, offset) = (string(&[0; 8]), 5_u64.to_be_bytes());
    let open = packet(3, &[&id, &path, &26_u32.to_be_bytes(), &attributes]);
    let write = packet(6, &[&id, &handle, &offset, &string(b"data")]);
    let copy = packet(200, &[&id, &string(b"copy-data"), &handle, &offset, &offset, &handle, &offset]);
    let names = packet(200, &[&id, &string(b"users-groups-by-id@openssh.com"), &string(&id), &string(&id)]);
    let symlink = packet(20, &[&id, &path, &path]);
    made(
        "sftp",
        vec![("files", [hello.clone(), open, write, symlink].concat()), ("extended", [hello, copy, names].concat())],
    );
    seeds("fuzz/seeds/sftp", targets::sftp);
}

#[test]
fn terminal_modes_of_any_number_and_value_apply() {
    let every = |value: u32| (0..=255_u8).flat_map(|op| [&[op][..], &value.to_be_bytes()[..]].concat()).collect();
    made("terminal_modes", vec![("off", every(0)), ("on", every(1)), ("characters", every(255)), ("most", every(!0))]);
    seeds("fuzz/seeds/terminal_modes", targets::terminal_modes);
}

/// The fuzz crate is built by `fuzz/run` alone (`fuzz/README.md`): what it adds to `targets.rs` is looked at here
#[test]
fn every_target_has_its_program_its_seeds_and_what_it_is_linked_against() {
    let read = |path: &str| fs::read_to_string(repository(path)).unwrap();
    let (targets, run, page) = (read("fuzz/targets.rs"), read("fuzz/run"), read("fuzz/README.md"));
    let manifest: toml::Table = toml::from_str(&read("fuzz/Cargo.toml")).unwrap();
    let programs = manifest["bin"].as_array().unwrap();
    let taking = |line: &&str| line.starts_with("pub fn ") && line.ends_with("(data: &[u8]) -> bool {");
    assert_eq!(targets.lines().filter(taking).count(), programs.len());
    for program in programs {
        let name = program["name"].as_str().unwrap();
        assert_eq!(program["path"].as_str().unwrap(), format!("fuzz_targets/{name}.rs"));
        let text = read(&format!("fuzz/fuzz_targets/{name}.rs"));
        let expected = format!(
            "#![no_main]\n\n#[path = \"../targets.rs\"]\nmod targets;\n\n\
             libfuzzer_sys::fuzz_target!(|data: &[u8]| {{\n    targets::{name}(data);\n}});\n"
        );
        assert_eq!(text, expected, "{name}");
        assert!(targets.contains(&format!("pub fn {name}(data: &[u8]) -> bool {{")), "{name}");
        assert!(repository(&format!("fuzz/seeds/{name}")).is_dir(), "{name} has no seeds");
        let default = run.lines().find(|line| line.contains("|| targets=(")).unwrap();
        assert!(default.contains(name) && page.contains(&format!("\n| `{name}` |")), "{name}");
    }
    let linked = manifest["dependencies"].as_table().unwrap();
    for used in targets.lines().filter_map(|line| line.strip_prefix("use ")) {
        let name = used.split("::").next().unwrap().replace('_', "-");
        assert!(name == "std" || linked.contains_key(&name), "{name} is not in fuzz/Cargo.toml");
    }
}
