//! From settings to a plan. Pure: the same tenant, ids and facts give the same plan.

use std::{
    cmp::Ordering,
    path::{Path, PathBuf},
};

use crate::base::Bytes;
use crate::config::settings::{CallSet, Jail, Network, Root, Tenant, User, kept};
use crate::sys::landlock;

use super::{
    Facts, IdRange, Plan,
    etc::{self, TTY_GROUP},
    facts::{Groups, LentKind, Rights},
    host, limits,
    plan::{Before, Cloning, Fill, Inside, Leaf, Mask, Outside, Tree, owner_in},
};

/// Capabilities (capabilities(7)) that init needs for itself, whatever the tenant has: to hand
/// terminals and pipes over (CHOWN), signal (KILL), change ids (SETGID, SETUID) and cut bounding
/// sets (SETPCAP).
const INIT_CAPABILITIES: u64 = 1 << 0 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8;

/// CAP_SYS_ADMIN, which undoes mounts: no cell keeps it (docs/kernel.md, A).
const SYS_ADMIN: u64 = 1 << 21;

/// What one cell may have of what the host counts for all cells together: the kernel charges it to
/// the owner of the user namespace too (user_namespaces(7), `/proc/sys/user`). Inotify for a few
/// editors and `tail -f`.
const BOUNDS: [(&str, u32); 2] = [("max_inotify_instances", 64), ("max_inotify_watches", 65_536)];

/// Terminals of a cell besides one for each session: tmux and the like. All terminals of the host
/// are counted together (`kernel.pty.max`).
const MORE_TERMINALS: u32 = 64;

/// User namespaces at once below a cell with `nesting`: containers and sandboxes of one tenant.
const NESTED: u32 = 64;

/// Room for what root writes into the root of a `root = "host"` cell.
const HOST_ROOT_SIZE: Bytes = Bytes(16 << 20);

/// Parts of `/proc` that only root of the host may write to, if anybody.
const PROC_READ_ONLY: [&str; 5] = ["bus", "fs", "irq", PROC_SYS, "sysrq-trigger"];
/// The one that is written to first.
const PROC_SYS: &str = "sys";

/// Parts of `/proc` and `/sys` that tell about the host.
const COVERED: [(&str, Mask); 9] = [
    ("proc/acpi", Mask::Directory),
    ("proc/kcore", Mask::File),
    ("proc/keys", Mask::File),
    ("proc/latency_stats", Mask::File),
    ("proc/sched_debug", Mask::File),
    ("proc/scsi", Mask::Directory),
    ("proc/timer_list", Mask::File),
    ("sys/firmware", Mask::Directory),
    ("sys/devices/virtual/powercap", Mask::Directory),
];

/// What will be done to make a cell for `tenant`.
#[must_use]
pub fn plan(tenant: &Tenant, ids: IdRange, facts: &Facts) -> Plan {
    let (ahead, trees) = ahead(&Kind::of(&tenant.jail), facts);
    let mut planner = Planner {
        tenant,
        jail: &tenant.jail,
        facts,
        trees,
        before: Vec::new(),
        clone: Vec::new(),
        outside: Vec::new(),
        groups: Vec::new(),
    };
    let inside = planner.inside(ids);
    let Planner { before, clone, outside, .. } = planner;
    let mut plan = Plan { name: tenant.name.clone(), before, clone, ahead, outside, inside, takes_spare: false };
    plan.takes_spare = takes_spare(&plan, facts);
    plan
}

/// How to clone a spare whose user namespace is to be `owner`'s, and what it does before it is
/// taken. `None` where no plan takes one.
pub(super) fn spare(facts: &Facts, owner: u32) -> Option<(Vec<Cloning>, Vec<Inside>)> {
    let takes = matches!(facts.groups, Groups::V1(_));
    takes.then(|| (clone(None, owner, facts), ahead(&ORDINARY, facts).0))
}

