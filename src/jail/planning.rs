//! From settings to a plan. Pure: the same tenant, ids and facts give the same plan.

use std::path::{Path, PathBuf};

use crate::base::Bytes;
use crate::config::settings::{CallSet, Jail, Network, Root, Tenant, User};
use crate::sys::landlock;

use super::{
    Facts, IdRange, Op, Plan,
    etc::{self, TENANT_ID, TTY_GROUP},
    facts::{Groups, LentKind},
    host, limits,
    plan::{Fill, Leaf, Mask, Tree},
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
const PROC_READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

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
    let mut planner = Planner { tenant, jail: &tenant.jail, facts, trees: 0, before: Vec::new(), outside: Vec::new() };
    let inside = planner.inside(ids);
    Plan { name: tenant.name.clone(), before: planner.before, outside: planner.outside, inside }
}

struct Planner<'a> {
    tenant: &'a Tenant,
    jail: &'a Jail,
    facts: &'a Facts,
    trees: Tree,
    before: Vec<Op>,
    outside: Vec<Op>,
}

impl Planner<'_> {
    fn inside(&mut self, ids: IdRange) -> Vec<Op> {
        let own_network = self.jail.network == Network::None;
        let mut early = Vec::new();
        let mut root = Vec::new();
        let (joining, group_trees) = self.groups(ids);
        let shifted = self.root(&mut early, &mut root);

        self.outside.insert(0, Op::MapIds(ids));
        self.outside.extend(shifted.into_iter().map(|tree| Op::Shift { tree }));
        if self.facts.oom_adjusted {
            self.outside.push(Op::ResetOomScore);
        }
        self.outside.extend([Op::ResetPriority, Op::Release]);

        early.push(Op::Leave { network: own_network });
        early.push(Op::HostName(self.jail.hostname.clone()));
        if own_network {
            early.push(Op::LoopbackUp);
        }
        early.push(Op::AwaitMonitor);
        early.extend(joining);
        early.push(Op::BecomeRoot);
        early.extend(root);
        self.kernel_trees(&mut early, own_network, &group_trees);
        let limits = &self.jail.limits;
        early.extend([
            tmpfs("tmp", limits.tmp, "1777", true),
            tmpfs("run", limits.run, "0755", true),
            Op::Board { at: "run/cellblock".into(), limits: limits::board(self.jail, &self.facts.controls) },
            Op::Pivot,
            Op::ResetTraits,
        ]);
        if !own_network && self.facts.landlock >= landlock::SCOPES {
            early.push(Op::KeepToItself);
        }
        early.push(Op::LimitCalls(self.jail.syscalls.clone()));
        if !self.jail.no_new_privs {
            early.push(Op::KeepForInit);
        }
        let most = self.jail.capabilities | self.jail.carried();
        early.extend([Op::KeepBoundingSet(INIT_CAPABILITIES | most & !SYS_ADMIN), Op::ExecInit]);
        early
    }

    /// The tenant's control groups. Gives what the child does about them after the monitor's part,
    /// and the trees that show them, by controller.
    fn groups(&mut self, ids: IdRange) -> (Vec<Op>, Vec<(String, Tree)>) {
        match &self.facts.groups {
            Groups::V1(hierarchies) => self.v1_groups(hierarchies, ids),
            Groups::V2(mount) => self.v2_groups(mount, ids),
        }
    }

    /// v1: made while the child makes its network, joined and opened by the child, which is still
    /// root of the host for access to files.
    fn v1_groups(&mut self, hierarchies: &[(String, PathBuf)], ids: IdRange) -> (Vec<Op>, Vec<(String, Tree)>) {
        self.before.push(Op::Clone { group: None, owner: ids.first });
        let (mut joins, mut opens, mut takes, mut shown) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (controller, mount) in hierarchies {
            // v1 allows processes beside a group below; and the cell's view of its groups starts
            // where init is.
            let init = mount.join(self.tenant.name.as_str());
            let sessions = init.join("sessions");
            self.outside.push(Op::MakeGroup { path: init.clone(), leaf: Leaf::Init, v2: false });
            self.outside.push(Op::MakeGroup { path: sessions.clone(), leaf: Leaf::Sessions, v2: false });
            self.outside.extend(limits::v1(&self.jail.limits, &self.facts.controls, controller, &init));
            let tree = self.next_tree();
            joins.push(Op::JoinGroup { path: init.clone() });
            opens.push(Op::OpenGroup { path: sessions.clone() });
            if controller == "memory" {
                opens.push(Op::WatchMemory { path: sessions });
            }
            takes.push(Op::TakeGroup { tree, path: init });
            shown.push((controller.clone(), tree));
        }
        joins.extend(opens.into_iter().chain(takes).chain([Op::LeaveGroups]));
        (joins, shown)
    }

    /// v2: made before the clone, which puts the child into its group.
    fn v2_groups(&mut self, mount: &Path, ids: IdRange) -> (Vec<Op>, Vec<(String, Tree)>) {
        let own = mount.join(self.tenant.name.as_str());
        let (init, sessions) = (own.join("init"), own.join("sessions"));
        self.before.push(Op::MakeGroup { path: init, leaf: Leaf::Init, v2: true });
        self.before.push(Op::MakeGroup { path: sessions.clone(), leaf: Leaf::Sessions, v2: true });
        self.before.extend(limits::v2_weights(&self.jail.limits, &self.facts.controls, &own));
        // CLONE_INTO_CGROUP asks about the group and the closest one above both.
        self.before.push(Op::GiveGroup { path: own.clone(), uid: ids.first });
        self.before.push(Op::GiveGroup { path: sessions, uid: ids.first });
        // The cgroup namespace starts where the clone is put. It must hold both leaves: with
        // nsdelegate (systemd) no process moves to where its namespace does not reach.
        self.before.push(Op::Clone { group: Some(own.clone()), owner: ids.first });
        let tree = self.next_tree();
        let mut joining = vec![Op::JoinGroups { count: 1 }];
        joining.extend(limits::v2(&self.jail.limits, &self.facts.controls, &own, &self.facts.disks));
        joining.push(Op::TakeGroup { tree, path: own });
        (joining, vec![(String::new(), tree)])
    }

    /// The root and what is mounted in it for the tenant; gives the trees whose owners are shifted.
    fn root(&mut self, early: &mut Vec<Op>, root: &mut Vec<Op>) -> Vec<Tree> {
        match &self.jail.root {
            Root::Directory(source) => {
                let tree = self.take(source.clone());
                root.push(Op::RootFromTree { tree, writable: true });
                vec![tree]
            }
            Root::Host => {
                root.push(Op::RootFromNothing { size: HOST_ROOT_SIZE });
                self.host_programs(early, root);
                self.host_etc(early, root);
                self.own_directories(root)
            }
        }
    }

    fn host_programs(&mut self, early: &mut Vec<Op>, root: &mut Vec<Op>) {
        for name in &self.facts.real {
            let tree = self.next_tree();
            early.push(Op::TakeHost { tree, name: name.into() });
            root.push(Op::Attach { tree, at: name.into(), file: false, read_only: false });
        }
        for (name, target) in &self.facts.linked {
            root.push(Op::Symlink { path: name.into(), target: target.clone() });
        }
    }

    fn host_etc(&mut self, early: &mut Vec<Op>, root: &mut Vec<Op>) {
        let etc = Path::new("etc");
        root.push(Op::Directory { path: etc.into(), mode: 0o755 });
        for lent in &self.facts.lent {
            let path = etc.join(lent.name);
            if let LentKind::Link(target) = &lent.kind {
                root.push(Op::Symlink { path, target: target.clone() });
                continue;
            }
            let tree = self.next_tree();
            early.push(Op::TakeHost { tree, name: path.clone() });
            root.push(Op::Attach { tree, at: path, file: lent.kind == LentKind::File, read_only: false });
        }
        for (name, contents) in etc::files(&self.tenant.name, self.jail, &self.facts.resolver) {
            root.push(Op::File { path: etc.join(name), contents });
        }
    }

    fn own_directories(&mut self, root: &mut Vec<Op>) -> Vec<Tree> {
        let kept = self.facts.state_dir.join("tenants").join(self.tenant.name.as_str());
        let home_owner = match self.jail.user {
            User::Tenant => TENANT_ID,
            User::Root => 0,
        };
        let home = self.jail.home.trim_start_matches('/');
        let mut shifted = Vec::new();
        for (name, at, uid, mode, fill) in
            [("var", "var", 0, 0o755, Fill::Var), ("home", home, home_owner, 0o750, Fill::Skeleton)]
        {
            let path = kept.join(name);
            let keep = Op::Keep { path: path.clone(), uid, mode, fill };
            let clone = self.before.len().saturating_sub(1);
            self.before.insert(clone, keep);
            let tree = self.take(path);
            root.push(Op::Attach { tree, at: at.into(), file: false, read_only: false });
            shifted.push(tree);
        }
        if self.jail.user == User::Tenant {
            root.push(Op::Directory { path: "root".into(), mode: 0o700 });
        }
        shifted
    }

    /// `/proc`, `/sys`, `/dev` and the parts of them that are read-only or covered.
    fn kernel_trees(&mut self, ops: &mut Vec<Op>, own_network: bool, groups: &[(String, Tree)]) {
        let (dev, empty) = (self.next_tree(), self.next_tree());
        let has = |set| self.jail.syscalls.contains(&set);
        let devices = if has(CallSet::Fuse) { host::DEVICES_WITH_FUSE } else { host::DEVICES };
        ops.insert(0, Op::TakeHost { tree: dev, name: devices.into() });
        ops.insert(0, Op::TakeHost { tree: empty, name: "empty".into() });
        ops.push(Op::Attach { tree: dev, at: "dev".into(), file: false, read_only: false });
        ops.push(mount("proc", "proc", &[]));
        ops.extend(BOUNDS.map(|(name, most)| Op::Bound { name, most }));
        ops.push(Op::Bound { name: "max_user_namespaces", most: if has(CallSet::Nesting) { NESTED } else { 0 } });
        // The host's range is the host's business, and its own user namespace's to set.
        if own_network && has(CallSet::Ping) {
            ops.push(Op::PingGroups { last: self.jail.ids.saturating_sub(1) });
        }
        ops.extend(PROC_READ_ONLY.map(|name| Op::ReadOnly { path: Path::new("proc").join(name) }));
        if own_network {
            ops.push(Op::Mount { kind: "sysfs", at: "sys".into(), options: Vec::new(), exec: false, read_only: true });
        } else {
            // docs/kernel.md, 6: an own sysfs needs an own network namespace.
            let host_sys = self.next_tree();
            ops.insert(0, Op::TakeHost { tree: host_sys, name: "sys".into() });
            ops.push(Op::Attach { tree: host_sys, at: "sys".into(), file: false, read_only: true });
        }
        ops.extend(COVERED.map(|(path, with)| Op::Cover { path: path.into(), with, empty }));
        let at = Path::new("sys/fs/cgroup");
        match groups {
            [(controller, tree)] if controller.is_empty() => {
                ops.push(Op::Attach { tree: *tree, at: at.into(), file: false, read_only: true });
            }
            several => {
                ops.push(tmpfs("sys/fs/cgroup", Bytes(4096), "0755", false));
                for (controller, tree) in several {
                    ops.push(Op::Attach { tree: *tree, at: at.join(controller), file: false, read_only: true });
                }
                ops.push(Op::Lock { path: at.into() });
            }
        }
        let terminals = [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620")];
        let mut pts = mount("devpts", "dev/pts", &terminals);
        if let Op::Mount { options, .. } = &mut pts {
            options.push(("gid", TTY_GROUP.to_string()));
            options.push(("max", self.jail.max_sessions.saturating_add(MORE_TERMINALS).to_string()));
        }
        ops.extend([pts, tmpfs("dev/shm", self.jail.limits.shm, "1777", false), mount("mqueue", "dev/mqueue", &[])]);
    }

    fn take(&mut self, source: PathBuf) -> Tree {
        let tree = self.next_tree();
        let clone = self.before.len().saturating_sub(1);
        self.before.insert(clone, Op::Take { tree, source });
        tree
    }

    fn next_tree(&mut self) -> Tree {
        self.trees += 1;
        self.trees
    }
}

