//! "A host account's uid can't reach another tenant's cell by any argument, environment, cwd, fd or race"
//! (issue 5); and whoever stalls or lies at the enter door holds up nobody.
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
    os::unix::fs::MetadataExt as _,
    process::Stdio,
    time::{Duration, Instant},
};

use cellblock::wire::{
    enter::NoEntry,
    login::Request,
    session::{Program, Terminal, WindowSize},
};
use nix::sys::signal::Signal;
use serde_json::Value;
use support::caller::{CALLER, call, caller, events, hex, refusal};
use support::{Host, Running, procfs, root, run_bounded, soon};

/// "other tenant by argument, environment, cwd, fd"
#[test]
fn an_account_gets_its_own_cell_whatever_it_says_and_wherever_it_stands() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    host.entered("alice", &["--", "sh", "-c", "echo hers > ~/secret"]);
    let look = ["--", "sh", "-c", "id -un; cat ~/secret 2>/dev/null; ls /home"];

    // By argument.
    let ran = run_bounded(host.enter("bob", &["alice", "--", "id", "-un"]), b"");
    assert_eq!((ran.status, ran.text().as_str()), (255, ""));
    assert!(ran.err.contains("Only root can enter the cell of another tenant."), "{}", ran.err);
    assert_eq!(host.entered("bob", &["bob", "--", "id", "-un"]), "bob");

    // By environment.
    let mut command = host.on_host("bob", &["env"]);
    for name in ["USER", "LOGNAME", "SUDO_USER", "HOME", "CELLBLOCK_TENANT", "SSH_USER"] {
        command.arg(format!("{name}=alice"));
    }
    command
        .args(["SUDO_UID=0", "SSH_CONNECTION=127.0.0.1 1 127.0.0.1 22", "LD_PRELOAD=", "cellblock", "enter"])
        .args(look);
    assert_eq!(run_bounded(command, b"").text(), "bob\nbob");

    // By the directory it stands in, and by what it has open: neither gets in.
    let secret = host.door.dir.join("state/tenants/alice/home");
    let script = format!(
        "cd {} && exec 7</etc/shadow 8</ && exec setpriv --reuid bob --regid bob --init-groups \
         cellblock enter -- sh -c 'pwd; ls -l /proc/self/fd | grep -c :; readlink /proc/self/cwd; cat <&7 2>/dev/null; id -un'",
        secret.display()
    );
    let ran = run_bounded(host.as_root(&["bash", "-c", &script]), b"");
    assert_eq!(ran.status, 0, "{}", ran.err);
    // 0 to 2, and the directory that ls reads.
    assert_eq!(ran.text(), "/home/bob\n4\n/home/bob\nbob", "{}", ran.err);
}

/// What the caller's own streams are is nowhere to be seen in the cell: it has pipes of its own
#[test]
fn no_file_terminal_or_pipe_of_the_hosts_gets_into_a_cell() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let script = "exec < /etc/hostname 2> /dev/null; cellblock enter -- sh -c 'for n in 0 1 2; do stat -Lc %F:%U:%d /proc/self/fd/$n; done; \
                  echo x > /dev/stdout' | cat";
    let ran = run_bounded(host.on_host("alice", &["sh", "-c", script]), b"");
    let lines: Vec<_> = ran.text().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 4, "{lines:?} {}", ran.err);
    assert!(lines[..3].iter().all(|line| line.starts_with("fifo:alice:")), "{lines:?}");
    assert_eq!(lines[3], "x");
}

