//! What a user of sshd expects of a session (issue 2, item 7). Each test but those about our own
//! cells runs against Debian's sshd too, so that an expectation can be wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_possible_wrap,
    reason = "test support code"
)]

use std::{process::Stdio, time::Duration};

use support::{Door, TerminalClient, doors, root, run_bounded, soon, until};

/// "Exit statuses 0–255"
#[test]
fn every_exit_status_arrives() {
    if !root() {
        return;
    }
    for door in doors() {
        let master = door.master("alice");
        let wrong: Vec<_> =
            (0..=255).filter(|status| master.run(&format!("exit {status}")).status != *status).collect();
        assert!(wrong.is_empty(), "sshd: {}, lost: {wrong:?}", door.is_sshd());
    }
}

/// "death by signal": ssh(1) ends with 255 then, and says on stderr which signal it was
#[test]
fn death_by_signal_arrives_as_a_signal() {
    if !root() {
        return;
    }
    for door in doors() {
        for signal in ["TERM", "KILL", "SEGV", "HUP"] {
            let mut command = door.ssh_command();
            command.args(["-vv", "-l", door.login("alice"), "door", &format!("kill -{signal} $$")]);
            let ran = run_bounded(command, b"");
            assert_eq!(ran.status, 255, "sshd: {}, {signal}: {}", door.is_sshd(), ran.err);
            assert!(ran.err.contains("exit-signal"), "sshd: {}, {signal}: {}", door.is_sshd(), ran.err);
        }
    }
}

/// rsync, git and ansible send long ones: as long as the kernel takes, which is what sshd's users have
#[test]
fn commands_as_long_as_a_programs_argument_can_be_arrive_whole() {
    const MOST: usize = (128 << 10) - 1;
    if !root() {
        return;
    }
    for door in doors() {
        for length in [33 << 10, 65 << 10, MOST] {
            // `wc` counts what came through as one word, without its newline.
            let (head, tail) = ("printf %s ", " | wc -c");
            let word = "x".repeat(length - head.len() - tail.len());
            let said = door.ok("alice", &format!("{head}{word}{tail}"));
            assert_eq!(said, word.len().to_string(), "sshd: {}, {length}", door.is_sshd());
        }
    }
}

/// A sentence instead of what the kernel says: ssh(1) itself could not be started with more in one word
#[test]
fn a_command_that_is_too_long_is_refused_in_a_sentence() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let mut command = door.ssh_command();
    let half = "x".repeat(65 << 10);
    command.args(["-l", "alice", "door", "echo ran", &half, &half]);
    let ran = run_bounded(command, b"");
    assert!(ran.status == 255 && ran.out.is_empty() && ran.err.contains("too long"), "{}", ran.text());
    assert_eq!(door.ok("alice", "echo well"), "well");
}

/// "`sh -c` semantics identical to sshd: quotes, `;`, newlines, `$()`, UTF-8, trailing `\`" (threats.md, 5.C)
#[test]
fn commands_mean_what_they_mean_to_sshd() {
    if !root() {
        return;
    }
    let lines = [
        "echo a  b 'c  d' \"e  f\"",
        "echo one; echo two && false || echo three",
        "echo first\necho second",
        "echo $(echo nested $(echo deeper))",
        "printf '%s' 'grüße 你好' | od -An -tx1",
        "echo trailing\\",
        "printf '%s\\n' \\\\ \\$HOME '$HOME'",
        "echo '*' * | head -c 1",
        "exec 3>&1; echo to three >&3",
        "false; echo $?",
        "'unterminated",
        "echo \"$0\" \"$#\"",
        " \t ",
        "#",
    ];
    let results: Vec<Vec<_>> = doors()
        .iter()
        .map(|door| {
            let master = door.master("alice");
            lines.iter().map(|line| master.run(line)).map(|ran| (ran.status, ran.text())).collect()
        })
        .collect();
    for pair in results.windows(2) {
        for (line, (sshd, ours)) in lines.iter().zip(pair[0].iter().zip(&pair[1])) {
            assert_eq!(ours, sshd, "{line:?} differs from sshd");
        }
    }
}

