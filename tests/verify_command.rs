//! `cellblock verify` as an admin runs it: on the tenants of `try`, on every example, and wrongly.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test support code"
)]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use cellblock::wire::init::PROBE;
use serde_json::Value;
use support::{
    Door, Ran, Scratch,
    probe::{as_verify_finds, task},
    root, run_bounded,
};

fn verify(config: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellblock"));
    command.arg("verify").arg("--config").arg(config).args(arguments);
    run_bounded(command, b"")
}

/// One object per tenant, by name.
fn objects(ran: &Ran) -> BTreeMap<String, Value> {
    let out = String::from_utf8(ran.out.clone()).unwrap();
    let lines = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{line}: {e}")));
    lines.map(|object| (object["tenant"].as_str().unwrap().to_owned(), object)).collect()
}

/// Checks that did not hold.
fn wrong(object: &Value) -> Vec<String> {
    let checks = object["checks"].as_array().unwrap_or_else(|| panic!("{object}"));
    let bad = checks.iter().filter(|check| matches!(check["verdict"].as_str(), Some("escaped" | "unknown")));
    bad.map(|check| format!("{}: {}", check["check"], check["attempts"])).collect()
}

#[test]
fn verify_shows_that_the_tenants_of_try_are_contained() {
    if !root() {
        return;
    }
    let door = Door::tried();
    let config = door.dir.join("cellblock.toml");
    let live = door.spawn("alice", "echo up; exec cat");
    assert_eq!(live.line(), "up");
    let ran = verify(&config, &["--all", "--json"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    let objects = objects(&ran);
    assert_eq!(objects.keys().map(String::as_str).collect::<Vec<_>>(), ["alice", "bob", "eve"]);
    for object in objects.values() {
        assert!(wrong(object).is_empty(), "{}", wrong(object).join("\n"));
        assert!(object["ssh"][0]["banner"].as_str().unwrap().starts_with("SSH-2.0-"), "{}", object["ssh"]);
        assert_eq!(object["door"], "cell");
    }
    assert_eq!((&objects["alice"]["cell"], &objects["bob"]["cell"]), (&"joined".into(), &"started".into()));
    // Who was there notices nothing, and who comes next gets a cell.
    drop(live);
    assert_eq!(door.ok("alice", "id -u"), "1000");
    assert_eq!(door.ok("bob", "id -u"), "1000");
}

/// "through every door that is on": the same probe, told the same, comes by ssh with the tenant's key,
/// as a program of theirs
#[test]
fn a_probe_that_comes_through_the_ssh_door_finds_what_verify_finds() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let program = fs::read(env!("CARGO_BIN_EXE_cellblock-init")).unwrap();
    for tenant in ["alice", "eve"] {
        let task = task(&door, tenant);
        let put = door.run_with(tenant, "cat >probe && chmod 700 probe", &program);
        assert_eq!(put.status, 0, "{}", put.err);
        let start = format!("exec -a {PROBE} ./probe");
        let ran = door.run_with(tenant, &start, &serde_json::to_vec(&task).unwrap());
        assert_eq!(ran.status, 0, "{}", ran.err);
        as_verify_finds(&ran, tenant);
    }
}

#[test]
fn verify_passes_for_every_example() {
    if !root() {
        return;
    }
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut seen = 0;
    for entry in fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        let scratch = Scratch::new();
        let config = adapt(&fs::read_to_string(&path).unwrap(), &scratch);
        let ran = verify(&config, &["--all", "--json"]);
        let objects = objects(&ran);
        assert_eq!(ran.status, 0, "{}: {}", path.display(), ran.err);
        for (tenant, object) in &objects {
            if object["verdict"] == "locked" {
                assert_eq!(tenant, "grace");
                continue;
            }
            let wrong = wrong(object);
            assert!(wrong.is_empty(), "{}: {tenant}:\n{}", path.display(), wrong.join("\n"));
        }
        seen += objects.len();
    }
    assert!(seen >= 13, "{seen}");
}

/// An example with its roots, its state and its ids in a directory of the test's.
fn adapt(text: &str, scratch: &Scratch) -> PathBuf {
    let at = scratch.path().display();
    let own = format!(
        "[server]\nstate_dir = \"{at}/state\"\nrun_dir = \"{at}/run\"\naudit_log = \"{at}/audit\"\nlisten = [\"127.0.0.1:1\"]\n\
         id_pool = {{ first = 1650000000, count = 2000000, register = false }}\n"
    );
    let moved = text.replace("\"/srv/", &format!("\"{at}/srv/"));
    for root in moved.lines().filter_map(|line| line.strip_prefix("root = \"/")) {
        let root = Path::new("/").join(root.trim_end_matches('"'));
        fs::DirBuilder::new().recursive(true).mode(0o755).create(root).unwrap();
    }
    let whole = if moved.contains("[server]\n") { moved.replace("[server]\n", &own) } else { own + &moved };
    scratch.write("cellblock.toml", &whole)
}

#[test]
fn verify_tells_a_person_a_line_for_each_check_and_more_where_asked() {
    if !root() {
        return;
    }
    let door = Door::tried();
    let config = door.dir.join("cellblock.toml");
    let brief = verify(&config, &["bob"]);
    assert_eq!(brief.status, 0, "{}", brief.err);
    let text = brief.text();
    assert!(text.starts_with("bob: ") && text.contains("entered as root of this host"), "{text}");
    assert!(text.contains("not gone through (that takes the tenant's key)"), "{text}");
    for check in cellblock::wire::verify::Check::ALL {
        let lines = text.lines().filter(|line| line.starts_with(&format!("    {} ", check.id()))).count();
        assert_eq!(lines, 1, "{}:\n{text}", check.id());
    }
    let full = verify(&config, &["bob", "--verbose", "--without-bombs"]).text();
    assert!(full.lines().count() > text.lines().count() + 100, "{full}");
    assert!(full.contains("why: pid 1 holds the link to the door"), "{full}");
    assert!(full.contains("bombs are left out, as asked"), "{full}");
}

#[test]
fn verify_says_what_it_cannot_do() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let config = adapt("[tenant.alice]\nlocked = true\nroot = \"host\"\n", &scratch);
    for (arguments, status, said) in [
        (&[][..], 2, "<TENANT>"),
        (&["alice", "--all"], 2, "cannot be used with"),
        (&["nobody"], 1, "there is no such tenant"),
        (&["../alice"], 1, "verifying ../alice"),
        (&["alice"], 1, "the tenant is locked"),
    ] {
        let ran = verify(&config, arguments);
        assert!(ran.status == status && ran.err.contains(said), "{arguments:?}: {ran:?}");
    }
    let all = verify(&config, &["--all"]);
    assert!(all.status == 0 && all.text().contains("alice: locked"), "{all:?}");
}
