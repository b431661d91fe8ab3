//! The story that started this (issue 2): alice runs `tail -f secret`, eve is root in her own jail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_possible_wrap,
    reason = "test support code"
)]

use std::process::Command;

use support::{Door, Scratch, procfs, root, run_bounded, soon};

/// "The same `kill` that works through a bare chroot is shown to work there first, so that the test can fail"
#[test]
fn through_a_bare_chroot_eve_kills_what_she_sees() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let secret = scratch.write("secret", "alice's\n");
    let mut tail = Command::new("tail").arg("-f").arg(&secret).stdout(std::process::Stdio::null()).spawn().unwrap();
    let pid = tail.id();
    soon("tail runs", || procfs::name(pid as i32) == "tail");

    let mut chroot = Command::new("chroot");
    chroot.args(["/", "/bin/sh", "-c", &format!("grep -a secret /proc/{pid}/cmdline && kill -9 {pid}")]);
    assert_eq!(run_bounded(chroot, b"").status, 0, "a bare chroot protects nobody");
    soon("tail is dead", || tail.try_wait().unwrap().is_some());
}

/// "eve, root in her jail, sees neither the process nor the file, cannot signal any pid of alice's or the host's"
#[test]
fn eve_as_root_in_her_cell_neither_sees_nor_kills_it() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let tail = door.spawn("alice", "echo treasure > ~/secret; echo started; exec tail -f ~/secret");
    assert_eq!(tail.line(), "started");
    assert_eq!(tail.line(), "treasure");
    let find =
        || procfs::pids().into_iter().find(|&pid| procfs::name(pid) == "tail" && door.processes().contains(&pid));
    soon("alice's tail is seen by the host", || find().is_some());
    let pid = find().unwrap();

    assert_eq!(door.ok("eve", "id -u"), "0");
    let seen = door.ok("eve", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; ls -d /proc/[0-9]* | wc -l");
    assert!(!seen.contains("tail") && !seen.contains("cellblock serve"), "{seen}");
    let found = door.ok(
        "eve",
        "find / -xdev -name 'secret*' -path '*home*' 2>/dev/null; ls -a /root; ls -a /home 2>/dev/null; true",
    );
    assert!(!found.contains("secret") && !found.contains("alice"), "{found}");

    // Every pid that the host has now, alice's among them, and the broadcast.
    let highest = procfs::pids().into_iter().max().unwrap();
    let killed = door.run(
        "eve",
        &format!("for p in $(seq 2 {highest}); do [ $p = $$ ] || kill -9 $p 2>/dev/null; done; kill -9 {pid}; echo $?"),
    );
    assert_eq!(killed.text(), "1", "there is no such process in her cell");
    door.run("eve", "kill -9 -1");
    assert_eq!(procfs::name(pid), "tail");
    assert!(!procfs::ended(door.listener()), "the listener lives");
    assert_eq!(door.ok("alice", "pgrep -c tail"), "1");
}

/// "cannot unmount anything outside"
#[test]
fn eve_cannot_unmount_anything_outside() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let host = || std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
    let before = host();
    // Sorted: a cell that was a spare has made its mounts in another order.
    let mounts = || door.ok("eve", "cut -d' ' -f5 /proc/self/mountinfo | LC_ALL=C sort");
    let mounted = mounts();
    let tried = door.run("eve", "for m in $(cut -d' ' -f5 /proc/self/mountinfo | tac); do umount $m 2>/dev/null && echo gone $m; umount -l $m 2>/dev/null && echo gone $m; done; true");
    assert_eq!(tried.text(), "", "nothing can be unmounted, not even in the cell");
    assert_eq!(host(), before);
    assert_eq!(mounts(), mounted);
}

/// "cannot see alice's sockets, shared memory, mounts or hostname"
#[test]
fn eve_cannot_see_alices_sockets_shared_memory_mounts_or_hostname() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let python = "
import socket, mmap, os, sys, time
tcp = socket.socket(); tcp.bind(('127.0.0.1', 7777)); tcp.listen()
abstract = socket.socket(socket.AF_UNIX); abstract.bind('\\0alices'); abstract.listen()
open('/dev/shm/alices', 'w').write('x')
open('/tmp/alices', 'w').write('x')
os.system('ipcmk -M 4096 >/dev/null')
print('up', flush=True); time.sleep(1000)
";
    let mut alice = door.spawn("alice", "exec /usr/bin/python3 -");
    alice.write(python);
    alice.close_stdin();
    assert_eq!(alice.line(), "up");
    let look = "grep -c ':1E61 ' /proc/net/tcp; grep -c alices /proc/net/unix; ls /dev/shm /tmp; tail -n +2 /proc/sysvipc/shm | wc -l; hostname";
    let hers = door.ok("alice", look);
    assert!(hers.contains("alices") && hers.starts_with("1\n1\n"), "alice sees her own: {hers}");
    let eves = door.run("eve", look).text();
    let expected = "0\n0\n/dev/shm:\n\n/tmp:\n0\neve";
    assert_eq!(eves, expected);
    assert!(!door.ok("eve", "cat /proc/self/mountinfo").contains("alice"));
    let connect =
        door.run("eve", "/usr/bin/python3 -c \"import socket; socket.create_connection(('127.0.0.1', 7777))\"");
    assert!(connect.err.contains("ConnectionRefused"), "{}", connect.err);
}
