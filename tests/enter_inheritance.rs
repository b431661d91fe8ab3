//! What a caller at the enter door was started with, where it differs from a client of ssh: its limits, its
//! environment, its terminal, its process. None of it gets into the cell, and nothing in the cell reaches it. Each
//! attack is seen to work outside of a cell first.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test support code"
)]

use support::{Host, TerminalClient, root, run_bounded};

/// How a line that a client sends is run for alice: account, and shell words that run "$LINE".
const WAYS: [(&str, &str); 2] = [
    // As sshd runs a ForceCommand.
    ("alice", "env SSH_ORIGINAL_COMMAND=\"$LINE\" cellblock enter"),
    // As sshd, su and cron run a login shell.
    ("alice-sh", "cellblock-shell -c \"$LINE\""),
];

/// What `program`, in Python without single quotes, prints when it is run by that way; `before` are words before it.
fn by(host: &Host, (account, way): (&str, &str), before: &str, program: &str) -> Vec<String> {
    let line = format!("exec /usr/bin/python3 -c '{program}'");
    let script = format!("LINE=$1; {before} sh -c 'LINE=$1; exec {way}' sh \"$LINE\"");
    let ran = run_bounded(host.on_host(account, &["bash", "-c", &script, "bash", &line]), b"");
    assert_eq!(ran.status, 0, "{way}: {} {}\n{}", ran.text(), ran.err, host.door.log());
    ran.text().lines().map(str::to_owned).collect()
}

/// The same on the host itself.
fn on_host(host: &Host, before: &str, program: &str) -> Vec<String> {
    by(host, ("alice", "sh -c \"$LINE\""), before, program)
}

/// One line for each thing that a process has from its parent, besides what it can read and write.
const LOOK: &str = r#"
import ctypes, os, resource, signal
libc = ctypes.CDLL(None)
for name in ("NOFILE", "CORE", "STACK", "NPROC", "MEMLOCK"): print(name, resource.getrlimit(getattr(resource, "RLIMIT_" + name)))
print("nice", os.getpriority(os.PRIO_PROCESS, 0))
print("policy", os.sched_getscheduler(0))
print("processors", sorted(os.sched_getaffinity(0)) == [0])
print("umask", oct(os.umask(0)))
print("timer", signal.getitimer(signal.ITIMER_REAL)[0] > 0)
print("blocked", signal.pthread_sigmask(signal.SIG_BLOCK, []))
print("ignored", [n for n in ("USR2", "HUP", "CHLD") if signal.getsignal(getattr(signal, "SIG" + n)) == signal.SIG_IGN])
print("oom", open("/proc/self/oom_score_adj").read().strip())
print("personality", libc.personality(0xffffffff))
print("io", libc.syscall(252, 1, 0))
print("here", os.getcwd())
"#;

/// Sets all of these to something else, and becomes the words that follow.
const ODD: &str = r#"/usr/bin/python3 -c '
import ctypes, os, resource, signal, sys
libc = ctypes.CDLL(None)
for name in ("NOFILE", "CORE", "STACK", "NPROC", "MEMLOCK"):
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (1 << 22, 1 << 22) if name == "STACK" else (999, 999))
os.sched_setaffinity(0, {0})
os.umask(0o777)
signal.setitimer(signal.ITIMER_REAL, 1000)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
for n in (signal.SIGUSR2, signal.SIGHUP, signal.SIGCHLD): signal.signal(n, signal.SIG_IGN)
open("/proc/self/oom_score_adj", "w").write("999")
libc.personality(0x0040000)
libc.syscall(251, 1, 0, 3 << 13)
os.setpriority(os.PRIO_PROCESS, 0, 15)
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
os.chdir("/var")
os.execvp(sys.argv[1], sys.argv[1:])'"#;

/// "rlimits, signals, timers, nice, ioprio, cpu affinity, personality reset" (threats.md, 5.D), whoever calls
#[test]
fn what_a_caller_is_held_to_holds_for_nothing_in_the_cell() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let (plain, odd) = (on_host(&host, "", LOOK), on_host(&host, ODD, LOOK));
    let alike: Vec<_> = plain.iter().zip(&odd).filter(|(plain, odd)| plain == odd).collect();
    assert!(alike.is_empty() && plain.len() == odd.len(), "not set on the host: {alike:?}");
    for way in WAYS {
        assert_eq!(by(&host, way, ODD, LOOK), by(&host, way, "", LOOK), "{way:?}");
    }
}

/// Variables that make a loader, a shell, an interpreter or cellblock do something else
const VARIABLES: &str = "env LD_PRELOAD=/tmp/x.so LD_LIBRARY_PATH=/tmp LD_AUDIT=/tmp/x.so GCONV_PATH=/tmp LOCPATH=/tmp \
    GLIBC_TUNABLES=glibc.malloc.check=3 BASH_ENV=/tmp/x ENV=/tmp/x SHELLOPTS=xtrace PS4=x CDPATH=/ IFS=x HOME=/tmp \
    SHELL=/bin/false USER=root LOGNAME=root PYTHONPATH=/tmp PYTHONSTARTUP=/tmp/x TERMINFO=/tmp TMPDIR=/nowhere TZ=:/tmp/x \
    SSH_AUTH_SOCK=/tmp/x SSH_TTY=/dev/pts/0 DISPLAY=:0 XDG_RUNTIME_DIR=/run/user/0 DBUS_SESSION_BUS_ADDRESS=unix:path=/x \
    CELLBLOCK_TENANT=bob CELLBLOCK_RUN_DIR=/tmp RUST_LOG=trace RUST_BACKTRACE=full NOTIFY_SOCKET=/tmp/x LISTEN_FDS=1";

