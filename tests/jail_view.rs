//! What a program sees that looks around inside a cell (design.md, "The jail"; kernel.md, rows A–N).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_possible_wrap,
    reason = "test support code"
)]

use std::{fs, process::Command, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use nix::sys::signal::Signal;
use support::{Door, Scratch, debian_root, may_raise_limits, procfs, root, run_bounded, soon, until};

fn field(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
}

/// "CapInh and CapAmb 0, and CapPrm/Eff/Bnd no more than the class lists (0 for an ordinary user)" (CVE-2022-29162)
#[test]
fn capabilities_are_cut_and_no_new_privileges_is_set() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let alice = door.ok("alice", "cat /proc/self/status");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(&alice, set), "0000000000000000", "alice {set}");
    }
    let eve = door.ok("eve", "cat /proc/self/status");
    let sets: Vec<_> =
        ["CapPrm", "CapEff", "CapBnd"].iter().map(|set| u64::from_str_radix(&field(&eve, set), 16).unwrap()).collect();
    const SYS_ADMIN: u64 = 1 << 21;
    const SYS_MODULE: u64 = 1 << 16;
    const SYS_RAWIO: u64 = 1 << 17;
    const SYS_PTRACE: u64 = 1 << 19;
    const SYS_BOOT: u64 = 1 << 22;
    for set in &sets {
        assert_eq!(set & (SYS_ADMIN | SYS_MODULE | SYS_RAWIO | SYS_BOOT | SYS_PTRACE), 0, "{set:016x}");
        assert_ne!(*set, 0, "package managers need some");
    }
    for (tenant, status) in [("alice", &alice), ("eve", &eve)] {
        assert_eq!(field(status, "CapInh"), "0000000000000000", "{tenant}");
        assert_eq!(field(status, "CapAmb"), "0000000000000000", "{tenant}");
        assert_eq!(field(status, "NoNewPrivs"), "1", "{tenant}");
        assert_eq!(field(status, "Groups"), "", "{tenant}");
    }
}

/// "fds 0–2 only" (CVE-2024-21626)
#[test]
fn a_session_has_three_descriptors_and_none_leads_outside() {
    if !root() {
        return;
    }
    let door = Door::standard();
    for tenant in ["alice", "eve"] {
        // The fourth is ls's own, on the directory.
        assert_eq!(door.ok(tenant, "ls /proc/self/fd"), "0\n1\n2\n3", "{tenant}");
        let links =
            door.ok(tenant, "readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/cwd /proc/self/root");
        let links: Vec<_> = links.lines().collect();
        assert!(links[..3].iter().all(|link| link.starts_with("pipe:")), "{links:?}");
        assert_eq!(links[4], "/");
    }
    assert_eq!(door.ok("alice", "pwd"), "/home/alice");
}

/// "environment built from nothing", "umask 022", "signal mask and dispositions, nice, affinity, personality reset"
#[test]
fn the_environment_and_the_process_state_are_clean() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let env = door.ok("alice", "tr '\\0' '\\n' </proc/self/environ | sort | cut -d= -f1");
    let known = [
        "HOME",
        "LANG",
        "LOGNAME",
        "MAIL",
        "OLDPWD",
        "PATH",
        "PWD",
        "SHELL",
        "SHLVL",
        "SSH_CLIENT",
        "SSH_CONNECTION",
        "TERM",
        "TZ",
        "USER",
        "_",
    ];
    let strange: Vec<_> = env.lines().filter(|name| !known.contains(name)).collect();
    assert!(strange.is_empty(), "{strange:?}");
    assert_eq!(door.ok("alice", "echo $HOME $USER $LOGNAME $SHELL"), "/home/alice alice alice /bin/bash");
    assert!(door.ok("alice", "echo $SSH_CONNECTION").starts_with("127.0.0.1 "));
    assert_eq!(door.ok("alice", "umask"), "0022");
    assert_eq!(door.ok("alice", "nice"), "0");
    let status = door.ok("alice", "cat /proc/self/status");
    assert_eq!(field(&status, "SigBlk"), "0000000000000000");
    assert_eq!(field(&status, "SigIgn"), "0000000000000000");
    assert_eq!(door.ok("alice", "cat /proc/self/oom_score_adj"), "0", "kernel.md, E");
    assert_eq!(door.ok("alice", "ps -o sid= -o pid= -p $$ | awk '{print ($1 == $2)}'"), "1", "a session of its own");
}

