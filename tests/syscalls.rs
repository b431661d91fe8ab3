//! Which system calls a cell's processes can make (issue 3, item 1; threats.md, 5.E and 5.F): each
//! family that is refused, by each way into the kernel, and what each named set opens.
//!
//! `probe/syscalls.c` makes the tries. On the host none of them fails for want of permission: what
//! does inside is the filter's doing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test support code"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::linux::net::SocketAddrExt as _,
    os::unix::net::{SocketAddr, UnixListener},
    path::Path,
    process::Command,
};

use nix::sys::signal::Signal;
use support::{Door, Scratch, debian_root, root, run_bounded, soon};

const REFUSED: &str = "1"; // EPERM
const NOT_THERE: &str = "38"; // ENOSYS
const NO_FAMILY: &str = "97"; // EAFNOSUPPORT

/// Tries that succeed inside as they do on the host.
const ALLOWED: [&str; 15] = [
    "getpid",
    "unshare-files",
    "clone-plain",
    "personality-plain",
    "personality-asked",
    "prlimit64-own",
    "ioctl-TCGETS",
    "socket-unix",
    "socket-inet",
    "socket-inet-tcp",
    "socket-inet-udp",
    "socket-inet6",
    "socket-inet6-udp",
    "socket-route",
    "socketpair-unix",
];

/// What programs try and do without.
const TRIED: [&str; 6] =
    ["clone3", "io_uring_setup", "io_uring_enter", "io_uring_register", "unknown-500", "unknown-9999"];

type Results = BTreeMap<String, String>;

fn parse(text: &str) -> Results {
    let results: Results = text
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            (fields[0].to_owned(), fields[2].to_owned())
        })
        .collect();
    assert!(results.len() > 60 || text.contains(" i386 "), "{text}");
    results
}

/// The probe, compiled for any root.
fn probe(scratch: &Scratch) -> Vec<u8> {
    // tests/vm/run builds it outside: there is no compiler in the VM.
    if let Some(built) = std::env::var_os("SYSCALLS_PROBE") {
        fs::copy(built, scratch.join("probe")).unwrap();
        return fs::read(scratch.join("probe")).unwrap();
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probe/syscalls.c");
    let program = scratch.join("probe");
    let built = Command::new("cc").args(["-static", "-O1", "-o"]).arg(&program).arg(source).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    fs::read(program).unwrap()
}

fn on_host(scratch: &Scratch, abi: &str) -> Results {
    let mut command = Command::new(scratch.join("probe"));
    command.arg(abi);
    parse(&run_bounded(command, b"").text())
}

/// In one session, since a cell without one may end and take its `/tmp` along.
fn inside(door: &Door, tenant: &str, probe: &[u8], abi: &str) -> Results {
    let ran = door.run_with(tenant, &format!("cat >/tmp/probe && chmod 755 /tmp/probe && /tmp/probe {abi}"), probe);
    assert_eq!(ran.status, 0, "{}\n{}", ran.err, door.log());
    parse(&ran.text())
}

fn expected(host: &Results) -> Results {
    let expect = |(name, result): (&String, &String)| {
        let result = match name.as_str() {
            allowed if ALLOWED.contains(&allowed) => result,
            tried if TRIED.contains(&tried) => NOT_THERE,
            socket if socket.starts_with("socket") => NO_FAMILY,
            _ => REFUSED,
        };
        (name.clone(), result.to_owned())
    };
    host.iter().map(expect).collect()
}

#[test]
fn every_forbidden_family_is_refused_to_a_tenant_and_to_root_of_a_cell() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let probe = probe(&scratch);
    let host = on_host(&scratch, "64");
    let refused_outside: Vec<_> = host.iter().filter(|(_, result)| *result == REFUSED).collect();
    assert!(refused_outside.is_empty(), "the tries prove nothing: {refused_outside:?}");
    let door = Door::standard();
    for tenant in ["alice", "eve"] {
        assert_eq!(inside(&door, tenant, &probe, "64"), expected(&host), "{tenant}");
    }
}

