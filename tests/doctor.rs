//! `cellblock doctor` on this host, whole and broken (issue 3, item 5).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    dead_code,
    reason = "test support code, shared by several tests"
)]

mod scratch;

use std::{
    env, fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::Command,
};

use cellblock::doctor::checks::ALL;
use scratch::{Scratch, compare_or_bless};
use serde_json::Value;

fn root() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(env::var_os("REQUIRE_ROOT").is_none(), "REQUIRE_ROOT is set and this is not root");
    eprintln!("SKIPPED: needs root (run tests/all)");
    false
}

/// A config whose directories lie in `scratch`.
fn config(scratch: &Scratch, change: impl Fn(String) -> String) {
    let at = scratch.path().display();
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:65022\"]\nhost_keys = [\"{at}/host_ed25519\"]\nstate_dir = \"{at}/state\"\n\
         run_dir = \"{at}/run\"\naudit_log = \"{at}/audit.jsonl\"\n\
         id_pool = {{ first = 1900000000, count = 1000000, register = false }}\n[tenant.alice]\nroot = \"host\"\n"
    );
    scratch.write("cellblock.toml", &change(text));
}

struct Told {
    status: i32,
    text: String,
    json: Value,
}

impl Told {
    /// Level and all words of a check's worst verdict.
    fn worst(&self, id: &str) -> (String, String) {
        let order = ["ok", "unknown", "warn", "fail"];
        let rank = |check: &&Value| order.iter().position(|word| check["level"] == *word).unwrap();
        let checks = self.json["checks"].as_array().unwrap().iter().filter(|check| check["id"] == id);
        let worst = checks.max_by_key(rank).unwrap_or_else(|| panic!("{id} is not there: {}", self.text));
        (worst["level"].as_str().unwrap().to_owned(), worst.to_string())
    }

    fn is(&self, id: &str, level: &str, word: &str) {
        let (found, words) = self.worst(id);
        assert_eq!(found, level, "{id}: {words}");
        assert!(words.contains(word), "\"{word}\" is not in {words}");
    }
}

fn run(binary: &Path, config: &Path, words: &[&str], uid: u32) -> (i32, String) {
    let mut command = Command::new(binary);
    command.arg("--config").arg(config).arg("doctor").args(words).current_dir("/");
    if uid != 0 {
        command.uid(uid).gid(uid);
    }
    let output = command.output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// Runs it both ways, which must agree: in the exit status, and line by line.
fn doctor_as(binary: &Path, config: &Path, uid: u32) -> Told {
    let (status, text) = run(binary, config, &[], uid);
    let (json_status, json) = run(binary, config, &["--json"], uid);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((status, json_status), (i32::from(json["worst"] == "fail"), status), "{text}");
    let checks = json["checks"].as_array().unwrap();
    for check in checks {
        let line = text.lines().find(|line| {
            let words: Vec<_> = line.split_whitespace().take(2).collect();
            words == [check["level"].as_str().unwrap(), check["id"].as_str().unwrap()]
                && line.ends_with(check["found"].as_str().unwrap())
        });
        assert!(line.is_some(), "{check} is not in the text:\n{text}");
        for remedy in check["remedies"].as_array().unwrap() {
            let word = ["command", "advice", "file"].iter().find_map(|key| remedy[*key].as_str()).unwrap();
            assert!(text.contains(word), "{word}\n{text}");
        }
    }
    let count = |level: &str| checks.iter().filter(|check| check["level"] == level).count();
    let summary =
        format!("{} fail, {} warn, {} unknown, {} ok", count("fail"), count("warn"), count("unknown"), count("ok"));
    assert_eq!(text.lines().last().unwrap(), summary);
    for check in ALL {
        assert!(checks.iter().any(|told| told["id"] == check.id), "{} is not told", check.id);
    }
    Told { status, text, json }
}

fn doctor(scratch: &Scratch) -> Told {
    doctor_as(Path::new(env!("CARGO_BIN_EXE_cellblock")), &scratch.path().join("cellblock.toml"), 0)
}

/// In a mount namespace of its own, with another `/etc`: a copy of this host's, changed by a line of shell. Other
/// directories that the line makes lie over the host's as well: `usr-bin` over `/usr/bin`.
fn doctor_elsewhere(scratch: &Scratch, change: &str) -> Told {
    let at = scratch.path().display();
    let script = format!(
        "cd {at}; cp -a /etc etc; {change}; mount --bind etc /etc; [ ! -e usr-bin ] || mount --bind usr-bin /usr/bin; exec \"$0\" \"$@\""
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", &script, env!("CARGO_BIN_EXE_cellblock")]);
    command.args(["--config", &format!("{at}/cellblock.toml"), "doctor", "--json"]);
    let output = command.output().expect("unshare (util-linux)");
    for made in ["etc", "usr-bin"].iter().map(|name| scratch.path().join(name)).filter(|made| made.exists()) {
        fs::remove_dir_all(made).unwrap();
    }
    let json: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    Told { status: output.status.code().unwrap(), text: String::new(), json }
}

/// "every check id appears in docs/doctor.md"
#[test]
fn the_page_is_the_table_of_checks() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/doctor.md");
    compare_or_bless(&page, &cellblock::doctor::page());
    for check in ALL {
        assert!(cellblock::doctor::page().contains(&format!("### `{}`", check.id)), "{}", check.id);
    }
}

/// A host on which the other tests run is one that doctor finds well enough for them
#[test]
fn a_host_that_runs_cells_passes_what_cells_need() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("doctor-whole");
    config(&scratch, |text| text);
    let told = doctor(&scratch);
    for id in
        ["kernel", "user-namespaces", "namespaces", "seccomp", "suid-dumpable", "config", "directories", "host-keys"]
    {
        told.is(id, "ok", "");
    }
    told.is("idmapped-mounts", "ok", &scratch.path().display().to_string());
    told.is("id-ranges", "ok", "0 tenants");
    told.is("id-pool", "ok", "1900000000-1900999999");
    told.is("kernel", "ok", fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim());
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let level = if pattern.starts_with(['|', '@']) { "warn" } else { "ok" };
    told.is("core-pattern", level, pattern.split_whitespace().next().unwrap_or("="));
    assert_eq!(told.json["config"], "read");
    assert!(!scratch.path().join("state").exists() && !scratch.path().join("run").exists(), "it makes nothing");
}