/// Whether a child that the listener made ahead of time will do: v2 clones into the tenant's group,
/// and what a spare has done by then is what most tenants need, not all.
pub(super) fn takes_spare(plan: &Plan, facts: &Facts) -> bool {
    let spare = owner_in(&plan.clone).and_then(|owner| spare(facts, owner));
    spare.is_some_and(|(clone, ahead)| plan.clone == clone && plan.ahead == ahead)
}

/// To make the child, and what can only be set from outside.
fn clone(group: Option<PathBuf>, owner: u32, facts: &Facts) -> Vec<Cloning> {
    let mut ops = vec![Cloning::Clone { group, owner }];
    if facts.oom_adjusted {
        ops.push(Cloning::ResetOomScore);
    }
    // What an ordinary user was given, they may not better; they gave it to themselves, or root did.
    if facts.rights == Rights::Root {
        ops.push(Cloning::ResetPriority);
    }
    ops
}

/// What a tenant's class changes of what is done before it is known whose the cell will be.
struct Kind {
    own_network: bool,
    devices: &'static str,
    nested: u32,
    /// Whether the groups that may ping are written once the ids are there.
    pings: bool,
}

/// What spares are.
const ORDINARY: Kind = Kind { own_network: true, devices: host::DEVICES, nested: 0, pings: false };

impl Kind {
    fn of(jail: &Jail) -> Self {
        let has = |set| jail.syscalls.contains(&set);
        let own_network = jail.network == Network::None;
        Self {
            own_network,
            devices: if has(CallSet::Fuse) { host::DEVICES_WITH_FUSE } else { host::DEVICES },
            nested: if has(CallSet::Nesting) { NESTED } else { 0 },
            // The host's range is the host's business, and its own user namespace's to set.
            pings: own_network && has(CallSet::Ping),
        }
    }
}

/// What a child does before it knows whose it will be, and how many trees it has taken: `/dev`,
/// `/proc`, `/sys` and the parts of them that are read-only or covered, on the stage.
fn ahead(kind: &Kind, facts: &Facts) -> (Vec<Inside>, Tree) {
    let (dev, empty, groups, host_sys) = (1, 2, 3, 4);
    let attach = |tree, at: &str, read_only| Inside::Attach { tree, at: at.into(), file: false, read_only };
    let take = |tree, name: &str| Inside::TakeHost { tree, name: name.into() };
    let mut ops = vec![Inside::Leave { network: kind.own_network }];
    if kind.own_network {
        ops.push(Inside::LoopbackUp);
    }
    ops.extend([take(dev, kind.devices), take(empty, "empty"), attach(dev, "dev", false)]);
    ops.extend([mount("mqueue", "dev/mqueue", &[]), mount("proc", "proc", &[])]);
    ops.extend(BOUNDS.map(|(name, most)| Inside::Bound { name: name.to_owned(), most }));
    ops.push(Inside::Bound { name: "max_user_namespaces".to_owned(), most: kind.nested });
    let locked = PROC_READ_ONLY.into_iter().filter(|name| !(kind.pings && *name == PROC_SYS));
    ops.extend(locked.map(|name| Inside::ReadOnly { path: Path::new("proc").join(name) }));
    if kind.own_network {
        let (kind, at) = ("sysfs".into(), "sys".into());
        ops.push(Inside::Mount { kind, at, options: Vec::new(), exec: false, read_only: true });
    } else {
        // docs/kernel.md, 6: an own sysfs needs an own network namespace.
        ops.extend([take(host_sys, "sys"), attach(host_sys, "sys", true)]);
    }
    ops.extend(COVERED.map(|(path, with)| Inside::Cover { path: path.into(), with, empty }));
    if matches!(facts.groups, Groups::V1(_)) {
        ops.extend([take(groups, "cgroup"), attach(groups, "sys/fs/cgroup", false)]);
    }
    (ops, host_sys)
}

struct Planner<'a> {
    tenant: &'a Tenant,
    jail: &'a Jail,
    facts: &'a Facts,
    trees: Tree,
    before: Vec<Before>,
    clone: Vec<Cloning>,
    outside: Vec<Outside>,
    /// What the monitor does about groups while the child mounts.
    groups: Vec<Outside>,
}