/// threats.md, 5.F: pages of files that tenants share are the host's, whatever one of them tries
#[test]
fn what_a_tenant_tries_on_shared_files_changes_nothing_for_a_neighbour() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let probe = probe(&scratch);
    let door = Door::standard();
    // A text, so that a kernel with such a hole breaks no program of this host.
    let target = "/usr/share/common-licenses/GPL-3";
    let sums = format!("sha256sum {target} /usr/bin/[ab]* 2>/dev/null; true");
    let sums = sums.as_str();
    let before = door.ok("bob", sums);
    assert!(before.lines().count() > 10, "{before}");
    // What needs no right but to read: CVE-2022-0847 (pages of a file in a pipe, then written to),
    // CVE-2026-31431 (the same by AF_ALG), CVE-2016-5195 (a private mapping, told that it is not needed).
    let attack = "import ctypes, mmap, os, socket
libc = ctypes.CDLL(None, use_errno=True)
target = '/usr/share/common-licenses/GPL-3'
fd = os.open(target, os.O_RDONLY)
read, write = os.pipe()
for _ in range(16): os.write(write, b'x' * 4096)
for _ in range(16): os.read(read, 4096)
os.lseek(fd, 0, 0)
libc.splice(fd, ctypes.byref(ctypes.c_longlong(4)), write, None, ctypes.c_size_t(1), 0)
os.write(write, b'broken by the tenant')
try:
    s = socket.socket(38, socket.SOCK_SEQPACKET, 0)
    print('AF_ALG')
except OSError: pass
private = mmap.mmap(fd, 4096, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
for _ in range(1000):
    private[8:16] = b'broken!!'
    private.madvise(mmap.MADV_DONTNEED)
for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
    try:
        os.open(target, flags)
        print('opened', flags)
    except OSError: pass
try:
    mmap.mmap(fd, 4096, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    print('mapped')
except OSError: pass
print('tried')
";
    for tenant in ["alice", "eve"] {
        inside(&door, tenant, &probe, "64");
        let ran = door.run_with(tenant, "cat >/tmp/attack.py && /usr/bin/python3 /tmp/attack.py", attack.as_bytes());
        assert_eq!(ran.text(), "tried", "{tenant}: {}", ran.err);
    }
    assert_eq!(door.ok("bob", sums), before);
}

/// "foreign ABIs (x32, i386 `int 0x80`, `socketcall`) refused": as if the kernel did not have them
#[test]
#[cfg(target_arch = "x86_64")]
fn the_calls_of_x32_and_i386_are_not_there() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let probe = probe(&scratch);
    let host = on_host(&scratch, "i386");
    if host["getpid"] != "ok" {
        eprintln!("this kernel has no i386 calls to refuse: {}", host["getpid"]);
    }
    let door = Door::standard();
    for (tenant, abi) in [("alice", "x32"), ("eve", "x32"), ("alice", "i386"), ("eve", "i386")] {
        let found = inside(&door, tenant, &probe, abi);
        let there: Vec<_> = found.iter().filter(|(_, result)| *result != NOT_THERE).collect();
        assert!(there.is_empty(), "{tenant} {abi}: {there:?}");
        assert!(abi == "x32" || found.contains_key("socketcall"));
    }
}

/// "init one that is a superset of the tenants' (they inherit it)"
#[test]
fn init_and_every_session_are_filtered() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let filters = "grep -h -e ^Seccomp: -e ^Seccomp_filters: /proc/1/status /proc/self/status | tr -s '\\t\\n' ' '";
    for tenant in ["alice", "eve"] {
        let found = door.ok(tenant, filters);
        assert_eq!(found.trim(), "Seccomp: 2 Seccomp_filters: 1 Seccomp: 2 Seccomp_filters: 2", "{tenant}");
    }
    let plan = door.verb(&["check", "--plan", "alice"]).text();
    let at = |words: &str| plan.find(words).unwrap_or_else(|| panic!("{words}: {plan}"));
    assert!(at("limit system calls") < at("cut the bounding set"), "{plan}");
}

