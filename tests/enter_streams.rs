//! "Pipes of the cell relayed …; end of file and broken pipes travel both ways as they would without us; the
//! caller's terminal is restored at whatever end; exit status and death by signal handed on" (issue 5); and
//! what calls login shells: su, cron, at.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_possible_wrap,
    reason = "test support code"
)]

use std::{os::unix::process::ExitStatusExt as _, process::Command};

use nix::sys::signal::Signal;
use support::{Host, Running, Scratch, TerminalClient, debian_root, procfs, root, run_bounded, soon};

/// A line of bash on the host, as alice, in which `enter` is `cellblock enter`.
fn on_host(host: &Host, line: &str) -> Command {
    let line = format!("enter() {{ cellblock enter \"$@\"; }}; {line}");
    host.on_host("alice", &["bash", "-c", &line])
}

fn said(host: &Host, line: &str) -> String {
    let ran = run_bounded(on_host(host, line), b"");
    assert!(!ran.err.contains("(killed by the test"), "{line}: {}", ran.err);
    format!("{}{}", ran.text(), ran.err)
}

/// What it said on standard output alone: bash itself tells of pipes and signals on the other.
fn out(host: &Host, line: &str) -> String {
    run_bounded(on_host(host, line), b"").text()
}

#[test]
fn bytes_go_both_ways_at_once_and_arrive_whole() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let big = "head -c 200M /dev/zero | tr '\\0' 'x'";
    // Pipe to pipe, a file, and through a program that writes as much as it reads.
    let hash = said(&host, &format!("{big} | sha256sum"));
    assert_eq!(said(&host, &format!("{big} | enter -- sha256sum")), hash);
    assert_eq!(said(&host, &format!("{big} | enter -- cat | sha256sum")), hash);
    let file = "f=$(mktemp); trap 'rm $f' EXIT; head -c 20M /dev/zero > $f";
    assert_eq!(
        said(&host, &format!("{file}; enter -- cat < $f > $f.out; cmp $f $f.out && echo same; rm $f.out")),
        "same"
    );
    // To a file that is appended to, where nothing can be spliced.
    assert_eq!(said(&host, "f=$(mktemp); trap 'rm $f' EXIT; echo a > $f; enter -- echo b >> $f; cat $f"), "a\nb");
    // By sockets, as sshd has them, and to and from what is no file.
    assert_eq!(said(&host, "enter -- sh -c 'cat; echo; echo end' < /dev/null"), "\nend");
    assert_eq!(said(&host, "enter -- head -c 1000000 /dev/zero > /dev/null; echo $?"), "0");
}

/// "end of file and broken pipes travel both ways as they would without us", and so does the end
#[test]
fn a_signal_after_the_programs_end_changes_nothing_of_how_it_ended() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let line = "exec 3<&0; (head -c 1 <&3 >/dev/null; echo late) & exit 7";
    for (number, signal) in [Signal::SIGUSR1, Signal::SIGTERM, Signal::SIGHUP].into_iter().enumerate() {
        let mut caller = Running::start(host.enter("alice", &["--", "sh", "-c", line]));
        let ended = |event: &serde_json::Value| event["event"] == "session_end";
        soon("the program has ended", || host.door.audit().iter().filter(|event| ended(event)).count() > number);
        // The monitor has told it by then, or is about to.
        procfs::kill(caller.child.id() as i32, signal);
        caller.write("x");
        assert_eq!((caller.line().as_str(), caller.wait()), ("late", 7), "{signal}");
    }
}

#[test]
fn the_end_of_a_stream_and_a_broken_pipe_travel_both_ways() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    assert_eq!(said(&host, "echo in | enter -- cat"), "in");
    assert_eq!(said(&host, "enter -- cat < /dev/null; echo $?"), "0");
    assert_eq!(said(&host, "enter -- cat <&-; echo $?"), "0");
    // The reader goes: the writer in the cell is killed by SIGPIPE, as here.
    let here = said(&host, "bash -c yes | head -n 1; echo ${PIPESTATUS[0]}");
    assert_eq!(said(&host, "enter -- yes | head -n 1; echo ${PIPESTATUS[0]}"), here);
    // The reader in the cell goes: so is the writer here.
    assert_eq!(said(&host, "yes | enter -- head -n 1; echo ${PIPESTATUS[@]}"), "y\n141 0");
    // It closes its input and goes on: the writer learns it at once.
    assert_eq!(said(&host, "yes | enter -- sh -c 'exec <&-; sleep 1; echo on'; echo ${PIPESTATUS[@]}"), "on\n141 0");
    // Nobody reads from the start: the first write fails.
    let line = "enter -- bash -c 'trap \"\" PIPE; sleep 1; echo x || exit 9' | true; echo ${PIPESTATUS[0]}";
    assert_eq!(out(&host, line), "9");
    // Output and error are two, and end each by itself.
    assert_eq!(said(&host, "enter -- sh -c 'echo out; echo err >&2' 2>/dev/null"), "out");
    assert_eq!(said(&host, "enter -- sh -c 'exec >&-; echo err >&2' 2>&1 | cat"), "err");
}