/// "stdout and stderr" stay apart, and so does their order of ending
#[test]
fn stdout_and_stderr_stay_apart() {
    if !root() {
        return;
    }
    for door in doors() {
        let ran = door.run("alice", "echo out; echo err >&2; exit 3");
        assert_eq!((ran.status, ran.text().as_str(), ran.err.trim()), (3, "out", "err"));
        assert_eq!(door.run("alice", "echo x >/dev/stderr; echo y >/dev/stdout").text(), "y");
    }
}

/// "half-closed streams": the end of stdin reaches the program, whose output still arrives after it
#[test]
fn output_goes_on_after_the_end_of_input() {
    if !root() {
        return;
    }
    for door in doors() {
        let ran = door.run_with("alice", "cat >/dev/null; echo after the end; exit 7", b"some input\n");
        assert_eq!((ran.status, ran.text().as_str()), (7, "after the end"));
        // Output that ends first does not end the input.
        let ran = door.run_with("alice", "exec >&-; exec 2>&-; test \"$(cat)\" = whole", b"whole");
        assert_eq!(ran.status, 0, "sshd: {}: {}", door.is_sshd(), ran.err);
    }
}

/// A program left in the background with the pipes closed does not hold the session
#[test]
fn a_detached_program_does_not_hold_the_session() {
    if !root() {
        return;
    }
    for door in doors() {
        let ran = door.run("alice", "sleep 1002 >/dev/null 2>&1 </dev/null & echo left");
        assert_eq!((ran.status, ran.text().as_str()), (0, "left"));
        assert!(ran.took < Duration::from_secs(20), "sshd: {}: {:?}", door.is_sshd(), ran.took);
        door.run("alice", "pkill -xf 'sleep 1002'");
    }
}

/// "pty with modes and window changes"
#[test]
fn a_terminal_has_the_size_the_modes_and_the_type_of_the_clients() {
    if !root() {
        return;
    }
    for door in doors() {
        let mut command = door.ssh_command();
        command.env("TERM", "xterm-256color").args(["-tt", "-l", door.login("alice"), "door", "/bin/sh"]);
        let mut client = TerminalClient::start(command, 33, 101);
        client.send("PS1=; stty size; echo $TERM-term; tty | cut -c1-8; echo rea''dy\n");
        client.expect("ready");
        client.expect("33 101");
        client.expect("xterm-256color-term");
        client.expect("/dev/pts");
        client.resize(44, 122);
        client.expect_size(44, 122);
        client.send("exit 9\n");
        assert_eq!(client.wait(), 9, "sshd: {}", door.is_sshd());
    }
}

/// "pty with modes": what `stty` set on the client's side holds on ours
#[test]
fn terminal_modes_of_the_client_arrive() {
    if !root() {
        return;
    }
    for door in doors() {
        let line = format!(
            "stty intr ^G -iutf8; ssh -F {} -tt -l {} door 'stty -a; exit 0'",
            door.dir.join("ssh_config").display(),
            door.login("alice")
        );
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &line]);
        let mut client = TerminalClient::start(command, 24, 80);
        client.expect("speed");
        client.expect("intr = ^G");
        assert_eq!(client.wait(), 0);
        assert!(client.shown().contains("-iutf8"), "sshd: {}: {}", door.is_sshd(), client.shown());
    }
}

/// ^C typed at the terminal interrupts the foreground program there, and not the shell
#[test]
fn an_interrupt_typed_at_the_terminal_reaches_the_foreground_program() {
    if !root() {
        return;
    }
    for door in doors() {
        let mut command = door.ssh_command();
        command.args(["-tt", "-l", door.login("alice"), "door", "/bin/sh"]);
        let mut client = TerminalClient::start(command, 24, 80);
        client.send("echo st''arted; sleep 1000\n");
        client.expect("started");
        // The shell has printed; sleep may not have begun. Typing again does no harm.
        let mut typed = 0;
        let interrupted = until(Duration::from_secs(15), || {
            typed += 1;
            if typed % 20 == 1 {
                client.send("\u{3}\necho sta''tus $?\n");
            }
            client.shown().contains("status 130")
        });
        assert!(interrupted, "sshd: {}: {:?}", door.is_sshd(), client.shown());
    }
}