fn mount(kind: &'static str, at: &str, options: &[(&'static str, &str)]) -> Op {
    let options = options.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    Op::Mount { kind, at: at.into(), options, exec: false, read_only: false }
}

fn tmpfs(at: &str, size: Bytes, mode: &str, exec: bool) -> Op {
    let options = vec![("size", size.0.to_string()), ("mode", mode.to_owned())];
    Op::Mount { kind: "tmpfs", at: at.into(), options, exec, read_only: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{Limits, Linger};
    use crate::jail::{Control, Controls};
    use std::collections::BTreeSet;

    fn tenant(root: Root) -> Tenant {
        let limits = Limits { tmp: Bytes(1), run: Bytes(2), shm: Bytes(3), nofile: 4, ..Limits::default() };
        let jail = Jail {
            root,
            user: User::Tenant,
            shell: "/bin/sh".into(),
            home: "/home/alice".into(),
            hostname: "alice".into(),
            network: Network::None,
            linger: Linger::Forever,
            ids: 65_536,
            limits,
            allow: BTreeSet::new(),
            command: None,
            accept_env: Vec::new(),
            set_env: Vec::new(),
            capabilities: u64::MAX,
            no_new_privs: true,
            syscalls: BTreeSet::new(),
            max_sessions: 1,
            max_connections: 64,
            motd: false,
        };
        Tenant {
            name: "alice".parse().unwrap(),
            class: None,
            locked: false,
            authorized_keys: Vec::new(),
            authorized_keys_file: None,
            trusted_user_ca_keys: Vec::new(),
            authorized_principals: Vec::new(),
            jail,
        }
    }

    fn facts() -> Facts {
        Facts {
            state_dir: "/state".into(),
            real: vec!["usr"],
            linked: vec![("bin", "usr/bin".into())],
            lent: Vec::new(),
            resolver: String::new(),
            groups: Groups::V1(vec![("pids".into(), "/cg/pids/cellblock".into())]),
            landlock: 6,
            oom_adjusted: true,
            controls: Controls::new([Control::Pids], true),
            disks: Vec::new(),
        }
    }

    fn plan_for(root: Root) -> Plan {
        plan(&tenant(root), IdRange { first: 1000, count: 65_536 }, &facts())
    }

    #[test]
    fn the_monitor_takes_the_tree_clones_maps_makes_groups_shifts_and_releases_in_this_order() {
        let plan = plan_for(Root::Directory("/srv/a".into()));
        let group = |path: &str, leaf| Op::MakeGroup { path: path.into(), leaf, v2: false };
        assert_eq!(
            plan.before,
            vec![Op::Take { tree: 2, source: "/srv/a".into() }, Op::Clone { group: None, owner: 1000 }]
        );
        let outside = vec![
            Op::MapIds(IdRange { first: 1000, count: 65_536 }),
            group("/cg/pids/cellblock/alice", Leaf::Init),
            group("/cg/pids/cellblock/alice/sessions", Leaf::Sessions),
            Op::SetGroup { file: "/cg/pids/cellblock/alice/sessions/pids.max".into(), value: "256".into() },
            Op::Shift { tree: 2 },
            Op::ResetOomScore,
            Op::ResetPriority,
            Op::Release,
        ];
        assert_eq!(plan.outside, outside);
    }

    #[test]
    fn the_child_touches_groups_when_they_are_there_and_while_it_is_still_the_hosts_root() {
        let plan = plan_for(Root::Directory("/srv/a".into()));
        let begin = plan.inside.iter().position(|op| *op == Op::AwaitMonitor).unwrap();
        let own: PathBuf = "/cg/pids/cellblock/alice".into();
        let after = [
            Op::JoinGroup { path: own.clone() },
            Op::OpenGroup { path: own.join("sessions") },
            Op::TakeGroup { tree: 1, path: own },
            Op::LeaveGroups,
            Op::BecomeRoot,
        ];
        assert_eq!(plan.inside[begin + 1..begin + 6], after);
    }

    fn position(plan: &Plan, wanted: &Op) -> Option<usize> {
        plan.inside.iter().position(|op| op == wanted)
    }

    #[test]
    fn calls_are_limited_while_the_child_may_and_before_it_is_init() {
        let plan = plan_for(Root::Host);
        let limited = position(&plan, &Op::LimitCalls(BTreeSet::new())).unwrap();
        assert_eq!(plan.inside.get(limited - 1), Some(&Op::ResetTraits));
        assert_eq!(plan.inside.get(limited + 1), Some(&Op::KeepBoundingSet(!SYS_ADMIN)));
        assert_eq!(position(&plan, &Op::KeepForInit), None);
        assert!(position(&plan, &Op::Bound { name: "max_user_namespaces", most: 0 }).is_some());
    }

    #[test]
    fn what_a_class_opens_is_opened_and_no_more() {
        let with = |change: fn(&mut Jail)| {
            let mut tenant = tenant(Root::Host);
            change(&mut tenant.jail);
            plan(&tenant, IdRange { first: 1000, count: 65_536 }, &facts())
        };
        let rights = with(|jail| jail.no_new_privs = false);
        assert!(position(&rights, &Op::KeepForInit) < position(&rights, &Op::KeepBoundingSet(!SYS_ADMIN)));
        assert!(position(&rights, &Op::KeepForInit) > position(&rights, &Op::LimitCalls(BTreeSet::new())));
        let nesting = with(|jail| jail.syscalls = [CallSet::Nesting].into());
        assert!(position(&nesting, &Op::Bound { name: "max_user_namespaces", most: NESTED }).is_some());
        assert!(position(&nesting, &Op::LimitCalls([CallSet::Nesting].into())).is_some());
        let pinging = with(|jail| jail.syscalls = [CallSet::Ping].into());
        assert!(position(&pinging, &Op::PingGroups { last: 65_535 }).is_some());
        let shared = with(|jail| {
            jail.syscalls = [CallSet::Ping].into();
            jail.network = Network::Host;
        });
        assert_eq!(position(&shared, &Op::PingGroups { last: 65_535 }), None);
        assert!(position(&shared, &Op::KeepToItself) < position(&shared, &Op::LimitCalls([CallSet::Ping].into())));
        assert_eq!(position(&pinging, &Op::KeepToItself), None);
    }

    #[test]
    fn a_cell_never_keeps_sys_admin_and_becomes_root_before_it_makes_files() {
        let plan = plan_for(Root::Host);
        let at = |wanted: &Op| plan.inside.iter().position(|op| op == wanted).unwrap();
        assert!(plan.inside.contains(&Op::KeepBoundingSet(!SYS_ADMIN)));
        assert!(at(&Op::AwaitMonitor) < at(&Op::BecomeRoot));
        let made = plan.inside.iter().position(|op| matches!(op, Op::Symlink { .. } | Op::File { .. }));
        assert!(at(&Op::BecomeRoot) < made.unwrap());
        assert_eq!(plan.inside.last(), Some(&Op::ExecInit));
    }
}