/// Another file that is opened would get the number, and be taken for the stream.
#[test]
fn a_stream_that_is_closed_is_nobody_elses() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let program = "sh -c 'cat; echo out; echo err >&2; exit 3'";
    for (closed, left) in [(">&-", "err"), ("2>&-", "out"), ("<&-", "out\nerr"), ("<&- >&- 2>&-", "")] {
        let said = said(&host, &format!("(enter -- {program} {closed}; echo $? >&3) 3>&1 2>&1 < /dev/null"));
        let mut expected: Vec<&str> = left.lines().chain(["3"]).collect();
        let mut lines: Vec<&str> = said.lines().collect();
        expected.sort_unstable();
        lines.sort_unstable();
        assert_eq!(lines, expected, "{closed}");
    }
    // It is open, and nothing can be read from it (open(2), O_PATH).
    let script = "import os; os.dup2(os.open(\"/\", os.O_PATH), 0); os.execvp(\"cellblock\", \
        [\"cellblock\", \"enter\", \"--\", \"echo\", \"in\"])";
    assert_eq!(said(&host, &format!("python3 -c '{script}'; echo $?")), "in\n0");
    let odd: Vec<_> = host.door.audit().into_iter().filter(|event| event["event"] == "connection_end").collect();
    assert!(odd.iter().all(|event| event["reason"] == "closed"), "{odd:?}");
}

/// `O_NONBLOCK` belongs to an open file, and so to whoever shares it: neither set nor relied on
#[test]
fn streams_of_the_caller_are_left_as_they_are() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let flags = "python3 -c 'import fcntl,os; print(*[fcntl.fcntl(n, fcntl.F_GETFL) & os.O_NONBLOCK for n in (0, 1)])'";
    let line = format!("( enter -- true; {flags} >&2 ) < <(sleep 0.2) 2>&1 | cat");
    assert_eq!(said(&host, &line), "0 0");
    // Somebody else has made them so.
    let nonblocking =
        "python3 -c 'import os,sys; [os.set_blocking(n, False) for n in (0, 1)]; os.execvp(sys.argv[1], sys.argv[1:])'";
    let hash = said(&host, "head -c 30M /dev/zero | sha256sum");
    let line = format!("head -c 30M /dev/zero | {nonblocking} cellblock enter -- cat | (sleep 0.5; sha256sum)");
    assert_eq!(said(&host, &line), hash);
}

#[test]
fn ends_are_handed_on_as_a_shell_and_a_parent_see_them() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    assert_eq!(said(&host, "for n in 0 1 122 255; do enter -- sh -c \"exit $n\"; echo $?; done"), "0\n1\n122\n255");
    assert_eq!(out(&host, "enter -- sh -c 'kill -9 $$'; echo $?"), "137");
    assert_eq!(said(&host, "enter -- /no/such/program 2>/dev/null; echo $?"), "127");
    for (signal, number) in [("TERM", 15), ("KILL", 9), ("SEGV", 11), ("RTMIN+3", 37)] {
        let mut command = host.enter("alice", &["--", "bash", "-c", &format!("kill -{signal} $$")]);
        let status = command.stderr(std::process::Stdio::null()).status().unwrap();
        assert_eq!((status.signal(), status.core_dumped()), (Some(number), false), "{signal}");
    }
    // The jail ends under it.
    let mut running =
        Running::start(on_host(&host, "cellblock enter -- sh -c 'echo up; exec sleep 1000' 2>&1; echo $?"));
    assert_eq!(running.line(), "up");
    let init = host.door.audit().iter().rev().find_map(|line| line["pid"].as_i64()).unwrap();
    assert!(init > 0);
    kill_cell(&host);
    assert!(running.expect("jail has ended").contains("cellblock"));
    assert_eq!(running.line(), "137");
    running.wait();
}