/// "a caller that execs in between": who connected is who counts
#[test]
fn whoever_connected_counts_and_not_what_they_have_become_since() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    // mallory connects, and only then somebody else speaks over that connection: bob, and root.
    for (other, becomes) in [("bob", "61003"), ("root", "0")] {
        let script = format!(
            "os.set_inheritable(s.fileno(), True)\n\
             os.execvp('python3', ['python3', '-c', 'import os,socket;s=socket.socket(fileno=%d);\
             os.setuid({becomes}) if os.getuid() != {becomes} else None;s.send(bytes.fromhex(\"{}\"));print(s.recv(99).hex())' % s.fileno()])",
            call(Some("bob"))
        );
        // Root does the becoming: connects as mallory by its effective id alone.
        let connect = "import os; os.setresgid(61004, 61004, 0); os.setresuid(0, 61004, 0)\n";
        let mut command = host.as_root(&["/usr/bin/python3", "-c"]);
        command.arg(format!("{connect}{CALLER}os.setresuid(0, 0, 0); os.setresgid(0, 0, 0)\n{script}"));
        let ran = run_bounded(command, b"");
        assert_eq!(ran.text(), refusal(NoEntry::NoTenant), "{other}: {}", ran.err);
    }
    assert!(events(&host, "login").is_empty());
    let refused = events(&host, "caller_refused");
    assert!(refused.iter().all(|line| line["uid"] == 61004 && line["account"] == "mallory"), "{refused:?}");
}

/// The session does not outlive the process that called, whoever holds the connection then
#[test]
fn a_session_ends_with_its_caller_even_where_another_holds_the_connection() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let program = Program::Command(b"echo up; exec sleep 1000".to_vec());
    let start = hex(&Request::StartSession { channel: 0, program, terminal: None, environment: Vec::new() });
    let script =
        format!("say('{}'); hear(); say('{start}'); hear()\nif os.fork() == 0: time.sleep(1000)\nos.wait", call(None));
    let has_pidfd = {
        let (one, _other) = cellblock::sys::seqpacket::pair().unwrap();
        std::os::fd::AsFd::as_fd(&one);
        cellblock::sys::seqpacket::peer_pidfd(std::os::fd::AsFd::as_fd(&one)).unwrap().is_some()
    };
    let mut running = Running::start(caller(&host, "alice", &script));
    running.line();
    running.line();
    if has_pidfd {
        soon("the connection has ended", || events(&host, "connection_end").len() == 1);
    }
    // The child sleeps as alice of the host.
    host.end_callers("alice");
    soon("all is over", || events(&host, "connection_end").len() == 1);
    running.wait();
}

/// "file:line:col findings", and here what they are for: one account is one tenant, and `host_user` goes first
#[test]
fn accounts_are_tied_by_name_before_they_are_by_group() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    assert_eq!(host.entered("alice", &["--", "id", "-un"]), "alice");
    assert_eq!(host.entered("alice-sh", &["--", "id", "-un"]), "alice", "by the group");
    assert_eq!(host.entered("bob", &["--", "id", "-un"]), "bob", "in alice's group, and bob by name");
    for nobody in ["mallory", "trudy"] {
        let ran = run_bounded(host.enter(nobody, &["--", "id"]), b"");
        assert!(ran.status == 255 && ran.err.contains("no tenant of cellblock"), "{nobody}: {}", ran.err);
    }
    // A uid that no account has.
    let ran = run_bounded(host.as_root(&["setpriv", "--reuid", "61999", "--clear-groups", "cellblock", "enter"]), b"");
    assert!(ran.status == 255 && ran.err.contains("no tenant of cellblock"), "{}", ran.err);
}

#[test]
fn root_enters_whom_it_names_and_no_class_keeps_it_out() {
    if !root() {
        return;
    }
    let host = Host::start(
        "",
        "allow = [\"sftp\"]\ncommand = \"echo forced\"\nopen = [\"00:00-00:01\"]\nmax_connections = 1\n",
    );
    assert_eq!(
        host.entered("root", &["bob", "--", "sh", "-c", "id -un; echo \"$0 $1\"", "a  b", "$HOME"]),
        "bob\na  b $HOME"
    );
    let ran = run_bounded(host.enter("root", &[]), b"");
    assert!(ran.status == 255 && ran.err.contains("say whose cell to enter"), "{}", ran.err);
    let ran = run_bounded(host.enter("root", &["zoe"]), b"");
    assert!(ran.status == 255 && ran.err.contains("There is no such tenant."), "{}", ran.err);
    let login = events(&host, "login");
    assert_eq!((login[0]["method"].as_str(), login[0]["tenant"].as_str()), (Some("host-root"), Some("bob")));
    assert!(login[0].get("peer").is_none(), "{login:?}");
    // From where the admin came to this host is not for a tenant to know.
    let mut by_ssh = host.enter("root", &["bob", "--", "env"]);
    by_ssh.env("SSH_CONNECTION", "203.0.113.9 4711 203.0.113.10 22").env("SSH_CLIENT", "203.0.113.9 4711 22");
    let ran = run_bounded(by_ssh, b"");
    assert!(ran.status == 0 && ran.text().contains("HOME="), "{} {}", ran.text(), ran.err);
    assert!(!ran.text().contains("203.0.113"), "{}", ran.text());
}