impl Planner<'_> {
    fn inside(&mut self, ids: IdRange) -> Vec<Inside> {
        let mut early = vec![Inside::HostName(self.jail.hostname.clone())];
        let mut root = Vec::new();
        let (joining, group_trees) = self.groups(ids);
        let shifted = self.root(&mut early, &mut root, ids);

        match self.facts.rights {
            Rights::Root => {
                self.outside.push(Outside::MapIds(ids));
                self.outside.extend(shifted.into_iter().map(|tree| Outside::Shift { tree }));
            }
            // The trees have the tenant's owners already: to shift them takes the host's root.
            Rights::Lender => self.outside.push(Outside::MapIds(ids)),
            // The trees belong to the user already.
            Rights::User { others: 0 } => self.outside.push(Outside::MapOne { id: self.jail.user.id() }),
            Rights::User { others } => self.outside.push(Outside::MapAround { id: self.jail.user.id(), others }),
        }
        self.outside.push(Outside::Release);
        self.outside.append(&mut self.groups);

        early.push(Inside::AwaitMonitor);
        early.push(if self.facts.rights.are_of_one_id() {
            Inside::BecomeOnly { id: self.jail.user.id() }
        } else {
            Inside::BecomeRoot
        });
        if Kind::of(self.jail).pings {
            let last = self.jail.ids.saturating_sub(1);
            early.extend([Inside::PingGroups { last }, Inside::ReadOnly { path: Path::new("proc").join(PROC_SYS) }]);
        }
        early.extend(root);
        early.extend(["dev", "proc", "sys"].map(|at| Inside::Settle { at: at.into() }));
        let limits = &self.jail.limits;
        early.extend([
            terminals(self.jail.max_sessions.saturating_add(MORE_TERMINALS), self.facts.rights),
            tmpfs("dev/shm", limits.shm, "1777", false),
            tmpfs("tmp", limits.tmp, "1777", true),
            tmpfs("run", limits.run, "0755", true),
            Inside::Board { at: "run/cellblock".into(), limits: limits::board(self.jail, &self.facts.controls) },
        ]);
        early.extend(joining);
        for (controller, tree) in group_trees {
            // The one of v2 has no name, and `join` would leave a slash.
            let groups = Path::new("sys/fs/cgroup");
            let at = if controller.is_empty() { groups.to_owned() } else { groups.join(controller) };
            early.push(Inside::Attach { tree, at, file: false, read_only: false });
        }
        early.extend([Inside::Pivot, Inside::ResetTraits]);
        if self.jail.network == Network::Host && self.facts.landlock >= landlock::SCOPES {
            early.push(Inside::KeepToItself);
        }
        early.push(Inside::LimitCalls(self.jail.syscalls.clone()));
        if !self.jail.no_new_privs {
            early.push(Inside::KeepForInit);
        }
        let most = self.jail.capabilities | self.jail.carried();
        early.extend([Inside::KeepBoundingSet(INIT_CAPABILITIES | most & !SYS_ADMIN), Inside::BecomeInit]);
        early
    }

    /// The tenant's control groups. Gives what the child does about them, and the trees that show
    /// them, by controller.
    fn groups(&mut self, ids: IdRange) -> (Vec<Inside>, Vec<(String, Tree)>) {
        match &self.facts.groups {
            Groups::V1(hierarchies) => self.v1_groups(hierarchies, ids),
            Groups::V2(mount) => self.v2_groups(mount, ids),
        }
    }

    /// The clone. Where the host's root does not serve, processes are bounded by it, whatever groups there are.
    fn clone(&mut self, group: Option<PathBuf>, ids: IdRange) {
        self.clone = clone(group, ids.first, self.facts);
        let more = match self.facts.rights {
            Rights::Root => return,
            // init.
            Rights::Lender => 1,
            // And one, so that what a session is held to by itself (`enter/rootless.rs`) is less.
            Rights::User { .. } => 2,
        };
        self.clone.push(Cloning::BoundProcesses { most: self.jail.limits.pids.saturating_add(more) });
    }

    /// v1: made while the child mounts. The cell's view of its groups starts where init is; v1 allows
    /// processes beside a group below.
    fn v1_groups(&mut self, hierarchies: &[(String, PathBuf)], ids: IdRange) -> (Vec<Inside>, Vec<(String, Tree)>) {
        self.clone(None, ids);
        let (mut lends, mut watches, mut shown) = (Vec::new(), Vec::new(), Vec::new());
        for (controller, mount) in hierarchies {
            let init = mount.join(self.tenant.name.as_str());
            let sessions = init.join("sessions");
            self.groups.push(Outside::MakeGroup { path: init.clone(), leaf: Leaf::Init });
            self.groups.push(Outside::MakeGroup { path: sessions.clone(), leaf: Leaf::Sessions });
            self.groups.extend(limits::v1(&self.jail.limits, &self.facts.controls, controller, &init));
            let tree = self.next_tree();
            lends.push(Outside::LendGroup { tree, path: init, v2: false });
            if controller == "memory" {
                watches.push(Outside::WatchMemory { path: sessions });
            }
            shown.push((controller.clone(), tree));
        }
        let mut joining = vec![Inside::AwaitGroups { count: lends.len() }];
        joining.extend(watches.iter().map(|_watched| Inside::AwaitMemory));
        joining.extend([Inside::JoinGroups, Inside::LeaveGroups]);
        self.groups.push(Outside::WriteDown);
        self.groups.extend(lends);
        self.groups.extend(watches);
        (joining, shown)
    }

    /// v2: made before the clone, which puts the child into its group.
    fn v2_groups(&mut self, mount: &Path, ids: IdRange) -> (Vec<Inside>, Vec<(String, Tree)>) {
        let own = mount.join(self.tenant.name.as_str());
        let (init, sessions) = (own.join("init"), own.join("sessions"));
        self.before.push(Before::MakeGroup { path: init.clone(), leaf: Leaf::Init });
        self.before.push(Before::MakeGroup { path: sessions.clone(), leaf: Leaf::Sessions });
        // CLONE_INTO_CGROUP asks about the group and the closest one above both.
        self.before.push(Before::GiveGroup { path: own.clone(), uid: ids.first });
        self.before.push(Before::GiveGroup { path: sessions, uid: ids.first });
        // The cgroup namespace starts where the clone is put. It must hold both leaves: with
        // nsdelegate (systemd) no process moves to where its namespace does not reach.
        self.clone(Some(own.clone()), ids);
        let tree = self.next_tree();
        self.groups.push(Outside::MoveIn { path: init });
        self.groups.extend(limits::v2(&self.jail.limits, &self.facts.controls, &own, &self.facts.disks));
        self.groups.extend([Outside::WriteDown, Outside::LendGroup { tree, path: own, v2: true }]);
        (vec![Inside::AwaitGroups { count: 1 }], vec![(String::new(), tree)])
    }

    /// The root and what is mounted in it for the tenant; gives the trees whose owners are shifted.
    fn root(&mut self, early: &mut Vec<Inside>, root: &mut Vec<Inside>, ids: IdRange) -> Vec<Tree> {
        match &self.jail.root {
            Root::Directory(source) => {
                let tree = self.take(source.clone());
                root.push(Inside::RootFromTree { tree, writable: true });
                vec![tree]
            }
            Root::Host => {
                root.push(Inside::RootFromNothing { size: HOST_ROOT_SIZE });
                self.host_programs(early, root);
                self.host_etc(early, root);
                self.own_directories(root, ids)
            }
        }
    }

    fn host_programs(&mut self, early: &mut Vec<Inside>, root: &mut Vec<Inside>) {
        for name in &self.facts.real {
            let tree = self.next_tree();
            early.push(Inside::TakeHost { tree, name: name.into() });
            root.push(Inside::Attach { tree, at: name.into(), file: false, read_only: false });
        }
        for (name, target) in &self.facts.linked {
            root.push(Inside::Symlink { path: name.into(), target: target.clone() });
        }
    }

    fn host_etc(&mut self, early: &mut Vec<Inside>, root: &mut Vec<Inside>) {
        let etc = Path::new("etc");
        root.push(Inside::Directory { path: etc.into(), mode: 0o755 });
        for lent in &self.facts.lent {
            let path = etc.join(lent.name);
            if let LentKind::Link(target) = &lent.kind {
                root.push(Inside::Symlink { path, target: target.clone() });
                continue;
            }
            let tree = self.next_tree();
            early.push(Inside::TakeHost { tree, name: path.clone() });
            root.push(Inside::Attach { tree, at: path, file: lent.kind == LentKind::File, read_only: false });
        }
        for (name, contents) in etc::files(&self.tenant.name, self.jail, &self.facts.resolver) {
            root.push(Inside::File { path: etc.join(name), contents });
        }
    }

    fn own_directories(&mut self, root: &mut Vec<Inside>, ids: IdRange) -> Vec<Tree> {
        let kept = kept(&self.facts.state_dir, &self.tenant.name);
        let home = self.jail.home.trim_start_matches('/');
        let mut shifted = Vec::new();
        for (name, at, uid, mode, fill) in
            [("var", "var", 0, 0o755, Fill::Var), ("home", home, self.jail.user.id(), 0o750, Fill::Skeleton)]
        {
            let path = kept.join(name);
            let uid = match self.facts.rights {
                Rights::Root => uid,
                Rights::Lender => ids.first.saturating_add(uid),
                // Ours, which the cell's one id is mapped to.
                Rights::User { others: 0 } => 0,
                Rights::User { .. } => around(self.jail.user.id(), uid),
            };
            self.before.push(Before::Keep { path: path.clone(), uid, mode, fill });
            let tree = self.take(path);
            root.push(Inside::Attach { tree, at: at.into(), file: false, read_only: false });
            shifted.push(tree);
        }
        if self.jail.user == User::Tenant {
            root.push(Inside::Directory { path: "root".into(), mode: 0o700 });
        }
        shifted
    }

    fn take(&mut self, source: PathBuf) -> Tree {
        let tree = self.next_tree();
        self.before.push(Before::Take { tree, source });
        tree
    }

    fn next_tree(&mut self) -> Tree {
        self.trees += 1;
        self.trees
    }
}

