//! What only the host can see of a cell: ids, namespaces, groups, and who may trace what.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::base::{Result, TenantName, fail};
use crate::config::settings::{Network, Tenant};
use crate::jail::{Cells, Groups, RunningCell};
use crate::sys::{file, process::Pid};
use crate::wire::verify::{Attempt, Check, Finding, Verdict};

/// All kinds of namespace of a cell.
const KINDS: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

/// Longest file in `/proc` that is read here.
const MAX_FILE: usize = 64 << 10;

/// The namespaces of the cells that ran when the run began: kind and inode, and whose.
#[derive(Debug, Default)]
pub struct Neighbours {
    by_namespace: HashMap<String, (TenantName, Pid)>,
}

impl Neighbours {
    /// Of all cells that run now: a few hundred bytes each.
    pub fn gather(cells: &Cells) -> Result<Self> {
        let mut by_namespace = HashMap::new();
        for RunningCell { name, pid, started: _, pidfd: _ } in cells.running()? {
            for kind in KINDS {
                if let Some(link) = namespace(pid, kind) {
                    by_namespace.insert(link, (name.clone(), pid));
                }
            }
        }
        Ok(Self { by_namespace })
    }

    /// Who else is in this namespace, still: inodes of namespaces that have ended are used again.
    fn other(&self, link: &str, kind: &str, own: &TenantName) -> Option<&TenantName> {
        let (name, pid) = self.by_namespace.get(link)?;
        (name != own && namespace(*pid, kind).as_deref() == Some(link)).then_some(name)
    }
}

/// The two processes of a cell that are looked at, as the host counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspect {
    /// pid 1.
    pub init: Pid,
    /// The probe.
    pub probe: Pid,
}

impl Suspect {
    /// The probe is a child of init's, known by its pid in the cell.
    pub(super) fn find(init: Pid, inside: Pid) -> Result<Self> {
        let entries = fs::read_dir("/proc").map_err(|error| fail("listing", "/proc", error))?;
        for entry in entries.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<Pid>().ok()) else { continue };
            let Some(status) = text(pid, "status") else { continue };
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let parent = field("PPid").and_then(|value| value.trim().parse().ok());
            let pid_there = field("NSpid").and_then(|value| value.split_whitespace().last()?.parse().ok());
            if (parent, pid_there) == (Some(init), Some(inside)) {
                return Ok(Self { init, probe: pid });
            }
        }
        Err(fail("looking for", "the probe", "it has gone"))
    }
}

/// All checks that are made from outside.
pub fn look(cells: &Cells, tenant: &Tenant, suspect: Suspect, neighbours: &Neighbours) -> Result<Vec<Finding>> {
    let range = cells.ids().allot(&tenant.name, tenant.jail.ids)?;
    Ok(vec![
        finding(Check::IdMap, id_map(suspect, range.first, range.count)),
        finding(Check::OwnNamespaces, own_namespaces(suspect, tenant, neighbours)),
        finding(Check::OwnCgroup, own_cgroup(suspect, &tenant.name, &cells.facts().groups)),
        finding(Check::InitClosed, init_closed(suspect)),
        finding(Check::OomOutside, oom_score(suspect)),
    ])
}

fn finding(check: Check, attempts: Vec<Attempt>) -> Finding {
    Finding { check, attempts }
}

fn attempt(tried: impl Into<String>, right: bool, happened: impl Into<String>) -> Attempt {
    let verdict = if right { Verdict::Held } else { Verdict::Escaped };
    Attempt { tried: tried.into(), happened: happened.into(), verdict }
}

