//! What the kernel counts per user and not per namespace: a tenant who uses it up uses up their own
//! (docs/kernel.md, "Found since"), and what the starter of the door was given is nothing that keeps them out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_possible_wrap,
    reason = "test support code"
)]

use std::{collections::BTreeMap, process::Command};

use support::{Door, may_raise_limits, root, run_bounded};

/// Takes inotify instances, message queues, queued signals and terminals until the kernel refuses
/// each, says how many of each there were, and holds them.
const TAKE_ALL: &str = "
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
class Attr(ctypes.Structure): _fields_ = [('n', ctypes.c_long * 8)]
class Value(ctypes.Union): _fields_ = [('i', ctypes.c_int), ('p', ctypes.c_void_p)]
signal.pthread_sigmask(signal.SIG_BLOCK, [40])
most = int(sys.argv[1])
def count(take):
    n = 0
    while n < most and take(n) >= 0: n += 1
    return n
def queue(n):
    attr = Attr((0, 10, 1024))
    name = b'/cellblock-test-%d' % n
    fd = libc.mq_open(name, os.O_CREAT | os.O_RDWR, 0o600, ctypes.byref(attr))
    if fd >= 0: libc.mq_unlink(name)
    return fd
def terminal(n):
    try: return os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY)
    except OSError: return -1
print(count(lambda n: libc.inotify_init1(0)), count(queue),
      count(lambda n: libc.sigqueue(os.getpid(), 40, Value(i=1))), count(terminal), flush=True)
sys.stdin.read()
";

