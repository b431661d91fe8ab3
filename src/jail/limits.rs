//! From a tenant's limits to what is written into control groups, and to what the tenant reads of
//! them. Pure.
//!
//! Bounds go to the `sessions` leaf, beside init's: init can fork, and is no victim of the OOM
//! killer, whatever the sessions do (docs/kernel.md, H).

use std::{collections::BTreeMap, path::Path};

use crate::base::{Bytes, Failure, TenantName, fail};
use crate::config::settings::{Enforce, Jail, Limits, Tenant};

use super::controls::{Control, Controls};
use super::plan::Outside;

/// The kernel's period for `limits.cpu`, in microseconds: its default in v1 and v2.
const PERIOD: u64 = 100_000;

/// The weight that v1 calls 1024 shares.
const ORDINARY_WEIGHT: u64 = 100;

/// What a config can ask of the host, by its key: what can do it, and whether it is asked.
fn demands(limits: &Limits) -> [(&'static str, Control, bool); 11] {
    [
        ("limits.memory", Control::Memory, true),
        ("limits.memory_high", Control::MemoryHigh, limits.memory_high.is_some()),
        ("limits.swap", Control::Swap, true),
        ("limits.pids", Control::Pids, true),
        ("limits.cpu", Control::Cpu, true),
        ("limits.cpu_weight", Control::Cpu, limits.cpu_weight.is_some()),
        ("limits.io_read", Control::Io, limits.io_read.is_some()),
        ("limits.io_write", Control::Io, limits.io_write.is_some()),
        ("limits.io_read_iops", Control::Io, limits.io_read_iops.is_some()),
        ("limits.io_write_iops", Control::Io, limits.io_write_iops.is_some()),
        ("limits.io_weight", Control::IoWeight, limits.io_weight.is_some()),
    ]
}

/// The keys that are set and that this host cannot enforce.
#[must_use]
pub fn unmet(limits: &Limits, controls: &Controls) -> Vec<&'static str> {
    let asked = demands(limits).into_iter().filter(|(_, control, asked)| *asked && !controls.meets(*control));
    asked.map(|(key, _, _)| key).collect()
}

/// The keys that a tenant goes without; an error if it may not.
pub(super) fn forgone(name: &TenantName, limits: &Limits, controls: &Controls) -> Result<Vec<&'static str>, Failure> {
    let unmet = unmet(limits, controls);
    match limits.enforce {
        Enforce::Strict if !unmet.is_empty() => {
            let cause = format!("this host cannot enforce {}", unmet.join(", "));
            Err(fail("limiting", name, cause).hint(
                "boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1), leave these keys out, \
                 or set limits.enforce = \"best-effort\" to go without",
            ))
        }
        Enforce::Strict | Enforce::BestEffort => Ok(unmet),
    }
}

