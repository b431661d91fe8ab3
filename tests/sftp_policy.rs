//! "Per class: read-only, write-only drop box, umask; a line per file operation in the audit log"
//! (issue 4, item 3).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test support code"
)]

use std::{fs, process::Command};

use support::{
    Door, root, run_bounded,
    sftp::{DENIED, OK, Sftp, batch, string},
    soon,
};

/// Only sftp, on the tenant's own files.
const ONLY: &str = "allow = [\"sftp\"]\n";

#[test]
fn read_only_reads_all_and_changes_nothing() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("alice", &format!("{ONLY}sftp = {{ access = \"read-only\" }}"))
        .tenant("bob", &format!("authorized_keys = ['command=\"internal-sftp -R\" {{key}}']\n{ONLY}"))
        .start();
    let file = door.dir.join("file");
    fs::write(&file, "text").unwrap();
    for tenant in ["alice", "bob"] {
        let at = file.display();
        let ran = batch(&door, tenant, &format!("ls -la\nget .bashrc {at}.{tenant}\n"));
        assert_eq!(ran.status, 0, "{}", ran.err);
        for line in
            [&format!("put {at} x"), "rm .bashrc", "mkdir d", "rename .bashrc x", "chmod 777 .bashrc", "ln -s a b"]
        {
            let ran = batch(&door, tenant, line);
            assert!(
                ran.status != 0 && ran.err.to_lowercase().contains("permission denied"),
                "{tenant} {line}: {}",
                ran.err
            );
        }
        assert!(!batch(&door, tenant, "ls").text().contains(" x"));
        assert!(!Sftp::begin(&door, tenant).1.contains("posix-rename"));
    }
    // Nor is there another way in.
    assert_ne!(door.run("alice", "id").status, 0);
}

#[test]
fn a_drop_box_takes_files_and_shows_none() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("alice", &format!("{ONLY}sftp = {{ access = \"drop-box\", umask = \"077\" }}"))
        .start();
    let file = door.dir.join("file");
    fs::write(&file, "text").unwrap();
    let at = file.display();
    let ran = batch(&door, "alice", &format!("put {at} in\nmkdir d\nput {at} d/in\nrename in moved\n"));
    assert_eq!(ran.status, 0, "{}", ran.err);
    let mut scp = Command::new("scp");
    scp.arg("-F").arg(door.dir.join("ssh_config")).arg("-q").arg(&file).arg("alice@door:by-scp");
    let ran = run_bounded(scp, b"");
    assert_eq!(ran.status, 0, "{}", ran.err);
    for line in ["ls", "ls -l moved", "get moved", "rm moved", "rmdir d", "ln -s moved link", "ln moved hard"] {
        let ran = batch(&door, "alice", line);
        // `ls` says why not, and exits as if nothing was wrong.
        let said = format!("{} {}", ran.text(), ran.err);
        assert!(ran.status != 0 || said.contains("Permission denied"), "{line}: {said}");
        assert!(!said.contains("-rw"), "{line}: {said}");
    }
    let mut raw = Sftp::new(&door, "alice");
    // Neither what is there, nor how large it is; more in sftp_drop_box.rs.
    assert_eq!((raw.status(17, &string(b"moved")), raw.status(17, &string(b"no-such"))), (DENIED, DENIED));
    assert_eq!(raw.open(b"moved", 1), Err(DENIED));
    assert_eq!(raw.open(b"moved", 1 | 2), Err(DENIED));
    let home = door.dir.join("state/tenants/alice/home");
    assert_eq!(fs::read_to_string(home.join("moved")).unwrap(), "text");
    let mode =
        |name: &str| std::os::unix::fs::PermissionsExt::mode(&fs::metadata(home.join(name)).unwrap().permissions());
    assert_eq!((mode("moved") & 0o777, mode("d") & 0o777, mode("by-scp") & 0o777), (0o600, 0o700, 0o600));
}

