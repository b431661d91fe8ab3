//! `cellblock check` on bad and good configs: the exact text, as an admin sees it. Needs root.
//!
//! Each directory in tests/messages holds a config, with `tenants.d` if the case needs one, and
//! `expected.txt`: the exit status, then stdout and stderr, the directory written as DIR.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    dead_code,
    reason = "test support code, shared by several tests"
)]

mod scratch;

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, lchown},
    path::{Path, PathBuf},
    process::Command,
};

use scratch::{Scratch, compare_or_bless};

fn messages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages")
}

fn copy(from: &Path, scratch: &Scratch, below: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), below.join(entry.file_name()))).unwrap();
        if path.is_dir() {
            copy(&path, scratch, &name);
        } else if path.extension().is_some_and(|end| end == "toml" || end == "keys") {
            let text = fs::read_to_string(&path).unwrap().replace("DIR", &scratch.path().display().to_string());
            scratch.write(&name, &text);
        }
    }
}

/// Status, stdout and stderr of `cellblock check`, as they stand in `expected.txt`.
fn check(scratch: &Scratch, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_cellblock"))
        .args(["check", "--config"])
        .arg(scratch.path().join("cellblock.toml"))
        .args(arguments)
        .output()
        .unwrap();
    let text = format!(
        "exit status {}\n--- stdout\n{}--- stderr\n{}",
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap()
    );
    text.replace(&scratch.path().display().to_string(), "DIR")
        // What kernels before 6.12 have more to say.
        .replace(" and on abstract sockets included", " included")
        .replace("; Linux 6.12 keeps abstract sockets apart", "")
}

fn case(name: &str, arguments: &[&str], prepare: impl FnOnce(&Scratch)) {
    let scratch = Scratch::new(&format!("check-{name}"));
    copy(&messages().join(name), &scratch, Path::new(""));
    prepare(&scratch);
    compare_or_bless(&messages().join(name).join("expected.txt"), &check(&scratch, arguments));
}

#[test]
fn syntax_errors_are_shown_all_at_once() {
    case("syntax", &[], |_| {});
}

#[test]
fn unknown_keys_come_with_the_nearest_known_one() {
    case("unknown", &[], |_| {});
}

#[test]
fn values_of_the_wrong_kind_are_shown_where_they_stand() {
    case("values", &[], |_| {});
}

#[test]
fn classes_that_are_not_there_or_start_from_themselves_are_errors() {
    case("classes", &[], |_| {});
}

#[test]
fn host_keys_that_cannot_be_used_are_errors() {
    case("host-keys", &[], |scratch| {
        let make = |name: &str, arguments: &[&str]| {
            let made =
                Command::new("ssh-keygen").args(["-q", "-f"]).arg(scratch.path().join(name)).args(arguments).status();
            assert!(made.unwrap().success());
        };
        make("good", &["-t", "ed25519", "-N", ""]);
        make("short", &["-t", "rsa", "-b", "2048", "-N", ""]);
        make("locked", &["-t", "ed25519", "-N", "a passphrase"]);
        make("old", &["-t", "rsa", "-b", "3072", "-m", "PEM", "-N", ""]);
        make("shown", &["-t", "ed25519", "-N", ""]);
        fs::set_permissions(scratch.path().join("shown"), fs::Permissions::from_mode(0o644)).unwrap();
    });
}

#[test]
fn keys_that_cannot_be_honoured_are_errors() {
    case("keys", &[], |_| {});
}

#[test]
fn roots_are_private_and_serve_one_tenant() {
    case("roots", &[], |scratch| {
        scratch.directory("jails/alice/inside");
        scratch.directory("open/dave");
        for path in ["", "open", "open/dave"] {
            fs::set_permissions(scratch.path().join(path), fs::Permissions::from_mode(0o755)).unwrap();
        }
        scratch.directory("theirs/erin");
        lchown(scratch.path().join("theirs"), Some(1000), None).unwrap();
    });
}

/// "file:line:col findings when two tenants tie the same account" (issue 5)
#[test]
fn a_host_account_is_one_tenant() {
    case("ties", &[], |_| {});
}