/// Which id of the namespace around a cell its id `inner` is, where `own` is the user's, 0, and the others lie around
/// it ([`Outside::MapAround`]).
fn around(own: u32, inner: u32) -> u32 {
    match inner.cmp(&own) {
        Ordering::Less => inner.saturating_add(1),
        Ordering::Equal => 0,
        Ordering::Greater => inner,
    }
}

fn mount(kind: &str, at: &str, options: &[(&str, String)]) -> Inside {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    Inside::Mount { kind: kind.to_owned(), at: at.into(), options, exec: false, read_only: false }
}

fn terminals(most: u32, rights: Rights) -> Inside {
    let mode = |mode: &str| mode.to_owned();
    let mut options = vec![("newinstance", String::new()), ("ptmxmode", mode("0666"))];
    // There is no group for them where there is one id.
    options.extend(if rights.are_of_one_id() {
        vec![("mode", mode("0600"))]
    } else {
        vec![("mode", mode("0620")), ("gid", TTY_GROUP.to_string())]
    });
    options.push(("max", most.to_string()));
    mount("devpts", "dev/pts", &options)
}

fn tmpfs(at: &str, size: Bytes, mode: &str, exec: bool) -> Inside {
    let options = vec![("size".to_owned(), size.0.to_string()), ("mode".to_owned(), mode.to_owned())];
    Inside::Mount { kind: "tmpfs".to_owned(), at: at.into(), options, exec, read_only: false }
}

#[cfg(test)]
mod tests;