#[test]
fn a_missing_config_leaves_the_host_and_is_said() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("doctor-missing");
    let told = doctor(&scratch);
    assert_eq!(told.json["config"], "missing");
    assert!(told.text.starts_with("There is no config at "), "{}", told.text);
    told.is("config", "unknown", "host alone");
    told.is("idmapped-mounts", "unknown", "no config");
    told.is("namespaces", "ok", "all seven");
}

#[test]
fn what_only_root_can_look_at_is_unknown_to_others() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("doctor-others");
    config(&scratch, |text| text);
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = scratch.path().join("cellblock");
    fs::copy(env!("CARGO_BIN_EXE_cellblock-admin"), &copy).unwrap();
    let told = doctor_as(&copy, &scratch.path().join("cellblock.toml"), 65_534);
    for id in ["namespaces", "config", "idmapped-mounts", "id-ranges", "host-keys", "sshd-port"] {
        told.is(id, "unknown", "");
    }
    told.is("namespaces", "unknown", "run it with sudo");
    told.is("kernel", "ok", "Linux");
}

#[test]
fn a_config_that_others_can_write_fails_with_the_command_that_mends_it() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("doctor-trust");
    config(&scratch, |text| text);
    let path = scratch.path().join("cellblock.toml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).unwrap();
    let told = doctor(&scratch);
    assert_eq!((told.status, told.json["config"].as_str()), (1, Some("unusable")));
    let remedy = format!("chmod go-w {}", path.display());
    told.is("config", "fail", &remedy);
    assert!(Command::new("sh").args(["-c", &remedy]).status().unwrap().success());
    doctor(&scratch).is("config", "ok", "1 tenant");

    config(&scratch, |text| format!("{text}no_such_key = 1\n"));
    doctor(&scratch).is("config", "fail", "check");
}

#[test]
fn a_file_system_that_cannot_be_idmapped_fails() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("doctor-idmap");
    // proc can never be (docs/kernel.md).
    config(&scratch, |text| text.replace(&format!("{}/state", scratch.path().display()), "/proc/cellblock"));
    let told = doctor(&scratch);
    assert_eq!(told.status, 1);
    told.is("idmapped-mounts", "fail", "homes on proc");
    told.is("idmapped-mounts", "fail", "ext4, xfs or btrfs");
}