/// docs/kernel.md, 10: with `no_new_privs = false` the filter is installed with a capability that
/// sessions do not keep
#[test]
fn sessions_that_can_gain_rights_have_the_same_filter_and_no_more_capabilities() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let probe = probe(&scratch);
    let expected = expected(&on_host(&scratch, "64"));
    let door = Door::with("[defaults]\nroot = \"host\"\nno_new_privs = false\n")
        .tenant("alice", "")
        .tenant("eve", "user = \"root\"")
        .start();
    for tenant in ["alice", "eve"] {
        assert_eq!(inside(&door, tenant, &probe, "64"), expected, "{tenant}");
        let status = door.ok(tenant, "cat /proc/self/status");
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        assert_eq!(field("NoNewPrivs:"), "0");
        assert_eq!(field("CapInh:"), "0000000000000000");
        for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
            let bits = u64::from_str_radix(&field(set), 16).unwrap();
            assert_eq!(bits & 1 << 21, 0, "{tenant} has CAP_SYS_ADMIN in {set}");
        }
    }
    let tree = debian_root(&scratch);
    let door = Door::with("")
        .tenant(
            "carol",
            &format!("root = \"{}\"\nno_new_privs = false\ncapabilities = [\"CAP_SETUID\"]", tree.display()),
        )
        .start();
    let setuid = "cp /usr/bin/id /tmp/id; /usr/local/bin/id -u";
    fs::copy(tree.join("usr/bin/id"), tree.join("usr/local/bin/id")).unwrap();
    assert!(Command::new("chmod").arg("4755").arg(tree.join("usr/local/bin/id")).status().unwrap().success());
    assert_eq!(door.ok("carol", setuid), "0", "what the class is for: setuid programs work");
}

/// A running cell's pid 1 cannot get what it takes to limit calls without no_new_privs
#[test]
fn a_cell_that_runs_keeps_no_new_privs_until_it_starts_again() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n").tenant("alice", "").tenant("bob", "").start();
    let mut keep = door.spawn("alice", "echo up; exec cat");
    assert_eq!(keep.line(), "up");
    door.rewrite_config(|text| {
        text.replace("[defaults]\n", "[defaults]\nno_new_privs = false\nsyscalls = [\"debug\"]\n")
    });
    door.signal(Signal::SIGHUP);
    let look = "grep -h -e NoNewPrivs -e Seccomp: /proc/self/status | tr -s '\\t\\n' ' '";
    soon("the new config is there", || door.ok("bob", look).starts_with("NoNewPrivs: 0"));
    assert_eq!(door.ok("alice", look).trim(), "NoNewPrivs: 1 Seccomp: 2");
    assert_ne!(door.run("alice", "strace -o /dev/null true").status, 0);
    keep.close_stdin();
    assert_eq!(keep.wait(), 0);
    soon("the cell is a new one", || door.ok("alice", look).starts_with("NoNewPrivs: 0"));
    door.ok("alice", "strace -o /dev/null true");
}

/// CVE-2017-5226, CVE-2019-10063, CVE-2023-46277: on a terminal of the tenant's own, where the
/// kernel alone would take it
#[test]
fn nothing_can_be_typed_into_a_terminal_from_inside() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let script = "import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for number in (0x5412, 0x5412 | 1 << 32, 0x5412 | 1 << 63, 0x541c, 0x541c | 1 << 40):
    done = libc.syscall(ctypes.c_long(16), ctypes.c_long(0), ctypes.c_long(number - (1 << 64 if number >> 63 else 0)), ctypes.c_char_p(b'x'))
    print(hex(number), done, ctypes.get_errno())