/// A line for each set of limits that this host cannot enforce: whose they are, and what comes of it.
#[must_use]
pub fn review(tenants: impl Iterator<Item = Tenant>, controls: &Controls) -> Vec<String> {
    let mut found: BTreeMap<(bool, Vec<&'static str>), (TenantName, u64)> = BTreeMap::new();
    for tenant in tenants {
        let limits = &tenant.jail.limits;
        let unmet = unmet(limits, controls);
        if !unmet.is_empty() {
            let refused = limits.enforce == Enforce::Strict;
            found.entry((refused, unmet)).or_insert((tenant.name, 0)).1 += 1;
        }
    }
    let line = |((refused, unmet), (first, count)): (_, (TenantName, u64))| {
        let unmet: Vec<&str> = unmet;
        let (who, verb) = match (count, refused) {
            (1, true) => (format!("{first} is"), "refused"),
            (1, false) => (format!("{first} goes"), "without"),
            (_, true) => (format!("{first} and {} more tenants are", count - 1), "refused"),
            (_, false) => (format!("{first} and {} more tenants go", count - 1), "without"),
        };
        format!("this host cannot enforce {}: {who} {verb}", unmet.join(", "))
    };
    found.into_iter().map(line).collect()
}

/// What is written for one v1 hierarchy, in this order. Weights go to the tenant's own group, which
/// is the one that stands beside other tenants'.
pub(super) fn v1(limits: &Limits, controls: &Controls, controller: &str, own: &Path) -> Vec<Outside> {
    let sessions = own.join("sessions");
    let set = |file: &str, value: String| Outside::SetGroup { file: sessions.join(file), value };
    let mut ops = Vec::new();
    match controller {
        "memory" => {
            ops.push(set("memory.limit_in_bytes", limits.memory.0.to_string()));
            if controls.has(Control::Swap) {
                let both = limits.memory.0.saturating_add(limits.swap.0);
                ops.push(set("memory.memsw.limit_in_bytes", both.to_string()));
            }
        }
        "pids" => ops.push(set("pids.max", limits.pids.to_string())),
        "cpu" => {
            ops.push(set("cpu.cfs_quota_us", quota(limits).to_string()));
            ops.extend(limits.cpu_weight.map(|weight| {
                let shares = u64::from(weight) * 1024 / ORDINARY_WEIGHT;
                Outside::SetGroup { file: own.join("cpu.shares"), value: shares.max(2).to_string() }
            }));
        }
        _other => {}
    }
    ops
}

/// What is written for v2, once init is in its leaf: a group whose controllers are on holds no process.
pub(super) fn v2(limits: &Limits, controls: &Controls, own: &Path, disks: &[String]) -> Vec<Outside> {
    let io = controls.has(Control::Io) && demands(limits).iter().any(|(key, _, asked)| *asked && key.contains(".io_"));
    let wanted = [
        ("+memory", controls.has(Control::Memory)),
        ("+pids", controls.has(Control::Pids)),
        ("+cpu", controls.has(Control::Cpu)),
        ("+io", io),
    ];
    let on: Vec<&str> = wanted.into_iter().filter(|(_, on)| *on).map(|(word, _)| word).collect();
    let sessions = own.join("sessions");
    let set = |file: &str, value: String| Outside::SetGroup { file: sessions.join(file), value };
    let mut ops = Vec::new();
    if !on.is_empty() {
        ops.push(Outside::SetGroup { file: own.join("cgroup.subtree_control"), value: on.join(" ") });
    }
    if controls.has(Control::Memory) {
        ops.push(set("memory.max", limits.memory.0.to_string()));
        let brink = controls.has(Control::MemoryHigh).then(|| brink(limits.memory));
        ops.extend(limits.memory_high.or(brink).map(|high| set("memory.high", high.0.to_string())));
        if controls.has(Control::Swap) {
            ops.push(set("memory.swap.max", limits.swap.0.to_string()));
        }
    }
    if controls.has(Control::Pids) {
        ops.push(set("pids.max", limits.pids.to_string()));
    }
    if controls.has(Control::Cpu) {
        ops.push(set("cpu.max", format!("{} {PERIOD}", quota(limits))));
        let file = own.join("cpu.weight");
        ops.extend(limits.cpu_weight.map(|weight| Outside::SetGroup { file, value: weight.to_string() }));
    }
    if io {
        let rates = io_rates(limits);
        ops.extend(disks.iter().filter(|_| !rates.is_empty()).map(|disk| set("io.max", format!("{disk}{rates}"))));
        if let (Some(weight), Some(file)) = (limits.io_weight, controls.io_weight_file()) {
            ops.push(Outside::SetGroup { file: own.join(file), value: format!("default {weight}") });
        }
    }
    ops
}

/// Shortly before memory runs out: init is told when somebody takes more from here on. At the end itself the kernel
/// tells when it has killed already, and by the time that init looks, the victim's parent may have buried it.
/// From here on the kernel takes pages of files back with each quarter of a MiB, and holds up whoever is further above
/// than an eightieth of it. So it is near: at a thirty-second, a program whose own pages were taken back each time got
/// no further for minutes, neither to the end nor anywhere else.
fn brink(memory: Bytes) -> Bytes {
    Bytes(memory.0.saturating_sub((memory.0 / 128).min(4 << 20)))
}

fn quota(limits: &Limits) -> u64 {
    u64::from(limits.cpu.thousandths()) * PERIOD / 1000
}

fn io_rates(limits: &Limits) -> String {
    let rates = [
        ("rbps", limits.io_read.map(|rate| rate.0)),
        ("wbps", limits.io_write.map(|rate| rate.0)),
        ("riops", limits.io_read_iops.map(u64::from)),
        ("wiops", limits.io_write_iops.map(u64::from)),
    ];
    rates.into_iter().filter_map(|(name, rate)| Some(format!(" {name}={}", rate?))).collect()
}

/// What `/run/cellblock/limits` says: TOML, with the keys of the config.
pub(super) fn board(jail: &Jail, controls: &Controls) -> String {
    let limits = &jail.limits;
    let unmet = unmet(limits, controls);
    let size = |bytes: Bytes| format!("\"{bytes}\"");
    let rows: [(&str, Option<String>); 16] = [
        ("memory", Some(size(limits.memory))),
        ("memory_high", limits.memory_high.map(size)),
        ("swap", Some(size(limits.swap))),
        ("pids", Some(limits.pids.to_string())),
        ("cpu", Some(limits.cpu.to_string())),
        ("cpu_weight", limits.cpu_weight.map(|weight| weight.to_string())),
        ("io_read", limits.io_read.map(size)),
        ("io_write", limits.io_write.map(size)),
        ("io_read_iops", limits.io_read_iops.map(|rate| rate.to_string())),
        ("io_write_iops", limits.io_write_iops.map(|rate| rate.to_string())),
        ("io_weight", limits.io_weight.map(|weight| weight.to_string())),
        ("tmp", Some(size(limits.tmp))),
        ("run", Some(size(limits.run))),
        ("shm", Some(size(limits.shm))),
        ("nofile", Some(limits.nofile.to_string())),
        ("core", Some(size(limits.core))),
    ];
    let mut text = String::from("# For all of your sessions together; nofile and core for each process.\n");
    for (key, value) in rows.into_iter().filter_map(|(key, value)| Some((key, value?))) {
        let forgone = unmet.iter().any(|unmet| unmet.strip_prefix("limits.") == Some(key));
        text.push_str(&format!("{key} = {value}{}\n", if forgone { "  # not enforced on this host" } else { "" }));
    }
    text.push_str(&format!("max_sessions = {}\nmax_connections = {}\n", jail.max_sessions, jail.max_connections));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Cores;

    fn written(ops: &[Outside]) -> Vec<String> {
        ops.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn v1_gets_memory_swap_processes_and_quota() {
        let limits = Limits { cpu: Cores::from_thousandths(500), cpu_weight: Some(50), ..Limits::default() };
        let all = Controls::new([Control::Memory, Control::Swap, Control::Pids, Control::Cpu], true);
        let ops: Vec<Outside> =
            ["memory", "pids", "cpu"].iter().flat_map(|name| v1(&limits, &all, name, Path::new("/g"))).collect();
        let expected = [
            "write 536870912 to /g/sessions/memory.limit_in_bytes",
            "write 536870912 to /g/sessions/memory.memsw.limit_in_bytes",
            "write 256 to /g/sessions/pids.max",
            "write 50000 to /g/sessions/cpu.cfs_quota_us",
            "write 512 to /g/cpu.shares",
        ];
        assert_eq!(written(&ops), expected);
        assert_eq!(unmet(&limits, &all), Vec::<&str>::new());
    }

    #[test]
    fn v2_gets_the_same_and_rates_for_each_disk() {
        let limits = Limits {
            memory_high: Some(Bytes(400 << 20)),
            io_read: Some(Bytes(1 << 20)),
            io_write_iops: Some(100),
            ..Limits::default()
        };
        let all = [Control::Memory, Control::MemoryHigh, Control::Swap, Control::Pids, Control::Cpu, Control::Io];
        let ops = v2(&limits, &Controls::new(all, true), Path::new("/g"), &["8:0".into(), "8:16".into()]);
        let expected = [
            "write +memory +pids +cpu +io to /g/cgroup.subtree_control",
            "write 536870912 to /g/sessions/memory.max",
            "write 419430400 to /g/sessions/memory.high",
            "write 0 to /g/sessions/memory.swap.max",
            "write 256 to /g/sessions/pids.max",
            "write 100000 100000 to /g/sessions/cpu.max",
            "write 8:0 rbps=1048576 wiops=100 to /g/sessions/io.max",
            "write 8:16 rbps=1048576 wiops=100 to /g/sessions/io.max",
        ];
        assert_eq!(written(&ops), expected);
    }

    #[test]
    fn init_is_told_shortly_before_the_end_of_all_memory() {
        assert_eq!(brink(Bytes(64 << 20)), Bytes((64 << 20) - (512 << 10)));
        assert_eq!(brink(Bytes(1 << 30)), Bytes(1020 << 20));
        let controls = |all: &[Control]| Controls::new(all.iter().copied(), true);
        let on = |controls: &Controls| written(&v2(&Limits::default(), controls, Path::new("/g"), &[]));
        let both = on(&controls(&[Control::Memory, Control::MemoryHigh]));
        assert!(both.contains(&"write 532676608 to /g/sessions/memory.high".to_owned()), "{both:?}");
        assert!(on(&controls(&[Control::Memory])).iter().all(|op| !op.contains("memory.high")));
    }

    #[test]
    fn what_a_host_cannot_enforce_is_refused_or_by_choice_reported() {
        let name: TenantName = "alice".parse().unwrap();
        let mut limits = Limits { io_weight: Some(10), ..Limits::default() };
        let some = Controls::new([Control::Memory, Control::Pids], true);
        let refused = forgone(&name, &limits, &some).unwrap_err().to_string();
        assert!(refused.contains("cannot enforce limits.swap, limits.cpu, limits.io_weight"), "{refused}");
        limits.enforce = Enforce::BestEffort;
        assert_eq!(forgone(&name, &limits, &some).unwrap(), ["limits.swap", "limits.cpu", "limits.io_weight"]);
        // Without swap there is nothing to limit.
        let swapless = Controls::new([Control::Memory, Control::Pids, Control::Cpu], false);
        assert_eq!(forgone(&name, &Limits::default(), &swapless).unwrap(), Vec::<&str>::new());
    }
}
