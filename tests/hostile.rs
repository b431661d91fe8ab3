//! Cells on hostile ground: tenants that prepare their tree, monitors that are killed half-way,
//! hosts that mount while cells run or have cgroup v2 alone. Needs root, busybox, nsenter.
//!
//! Each test runs in a process of its own, as in tests/cell.rs, and is killed after [`PATIENCE`]:
//! some of these bugs show as waiting for ever. `cargo test --test hostile -- PART` runs those named so.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::wildcard_imports,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "test support code"
)]

use std::{
    fs,
    os::{
        fd::AsFd as _,
        unix::{
            ffi::OsStrExt as _,
            fs::{MetadataExt as _, symlink},
        },
    },
    path::Path,
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use cellblock::{
    config::settings::{Enforce, Linger, Root},
    sys::{
        namespace, poll,
        process::{self, Ended, Forked, Reaped},
    },
    wire::{
        init::{Greeting, Order, Report},
        session::{Exit, Program},
    },
};
use support::{cells::*, until};

/// The longest test takes a tenth of it on a machine that does nothing else, the others a tenth of that.
const PATIENCE: Duration = Duration::from_secs(600);

const TESTS: &[(&str, fn())] = &[
    ("a_start_that_fails_half_way_ends_its_child", failed_start),
    ("a_monitor_killed_while_it_starts_a_cell_leaves_no_child", killed_monitor),
    ("what_the_host_mounts_later_is_not_seen", later_mounts),
    ("mount_points_that_move_meanwhile_uncover_nothing", swapped),
    ("a_home_that_leads_through_a_descriptor_leads_nowhere", home_by_descriptor),
    ("the_message_of_the_day_tells_nothing_of_init", motd),
    ("sessions_start_where_there_is_only_cgroup_v2", only_v2),
    ("a_nice_listener_starts_cells_that_are_not", nice),
    ("a_monitor_that_does_not_read_stops_nobody", deaf_monitor),
    ("logins_race_with_the_end_of_the_cell", races),
    ("a_monitor_killed_with_a_spare_takes_it_along", killed_with_spare),
    ("ten_thousand_starts_amid_swapped_names_touch_nothing_outside", ten_thousand),
];

fn main() -> ExitCode {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("SKIPPED: tests/hostile.rs needs root");
        return if std::env::var_os("REQUIRE_ROOT").is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let part = std::env::args().nth(1).filter(|arg| !arg.starts_with('-')).unwrap_or_default();
    let v2 = v2_mount();
    let mut failed = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| name.contains(&part)) {
        match process::fork().unwrap() {
            Forked::Child => {
                process::die_with_parent(9).unwrap();
                // A namespace of its own that sends to copies of itself, as an ordinary host does.
                namespace::leave_mounts().unwrap();
                sh("mount --make-rprivate / && mount --make-rshared /");
                test();
                process::exit_now(0);
            }
            Forked::Parent { pidfd, .. } => {
                let deadline = Instant::now() + PATIENCE;
                while Instant::now() < deadline
                    && poll::wait_readable(&[pidfd.as_fd()], Some(deadline)).unwrap() == [false]
                {}
                if poll::wait_readable(&[pidfd.as_fd()], Some(deadline)).unwrap() == [false] {
                    process::signal_pidfd(pidfd.as_fd(), 9).unwrap();
                }
                let passed = process::wait_for(pidfd.as_fd()).unwrap() == Ended::Exited(0);
                failed += i32::from(!passed);
                eprintln!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
            }
        }
    }
    // Two tests set a flag of the kernel's one v2 hierarchy; a remount sets its flags anew.
    if let Some((place, options)) = v2 {
        sh(&format!("mount -t cgroup2 -o remount,{options} cgroup2 {place}"));
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Where the host has cgroup v2, and with what options.
fn v2_mount() -> Option<(String, String)> {
    let mounts = fs::read("/proc/self/mounts").unwrap();
    let mounts = String::from_utf8(mounts).unwrap();
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
    let mut fields = line.split(' ').skip(1);
    let (place, _kind, options) = (fields.next()?, fields.next()?, fields.next()?);
    Some((place.to_owned(), options.to_owned()))
}

/// Runs a script on the host, which must succeed.
fn sh(script: &str) {
    let done = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(done.status.success(), "{script}: {done:?}");
}

/// Reaps until no child is left; how many were, or `None` if some stay.
fn reap_all(patience: Duration) -> Option<usize> {
    let deadline = Instant::now() + patience;
    let mut reaped = 0;
    while Instant::now() < deadline {
        match process::reap().unwrap() {
            Reaped::Child { .. } => reaped += 1,
            Reaped::NoChildren => return Some(reaped),
            Reaped::NoneEnded => thread::sleep(Duration::from_millis(5)),
        }
    }
    None
}

fn failed_start() {
    let yard = Yard::new("half");
    let ram = yard.dir.join("ram");
    fs::create_dir(&ram).unwrap();
    sh(&format!("mount -t ramfs -o mode=755 none {}", ram.display()));
    let began = Instant::now();
    let failure = yard.cells.enter(&tenant("alice", Root::Directory(ram.clone()))).unwrap_err().to_string();
    assert!(failure.contains("idmapped"), "{failure}");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(reap_all(Duration::from_secs(2)), Some(0));
    sh(&format!("umount {}", ram.display()));
    yard.remove();
}

fn killed_monitor() {
    let yard = Yard::new("killed");
    process::become_subreaper().unwrap();
    let alice = tenant("alice", Root::Directory(yard.busybox_root("root")));
    for step in 0..60u64 {
        match process::fork().unwrap() {
            Forked::Child => {
                let cell = yard.cells.enter(&alice);
                process::exit_now(i32::from(cell.is_err()))
            }
            Forked::Parent { pidfd, .. } => {
                thread::sleep(Duration::from_micros(step * 60));
                process::signal_pidfd(pidfd.as_fd(), 9).unwrap();
                assert!(reap_all(Duration::from_secs(2)).is_some(), "a half-made cell stays (step {step})");
            }
        }
    }
    let mut cell = yard.cells.enter(&alice).unwrap();
    assert_eq!(run(&mut cell, &alice, 1, "true").0, Exit::Status(0));
    end(&yard.cells, cell);
    yard.remove();
}

fn killed_with_spare() {
    let yard = Yard::new("along");
    process::become_subreaper().unwrap();
    let alice = tenant("alice", Root::Directory(yard.busybox_root("root")));
    for step in 0..60u64 {
        yard.restock();
        // That which the last monitor had taken from the stock may not have learnt yet that it was killed.
        let spares = || children().into_iter().filter(|pid| is_spare(*pid)).count();
        let kept = if spares_are_kept() { 2 } else { 0 };
        assert!(until(Duration::from_secs(5), || spares() == kept), "{} spares (step {step})", spares());
        match process::fork().unwrap() {
            Forked::Child => {
                let cell = yard.cells.enter(&alice);
                process::exit_now(i32::from(cell.is_err()))
            }
            Forked::Parent { pidfd, .. } => {
                thread::sleep(Duration::from_micros(step * 40));
                process::signal_pidfd(pidfd.as_fd(), 9).unwrap();
                let deadline = Instant::now() + Duration::from_secs(5);
                while !children().iter().all(|pid| is_spare(*pid)) {
                    assert!(Instant::now() < deadline, "a half-made cell stays (step {step})");
                    thread::sleep(Duration::from_millis(1));
                }
                while let Reaped::Child { .. } = process::reap().unwrap() {}
            }
        }
    }
    let mut cell = yard.cells.enter(&alice).unwrap();
    assert_eq!(run(&mut cell, &alice, 1, "true").0, Exit::Status(0));
    end(&yard.cells, cell);
    yard.remove();
}

/// "10,000 starts of a cell while a hostile process inside the tenant's own tree swaps directories and
/// symlinks at the mount points: no start touches anything outside the root" (issue 3)
fn ten_thousand() {
    const WORKERS: usize = 2;
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| match process::fork().unwrap() {
            Forked::Child => {
                process::die_with_parent(9).unwrap();
                amid_swaps(&format!("swaps{worker}"), 10_000 / WORKERS);
                process::exit_now(0);
            }
            Forked::Parent { pidfd, .. } => pidfd,
        })
        .collect();
    for worker in workers {
        assert_eq!(process::wait_for(worker.as_fd()).unwrap(), Ended::Exited(0));
    }
}

fn amid_swaps(name: &str, starts: usize) {
    const PLACES: [&str; 5] = ["dev", "proc", "run", "sys", "tmp"];
    let yard = Yard::new(name);
    let root = yard.busybox_root("root");
    let canary = yard.dir.join("canary");
    for place in PLACES {
        fs::create_dir(root.join(place)).unwrap();
    }
    // What a mount or a new directory needs in order to land in there.
    for place in ["pts", "shm", "mqueue", "fs/cgroup", "sys", "proc"] {
        fs::create_dir_all(canary.join(place)).unwrap();
    }
    fs::write(canary.join("null"), "").unwrap();
    let outside = || {
        let format = "%p %y %m %U %s %T@ %C@\\n";
        let listed = Command::new("find").arg(&canary).args(["-printf", format]).output().unwrap().stdout;
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let here = yard.dir.display().to_string();
        // Others mount what they like meanwhile; and what follows the dash are options of the whole file
        // system, which any mount of cgroup2 elsewhere changes here too (nsdelegate).
        let mounts = mounts.lines().filter(|line| line.contains(&here)).filter_map(|line| line.split(" - ").next());
        let mounts = mounts.collect::<Vec<_>>().join("\n");
        String::from_utf8(listed).unwrap() + &mounts
    };
    let before = outside();
    let swapper = match process::fork().unwrap() {
        Forked::Child => {
            process::die_with_parent(9).unwrap();
            swap_for_ever(&root, &canary, &PLACES)
        }
        Forked::Parent { pidfd, .. } => pidfd,
    };
    let mallory = tenant("mallory", Root::Directory(root));
    let (mut started, mut refused) = (0, 0);
    for start in 0..starts {
        // Half of them are spares.
        if start % 4 == 0 {
            yard.cells.restock(&yard.stock).unwrap();
        }
        match yard.cells.enter(&mallory) {
            Ok(cell) => {
                started += 1;
                end(&yard.cells, cell);
            }
            Err(failure) => {
                refused += 1;
                let by_name = PLACES.iter().any(|place| failure.to_string().contains(&format!("/{place}")));
                assert!(by_name, "{failure}");
            }
        }
        if start % 500 == 0 {
            assert_eq!(outside(), before, "start {start} touched the host");
        }
    }
    process::signal_pidfd(swapper.as_fd(), 9).unwrap();
    process::wait_for(swapper.as_fd()).unwrap();
    assert_eq!(outside(), before, "the host was touched");
    assert!(started > starts / 20 && refused > starts / 100, "{started} started, {refused} were refused");
    eprintln!("{name}: {started} cells started, {refused} were refused by name");
    yard.remove();
}

/// In place of each directory by turns: a link to what lies outside, and another directory.
fn swap_for_ever(root: &Path, canary: &Path, places: &[&str]) -> ! {
    let targets = [canary.to_owned(), Path::new("../../../../../../../..").join(canary.strip_prefix("/").unwrap())];
    loop {
        for place in places {
            let (here, aside) = (root.join(place), root.join(format!("{place}.aside")));
            for target in &targets {
                let swapped = fs::rename(&here, &aside).and_then(|()| symlink(target, &here));
                let back = fs::remove_file(&here).and_then(|()| fs::rename(&aside, &here));
                // The start may have made a directory where none was for a moment; it takes its turn.
                if swapped.and(back).is_err() && fs::remove_dir(&here).is_ok() && fs::rename(&aside, &here).is_err() {
                    fs::create_dir_all(&here).unwrap();
                }
            }
        }
    }
}

fn later_mounts() {
    let host = fs::File::open("/proc/self/ns/mnt").unwrap();
    let host_number = std::os::fd::AsRawFd::as_raw_fd(&host);
    let on_host = |script: &str| {
        let namespace = format!("--mount=/proc/{}/fd/{host_number}", process::own_pid());
        let done = Command::new("nsenter").args([&namespace, "sh", "-ec", script]).output().unwrap();
        assert!(done.status.success(), "{script}: {done:?}");
    };
    let yard = Yard::new("later");
    let root = yard.busybox_root("root");
    fs::create_dir(root.join("mnt")).unwrap();
    let bob = root_tenant("bob", Root::Directory(root.clone()));
    let alice = tenant("alice", Root::Host);
    let mut cells = Vec::new();
    for tenant in [&bob, &alice] {
        let mut cell = yard.cells.enter(tenant).unwrap();
        let hold = start(tenant, 9, Program::Command("exec sleep 1000".into()), None);
        let held = begin(&mut cell, hold);
        cells.push((cell, tenant, held));
    }
    on_host(&format!("mount -t tmpfs -o mode=1777 uninvited {}/mnt", root.display()));
    on_host("mount -t tmpfs -o mode=1777 uninvited /usr/local/share");
    for (cell, tenant, _) in &mut cells {
        let (_, mounts, _) = run(cell, tenant, 1, "cat /proc/self/mountinfo");
        assert!(!mounts.contains("uninvited"), "{}: {mounts}", tenant.name);
    }
    for (cell, ..) in cells {
        end(&yard.cells, cell);
    }
    on_host(&format!("umount {}/mnt; umount /usr/local/share", root.display()));
    yard.remove();
}

/// What a look-alike of a file of the kernel's says, and goes on to say.
const DECOY: &str = "decoy\n";

/// Directories with a file for each that is written while a cell starts: the tenant's own, and links of both
/// kinds to one of the host's.
fn look_alikes(root: &Path, of_host: &Path) {
    fs::write(of_host, DECOY).unwrap();
    for name in ["proc", "proc2/sys/user", "proc2/sys/net/ipv4", "dev", "dev2"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    let names = fs::read_dir("/proc/sys/user").unwrap().map(|entry| entry.unwrap().file_name());
    let mut files: Vec<_> = names.map(|name| root.join("proc2/sys/user").join(name)).collect();
    files.extend(["proc2/sys/net/ipv4/ping_group_range", "dev2/null"].map(|name| root.join(name)));
    for (number, file) in files.iter().enumerate() {
        match number % 3 {
            0 => fs::write(file, DECOY).unwrap(),
            1 => fs::hard_link(of_host, file).unwrap(),
            _ => symlink(of_host, file).unwrap(),
        }
    }
}

/// How many look-alikes still say what they did, whatever their directories are called by now; fails at others.
fn unwritten(root: &Path) -> usize {
    let mut find = Command::new("find");
    find.arg(root).args(["-name", "bin", "-prune", "-o", "-not", "-type", "d", "-print0"]);
    let listed = find.output().unwrap().stdout;
    let files: Vec<_> = listed.split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    for file in &files {
        let file = Path::new(std::ffi::OsStr::from_bytes(file));
        assert_eq!(fs::read_to_string(file).unwrap(), DECOY, "{} was written", file.display());
    }
    files.len()
}

/// The settings that a cell has of its own, as the host has them.
fn own_settings() -> Vec<String> {
    let names = fs::read_dir("/proc/sys/user").unwrap().map(|entry| entry.unwrap().path());
    let ping = Path::new("/proc/sys/net/ipv4/ping_group_range").to_owned();
    names.chain([ping]).map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// Somebody on the host who can reach the tree exchanges /proc and /dev with look-alikes while cells
/// start. What starts has all of /proc's covers and locks, wherever it hangs; and what is written to /proc
/// meanwhile reaches no look-alike, and nothing of the host.
fn swapped() {
    let yard = Yard::new("swap");
    let root = yard.busybox_root("root");
    let of_host = yard.dir.join("of-host");
    look_alikes(&root, &of_host);
    let (settings, decoys) = (own_settings(), unwritten(&root));
    let swapper = match process::fork().unwrap() {
        Forked::Child => loop {
            process::die_with_parent(9).unwrap();
            for name in ["proc", "dev"] {
                let [here, there, aside] = ["", "2", "3"].map(|end| root.join(format!("{name}{end}")));
                // Whatever is in the way now is gone the next time.
                let moves = [(&here, &aside), (&there, &here), (&aside, &there)];
                assert!(moves.iter().filter(|(from, to)| fs::rename(from, to).is_ok()).count() < 4);
            }
        },
        Forked::Parent { pidfd, .. } => pidfd,
    };
    let bob = root_tenant("bob", Root::Directory(root.clone()));
    let locked = ["bus", "fs", "irq", "sys", "sysrq-trigger"]
        .iter()
        .filter(|name| Path::new("/proc").join(name).exists())
        .count();
    let mut started = 0;
    for _start in 0..150 {
        let entered = yard.cells.enter(&bob);
        assert_eq!(fs::read_to_string(&of_host).unwrap(), DECOY, "a file of the host was written");
        let Ok(cell) = entered else { continue };
        started += 1;
        let all = || {
            let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", cell.pid)).unwrap();
            let of_proc = mounts.lines().filter(|line| line.contains(" - proc ")).count();
            (of_proc, mounts)
        };
        // The kernel gives it page by page, and a rename may come between two: what went then is gone for good.
        let (of_proc, mounts) = match all() {
            (torn, _) if torn != 0 && torn != 1 + locked => all(),
            whole => whole,
        };
        // None: its mount point was removed by a rename, and it with it.
        assert!(of_proc == 0 || of_proc == 1 + locked, "{mounts}");
        end(&yard.cells, cell);
    }
    process::signal_pidfd(swapper.as_fd(), 9).unwrap();
    process::wait_for(swapper.as_fd()).unwrap();
    assert!(started > 0);
    assert_eq!((unwritten(&root), own_settings()), (decoys, settings));
    yard.remove();
}

/// Leaves the process with cgroup v2 alone, as on a host that never heard of v1. Where v1 has the
/// controllers, v2 limits nothing: the tenants go without. The flag is the whole kernel's; systemd
/// sets it everywhere.
fn forget_v1() {
    sh("umount -l /sys/fs/cgroup && mount -t cgroup2 -o nsdelegate none /sys/fs/cgroup");
}

/// CVE-2024-21626: a directory that is open while the tenant's path is entered.
fn home_by_descriptor() {
    for v2 in [false, true] {
        if v2 {
            forget_v1();
        }
        let yard = Yard::new(if v2 { "home2" } else { "home1" });
        let root = yard.busybox_root("root");
        let mut eve = root_tenant("eve", Root::Directory(root.clone()));
        eve.jail.limits.enforce = Enforce::BestEffort;
        let mut cell = yard.cells.enter(&eve).unwrap();
        let held = begin(&mut cell, start(&eve, 999, Program::Command("exec sleep 1000".into()), None));
        for number in 3..20 {
            symlink(format!("/proc/self/fd/{number}"), root.join(format!("home{number}"))).unwrap();
            eve.jail.home = format!("/home{number}");
            let (exit, out, err) = run(&mut cell, &eve, number, "pwd; ls ../../../../../etc/shadow");
            assert!(out.starts_with("/\n") && exit != Exit::Status(0), "fd {number}, v2 {v2}: {out}{err}");
        }
        drop(held);
        end(&yard.cells, cell);
        yard.remove();
    }
}

fn motd() {
    let yard = Yard::new("motd");
    let root = yard.busybox_root("root");
    fs::create_dir(root.join("etc")).unwrap();
    let eve = root_tenant("eve", Root::Directory(root.clone()));
    let mut cell = yard.cells.enter(&eve).unwrap();
    let held = begin(&mut cell, start(&eve, 999, Program::Command("exec sleep 1000".into()), None));
    let shown = |cell: &mut _, number| {
        let mut start = start(&eve, number, Program::Command("true".into()), None);
        start.greeting = Some(Greeting { said: String::new(), last_login: None, motd: true });
        let session = begin(cell, start);
        let mut fds = session.fds.into_iter().skip(1);
        let mut out = String::new();
        std::io::Read::read_to_string(&mut fs::File::from(fds.next().unwrap()), &mut out).unwrap();
        await_end(cell, number);
        out
    };
    fs::write(root.join("etc/motd"), "hello\n").unwrap();
    assert_eq!(shown(&mut cell, 1), "hello\n");
    for (number, target) in (2..).zip(["/proc/self/maps", "/proc/self/fd/5", "/dev/zero"]) {
        fs::remove_file(root.join("etc/motd")).unwrap();
        symlink(target, root.join("etc/motd")).unwrap();
        assert_eq!(shown(&mut cell, number), "", "{target}");
    }
    drop(held);
    end(&yard.cells, cell);
    yard.remove();
}

fn only_v2() {
    forget_v1();
    let yard = Yard::new("v2");
    for (name, user_root) in [("alice", false), ("eve", true)] {
        let root = Root::Directory(yard.busybox_root(name));
        let mut tenant = if user_root { root_tenant(name, root) } else { tenant(name, root) };
        tenant.jail.limits.enforce = Enforce::BestEffort;
        let mut cell = yard.cells.enter(&tenant).unwrap();
        let command = "grep -h ^0: /proc/self/cgroup /proc/1/cgroup; ls -d /sys/fs/cgroup/*/; \
                       echo $$ > /sys/fs/cgroup/init/cgroup.procs; echo $$ > /sys/fs/cgroup/cgroup.procs";
        let (exit, out, err) = run(&mut cell, &tenant, 1, command);
        assert_ne!(exit, Exit::Status(0));
        assert_eq!(out, "0::/sessions\n0::/init\n/sys/fs/cgroup/init/\n/sys/fs/cgroup/sessions/\n", "{err}");
        end(&yard.cells, cell);
    }
    yard.remove();
}

fn nice() {
    sh(&format!("renice -n 5 -p {} && chrt -b -p 0 {0}", process::own_pid()));
    let yard = Yard::new("nice");
    let alice = tenant("alice", Root::Directory(yard.busybox_root("root")));
    let mut cell = yard.cells.enter(&alice).unwrap();
    assert_eq!(run(&mut cell, &alice, 1, "cut -d' ' -f19,41 /proc/self/stat").1, "0 0\n");
    end(&yard.cells, cell);
    yard.remove();
}

fn deaf_monitor() {
    let yard = Yard::new("deaf");
    let mut alice = tenant("alice", Root::Directory(yard.busybox_root("root")));
    alice.jail.max_sessions = 10_000;
    alice.jail.limits.pids = 4096;
    let mut deaf = yard.cells.enter(&alice).unwrap();
    let held = begin(&mut deaf, start(&alice, 0, Program::Command("exec sleep 1000".into()), None));
    // Never reads a report, while its sessions come and go.
    let mut sent = 0;
    for number in 1..400 {
        let order = Order::Start(Box::new(start(&alice, number, Program::Command("true".into()), None)));
        if deaf.link.send(&order).is_err() {
            break;
        }
        sent = number;
    }
    assert!(sent > 50, "{sent}");
    let mut other = yard.cells.enter(&alice).unwrap();
    let began = Instant::now();
    let (exit, out, err) = run(&mut other, &alice, 1, "exit 3");
    assert_eq!(exit, Exit::Status(3), "{out}{err}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(run(&mut other, &alice, 2, "ls /proc/self/fd | wc -l").1, "4\n");
    // What the deaf one was to get is closed: init keeps none of it.
    let fds = || fs::read_dir(format!("/proc/{}/fd", other.pid)).unwrap().count();
    assert!(fds() < 32, "{}", fds());
    drop(held);
    // Its link was closed: it is told to end by one that comes for that.
    yard.cells.end(&alice.name, Duration::ZERO).unwrap();
    process::wait_for(deaf.pidfd.as_fd()).unwrap();
    yard.cells.ended(&alice.name, deaf.pid).unwrap();
    yard.remove();
}

/// linger = "0s", and an init that is killed every few logins: every login gets a session.
fn races() {
    let yard = Yard::new("races");
    process::become_subreaper().unwrap();
    let mut alice = tenant("alice", Root::Directory(yard.busybox_root("root")));
    alice.jail.linger = Linger::For(Duration::ZERO);
    alice.jail.max_sessions = 1000;
    let mut monitors = Vec::new();
    for number in 0..200u64 {
        match process::fork().unwrap() {
            Forked::Child => process::exit_now(i32::from(!log_in(&yard, &alice, number))),
            Forked::Parent { pid, .. } => monitors.push(pid),
        }
        if number % 10 == 9
            && let Some(running) = yard.cells.running().unwrap().first()
        {
            process::signal_pidfd(running.pidfd.as_fd(), 9).unwrap();
        }
        thread::sleep(Duration::from_millis(number % 7));
    }
    // One after another they start up to two hundred cells.
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut refused = 0;
    while !monitors.is_empty() && Instant::now() < deadline {
        match process::reap().unwrap() {
            Reaped::Child { pid, ended, .. } if monitors.contains(&pid) => {
                monitors.retain(|monitor| *monitor != pid);
                refused += i32::from(ended != Ended::Exited(0));
            }
            Reaped::Child { .. } => {}
            Reaped::NoneEnded | Reaped::NoChildren => thread::sleep(Duration::from_millis(2)),
        }
    }
    assert_eq!((refused, monitors.len()), (0, 0));
    assert!(reap_all(Duration::from_secs(5)).is_some());
    yard.cells.sweep().unwrap();
    assert_eq!(fs::read_dir(yard.server.run_dir.join("cells")).unwrap().count(), 0);
    yard.remove();
}

/// As a monitor does: an order that a dying cell did not answer is given again, here until it is.
fn log_in(yard: &Yard, tenant: &cellblock::config::settings::Tenant, number: u64) -> bool {
    for _attempt in 0..10 {
        let mut cell = match yard.cells.enter(tenant) {
            Ok(cell) => cell,
            Err(failure) => {
                eprintln!("login {number}: {failure}");
                // Killed while it started: the one case in which there is nothing to enter.
                return failure.to_string().contains("its pid 1 was killed");
            }
        };
        let order = Order::Start(Box::new(start(tenant, number, Program::Command("exit 3".into()), None)));
        if cell.link.send(&order).is_err() {
            continue;
        }
        match cell.link.receive() {
            Ok((Report::Started { .. }, _fds)) => return true,
            Ok((other, _)) => {
                eprintln!("login {number}: {other:?}");
                return false;
            }
            Err(_ended) => {}
        }
    }
    eprintln!("login {number}: ten cells ended under it");
    false
}