/// As `bwrap` and `incus exec` have it: nothing takes the words apart, and no shell of the tenant's is in between.
#[test]
fn root_runs_a_program_and_no_shell_of_the_tenants() {
    if !root() {
        return;
    }
    let host = Host::start("", "shell = \"/bin/false\"\n");
    assert_eq!(host.entered("root", &["bob", "--", "printf", "%s|", "a  b", "$HOME", ""]), "a  b|$HOME||");
    assert_eq!(host.entered("root", &["bob", "--", "/bin/echo", "by a path"]), "by a path");
    assert_eq!(host.entered("root", &["bob", "--", "sh", "-c", "cat /proc/$PPID/comm"]), "cellblock-init");
    let fails = |words: &[&str]| {
        let ran = run_bounded(host.enter("root", &[&["bob", "--"], words].concat()), b"");
        (ran.status, ran.err)
    };
    let (status, told) = fails(&["no-such-program"]);
    assert!(status == 127 && told.contains("cellblock: no-such-program: "), "{status} {told}");
    let (status, told) = fails(&["/etc/passwd"]);
    assert!(status == 126 && told.contains("cellblock: /etc/passwd: "), "{status} {told}");
    assert_eq!(fails(&[""]).0, 127);
    // The tenant's own words go to their shell, which may be what keeps them from running anything.
    let ran = run_bounded(host.enter("bob", &["--", "echo", "no"]), b"");
    assert_eq!((ran.status, ran.text()), (1, String::new()), "{}", ran.err);
    let started = events(&host, "session_start");
    assert_eq!(started[0]["command"], "'printf' '%s|' 'a  b' '$HOME' ''", "{started:?}");
}

/// "the request bounded and typed": each kind of lie ends its connection, and nothing starts
#[test]
fn whoever_lies_is_hung_up_on_and_gets_nothing() {
    if !root() {
        return;
    }
    let host = Host::where_descriptors_pass("", "");
    // Whose account is known to be a tenant's is not put off for the first few.
    host.entered("alice", &["--", "true"]);
    let entered = |script: &str| format!("say('{}'); hear()\n{script}\nhear()", call(None));
    let start =
        |program: Program| hex(&Request::StartSession { channel: 0, program, terminal: None, environment: Vec::new() });
    let sleep = || start(Program::Command(b"sleep 100".to_vec()));
    let login = hex(&Request::LogIn { user: "root".into(), key: Vec::new() });
    let before: [(&str, String); 5] = [
        ("what is no call", "say('ffffffff'); hear()".into()),
        ("nothing at all", "say(b''); hear()".into()),
        ("more than any message", "say(b'x' * 200000); hear()".into()),
        ("a call with descriptors", format!("say('{}', [0]); hear()", call(None))),
        ("a call with bytes after it", format!("say('{}00'); hear()", call(None))),
    ];
    for (what, script) in before {
        let ran = run_bounded(caller(&host, "alice", &script), b"");
        assert_eq!(ran.text(), "end", "{what}: {}", ran.err);
    }
    let after: [(&str, String); 6] = [
        ("what only ssh has", format!("say('{login}')")),
        ("the probe", format!("say('{}'); hear()", start(Program::Probe))),
        ("a request with descriptors", format!("say('{}', [0, 1, 2])", sleep())),
        ("a second session", format!("say('{0}'); hear(); say('{0}')", sleep())),
        ("what is no request", "say('7f7f7f')".into()),
        ("a second call", format!("say('{}')", call(Some("bob")))),
    ];
    for (what, script) in after {
        let script = if what == "the probe" { format!("{script}; s.close(); sys.exit()") } else { script };
        let ran = run_bounded(caller(&host, "alice", &entered(&script)), b"");
        let text = ran.text();
        if what == "the probe" {
            // Refused as everything that is not allowed is.
            assert_eq!(text.lines().count(), 2, "{what}: {text} {}", ran.err);
        } else {
            assert_eq!(text.lines().last(), Some("end"), "{what}: {text} {}", ran.err);
        }
    }
    let started: Vec<_> = events(&host, "session_start").into_iter().map(|line| line["kind"].clone()).collect();
    assert_eq!(started, ["exec", "exec"], "the first of all, and the first of two");
    soon("nothing of it runs", || host.entered("alice", &["--", "sh", "-c", "pgrep -c sleep; true"]) == "0");
}