/// kernel.md, D: "`serve` refuses value 1"
#[test]
fn a_host_where_those_who_change_ids_can_be_traced_is_refused() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    // The listener alone sees this value: the host's own is every test's.
    let value = scratch.write("suid_dumpable", "2\n");
    let shown = value.display().to_string();
    let words = ["unshare", "-m", "sh", "-c", "mount --bind $0 /proc/sys/fs/suid_dumpable && exec \"$@\"", &shown];
    let mut door = Door::with("[defaults]\nroot = \"host\"\n").tenant("alice", "").wrapped(&words).start();
    door.signal(Signal::SIGTERM);
    assert_eq!(door.wait_end(), Some(0));
    fs::write(&value, "1\n").unwrap();
    let mut serve = Command::new(words[0]);
    serve.args(&words[1..]).arg(env!("CARGO_BIN_EXE_cellblock"));
    serve.arg("--config").arg(door.dir.join("cellblock.toml")).arg("serve");
    let ran = run_bounded(serve, b"");
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.err.contains("hint: sysctl fs.suid_dumpable=0"), "{ran:?}");
}

/// kernel.md, E: "oom_score_adj −1000 is inherited, and a tenant can go back to it"
#[test]
fn a_listener_that_the_oom_killer_spares_gives_that_to_nobody() {
    if !root() {
        return;
    }
    const FILE: &str = "/proc/self/oom_score_adj";
    // Where we may not go below 0, another value that must not be inherited.
    let inherited = if may_raise_limits() { "-1000" } else { "500" };
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("alice", "")
        .tenant("eve", "user = \"root\"")
        .wrapped(&["choom", "-n", inherited, "--"])
        .start();
    let score = |pid: i32| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap_or_default();
    assert_eq!(score(door.listener()).trim(), inherited);
    for tenant in ["alice", "eve"] {
        assert_eq!(door.ok(tenant, &format!("cat {FILE} /proc/1/oom_score_adj")), "0\n0", "{tenant}");
        // Up, and back to 0, but not below: the floor was reset too.
        assert_eq!(door.ok(tenant, &format!("echo 500 > {FILE}; echo 0 > {FILE}; cat {FILE}")), "0", "{tenant}");
        for lower in ["-1", "-1000"] {
            let ran = door.run(tenant, &format!("echo {lower} > {FILE}"));
            assert_ne!(ran.status, 0, "{tenant} sets {lower}");
        }
    }
    let live = door.spawn("alice", "echo up; exec sleep 1000");
    assert_eq!(live.line(), "up");
    let ours = door.ssh_processes();
    assert!(!ours.is_empty() && ours.iter().all(|&pid| score(pid).trim() == "0"), "{ours:?}");
}

/// "hostname", "loopback up", "/tmp, /run, /dev/shm as designed", "/dev … nothing else"
#[test]
fn the_cell_has_its_own_hostname_loopback_and_devices() {
    if !root() {
        return;
    }
    let door = Door::standard();
    assert_eq!(door.ok("alice", "hostname"), "alice");
    assert_eq!(door.ok("alice", "ls /sys/class/net"), "lo");
    assert_eq!(
        door.ok(
            "alice",
            "/usr/bin/python3 -c \"
import socket
s = socket.create_server(('127.0.0.1', 0)); c = socket.create_connection(s.getsockname()); print('up')
\""
        ),
        "up"
    );
    let devices = door.ok("alice", "find /dev -type b -o -type c | grep -v ^/dev/pts/[0-9] | sort | tr '\\n' ' '");
    assert_eq!(devices.trim(), "/dev/full /dev/null /dev/pts/ptmx /dev/random /dev/tty /dev/urandom /dev/zero");
    door.ok("alice", "head -c 16 /dev/urandom | wc -c; echo x > /dev/null; test -e /dev/fd/0; test -L /dev/stdin");
    for (dir, options) in [("/tmp", "nosuid,nodev"), ("/run", "nosuid,nodev"), ("/dev/shm", "nosuid,nodev")] {
        let mount = door.ok("alice", &format!("awk '$5 == \"{dir}\"' /proc/self/mountinfo"));
        assert!(mount.contains("tmpfs") && mount.contains(options) && mount.contains("size="), "{dir}: {mount}");
        // A cell's own, writable by whom it should be.
        door.ok("alice", &format!("test {dir} = /run || touch {dir}/mine"));
    }
    let nodev =
        door.ok("alice", "awk '$6 !~ /nodev/ {print $5}' /proc/self/mountinfo | grep -v -e ^/dev -e ^/proc/ || true");
    assert_eq!(nodev, "", "\"nodev everywhere but the bound device files\"");
}

