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

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{self, Command},
};

use nix::sys::signal::Signal;
use support::{Door, Scratch, procfs, root, soon, with_etc};

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

/// A copy of `/etc` whose files may be replaced, and the words that start a door with it.
fn own_etc(scratch: &Scratch) -> Vec<String> {
    let etc = scratch.join("etc");
    assert!(Command::new("cp").args(["-a", "/etc"]).arg(&etc).status().unwrap().success());
    for name in ["subuid", "subgid"] {
        fs::write(etc.join(name), "someone:100000:65536").unwrap();
    }
    with_etc(&etc)
}

/// What `/etc/subuid` or `/etc/subgid` is to hold when the listener has started and these tenants have come, in
/// this order.
fn registered(door: &Door, tenants: &[&str]) -> String {
    let read = |name: &str| fs::read_to_string(door.dir.join("state").join(name)).unwrap();
    let ids = read("ids.toml") + &read("owners.toml");
    let mut expected = "someone:100000:65536\n".to_owned();
    for (key, name) in
        [("owners", String::new())].into_iter().chain(tenants.iter().map(|tenant| (*tenant, format!("-{tenant}"))))
    {
        let line = ids.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap_or_else(|| panic!("{ids}"));
        let number = |key: &str| {
            let (_, rest) = line.split_once(&format!("{key} = ")).unwrap();
            rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().to_owned()
        };
        expected.push_str(&format!("cellblock{name}:{}:{}\n", number("first"), number("count")));
    }
    expected
}

fn names(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// A door for alice and bob that registers their ids in an `/etc` of its own, which is that directory.
fn registering(scratch: &Scratch) -> (Door, PathBuf) {
    let wrapper = own_etc(scratch);
    let words: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("alice", "")
        .tenant("bob", "")
        .wrapped(&words)
        .registering()
        .start();
    (door, scratch.join("etc"))
}

/// "Whether ranges in use are written to `/etc/subuid` and `/etc/subgid`, so that `useradd` keeps away from them"
#[test]
fn ids_in_use_are_registered_and_useradd_keeps_away_from_them() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let (door, etc) = registering(&scratch);
    let before = names(&etc);
    for tenant in ["alice", "bob", "alice"] {
        door.ok(tenant, "true");
    }
    for file in ["subuid", "subgid"] {
        assert_eq!(fs::read_to_string(etc.join(file)).unwrap(), registered(&door, &["alice", "bob"]), "{file}");
    }
    assert_eq!(names(&etc), before, "no lock and nothing half done is left");

    // Told to take from where alice's range begins, it goes beyond bob's.
    let first: u32 = door.pool() + 1;
    let range = |kind: &str| [format!("SUB_{kind}_MIN={first}"), format!("SUB_{kind}_MAX={}", first + 400_000)];
    let mut useradd = Command::new("nsenter");
    useradd.args(["-m", "-t", &door.listener().to_string(), "useradd", "-M"]);
    for key in [range("UID"), range("GID")].concat() {
        useradd.args(["-K", &key]);
    }
    let added = useradd.arg("zoe").output().unwrap();
    assert!(added.status.success(), "{added:?}");
    let text = fs::read_to_string(etc.join("subuid")).unwrap();
    let zoe = text.lines().find_map(|line| line.strip_prefix("zoe:")).unwrap_or_else(|| panic!("{text}"));
    let zoe: u32 = zoe.split(':').next().unwrap().parse().unwrap();
    assert!(zoe >= first + 2 * 65_536, "{text}");
}

/// shadow's lock of a process that is gone, and what a monitor leaves that is killed while it waits for one
#[test]
fn locks_and_leftovers_of_the_killed_are_swept_at_the_next_registration() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let (door, etc) = registering(&scratch);
    let before = names(&etc);

    // This test holds the lock, so bob's monitor waits; it is killed there.
    let lock = etc.join("subuid.lock");
    fs::write(&lock, process::id().to_string()).unwrap();
    let waiting = door.spawn("bob", "echo in");
    let mut left = None;
    soon("bob's monitor waits for the lock", || {
        left = names(&etc).into_iter().find(|name| name.starts_with("subuid.cellblock-"));
        left.is_some()
    });
    let left = left.unwrap();
    let monitor: i32 = left.rsplit('-').next().unwrap().parse().unwrap();
    procfs::kill(monitor, Signal::SIGKILL);
    soon("it is gone", || procfs::ended(monitor));
    drop(waiting);
    assert!(names(&etc).contains(&left), "what it left is what this test is about");

    // As if it had held the lock itself.
    fs::write(&lock, monitor.to_string()).unwrap();
    assert_eq!(door.ok("alice", "echo in"), "in");
    assert_eq!(names(&etc), before);
    assert_eq!(door.ok("bob", "echo in"), "in");
    for file in ["subuid", "subgid"] {
        assert_eq!(fs::read_to_string(etc.join(file)).unwrap(), registered(&door, &["alice", "bob"]), "{file}");
    }
}