#[test]
fn directories_and_keys_that_others_get_at_fail() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("doctor-modes");
    config(&scratch, |text| text);
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(scratch.directory("state"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(scratch.write("host_ed25519", "x"), fs::Permissions::from_mode(0o640)).unwrap();
    let told = doctor(&scratch);
    assert_eq!(told.status, 1);
    for (id, remedy) in [("directories", "chmod 700 "), ("host-keys", "chmod 600 ")] {
        told.is(id, "fail", remedy);
        let (_, words) = told.worst(id);
        let check: Value = serde_json::from_str(&words).unwrap();
        let command = check["remedies"][0]["command"].as_str().unwrap();
        assert!(Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
    }
    let told = doctor(&scratch);
    told.is("directories", "ok", "");
    told.is("host-keys", "ok", "");
}

#[test]
fn ids_that_others_have_are_reported() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("doctor-ids");
    config(&scratch, |text| text);
    let doctor = || {
        doctor_elsewhere(
            &scratch,
            "echo 'ann:x:1900000500:1900000500::/:/bin/sh' >>etc/passwd; echo 'ben:1900500000:65536' >etc/subuid",
        )
    };
    let told = doctor();
    told.is("id-pool", "warn", "account 1900000500, ben in /etc/subuid (1900500000-1900565535)");
    told.is("id-ranges", "ok", "0 tenants");
    scratch.write("state/ids.toml", "alice = { first = 1900000001, count = 65536 }\n");
    let told = doctor();
    assert_eq!(told.status, 1);
    told.is("id-ranges", "fail", "alice (1900000001-1900065536) with account 1900000500");
    scratch.write("state/ids.toml", "alice = { first = 1900560000, count = 65536 }\n");
    doctor().is("id-ranges", "fail", "with ben in /etc/subuid");
}

/// docs/enter.md: cron and at "run `/bin/sh` whatever shell an account has"
#[test]
fn accounts_that_are_tenants_and_may_have_jobs_on_the_host_are_named_with_the_file_that_keeps_them_out() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("doctor-jobs");
    config(&scratch, |text| format!("{text}host_user = \"ann\"\n"));
    let ann = "echo 'ann:x:1800000500:1800000500::/:/usr/sbin/cellblock-shell' >>etc/passwd";
    let told = |line: &str| {
        doctor_elsewhere(&scratch, &format!("{ann}; mkdir usr-bin; rm -f etc/cron.* etc/at.* || true; {line}"))
    };
    told(":").is("host-jobs", "ok", "neither cron nor at");
    let there = "touch usr-bin/crontab usr-bin/at etc/at.deny";
    told(there).is("host-jobs", "warn", "cron takes jobs of ann; at takes jobs of ann");
    let (_, words) =
        told(&format!("{there}; echo joe >etc/at.allow; printf 'joe\\nann\\n' >etc/cron.allow")).worst("host-jobs");
    let check: Value = serde_json::from_str(&words).unwrap();
    assert_eq!(check["found"], "cron takes jobs of ann");
    let remedies = check["remedies"].as_array().unwrap();
    assert_eq!(
        (remedies.len(), &remedies[0]["file"], &remedies[0]["text"]),
        (1, &"/etc/cron.allow".into(), &"joe\n".into())
    );
    let (file, text) = (remedies[0]["file"].as_str().unwrap(), remedies[0]["text"].as_str().unwrap());
    let installed = format!("{there}; echo joe >etc/at.allow; printf '{}' >.{file}", text.replace('\n', "\\n"));
    told(&installed).is("host-jobs", "ok", "no account that is a tenant may have jobs (cron, at)");
}

/// "sshd settings that leak around the jail": what sshd says of itself
#[test]
fn the_other_ssh_server_is_asked_and_compared() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("doctor-sshd");
    fs::create_dir_all("/run/sshd").unwrap();
    let said = Command::new("/usr/sbin/sshd").arg("-T").output().expect("sshd (tests/all installs it)");
    let said = String::from_utf8(said.stdout).unwrap();
    let address = said.lines().find_map(|line| line.strip_prefix("listenaddress ")).expect("an address");
    config(&scratch, |text| text.replace("127.0.0.1:65022", address).replace("[tenant.alice]", "[tenant.nobody]"));
    let told = doctor(&scratch);
    told.is("sshd-port", "warn", address);
    told.is("same-names", "warn", "DenyUsers nobody");
    config(&scratch, |text| text);
    let told = doctor(&scratch);
    told.is("sshd-port", "ok", "127.0.0.1:65022");
    told.is("same-names", "ok", "");
}

/// "100,000 tenants: bounded, per distinct filesystem"
#[test]
fn many_roots_on_one_file_system_are_one_line() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("doctor-many");
    config(&scratch, |text| text);
    for number in 0..300 {
        let root = scratch.directory(format!("roots/t{number}"));
        let text = format!("root = \"{}\"\nids = 2000\n", root.display());
        scratch.write(format!("tenants.d/t{number}.toml"), &text);
    }
    let told = doctor(&scratch);
    let lines = told.json["checks"].as_array().unwrap().iter().filter(|check| check["id"] == "idmapped-mounts").count();
    assert_eq!(lines, 2, "homes, and all roots: {}", told.text);
    assert!(told.text.contains("300 roots on "), "{}", told.text);
}
