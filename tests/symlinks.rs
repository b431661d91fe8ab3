//! "Symlinks in place of `/dev /proc /sys /tmp /run /etc /home` in a tenant-owned root: a login either
//! works inside the root or is refused by name; the host is untouched" (issue 2; CVE-2026-41579, -2025-31133).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "test support code"
)]

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use support::{Door, Scratch, debian_root, root};

const PLACES: [&str; 7] = ["dev", "proc", "sys", "tmp", "run", "etc", "home"];

/// Everything of the host that a mount or a file through such a link could change.
fn host(canary: &Path) -> (String, Vec<PathBuf>) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mounts = mounts
        .lines()
        .filter(|line| line.contains("cbt-") || line.contains("cellblock"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut files: Vec<_> = fs::read_dir(canary).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    (mounts, files)
}

fn replace(tree: &Path, place: &str, target: &str) {
    let path = tree.join(place);
    if path.symlink_metadata().is_ok_and(|meta| meta.is_symlink()) {
        fs::remove_file(&path).unwrap();
    } else if path.exists() {
        let moved = tree.join(format!("{place}.real"));
        fs::rename(&path, moved).unwrap();
    }
    symlink(target, &path).unwrap();
}

fn restore(tree: &Path, place: &str) {
    fs::remove_file(tree.join(place)).unwrap();
    fs::rename(tree.join(format!("{place}.real")), tree.join(place)).unwrap();
}

/// Logs in with each place replaced by a link to what `target` makes of it.
fn logins_with(target: impl Fn(&str, &Path) -> String) {
    let scratch = Scratch::new();
    let tree = debian_root(&scratch);
    let canary = scratch.join("canary");
    fs::create_dir(&canary).unwrap();
    for place in ["pts", "shm", "mqueue", "bob", "sys", "fs"] {
        fs::create_dir(canary.join(place)).unwrap();
    }
    let door =
        Door::with("[defaults]\nlinger = \"0s\"\n").tenant("bob", &format!("root = \"{}\"", tree.display())).start();
    let quiet = door.counts();
    let before = host(&canary);
    let passwd = fs::read("/etc/passwd").unwrap();
    for place in PLACES {
        replace(&tree, place, &target(place, &canary));
        let ran = door.run("bob", "test ! -e /canary && echo inside");
        let inside = ran.status == 0 && ran.text().ends_with("inside");
        let named = ran.status != 0 && door.log().contains(place);
        assert!(inside || named, "/{place}: neither inside nor refused by name: {ran:?}\n{}", door.log());
        if ran.status != 0 {
            assert!(
                !ran.err.contains(&scratch.path().display().to_string()),
                "the client is told no path: {}",
                ran.err
            );
        }
        door.returns_to(&quiet);
        assert_eq!(host(&canary), before, "/{place}: the host was touched");
        restore(&tree, place);
    }
    assert_eq!(fs::read("/etc/passwd").unwrap(), passwd);
    assert_eq!(door.ok("bob", "echo well"), "well", "with everything back in place");
}

#[test]
fn absolute_links_lead_nowhere_outside() {
    if root() {
        logins_with(|_, canary| canary.display().to_string());
    }
}

#[test]
fn relative_links_lead_nowhere_outside() {
    if root() {
        logins_with(|_, canary| format!("../../../../../../../..{}", canary.display()));
    }
}

#[test]
fn looping_links_end() {
    if root() {
        logins_with(|place, _| format!("/{place}"));
    }
}

#[test]
fn links_to_the_hosts_own_are_not_followed() {
    if root() {
        logins_with(|place, _| format!("/proc/1/root/{place}"));
    }
}

/// CVE-2025-31133: "/dev/null replaced by symlink before masking"
#[test]
fn links_inside_dev_and_proc_of_the_root_change_nothing() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = debian_root(&scratch);
    fs::remove_dir_all(tree.join("dev")).unwrap();
    fs::create_dir(tree.join("dev")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", tree.join("dev/null")).unwrap();
    symlink("/", tree.join("dev/shm")).unwrap();
    symlink("/etc", tree.join("dev/pts")).unwrap();
    let pattern = fs::read("/proc/sys/kernel/core_pattern").unwrap();
    let door = Door::with("").tenant("bob", &format!("root = \"{}\"\nuser = \"root\"", tree.display())).start();
    assert_eq!(door.ok("bob", "stat -c %F /dev/null; echo x > /dev/null"), "character special file");
    let masked = door.run("bob", "echo evil > /proc/timer_list; cat /proc/timer_list");
    assert_eq!(masked.text(), "");
    assert_eq!(fs::read("/proc/sys/kernel/core_pattern").unwrap(), pattern);
}

/// CVE-2021-30465, CVE-2025-52565: names are swapped while sessions start
#[test]
fn names_swapped_while_cells_start_lead_nowhere_outside() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = debian_root(&scratch);
    let canary = scratch.join("canary");
    fs::create_dir_all(canary.join("pts")).unwrap();
    let door =
        Door::with("[defaults]\nlinger = \"0s\"\n").tenant("bob", &format!("root = \"{}\"", tree.display())).start();
    let quiet = door.counts();
    let before = host(&canary);
    let swapper = format!(
        "cd {0}; while :; do mv -T tmp tmp.real; ln -s {1} tmp; rm tmp; mv -T tmp.real tmp; mv -T dev dev.real; ln -s {1} dev; rm dev; mv -T dev.real dev; done",
        tree.display(),
        canary.display()
    );
    let mut swapping = Command::new("sh").args(["-c", &swapper]).stderr(std::process::Stdio::null()).spawn().unwrap();
    let outside: Vec<_> = (0..40)
        .map(|_| door.run("bob", "echo x > /tmp/probe; ls /"))
        .filter(|ran| ran.text().contains("canary"))
        .collect();
    swapping.kill().unwrap();
    swapping.wait().unwrap();
    assert!(outside.is_empty(), "{outside:?}");
    door.returns_to(&quiet);
    assert_eq!(host(&canary), before);
}
