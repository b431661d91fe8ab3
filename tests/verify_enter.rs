//! "`verify` passes through the enter door" (issue 5).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test support code"
)]

use std::{collections::BTreeMap, fs, path::Path};

use cellblock::wire::{
    init::PROBE,
    verify::{Check, Side},
};
use serde_json::Value;
use support::{
    Door, Host, Scratch,
    probe::{as_verify_finds, task},
    root, run_bounded,
};

fn verify(host: &Host, config: &Path, arguments: &[&str]) -> (i32, String) {
    let config = config.to_str().unwrap();
    let words: Vec<&str> =
        [env!("CARGO_BIN_EXE_cellblock"), "--config", config, "verify"].iter().chain(arguments).copied().collect();
    let ran = run_bounded(host.as_root(&words), b"");
    assert_eq!(ran.err, "");
    (ran.status, ran.text())
}

#[test]
fn verify_goes_through_the_enter_door_of_tenants_that_accounts_come_by() {
    if !root() {
        return;
    }
    let host = Host::with(Door::with("[defaults]\nroot = \"host\"\n").tenant("zoe", ""), "", "user = \"root\"\n");
    let config = host.door.dir.join("cellblock.toml");
    let (status, text) = verify(&host, &config, &["--all", "--json", "--without-bombs"]);
    assert_eq!(status, 0, "{text}");
    let objects: BTreeMap<String, Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|object| (object["tenant"].as_str().unwrap().to_owned(), object))
        .collect();
    let inside = Check::ALL.iter().filter(|check| check.group().side() == Side::Inside).count();
    for tenant in ["alice", "bob"] {
        let enter = &objects[tenant]["enter"];
        assert_eq!(enter["door"], "through", "{tenant}");
        assert_eq!(enter["checks"].as_array().unwrap().len(), inside, "{tenant}");
        assert_eq!((&enter["counts"]["escaped"], &enter["counts"]["unknown"]), (&0.into(), &0.into()), "{enter}");
        let held = enter["counts"]["held"].as_u64().unwrap();
        assert!(held >= 25, "{tenant}: {enter}");
    }
    assert_eq!(objects["zoe"]["enter"]["door"], "no-account");

    // The listener knows who came, and the monitor started the probe.
    let audit = host.door.audit();
    let logins: Vec<&Value> = audit.iter().filter(|line| line["event"] == "login").collect();
    assert_eq!(logins.len(), 2, "{logins:?}");
    for login in logins {
        assert_eq!(login["method"], "host-root");
        let started = |line: &&Value| line["event"] == "session_start" && line["connection"] == login["connection"];
        let session = audit.iter().find(started).unwrap();
        assert_eq!((&session["kind"], &session["tenant"]), (&"probe".into(), &login["tenant"]));
    }

    let (status, text) = verify(&host, &config, &["alice", "--without-bombs"]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("  enter door: gone through, as root of this host: "), "{text}");
    assert!(!text.contains("By the enter door"), "nothing is wrong: {text}");
    let (_, text) = verify(&host, &config, &["alice", "--without-bombs", "--verbose"]);
    assert!(text.contains("By the enter door"), "{text}");
}

#[test]
fn an_enter_door_that_is_off_is_told() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let scratch = Scratch::new();
    let text = fs::read_to_string(host.door.dir.join("cellblock.toml")).unwrap();
    let own = scratch.path().display().to_string();
    let config = scratch.write("cellblock.toml", &text.replace(&host.door.dir.path().display().to_string(), &own));
    let (status, text) = verify(&host, &config, &["bob", "--without-bombs"]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("  enter door: no listener answers, it is off"), "{text}");
}

/// "through every door that is on": the same probe, told the same, comes with the tenant's host account, as a
/// program of theirs
#[test]
fn a_probe_that_an_account_brings_along_finds_what_verify_finds() {
    if !root() {
        return;
    }
    let host = Host::start("", "");
    let program = fs::read(env!("CARGO_BIN_EXE_cellblock-init")).unwrap();
    let task = task(&host.door, "alice");
    let put = run_bounded(host.enter("alice", &["--", "sh", "-c", "cat >probe && chmod 700 probe"]), &program);
    assert_eq!(put.status, 0, "{}", put.err);
    let start = format!("exec -a {PROBE} ./probe");
    let ran = run_bounded(host.enter("alice", &["--", "bash", "-c", &start]), &serde_json::to_vec(&task).unwrap());
    as_verify_finds(&ran, "alice");
}