/// `max_startups` counts those whom the listener has not heard of yet, and with a cell that starts that is all of them.
#[test]
fn a_job_that_starts_many_at_once_is_served_with_each() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let job = "for n in $(seq 50); do cellblock enter -- echo in & done; wait";
    for cell in ["that starts", "that runs"] {
        let ran = run_bounded(host.on_host("alice", &["bash", "-c", job]), b"");
        assert_eq!(ran.text().lines().filter(|line| *line == "in").count(), 50, "a cell {cell}: {}", ran.err);
    }
}

/// "a caller that stalls or lies holds up nobody"
#[test]
fn those_who_stall_hold_up_nobody_and_are_hung_up_on() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    host.entered("alice", &["--", "true"]);
    let script = "all = [s]\n\
        for n in range(199):\n \
        one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); one.connect('/run/cellblock/enter.sock'); all.append(one)\n\
        print('stalling', flush=True)\n\
        begin = time.monotonic()\n\
        for one in all:\n \
        try: one.recv(99)\n \
        except OSError: pass\n\
        print(int(time.monotonic() - begin), flush=True)";
    let running = Running::start(caller(&host, "mallory", script));
    assert_eq!(running.line(), "stalling");
    let begin = Instant::now();
    for account in ["alice", "bob"] {
        host.entered(account, &["--", "true"]);
    }
    assert_eq!(host.door.ok("alice", "echo in"), "in", "the ssh door counts for itself");
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    let seconds: u64 = running.line().parse().unwrap();
    assert!(seconds <= 12, "{seconds}");
    let turned_away = events(&host, "caller_turned_away");
    assert!(turned_away.iter().any(|line| line["reason"] == "max_startups" && line["uid"] == 61004), "{turned_away:?}");
    assert_put_off(&host, "grace-exceeded");
    let later = run_bounded(caller(&host, "mallory", "hear()"), b"");
    assert_eq!(later.text(), refusal(NoEntry::Busy), "{}", later.err);
}

/// mallory's account is put off for this, and neither another nor the network is, although all of it comes from one
/// host: "`max_startups`, limits and penalties guard the enter socket as they guard the network"
fn assert_put_off(host: &Host, cause: &str) {
    let listed: Value = serde_json::from_str(&host.door.verb(&["list", "--json"]).text()).unwrap();
    let [penalty] = &listed["penalties"].as_array().unwrap()[..] else { panic!("{listed}") };
    assert_eq!((&penalty["source"], &penalty["cause"]), (&"uid 61004".into(), &cause.into()));
    assert_eq!(events(host, "penalty_start")[0]["source"], "uid 61004");
    assert!(host.enter("mallory", &[]).output().unwrap().status.code() == Some(255));
    let turned_away = events(host, "caller_turned_away");
    assert!(turned_away.iter().any(|line| line["reason"] == "penalty" && line["uid"] == 61004), "{turned_away:?}");
    host.entered("bob", &["--", "true"]);
    assert_eq!(host.door.ok("bob", "echo in"), "in");
    host.entered("root", &["bob", "--", "true"]);
}