fn counts(line: &str) -> Vec<u32> {
    line.split_whitespace().map(|field| field.parse().unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// Three of each are to be had.
fn three_of_each(line: &str) {
    assert_eq!(counts(line), [3, 3, 3, 3]);
}

#[test]
fn a_tenant_uses_up_their_own_instances_queues_signals_and_terminals_and_nobody_elses() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let run = |most: u32| format!("exec /usr/bin/python3 -c \"{TAKE_ALL}\" {most}");
    let taken = door.spawn("alice", &run(400_000));
    let had = counts(&taken.line());
    assert!(had.iter().all(|number| (3..400_000).contains(number)), "the kernel counts each: {had:?}");
    assert!(had[3] <= 256, "{} terminals", had[3]);

    three_of_each(&door.ok("bob", &run(3)));
    let mut host = Command::new("/usr/bin/python3");
    host.args(["-c", TAKE_ALL, "3"]);
    three_of_each(&run_bounded(host, b"").text());
}

/// "rlimits … reset": those that the config says nothing of are the kernel's own and systemd's
#[test]
fn the_starters_limits_are_not_the_tenants() {
    if !root() {
        return;
    }
    // Soft limits, and hard ones where we could have them raised again.
    let starter: &[&str] = if may_raise_limits() {
        &[
            "prlimit",
            "--cpu=900:1000",
            "--fsize=1073741824:1073741824",
            "--data=17179869184:17179869184",
            "--stack=4194304:4194304",
            "--rss=1073741824:1073741824",
            "--nproc=9000:9000",
            "--memlock=65536:65536",
            "--as=68719476736:68719476736",
            "--locks=100:100",
            "--nice=20:20",
            "--rtprio=10:10",
            "--rttime=1000000:2000000",
        ]
    } else {
        &[
            "prlimit",
            "--cpu=900:",
            "--fsize=1073741824:",
            "--data=17179869184:",
            "--stack=4194304:",
            "--rss=1073741824:",
            "--nproc=9000:",
            "--memlock=65536:",
            "--as=68719476736:",
            "--locks=100:",
            "--rttime=1000000:",
        ]
    };
    let expected = [
        ("Max cpu time", "unlimited unlimited"),
        ("Max file size", "unlimited unlimited"),
        ("Max data size", "unlimited unlimited"),
        ("Max stack size", "8388608 unlimited"),
        ("Max resident set", "unlimited unlimited"),
        ("Max processes", "unlimited unlimited"),
        ("Max locked memory", "8388608 8388608"),
        ("Max address space", "unlimited unlimited"),
        ("Max file locks", "unlimited unlimited"),
        ("Max nice priority", "0 0"),
        ("Max realtime priority", "0 0"),
        ("Max realtime timeout", "unlimited unlimited"),
    ];
    let parsed = |text: &str| -> BTreeMap<String, [u64; 2]> {
        let number = |field: &str| field.parse().unwrap_or(u64::MAX);
        let fields = |line: &str| {
            let (name, rest) = line.split_at_checked(26)?;
            let mut values = rest.split_whitespace();
            Some((name.trim().to_owned(), [number(values.next()?), number(values.next()?)]))
        };
        text.lines().filter_map(fields).collect()
    };
    let mut outside = Command::new(starter[0]);
    outside.args(&starter[1..]).args(["cat", "/proc/self/limits"]);
    let outside = parsed(&run_bounded(outside, b"").text());
    // What is given for good cannot be more than it is.
    let expected = expected.map(|(name, values)| {
        let most = if may_raise_limits() { u64::MAX } else { outside[name][1] };
        let wanted = parsed(&format!("{name:26}{values}"))[name];
        (name, wanted.map(|value| value.min(most)))
    });
    let differ = expected.iter().filter(|(name, values)| outside[*name] != *values).count();
    assert_eq!(differ, starter.len() - 1, "the starter has others: {outside:?}");

    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("alice", "")
        .tenant("eve", "user = \"root\"")
        .wrapped(starter)
        .start();
    for tenant in ["alice", "eve"] {
        let inside = parsed(&door.ok(tenant, "cat /proc/self/limits"));
        for (name, values) in expected {
            assert_eq!(inside[name], values, "{tenant}, {name}");
        }
        assert_ne!(door.run(tenant, "ulimit -Hl unlimited").status, 0, "{tenant} raises a limit");
    }
}

#[test]
fn a_starter_with_a_low_priority_and_few_files_does_not_keep_tenants_out() {
    if !root() {
        return;
    }
    let usual = Door::standard();
    let expected = usual.ok("alice", "nice; nproc");
    drop(usual);
    // Of this process, and so of every door that it starts from here on.
    let own = std::process::id().to_string();
    for (command, args) in [
        ("renice", &["-n", "5", "-p", &own][..]),
        ("taskset", &["-a", "-p", "1", &own]),
        ("prlimit", &["--pid", &own, "--nofile=4096:4096"]),
    ] {
        assert!(Command::new(command).args(args).output().unwrap().status.success(), "{command}");
    }
    let door = Door::standard();
    assert_eq!(door.ok("alice", "nice; nproc"), expected);
    // The config says 16384, and nobody in a cell can raise a hard limit.
    assert_eq!(door.ok("alice", "ulimit -n; ulimit -Hn"), "4096\n4096");
}

/// CVE row of sudo-rs: "ioprio, cpu affinity, personality reset"
#[test]
fn a_starters_disk_priority_and_personality_are_not_the_tenants() {
    if !root() {
        return;
    }
    // The second switches the randomization of addresses off (personality(2)).
    let starter = ["ionice", "-c", "3", "setarch", "--addr-no-randomize"];
    let door = Door::with("[defaults]\nroot = \"host\"\n").tenant("alice", "").wrapped(&starter).start();
    let of_listener = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        run_bounded(command, b"").text()
    };
    let listener = door.listener().to_string();
    assert_eq!(of_listener(&["ionice", "-p", &listener]), "idle");
    let personality = format!("/proc/{listener}/personality");
    assert_eq!(of_listener(&["cat", &personality]), "00040000");
    assert_eq!(door.ok("alice", "ionice -p $$"), "none: prio 0");
    assert_eq!(door.ok("alice", "cat /proc/self/personality"), "00000000");
}