";
    let encoded = script.bytes().map(|byte| format!("\\\\x{byte:02x}")).collect::<String>();
    let mut command = door.ssh("eve");
    command.args(["-tt", &format!("/usr/bin/python3 -c \"exec(b'{encoded}'.decode('unicode_escape'))\"")]);
    let ran = run_bounded(command, b"");
    let lines: Vec<_> = ran.out.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"0x")).collect();
    assert_eq!(lines.len(), 5, "{} {}", ran.text(), ran.err);
    assert!(lines.iter().all(|line| line.trim_ascii().ends_with(b" -1 1")), "{}", ran.text());
}

/// "classes may widen it by named sets …, never by silence"
#[test]
fn each_set_opens_what_its_name_says_and_nothing_else() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let probe = probe(&scratch);
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("plain", "")
        .tenant("debug", "syscalls = [\"debug\"]")
        .tenant("uring", "syscalls = [\"io_uring\"]")
        .tenant("ping", "syscalls = [\"ping\"]")
        .tenant("nest", "syscalls = [\"nesting\"]")
        .tenant("fuse", "syscalls = [\"fuse\", \"nesting\"]")
        .start();
    let plain = inside(&door, "plain", &probe, "64");
    let opened = |tenant: &str| -> BTreeSet<String> {
        let found = inside(&door, tenant, &probe, "64");
        plain.iter().filter(|(name, result)| found[*name] != **result).map(|(name, _)| name.clone()).collect()
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let debug = ["ptrace", "process_vm_readv", "process_vm_writev", "personality-no-randomize"];
    assert_eq!(opened("debug"), names(&debug));
    assert_eq!(opened("uring"), names(&["io_uring_setup", "io_uring_enter", "io_uring_register"]));
    assert_eq!(opened("ping"), names(&["socket-inet-icmp", "socket-inet6-icmp"]));
    let nesting = opened("nest");
    // The rest of what nesting opens to the filter, the kernel refuses to who is no root of a namespace.
    let least = ["unshare-user", "clone-user", "clone-high", "setns", "mount", "umount2"];
    let most =
        ["fsconfig", "fsopen", "fspick", "fsmount", "open_tree", "open_tree_attr", "mount_setattr", "move_mount"];
    assert!(nesting.is_superset(&names(&least)), "{nesting:?}");
    assert!(nesting.is_subset(&names(&[&least[..], &most].concat())), "{nesting:?}");
    assert_eq!(opened("fuse"), nesting);
    #[cfg(target_arch = "x86_64")]
    for (tenant, abi) in [("debug", "i386"), ("nest", "i386"), ("nest", "x32"), ("uring", "x32")] {
        let found = inside(&door, tenant, &probe, abi);
        assert!(found.values().all(|result| result == NOT_THERE), "{tenant} {abi}: {found:?}");
    }
}

#[test]
fn nesting_makes_namespaces_and_mounts_inside_and_only_then() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("nest", "syscalls = [\"nesting\"]")
        .tenant("root", "user = \"root\"\nsyscalls = [\"nesting\"]")
        .tenant("plain", "user = \"root\"")
        .start();
    for tenant in ["nest", "root"] {
        door.ok(tenant, "unshare -Ur true");
        let mounted = "unshare -Urmn sh -c 'mount -t tmpfs x /tmp && grep -c \" /tmp tmpfs rw,relatime\" /proc/mounts'";
        assert_eq!(door.ok(tenant, mounted), "1", "{tenant}");
        for escape in [
            "mount -t tmpfs x /tmp",
            "mount -o remount,bind,rw /usr",
            "unshare -Urm mount -o remount,bind,rw /usr",
            "unshare -Urm mount -o remount,bind,rw /proc/sys",
            "unshare -Urm umount /proc/keys",
            "unshare -Urm umount /usr",
            "unshare -Urmpf mount -t proc proc /proc",
            "unshare -Ur sh -c 'echo x > /proc/sys/kernel/core_pattern'",
            "unshare -Urm sh -c 'mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg'",
            "unshare -UrmC mount -t cgroup -o pids none /mnt",
            "nsenter -t 1 -m true",
        ] {
            assert_ne!(door.run(tenant, escape).status, 0, "{tenant}: {escape} worked");
        }
        let bomb = "for n in $(seq 200); do unshare -Ur sleep 20 & done 2>/tmp/errors; sleep 1; grep -c . /tmp/errors";
        let refused: u32 =
            door.run(tenant, &format!("{bomb}; kill $(jobs -p) 2>/dev/null; true")).text().parse().unwrap();
        assert!(refused >= 200 - 64, "{tenant}: {refused} of 200 were refused");
    }
    assert_ne!(door.run("plain", "unshare -Ur true").status, 0);
    assert_eq!(door.ok("plain", "cat /proc/sys/user/max_user_namespaces"), "0");
}