fn text(pid: Pid, name: &str) -> Option<String> {
    let bytes = file::read_capped(Path::new(&format!("/proc/{pid}/{name}")), MAX_FILE).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn namespace(pid: Pid, kind: &str) -> Option<String> {
    Some(fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()?.display().to_string())
}

/// One line, and the tenant's own range in it.
fn id_map(suspect: Suspect, first: u32, count: u32) -> Vec<Attempt> {
    let wanted = format!("0 {first} {count}");
    let look = |kind: &str| {
        let map = text(suspect.init, kind).unwrap_or_default();
        let map = map.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        let map = map.collect::<Vec<_>>().join("; ");
        attempt(format!("{kind}, range {first}+{count}"), map == wanted, map)
    };
    vec![look("uid_map"), look("gid_map")]
}

fn own_namespaces(suspect: Suspect, tenant: &Tenant, neighbours: &Neighbours) -> Vec<Attempt> {
    let look = |kind: &&str| {
        let Some(own) = namespace(suspect.init, kind) else {
            let happened = "it cannot be read".into();
            return Attempt { tried: (*kind).to_owned(), happened, verdict: Verdict::Unknown };
        };
        let of_host = [format!("/proc/self/ns/{kind}"), format!("/proc/1/ns/{kind}")];
        let shared = of_host.iter().any(|path| fs::read_link(path).is_ok_and(|link| link.display().to_string() == own));
        if shared && *kind == "net" && tenant.jail.network == Network::Host {
            let happened = "the host's: the class has network = \"host\"".into();
            return Attempt { tried: (*kind).to_owned(), happened, verdict: Verdict::NotApplicable };
        }
        let with_probe = namespace(suspect.probe, kind).as_deref() == Some(&own);
        let neighbour = neighbours.other(&own, kind, &tenant.name);
        let happened = match (shared, neighbour, with_probe) {
            (true, ..) => "it is the host's".to_owned(),
            (_, Some(name), _) => format!("it is that of {name} too"),
            (_, _, false) => "the probe is in another".to_owned(),
            (false, None, true) => own.clone(),
        };
        attempt(*kind, !shared && neighbour.is_none() && with_probe, happened)
    };
    KINDS.iter().map(look).collect()
}

fn own_cgroup(suspect: Suspect, tenant: &TenantName, groups: &Groups) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    let hierarchies: Vec<(String, &PathBuf)> = match groups {
        Groups::V1(all) => all.iter().map(|(controller, path)| (controller.clone(), path)).collect(),
        Groups::V2(path) => vec![(String::new(), path)],
    };
    for (controller, parent) in hierarchies {
        let group = parent.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let own = format!("/{group}/{tenant}");
        for (who, pid, below) in [("pid 1", suspect.init, ""), ("the probe", suspect.probe, "/sessions")] {
            let lines = text(pid, "cgroup").unwrap_or_default();
            let path = lines.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                let listed = fields.next()?.split(',').any(|name| name == controller);
                listed.then(|| fields.next())?
            });
            let path = path.unwrap_or_default().to_owned();
            let wanted = format!("{own}{below}/");
            let right = format!("{path}/").contains(&wanted);
            let shown = if controller.is_empty() { "cgroup" } else { &controller };
            attempts.push(attempt(format!("{who}, {shown}"), right, path));
        }
    }
    attempts
}

/// The kernel gives `/proc/PID` of a process that cannot be dumped to root of the user namespace
/// that its program's file belongs to: of the host's, where that file is unreadable.
fn init_closed(suspect: Suspect) -> Vec<Attempt> {
    let look = |(who, pid): (&str, Pid)| match fs::metadata(format!("/proc/{pid}/environ")) {
        Err(error) => Attempt { tried: who.into(), happened: error.to_string(), verdict: Verdict::Unknown },
        Ok(found) => attempt(who, (found.uid(), found.gid()) == (0, 0), format!("owner {}", found.uid())),
    };
    [("pid 1", suspect.init), ("the probe", suspect.probe)].into_iter().map(look).collect()
}

fn oom_score(suspect: Suspect) -> Vec<Attempt> {
    let score = text(suspect.probe, "oom_score_adj").unwrap_or_default();
    vec![attempt("oom_score_adj of the probe", score.trim() == "0", score.trim())]
}
