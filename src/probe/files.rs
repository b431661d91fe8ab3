//! Files: what steers the host, what belongs to it, devices, and what must not be there at all.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use crate::sys::{Errno, attempt, process};
use crate::wire::verify::{MountKind, Task, Verdict};

use super::tries::Tries;

/// Files that act on the host, or on what the cell's owner set. Opened, and not written to.
const STEERING: [&str; 14] = [
    "/proc/sysrq-trigger",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/msgmax",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/fs/suid_dumpable",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv4/ip_unprivileged_port_start",
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/vm/drop_caches",
    "/proc/irq/default_smp_affinity",
    "/sys/kernel/uevent_helper",
    "/sys/power/state",
];

/// The nodes of a cell's `/dev`: name, major, minor.
const NODES: [(&str, u64, u64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// What a class with `fuse` has besides.
const FUSE: (&str, u64, u64) = ("fuse", 10, 229);

/// What else is in there.
const OTHERS: [&str; 8] = ["fd", "mqueue", "ptmx", "pts", "shm", "stderr", "stdin", "stdout"];

/// Majors of terminals in devpts, and the minor of its ptmx.
const PTS_MAJORS: std::ops::RangeInclusive<u64> = 136..=143;

pub(super) fn proc_writes(_task: &Task, tries: &mut Tries) {
    for path in STEERING {
        match OpenOptions::new().write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => tries.not_applicable(path, "the kernel has none"),
            opened => tries.fail(path, opened),
        }
    }
}

/// A name that nobody else uses.
fn unused(directory: &Path) -> PathBuf {
    directory.join(format!(".cellblock-probe-{}", process::own_pid()))
}

pub(super) fn host_writes(task: &Task, tries: &mut Tries) {
    let read_only = task.mounts.iter().filter(|planned| planned.flags.iter().any(|flag| flag == "ro"));
    let mut trees: Vec<&Path> = read_only.map(|planned| Path::new(&planned.at)).filter(|at| at.is_dir()).collect();
    trees.extend(["/usr/bin", "/dev/net"].map(Path::new).into_iter().filter(|at| at.is_dir() && is_below(at, task)));
    for tree in &trees {
        let path = unused(tree);
        let made = File::create_new(&path);
        if made.is_ok() {
            tries.undo(fs::remove_file(&path));
        }
        tries.fail(format_args!("making a file in {}", tree.display()), made);
    }
    let writable = ["/tmp", "/dev/shm", &task.account.home];
    for source in ["/usr/bin/env", "/usr/bin/id", "/etc/shells"].map(Path::new) {
        if !source.is_file() || !is_below(source, task) {
            continue;
        }
        let beside = source.parent().unwrap_or(source);
        for target in writable.iter().map(Path::new).chain([beside]).filter(|target| target.is_dir()) {
            let path = unused(target);
            let linked = fs::hard_link(source, &path);
            if linked.is_ok() {
                tries.undo(fs::remove_file(&path));
            }
            tries.fail(format_args!("linking {} into {}", source.display(), target.display()), linked);
        }
    }
}

/// Whether a path lies in a tree that is read-only for the tenant.
fn is_below(path: &Path, task: &Task) -> bool {
    let above = task.mounts.iter().filter(|planned| path.starts_with(&planned.at));
    above.max_by_key(|planned| planned.at.len()).is_some_and(|planned| planned.flags.iter().any(|flag| flag == "ro"))
}

pub(super) fn devices(task: &Task, tries: &mut Tries) {
    match fs::read_dir("/dev") {
        Err(error) => tries.unknown("listing /dev", error.into()),
        Ok(entries) => {
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                node(&name, &entry, task, tries);
            }
        }
    }
    match fs::read_dir("/dev/pts") {
        Err(error) => tries.unknown("listing /dev/pts", error.into()),
        Ok(entries) => {
            for entry in entries.flatten() {
                let Ok(found) = entry.metadata() else { continue };
                let number = (major(found.rdev()), minor(found.rdev()));
                let right = PTS_MAJORS.contains(&number.0) || number == (5, 2);
                tries.expect(entry.path().display(), right, format_args!("device {number:?}"));
            }
        }
    }
    for directory in ["/tmp", "/dev/shm", "/run", "/var/tmp", &task.account.home].map(Path::new) {
        if !directory.is_dir() {
            continue;
        }
        let path = unused(directory);
        let tried = format!("making a node in {}", directory.display());
        match attempt::make_node(&path) {
            Err(errno) => tries.add(tried, format_args!("refused: {errno}"), Verdict::Held),
            Ok(_made) => {
                let opened = File::open(&path);
                tries.undo(fs::remove_file(&path));
                tries.fail(format_args!("{tried}, which worked, and opening it"), opened);
            }
        }
    }
}

fn node(name: &str, entry: &fs::DirEntry, task: &Task, tries: &mut Tries) {
    let Ok(found) = entry.metadata() else { return };
    let kind = found.file_type();
    if kind.is_char_device() || kind.is_block_device() {
        let number = (major(found.rdev()), minor(found.rdev()));
        let fuse = task.granted.iter().any(|set| set == "fuse").then_some(FUSE);
        let mut nodes = NODES.iter().copied().chain(fuse);
        let listed = nodes.any(|(node, major, minor)| node == name && (major, minor) == number);
        tries.expect(format_args!("/dev/{name}"), listed && kind.is_char_device(), format_args!("device {number:?}"));
    } else {
        tries.expect(format_args!("/dev/{name}"), OTHERS.contains(&name), "no device");
    }
}

/// As the kernel packs device numbers for user space (makedev(3)).
fn major(device: u64) -> u64 {
    (device >> 8) & 0xfff | (device >> 32) & !0xfff
}

fn minor(device: u64) -> u64 {
    device & 0xff | (device >> 12) & !0xff
}

pub(super) fn hidden(task: &Task, tries: &mut Tries) {
    for hidden in &task.hidden {
        match Path::new(&hidden.path).symlink_metadata() {
            Err(error) => tries.add(&hidden.path, Errno::from(error), Verdict::Held),
            Ok(found) => {
                let same = (found.dev(), found.ino()) == (hidden.device, hidden.inode);
                tries.expect(&hidden.path, !same, if same { "it is the host's" } else { "one of the tenant's own" });
            }
        }
    }
    let Some(homes) = &task.homes else {
        tries.not_applicable("/home", "it is in the tenant's own tree");
        return;
    };
    let mounted =
        task.mounts.iter().any(|planned| planned.kind == MountKind::Shows && planned.at.starts_with("/home/"));
    match fs::read_dir("/home") {
        Err(error) if !mounted => tries.add("/home", format_args!("{}", Errno::from(error)), Verdict::Held),
        Err(error) => tries.unknown("/home", error.into()),
        Ok(entries) => {
            let names: Vec<_> =
                entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            tries.expect("/home", names == *homes, names.join(" "));
        }
    }
}
