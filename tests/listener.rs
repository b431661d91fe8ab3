//! The listener: limits before a login, reload, ends (issue 2, item 3).
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
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use support::{Door, patience, procfs, root, run_bounded, soon};

/// Whether the server hangs up on a client that says nothing, within so long.
fn hangs_up(mut stream: TcpStream, within: Duration) -> bool {
    stream.set_read_timeout(Some(within)).unwrap();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

fn connect(door: &Door) -> TcpStream {
    TcpStream::connect(("127.0.0.1", door.port)).unwrap()
}

/// The banner, which an accepted connection gets and a refused one does not.
fn banner(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut bytes = Vec::new();
    let mut byte = [0];
    while bytes.last() != Some(&b'\n') && matches!(stream.read(&mut byte), Ok(1)) {
        bytes.push(byte[0]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// "SIGHUP re-reads the config: a broken file is reported and the old config stays; live sessions notice nothing"
#[test]
fn a_reload_takes_a_good_config_and_keeps_the_old_one_for_a_bad_one() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let mut live = door.spawn("alice", "echo up; exec cat");
    assert_eq!(live.line(), "up");

    door.rewrite_config(|text| text.replace("[tenant.bob]", "[tenant.carol]"));
    door.signal(Signal::SIGHUP);
    soon("carol gets in", || door.run("carol", "true").status == 0);
    assert_eq!(door.run("bob", "true").status, 255);

    let good = fs::read_to_string(door.dir.join("cellblock.toml")).unwrap();
    for broken in ["[tenant.dave\n", "[defaults]\nno_such_key = 1\n"] {
        door.rewrite_config(|_| broken.to_owned());
        let said = door.log().len();
        door.signal(Signal::SIGHUP);
        soon("it is reported", || door.log().len() > said && door.log().contains("cellblock.toml"));
        assert_eq!(door.ok("carol", "echo still in"), "still in");
    }
    door.rewrite_config(|_| good.replace("[tenant.carol]", "[tenant.bob]"));
    door.signal(Signal::SIGHUP);
    soon("bob gets in again", || door.run("bob", "true").status == 0);
    live.write("noticed nothing\n");
    assert_eq!(live.line(), "noticed nothing");
}

/// A config that others can write is no config ("ownership and mode of the files checked")
#[test]
fn a_config_that_others_can_write_is_refused_at_reload() {
    if !root() {
        return;
    }
    let door = Door::standard();
    door.rewrite_config(|text| text.replace("[tenant.bob]", "[tenant.carol]"));
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(door.dir.join("cellblock.toml"), fs::Permissions::from_mode(0o666)).unwrap();
    let said = door.log().len();
    door.signal(Signal::SIGHUP);
    soon("it is reported", || door.log().len() > said);
    assert_eq!(door.run("carol", "true").status, 255);
    assert_eq!(door.run("bob", "true").status, 0);
}

/// "`/run/cellblock/cells/NAME/` (root-only directory)": whoever can write above it could put a cell
/// of their own in a tenant's place (firejail CVE-2022-31214)
#[test]
fn a_run_dir_that_others_can_write_is_refused() {
    if !root() {
        return;
    }
    let mut door = Door::standard();
    door.ok("alice", "true");
    door.signal(Signal::SIGTERM);
    assert_eq!(door.wait_end(), Some(0));
    use std::os::unix::fs::PermissionsExt;
    for dir in [door.run_dir(), door.dir.join("state")] {
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        let mut serve = std::process::Command::new(env!("CARGO_BIN_EXE_cellblock"));
        serve.arg("serve").arg("--config").arg(door.dir.join("cellblock.toml"));
        let ran = run_bounded(serve, b"");
        assert_eq!(ran.status, 1, "{ran:?}");
        assert!(ran.err.contains(&dir.display().to_string()) && ran.err.contains("can write"), "{ran:?}");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    }
    door.restart();
    assert_eq!(door.ok("alice", "echo well"), "well");
}

/// "SIGTERM stops accepting and leaves sessions running unless `--stop-sessions`"
#[test]
fn a_stop_leaves_sessions_running() {
    if !root() {
        return;
    }
    let mut door = Door::with("[defaults]\nroot = \"host\"\n").tenant("alice", "").leave_sessions().start();
    let mut live = door.spawn("alice", "echo up; exec cat");
    assert_eq!(live.line(), "up");
    door.signal(Signal::SIGTERM);
    assert_eq!(door.wait_end(), Some(0));
    assert!(TcpStream::connect(("127.0.0.1", door.port)).is_err(), "it stopped accepting");
    live.write("still here\n");
    assert_eq!(live.line(), "still here");
    live.close_stdin();
    assert_eq!(live.wait(), 0);
    soon("nothing is left", || door.processes().iter().all(|&pid| pid == door.listener()));
}

#[test]
fn a_stop_with_stop_sessions_ends_them() {
    if !root() {
        return;
    }
    let mut door = Door::standard();
    let mut live = door.spawn("alice", "echo up; exec cat");
    assert_eq!(live.line(), "up");
    door.signal(Signal::SIGTERM);
    assert_eq!(door.wait_end(), Some(0));
    assert_ne!(live.wait(), 0);
    soon("nothing is left", || door.processes().is_empty());
}

/// An init that answers nobody any more, taken over or stuck, is no reason to leave its cell running
#[test]
fn a_stop_kills_a_cell_that_does_not_end() {
    if !root() {
        return;
    }
    let mut door = Door::standard();
    let mut live = door.spawn("alice", "echo up; exec cat");
    assert_eq!(live.line(), "up");
    let record = fs::read(door.run_dir().join("cells/alice/cell.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let init = i32::try_from(record["pid"].as_i64().unwrap()).unwrap();
    procfs::kill(init, Signal::SIGSTOP);
    door.signal(Signal::SIGTERM);
    assert_eq!(door.wait_end(), Some(0));
    assert_ne!(live.wait(), 0);
    soon("nothing is left", || door.processes().is_empty());
}

/// "`max_startups` in OpenSSH's three-number form"
#[test]
fn unauthenticated_connections_are_limited_and_logged_in_ones_do_not_count() {
    if !root() {
        return;
    }
    let door =
        Door::with("[defaults]\nroot = \"host\"\n").server("max_startups = \"3:100:3\"").tenant("alice", "").start();
    let logged_in = [door.master("alice"), door.master("alice"), door.master("alice"), door.master("alice")];
    let mut waiting: Vec<_> = (0..3).map(|_| connect(&door)).collect();
    waiting.iter_mut().for_each(|stream| assert!(banner(stream).starts_with("SSH-2.0-")));
    assert!(!banner(&mut connect(&door)).starts_with("SSH-2.0-"), "the fourth is refused");
    assert_eq!(logged_in[3].ok("echo well"), "well");
    drop(waiting);
    soon("there is room again", || door.run("alice", "true").status == 0);
}

/// "`max_connections`"
#[test]
fn connections_in_all_are_limited() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n").server("max_connections = 2").tenant("alice", "").start();
    let first = door.master("alice");
    let second = door.master("alice");
    assert_eq!(door.run("alice", "true").status, 255);
    assert_eq!(first.ok("echo well"), "well", "sessions are not connections");
    drop(second);
    soon("there is room again", || door.run("alice", "true").status == 0);
}

/// "`max_connections_per_source`"
#[test]
fn connections_from_one_address_are_limited_and_others_get_in() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .server("max_connections_per_source = 2")
        .tenant("alice", "")
        .start();
    let _both = [door.master("alice"), door.master("alice")];
    assert_eq!(door.run("alice", "true").status, 255);
    let mut command = door.ssh_command();
    command.args(["-b", "127.0.0.2", "-l", "alice", "door", "echo in"]);
    assert_eq!(run_bounded(command, b"").text(), "in");
}

/// "`login_grace` as one deadline from accept to authenticated", not per read (warpgate GHSA-78rf; GHSA-76r6)
#[test]
fn whoever_does_not_log_in_in_time_is_hung_up_on_however_busy() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n").server("login_grace = \"2s\"").tenant("alice", "").start();
    let before = door.counts();
    let start = Instant::now();
    let silent = connect(&door);
    let mut dripping = connect(&door);
    let mut writer = dripping.try_clone().unwrap();
    let drip = std::thread::spawn(move || {
        // One pre-banner line every 200 ms keeps a per-read timeout from ever expiring.
        while writer.write_all(b"x\r\n").is_ok() && start.elapsed() < Duration::from_secs(15) {
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    assert!(hangs_up(silent, Duration::from_secs(10)), "silence");
    assert!(start.elapsed() > Duration::from_millis(1500), "too early: {:?}", start.elapsed());
    assert!(hangs_up(dripping.try_clone().unwrap(), Duration::from_secs(10)), "a drip of lines");
    assert!(start.elapsed() < Duration::from_secs(8), "too late: {:?}", start.elapsed());
    dripping.flush().ok();
    drip.join().unwrap();
    // Whoever logged in stays.
    let master = door.master("alice");
    let mut held = master.spawn("echo up; sleep 4; echo still");
    assert_eq!((held.line(), held.line()), ("up".into(), "still".into()));
    held.wait();
    drop(held);
    drop(master);
    door.returns_to(&before);
}

/// warpgate GHSA-78rf: "500 silent sockets while a good login finishes < 1 s", also while they are still being accepted
#[test]
fn silent_connections_do_not_hold_up_a_login() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .server("max_startups = \"600:30:700\"\nmax_connections = 1000\nmax_connections_per_source = 1000")
        .tenant("alice", "")
        .start();
    let before = door.counts();
    let silent: Vec<_> = (0..500).map(|_| connect(&door)).collect();
    for _ in 0..5 {
        let ran = door.run("alice", "echo in");
        assert_eq!((ran.status, ran.text().as_str()), (0, "in"), "{}", ran.err);
        assert!(ran.took < patience(1), "{:?}", ran.took);
    }
    drop(silent);
    door.returns_to(&before);
}

/// "several addresses, IPv4 and IPv6"
#[test]
fn it_listens_on_ipv4_and_ipv6_at_once() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .listen("[\"127.0.0.1:PORT\", \"[::1]:PORT\"]")
        .tenant("alice", "")
        .start();
    let mut command = door.ssh_command();
    command.args(["-o", "HostName=::1", "-l", "alice", "door", "echo $SSH_CONNECTION"]);
    let ran = run_bounded(command, b"");
    assert!(ran.text().starts_with("::1 "), "{ran:?}");
    assert!(door.ok("alice", "echo $SSH_CONNECTION").starts_with("127.0.0.1 "));
}

/// An address in use is told by name, and serve ends
#[test]
fn an_address_in_use_is_told_by_name() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    door.rewrite_config(|text| {
        text.replace(&door.port.to_string(), &port.to_string())
            .replace("/run\"", "/run2\"")
            .replace("/state\"", "/state2\"")
    });
    let ran = door.verb(&["serve"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.err.contains(&format!("127.0.0.1:{port}")) && ran.err.contains("in use"), "{}", ran.err);
}

/// "socket activation (`LISTEN_FDS`)"
#[test]
fn sockets_from_systemd_are_served_instead_of_the_configs() {
    if !root() {
        return;
    }
    // sh cannot name its own pid before exec in another way: LISTEN_PID is $$ after exec too.
    let bind = "import os, socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('127.0.0.1', int(sys.argv[1]))); s.listen(128)
os.dup2(s.fileno(), 3); os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])";
    let port = support::free_port();
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("alice", "")
        .wrapped(&["/usr/bin/python3", "-c", bind, &port.to_string()])
        .start();
    let mut command = door.ssh_command();
    command.args(["-o", &format!("Port={port}"), "-l", "alice", "door", "echo in"]);
    // The first value of an option counts, and the file's Port comes after the command line's.
    assert_eq!(run_bounded(command, b"").text(), "in");
    assert!(TcpStream::connect(("127.0.0.1", door.port)).is_err(), "the config's address is not bound");
    assert_eq!(procfs::name(door.listener()), "cellblock");
}
