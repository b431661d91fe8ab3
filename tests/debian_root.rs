//! "A debootstrapped root with `user = "root"`: `apt-get`-style work succeeds inside, and on disk the
//! files have natural owners" (issue 2; kernel.md, 15).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "test support code"
)]

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use support::{Door, Scratch, debian_root, root};

/// A package with a file, a conffile and scripts that make a user.
fn package(scratch: &Scratch) -> PathBuf {
    let tree = scratch.join("package");
    for (path, text, mode) in [
        (
            "DEBIAN/control",
            "Package: cellblock-test\nVersion: 1.0\nArchitecture: all\nMaintainer: test <t@example.org>\nDescription: a test\n",
            0o644,
        ),
        ("DEBIAN/conffiles", "/etc/cellblock-test.conf\n", 0o644),
        (
            "DEBIAN/postinst",
            "#!/bin/sh\nset -e\nuseradd --system --home-dir /var/lib/cbtest --create-home cbtest\nchown cbtest: /usr/share/cellblock-test/data\n",
            0o755,
        ),
        ("etc/cellblock-test.conf", "on\n", 0o644),
        ("usr/share/cellblock-test/data", "data\n", 0o640),
    ] {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let file = scratch.join("test.deb");
    let built = Command::new("dpkg-deb").args(["--root-owner-group", "-b"]).arg(&tree).arg(&file).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    file
}

fn owners(path: &Path) -> (u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    (meta.uid(), meta.gid())
}

#[test]
fn packages_install_users_are_made_and_owners_on_disk_are_natural() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = debian_root(&scratch);
    let package = package(&scratch);
    let door = Door::with("").tenant("bob", &format!("root = \"{}\"\nuser = \"root\"", tree.display())).start();

    let ran = door.run_with("bob", "cat > /root/test.deb && dpkg -i /root/test.deb", &fs::read(&package).unwrap());
    assert_eq!(ran.status, 0, "{}\n{}\n{}", ran.text(), ran.err, door.log());
    door.ok("bob", "apt-get install -y --no-download /root/test.deb");
    assert!(door.ok("bob", "dpkg -s cellblock-test").contains("Status: install ok installed"));
    let system = door.ok("bob", "id -u cbtest").parse::<u32>().unwrap();
    assert_eq!(owners(&tree.join("usr/share/cellblock-test/data")).0, system);
    assert_eq!(owners(&tree.join("etc/cellblock-test.conf")), (0, 0));

    door.ok("bob", "useradd -m carol");
    assert_eq!(door.ok("bob", "id -u carol"), "1000");
    assert_eq!(owners(&tree.join("home/carol")), (1000, 1000));
    door.ok("bob", "echo x > /srv/file && chown carol:cbtest /srv/file && chmod 4750 /srv/file");
    assert_eq!(owners(&tree.join("srv/file")).0, 1000);
    assert_eq!(fs::metadata(tree.join("srv/file")).unwrap().permissions().mode() & 0o7777, 0o4750);
    assert_eq!(door.ok("bob", "su carol -c 'id -un; touch ~/mine'"), "carol");
    assert_eq!(owners(&tree.join("home/carol/mine")), (1000, 1000));
    door.ok("bob", "dpkg --purge cellblock-test && userdel -r carol");
    assert!(!tree.join("home/carol").exists());
}

#[test]
fn an_ordinary_tenant_of_a_directory_is_uid_1000_and_owns_the_home() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = debian_root(&scratch);
    fs::create_dir(tree.join("home/carol")).unwrap();
    std::os::unix::fs::chown(tree.join("home/carol"), Some(1000), Some(1000)).unwrap();
    let door = Door::with("").tenant("carol", &format!("root = \"{}\"", tree.display())).start();
    assert!(door.ok("carol", "id").starts_with("uid=1000"));
    assert_eq!(door.ok("carol", "cd && pwd"), "/home/carol");
    door.ok("carol", "echo mine > ~/file");
    assert_eq!(owners(&tree.join("home/carol/file")), (1000, 1000));
    assert_ne!(door.run("carol", "touch /etc/mine").status, 0);
}

/// What a tenant keeps in a `root = "host"` home outlives the cell, on disk by its natural owner
#[test]
fn the_home_of_a_host_view_persists() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let before = door.counts();
    door.ok("alice", "mkdir -p ~/a/b && echo kept > ~/a/b/c");
    door.returns_to(&before);
    assert_eq!(door.ok("alice", "cat ~/a/b/c"), "kept");
    let home = door.dir.join("state/tenants/alice/home");
    assert_eq!(owners(&home.join("a/b/c")), (1000, 1000), "natural owners on disk");
    assert_eq!(fs::metadata(door.dir.join("state")).unwrap().permissions().mode() & 0o077, 0, "only root enters");
}

/// Files in the tenant's root that steer other jails' builders are data here (threats.md, 5.D: nspawn, Incus, ld.so.preload)
#[test]
fn nothing_in_the_tenants_root_is_honoured_by_our_root_side() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = debian_root(&scratch);
    for (path, text) in [
        ("etc/ld.so.preload", "/tmp/evil.so\n"),
        ("etc/nsswitch.conf", "passwd: evil\n"),
        ("etc/passwd", "root:x:0:0:::/nonexistent-shell\nbob:x:0:0::/:/nonexistent-shell\n"),
        ("etc/environment", "LD_PRELOAD=/tmp/evil.so\n"),
        ("root/.ssh/rc", "touch /ssh-rc-ran\n"),
        ("root/.ssh/environment", "EVIL=1\n"),
        ("root/.ssh/authorized_keys", "\n"),
        (".nspawn", "[Exec]\nPrivateUsers=no\n"),
    ] {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let door = Door::with("")
        .tenant("bob", &format!("root = \"{}\"\nuser = \"root\"\nshell = \"/bin/sh\"", tree.display()))
        .start();
    assert_eq!(door.ok("bob", "echo in $EVIL"), "in");
    assert!(!tree.join("ssh-rc-ran").exists());
    assert!(!door.processes().is_empty());
    assert!(!door.log().contains("evil"));
}
