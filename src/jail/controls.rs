//! What this host's control groups can hold a tenant to. Looked at by the listener, once; changes
//! nothing.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::base::{Result, fail};

use super::facts::{Groups, read_host_file};

/// Something that a host can enforce, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Control {
    /// A bound on memory.
    Memory,
    /// A mark from which memory is taken back.
    MemoryHigh,
    /// A bound on swap.
    Swap,
    /// A bound on processes.
    Pids,
    /// A quota and a weight of processor time.
    Cpu,
    /// Rates per disk.
    Io,
    /// A weight on busy disks.
    IoWeight,
}

/// Everything that a host can enforce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controls {
    there: BTreeSet<Control>,
    has_swap: bool,
    /// Where a weight is written, by the scheduler that honours it.
    io_weight_file: Option<&'static str>,
}

/// More disks than limits are written for: each costs a write at the start of every cell that has rates.
const MAX_DISKS: usize = 64;

impl Controls {
    /// These; `has_swap` says whether there is swap space to be bounded.
    pub fn new(there: impl IntoIterator<Item = Control>, has_swap: bool) -> Self {
        Self { there: there.into_iter().collect(), has_swap, io_weight_file: None }
    }

    /// These, and one more.
    pub(super) fn and(mut self, control: Control) -> Self {
        self.there.insert(control);
        self
    }

    /// Whether the host has what is needed for it.
    #[must_use]
    pub fn has(&self, control: Control) -> bool {
        self.there.contains(&control)
    }

    /// Whether what `control` is to prevent cannot happen.
    #[must_use]
    pub fn meets(&self, control: Control) -> bool {
        self.has(control) || control == Control::Swap && !self.has_swap
    }

    pub(super) fn io_weight_file(&self) -> Option<&'static str> {
        self.io_weight_file
    }

    /// Looks at the host.
    pub(super) fn gather(groups: &Groups) -> Result<Self> {
        match groups {
            Groups::V1(hierarchies) => Self::of_v1(hierarchies),
            Groups::V2(own) => {
                let home = own.parent().unwrap_or(own);
                Self::of_v2(&read_host_file(&home.join("cgroup.controllers"))?, home)
            }
        }
    }

    fn of_v1(hierarchies: &[(String, PathBuf)]) -> Result<Self> {
        let mut there = Vec::new();
        for (controller, own) in hierarchies {
            let root = own.parent().unwrap_or(own);
            match controller.as_str() {
                "memory" => {
                    there.push(Control::Memory);
                    // Missing where the kernel does not account swap (`swapaccount=0`).
                    if root.join("memory.memsw.limit_in_bytes").exists() {
                        there.push(Control::Swap);
                    }
                }
                "pids" => there.push(Control::Pids),
                "cpu" if root.join("cpu.cfs_quota_us").exists() => there.push(Control::Cpu),
                _other => {}
            }
        }
        Ok(Self::new(there, has_swap()?))
    }

    /// From the words of a v2 file that lists controllers, below `home`.
    pub(super) fn of_v2(listed: &str, home: &Path) -> Result<Self> {
        let mut there = Vec::new();
        for controller in listed.split_ascii_whitespace() {
            match controller {
                "memory" => {
                    there.extend([Control::Memory, Control::MemoryHigh]);
                    if accounts_swap(home)? {
                        there.push(Control::Swap);
                    }
                }
                "pids" => there.push(Control::Pids),
                "cpu" => there.push(Control::Cpu),
                "io" => there.push(Control::Io),
                _other => {}
            }
        }
        let mut controls = Self::new(there, has_swap()?);
        if controls.has(Control::Io) {
            controls.io_weight_file = io_weight_file(home)?;
            if controls.io_weight_file.is_some() {
                controls.there.insert(Control::IoWeight);
            }
        }
        Ok(controls)
    }
}

fn has_swap() -> Result<bool> {
    // The first line is a heading.
    Ok(read_host_file(Path::new("/proc/swaps"))?.lines().count() > 1)
}

/// The root group has no such file; whoever has groups below it shows whether they do.
fn accounts_swap(home: &Path) -> Result<bool> {
    let mut seen = None;
    let entries = fs::read_dir(home).map_err(|error| fail("listing", home.display(), error))?;
    for entry in entries {
        let path = entry.map_err(|error| fail("listing", home.display(), error))?.path();
        if path.join("memory.current").exists() {
            seen = Some(path.join("memory.swap.max").exists());
        }
    }
    Ok(seen.unwrap_or(true))
}

/// A weight does nothing unless a disk has bfq as its scheduler, or iocost is on for one
/// (Documentation/admin-guide/cgroup-v2.rst, io.cost.qos).
fn io_weight_file(home: &Path) -> Result<Option<&'static str>> {
    let root = home.ancestors().find(|path| path.join("io.cost.qos").exists());
    if let Some(root) = root
        && read_host_file(&root.join("io.cost.qos"))?.contains("enable=1")
    {
        return Ok(Some("io.weight"));
    }
    for name in disk_names()? {
        if read_host_file(&Path::new("/sys/block").join(name).join("queue/scheduler"))?.contains("[bfq]") {
            return Ok(Some("io.bfq.weight"));
        }
    }
    Ok(None)
}

/// The disks that rates are set on, as `MAJOR:MINOR`: all that hold something.
pub(super) fn disks() -> Result<Vec<String>> {
    let mut disks = Vec::new();
    for name in disk_names()? {
        let block = Path::new("/sys/block").join(name);
        if read_host_file(&block.join("size"))?.trim() != "0" {
            disks.push(read_host_file(&block.join("dev"))?.trim().to_owned());
        }
    }
    disks.truncate(MAX_DISKS);
    Ok(disks)
}

fn disk_names() -> Result<Vec<String>> {
    let path = Path::new("/sys/block");
    let failed = |error| fail("listing", path.display(), error);
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        // Memory is limited as memory.
        if !name.starts_with("ram") && !name.starts_with("zram") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_needs_no_limit_where_there_is_none() {
        assert!(Controls::new([], false).meets(Control::Swap));
        assert!(!Controls::new([], true).meets(Control::Swap));
        assert!(!Controls::new([], false).meets(Control::Pids));
        assert!(Controls::new([Control::Pids], true).meets(Control::Pids));
    }
}