/// "`/proc` own, with `/proc/sys` … read-only and `kcore keys timer_list …` masked; `/sys` own and read-only"
#[test]
fn the_kernels_files_are_read_only_or_masked() {
    if !root() {
        return;
    }
    let door = Door::standard();
    for path in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/sys/kernel/mm/ksm/run",
        "/proc/sys/kernel/hostname",
    ] {
        let ran = door.run("eve", &format!("test ! -e {path} || echo 1 > {path}"));
        assert!(ran.status != 0 || !std::path::Path::new(path).exists(), "eve writes {path}");
    }
    for path in [
        "/proc/kcore",
        "/proc/keys",
        "/proc/timer_list",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/acpi",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    ] {
        let seen = door.run(
            "eve",
            &format!("if [ -d {path} ]; then ls -A {path}; elif [ -e {path} ]; then head -c 64 {path} 2>/dev/null; fi"),
        );
        assert!(seen.out.is_empty(), "eve reads {path}: {}", seen.text());
    }
    let sys = door.ok("alice", "awk '$5 == \"/sys\" {print $6}' /proc/self/mountinfo");
    assert!(sys.starts_with("ro,"), "{sys}");
}

/// kernel.md, A: "every remount is EPERM" and root-only files of the host stay closed
#[test]
fn the_hosts_usr_is_neither_writable_nor_remountable_nor_readable_as_root() {
    if !root() {
        return;
    }
    let door = Door::standard();
    for line in [
        "touch /usr/eve",
        "mount -o remount,rw /usr",
        "mount -o remount,bind,rw /usr",
        "mount -t tmpfs none /mnt",
        "mount --bind /tmp /usr",
        "mount --move /usr /mnt",
    ] {
        let ran = door.run("eve", line);
        assert_ne!(ran.status, 0, "{line} worked");
    }
    assert!(!std::path::Path::new("/usr/eve").exists());
    let secret = "/usr/lib/cellblock-test-secret";
    fs::write(secret, "only root").unwrap();
    Command::new("chmod").args(["600", secret]).status().unwrap();
    let ran = door.run("eve", &format!("cat {secret}"));
    fs::remove_file(secret).unwrap();
    assert!(ran.status != 0 && ran.out.is_empty(), "eve read a 0600 file of the host's root");
    assert_ne!(door.run("eve", "cat /etc/shadow | grep -q '^root:[^*!]'").status, 0);
    assert_eq!(
        door.ok("eve", "ls / | sort | tr '\\n' ' '")
            .split(' ')
            .filter(|name| ["srv", "boot", "work", "opt", "media"].contains(name))
            .count(),
        0
    );
}

/// kernel.md, B: "A device node lying in an idmapped root opens": nodev on every tree
#[test]
fn a_device_node_in_a_tenants_root_does_not_open() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = debian_root(&scratch);
    let node = tree.join("root/disk");
    assert!(Command::new("mknod").arg(&node).args(["c", "1", "5"]).status().unwrap().success());
    assert!(Command::new("head").args(["-c", "1"]).arg(&node).status().unwrap().success(), "it opens on the host");
    let door = Door::with("").tenant("bob", &format!("root = \"{}\"\nuser = \"root\"", tree.display())).start();
    let ran = door.run("bob", "head -c 1 /root/disk");
    assert!(ran.status != 0 && ran.err.contains("Permission denied"), "{}", ran.err);
    assert_ne!(door.run("bob", "mknod /root/sda b 8 0 && head -c 1 /root/sda").status, 0);
}