#[test]
fn whoever_fails_again_and_again_is_turned_away_and_nobody_else_is() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let script = format!(
        "for n in range(500):\n \
         s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect('/run/cellblock/enter.sock')\n \
         try: s.send(bytes.fromhex('{}'))\n \
         except BrokenPipeError: pass\n \
         data = take().hex()\n if data == '{}': break\nprint(n, data, flush=True)",
        call(None),
        refusal(NoEntry::Busy)
    );
    let ran = run_bounded(caller(&host, "mallory", &script), b"");
    let text = ran.text();
    let (number, last) = text.split_once(' ').unwrap_or_else(|| panic!("{text} {}", ran.err));
    assert_eq!(last, refusal(NoEntry::Busy), "{number}");
    let number: usize = number.parse().unwrap();
    // The first connection, which said nothing, is a `noauth`; with three of `authfail` that is more than the least.
    // How one ended may be heard of after the next has come.
    assert!((3..10).contains(&number), "a few are no harm: {number}");
    assert_put_off(&host, "authfail");
    assert_eq!(
        events(&host, "caller_refused").len(),
        number,
        "whoever is turned away gets no monitor, and no line of its own"
    );
    host.entered("alice", &["--", "true"]);
}

/// Each costs the host a fork and lines of its logs as any other who fails.
#[test]
fn whoever_comes_once_too_often_again_and_again_is_turned_away_as_well() {
    if !root() {
        return;
    }
    let host = Host::start("max_connections = 1\n", "");
    let script = format!(
        "held = None\nfor n in range(500):\n \
         s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect('/run/cellblock/enter.sock')\n \
         try: s.send(bytes.fromhex('{}'))\n \
         except BrokenPipeError: pass\n \
         data = take().hex()\n \
         if held is None: held = s\n \
         if data == '{}': break\nprint(n, data, flush=True)",
        call(None),
        refusal(NoEntry::Busy)
    );
    let ran = run_bounded(caller(&host, "alice", &script), b"");
    let text = ran.text();
    let (number, last) = text.split_once(' ').unwrap_or_else(|| panic!("{text} {}", ran.err));
    assert_eq!(last, refusal(NoEntry::Busy), "{number}");
    assert!(number.parse::<usize>().unwrap() >= 19, "a few are no harm: {number}");
    let refused = events(&host, "caller_refused");
    assert!(refused.iter().all(|event| event["reason"] == "too many connections"), "{refused:?}");
    host.entered("bob", &["--", "true"]);
}

/// Sessions of the enter door are listed and killed as those of ssh
#[test]
fn the_admin_sees_and_ends_what_came_by_the_enter_door() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let running = Running::start(host.enter("alice", &["--", "sh", "-c", "echo up; exec sleep 1000"]));
    assert_eq!(running.line(), "up");
    let verb = |words: &[&str]| {
        let ran = host.door.verb(words);
        assert_eq!(ran.status, 0, "{}", ran.err);
        ran.text()
    };
    let list: Value = serde_json::from_str(&verb(&["list", "--json"])).unwrap();
    let session = &list["cells"][0]["sessions"][0];
    assert_eq!((session["from"].clone(), session["kind"].as_str()), (Value::Null, Some("exec")), "{list}");
    let name = session["session"].as_str().unwrap();
    verb(&["kill", name]);
    let mut running = running;
    soon("the caller ends", || !running.is_running());
    soon("the receipt is written", || events(&host, "session_end").len() == 1);
    let of = |event: &str| events(&host, event)[0].clone();
    assert_eq!(
        (of("session_start")["session"].as_str(), of("session_end")["session"].as_str()),
        (Some(name), Some(name))
    );
    assert_eq!(of("caller_accepted")["uid"], 61001);
    assert_eq!((of("login")["method"].as_str(), of("login")["tenant"].as_str()), (Some("host-account"), Some("alice")));
}

/// Whoever keeps the session's descriptors and goes does not keep the session beyond its time
#[test]
fn no_session_outlasts_its_time_by_what_the_caller_holds_on_to() {
    if !root() {
        return;
    }
    let host = Host::start("max_session_time = \"10s\"\n", "");
    let program = Program::Command(b"trap '' TERM HUP; while :; do sleep 0.2; done".to_vec());
    let start = hex(&Request::StartSession { channel: 0, program, terminal: None, environment: Vec::new() });
    // A child keeps what came with the answer; the caller hangs up.
    let script = format!(
        "say('{}'); hear(); say('{start}')\ndata, ancillary, *_ = s.recvmsg(999, 999)\nprint(len(ancillary), flush=True)\n\
         if os.fork() == 0:\n s.close(); time.sleep(1000)\ns.close(); os._exit(0)",
        call(None)
    );
    let running = Running::start(caller(&host, "alice", &script));
    running.line();
    assert_eq!(running.line(), "1");
    soon("its time is over", || events(&host, "session_end").len() == 1);
    assert_eq!(
        host.entered("root", &["alice", "--", "sh", "-c", "pgrep -fc 'trap.*TERM'; true"]),
        "1",
        "the one that looks"
    );
    host.end_callers("alice");
}