/// SIGKILL for the cell's pid 1.
fn kill_cell(host: &Host) {
    let text = std::fs::read_to_string(host.door.run_dir().join("cells/alice/cell.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    procfs::kill(i32::try_from(record["pid"].as_i64().unwrap()).unwrap(), Signal::SIGKILL);
}

fn callers(words: &str) -> Vec<i32> {
    procfs::pids().into_iter().filter(|&pid| procfs::cmdline(pid).starts_with(words)).collect()
}

#[test]
fn signals_are_passed_on_to_the_program_and_ignored_ones_stay_ignored() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2] {
        let name = signal.as_str().trim_start_matches("SIG");
        let script = format!("trap 'echo got; exit 7' {name}; echo up; while :; do sleep 0.1; done");
        let mut running = Running::start(host.enter("alice", &["--", "bash", "-c", &script, "pass-on"]));
        assert_eq!(running.line(), "up");
        let caller = callers("cellblock enter -- bash -c trap");
        assert_eq!(caller.len(), 1);
        procfs::kill(caller[0], signal);
        assert_eq!(running.line(), "got", "{name}");
        assert_eq!(running.wait(), 7, "{name}");
    }
    let mut running =
        Running::start(on_host(&host, "trap '' HUP; exec cellblock enter -- bash -c 'echo up; read; echo on'"));
    assert_eq!(running.line(), "up");
    procfs::kill(callers("cellblock enter -- bash -c echo up")[0], Signal::SIGHUP);
    running.write("\n");
    assert_eq!(running.line(), "on");
    assert_eq!(running.wait(), 0);
}

/// "when the cell dies the caller's terminal is restored", and at every other end but SIGKILL
#[test]
fn the_callers_terminal_is_as_it_was_at_whatever_end() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let start = || {
        let mut client = TerminalClient::start(host.enter("root", &["alice"]), 24, 80);
        let before = client.modes();
        client.expect("$ ");
        soon("it is raw", || client.modes() != before);
        client.send("printf '\\033[?1049h\\033[?25l'; echo rea''dy\n");
        client.expect("ready");
        (client, before)
    };
    let (mut client, before) = start();
    client.send("exit 4\n");
    assert_eq!(client.wait(), 4);
    assert_eq!(client.modes(), before);
    assert!(!client.shown().contains("?1047l"), "what the program left on is the program's");

    let (mut client, before) = start();
    kill_cell(&host);
    client.expect("the jail has ended");
    client.wait();
    assert_eq!(client.modes(), before);
    client.expect("\u{1b}[?1047l\u{1b}[?25h");

    let (mut client, before) = start();
    procfs::kill(callers("cellblock enter alice")[0], Signal::SIGTERM);
    client.wait();
    assert_eq!(client.modes(), before);

    let (mut client, before) = start();
    client.send("kill -9 $$\n");
    client.wait();
    assert_eq!(client.modes(), before);
}

/// A session whose terminal goes is hung up, as by a dropped line
#[test]
fn a_terminal_that_goes_hangs_up_what_runs_on_it() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let mut client =
        TerminalClient::start(host.enter("alice", &["--", "sh", "-c", "echo up; exec sleep 1000"]), 24, 80);
    client.expect("up");
    let caller = callers("cellblock enter -- sh -c echo up");
    procfs::kill(caller[0], Signal::SIGHUP);
    client.wait();
    soon("the session has ended", || host.door.audit().iter().any(|line| line["event"] == "session_end"));
    assert_eq!(host.entered("alice", &["--", "sh", "-c", "pgrep -c sleep; true"]), "0");
}

/// "as login shell under `su -`, `sudo -iu`, cron, at": each calls it in its own way
#[test]
fn whoever_calls_a_login_shell_gets_one() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let ok = |words: &[&str], input: &str| {
        let ran = run_bounded(host.as_root(words), input.as_bytes());
        assert_eq!(ran.status, 0, "{words:?}: {} {}", ran.text(), ran.err);
        ran.text()
    };
    let shell = "/usr/local/sbin/cellblock-shell";
    let as_her = ["setpriv", "--reuid", "alice-sh", "--regid", "alice-sh", "--init-groups"];
    let with =
        |more: &[&'static str]| -> Vec<&'static str> { as_her.iter().copied().chain(more.iter().copied()).collect() };
    let look = "echo \"$(id -un) $0\"; pwd";
    for words in [&["su", "-", "alice-sh", "-c", look][..], &["su", "alice-sh", "-c", look]] {
        assert_eq!(ok(words, ""), "alice bash\n/home/alice", "{words:?}");
    }
    // No arguments: what comes on standard input, as by at(1), and by ssh without a command.
    for words in [&["su", "-", "alice-sh"][..], &["su", "alice-sh"]] {
        assert_eq!(ok(words, "id -un; exit 0\n"), "alice", "{words:?}");
    }
    // cron(8) with SHELL=, sudo(8) -i.
    assert_eq!(ok(&with(&[shell, "-c", "id -un"]), ""), "alice");
    assert_eq!(ok(&with(&["bash", "-c", "exec -a -cellblock-shell cellblock-shell -c 'id -un'"]), ""), "alice");
    assert_eq!(ok(&with(&["bash", "-c", "exec -a -su cellblock-shell -l"]), "id -un\n"), "alice");
    // A person at a terminal.
    let mut client = TerminalClient::start(host.as_root(&["su", "-", "alice-sh"]), 30, 90);
    client.expect("$ ");
    client.send("stty size; exit 6\n");
    client.expect("30 90");
    assert_eq!(client.wait(), 6);
    // What it cannot do, it refuses.
    let ran = run_bounded(host.as_root(&with(&[shell, "script"])), b"");
    assert!(ran.status == 255 && ran.err.contains("it runs no scripts"), "{}", ran.err);
}

