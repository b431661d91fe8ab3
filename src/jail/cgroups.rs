//! A tenant's control groups: made for each start, entered by init and by each session, removed
//! when the cell has ended. Runs in monitors, in the child that becomes init, and in the listener.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{fd::AsFd as _, unix::fs::chown},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::base::{Failure, Result, fail};
use crate::sys::cgroup;

use super::facts::Groups;

/// How long the kernel may take to forget the last process of a group after its cell has ended.
const REMOVE_TRIES: u32 = 20;
const REMOVE_PAUSE: Duration = Duration::from_millis(5);

/// The leaves of a tenant's group.
const LEAVES: [&str; 2] = ["init", "sessions"];

/// Makes the group at `path` and those above it.
pub(super) fn make(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path).map_err(|error| failed("making the control group", path, &error))
        }
        Err(error) => Err(failed("making the control group", path, &error)),
    }
}

/// Lets the cell's root start processes in the v2 group at `path` (`CLONE_INTO_CGROUP` asks for
/// write access to `cgroup.procs`); the cell sees it mounted read-only.
pub(super) fn give(path: &Path, uid: u32) -> Result<()> {
    let procs = path.join("cgroup.procs");
    chown(&procs, Some(uid), None).map_err(|error| failed("giving away", &procs, &error))
}

/// Moves the calling process, which has one thread, into the v1 group at `path`.
pub(super) fn join(path: &Path) -> Result<()> {
    let tasks = open_tasks(path)?;
    cgroup::join(tasks.as_fd()).map_err(|errno| fail("joining the control group", path.display(), errno))
}

/// Opens the v1 group's `tasks`, which a process writes `0` to in order to join. The kernel asks
/// that whoever opens it is root of the host, which init, later, is not.
pub(super) fn open_tasks(path: &Path) -> Result<File> {
    let tasks = path.join("tasks");
    OpenOptions::new().write(true).open(&tasks).map_err(|error| failed("opening", &tasks, &error))
}

/// Opens the v2 group's `cgroup.procs`, which a process writes `0` to in order to join.
pub(super) fn open_procs(path: &Path) -> Result<File> {
    let procs = path.join("cgroup.procs");
    OpenOptions::new().write(true).open(&procs).map_err(|error| failed("opening", &procs, &error))
}

/// Opens the v2 group's directory.
pub(super) fn open_directory(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| failed("opening", path, &error))
}

/// Removes the groups of the tenant `name` in every hierarchy; that there are none is fine.
pub(super) fn remove(groups: &Groups, name: &str) -> Result<()> {
    for parent in parents(groups) {
        let own = parent.join(name);
        for leaf in LEAVES {
            remove_one(&own.join(leaf))?;
        }
        remove_one(&own)?;
        // While others have groups it stays: not an error.
        match fs::remove_dir(&parent) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty
                ) => {}
            Err(error) => return Err(failed("removing the control group", &parent, &error)),
        }
    }
    Ok(())
}

/// Names that have a group somewhere.
pub(super) fn names(groups: &Groups) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for parent in parents(groups) {
        let entries = match fs::read_dir(&parent) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed("listing", &parent, &error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| failed("listing", &parent, &error))?;
            let is_group = entry.file_type().map_err(|error| failed("listing", &parent, &error))?.is_dir();
            if let (true, Ok(name)) = (is_group, entry.file_name().into_string()) {
                names.push(name);
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

fn parents(groups: &Groups) -> Vec<PathBuf> {
    match groups {
        Groups::V1(hierarchies) => hierarchies.iter().map(|(_, own)| own.clone()).collect(),
        Groups::V2(own) => vec![own.clone()],
    }
}

fn remove_one(path: &Path) -> Result<()> {
    let mut tries = REMOVE_TRIES;
    loop {
        match fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && tries > 0 => {
                tries -= 1;
                thread::sleep(REMOVE_PAUSE);
            }
            Err(error) => return Err(failed("removing the control group", path, &error)),
        }
    }
}

fn failed(doing: &'static str, path: &Path, error: &io::Error) -> Failure {
    fail(doing, path.display(), error)
}