#[test]
fn no_variable_of_a_callers_gets_into_the_cell_or_changes_what_is_run() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let look = "import os\nfor name in sorted(os.environ): print(name, repr(os.environ[name]))";
    assert!(on_host(&host, VARIABLES, look).iter().any(|line| line == "PYTHONPATH '/tmp'"));
    for way in WAYS {
        let plain = by(&host, way, "", look);
        assert!(plain.iter().any(|line| line == "HOME '/home/alice'"), "{plain:?}");
        assert_eq!(by(&host, way, VARIABLES, look), plain, "{way:?}");
    }
}

/// Types into what is its terminal, by each way there is.
const TYPE: &str = r#"
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(what, fd, number, *more):
    result = libc.syscall(16, fd, ctypes.c_ulong(number), *more)
    if result >= 0: print("worked:", what, fd)
fds = [0, 1, 2]
try: fds.append(os.open("/dev/tty", os.O_RDWR))
except OSError: pass
for fd in fds:
    for high in (0, 1 << 32):
        for letter in b"typed\n": call("TIOCSTI", fd, 0x5412 + high, ctypes.byref(ctypes.c_char(letter)))
        call("TIOCLINUX", fd, 0x541c + high, ctypes.byref(ctypes.c_char(3)))
if os.isatty(0): print("it is", os.ttyname(0))
"#;

/// CVE-2017-5226, CVE-2019-10063, CVE-2023-46277, CVE-2023-1523: "TIOCSTI into parent tty", its high bits, TIOCLINUX
#[test]
fn nothing_in_the_cell_types_into_the_callers_terminal_or_has_it() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    // A shell with a terminal, which reads from it once that has run.
    let shown = |account: &str, way: &str| {
        let line = format!("exec /usr/bin/python3 -c '{TYPE}'");
        let script = format!("LINE=$1; tty; {way}; read -rt 0.5 got; echo \"[got=$got]\"; : </dev/tty && echo over");
        let words = ["setsid", "-cw", "bash", "-c", &script, "bash", &line];
        let command = if account == "root" { host.as_root(&words) } else { host.on_host(account, &words) };
        let mut client = TerminalClient::start(command, 24, 80);
        client.expect("over");
        client.wait();
        client.shown()
    };
    let outside = shown("root", "sh -c \"$LINE\"");
    assert!(outside.contains("worked: TIOCSTI 0") && outside.contains("[got=typed]"), "{outside}");
    for (account, way) in WAYS {
        // With a terminal in the cell too, and with none.
        for way in [way.to_owned(), format!("{way} | cat")] {
            let inside = shown(account, &way);
            assert!(inside.contains("[got=]") && !inside.contains("worked: "), "{way}: {inside}");
            assert!(inside.contains("it is /dev/pts/0") || way.ends_with("cat"), "{way}: {inside}");
        }
    }
}

/// Looks for processes of its caller's, whose numbers stand for `PIDS`.
const REACH: &str = r#"
import os, signal
for pid in PIDS:
    if os.path.exists(f"/proc/{pid}"): print("sees")
    for name, reach in (("signals", lambda: os.kill(pid, 0)), ("holds", lambda: os.pidfd_open(pid)), ("its group", lambda: os.getpgid(pid))):
        try: reach(); print(name)
        except OSError: pass
if os.getpgid(0) in PIDS: print("in its group")
"#;

/// And then signals all that it can, itself left out.
const KILL: &str = r#"
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.kill(0, signal.SIGTERM)
# The child of an init: outside of a cell this would end what others run as this account.
if os.getppid() != 1: raise SystemExit("no cell")
try: os.kill(-1, signal.SIGKILL)
except OSError: pass
print("not in", len([name for name in os.listdir("/proc") if name.isdigit()]))
"#;

/// The caller is a process of the host's, in a group with others of its account
#[test]
fn nothing_in_the_cell_finds_its_caller_or_signals_it_or_its_group() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let reached = |(account, way): (&str, &str), program: &str| {
        let line = format!("exec /usr/bin/python3 -c '{program}'");
        let script = format!(
            "sleep 1000 </dev/null >/dev/null & LINE=${{1//PIDS/[$$, $!]}}; {way}; echo \"ended $?\"; \
             kill -0 $! && echo lives; kill $!"
        );
        let words = ["setsid", "-w", "bash", "-c", &script, "bash", &line];
        let ran = run_bounded(host.on_host(account, &words), b"");
        ran.text().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let outside = reached(("alice", "sh -c \"$LINE\""), REACH);
    let one = ["sees", "signals", "holds", "its group"];
    assert_eq!(outside, [&one[..], &one, &["in its group", "ended 0", "lives"]].concat());
    for way in WAYS {
        // init and itself.
        assert_eq!(reached(way, &format!("{REACH}{KILL}")), ["not in 2", "ended 0", "lives"], "{way:?}");
    }
}