/// kernel.md, C; CVE-2023-25809: the cell's own cgroup, read-only
#[test]
fn the_cgroup_view_starts_at_the_cells_own_and_cannot_be_written() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let view = door.ok("eve", "cat /proc/self/cgroup");
    let outside: Vec<_> = view
        .lines()
        .filter(|line| !line.ends_with(":/") && !line.ends_with(":/tenant") && !line.contains(":/session"))
        .collect();
    assert!(outside.is_empty() && !view.contains(".."), "{view}");
    let wrote = door.run("eve", "cd /sys/fs/cgroup 2>/dev/null || exit 1; find . -name cgroup.procs -o -name memory.max -o -name release_agent | while read f; do echo $$ > $f && echo wrote $f; done 2>/dev/null; true");
    assert_eq!(wrote.text(), "");
}

/// kernel.md, D, J, K and L: pid 1 is closed to root of the cell
#[test]
fn init_is_closed_to_the_cells_root() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let keep = door.spawn("eve", "echo up; exec sleep 1000");
    keep.line();
    for line in [
        "ls /proc/1/fd/",
        "cat /proc/1/environ",
        "cat /proc/1/maps | grep .",
        "head -c 1 /proc/1/mem",
        "readlink /proc/1/exe",
        "ls /proc/1/root/",
        "readlink /proc/1/ns/user",
        "cp /proc/1/exe /tmp/init",
    ] {
        let ran = door.run("eve", line);
        assert!(ran.status != 0 && ran.out.is_empty(), "{line}: {}", ran.text());
    }
    let trace = "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True); print(libc.ptrace(0x4206, 1, 0, 0), ctypes.get_errno())";
    assert_eq!(door.ok("eve", &format!("/usr/bin/python3 -c '{trace}'")), "-1 1", "PTRACE_SEIZE is EPERM");
    for signal in ["KILL", "STOP", "TERM", "HUP", "SEGV", "USR1", "INT", "TSTP"] {
        door.run("eve", &format!("kill -{signal} 1"));
    }
    assert_eq!(door.ok("eve", "grep State /proc/1/status | grep -c -e S -e R"), "1");
    assert_eq!(door.ok("eve", "pgrep -x sleep | wc -l"), "1", "still the same cell");
    let cmdline = door.ok("eve", "tr '\\0' ' ' </proc/1/cmdline");
    assert!(!cmdline.contains("serve") && !cmdline.contains("/tmp/"), "it shows the monitor's argv: {cmdline}");
}

/// Looks at all processes for as long as its input is open, and says what of them is not its own
/// program's: descriptors that lead elsewhere than to pipes and files of the cell, roots and programs
/// of others, and whom it could trace.
const PRY: &str = "
import ctypes, os, select, sys
libc = ctypes.CDLL(None, use_errno=True)
own, rounds, found = os.getpid(), 0, set()
print('up', flush=True)
while not select.select([0], [], [], 0)[0]:
    rounds += 1
    for pid in filter(str.isdigit, os.listdir('/proc')):
        if int(pid) == own: continue
        at = '/proc/' + pid
        for name in ['root', 'cwd', 'exe']:
            try: found.add(name + ' ' + os.readlink(at + '/' + name))
            except OSError: pass
        try: fds = os.listdir(at + '/fd')
        except OSError: fds = []
        for fd in fds:
            try: found.add('fd ' + os.readlink(at + '/fd/' + fd).split('[')[0])
            except OSError: pass
        if libc.ptrace(0x4206, int(pid), 0, 0) == 0: found.add('traced')
print(rounds)
for line in sorted(found): print(line)
";