/// "`env` by allow-list": LANG and LC_* as in Debian's sshd, and nothing that steers the loader or a shell
#[test]
fn only_listed_variables_are_taken_from_the_client() {
    if !root() {
        return;
    }
    for door in doors() {
        let mut command = door.ssh_command();
        let names = [
            "LC_TEST",
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "BASH_ENV",
            "ENV",
            "PATH",
            "IFS",
            "GCONV_PATH",
            "PYTHONSTARTUP",
            "PYTHONPATH",
            "PERL5OPT",
            "TERMINFO",
            "LOCPATH",
            "HOME",
        ];
        let set: Vec<_> = names.iter().map(|name| format!("{name}=marker")).collect();
        command.args(["-o", &format!("SetEnv={}", set.join(" ")), "-l", door.login("alice"), "door", "env"]);
        let ran = run_bounded(command, b"");
        assert_eq!(ran.status, 0, "{}", ran.err);
        let taken: Vec<_> = ran.text().lines().filter(|line| line.ends_with("=marker")).map(str::to_owned).collect();
        assert_eq!(taken, ["LC_TEST=marker"], "sshd: {}", door.is_sshd());
    }
}

/// "many channels on one connection"
#[test]
fn many_channels_share_one_connection() {
    if !root() {
        return;
    }
    for door in doors() {
        let master = door.master("alice");
        let mut cats: Vec<_> = (0..8).map(|_| master.spawn("cat")).collect();
        for (n, cat) in cats.iter_mut().enumerate() {
            cat.write(&format!("channel {n}\n"));
        }
        let answers: Vec<_> = cats.iter().map(support::Running::line).collect();
        let expected: Vec<_> = (0..8).map(|n| format!("channel {n}")).collect();
        assert_eq!(answers, expected);
        cats.iter_mut().for_each(support::Running::close_stdin);
        let ends: Vec<_> = cats.iter_mut().map(support::Running::wait).collect();
        assert_eq!(ends, [0; 8]);
    }
}

/// "MOTD and last login", for a login shell only
#[test]
fn a_login_shell_is_greeted_and_a_command_is_not() {
    if !root() {
        return;
    }
    let door = Door::standard();
    assert_eq!(door.ok("alice", "true"), "");
    let login = || {
        let mut command = door.ssh("alice");
        command.arg("-tt");
        let mut client = TerminalClient::start(command, 24, 80);
        client.send("echo at the pro''mpt $0; exit\n");
        client.expect("at the prompt -bash");
        client.wait();
        client.shown()
    };
    login();
    let second = login();
    assert!(second.contains("Last login: "), "{second:?}");
    assert!(second.contains("from 127.0.0.1"), "{second:?}");
    door.ok("alice", "touch ~/.hushlogin");
    assert!(!login().contains("Last login"), "~/.hushlogin silences it");
}

/// "a second login joins the running cell and sees the first one's processes"
#[test]
fn a_second_login_joins_the_running_cell() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let first = door.spawn("alice", "echo $$; exec sleep 12345");
    let pid = first.line();
    assert_eq!(door.ok("alice", &format!("tr '\\0' ' ' </proc/{pid}/cmdline")), "sleep 12345 ");
    assert_eq!(door.ok("alice", "pgrep -x sleep"), pid);
    door.ok("alice", "kill $(pgrep -x sleep)");
    assert_eq!(door.run("bob", "pgrep -x sleep").text(), "", "another tenant has another cell");
}

/// "A cell starts with the first session (or at boot with `linger = \"forever\"`)"
#[test]
fn a_cell_that_lingers_for_ever_runs_from_the_start_and_after_its_last_session() {
    if !root() {
        return;
    }
    let door = Door::with("").tenant("alice", "linger = \"forever\"").tenant("bob", "linger = \"1s\"").start();
    let runs = |tenant: &str| door.run_dir().join("cells").join(tenant).join("cell.json").exists();
    soon("alice's cell runs before anybody logs in", || runs("alice"));
    assert!(!runs("bob"), "nobody asked for bob's");
    let first = door.ok("alice", "readlink /proc/self/ns/pid");
    door.ok("bob", "true");
    soon("bob's cell ends", || !runs("bob"));
    assert_eq!(door.ok("alice", "readlink /proc/self/ns/pid"), first, "the same cell still");
}

