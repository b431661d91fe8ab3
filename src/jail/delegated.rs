//! Control groups for the cells of an ordinary user: below a group that systemd has delegated to what it started
//! (`Delegate=`, systemd.resource-control(5)), as `systemd-run --user --scope -p Delegate=yes` has it do.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use crate::base::Result;
use crate::sys::process::{self, Pid};

use super::{
    cgroups,
    facts::{Groups, own_group, read_host_file},
};

/// Where whoever makes cells lies: a group holds processes, or groups with controllers (cgroups(7), "no internal
/// processes").
const MAKERS: &str = "own";

/// Where the cells' groups lie beside it.
const CELLS: &str = "cellblock";

/// Takes over the group that the calling process lies in, if that is its user's, and nothing else lies there; the
/// process moves into a leaf of it. Otherwise, or where that is not allowed, there are no groups.
pub(super) fn take() -> Result<Groups> {
    let read = |path: &str| read_host_file(Path::new(path));
    let own = own_group(&read("/proc/self/mounts")?, &read("/proc/self/cgroup")?);
    let Some(own) = own else { return Ok(none()) };
    if let Some(home) = own.parent().filter(|parent| own.ends_with(MAKERS) && is_ours(parent)) {
        return Ok(if holds(home, "")? { Groups::V2(home.join(CELLS)) } else { none() });
    }
    // Whoever else lies there keeps controllers from being switched on, and is not ours to move.
    let alone = is_ours(&own) && holds(&own, &process::own_pid().to_string())?;
    Ok(if alone && move_to(&own.join(MAKERS)).is_ok() && holds(&own, "")? {
        Groups::V2(own.join(CELLS))
    } else {
        none()
    })
}

/// Whether the cell with this pid 1 lies in a group that was made so.
pub(super) fn holds_cell(init: Pid) -> Result<bool> {
    let place = read_host_file(&Path::new("/proc").join(init.to_string()).join("cgroup"))?;
    let lies_in = |path: &str| Path::new(path).ancestors().nth(2).is_some_and(|above| above.ends_with(CELLS));
    Ok(place.lines().filter_map(|line| line.strip_prefix("0::")).any(lies_in))
}

/// Whether these processes lie in a group, and no others.
fn holds(group: &Path, processes: &str) -> Result<bool> {
    Ok(read_host_file(&group.join("cgroup.procs"))?.trim() == processes)
}

fn move_to(leaf: &Path) -> Result<()> {
    cgroups::make(leaf)?;
    cgroups::move_in(leaf, process::own_pid())
}

/// No groups at all.
pub(super) fn none() -> Groups {
    Groups::V1(Vec::new())
}

/// Whether a group was handed over to the user of this process. Owners say that: a user's own manager leaves no mark of
/// what it delegates (systemd 252), as the system's does.
fn is_ours(group: &Path) -> bool {
    fs::metadata(group).is_ok_and(|found| found.uid() == process::effective_uid())
}
