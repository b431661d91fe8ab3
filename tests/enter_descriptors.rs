//! Descriptors that callers leave in their connections, whose last close takes as long as they like: a TCP
//! socket with `SO_LINGER` and bytes that nobody reads. Who closes it sleeps; it is none of ours who has
//! something to do. Twice: as this kernel is, and where callers can send descriptors (before Linux 6.16).
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

use std::{os::fd::AsFd as _, time::Instant};

use cellblock::{
    sys::seqpacket,
    wire::{login::Request, session::Program},
};
use nix::sys::signal::Signal;
use support::caller::{call, caller, events, hex};
use support::{Host, Running, patience, procfs, root, run_bounded, soon, until};

/// `lingering()` is a socket whose last close takes longer than anything that is waited for here, as long as this
/// process lives, `leave(s)` sends one over `s` and keeps no copy, unless the kernel refuses to take it.
fn attack(script: &str) -> String {
    let linger = patience(90).as_secs();
    format!(
        r#"
import struct, threading
kept = []
def lingering():
    one = socket.socket(); one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.bind(('127.0.0.1', 0)); one.listen()
    full = socket.socket(); full.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    full.connect(one.getsockname()); kept.append((one, one.accept()[0]))
    full.setblocking(False)
    try:
        while True: full.send(b'x' * 65536)
    except BlockingIOError: pass
    full.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, {linger}))
    return full
def leave(where, data=b'x'):
    full = lingering()
    try: where.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [full.fileno()]))])
    except OSError: kept.append(full); return
    # By another: whoever it was for may have let go of it already, and then this is the last close.
    threading.Thread(target=full.close, daemon=True).start()
def connect():
    one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); one.connect('/run/cellblock/enter.sock')
    kept.append(one); return one
{script}
print('done', flush=True)
time.sleep(1000)
"#
    )
}

/// As this kernel is, and as kernels before Linux 6.16 are.
fn hosts(alice: &str) -> [Host; 2] {
    [Host::start(alice, ""), Host::where_descriptors_pass(alice, "")]
}

#[test]
fn what_those_leave_who_are_turned_away_stops_the_listener_neither_at_work_nor_at_its_end() {
    if !root() {
        return;
    }
    for mut host in hosts("") {
        host.door.rewrite_config(|text| text.replace("[server]\n", "[server]\nmax_startups = \"64:100:64\"\n"));
        assert_eq!(host.door.verb(&["reload"]).status, 0);
        host.entered("alice", &["--", "true"]);
        // So many are let near a monitor, and all else is turned away.
        let waiting = Running::start(caller(&host, "mallory", &attack("for n in range(63): connect()")));
        assert_eq!(waiting.line(), "done");
        soon("they are at their monitors", || events(&host, "caller_accepted").len() >= 65);
        // More than are parted with at once; the listener gets to see them when all is there.
        for _ in 0..2 {
            host.door.signal(Signal::SIGSTOP);
            let script = attack("leave(s)\nfor n in range(99): leave(connect())");
            let hostile = Running::start(caller(&host, "mallory", &script));
            assert_eq!(hostile.line(), "done");
            host.door.signal(Signal::SIGCONT);
            let begin = Instant::now();
            host.entered("alice", &["--", "true"]);
            assert_eq!(host.door.ok("alice", "echo in"), "in");
            assert!(begin.elapsed() < patience(10), "{:?}", begin.elapsed());
        }
        assert!(events(&host, "caller_turned_away").iter().all(|line| line["uid"] == Host::uid("mallory")));

        // Those whom it never came to take.
        host.door.signal(Signal::SIGSTOP);
        let hostile = Running::start(caller(&host, "mallory", &attack("for n in range(60): leave(connect())")));
        assert_eq!(hostile.line(), "done");
        host.door.signal(Signal::SIGTERM);
        host.door.signal(Signal::SIGCONT);
        assert_eq!(host.door.wait_end(), Some(0), "{}", host.door.log());
    }
}

#[test]
fn callers_cannot_even_send_descriptors_where_the_kernel_can_refuse_them() {
    if !root() {
        return;
    }
    let (one, _other) = seqpacket::pair().unwrap();
    let refuses = seqpacket::refuse_descriptors(one.as_fd()).unwrap();
    let host = Host::start("", "");
    let ran = run_bounded(caller(&host, "alice", &format!("say('{}', [0])", call(None))), b"");
    assert_eq!(ran.text(), if refuses { "Operation not permitted" } else { "" }, "{}", ran.err);
}

#[test]
fn a_caller_that_has_gone_before_it_is_seen_stops_nobody_by_what_it_left() {
    if !root() {
        return;
    }
    for host in hosts("") {
        host.door.signal(Signal::SIGSTOP);
        // It closes its end and ends; what keeps the sockets full is another process.
        let script =
            attack("for n in range(99):\n one = connect(); leave(one); one.close()\nif os.fork(): os._exit(0)");
        let hostile = Running::start(caller(&host, "mallory", &script));
        assert_eq!(hostile.line(), "done");
        host.door.signal(Signal::SIGCONT);
        let begin = Instant::now();
        host.entered("alice", &["--", "true"]);
        assert!(begin.elapsed() < patience(10), "{:?}", begin.elapsed());
        host.end_callers("mallory");
    }
}

/// "hours and max_session_time": no monitor sleeps over what its caller sends
#[test]
fn no_caller_puts_its_monitor_to_sleep() {
    if !root() {
        return;
    }
    let stubborn = Program::Command(b"trap '' TERM HUP; while :; do sleep 0.2; done".to_vec());
    let start = hex(&Request::StartSession { channel: 0, program: stubborn, terminal: None, environment: Vec::new() });
    let enter = format!("say('{}')", call(None));
    // Whether all of it is there before the listener sees the caller.
    let cases = [
        ("in place of a call", "alice", true, "leave(s)".to_owned()),
        ("without a byte", "alice", true, "leave(s, b'')".to_owned()),
        ("after a call that is refused", "mallory", true, format!("{enter}; leave(s)")),
        ("after a call, and gone", "alice", true, format!("{enter}; leave(s); s.close()")),
        ("once it is inside", "alice", false, format!("{enter}; hear(); leave(s)")),
        ("beside its session", "alice", false, format!("{enter}; hear(); say('{start}'); hear(); leave(s)")),
        ("and goes", "alice", false, format!("{enter}; hear(); say('{start}'); hear(); leave(s); s.close()")),
    ];
    for host in hosts("max_session_time = \"10s\"\n") {
        let of = |name: &str| events(&host, name).len();
        for (number, (what, account, beforehand, script)) in cases.iter().enumerate() {
            if *beforehand {
                host.door.signal(Signal::SIGSTOP);
            }
            let running = Running::start(caller(&host, account, &attack(script)));
            running.expect("done");
            host.door.signal(Signal::SIGCONT);
            let ended = until(patience(30), || of("connection_end") > number && monitors(&host).is_empty());
            assert!(ended, "{what}: {:?}\n{}", monitors(&host), host.door.log());
            host.end_callers(account);
        }
        soon("the sessions are over", || of("session_end") == of("session_start"));
        let left = host.entered("root", &["alice", "--", "sh", "-c", "pgrep -fc 'trap.*TERM'; true"]);
        assert_eq!(left, "1", "the one that looks");
    }
}

/// Those that have somebody to attend to.
fn monitors(host: &Host) -> Vec<String> {
    let names = host.door.processes().into_iter().map(procfs::name);
    names.filter(|name| name.starts_with("cellblock: ") && name != "cellblock: wait").collect()
}