/// firejail#6768: chsh. What a tenant makes of accounts and shells in the cell, as root of a tree of their own, is the
/// tree's; and the account cannot put another shell in the jail's place on the host, whether `/etc/shells` has it or not
#[test]
fn a_login_shell_that_is_changed_in_the_cell_or_by_its_account_is_the_same_on_the_host() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = debian_root(&scratch);
    let host = Host::start(&format!("root = \"{}\"\nuser = \"root\"", tree.display()), "");
    let ok = |mut command: Command, line: &str| {
        command.arg(line);
        let ran = run_bounded(command, b"");
        assert_eq!(ran.status, 0, "{line}: {} {}", ran.text(), ran.err);
        ran.text()
    };
    let by_su = || host.as_root(&["su", "-", "alice-sh", "-c"]);
    let accounts = || ok(host.as_root(&["cat", "/etc/passwd", "/etc/shells"]), "/etc/shadow");
    let before = accounts();
    ok(by_su(), "echo here >/mark");
    let change = "echo 'alice-sh:x:0:0::/:/bin/dash' >>/etc/passwd; echo 'alice-sh::1::::::' >>/etc/shadow; \
                  echo /bin/dash >>/etc/shells; chsh -s /bin/dash root; \
                  getent passwd root alice-sh | cut -d: -f1,7";
    assert_eq!(ok(by_su(), change), "root:/bin/dash\nalice-sh:/bin/dash");
    assert_eq!(accounts(), before);
    for listed in [true, false] {
        if !listed {
            ok(host.as_root(&["sed", "-i", "/cellblock/d"]), "/etc/shells");
        }
        let before = accounts();
        for words in [&["chsh", "-s", "/bin/sh"][..], &["chsh", "-s", "/bin/sh", "alice-sh"]] {
            let ran = run_bounded(host.on_host("alice-sh", words), b"\n");
            let said = if listed { "Authentication failure" } else { "You may not change the shell" };
            assert!(ran.status == 1 && ran.err.contains(said), "{listed}: {}", ran.err);
        }
        assert_eq!(accounts(), before);
        let by_shell = || host.on_host("alice-sh", &["cellblock-shell", "-c"]);
        for command in [by_su(), host.ssh("alice-sh"), by_shell()] {
            assert_eq!(ok(command, "cat /mark"), "here", "{listed}");
        }
    }
}

/// mosh starts its server through the login shell and leaves it running. The datagrams need a network that the client
/// reaches; the host's, here.
#[test]
fn mosh_finds_its_server_in_the_cell_and_goes_on_without_ssh() {
    if !root() {
        return;
    }
    let host = Host::start("network = \"host\"", "");
    let ssh = host.client("ssh");
    let words: Vec<_> =
        [ssh.get_program()].into_iter().chain(ssh.get_args()).map(|word| word.to_string_lossy()).collect();
    let mut mosh = Command::new("mosh");
    mosh.args(["--experimental-remote-ip=remote", "--ssh", &words.join(" "), "--", "alice-sh@host"]);
    let mut client = TerminalClient::start(
        {
            mosh.env("LC_ALL", "C.UTF-8");
            mosh
        },
        30,
        90,
    );
    client.expect("$ ");
    soon("ssh has ended", || host.door.audit().iter().any(|line| line["event"] == "connection_end"));
    client.send("echo I am $(id -un), at $(stty size)\n");
    client.expect("I am alice, at 30 90");
    client.resize(20, 70);
    client.expect_size(20, 70);
    client.send("exit\n");
    assert_eq!(client.wait(), 0);
}

#[test]
fn a_host_without_a_listener_says_what_to_do() {
    if !root() {
        return;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellblock"));
    command.args(["enter", "--socket", "/nowhere/enter.sock", "alice"]);
    let ran = run_bounded(command, b"");
    assert_eq!(ran.status, 255);
    assert_eq!(
        ran.err,
        "cellblock: asking the listener at /nowhere/enter.sock: none runs there\n\
         hint: systemctl start cellblock; or name its socket by --socket\n"
    );
}
