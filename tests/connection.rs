//! How long connections last and how they end: keepalives, key exchanges, idleness, hours, the
//! server's end (issue 4, items 5 and 6).
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
    process::Command,
    time::{Duration, Instant},
};

use cellblock::sys::zone;
use nix::sys::signal::Signal;
use support::{Door, Ran, Scratch, procfs, root, run_bounded, soon, until};

fn door(server: &str, alice: &str) -> Door {
    Door::with("[defaults]\nroot = \"host\"\n").server(server).tenant("alice", alice).start()
}

/// Runs `line` for alice with more options of ssh.
fn ssh(door: &Door, options: &[&str], line: &str, input: &[u8]) -> Ran {
    let mut command = door.ssh_command();
    command.args(options).args(["-l", "alice", "door", line]);
    run_bounded(command, input)
}

/// "rekey by bytes in both directions": new keys are made under way, and not a byte is lost
#[test]
fn keys_are_renewed_by_bytes_in_both_directions() {
    if !root() {
        return;
    }
    let door = door("rekey_limit = \"1M 1h\"", "");
    let count = |ran: &Ran| ran.err.matches("SSH2_MSG_KEXINIT received").count();
    let down = ssh(&door, &["-v"], "head -c 8000000 /dev/zero", b"");
    assert_eq!((down.status, down.out.len()), (0, 8_000_000), "{}", down.err);
    assert!(count(&down) >= 4, "{}", down.err);
    let up = ssh(&door, &["-v"], "wc -c", &vec![b'x'; 8_000_000]);
    assert_eq!((up.status, up.text().trim()), (0, "8000000"), "{}", up.err);
    // Up to a window is on its way, under the old keys, when the server asks for new ones.
    assert!(count(&up) >= 3, "{}", up.err);
    assert!(down.err.contains("server-sig-algs=<ssh-ed25519"), "{}", down.err);
}

/// "rekey by … time": on a connection where nothing moves, with the shortest time that can be set
#[test]
fn keys_are_renewed_by_time_where_nothing_moves() {
    if !root() {
        return;
    }
    let door = door("rekey_limit = \"1G 1m\"", "");
    let quiet = ssh(&door, &["-v"], "sleep 65; echo as before", b"");
    assert_eq!((quiet.status, quiet.text().trim()), (0, "as before"), "{}", quiet.err);
    assert_eq!(quiet.err.matches("SSH2_MSG_KEXINIT received").count(), 2, "{}", quiet.err);
}

/// "banner": before the login, for everybody, and not among what programs read
#[test]
fn a_banner_is_shown_to_whoever_comes_before_they_are_in() {
    if !root() {
        return;
    }
    let dir = Scratch::new();
    let file = dir.write("banner", "Keep out, whoever you are\n");
    let door = door(&format!("banner = \"{}\"", file.display()), "");
    for (user, status) in [("alice", 0), ("nobody", 255)] {
        let mut command = door.ssh_command();
        command.args(["-o", "LogLevel=INFO", "-l", user, "door", "echo in"]);
        let ran = run_bounded(command, b"");
        assert_eq!(ran.status, status, "{}", ran.err);
        assert_eq!(ran.err.matches("Keep out, whoever you are").count(), 1, "{user}: {}", ran.err);
        assert!(!ran.text().contains("Keep out"));
    }
    assert_eq!(door.ok("alice", "echo in"), "in");
}

/// "keepalives": a client that is there and does not answer is disconnected, one that answers is not
#[test]
fn a_client_that_gives_no_sign_of_life_is_disconnected() {
    if !root() {
        return;
    }
    let door = door("client_alive_interval = \"1s\"\nclient_alive_count_max = 2", "");
    let mut good = door.spawn("alice", "echo up; exec cat");
    assert_eq!(good.line(), "up");
    let mut frozen =
        door.ssh("alice").arg("echo up; exec sleep 1000").stdout(std::process::Stdio::null()).spawn().unwrap();
    soon("both run", || door.audit().iter().filter(|event| event["event"] == "session_start").count() == 2);
    procfs::kill(frozen.id() as i32, Signal::SIGSTOP);
    let ended = until(Duration::from_secs(40), || door.ends().len() == 1);
    procfs::kill(frozen.id() as i32, Signal::SIGCONT);
    frozen.wait().unwrap();
    assert!(ended, "{}", door.log());
    assert_eq!(door.ends(), ["no sign of life after client_alive_interval"]);
    assert!(good.is_running());
}

/// "channel and connection idle limits with a warning to the terminal before they strike"
#[test]
fn where_nothing_moves_people_are_warned_and_then_disconnected() {
    if !root() {
        return;
    }
    for (limit, what) in [("idle_timeout", "this connection ends in"), ("channel_timeout", "this session ends in")] {
        let door = door("", &format!("{limit} = \"10s\""));
        // What moves keeps it alive: longer than the limit, in steps that are shorter.
        let start = Instant::now();
        let busy = ssh(&door, &[], "for i in 1 2 3 4; do sleep 4; echo $i; done", b"");
        assert_eq!((busy.status, busy.text().lines().count()), (0, 4), "{limit}: {}", busy.err);
        assert!(start.elapsed() > Duration::from_secs(15));
        let idle = ssh(&door, &["-tt"], "sleep 1000", b"");
        assert_ne!(idle.status, 0);
        assert!(idle.text().contains(what), "{limit}: {} {}", idle.text(), idle.err);
        assert!(idle.took < Duration::from_secs(60), "{:?}", idle.took);
        soon("the program is hung up on", || {
            !door.processes().iter().any(|pid| procfs::cmdline(*pid).contains("1000"))
        });
        if limit == "idle_timeout" {
            soon("it is on record", || door.ends().contains(&"nothing moved for idle_timeout".to_owned()));
        }
    }
}

