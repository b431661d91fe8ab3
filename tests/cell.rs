//! Real cells on the real kernel, without the doors in front of them. Needs root and busybox.
//!
//! Each test runs in a process of its own: cells are cloned by processes with one thread. What is
//! promised: docs/kernel.md rows A to N. `cargo test --test cell -- PART` runs those named so.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "test support code"
)]

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::{
        fd::AsFd as _,
        unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    },
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

use cellblock::{
    config::settings::{Linger, Network, Root},
    sys::{
        fd,
        process::{self, Ended, Forked},
    },
    wire::{
        init::{Greeting, Order},
        session::{Exit, Program, Signal, Terminal, WindowSize},
    },
};
use support::cells::{self, Yard, await_end, begin, end, is_spare, root_tenant, run, spares_are_kept, start, tenant};

/// Every capability that a class could list: all but CAP_SYS_ADMIN.
const ALL_CAPABILITIES: u64 = ((1 << 41) - 1) & !(1 << 21);

const TESTS: &[(&str, fn())] = &[
    ("seven_namespaces_are_the_cells_own_and_shared_by_its_sessions", seven_namespaces),
    ("root_with_every_capability_cannot_remount_the_host", remount),
    ("device_files_in_a_root_do_not_open", device_files),
    ("root_keeps_natural_owners_on_disk_and_setuid_works_inside", owners),
    ("no_user_namespaces_below", user_namespaces),
    ("proc_and_sys_are_masked", masks),
    ("pid_1_cannot_be_traced_or_killed", pid_1),
    ("a_symlinked_mount_point_is_refused_by_name", symlinks),
    ("a_root_that_all_can_enter_is_refused", public_root),
    ("exits_and_signals_are_told", exits),
    ("a_terminal_has_size_modes_and_job_control", terminal),
    ("a_host_view_shows_this_tenant_only_and_keeps_its_home", host_view),
    ("host_network_shares_just_that", host_network),
    ("processes_outlive_the_link_for_the_linger", linger),
    ("a_dead_init_is_an_ordinary_event", dead_init),
    ("nothing_is_left_after_many_cells", nothing_left),
    ("what_a_session_has_is_what_it_was_given", given_up),
    ("a_spare_becomes_the_cell_and_a_dead_one_is_passed_over", spares),
    ("monitors_at_once_never_take_the_same_spare", crowd),
    ("a_spare_holds_nothing_of_whoever_made_it", empty_handed),
    ("what_fails_in_a_spare_is_told_as_by_a_child_of_ones_own", failing_spare),
];

fn main() -> ExitCode {
    cells::each_in_a_process(TESTS)
}

/// A yard, a tenant and its cell, which was a spare where there are any; ends all of it when the test is through.
fn with_cell(
    yard_name: &str,
    make: impl FnOnce(&Yard) -> cellblock::config::settings::Tenant,
    test: impl FnOnce(&Yard, &mut Inside),
) {
    let yard = Yard::new(yard_name);
    let tenant = make(&yard);
    let spares = yard.restock();
    let cell = yard.cells.enter(&tenant).unwrap();
    assert_eq!(spares.contains(&cell.pid), tenant.jail.network == Network::None && spares_are_kept());
    let mut inside = Inside { cell, tenant, number: 0 };
    // Holds the cell: without a session or another process it would end.
    let hold = start(&inside.tenant, u64::MAX, Program::Command("exec sleep 1000".into()), None);
    let held = begin(&mut inside.cell, hold);
    test(&yard, &mut inside);
    drop(held);
    end(&yard.cells, inside.cell);
    yard.remove();
}

struct Inside {
    cell: cellblock::jail::Cell,
    tenant: cellblock::config::settings::Tenant,
    number: u64,
}

impl Inside {
    fn sh(&mut self, command: &str) -> (Exit, String, String) {
        self.number += 1;
        run(&mut self.cell, &self.tenant, self.number, command)
    }

    fn out(&mut self, command: &str) -> String {
        let (exit, out, err) = self.sh(command);
        assert_eq!(exit, Exit::Status(0), "{command}: {out}{err}");
        out
    }