/// "When the last session has ended it lives on for `linger` while it has processes … then TERM, KILL"
#[test]
fn a_cell_lingers_only_while_it_has_processes_and_time() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("alice", "linger = \"3s\"")
        .tenant("bob", "linger = \"10m\"")
        .start();
    let before = door.counts();
    door.ok("bob", "true");
    door.returns_to(&before);

    let pid = door.ok("alice", "setsid sleep 54321 >/dev/null 2>&1 </dev/null & echo $!");
    assert_eq!(door.ok("alice", &format!("cat /proc/{pid}/comm")), "sleep", "it outlived its session");
    door.returns_to(&before);
}

/// "signals" (RFC 4254, 6.9), sent by a client that is not OpenSSH's, which never does
#[test]
fn a_signal_request_reaches_the_program() {
    if !root() {
        return;
    }
    use support::attacker::{Attacker, Key, Message};
    let key = Key::new(1);
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("alice", &format!("authorized_keys = [\"{}\"]", key.line()))
        .start();
    let mut client = Attacker::login(door.port, "alice", &key);
    let channel = client.open(0, 32768).unwrap();
    client.send(
        &Message::request(channel, "exec", true)
            .text("trap 'echo caught; exit 5' USR1; echo armed; while :; do sleep 0.1; done"),
    );
    client.next(&[94]).unwrap();
    client.send(&Message::request(channel, "signal", false).text("USR1"));
    let caught = client.next(&[94]).unwrap();
    assert_eq!(&caught[9..], b"caught\n");
    let status = loop {
        let message = client.next(&[98]).unwrap();
        if message.windows(11).any(|part| part == b"exit-status") {
            break message;
        }
    };
    assert_eq!(status.last(), Some(&5));
}

/// Neither busy nor quiet programs that ignore the hangup keep the exit from the client
#[test]
fn programs_that_stay_on_a_terminal_do_not_hold_the_session() {
    if !root() {
        return;
    }
    let door = Door::standard();
    for stays in ["yes", "while :; do echo x; sleep 0.02; done"] {
        let line = format!("(trap '' HUP; {stays}) & sleep 0.2; exit 6");
        let mut command = door.ssh_command();
        command.args(["-tt", "-l", door.login("alice"), "door", &line]);
        let ran = run_bounded(command, b"");
        assert_eq!(ran.status, 6, "{stays}");
        assert!(ran.took < Duration::from_secs(5), "{stays}: {:?}", ran.took);
    }
}

/// A client that goes away without a word takes its terminal's programs along, as with sshd
#[test]
fn programs_on_a_terminal_get_a_hangup_when_the_client_dies() {
    if !root() {
        return;
    }
    for door in doors() {
        let mut command = door.ssh_command();
        let marker = door.dir.path().file_name().unwrap().to_str().unwrap().to_owned();
        command.args([
            "-tt",
            "-l",
            door.login("alice"),
            "door",
            "trap 'echo hup > /tmp/hup; exit' HUP; echo rea''dy; while :; do sleep 0.1; done",
        ]);
        let mut client = TerminalClient::start(command, 24, 80);
        let keep = door.spawn("alice", "echo up; sleep 1003");
        keep.line();
        client.expect("ready");
        client.child.kill().unwrap();
        let seen = until(Duration::from_secs(10), || door.run("alice", "cat /tmp/hup").text() == "hup");
        assert!(seen, "sshd: {}, {marker}", door.is_sshd());
        door.run("alice", "rm /tmp/hup; pkill -xf 'sleep 1003'");
    }
}

/// A request that asks for a terminal and is not given one is told so, and the command runs without
#[test]
fn what_a_class_switches_off_is_refused_in_a_constant_sentence() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n").tenant("alice", "allow = [\"shell\", \"pty\"]").start();
    let mut command = door.ssh("alice");
    command.arg("echo ran").stdin(Stdio::null());
    let ran = run_bounded(command, b"");
    assert_ne!(ran.status, 0);
    assert!(!ran.text().contains("ran"), "{}", ran.text());
}
