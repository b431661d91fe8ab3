//! What the probe is told: the jail as it was planned. Pure, but for a look at what must stay hidden.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::config::settings::{self, CallSet, Root, Server, Tenant, kept_of_all};
use crate::jail::{Controls, Inside, Outside, Plan, unmet};
use crate::wire::init::Start;
use crate::wire::verify::{Hidden, Limits, Mount, MountKind, Network, Task};

use super::Verifier;

/// Sizes are rounded up to whole pages.
const PAGE: u64 = 4096;

/// What a mount must be, in `mountinfo`'s words.
const HOST: [&str; 3] = ["ro", "nosuid", "nodev"];
const DEVICES: [&str; 3] = ["ro", "nosuid", "noexec"];
const LOCKED: [&str; 4] = ["ro", "nosuid", "nodev", "noexec"];

pub(super) fn of(tenant: &Tenant, plan: &Plan, start: &Start, verifier: &Verifier<'_>) -> Task {
    let mounts = mounts(plan);
    let homes = match tenant.jail.root {
        Root::Host => Some(homes(&mounts)),
        Root::Directory(_) => None,
    };
    Task {
        account: start.account.clone(),
        environment: start.environment.iter().map(|(name, _)| name.clone()).collect(),
        mounts,
        hostname: tenant.jail.hostname.clone(),
        homes,
        hidden: hidden(verifier.server),
        network: match tenant.jail.network {
            settings::Network::None => Network::Own,
            settings::Network::Host => Network::Host,
        },
        granted: tenant.jail.syscalls.iter().map(|set| granted(*set).to_owned()).collect(),
        limits: limits(&tenant.jail.limits, &verifier.cells.facts().controls, plan),
        bombs: verifier.bombs,
        init: 1,
    }
}

/// A set of calls, as the probe knows it.
fn granted(set: CallSet) -> &'static str {
    match set {
        CallSet::Debug => "debug",
        CallSet::Fuse => "fuse",
        CallSet::IoUring => "io_uring",
        CallSet::Nesting => "nesting",
        CallSet::Ping => "ping",
    }
}

/// A tenant goes without what this host cannot enforce only where the class says so: else their
/// cell does not start.
fn limits(limits: &settings::Limits, controls: &Controls, plan: &Plan) -> Limits {
    let forgone: Vec<String> = unmet(limits, controls).into_iter().map(str::to_owned).collect();
    let met = |key: &str| !forgone.iter().any(|forgone| forgone == key);
    Limits {
        pids: met("limits.pids").then(|| limits.pids.into()),
        memory: (met("limits.memory") && met("limits.swap")).then(|| limits.memory.0.saturating_add(limits.swap.0)),
        tmpfs: sizes(plan),
        forgone,
    }
}

/// Every mount that the plan makes, with what it must at least be.
fn mounts(plan: &Plan) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for op in done_inside(plan) {
        let Some((at, flags, kind)) = planned(plan, op) else { continue };
        mounts.push(Mount { at: absolute(at), flags: flags.into_iter().map(str::to_owned).collect(), kind });
    }
    mounts
}

/// What the child does, whether it knows yet whose cell it will be or not.
fn done_inside(plan: &Plan) -> impl Iterator<Item = &Inside> {
    plan.ahead.iter().chain(&plan.inside)
}

/// Where an operation mounts something, what that must at least be, and what for.
#[expect(clippy::wildcard_enum_match_arm, reason = "an operation that mounts nothing is none of ours")]
fn planned<'a>(plan: &Plan, op: &'a Inside) -> Option<(&'a Path, Vec<&'static str>, MountKind)> {
    let root = Path::new("");
    Some(match op {
        Inside::RootFromTree { tree: _, writable: true } => (root, vec!["nodev"], MountKind::Shows),
        Inside::RootFromTree { tree: _, writable: false } => (root, vec!["ro", "nodev"], MountKind::Shows),
        Inside::RootFromNothing { .. } => (root, vec!["nosuid", "nodev"], MountKind::Shows),
        Inside::Attach { at, read_only: true, .. } => (at, LOCKED.to_vec(), MountKind::Shows),
        Inside::Attach { tree, at, .. } => (at, attached(plan, *tree, at), MountKind::Shows),
        Inside::Mount { kind, at, exec, read_only, .. } => (at, created(kind, *exec, *read_only), MountKind::Shows),
        Inside::Board { at, .. } => (at, LOCKED.to_vec(), MountKind::Shows),
        Inside::ReadOnly { path } => (path, LOCKED.to_vec(), MountKind::Locks),
        Inside::Cover { path, .. } => (path, vec!["ro"], MountKind::Covers),
        _mounts_nothing => return None,
    })
}

/// A part of the host view keeps what it has there; a tenant's own tree has nodev alone.
fn attached(plan: &Plan, tree: usize, at: &Path) -> Vec<&'static str> {
    let of_host = done_inside(plan).any(|op| matches!(op, Inside::TakeHost { tree: taken, name: _ } if *taken == tree));
    if plan.outside.iter().any(|op| matches!(op, Outside::LendGroup { tree: lent, .. } if *lent == tree)) {
        return LOCKED.to_vec();
    }
    match (of_host, at == Path::new("dev")) {
        (true, true) => DEVICES.to_vec(),
        (true, false) => HOST.to_vec(),
        (false, _) => vec!["nodev"],
    }
}

fn created(kind: &str, exec: bool, read_only: bool) -> Vec<&'static str> {
    let mut flags = vec!["nosuid"];
    if kind != "devpts" {
        flags.push("nodev");
    }
    if !exec {
        flags.push("noexec");
    }
    if read_only {
        flags.push("ro");
    }
    flags
}

fn absolute(path: &Path) -> String {
    Path::new("/").join(path).display().to_string()
}

/// Names directly below `/home`.
fn homes(mounts: &[Mount]) -> Vec<String> {
    let below = mounts.iter().filter_map(|mount| Path::new(&mount.at).strip_prefix("/home").ok());
    let mut names: Vec<_> =
        below.filter_map(|rest| Some(rest.components().next()?.as_os_str().to_string_lossy().into_owned())).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What is cellblock's own on the host. That a path is missing there is nothing to hide.
fn hidden(server: &Server) -> Vec<Hidden> {
    let mut paths = vec![
        server.run_dir.clone(),
        server.state_dir.clone(),
        kept_of_all(&server.state_dir),
        server.audit_log.clone(),
        PathBuf::from("/etc/shadow"),
    ];
    paths.extend(server.host_keys.iter().cloned());
    let found = paths.into_iter().filter_map(|path| {
        let meta = fs::symlink_metadata(&path).ok()?;
        Some(Hidden { path: path.display().to_string(), device: meta.dev(), inode: meta.ino() })
    });
    found.collect()
}

/// The file systems in memory that a tenant can write to.
fn sizes(plan: &Plan) -> Vec<(String, u64)> {
    let mounts = done_inside(plan).filter_map(|op| {
        let Inside::Mount { kind, at, options, read_only: false, .. } = op else { return None };
        let size = options.iter().find_map(|(key, value)| (*key == "size").then(|| value.parse().ok())?)?;
        (kind == "tmpfs").then(|| (absolute(at), u64::next_multiple_of(size, PAGE)))
    });
    mounts.collect()
}
