//! A tenant's control groups: made for each start, entered by init and by each session, removed
//! when the cell has ended. Runs in monitors, in the child that becomes init, and in the listener.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::{FileExt as _, chown},
    },
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use tracing::warn;

use crate::base::{Failure, Result, escape, fail};
use crate::sys::{
    Errno, cgroup,
    mount::{self, Extent, attributes},
    process::Pid,
};

use super::{
    controls::Controls,
    facts::{Groups, read_host_file},
    readback,
};

/// How long the kernel may take to forget the last process of a group after its cell has ended.
const REMOVE_TRIES: u32 = 20;
const REMOVE_PAUSE: Duration = Duration::from_millis(5);

/// What is read back of a setting: `io.max` has a line of less than 100 bytes for each of 64 disks at
/// most (`controls::MAX_DISKS`).
const MAX_SETTING: usize = 8 << 10;

/// How a cell sees its group.
const SHOWN: u64 = attributes::READ_ONLY | attributes::NO_SUID | attributes::NO_DEV | attributes::NO_EXEC;

/// Controllers that limits are set in.
const V2_CONTROLLERS: [&str; 4] = ["memory", "pids", "cpu", "io"];

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

/// What the child needs of the group at `path`: the file to join init's group by, which on v2 lies
/// in a leaf; what init moves sessions by; and the tree that shows it, read-only.
///
/// By files, for the kernel asks who opened them: root of the host, which init is not.
pub(super) fn lend(path: &Path, v2: bool) -> Result<[OwnedFd; 3]> {
    let [init, sessions] = LEAVES.map(|leaf| path.join(leaf));
    let failed = |errno: Errno| fail("taking the control group", path.display(), errno);
    let shown = mount::clone_tree_at(path, Extent::All).map_err(failed)?;
    mount::make_private(shown.as_fd(), Extent::All).map_err(failed)?;
    mount::set_attributes(shown.as_fd(), SHOWN, Extent::All).map_err(failed)?;
    let (own, sessions) = if v2 {
        (open_to_join(&init.join("cgroup.procs"))?, open_directory(&sessions)?)
    } else {
        (open_to_join(&path.join("tasks"))?, open_to_join(&sessions.join("tasks"))?)
    };
    Ok([own.into(), sessions.into(), shown])
}

/// Moves a process into the v2 group at `path`.
pub(super) fn move_in(path: &Path, pid: Pid) -> Result<()> {
    set(&path.join("cgroup.procs"), &pid.to_string())
}

/// Opens a file that a process writes `0` to in order to join.
fn open_to_join(path: &Path) -> Result<File> {
    OpenOptions::new().write(true).open(path).map_err(|error| failed("opening", path, &error))
}

/// Writes a limit, or which controllers are on, into a file of a group, and reads it back: an error
/// if the kernel holds something else.
pub(super) fn set(file: &Path, value: &str) -> Result<()> {
    let failed = |error: io::Error| failed("writing", file, &error).hint(format!("the value is {value}"));
    let mut opened = OpenOptions::new().read(true).write(true).open(file).map_err(failed)?;
    opened.write_all(value.as_bytes()).map_err(failed)?;
    let mut held = [0; MAX_SETTING];
    let length = opened.read_at(&mut held, 0).map_err(failed)?;
    let held = String::from_utf8_lossy(held.get(..length).unwrap_or_default());
    if readback::holds(file, value, &held) {
        return Ok(());
    }
    let held = escape(held.trim());
    Err(fail("setting", file.display(), format_args!("{value} was written, and the kernel holds {held:?}"))
        .hint("set a limit that this kernel keeps as it is written"))
}

/// Has the kernel tell when the v1 memory group at `path` runs out of memory.
pub(super) fn watch_memory(path: &Path) -> Result<OwnedFd> {
    let (oom, events) = (path.join("memory.oom_control"), path.join("cgroup.event_control"));
    let oom = File::open(&oom).map_err(|error| failed("opening", &oom, &error))?;
    let control = OpenOptions::new().write(true).open(&events).map_err(|error| failed("opening", &events, &error))?;
    cgroup::watch_oom(oom.as_fd(), control.as_fd()).map_err(|errno| fail("writing", events.display(), errno))
}

/// v2: makes the directory that all of a door's groups lie in, and switches controllers on for it
/// and, in it, for tenants. Gives what can be enforced. v1: nothing to do.
pub(super) fn prepare(groups: &Groups) -> Result<Option<Controls>> {
    let Groups::V2(own) = groups else { return Ok(None) };
    let home = own.parent().unwrap_or(own);
    make(own)?;
    for group in [home, own.as_path()] {
        let there = read_host_file(&group.join("cgroup.controllers"))?;
        let control = group.join("cgroup.subtree_control");
        for controller in there.split_ascii_whitespace().filter(|name| V2_CONTROLLERS.contains(name)) {
            // One at a time: a kernel may refuse cpu where real-time processes run (cgroup-v2.rst).
            if let Err(failure) = set(&control, &format!("+{controller}")) {
                warn!("{failure}");
            }
        }
    }
    Controls::of_v2(&read_host_file(&own.join("cgroup.subtree_control"))?, home).map(Some)
}

/// Opens the v2 group's directory.
pub(super) fn open_directory(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| failed("opening", path, &error))
}

/// Removes the groups of the tenant `name` in every hierarchy; that there are none is fine.
pub(super) fn remove(groups: &Groups, name: &str) -> Result<()> {
    for parent in parents(groups) {
        remove_own(&parent.join(name))?;
        if matches!(groups, Groups::V2(_)) {
            // Its controllers were switched on once, by the listener.
            continue;
        }
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

/// Removes a tenant's group and its leaves. On v2, what is still in there is killed: the end of a
/// cell's pid 1 has killed all of it already, but for a child that was not yet one of its.
pub(super) fn remove_own(own: &Path) -> Result<()> {
    match OpenOptions::new().write(true).open(own.join("cgroup.kill")) {
        Ok(mut kill) => kill.write_all(b"1").map_err(|error| failed("ending what is in", own, &error))?,
        // v1, or before Linux 5.14, or no group.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("ending what is in", own, &error)),
    }
    for leaf in LEAVES {
        remove_one(&own.join(leaf))?;
    }
    remove_one(own)
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