    fn fails(&mut self, command: &str) -> String {
        let (exit, out, err) = self.sh(command);
        assert_ne!(exit, Exit::Status(0), "{command}: {out}{err}");
        err
    }
}

fn all_powerful(yard: &Yard) -> cellblock::config::settings::Tenant {
    let mut eve = root_tenant("eve", Root::Directory(yard.busybox_root("root")));
    eve.jail.capabilities = ALL_CAPABILITIES;
    eve
}

/// Where a cell sees a group of its own: v1's hierarchy of pids, or v2.
fn hierarchy() -> &'static Path {
    let pids = Path::new("/sys/fs/cgroup/pids");
    if pids.exists() { pids } else { Path::new("/sys/fs/cgroup") }
}

fn seven_namespaces() {
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
    let make = |yard: &Yard| tenant("alice", Root::Directory(yard.busybox_root("root")));
    with_cell("ns", make, |_, alice| {
        let command = "for n in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$n; done";
        let (first, second) = (alice.out(command), alice.out(command));
        assert_eq!(first, second);
        for (kind, link) in kinds.iter().zip(first.lines()) {
            let host = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
            assert_ne!(host.to_str().unwrap(), link, "{kind}");
        }
        assert_eq!(alice.out("hostname"), "alice\n");
        assert!(alice.out("ip addr show lo; ping -c 1 127.0.0.1 2>&1 || true").contains("127.0.0.1"));
    });
}

fn remount() {
    let make = |_: &Yard| {
        let mut eve = root_tenant("eve", Root::Host);
        eve.jail.capabilities = ALL_CAPABILITIES;
        eve
    };
    with_cell("remount", make, |_, eve| {
        // The session is given all; init's bounding set lacks CAP_SYS_ADMIN, so nothing can have it.
        assert!(
            eve.out("grep CapEff /proc/self/status").contains("000001ffffdfffff"),
            "{}",
            eve.out("cat /proc/self/status")
        );
        for command in [
            "mount -o remount,bind,rw /usr",
            "mount -o remount,bind,rw /dev",
            "mount -o remount,bind,rw /proc/sys",
            "umount /proc/keys",
            "touch /usr/cellblock-was-here",
            "touch /dev/cellblock-was-here",
            "mount -t tmpfs x /mnt",
            "touch /etc/ssl/certs/x",
        ] {
            eve.fails(command);
        }
        assert!(!Path::new("/usr/cellblock-was-here").exists());
        assert_locked(eve.cell.pid);
    });
}

/// docs/kernel.md, A: even a process with every capability in the cell's user namespace, which no
/// session has, cannot undo the locks. Joins from the host to be one.
fn assert_locked(pid: i32) {
    for target in ["/usr", "/dev"] {
        let script = format!("mount -o remount,bind,rw {target}");
        let done = Command::new("nsenter")
            .args(["-t", &pid.to_string(), "-U", "-m", "--preserve-credentials", "-S", "0", "-G", "0"])
            .args(["/bin/sh", "-c", &format!("mount -t tmpfs x /tmp && umount /tmp || exit 77; {script}")])
            .output()
            .unwrap();
        assert!(!done.status.success() && done.status.code() != Some(77), "{target} {done:?}");
        assert!(String::from_utf8_lossy(&done.stderr).contains("permission denied"), "{done:?}");
    }
}

fn device_files() {
    let make = |yard: &Yard| {
        let root = yard.busybox_root("root");
        let made = Command::new("mknod").arg(root.join("null2")).args(["c", "1", "3"]).status().unwrap();
        assert!(made.success());
        fs::set_permissions(root.join("null2"), fs::Permissions::from_mode(0o666)).unwrap();
        let mut eve = root_tenant("eve", Root::Directory(root));
        eve.jail.capabilities = ALL_CAPABILITIES;
        eve
    };
    with_cell("dev", make, |_, eve| {
        eve.out("echo x > /dev/null && head -c 3 /dev/urandom > /tmp/x");
        assert!(eve.fails("echo x > /null2").contains("ermission denied"));
        eve.fails("mknod /tmp/null3 c 1 3 && echo x > /tmp/null3");
    });
}

