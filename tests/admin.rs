//! The admin's verbs on a running door: `list`, `kill`, `reload` (design.md, "Commands").
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
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::Command,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::Value;
use support::{Door, Scratch, procfs, program, root, run_bounded, soon};

fn cells(door: &Door) -> Vec<Value> {
    let ran = door.verb(&["list", "--json"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    let list: Value = serde_json::from_str(&ran.text()).unwrap_or_else(|e| panic!("{e}: {}", ran.text()));
    list["cells"].as_array().unwrap().clone()
}

fn cell(door: &Door, tenant: &str) -> Value {
    cells(door).into_iter().find(|cell| cell["tenant"] == tenant).unwrap_or_else(|| panic!("no cell of {tenant}"))
}

/// "list (running cells and sessions: tenant, pid 1, since when, sessions, connections)"
#[test]
fn list_shows_cells_and_sessions_under_the_names_of_the_audit_file() {
    if !root() {
        return;
    }
    let door = Door::standard();
    assert_eq!(door.verb(&["list"]).text(), "no cell runs");
    let live = door.spawn("alice", "echo up; exec sleep 1000");
    let other = door.spawn("alice", "printf 'up\\n' '\u{1b}]0;x\u{7}'; exec sleep 1001");
    let bob = door.master("bob");
    assert_eq!((live.line().as_str(), other.line().as_str(), bob.ok("echo up").as_str()), ("up", "up", "up"));

    // bob is connected, but has no session: his cell has nothing to live for.
    soon("bob's cell has ended", || cells(&door).len() == 1);
    let listed = cells(&door);
    assert_eq!(listed.iter().map(|cell| cell["tenant"].as_str().unwrap()).collect::<Vec<_>>(), ["alice"]);
    let alice = &listed[0];
    let pid = alice["pid"].as_i64().unwrap() as i32;
    assert!(procfs::status(pid, "NSpid").unwrap().ends_with("\t1"), "pid 1 of a cell");
    assert_eq!(alice["connections"], 2);
    let mut named: Vec<_> = alice["sessions"].as_array().unwrap().iter().map(|one| one["session"].clone()).collect();
    let mut audited: Vec<_> = door
        .audit()
        .iter()
        .filter(|event| event["event"] == "session_start" && event["tenant"] == "alice")
        .map(|event| event["session"].clone())
        .collect();
    named.sort_by_key(Value::to_string);
    audited.sort_by_key(Value::to_string);
    assert_eq!((named.len(), &named), (2, &audited));
    for session in alice["sessions"].as_array().unwrap() {
        assert_eq!((&session["kind"], &session["terminal"]), (&"exec".into(), &false.into()));
        let from: std::net::SocketAddr = session["from"].as_str().unwrap().parse().unwrap();
        assert!(from.ip().is_loopback() && from.port() != 0, "{session}");
        for time in [&session["since"], &alice["since"]] {
            assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
        }
    }

    let text = door.verb(&["list"]).text();
    assert!(text.lines().next().unwrap().starts_with("TENANT"), "{text}");
    assert!(text.contains("  from 127.0.0.1:"), "{text}");
    assert!(text.contains(named[0].as_str().unwrap()) && text.contains("exec sleep 1000"), "{text}");
    assert!(!text.contains('\u{1b}') && text.contains("\\x1b]0;x\\x07"), "{text:?}");
}

/// An admin who looks every second must not keep a cell alive that nobody uses
#[test]
fn looking_at_a_cell_does_not_make_it_live_longer() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\nlinger = \"2s\"\n").tenant("alice", "").start();
    door.ok("alice", "nohup sleep 1000 >/dev/null 2>&1 & echo left");
    let left = Instant::now();
    soon("the cell has ended by itself", || cells(&door).is_empty());
    assert!(left.elapsed() < Duration::from_secs(10), "{:?}", left.elapsed());
}

/// "kill ends them (ssh client ends, next login works)", and nothing is left behind
#[test]
fn kill_ends_a_cell_and_the_next_login_makes_another() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let before = door.counts();
    let mut live = door.spawn("alice", "trap '' HUP TERM; echo up; while :; do sleep 1; done");
    let mut eve = door.spawn("eve", "echo up; exec cat");
    assert_eq!((live.line().as_str(), eve.line().as_str()), ("up", "up"));
    let pid = cell(&door, "alice")["pid"].as_i64().unwrap() as i32;

    let ran = door.verb(&["kill", "alice", "--grace", "200ms"]);
    assert_eq!((ran.status, ran.text().as_str()), (0, "the cell of alice: ended"), "{}", ran.err);
    assert!(procfs::ended(pid), "it is gone when kill returns");
    // The listener, which sees the end as well, holds the name for a moment to look.
    soon("nothing of it is written down", || !door.run_dir().join("cells/alice").exists());
    assert!(!door.counts().cgroups.iter().any(|path| path.components().any(|part| part.as_os_str() == "alice")));
    assert_ne!(live.wait(), 0);

    assert_eq!(door.ok("alice", "echo well"), "well");
    eve.write("still here\n");
    assert_eq!(eve.line(), "still here");
    assert_eq!(door.verb(&["kill", "eve"]).status, 0);
    assert_ne!(eve.wait(), 0);
    drop((live, eve));
    door.returns_to(&before);
}