#[test]
fn debug_traces_ones_own_programs_and_never_pid_1() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("debug", "syscalls = [\"debug\"]")
        .tenant("boss", "user = \"root\"\nsyscalls = [\"debug\"]\ncapabilities = [\"CAP_SYS_PTRACE\"]")
        .tenant("plain", "")
        .start();
    let trace = "strace -f -e trace=execve -o /tmp/trace sh -c 'true; /bin/true' && grep -c execve /tmp/trace";
    assert_eq!(door.ok("debug", trace), "2");
    assert_ne!(door.run("plain", trace).status, 0);
    for tenant in ["debug", "boss"] {
        let ran = door.run(tenant, "strace -p 1 -o /dev/null & sleep 1; kill %1 2>/dev/null; wait %1");
        assert!(ran.err.contains("Operation not permitted"), "{tenant}: {}", ran.err);
    }
}

#[test]
fn fuse_serves_a_file_system_in_a_namespace_of_the_tenants() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("fuse", "syscalls = [\"fuse\", \"nesting\"]")
        .tenant("nest", "syscalls = [\"nesting\"]")
        .start();
    // The kernel's first question (FUSE_INIT, 26) comes in the second word.
    let serve = "import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
fd = os.open('/dev/fuse', os.O_RDWR)
os.makedirs('/tmp/m', exist_ok=True)
options = b'fd=%d,rootmode=40000,user_id=0,group_id=0' % fd
if libc.mount(b'x', b'/tmp/m', b'fuse', 6, options): raise SystemExit('mount: %s' % os.strerror(ctypes.get_errno()))
print(struct.unpack('<II', os.read(fd, 65536)[:8])[1])
";
    let line = "cat >/tmp/serve.py; unshare -Urm /usr/bin/python3 /tmp/serve.py";
    let ran = door.run_with("fuse", line, serve.as_bytes());
    assert_eq!((ran.status, ran.text().as_str()), (0, "26"), "{}", ran.err);
    let outside = door.run_with("fuse", "cat >/tmp/serve.py; /usr/bin/python3 /tmp/serve.py", serve.as_bytes());
    assert!(outside.err.contains("mount: Operation not permitted"), "{}", outside.err);
    assert_ne!(door.run("nest", "test -e /dev/fuse").status, 0);
    assert_eq!(
        door.ok("fuse", "find /dev -type c | grep -v -e /pts/ | sort | tr '\\n' ' '").trim().split(' ').count(),
        7
    );
}

#[test]
fn ping_hears_an_echo_and_nobody_else_does() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("ping", "syscalls = [\"ping\"]\nids = 2000")
        .tenant("boss", "user = \"root\"\nsyscalls = [\"ping\"]")
        .tenant("plain", "")
        .start();
    let ping = "/usr/bin/python3 -c \"
import socket, struct
for family, proto, to, ask, answer in ((socket.AF_INET, 1, '127.0.0.1', 8, 0), (socket.AF_INET6, 58, '::1', 128, 129)):
    s = socket.socket(family, socket.SOCK_DGRAM, proto)
    s.settimeout(5)
    s.sendto(struct.pack('!BBHHH', ask, 0, 0, 0, 7) + b'hello', (to, 0))
    got = s.recv(64)
    print(got[0] == answer and got.endswith(b'hello'))