fn owners() {
    let make = |yard: &Yard| root_tenant("eve", Root::Directory(yard.busybox_root("root")));
    with_cell("owners", make, |yard, eve| {
        eve.out("touch /mine && touch /theirs && chown 1000:1000 /theirs && cp /bin/busybox /suid && chmod 4755 /suid");
        let on_disk = |name: &str| fs::metadata(yard.dir.join("root").join(name)).unwrap();
        assert_eq!((on_disk("mine").uid(), on_disk("theirs").uid()), (0, 1000));
        assert_eq!(on_disk("suid").mode() & 0o7777, 0o4755);
    });
}

fn user_namespaces() {
    with_cell("userns", all_powerful, |_, eve| {
        eve.fails("unshare -Ur true");
        assert_eq!(eve.out("cat /proc/sys/user/max_user_namespaces"), "0\n");
        eve.fails("echo 5 > /proc/sys/user/max_user_namespaces");
    });
}

fn masks() {
    with_cell("masks", all_powerful, |_, eve| {
        assert_eq!(eve.out("cat /proc/keys /proc/timer_list; ls /sys/firmware"), "");
        for command in [
            "echo 1 > /proc/sysrq-trigger",
            "echo x > /proc/sys/kernel/core_pattern",
            "echo 1 > /proc/sys/vm/drop_caches",
            "head -c 1 /proc/kcore | grep .",
            "touch /sys/x",
        ] {
            eve.fails(command);
        }
        let procs = hierarchy().join("cgroup.procs");
        eve.out(&format!("cat {}", procs.display()));
        eve.fails(&format!("echo $$ > {}", procs.display()));
        assert!(!eve.out("cat /proc/self/mountinfo").contains("cellblock-test-masks/run"));
        assert_eq!(eve.out("ls /proc/self/fd"), "0\n1\n2\n3\n", "3 is ls's own");
    });
}

fn pid_1() {
    with_cell("pid1", all_powerful, |_, eve| {
        for secret in ["mem", "maps", "environ", "fd", "exe", "root", "ns/mnt", "cwd"] {
            eve.fails(&format!("cat /proc/1/{secret} || ls -l /proc/1/{secret}/ || readlink /proc/1/{secret}"));
        }
        assert_eq!(eve.out("cat /proc/1/cmdline | tr '\\0' ' '").trim(), "cellblock-init");
        eve.out("kill -9 1; kill -STOP 1; kill -TERM 1; sleep 0.1; true");
        assert_eq!(eve.out("echo still here"), "still here\n");
        assert!(eve.out("grep Seccomp: /proc/1/status; echo").contains("Seccomp"));
    });
}

fn symlinks() {
    let yard = Yard::new("links");
    for (place, target) in [
        ("dev", "/etc"),
        ("proc", "../../../../etc"),
        ("sys", "sys"),
        ("tmp", "/tmp"),
        ("run", "/run"),
        ("dev", "dangling"),
    ] {
        let root = yard.busybox_root("root");
        symlink(target, root.join(place)).unwrap();
        let before = Command::new("ls").args(["-la", "--time-style=full-iso", "/etc"]).output().unwrap().stdout;
        let failure = yard.cells.enter(&tenant("mallory", Root::Directory(root.clone()))).unwrap_err().to_string();
        assert!(failure.contains(&format!("mount point /{place}: it is ")) && failure.contains("hint:"), "{failure}");
        assert_eq!(before, Command::new("ls").args(["-la", "--time-style=full-iso", "/etc"]).output().unwrap().stdout);
        fs::remove_dir_all(root).unwrap();
    }
    let root = yard.busybox_root("root");
    symlink("/root", root.join("home")).unwrap();
    symlink("/nowhere", root.join("etc")).unwrap();
    let alice = tenant("alice", Root::Directory(root));
    let cell = yard.cells.enter(&alice).unwrap();
    let mut alice = Inside { cell, tenant: alice, number: 0 };
    assert_eq!(alice.sh("pwd").1, "/\n");
    end(&yard.cells, alice.cell);
    yard.remove();
}

