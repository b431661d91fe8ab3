//! "For each of mnt, pid, uts, ipc, net, user, cgroup: the link in `/proc/self/ns` differs from the
//! host's and from every other tenant's, and is the same for two sessions of one tenant" (issue 2).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_possible_wrap,
    reason = "test support code"
)]

mod support;

use std::{collections::BTreeSet, process};

use support::{Door, procfs, root};

const LOOK: &str = "for n in user mnt pid net ipc uts cgroup; do readlink /proc/self/ns/$n; done";

fn of(door: &Door, tenant: &str) -> BTreeSet<String> {
    let links: BTreeSet<_> = door.ok(tenant, LOOK).lines().map(str::to_owned).collect();
    assert_eq!(links.len(), 7, "{links:?}");
    links
}

#[test]
fn every_tenant_has_seven_namespaces_of_their_own() {
    if !root() {
        return;
    }
    let door = Door::standard();
    // Cells that run at the same time: an inode number may be given again after a namespace's end.
    let keep: Vec<_> =
        ["alice", "bob", "eve"].map(|tenant| door.spawn(tenant, "echo up; exec sleep 1000")).into_iter().collect();
    keep.iter().for_each(|running| assert_eq!(running.line(), "up"));
    let mut all = procfs::namespaces(process::id() as i32);
    for tenant in ["alice", "bob", "eve"] {
        let own = of(&door, tenant);
        let shared: Vec<_> = all.intersection(&own).cloned().collect();
        assert!(shared.is_empty(), "{tenant} shares {shared:?}");
        assert_eq!(of(&door, tenant), own, "two sessions of {tenant} differ");
        all.extend(own);
    }
}

#[test]
fn a_shared_host_network_shares_that_namespace_and_no_other() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n").tenant("alice", "network = \"host\"").start();
    let host = procfs::namespaces(process::id() as i32);
    let own = of(&door, "alice");
    let shared: Vec<_> = host.intersection(&own).collect();
    assert_eq!(shared.len(), 1, "{shared:?}");
    assert!(shared[0].starts_with("net:"), "{shared:?}");
}

#[test]
fn the_host_ids_of_two_tenants_never_overlap() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let ranges: Vec<(u32, u32)> = ["alice", "bob", "eve"]
        .iter()
        .map(|tenant| {
            let map = door.ok(tenant, "cat /proc/self/uid_map");
            let fields: Vec<u32> = map.split_whitespace().map(|field| field.parse().unwrap()).collect();
            assert_eq!(fields.len(), 3, "one extent: {map}");
            assert_eq!(map, door.ok(tenant, "cat /proc/self/gid_map"));
            assert_eq!(fields[0], 0);
            (fields[1], fields[2])
        })
        .collect();
    for (n, (first, count)) in ranges.iter().enumerate() {
        assert!(*first >= door.pool() && *count >= 65536, "{ranges:?}");
        for (other, _) in &ranges[n + 1..] {
            assert!(first + count <= *other || *other + 65536 <= *first, "{ranges:?}");
        }
    }
}

#[test]
fn a_tenant_keeps_the_range_over_a_restart() {
    if !root() {
        return;
    }
    let mut door = Door::standard();
    let look = |door: &Door| door.ok("bob", "cat /proc/self/uid_map");
    door.ok("alice", "true");
    let before = look(&door);
    door.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(door.wait_end(), Some(0));
    door.restart();
    assert_eq!(look(&door), before);
}