/// CVE-2016-9962: "tenant … loops on `/proc/*/fd`, `/proc/*/root`, ptrace while 500 sessions join → never sees a host fd".
/// Two hundred here: each is looked at in several rounds.
#[test]
fn who_looks_while_sessions_start_sees_nothing_of_what_starts_them() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let mut prying = door.spawn("eve", &format!("exec /usr/bin/python3 -c \"{PRY}\""));
    assert_eq!(prying.line(), "up");
    let master = door.master("eve");
    for _ in 0..200 {
        assert_eq!(master.run("exec true").status, 0);
    }
    prying.write("\n");
    let rounds: u32 = prying.line().parse().unwrap();
    assert!(rounds > 100, "it hardly looked: {rounds}");
    prying.close_stdin();
    let mut seen = Vec::new();
    while let Some(line) = prying.line_within(Duration::from_secs(30)) {
        seen.push(line);
    }
    // What a session's own program has, as eve may see of herself.
    let known = ["cwd /root", "cwd /", "exe /usr/bin/bash", "exe /usr/bin/true", "fd pipe:", "fd /dev/null", "root /"];
    let strange = |line: &&String| {
        // Files of the cell that her shells read themselves.
        let own = ["fd /etc/", "fd /usr/", "fd /root/"].iter().any(|start| line.starts_with(start));
        !own && !known.contains(&line.as_str())
    };
    let strange: Vec<_> = seen.iter().filter(strange).collect();
    assert!(strange.is_empty(), "{strange:?}");
    assert!(seen.iter().any(|line| line.starts_with("exe /usr/bin")), "it saw sessions: {seen:?}");
}

/// kernel.md, K: what a cell sees of its own place on the host is where its root and home lie, and nothing else
#[test]
fn the_host_paths_of_a_cell_stay_hidden_from_it() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let seen = door.ok(
        "alice",
        "cat /proc/self/mountinfo /proc/mounts; tr '\\0' '\\n' </proc/self/environ; cat /etc/passwd /etc/hosts",
    );
    let dir = door.dir.path().display().to_string();
    let shown: Vec<_> = seen.lines().filter(|line| line.contains(&dir)).collect();
    // "keep the source path out where the API allows, and say what is visible": the home's own mount at most.
    assert!(shown.iter().all(|line| line.contains("/state/tenants/alice/")), "{shown:?}");
    assert!(!seen.contains("bob") && !seen.contains("eve:"), "{seen}");
}

/// kernel.md, N: "Unprivileged `unshare -Ur` works inside: write 0 to the cell's own max_user_namespaces"
#[test]
fn nested_user_namespaces_are_refused() {
    if !root() {
        return;
    }
    let door = Door::standard();
    for tenant in ["alice", "eve"] {
        for line in [
            "unshare -Ur true",
            "unshare -U true",
            "unshare -m true",
            "unshare -n true",
            "unshare -UrmC mount -t cgroup none /mnt",
        ] {
            assert_ne!(door.run(tenant, line).status, 0, "{tenant}: {line} worked");
        }
        assert_ne!(door.run(tenant, "echo 100 > /proc/sys/user/max_user_namespaces").status, 0);
    }
}

/// design.md, "Ids": no host uid means anything inside
#[test]
fn no_process_of_a_cell_has_an_id_of_the_hosts() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let keep: Vec<_> =
        ["alice", "eve"].map(|tenant| door.spawn(tenant, "echo up; exec sleep 98765")).into_iter().collect();
    keep.iter().for_each(|running| assert_eq!(running.line(), "up"));
    let sleeps: Vec<_> = door.processes().into_iter().filter(|&pid| procfs::cmdline(pid).contains("98765")).collect();
    assert!(sleeps.len() >= 2, "{sleeps:?}");
    for pid in sleeps.iter().filter(|&&pid| procfs::name(pid) == "sleep") {
        let ids = format!("{} {}", procfs::status(*pid, "Uid").unwrap(), procfs::status(*pid, "Gid").unwrap());
        assert!(ids.split_whitespace().all(|id| id.parse::<u32>().unwrap() >= door.pool()), "{ids}");
    }
    assert_eq!(door.ok("alice", "id"), "uid=1000(alice) gid=1000(alice) groups=1000(alice)");
    assert_eq!(door.ok("eve", "id -u; id -g; id -un"), "0\n0\nroot");
}