fn public_root() {
    let yard = Yard::new("public");
    let failure = yard.cells.enter(&tenant("alice", Root::Directory("/usr/share".into()))).unwrap_err().to_string();
    assert!(failure.contains("hint: chown root /usr && chmod 700 /usr"), "{failure}");
    yard.remove();
}

fn exits() {
    let make = |yard: &Yard| tenant("alice", Root::Directory(yard.busybox_root("root")));
    with_cell("exits", make, |_, alice| {
        for status in [0, 1, 127, 128, 255] {
            assert_eq!(alice.sh(&format!("exit {status}")).0, Exit::Status(status));
        }
        let killed = |number, name: &str| Exit::Signal { number, name: name.into(), core: false };
        assert_eq!(alice.sh("kill -KILL $$").0, killed(9, "KILL"));
        assert_eq!(alice.sh("kill -36 $$").0, killed(36, "RTMIN+2"));
        let mut long = start(&alice.tenant, 100, Program::Command("sleep 100".into()), None);
        let session = begin(&mut alice.cell, long.clone());
        alice.cell.link.send(&Order::Signal { session: 100, signal: Signal::Usr1 }).unwrap();
        assert_eq!(await_end(&mut alice.cell, 100), killed(10, "USR1"));
        drop(session);
        long.account.shell = "/bin/none".into();
        let session = begin(&mut alice.cell, long);
        let mut text = String::new();
        File::from(session.fds.into_iter().nth(2).unwrap()).read_to_string(&mut text).unwrap();
        assert!(text.ends_with("cellblock: /bin/none: No such file or directory\r\n"), "{text:?}");
        assert_eq!(await_end(&mut alice.cell, 100), Exit::Status(127));
    });
}

fn terminal() {
    let make = |yard: &Yard| tenant("alice", Root::Directory(yard.busybox_root("root")));
    with_cell("pty", make, |_, alice| {
        let terminal = Terminal {
            term: "xterm".into(),
            size: WindowSize { columns: 91, rows: 33, width: 0, height: 0 },
            modes: vec![(3, 8), (53, 0), (42, 1), (200, 1), (128, 38400), (129, 38400)],
        };
        let mut start = start(&alice.tenant, 1, Program::Shell, Some(terminal));
        start.greeting =
            Some(Greeting { said: String::new(), last_login: Some("Last login: today".into()), motd: true });
        let session = begin(&mut alice.cell, start);
        let mut master = File::from(session.fds.into_iter().next().unwrap());
        let mut copy = File::from(fd::duplicate(master.as_fd()).unwrap());
        copy.write_all(b"stty -a; echo $TERM $SSH_TTY $0; ls -ln /dev/pts/0; sleep 50\n").unwrap();
        let text = read_until(&mut master, "tty\u{0}|/dev/pts/0\r\n");
        assert!(text.starts_with("Last login: today\r\n") || text.contains("Last login: today\r\n"), "{text}");
        for part in ["rows 33; columns 91", "erase = ^H", "-echo ", "iutf8", "xterm /dev/pts/0 -sh", "1000"] {
            assert!(text.contains(part), "{part} not in {text}");
        }
        assert!(!text.contains("can't access tty"), "{text}");
        // Until it sleeps the shell is in the foreground, and does not mind.
        std::thread::sleep(Duration::from_millis(300));
        alice.cell.link.send(&Order::Signal { session: 1, signal: Signal::Int }).unwrap();
        copy.write_all(b"echo job control; exit 5\n").unwrap();
        read_until(&mut master, "job control\r\n");
        assert_eq!(await_end(&mut alice.cell, 1), Exit::Status(5));
    });
}

