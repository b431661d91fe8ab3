//! Control groups: which hierarchies, which controllers, and whether systemd shares them.

use std::{path::Path, process::Command};

use super::sshd::output_of;
use crate::doctor::facts::{Delegation, Groups, Mode};
use crate::sys::cgroup;
use crate::sys::file::read_capped;

/// Longest table of mounts, and list of controllers.
const MAX_TABLE: usize = 64 << 20;
const MAX_LIST: usize = 4096;

/// Controllers that limits are set in.
const CONTROLLERS: [&str; 4] = ["memory", "pids", "cpu", "io"];

/// Our unit.
const UNIT: &str = "cellblock.service";

pub(super) fn gather() -> Groups {
    let table = read_capped(Path::new("/proc/self/mounts"), MAX_TABLE).unwrap_or_default();
    let Mounted { v1, v2 } = mounted(&String::from_utf8_lossy(&table));
    let v2 = v2.filter(|path| cgroup::is_version_2(Path::new(path)) == Ok(true));
    let there = v2.as_deref().map(|path| list(&Path::new(path).join("cgroup.controllers"))).unwrap_or_default();
    let mode = match (v1.is_empty(), v2.is_some()) {
        (true, true) => Mode::V2,
        (false, true) => Mode::Hybrid,
        (false, false) => Mode::V1,
        (true, false) => Mode::None,
    };
    let controllers = match mode {
        Mode::V2 => there,
        Mode::V1 | Mode::Hybrid | Mode::None => v1.iter().map(|(controller, _)| controller.clone()).collect(),
    };
    let places: Vec<&str> = match mode {
        Mode::V2 => v2.as_deref().into_iter().collect(),
        Mode::V1 | Mode::Hybrid | Mode::None => v1.iter().map(|(_, at)| at.as_str()).collect(),
    };
    let writable = places.iter().all(|at| is_writable(&String::from_utf8_lossy(&table), at));
    Groups { mode, controllers, writable, delegation: delegation() }
}

/// What `/proc/self/mounts` names: v1 hierarchies by controller, and a v2 one.
struct Mounted {
    v1: Vec<(String, String)>,
    v2: Option<String>,
}

fn mounted(table: &str) -> Mounted {
    let mut found = Mounted { v1: Vec::new(), v2: None };
    for line in table.lines() {
        let mut fields = line.split(' ').skip(1);
        let (Some(at), Some(kind), Some(options)) = (fields.next(), fields.next(), fields.next()) else { continue };
        match kind {
            "cgroup2" => found.v2 = found.v2.or_else(|| Some(at.to_owned())),
            "cgroup" => {
                let known = options.split(',').filter(|option| CONTROLLERS.contains(option));
                found.v1.extend(known.map(|controller| (controller.to_owned(), at.to_owned())));
            }
            _other => {}
        }
    }
    found
}

/// In containers the hierarchy is often mounted read-only, for root as well.
fn is_writable(table: &str, at: &str) -> bool {
    let fields = |line: &str| -> Option<(String, bool)> {
        let mut fields = line.split(' ').skip(1);
        let (place, options) = (fields.next()?, fields.nth(1)?);
        Some((place.to_owned(), options.split(',').any(|option| option == "rw")))
    };
    // The last that was mounted there is the one that is seen.
    table.lines().rev().filter_map(fields).find(|(place, _)| place == at).is_some_and(|(_, writable)| writable)
}

fn list(path: &Path) -> Vec<String> {
    let bytes = read_capped(path, MAX_LIST).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.split_ascii_whitespace().filter(|name| CONTROLLERS.contains(name)).map(str::to_owned).collect()
}

fn delegation() -> Delegation {
    // sd_booted(3).
    if !Path::new("/run/systemd/system").is_dir() {
        return Delegation::NoSystemd;
    }
    let mut command = Command::new("systemctl");
    command.args(["show", "--property=LoadState,Delegate,DelegateSubgroup", UNIT]);
    match output_of(&mut command) {
        Ok(text) => delegated(&text),
        Err(why) => Delegation::Unseen(format!("systemctl show {UNIT}: {why}")),
    }
}

/// What `systemctl show` says.
fn delegated(text: &str) -> Delegation {
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    match (value("LoadState"), value("Delegate"), value("DelegateSubgroup")) {
        (Some("loaded"), Some("yes"), Some(leaf)) if !leaf.is_empty() => Delegation::Delegated,
        (Some("loaded"), Some("yes"), _) => Delegation::WithoutLeaf,
        (Some("loaded"), _, _) => Delegation::Undelegated,
        (Some(_), _, _) => Delegation::NoUnit,
        (None, _, _) => Delegation::Unseen(format!("systemctl show {UNIT}: it says nothing of it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_told_apart() {
        let hybrid = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
                      cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 ro,nosuid 0 0\n";
        let Mounted { v1, v2 } = mounted(hybrid);
        assert_eq!(v1, [("cpu".to_owned(), "/sys/fs/cgroup/cpu,cpuacct".to_owned())]);
        assert_eq!(v2.as_deref(), Some("/sys/fs/cgroup/unified"));
        assert!(is_writable(hybrid, "/sys/fs/cgroup/cpu,cpuacct") && !is_writable(hybrid, "/sys/fs/cgroup/unified"));
    }

    #[test]
    fn what_systemd_says_of_our_unit_is_understood() {
        assert_eq!(delegated("LoadState=not-found\nDelegate=no\n"), Delegation::NoUnit);
        assert_eq!(delegated("LoadState=loaded\nDelegate=no\n"), Delegation::Undelegated);
        assert_eq!(delegated("LoadState=loaded\nDelegate=yes\n"), Delegation::WithoutLeaf);
        assert_eq!(delegated("LoadState=loaded\nDelegate=yes\nDelegateSubgroup=listener\n"), Delegation::Delegated);
    }
}