/// CVE-2019-5736: what a cell executes of ours cannot be overwritten from inside
#[test]
fn our_binaries_are_the_same_after_a_cell_tried_to_overwrite_them() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let binaries = [
        env!("CARGO_BIN_EXE_cellblock"),
        env!("CARGO_BIN_EXE_cellblock-admin"),
        env!("CARGO_BIN_EXE_cellblock-init"),
        env!("CARGO_BIN_EXE_cellblock-ssh"),
    ];
    let hash = |path: &&str| digest(&SHA256, &fs::read(path).unwrap()).as_ref().to_vec();
    let before: Vec<_> = binaries.iter().map(hash).collect();
    door.run("eve", "printf '#!/proc/self/exe\\n' > /tmp/x; chmod 755 /tmp/x; /tmp/x; for p in /proc/[0-9]*; do echo overwritten > $p/exe; done 2>/dev/null");
    let after: Vec<_> = binaries.iter().map(hash).collect();
    assert_eq!(before, after);
    door.ok("eve", "true");
}

/// "keyrings, mqueue, SysV IPC: leak over shared uid"; "new session keyring"
#[test]
fn keyrings_queues_and_ipc_start_empty() {
    if !root() {
        return;
    }
    let door = Door::standard();
    assert_eq!(door.ok("alice", "for f in msg sem shm; do tail -n +2 /proc/sysvipc/$f; done"), "");
    assert_eq!(door.ok("alice", "ls -A /dev/mqueue /dev/shm | grep -v : | tr -d '\\n'"), "");

    // Nobody gets at a keyring: add_key(2), request_key(2) and keyctl(2), KEYCTL_GET_KEYRING_ID of the
    // session's, are refused with EPERM, and the list of keys is covered.
    let look = "
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
first = 248 if os.uname().machine == 'x86_64' else 217
for call, args in ((0, (b'user', b'x', b'y', 1, -3)), (1, (b'user', b'x', None, -3)), (2, (0, -3, 1))):
    print(libc.syscall(first + call, *args), ctypes.get_errno())
";
    for tenant in ["alice", "eve"] {
        assert_eq!(door.ok(tenant, &format!("exec /usr/bin/python3 -c \"{look}\"")), "-1 1\n-1 1\n-1 1");
        assert_eq!(door.ok(tenant, "cat /proc/keys"), "");
    }
}

/// "setuid files": they give nothing where no_new_privs is set, and none of ours is setuid
#[test]
fn a_setuid_program_gives_an_ordinary_tenant_nothing() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = debian_root(&scratch);
    fs::copy(tree.join("usr/bin/id"), tree.join("usr/bin/setuid-id")).unwrap();
    assert!(Command::new("chmod").arg("4755").arg(tree.join("usr/bin/setuid-id")).status().unwrap().success());
    let door = Door::with("").tenant("bob", &format!("root = \"{}\"", tree.display())).start();
    assert_eq!(door.ok("bob", "setuid-id -u"), "1000");
}

/// "no_new_privs (off only where the class allows sudo)": then a setuid program of the tenant's own
/// root gives what the class lists, and no more
#[test]
fn a_setuid_program_gives_what_the_class_lists_where_new_privileges_are_allowed() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = debian_root(&scratch);
    fs::copy(tree.join("usr/bin/grep"), tree.join("usr/bin/setuid-grep")).unwrap();
    assert!(Command::new("chmod").arg("4755").arg(tree.join("usr/bin/setuid-grep")).status().unwrap().success());
    let lines = format!("root = \"{}\"\nno_new_privs = false\ncapabilities = [\"CAP_CHOWN\"]", tree.display());
    let door = Door::with("").tenant("bob", &lines).start();
    assert_eq!(door.ok("bob", "grep CapEff /proc/self/status"), "CapEff:\t0000000000000000");
    assert_eq!(door.ok("bob", "setuid-grep CapEff /proc/self/status"), "CapEff:\t0000000000000001");
}

/// Two sessions of one tenant end apart; a fork bomb's orphans are reaped by init
#[test]
fn orphans_are_reaped() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let keep = door.spawn("alice", "echo up; exec sleep 1000");
    keep.line();
    door.ok("alice", "for n in 1 2 3 4 5 6 7 8 9; do (sleep 0.01 & ) ; done; sleep 0.2");
    let zombies = || door.ok("alice", "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l");
    let none = until(Duration::from_secs(10), || zombies() == "0");
    assert!(none, "{} zombies", zombies());
    soon("they are gone from the host too", || {
        !door.processes().iter().any(|&pid| procfs::status(pid, "State").is_some_and(|state| state.starts_with('Z')))
    });
}
