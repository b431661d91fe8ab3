//! The kernel: its version, settings, and what can be made.

use std::{collections::BTreeMap, os::fd::AsFd as _, path::Path};

use super::{Eyes, NEEDS_ROOT};
use crate::base::{escape, escape_bytes};
use crate::doctor::facts::{Kernel, Landlock, Seen};
use crate::doctor::judge::SYSCTLS;
use crate::sys::file::read_capped;
use crate::sys::process::{self, Forked, namespaces};
use crate::sys::{Errno, SysResult, support};

/// Longest setting: a core pattern has at most 128 bytes.
const MAX_SETTING: usize = 4096;

/// Every namespace that a cell has.
const KINDS: [(&str, u64); 7] = [
    ("user", namespaces::USER),
    ("mount", namespaces::MOUNT),
    ("pid", namespaces::PID),
    ("net", namespaces::NET),
    ("ipc", namespaces::IPC),
    ("uts", namespaces::UTS),
    ("cgroup", namespaces::CGROUP),
];

pub(super) fn gather(eyes: Eyes) -> Kernel {
    Kernel {
        release: escape(&support::kernel_release()),
        sysctls: SYSCTLS.iter().map(|name| (*name, sysctl(name))).collect::<BTreeMap<_, _>>(),
        missing_namespaces: match eyes {
            Eyes::Roots => Seen::Is(missing_namespaces()),
            Eyes::Others => Seen::Unseen(NEEDS_ROOT.into()),
        },
        seccomp: match setting(Path::new("/proc/sys/kernel/seccomp/actions_avail")) {
            Seen::Is(text) => Seen::Is(text.split_ascii_whitespace().map(str::to_owned).collect()),
            Seen::Absent => Seen::Absent,
            Seen::Unseen(why) => Seen::Unseen(why),
        },
        landlock: match support::landlock_version() {
            Ok(version) => Landlock::Version(version),
            Err(Errno::ENOSYS) => Landlock::NotBuilt,
            Err(Errno::ENOTSUP) => Landlock::SwitchedOff,
            Err(errno) => Landlock::Unseen(errno.to_string()),
        },
    }
}

fn sysctl(name: &str) -> Seen<String> {
    setting(&Path::new("/proc/sys").join(name.replace('.', "/")))
}

/// A file of the kernel's; root's own words, but escaped all the same.
fn setting(path: &Path) -> Seen<String> {
    match read_capped(path, MAX_SETTING) {
        Ok(bytes) => Seen::Is(escape_bytes(bytes.trim_ascii())),
        Err(Errno::ENOENT) => Seen::Absent,
        Err(errno) => Seen::Unseen(format!("{}: {errno}", path.display())),
    }
}

fn missing_namespaces() -> Vec<(&'static str, String)> {
    let all = KINDS.iter().fold(0, |all, (_, kind)| all | kind);
    let Err(together) = try_namespaces(all) else { return Vec::new() };
    let alone =
        |(name, kind): &(&'static str, u64)| try_namespaces(*kind).err().map(|errno| (*name, errno.to_string()));
    let missing: Vec<_> = KINDS.iter().filter_map(alone).collect();
    if missing.is_empty() { vec![("all at once", together.to_string())] } else { missing }
}

/// A process in these namespaces, which ends at once.
fn try_namespaces(kinds: u64) -> SysResult<()> {
    match process::clone_into(kinds, None)? {
        Forked::Child => process::exit_now(0),
        Forked::Parent { pidfd, .. } => process::wait_for(pidfd.as_fd()).map(|_ended| ()),
    }
}
