use proptest::prelude::*;

use super::*;
use crate::config::load;

/// A config with tenants `t0` to `t{count - 1}`.
fn config(name: &str, count: usize) -> Compiled {
    use std::os::unix::fs::DirBuilderExt as _;
    let dir = std::path::PathBuf::from(format!("/tmp/cellblock-compiled-{name}-{}", std::process::id()));
    std::fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
    let text: String = (0..count).map(|n| format!("[tenant.t{n}]\nlocked = true\n")).collect();
    std::fs::write(dir.join("cellblock.toml"), text).unwrap();
    let loaded = load(&dir.join("cellblock.toml"));
    std::fs::remove_dir_all(&dir).unwrap();
    loaded.unwrap().compiled
}

fn name(text: &str) -> TenantName {
    text.parse().unwrap()
}

#[test]
fn every_tenant_is_found_and_no_other() {
    let compiled = config("all", 1000);
    assert_eq!(compiled.count(), 1000);
    for n in 0..1000 {
        let found = compiled.tenant(&name(&format!("t{n}"))).unwrap().unwrap();
        assert_eq!(found.name.as_str(), format!("t{n}"));
    }
    assert_eq!(compiled.tenant(&name("t1000")).unwrap(), None);
    let names: Vec<String> = compiled.tenants().map(|tenant| tenant.unwrap().name.to_string()).collect();
    assert_eq!(names.len(), 1000);
    assert!(names.is_sorted(), "in the order of names");
}

#[test]
fn accounts_lead_to_the_tenant_they_are_tied_to_by_name_first() {
    let server = config("ties", 0).server().unwrap();
    let mut builder = Builder::new(&server, &Stranger { auth: Vec::new(), pam_service: String::new() }).unwrap();
    let base = config("ties-too", 1).tenant(&name("t0")).unwrap().unwrap();
    let own = |text: &str| Some(text.to_owned());
    for (tenant, user, group) in [("a", None, own("g1")), ("b", own("ann"), None), ("c", own("a"), own("g2"))] {
        builder.add(&Tenant { name: name(tenant), host_user: user, host_group: group, ..base.clone() }).unwrap();
    }
    assert_eq!(builder.count(), 3);
    let compiled = builder.seal().unwrap();
    assert!(compiled.ties_groups() && !config("ties-none", 1).ties_groups());
    assert_eq!((compiled.count(), compiled.tenants().count()), (3, 3));
    let tied = |user: &str, groups: &[&str]| {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        compiled.tied_to(user, &groups).unwrap().map(|tenant| tenant.name.to_string())
    };
    assert_eq!(tied("ann", &["g1", "g2"]).as_deref(), Some("b"), "the name goes before any group");
    assert_eq!(tied("zoe", &["g2", "g1"]).as_deref(), Some("a"), "the first tenant by name");
    assert_eq!(tied("zoe", &["g2"]).as_deref(), Some("c"));
    // A tenant's name is no account, an account no group, and the other way round.
    assert_eq!((tied("b", &["ann", "a"]), tied("g1", &[])), (None, None));
    assert_eq!(tied("a", &[]).as_deref(), Some("c"));
    assert_eq!(compiled.tenant(&name("ann")).unwrap(), None);
}

#[test]
fn a_config_without_tenants_has_a_server_and_finds_nobody() {
    let compiled = config("none", 0);
    assert_eq!(compiled.server().unwrap().max_startups.begin, 10);
    assert_eq!(compiled.tenant(&name("alice")).unwrap(), None);
    assert_eq!(compiled.tenants().count(), 0);
}

#[test]
fn two_names_with_one_first_slot_are_both_found() {
    let slots = slots_for(2);
    let first = |name: &str| probe(hash(name), slots).next();
    let other = (0..).map(|n| format!("x{n}")).find(|other| first(other) == first("t0")).unwrap();
    let server = config("collide", 0).server().unwrap();
    let mut tenant = config("collide-too", 1).tenant(&name("t0")).unwrap().unwrap();
    let mut builder = Builder::new(&server, &config("stranger", 0).stranger().unwrap()).unwrap();
    builder.add(&tenant).unwrap();
    tenant.name = name(&other);
    builder.add(&tenant).unwrap();
    let compiled = builder.seal().unwrap();
    for wanted in ["t0", &other] {
        assert_eq!(compiled.tenant(&name(wanted)).unwrap().unwrap().name.as_str(), wanted);
    }
}

/// Uses everything that reads the bytes; whatever they hold, it ends and does not panic.
fn read_all(bytes: &[u8]) {
    let file = memfd::sealed(c"test", bytes).unwrap();
    let Some(compiled) = Map::sealed(file.as_fd()).ok().and_then(|map| Compiled::from_map(map).ok()) else { return };
    let read = [compiled.server().is_ok(), compiled.tenant(&name("t3")).is_ok()];
    assert!(compiled.tenants().filter(Result::is_ok).count() + read.len() < bytes.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_damage_makes_it_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        static GOOD: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let mut bytes = GOOD.get_or_init(|| config("damage", 8).map.bytes().to_vec()).clone();
        for (at, value) in changes {
            // The first bytes, the header, decide most.
            let at = if value % 2 == 0 { at.index(HEADER) } else { at.index(bytes.len()) };
            bytes[at] = value;
        }
        read_all(&bytes);
        read_all(&bytes[..bytes.len() - 1]);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
        read_all(&bytes);
        read_all(&[MAGIC.as_slice(), &bytes].concat());
    }
}