\"";
    for tenant in ["ping", "boss"] {
        assert_eq!(door.ok(tenant, ping), "True\nTrue", "{tenant}");
    }
    assert_ne!(door.run("plain", ping).status, 0);
    let raw = "/usr/bin/python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)'";
    assert_ne!(door.run("ping", raw).status, 0, "without CAP_NET_RAW there are no raw sockets");
}

/// Debian's `ping` carries CAP_NET_RAW, and an exec that cannot give what its file carries fails
#[test]
fn a_ping_that_carries_a_capability_starts_with_the_set_and_does_not_get_it() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = debian_root(&scratch);
    let ping = tree.join("usr/local/bin/ping");
    fs::copy(tree.join("usr/bin/cat"), &ping).unwrap();
    // cap_net_raw+ep, as iputils-ping has it set (linux/capability.h, struct vfs_cap_data).
    let carry = "import os, sys
os.setxattr(sys.argv[1], 'security.capability', bytes.fromhex('01000002' + '00200000' + '00' * 12))";
    assert!(Command::new("python3").args(["-c", carry]).arg(&ping).status().unwrap().success());
    let capabilities = "/usr/local/bin/ping /proc/self/status | grep Cap | tr -s '\\t\\n' ' '";
    for (set, user, found) in [
        ("", "tenant", None),
        ("\"ping\"", "tenant", Some("CapPrm: 0000000000000000 CapEff: 0000000000000000 CapBnd: 0000000000002000")),
        ("\"ping\"", "root", Some("CapPrm: 0000000000000001 CapEff: 0000000000000001 CapBnd: 0000000000002001")),
    ] {
        let settings = format!(
            "root = \"{}\"\nuser = \"{user}\"\nsyscalls = [{set}]\n{}",
            tree.display(),
            if user == "root" { "capabilities = [\"CAP_CHOWN\"]" } else { "" }
        );
        let door = Door::with("").tenant("alice", &settings).start();
        let ran = door.run("alice", capabilities);
        match found {
            None => assert!(ran.err.contains("Operation not permitted"), "{} {}", ran.text(), ran.err),
            Some(found) => assert!(ran.text().contains(found), "{user}: {} {}", ran.text(), ran.err),
        }
    }
}

/// CVE-2020-15257: abstract sockets belong to the network, so `network = "host"` would share them
#[test]
fn a_cell_on_the_hosts_network_does_not_reach_abstract_sockets_outside() {
    if !root() {
        return;
    }
    if cellblock::sys::landlock::version() < cellblock::sys::landlock::SCOPES {
        eprintln!("this kernel's Landlock has no scopes; `check` says so (messages/warnings)");
        return;
    }
    let name = format!("cellblock-test-{}", std::process::id());
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let door = Door::with("[defaults]\nroot = \"host\"\n").tenant("alice", "network = \"host\"").start();
    let connect = |name: &str| {
        format!(
            "/usr/bin/python3 -c \"import socket; socket.socket(socket.AF_UNIX).connect('\\0{name}'); print('in')\""
        )
    };
    let mut there = Command::new("/usr/bin/python3");
    there.args(["-c", &format!("import socket; socket.socket(socket.AF_UNIX).connect('\\0{name}'); print('in')")]);
    assert_eq!(run_bounded(there, b"").text(), "in", "it is there to be reached");
    let ran = door.run("alice", &connect(&name));
    assert!(ran.status != 0 && ran.err.contains("Operation not permitted"), "{} {}", ran.text(), ran.err);
    drop(listener);
    let mut serve = door.spawn(
        "alice",
        &format!("/usr/bin/python3 -u -c \"import socket; s = socket.socket(socket.AF_UNIX); s.bind('\\0{name}-in'); s.listen(); print('up'); s.accept()\""),
    );
    assert_eq!(serve.line(), "up");
    assert_eq!(door.ok("alice", &connect(&format!("{name}-in"))), "in", "another session of the cell does");
    assert_eq!(serve.wait(), 0);
    let kill = door.spawn("alice", "echo $$; exec sleep 1000");
    door.ok("alice", &format!("kill {}", kill.line()));
}