/// Reads until the text ends a line with what follows the bar in `end`, or with `end`.
fn read_until(master: &mut File, end: &str) -> String {
    let end = end.rsplit('|').next().unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(end) || (end.starts_with('/') && !text.ends_with(end)) {
        let length = master.read(&mut buffer).unwrap();
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    text
}

fn host_view() {
    with_cell(
        "host",
        |_| tenant("alice", Root::Host),
        |yard, alice| {
            assert_eq!(
                alice.out("id -un; pwd; ls -A ~ | grep '^[.]' | sort; hostname"),
                "alice\n/home/alice\n.bash_logout\n.bashrc\n.profile\nalice\n"
            );
            assert_eq!(alice.out("cut -d: -f1 /etc/passwd"), "root\nalice\nnobody\n");
            // Programs as the host has them (Debian has /lib32 or not), and nothing else of its /.
            let of_host = ["bin", "lib", "lib32", "lib64", "libx32", "sbin", "usr"];
            let of_host = of_host.into_iter().filter(|name| fs::symlink_metadata(format!("/{name}")).is_ok());
            let own = ["dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "var"];
            let mut expected: Vec<&str> = of_host.chain(own).collect();
            expected.sort_unstable();
            assert_eq!(alice.out("ls / | tr '\\n' ' '").trim(), expected.join(" "));
            alice.fails("cat /etc/shadow || ls /work || ls /root/");
            alice.fails("touch /usr/x || touch /etc/x");
            assert_eq!(alice.out("python3 -c 'print(6*7)' && touch ~/kept && mount | grep -c ' on /usr '"), "42\n1\n");
            let kept = fs::metadata(yard.dir.join("state/tenants/alice/home/kept")).unwrap();
            assert_eq!(kept.uid(), 1000);
        },
    );
}

fn host_network() {
    let make = |_: &Yard| {
        let mut alice = tenant("alice", Root::Host);
        alice.jail.network = Network::Host;
        alice
    };
    with_cell("net", make, |_, alice| {
        let host = fs::read_link("/proc/self/ns/net").unwrap();
        assert_eq!(alice.out("readlink /proc/self/ns/net").trim(), host.to_str().unwrap());
        alice.fails("touch /sys/x");
        let first = if hierarchy().ends_with("pids") { "cpu\n" } else { "cgroup.controllers\n" };
        assert_eq!(alice.out("ls /sys/firmware; ls /sys/fs/cgroup | head -1"), first);
    });
}

fn linger() {
    let yard = Yard::new("linger");
    let mut alice = tenant("alice", Root::Directory(yard.busybox_root("root")));
    alice.jail.linger = Linger::For(Duration::from_secs(2));
    let mut first = yard.cells.enter(&alice).unwrap();
    run(&mut first, &alice, 1, "sleep 77 >/dev/null 2>&1 </dev/null & true");
    let mut second = yard.cells.enter(&alice).unwrap();
    assert!(first.started && !second.started && first.pid == second.pid);
    assert!(run(&mut second, &alice, 1, "ps").1.contains("sleep 77"));
    assert_eq!(yard.cells.running().unwrap().len(), 1);
    let gone = std::time::Instant::now();
    drop((first.link, second.link));
    process::wait_for(first.pidfd.as_fd()).unwrap();
    assert!(
        gone.elapsed() > Duration::from_millis(1500) && gone.elapsed() < Duration::from_secs(9),
        "{:?}",
        gone.elapsed()
    );
    yard.cells.ended(&alice.name, first.pid).unwrap();
    assert_eq!(yard.cells.running().unwrap().len(), 0);
    yard.remove();
}

fn dead_init() {
    let yard = Yard::new("dead");
    let alice = tenant("alice", Root::Directory(yard.busybox_root("root")));
    let mut cell = yard.cells.enter(&alice).unwrap();
    let session = begin(&mut cell, start(&alice, 1, Program::Command("sleep 100".into()), None));
    process::signal_pidfd(cell.pidfd.as_fd(), 9).unwrap();
    // Nobody has cleared it away, and it is not even reaped: the next entry works at once.
    let mut next = yard.cells.enter(&alice).unwrap();
    assert!(next.started);
    assert_eq!(run(&mut next, &alice, 1, "exit 4").0, Exit::Status(4));
    assert!(cell.link.receive().is_err());
    drop(session);
    process::wait_for(cell.pidfd.as_fd()).unwrap();
    yard.cells.ended(&alice.name, cell.pid).unwrap();
    end(&yard.cells, next);
    yard.remove();
}

fn nothing_left() {
    let yard = Yard::new("left");
    let count = || {
        let mounts = fs::read("/proc/self/mountinfo").unwrap().iter().filter(|b| **b == b'\n').count();
        let fds = fs::read_dir("/proc/self/fd").unwrap().count();
        let of_ours = |entry: &std::io::Result<fs::DirEntry>| {
            entry.as_ref().unwrap().file_name().to_string_lossy().contains(&format!("left--{}", std::process::id()))
        };
        let groups = fs::read_dir(hierarchy()).unwrap().filter(of_ours).count();
        (mounts, fds, groups)
    };
    let alice = tenant("alice", Root::Directory(yard.busybox_root("root")));
    let before = count();
    for _ in 0..20 {
        let mut cell = yard.cells.enter(&alice).unwrap();
        assert_eq!(run(&mut cell, &alice, 1, "true").0, Exit::Status(0));
        process::wait_for(cell.pidfd.as_fd()).unwrap();
        yard.cells.ended(&alice.name, cell.pid).unwrap();
    }
    assert_eq!(count(), before);
    assert_eq!(fs::read_dir(yard.server.run_dir.join("cells")).unwrap().count(), 0);
    yard.remove();
}

fn given_up() {
    let make = |yard: &Yard| tenant("alice", Root::Directory(yard.busybox_root("root")));
    with_cell("given", make, |_, alice| {
        let status = alice.out("cat /proc/self/status");
        for line in [
            "CapInh:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "CapAmb:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Groups:\t \n",
            "SigBlk:\t0000000000000000",
        ] {
            assert!(status.contains(line), "{line:?} not in {status}");
        }
        assert_eq!(
            alice.out("umask; ulimit -n; ulimit -c; env | sort | cut -d= -f1 | tr '\\n' ' '"),
            "0022\n1024\n0\nHOME PATH PWD SHLVL "
        );
        let groups = alice.out("cat /proc/self/cgroup");
        assert!(
            groups.contains(if hierarchy().ends_with("pids") { "pids:/sessions" } else { "0::/sessions" }),
            "{groups}"
        );
    });
}

fn spares() {
    let yard = Yard::new("spares");
    if !spares_are_kept() {
        assert!(yard.restock().is_empty());
        return yard.remove();
    }
    let alice = tenant("alice", Root::Directory(yard.busybox_root("root")));
    for killed in 0..=2 {
        let spares = yard.restock();
        assert_eq!(spares.len(), 2);
        for pid in &spares[..killed] {
            process::kill(*pid, 9).unwrap();
            while !fs::read_to_string(format!("/proc/{pid}/status")).unwrap().contains("State:\tZ") {
                std::thread::yield_now();
            }
        }
        let mut cell = yard.cells.enter(&alice).unwrap();
        assert!(cell.started);
        assert_eq!(spares[killed..].contains(&cell.pid), killed < 2, "{spares:?}, {killed} of them dead");
        assert_eq!(run(&mut cell, &alice, 1, "hostname; id -u").1, "alice\n1000\n");
        end(&yard.cells, cell);
    }
    yard.remove();
}

fn crowd() {
    let yard = Yard::new("crowd");
    let names = ["alice", "bob", "carol", "dave", "erin"];
    let tenants = names.map(|name| tenant(name, Root::Directory(yard.busybox_root(name))));
    for _round in 0..8 {
        let spares = yard.restock();
        let (gate, opener) = fd::pipe().unwrap();
        let monitors: Vec<_> = tenants
            .iter()
            .map(|tenant| match process::fork().unwrap() {
                Forked::Child => {
                    // Waits until all are there.
                    cellblock::sys::poll::wait_readable(&[gate.as_fd()], None).unwrap();
                    let mut cell = yard.cells.enter(tenant).unwrap();
                    let seen = run(&mut cell, tenant, 1, "hostname; cat /proc/self/uid_map").1;
                    fs::write(yard.dir.join(format!("{}.seen", tenant.name)), format!("{} {seen}", cell.pid)).unwrap();
                    end(&yard.cells, cell);
                    process::exit_now(0);
                }
                Forked::Parent { pidfd, .. } => pidfd,
            })
            .collect();
        File::from(opener).write_all(b"go").unwrap();
        for monitor in monitors {
            assert_eq!(process::wait_for(monitor.as_fd()).unwrap(), Ended::Exited(0));
        }
        let mut pids = std::collections::BTreeSet::new();
        for name in names {
            let seen = fs::read_to_string(yard.dir.join(format!("{name}.seen"))).unwrap();
            let ids = yard.cells.ids().range_of(&name.parse().unwrap()).unwrap().unwrap();
            let words: Vec<_> = seen.split_whitespace().collect();
            assert_eq!(words[1..], [name, "0", &ids.first.to_string(), "65536"], "{seen}");
            pids.insert(words[0].parse::<i32>().unwrap());
        }
        assert_eq!(pids.len(), names.len(), "each has a cell of its own");
        assert!(spares.iter().all(|spare| pids.contains(spare)), "both spares were taken: {spares:?} {pids:?}");
        while let process::Reaped::Child { .. } = process::reap().unwrap() {}
    }
    yard.remove();
}

fn empty_handed() {
    let yard = Yard::new("empty");
    // Survives an exec, and is in memory: a careless spare would have both.
    let held = File::open("/etc/shadow").unwrap();
    fd::keep_on_exec(held.as_fd()).unwrap();
    let secret = format!("canary-{}", "x".repeat(3)).repeat(1000);
    let spares = yard.restock();
    let owners: std::collections::BTreeSet<String> = spares.iter().map(|pid| owner(*pid)).collect();
    assert_eq!(owners.len(), spares.len(), "the kernel counts for each by itself: {owners:?}");
    let taken = yard.cells.ids().owners().unwrap().unwrap();
    let own = |id: &String| (u64::from(taken.first)..taken.end()).contains(&id.parse().unwrap());
    assert!(owners.iter().all(own), "neither root's nor a tenant's: {owners:?}");
    for pid in spares {
        let fds: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .map(|entry| fs::read_link(entry.unwrap().path()).unwrap().display().to_string())
            .collect();
        assert!(!fds.iter().any(|target| target.contains("shadow")), "{fds:?}");
        assert_eq!(fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
        assert!(fs::read_link(format!("/proc/{pid}/exe")).unwrap().display().to_string().contains("cellblock-init"));
        assert!(!memory(pid).windows(14).any(|window| window == b"canary-xxxcana"), "memory of its maker");
        for kind in ["ipc", "mnt", "net", "pid", "user", "uts"] {
            let link = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
            assert_ne!(link("self"), link(&pid.to_string()), "{kind}");
        }
    }
    assert!(memory(process::own_pid()).windows(14).any(|window| window == b"canary-xxxcana"));
    drop((held, secret));
    yard.remove();
}

/// The host's id that a spare runs as and that its user namespace belongs to.
fn owner(pid: i32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let ids: Vec<&str> =
        status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap().split_whitespace().collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    ids[0].to_owned()
}

/// What a process has on its heap and stack.
fn memory(pid: i32) -> Vec<u8> {
    use std::os::unix::fs::FileExt as _;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut all = Vec::new();
    for line in maps.lines().filter(|line| line.contains("rw-p")) {
        let (from, to) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut part = vec![0; usize::try_from(to - from).unwrap()];
        if memory.read_exact_at(&mut part, from).is_ok() {
            all.extend(part);
        }
    }
    all
}

fn failing_spare() {
    let yard = Yard::new("failing");
    let root = yard.busybox_root("root");
    symlink("/etc", root.join("proc")).unwrap();
    let mallory = tenant("mallory", Root::Directory(root.clone()));
    let alone = yard.cells.enter(&mallory).unwrap_err().to_string();
    let spares = yard.restock();
    let spare = yard.cells.enter(&mallory).unwrap_err().to_string();
    assert_eq!(alone, spare);
    assert!(spare.contains("mount point /proc: it is "), "{spare}");
    let waiting = spares.iter().filter(|pid| is_spare(**pid)).count();
    assert_eq!(waiting, usize::from(spares_are_kept()), "the one that was taken serves nobody else");
    fs::remove_file(root.join("proc")).unwrap();
    let cell = yard.cells.enter(&mallory).unwrap();
    end(&yard.cells, cell);
    yard.remove();
}
