use super::*;
use crate::config::sample;
use crate::config::settings::Linger;
use crate::jail::{Control, Controls};
use std::collections::BTreeSet;

fn tenant(root: Root) -> Tenant {
    let jail = Jail { root, linger: Linger::Forever, capabilities: u64::MAX, ..sample::jail() };
    Tenant::new("alice".parse().unwrap(), jail)
}

fn facts() -> Facts {
    Facts {
        rights: Rights::Root,
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
fn the_monitor_takes_the_tree_maps_shifts_releases_and_makes_groups_in_this_order() {
    let plan = plan_for(Root::Directory("/srv/a".into()));
    let group = |path: &str, leaf| Outside::MakeGroup { path: path.into(), leaf };
    let tree = 6;
    assert_eq!(plan.before, vec![Before::Take { tree, source: "/srv/a".into() }]);
    assert_eq!(
        plan.clone,
        vec![Cloning::Clone { group: None, owner: 1000 }, Cloning::ResetOomScore, Cloning::ResetPriority]
    );
    let outside = vec![
        Outside::MapIds(IdRange { first: 1000, count: 65_536 }),
        Outside::Shift { tree },
        Outside::Release,
        group("/cg/pids/cellblock/alice", Leaf::Init),
        group("/cg/pids/cellblock/alice/sessions", Leaf::Sessions),
        Outside::SetGroup { file: "/cg/pids/cellblock/alice/sessions/pids.max".into(), value: "256".into() },
        Outside::WriteDown,
        Outside::LendGroup { tree: 5, path: "/cg/pids/cellblock/alice".into(), v2: false },
    ];
    assert_eq!(plan.outside, outside);
}

#[test]
fn the_child_joins_its_groups_before_it_leaves_those_of_the_host_and_shows_them() {
    let plan = plan_for(Root::Directory("/srv/a".into()));
    let begin = plan.inside.iter().position(|op| *op == Inside::AwaitGroups { count: 1 }).unwrap();
    let shown = Inside::Attach { tree: 5, at: "sys/fs/cgroup/pids".into(), file: false, read_only: false };
    assert_eq!(plan.inside[begin + 1..begin + 5], [Inside::JoinGroups, Inside::LeaveGroups, shown, Inside::Pivot]);
}

#[test]
fn what_is_done_ahead_says_nothing_of_the_tenant_and_is_what_spares_do() {
    let mut facts = facts();
    let ids = IdRange { first: 1000, count: 65_536 };
    let (directory, host) = (tenant(Root::Directory("/srv/a".into())), tenant(Root::Host));
    let plans = [&directory, &host].map(|tenant| plan(tenant, ids, &facts));
    let (clone, ahead) = spare(&facts, ids.first).unwrap();
    assert!(plans.iter().all(|plan| plan.takes_spare && plan.ahead == ahead && plan.clone == clone));
    assert!(!format!("{clone:?} {ahead:?}").contains("alice"));

    let mut shared = tenant(Root::Host);
    shared.jail.network = Network::Host;
    assert!(!plan(&shared, ids, &facts).takes_spare);
    facts.groups = Groups::V2("/cg/cellblock".into());
    let v2 = plan(&directory, ids, &facts);
    let at = |op: &Inside| matches!(op, Inside::Attach { at, .. } if at.as_os_str() == "sys/fs/cgroup");
    assert!(v2.inside.iter().any(at));
    let place = |wanted: fn(&Outside) -> bool| v2.outside.iter().position(wanted).unwrap();
    let lent = place(|op| matches!(op, Outside::LendGroup { .. }));
    let (moved, set) =
        (place(|op| matches!(op, Outside::MoveIn { .. })), place(|op| matches!(op, Outside::SetGroup { .. })));
    assert!(moved < set && set < lent, "limits need an empty group, and sessions need limits");
    assert!(!plan(&directory, ids, &facts).takes_spare, "v2 clones into the tenant's group");
    assert_eq!(spare(&facts, ids.first), None);
}

fn position(plan: &Plan, wanted: &Inside) -> Option<usize> {
    plan.inside.iter().position(|op| op == wanted)
}

#[test]
fn calls_are_limited_while_the_child_may_and_before_it_is_init() {
    let plan = plan_for(Root::Host);
    let limited = position(&plan, &Inside::LimitCalls(BTreeSet::new())).unwrap();
    assert_eq!(plan.inside.get(limited - 1), Some(&Inside::ResetTraits));
    assert_eq!(plan.inside.get(limited + 1), Some(&Inside::KeepBoundingSet(!SYS_ADMIN)));
    assert_eq!(position(&plan, &Inside::KeepForInit), None);
    assert!(plan.ahead.contains(&Inside::Bound { name: "max_user_namespaces".into(), most: 0 }));
}

#[test]
fn what_a_class_opens_is_opened_and_no_more() {
    let with = |change: fn(&mut Jail)| {
        let mut tenant = tenant(Root::Host);
        change(&mut tenant.jail);
        plan(&tenant, IdRange { first: 1000, count: 65_536 }, &facts())
    };
    let rights = with(|jail| jail.no_new_privs = false);
    assert!(position(&rights, &Inside::KeepForInit) < position(&rights, &Inside::KeepBoundingSet(!SYS_ADMIN)));
    assert!(position(&rights, &Inside::KeepForInit) > position(&rights, &Inside::LimitCalls(BTreeSet::new())));
    let nesting = with(|jail| jail.syscalls = [CallSet::Nesting].into());
    assert!(nesting.ahead.contains(&Inside::Bound { name: "max_user_namespaces".into(), most: NESTED }));
    assert!(rights.takes_spare && !nesting.takes_spare);
    assert!(position(&nesting, &Inside::LimitCalls([CallSet::Nesting].into())).is_some());
    let pinging = with(|jail| jail.syscalls = [CallSet::Ping].into());
    let sys = Inside::ReadOnly { path: "proc/sys".into() };
    let written = position(&pinging, &Inside::PingGroups { last: 65_535 });
    assert!(position(&pinging, &Inside::AwaitMonitor) < written && written < position(&pinging, &sys));
    assert!(!pinging.ahead.contains(&sys) && nesting.ahead.contains(&sys));
    let shared = with(|jail| {
        jail.syscalls = [CallSet::Ping].into();
        jail.network = Network::Host;
    });
    assert_eq!(position(&shared, &Inside::PingGroups { last: 65_535 }), None);
    assert!(position(&shared, &Inside::KeepToItself) < position(&shared, &Inside::LimitCalls([CallSet::Ping].into())));
    assert_eq!(position(&pinging, &Inside::KeepToItself), None);
}

#[test]
fn a_cell_never_keeps_sys_admin_and_becomes_root_before_it_makes_files() {
    let plan = plan_for(Root::Host);
    let at = |wanted: &Inside| plan.inside.iter().position(|op| op == wanted).unwrap();
    assert!(plan.inside.contains(&Inside::KeepBoundingSet(!SYS_ADMIN)));
    assert!(at(&Inside::AwaitMonitor) < at(&Inside::BecomeRoot));
    let made = plan.inside.iter().position(|op| matches!(op, Inside::Symlink { .. } | Inside::File { .. }));
    assert!(at(&Inside::BecomeRoot) < made.unwrap());
    assert_eq!(plan.inside.last(), Some(&Inside::BecomeInit));
}

#[test]
fn without_root_the_plan_is_the_same_with_fewer_operations() {
    let none = |rights| Facts { rights, groups: Groups::V1(Vec::new()), ..facts() };
    let of = |ids, rights| plan(&tenant(Root::Host), ids, &none(rights));
    let root = of(IdRange { first: 1000, count: 65_536 }, Rights::Root);
    let user = of(IdRange { first: 0, count: 1 }, Rights::User { others: 0 });
    let most = tenant(Root::Host).jail.limits.pids + 2;
    let cloned = Cloning::Clone { group: None, owner: 0 };
    assert_eq!(user.clone, [cloned, Cloning::ResetOomScore, Cloning::BoundProcesses { most }]);
    assert_eq!(user.outside, [Outside::MapOne { id: 1000 }, Outside::Release, Outside::WriteDown]);
    assert_eq!(user.ahead, root.ahead);
    assert_eq!(user.inside.len(), root.inside.len());
    let mut others = root.inside.iter().zip(&user.inside).filter(|(of_root, of_user)| of_root != of_user);
    assert_eq!(others.next(), Some((&Inside::BecomeRoot, &Inside::BecomeOnly { id: 1000 })));
    let (_, terminals) = others.next().unwrap();
    assert!(matches!(terminals, Inside::Mount { kind, options, .. }
        if kind == "devpts" && options.iter().all(|(key, _)| key != "gid")));
    assert_eq!(others.next(), None);
}

#[test]
fn with_ids_that_were_granted_only_owners_and_groups_are_left_out() {
    let facts = |rights| Facts { rights, groups: Groups::V1(Vec::new()), ..facts() };
    let root = plan(&tenant(Root::Host), IdRange { first: 1000, count: 65_536 }, &facts(Rights::Root));
    let rights = Rights::User { others: 65_535 };
    let user = plan(&tenant(Root::Host), IdRange { first: 0, count: 1 }, &facts(rights));
    assert_eq!(user.inside, root.inside);
    assert_eq!(user.outside.first(), Some(&Outside::MapAround { id: 1000, others: 65_535 }));
    // The cell's root, 0, is the first of those granted; the tenant is the user.
    let owners = user.before.iter().filter_map(|op| if let Before::Keep { uid, .. } = op { Some(*uid) } else { None });
    assert_eq!(owners.collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn a_lender_maps_ids_as_root_does_and_shifts_no_owner() {
    let facts = |rights| Facts { rights, groups: Groups::V1(Vec::new()), ..facts() };
    let ids = IdRange { first: 2000, count: 16_384 };
    let [root, lender] = [Rights::Root, Rights::Lender].map(|rights| plan(&tenant(Root::Host), ids, &facts(rights)));
    assert_eq!((&lender.ahead, &lender.inside), (&root.ahead, &root.inside));
    let most = tenant(Root::Host).jail.limits.pids + 1;
    let cloned = Cloning::Clone { group: None, owner: 2000 };
    assert_eq!(lender.clone, [cloned, Cloning::ResetOomScore, Cloning::BoundProcesses { most }]);
    assert_eq!(lender.outside, [Outside::MapIds(ids), Outside::Release, Outside::WriteDown]);
    let owners =
        lender.before.iter().filter_map(|op| if let Before::Keep { uid, .. } = op { Some(*uid) } else { None });
    assert_eq!(owners.collect::<Vec<_>>(), [2000, 3000]);
}