#[test]
fn every_operation_on_a_file_is_a_line_with_names_escaped() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let mut raw = Sftp::new(&door, "alice");
    let name = b"a\n\x1b[2J\xff";
    let handle = raw.open(name, 2 | 8).unwrap();
    assert_eq!(raw.status(6, &[&handle[..], &[0; 8], &string(&[7; 1000])].concat()), OK);
    assert_eq!(raw.status(4, &handle), OK);
    // What a client was told of is on its way already.
    soon("open and close are written", || door.events("file_operation").len() == 2);
    let handle = raw.open(name, 1).unwrap();
    raw.ask(5, &[&handle[..], &[0; 8], &[0, 0, 255, 255]].concat());
    assert_eq!(raw.status(10, &[&handle[..], &4u32.to_be_bytes(), &0o600u32.to_be_bytes()].concat()), OK);
    assert_eq!(raw.status(14, &[string(b"d"), vec![0; 4]].concat()), OK);
    assert_eq!(raw.status(15, &string(b"d")), OK);
    assert_eq!(raw.status(18, &[string(name), string(b"b")].concat()), OK);
    assert_eq!(raw.status(20, &[string(b"target"), string(b"link")].concat()), OK);
    assert_eq!(raw.extended("hardlink@openssh.com", &[string(b"b"), string(b"hard")].concat()).1[..4], [0; 4]);
    assert_eq!(raw.status(13, &string(b"b")), OK);
    assert_ne!(raw.status(13, &string(b"/etc/passwd")), OK);
    assert_eq!(raw.end(), 0);
    soon("the end is written", || door.events("session_end").len() == 1);

    let lines = door.events("file_operation");
    let told: Vec<_> =
        lines.iter().map(|line| (line["operation"].as_str().unwrap(), line["path"].as_str().unwrap())).collect();
    let escaped = "a\\n\\x1b[2J\\xff";
    let expected = [
        ("open_write", escaped),
        ("close", escaped),
        ("open_read", escaped),
        ("setstat", escaped),
        ("mkdir", "d"),
        ("rmdir", "d"),
        ("rename", escaped),
        ("symlink", "link"),
        ("hardlink", "b"),
        ("remove", "b"),
        ("remove", "/etc/passwd"),
        // Open at the end: closed by it.
        ("close", escaped),
    ];
    assert_eq!(told, expected);
    assert_eq!((&lines[1]["written"], &lines[1]["read"]), (&1000.into(), &0.into()));
    assert_eq!(lines[11]["read"], 1000);
    assert_eq!((&lines[6]["to"], &lines[7]["to"], &lines[8]["to"]), (&"b".into(), &"target".into(), &"hard".into()));
    assert!(lines[10]["error"].is_string() && lines[9].get("error").is_none());
    let start = &door.events("session_start")[0];
    assert!(lines.iter().all(|line| line["session"] == start["session"] && line["tenant"] == "alice"));
    assert_eq!((&start["kind"], &start["command"]), (&"subsystem".into(), &"sftp".into()));
    // Before the receipt of its session.
    let all = door.audit();
    let place = |kind: &str| all.iter().rposition(|event| event["event"] == kind).unwrap();
    assert!(place("file_operation") < place("session_end"));
}

#[test]
fn a_flood_of_operations_is_counted_and_slows_nobody_down() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let mut raw = Sftp::new(&door, "alice");
    let (rounds, batch) = (70, 1000);
    // Lines of some 500 bytes: three times what a tenant may have at once (`account/allowance.rs`).
    let name = string(&[b'x'; 300]);
    for _ in 0..rounds {
        let ids: Vec<u32> = (0..batch).map(|_| raw.send(13, &name)).collect();
        ids.into_iter().for_each(|id| drop(raw.reply(id)));
    }
    assert_eq!(raw.end(), 0);
    soon("the end is written", || door.events("session_end").len() == 1);
    let listed = door.events("file_operation").len() as u64;
    let unlisted: u64 =
        door.events("file_operations_unlisted").iter().map(|line| line["operations"].as_u64().unwrap()).sum();
    assert_eq!(listed + unlisted, rounds * batch);
    assert!(listed >= 10_000 && unlisted > 0, "{listed} {unlisted}");
}