/// Nor by what it leaves in the cell, in its session or out of it, on pipes or on a terminal
#[test]
fn what_a_session_left_behind_cannot_be_talked_to_when_its_time_is_over() {
    if !root() {
        return;
    }
    let host = Host::start("max_session_time = \"10s\"\n", "max_session_time = \"10s\"\n");
    // A daemon of each, which holds nothing of anybody's.
    for tenant in ["alice", "bob"] {
        host.entered("root", &[tenant, "--", "sh", "-c", "setsid sleep 1000 </dev/null >/dev/null 2>&1 &"]);
    }
    let worker = "while read -r line; do echo pong; done";
    let talk = "while True:\n \
        try: os.write(asks, b'ping\\n')\n \
        except OSError: break\n \
        if not select.select([answers], [], [], 5)[0]: break\n \
        try: data = os.read(answers, 999)\n \
        except OSError: break\n \
        if not data: break\n \
        n += b'pong' in data; time.sleep(0.1)\n\
        print('cut', n, flush=True)";
    let start = |line: String, terminal: Option<Terminal>| {
        let program = Program::Command(line.into_bytes());
        hex(&Request::StartSession { channel: 0, program, terminal, environment: Vec::new() })
    };
    let script = |start: String, gone: &str| {
        format!(
            "import select\nsay('{}'); hear(); say('{start}')\n_, ancillary, *_ = s.recvmsg(999, 999)\n\
             fds = array.array('i'); fds.frombytes(ancillary[0][2])\nasks, answers, n = fds[0], fds[min(1, len(fds) - 1)], 0\n\
             {gone}\n{talk}",
            call(None)
        )
    };
    let size = WindowSize { columns: 80, rows: 24, width: 0, height: 0 };
    let terminal = Terminal { term: "xterm".into(), size, modes: Vec::new() };
    let inside = start(format!("({worker}) <&0 & exit"), None);
    let outside = start(format!("setsid sh -c '{worker}' <&0 & exit"), None);
    let on_terminal = start(format!("stty -echo; setsid sh -c '{worker}' <&0 & sleep 0.5; exit"), Some(terminal));
    let all = [
        ("alice", script(inside, "s.close()")),
        ("alice-sh", script(on_terminal, "")),
        ("bob", script(outside, "s.close()")),
    ];
    let running: Vec<_> = all.map(|(account, script)| Running::start(caller(&host, account, &script))).into();
    for running in &running {
        assert_ne!(running.line(), "end");
        let cut = running.line();
        let answers: u32 = cut.strip_prefix("cut ").unwrap_or_else(|| panic!("{cut}")).parse().unwrap();
        assert!(answers > 20, "it was talked to before, and long after its session's first process: {answers}");
    }
    soon("the connections have ended", || {
        let ends = events(&host, "connection_end");
        ends.iter().filter(|end| end["seconds"].as_u64().unwrap() >= 9).count() == 3
    });
    // What can be told apart goes alone; what cannot takes the cell along.
    let count = |tenant| host.entered("root", &[tenant, "--", "sh", "-c", "pgrep -c sleep; true"]);
    assert_eq!(count("alice"), "1");
    soon("bob's cell has ended", || count("bob") == "0");
}

/// The run_dir lets others through to the one socket
#[test]
fn nothing_in_the_run_dir_is_open_to_others_but_the_enter_socket() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    host.entered("alice", &["--", "true"]);
    let mut open = Vec::new();
    for entry in fs::read_dir(host.door.run_dir()).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        if meta.mode() & 0o077 != 0 && entry.file_name() != "enter.sock" {
            open.push(format!("{:?} {:o}", entry.file_name(), meta.mode()));
        }
    }
    assert!(open.is_empty(), "{open:?}");
    let listed = run_bounded(host.on_host("alice", &["ls", "/run/cellblock"]), b"");
    assert_ne!(listed.status, 0);
    let script = "import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect('/run/cellblock/control.sock')";
    let ran = run_bounded(host.on_host("alice", &["/usr/bin/python3", "-c", script]), b"");
    assert!(ran.err.contains("PermissionError"), "{}", ran.err);
}