/// "Kill must also work when no listener runs"
#[test]
fn kill_and_list_need_no_listener() {
    if !root() {
        return;
    }
    let mut door = Door::with("[defaults]\nroot = \"host\"\n").tenant("alice", "").leave_sessions().start();
    let mut live = door.spawn("alice", "echo up; exec cat");
    assert_eq!(live.line(), "up");
    door.signal(Signal::SIGTERM);
    assert_eq!(door.wait_end(), Some(0));

    assert_eq!(cell(&door, "alice")["sessions"].as_array().unwrap().len(), 1);
    let ran = door.verb(&["kill", "alice"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert_ne!(live.wait(), 0);
    assert!(!door.run_dir().join("cells/alice").exists());
    assert!(cells(&door).is_empty());
    let ran = door.verb(&["reload"]);
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains("none runs") && ran.err.contains("hint: "), "{}", ran.err);
}

/// An init that answers nobody, stuck or taken over, keeps nobody from ending its cell
#[test]
fn a_cell_that_does_not_answer_is_listed_and_killed() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let mut live = door.spawn("alice", "echo up; exec cat");
    assert_eq!(live.line(), "up");
    let pid = cell(&door, "alice")["pid"].as_i64().unwrap() as i32;
    procfs::kill(pid, Signal::SIGSTOP);
    let alice = cell(&door, "alice");
    assert!(alice["sessions"].is_null() && alice["unknown"].is_string(), "{alice}");
    assert!(door.verb(&["list"]).text().contains("alice"), "the others are not held up by it");
    let ran = door.verb(&["kill", "alice", "--grace", "100ms"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(ran.text().ends_with("was killed"), "{}", ran.text());
    assert_ne!(live.wait(), 0);
    assert!(!door.run_dir().join("cells/alice").exists());
    assert_eq!(door.ok("alice", "echo well"), "well");
}

/// "kill of one session leaves the other alone"
#[test]
fn kill_of_a_session_leaves_the_others_alone() {
    if !root() {
        return;
    }
    let door = Door::standard();
    // Two sessions of one connection: the one that is killed has children, one of them deaf.
    let master = door.master("alice");
    let mut doomed = master.spawn("(trap '' HUP TERM; while :; do sleep 1; done) & echo up; exec sleep 1000");
    let mut other = master.spawn("echo up; exec cat");
    assert_eq!((doomed.line().as_str(), other.line().as_str()), ("up", "up"));
    let sessions = cell(&door, "alice")["sessions"].as_array().unwrap().clone();
    let runs_sleep = |session: &&Value| session["command"].as_str().unwrap().contains("sleep");
    let name = sessions.iter().find(runs_sleep).unwrap()["session"].as_str().unwrap().to_owned();

    let ran = door.verb(&["kill", &name, "--grace", "200ms"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert_eq!(ran.text(), format!("session {name} of alice: ended"));
    assert_ne!(doomed.wait(), 0);
    assert_eq!(door.ok("alice", "pgrep -x sleep || echo none"), "none", "also what did not listen is gone");
    other.write("still here\n");
    assert_eq!(other.line(), "still here");
    let left = cell(&door, "alice")["sessions"].as_array().unwrap().clone();
    assert!(left.len() == 1 && left[0]["session"] != name.as_str(), "{left:?}");
    assert_eq!(master.ok("echo well"), "well");
    soon("the audit file has its end", || {
        door.audit().iter().any(|event| event["event"] == "session_end" && event["session"] == name.as_str())
    });
}

/// "unknown names fail with exit 1 and a hint"
#[test]
fn names_of_nothing_fail_with_a_hint_and_are_shown_escaped() {
    if !root() {
        return;
    }
    let door = Door::standard();
    assert_eq!(door.ok("alice", "true"), "");
    for name in ["bob", "nobody", "0123456789ab-1", "../alice", "\u{1b}[2J", ""] {
        let ran = door.verb(&["kill", name]);
        assert_eq!(ran.status, 1, "{name:?}: {}", ran.text());
        assert!(ran.err.contains("hint: cellblock list"), "{name:?}: {}", ran.err);
        assert!(!ran.err.contains('\u{1b}'), "{:?}", ran.err);
    }
    assert_eq!(door.verb(&["kill"]).status, 2);
    assert_eq!(door.verb(&["kill", "alice", "--grace", "soon"]).status, 2);
}

/// "reload tells the running listener to re-read its config and says whether it took it, with the
/// findings if not: exit 1"
#[test]
fn reload_says_whether_the_config_was_taken() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let good = fs::read_to_string(door.dir.join("cellblock.toml")).unwrap();
    door.rewrite_config(|text| text.replace("[tenant.bob]", "[tenant.carol]"));
    let ran = door.verb(&["reload"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(ran.text().ends_with("taken, 3 tenants"), "{}", ran.text());
    assert_eq!((door.run("carol", "true").status, door.run("bob", "true").status), (0, 255));

    // Wrong in a tenant, in [server], as TOML, and in who may write it.
    let wrong_server = good.replace("[server]\n", "[server]\nno_such_key = 1\n");
    for broken in [&format!("{good}\n[tenant.dave]\nno_such_key = 1\n"), &wrong_server, "[tenant.dave\n"] {
        door.rewrite_config(|_| broken.to_owned());
        let ran = door.verb(&["reload"]);
        assert_eq!(ran.status, 1, "{}", ran.text());
        assert!(ran.err.contains("cellblock.toml:") && ran.err.contains("not taken"), "{}", ran.err);
    }
    door.rewrite_config(|_| good.clone());
    fs::set_permissions(door.dir.join("cellblock.toml"), fs::Permissions::from_mode(0o666)).unwrap();
    let ran = door.verb(&["reload"]);
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains("chmod go-w"), "{}", ran.err);
    fs::set_permissions(door.dir.join("cellblock.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!((door.run("carol", "true").status, door.run("bob", "true").status), (0, 255), "the old one stays");

    // What cannot change while it runs.
    door.rewrite_config(|text| text.replace("/state\"", "/other\""));
    let ran = door.verb(&["reload"]);
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains("restart"), "{}", ran.err);
}

/// A tenant whose config is wrong is the one to be killed: it must not stand in the way
#[test]
fn a_config_that_is_wrong_elsewhere_keeps_nobody_from_killing() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let mut live = door.spawn("alice", "echo up; exec cat");
    assert_eq!(live.line(), "up");
    door.rewrite_config(|text| format!("{text}\n[tenant.dave]\nno_such_key = 1\n"));
    assert_eq!(cells(&door).len(), 1);
    assert_eq!(door.verb(&["kill", "alice"]).status, 0);
    assert_ne!(live.wait(), 0);
}

/// Root's word alone counts, and the listener waits for nobody
#[test]
fn others_than_root_are_told_so_and_a_silent_caller_holds_nothing_up() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let mut live = door.spawn("alice", "echo up; exec cat");
    assert_eq!(live.line(), "up");
    // As an account reaches it in /run; and both programs side by side, as they are installed.
    fs::set_permissions(door.dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let programs = Scratch::new();
    for name in ["cellblock", "cellblock-admin"] {
        fs::copy(program(name), programs.join(name)).unwrap();
        fs::set_permissions(programs.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(programs.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let by_nobody = |words: &[&str]| {
        let mut command = Command::new(programs.join("cellblock"));
        command.args(words).uid(65534).gid(65534).current_dir("/");
        run_bounded(command, b"")
    };
    let verbs = [
        &["list"][..],
        &["list", "--json"],
        &["kill", "alice"],
        &["reload"],
        &["verify", "alice"],
        &["verify", "--all"],
        &["serve"],
        &["serve", "--stop-sessions"],
    ];
    for words in verbs {
        // With the running door's config, and with that of the host.
        for config in [Some(door.dir.join("cellblock.toml")), None] {
            let config = config.map(|path| path.display().to_string());
            let words: Vec<&str> =
                config.iter().flat_map(|path| ["--config", path]).chain(words.iter().copied()).collect();
            let ran = by_nobody(&words);
            assert_eq!((ran.status, ran.text().as_str()), (1, ""), "{words:?}");
            assert!(ran.err.contains("only root can"), "{words:?}: {}", ran.err);
        }
    }
    let socket = door.run_dir().join("enter.sock").display().to_string();
    for words in [&["alice", "--", "id"][..], &["alice"], &["--", "id"]] {
        let words: Vec<&str> = ["enter", "--socket", &socket].iter().chain(words).copied().collect();
        let ran = by_nobody(&words);
        assert_eq!((ran.status, ran.text().as_str()), (255, ""), "{words:?}");
        assert!(ran.err.contains("no tenant of cellblock"), "{words:?}: {}", ran.err);
    }
    let names: Vec<_> = door.audit().into_iter().filter(|event| event["event"] == "session_start").collect();
    assert_eq!(names.len(), 1, "{names:?}");
    live.write("noticed nothing\n");
    assert_eq!(live.line(), "noticed nothing");

    let path = door.run_dir().join("control.sock");
    let silent: Vec<_> = (0..20).map(|_| connect(&path)).collect();
    let ran = door.verb(&["reload"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    for socket in &silent[..2] {
        nix::sys::socket::send(
            std::os::fd::AsRawFd::as_raw_fd(socket),
            &[0xff; 100],
            nix::sys::socket::MsgFlags::MSG_NOSIGNAL,
        )
        .ok();
    }
    assert_eq!(door.ok("alice", "echo well"), "well");
}

fn connect(path: &std::path::Path) -> std::os::fd::OwnedFd {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
    connect(std::os::fd::AsRawFd::as_raw_fd(&socket), &UnixAddr::new(path).unwrap()).unwrap();
    socket
}
