//! Everything that a door may leave behind, as a value that can be compared.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{Door, patience, procfs, until};

/// Spares that a listener keeps, unless no tenant's cell can be one.
const STOCK: usize = 2;

/// What a door holds at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Its processes, the tenants' included.
    pub processes: Vec<String>,
    /// Spare cells. As many wait in the end as in the beginning, whatever was taken meanwhile.
    pub spares: usize,
    /// Descriptors of the listener.
    pub listener_fds: usize,
    /// Namespaces of its processes that are not the host's.
    pub namespaces: usize,
    /// Mounts in the host's namespace that lie in its directory or mention it.
    pub mounts: Vec<String>,
    /// cgroups of its tenants.
    pub cgroups: BTreeSet<PathBuf>,
    /// Entries of its `run_dir`.
    pub run_entries: BTreeSet<PathBuf>,
}

impl Counts {
    pub(super) fn of(door: &Door) -> Self {
        let host = procfs::namespaces(std::process::id() as i32);
        let mut processes = Vec::new();
        let mut namespaces = BTreeSet::new();
        for pid in door.processes() {
            processes.push(format!("{} {}", procfs::name(pid), procfs::cmdline(pid)));
            namespaces.extend(procfs::namespaces(pid).difference(&host).cloned());
        }
        processes.sort();
        let dir = door.dir.path().display().to_string();
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounts = mountinfo.lines().filter(|line| line.contains(&dir)).map(str::to_owned).collect();
        let mut run_entries = BTreeSet::new();
        walk(&door.run_dir(), &mut run_entries, &|_| true);
        let mut cgroups = BTreeSet::new();
        walk(Path::new("/sys/fs/cgroup"), &mut cgroups, &|path| path.is_dir());
        // Not the door's own directory, which comes with the first cell and stays.
        let own = door.cgroup_name();
        cgroups.retain(|path| {
            path.parent().is_some_and(|above| above.components().any(|part| part.as_os_str() == own.as_str()))
        });
        Self {
            processes,
            spares: door.spares().len(),
            listener_fds: procfs::descriptors(door.listener()),
            namespaces: namespaces.len(),
            mounts,
            cgroups,
            run_entries,
        }
    }
}

fn walk(dir: &Path, found: &mut BTreeSet<PathBuf>, keep: &dyn Fn(&Path) -> bool) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if !keep(&path) {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, found, keep);
        }
        found.insert(path);
    }
}

impl Door {
    /// What it holds now, once its spares wait: one that is being made looks like a cell.
    pub fn counts(&self) -> Counts {
        // Where cgroup v2 is all there is none are made.
        if Path::new("/sys/fs/cgroup/pids").exists() {
            until(patience(2), || self.spares().len() == STOCK);
        }
        Counts::of(self)
    }

    /// Waits until it holds what it held before, and fails the test if it never does.
    pub fn returns_to(&self, before: &Counts) {
        until(patience(20), || self.counts() == *before);
        assert_eq!(self.counts(), *before, "something was left behind\n{}", self.log());
    }
}