#[test]
fn files_that_others_can_write_are_not_read() {
    case("trust", &[], |scratch| {
        for (name, mode) in [("tenants.d/group.toml", 0o660), ("tenants.d/world.toml", 0o606)] {
            fs::set_permissions(scratch.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        lchown(scratch.path().join("tenants.d/theirs.toml"), Some(1000), None).unwrap();
        std::os::unix::fs::symlink("/etc/shadow", scratch.path().join("tenants.d/link.toml")).unwrap();
        fs::write(scratch.path().join("tenants.d/binary.toml"), b"shell = \"\xff\"").unwrap();
    });
}

#[test]
fn a_config_in_a_directory_that_others_can_write_is_not_read() {
    case("directory", &[], |scratch| {
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o777)).unwrap();
    });
}

#[test]
fn a_missing_config_is_an_error() {
    case("missing", &[], |_| {});
}

#[test]
fn a_good_config_says_so_and_shows_its_warnings() {
    case("warnings", &[], |_| {});
}

#[test]
fn an_explanation_says_where_every_setting_comes_from() {
    case("explain", &["--explain", "alice"], |_| {});
}

#[test]
fn an_explanation_of_one_key_can_be_had_as_json() {
    case("explain-json", &["--explain", "alice.limits", "--json"], |_| {});
}

#[test]
fn an_explanation_of_an_unknown_tenant_fails() {
    case("explain-unknown", &["--explain", "mallory"], |_| {});
}

/// "`check --plan alice` prints the jail as the list of operations that will be done": and does none
#[test]
fn a_plan_is_printed_and_not_carried_out() {
    let scratch = Scratch::new("check-plan");
    let at = scratch.path().display().to_string();
    scratch.write(
        "cellblock.toml",
        &format!(
            "[server]\nstate_dir = \"{at}/state\"\nrun_dir = \"{at}/run\"\nhost_keys = [\"{at}/host_ed25519\"]\n\
             id_pool = {{ first = 700000000, count = 1000000, register = false }}\n\
             [tenant.alice]\nhostname = \"there\"\nlimits = {{ tmp = \"3M\" }}\n"
        ),
    );
    let text = check(&scratch, &["--plan", "alice"]);
    assert!(text.starts_with("exit status 0\n"), "{text}");
    // A spare does it where there is one: not on cgroup v2.
    let clone = match text.contains("\nspare: ") {
        true => "listener: clone, as a uid that no other cell has: user, mount and pid",
        false => "monitor: clone, as uid 700000001: user, mount",
    };
    for line in [
        clone,
        "monitor: map ids 0-65535 to 700000001-700065536",
        ": set host name there",
        ": mount tmpfs at /tmp: nosuid, nodev, size=3145728",
        ": set user.max_user_namespaces 0",
        ": pivot to the new root, detach the old",
        ": listen, take orders",
    ] {
        assert!(text.contains(line), "{line:?} is missing: {text}");
    }
    assert!(!scratch.path().join("state").exists() && !scratch.path().join("run").exists(), "it has done something");
    assert!(check(&scratch, &["--plan", "mallory"]).starts_with("exit status 1\n"));
}

#[test]
fn two_hundred_findings_are_shown_and_the_rest_is_counted() {
    let scratch = Scratch::new("check-many");
    scratch.write("cellblock.toml", "");
    for number in 0..300 {
        scratch.write(format!("tenants.d/t{number}.toml"), "shel = 1\nlocked = true\n");
    }
    let text = check(&scratch, &[]);
    assert_eq!(text.matches("error: unknown key `shel`").count(), 200);
    assert!(text.contains("… and 100 more"), "{text}");
    assert!(text.ends_with("DIR/cellblock.toml: 300 errors, 0 warnings\n"), "{text}");
}

#[test]
fn wrong_usage_ends_with_2() {
    let scratch = Scratch::new("check-usage");
    assert!(check(&scratch, &["--unheard-of"]).starts_with("exit status 2\n"));
    assert!(check(&scratch, &["--json"]).starts_with("exit status 2\n"));
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let scratch = Scratch::new("check-pipe");
    scratch.write("cellblock.toml", "");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = Command::new(env!("CARGO_BIN_EXE_cellblock"))
        .args(["check", "--config"])
        .arg(scratch.path().join("cellblock.toml"))
        .stdout(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
}