/// No caller is told by somebody else who plays the listener
#[test]
fn a_socket_that_is_not_roots_is_not_talked_to() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let script = "import os, socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.bind('/tmp/cb-fake-%d' % os.getpid()); \
                  os.chmod('/tmp/cb-fake-%d' % os.getpid(), 0o777); s.listen(); print('/tmp/cb-fake-%d' % os.getpid(), flush=True); \
                  c = s.accept()[0]; print(len(c.recv(9999)), flush=True)";
    let mut fake = host.on_host("mallory", &["/usr/bin/python3", "-c", script]);
    fake.stdin(Stdio::null());
    let fake = Running::start(fake);
    let socket = fake.line();
    let ran = run_bounded(host.enter("alice", &["--socket", &socket, "--", "id"]), b"");
    fs::remove_file(&socket).ok();
    assert!(ran.status == 255 && ran.err.contains("uid 61004 answers there, and not root"), "{}", ran.err);
    assert_eq!(fake.line(), "0", "nothing was said to it");
}

/// kill -9 of the monitor, and of the caller, leaves nothing running
#[test]
fn a_caller_that_is_killed_leaves_no_connection() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let mut running = Running::start(host.enter("alice", &["--", "sh", "-c", "echo up; cat"]));
    assert_eq!(running.line(), "up");
    let caller =
        procfs::pids().into_iter().find(|&pid| procfs::cmdline(pid).starts_with("cellblock enter -- sh")).unwrap();
    procfs::kill(caller, Signal::SIGKILL);
    soon("the connection has ended", || events(&host, "connection_end").len() == 1);
    running.wait();
    // cat has read the end.
    soon("so has the session", || events(&host, "session_end").len() == 1);
}

/// CVE-2008-1657 and virtualmin#382: "nothing of a tenant's (`~/.ssh/rc`, environment, `command=`) runs on the host
/// before the jail". Without our piece of config it does, so that the test can fail
#[test]
fn nothing_of_a_tenants_runs_on_the_host_before_the_jail() {
    if !root() {
        return;
    }
    let mut host = Host::start("", "");
    let trap = |name: &str| host.home.join(format!("ran-{name}"));
    let key = fs::read_to_string(host.door.dir.join("id.pub")).unwrap();
    fs::create_dir(host.home.join(".ssh")).unwrap();
    for (file, text) in [
        (".ssh/rc", format!("touch {}", trap("rc").display())),
        (".ssh/environment", format!("LD_PRELOAD=/x\nENV={}/.ssh/rc\nPATH=/nowhere\n", host.home.display())),
        (".ssh/authorized_keys", format!("command=\"touch {}\" {key}", trap("command").display())),
        (".profile", format!("touch {}", trap("profile").display())),
        (".bashrc", format!("touch {}", trap("bashrc").display())),
    ] {
        fs::write(host.home.join(file), text).unwrap();
    }
    for path in [".ssh", ".ssh/rc", ".ssh/environment", ".ssh/authorized_keys", ".profile", ".bashrc"] {
        std::os::unix::fs::chown(host.home.join(path), Some(61_001), Some(61_001)).unwrap();
    }
    let ran =
        || ["rc", "command", "profile", "bashrc"].into_iter().filter(|name| trap(name).exists()).collect::<Vec<_>>();
    for line in ["id -un", "exec true; id"] {
        assert_eq!(host.run("alice", line).status, 0, "{}", host.sshd_log());
    }
    let shell = run_bounded(host.ssh("alice"), b"id -un\n");
    assert_eq!(shell.text(), "alice", "{}", shell.err);
    assert!(ran().is_empty(), "{:?}", ran());

    let home = host.home.clone();
    host.another_sshd("/bin/false", Some("PermitUserEnvironment no\n"));
    run_bounded(host.ssh("alice"), b"");
    assert!(home.join("ran-rc").exists(), "an sshd without our config runs it");
}