/// "maximum session time", with a warning before
#[test]
fn a_connection_lasts_as_long_as_it_may() {
    if !root() {
        return;
    }
    let door = door("", "max_session_time = \"10s\"");
    let ran = ssh(&door, &["-tt"], "while :; do echo tick; sleep 1; done", b"");
    assert_ne!(ran.status, 0);
    assert!(ran.text().contains("the time of this connection is over in 1 minute"), "{}", ran.text());
    assert!(ran.text().contains("the time of this connection is over; it ends"), "{}", ran.text());
    soon("it is on record", || door.ends().contains(&"as long as max_session_time".to_owned()));
}

/// "open and close times": who comes at another time is told so, and nobody else
#[test]
fn who_comes_outside_of_their_hours_is_told_so_and_turned_away() {
    if !root() {
        return;
    }
    // An hour on the other side of the day, by a clock that is not the host's.
    let now = jiff::Timestamp::now().to_zoned(zone::named("Asia/Kathmandu").unwrap());
    let (from, to) = ((now.hour() + 11) % 24, (now.hour() + 12) % 24);
    let closed = format!("open = [\"{from:02}:00-{to:02}:00\"]\ntime_zone = \"Asia/Kathmandu\"");
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .server("penalties = { refuseconnection = \"60s\", min = \"90s\" }")
        .tenant("alice", &closed)
        .tenant("bob", "open = [\"00:00-24:00\"]")
        .start();
    // Twice is too often, and that they proved who they are takes nothing off.
    for time in 1..=2 {
        assert_eq!(penalty_causes(&door), [""; 0]);
        let ran = door.run("alice", "echo in");
        assert_ne!(ran.status, 0);
        assert!(ran.err.contains("This account is closed at this time."), "{}", ran.err);
        let hours = || door.ends().iter().filter(|reason| *reason == "outside of the tenant's hours").count();
        soon("it is on record", || hours() == time);
    }
    assert_eq!(penalty_causes(&door), ["refuseconnection"]);
    let mut command = door.ssh_command();
    command.args(["-b", "127.0.0.2", "-l", "bob", "door", "echo in"]);
    assert_eq!(run_bounded(command, b"").text(), "in");
}

/// For what addresses are turned away, as `list` tells it.
fn penalty_causes(door: &Door) -> Vec<String> {
    let listed: serde_json::Value = serde_json::from_str(&door.verb(&["list", "--json"]).text()).unwrap();
    let penalties = listed["penalties"].as_array().unwrap().iter();
    penalties.map(|penalty| penalty["cause"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn who_lets_the_time_to_log_in_pass_is_turned_away() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .server("login_grace = \"1s\"\npenalties = { grace_exceeded = \"20s\" }")
        .tenant("alice", "")
        .start();
    let silent = std::net::TcpStream::connect(("127.0.0.1", door.port)).unwrap();
    soon("its address is turned away", || penalty_causes(&door) == ["grace-exceeded"]);
    drop(silent);
}

/// "graceful 'server is stopping' message to terminals"
#[test]
fn those_inside_are_told_when_the_server_stops() {
    if !root() {
        return;
    }
    let mut door = Door::standard();
    let mut command = door.ssh_command();
    command.args(["-tt", "-l", "alice", "door", "echo up; exec sleep 1000"]);
    let client = std::thread::spawn(move || run_bounded(command, b""));
    soon("it runs", || door.audit().iter().any(|event| event["event"] == "session_start"));
    door.signal(Signal::SIGTERM);
    assert_eq!(door.wait_end(), Some(0));
    let ran = client.join().unwrap();
    assert_ne!(ran.status, 0);
    assert!(ran.text().contains("the server is stopping"), "{} {}", ran.text(), ran.err);
}

/// "`ssh-audit` reports no weak algorithm and no known vulnerability"
#[test]
fn ssh_audit_finds_nothing_weak() {
    if !root() {
        return;
    }
    assert!(Command::new("ssh-audit").arg("--help").output().is_ok(), "apt-get install ssh-audit");
    let door = Door::standard();
    let mut command = Command::new("ssh-audit");
    command.args(["-n", "-p", &door.port.to_string(), "127.0.0.1"]);
    let report = run_bounded(command, b"").text();
    assert!(report.contains("(kex) mlkem768x25519-sha256"), "{report}");
    // Releases before 3.2 do not know the newest names; from 3.4 on they want no key exchange that a
    // quantum computer could undo, which clients before 2024 cannot do without.
    let known = ["unknown algorithm", "does not provide protection against post-quantum attacks"];
    let finds = |line: &&str| {
        (line.contains("[fail]") || line.contains("[warn]")) && !known.iter().any(|known| line.contains(known))
    };
    let weak: Vec<&str> = report.lines().filter(|line| finds(line) || line.contains("(cve)")).collect();
    assert_eq!(weak, [] as [&str; 0], "{report}");
}
