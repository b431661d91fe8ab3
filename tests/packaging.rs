//! What `packaging/` installs is what docs/install.md says, works where it lies, and goes away again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "test support code"
)]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use support::{Door, Scratch, debian_root, program, root};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Where cargo has put what is installed here.
fn built() -> PathBuf {
    program("cellblock").parent().unwrap().to_owned()
}

/// Runs a script of ours, and says what it printed.
fn run(script: &str, arguments: &[&str], tree: &Path) -> String {
    let ran = Command::new(repository(script)).args(arguments).env("DESTDIR", tree).output().unwrap();
    assert!(ran.status.success(), "{script}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

fn install(tree: &Path) -> String {
    run("packaging/install", &["--from", built().to_str().unwrap()], tree)
}

/// All files and links below `directory`, as paths from there, with their modes.
fn files(directory: &Path) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                left.push(path);
            } else {
                let name = path.strip_prefix(directory).unwrap().display();
                found.insert(format!("/{name}"), meta.permissions().mode() & 0o7777);
            }
        }
    }
    found
}

#[test]
fn an_installation_is_what_the_page_about_it_says() {
    let scratch = Scratch::new();
    let tree = scratch.join("tree");
    install(&tree);
    let files = files(&tree);
    for name in ["/usr/sbin/cellblock", "/usr/libexec/cellblock/cellblock-ssh", "/usr/libexec/cellblock/cellblock-init"]
    {
        assert_eq!(files.get(name), Some(&0o755), "{name}");
    }
    assert_eq!(files.get("/etc/cellblock/cellblock.toml"), Some(&0o600));
    assert_eq!(fs::read_link(tree.join("usr/sbin/cellblock-shell")).unwrap(), Path::new("cellblock"));

    let page = fs::read_to_string(repository("docs/install.md")).unwrap();
    let told: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .flat_map(|line| line.split('|').next().unwrap().split('`').filter(|place| place.starts_with('/')))
        .collect();
    let made_later = |place: &&str| place.starts_with("/var/");
    for place in told.iter().filter(|place| !made_later(place) && **place != "/etc/pam.d/cellblock") {
        assert!(files.keys().any(|file| file.starts_with(place)), "{place} is told of, and nothing is there");
    }
    let undocumented = ["/usr/share/man/", "/usr/lib/sysusers.d/", "/usr/lib/tmpfiles.d/", "/usr/lib/systemd/system/"];
    for file in files.keys() {
        let known = told.iter().any(|place| file.starts_with(place));
        assert!(known || undocumented.iter().any(|place| file.starts_with(place)), "{file} is not told of");
    }
}

#[test]
fn what_an_admin_changed_is_left_alone() {
    let scratch = Scratch::new();
    let tree = scratch.join("tree");
    install(&tree);
    assert!(!install(&tree).contains("kept"), "nothing was changed");
    let config = tree.join("etc/cellblock/cellblock.toml");
    fs::write(&config, "[server]\nlisten = []\n").unwrap();
    assert!(install(&tree).contains("kept: /etc/cellblock/cellblock.toml"));
    assert_eq!(fs::read_to_string(&config).unwrap(), "[server]\nlisten = []\n");
    let new = fs::read(tree.join("etc/cellblock/cellblock.toml.dpkg-dist")).unwrap();
    assert_eq!(new, fs::read(repository("config/cellblock.toml")).unwrap());

    // logrotate reads all in its directory but what is called like that.
    fs::write(tree.join("etc/logrotate.d/cellblock"), "/var/log/cellblock/audit.jsonl {\n    rotate 3\n}\n").unwrap();
    install(&tree);
    let rotated = Command::new("logrotate")
        .args(["--debug", "--state"])
        .arg(scratch.join("state"))
        .arg(tree.join("etc/logrotate.d"))
        .output()
        .unwrap();
    assert!(tree.join("etc/logrotate.d/cellblock.dpkg-dist").exists());
    let said = String::from_utf8_lossy(&rotated.stderr).into_owned();
    assert!(said.contains("Ignoring cellblock.dpkg-dist") && !said.contains("duplicate"), "{said}");

    run("packaging/install", &["--remove"], &tree);
    let left: Vec<String> = files(&tree).into_keys().filter(|file| !file.starts_with("/etc/")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(config.exists());
}

/// As root of a Debian, which is a tenant's: what dpkg does is done to it alone.
#[test]
fn a_debian_package_installs_works_and_is_purged() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = debian_root(&scratch);
    let to = scratch.join("package");
    fs::create_dir(&to).unwrap();
    let ran =
        Command::new(repository("packaging/deb")).arg("--from").arg(built()).arg("--to").arg(&to).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let package = PathBuf::from(String::from_utf8(ran.stdout).unwrap().trim());

    // By hand, before there was a package.
    fs::write(tree.join("usr/sbin/cellblock-admin"), "#!/bin/sh\necho old\n").unwrap();
    fs::set_permissions(tree.join("usr/sbin/cellblock-admin"), fs::Permissions::from_mode(0o755)).unwrap();
    let door = Door::with("").tenant("bob", &format!("root = \"{}\"\nuser = \"root\"", tree.display())).start();
    let ran = door.run_with("bob", "cat > /root/it.deb && dpkg -i /root/it.deb", &fs::read(package).unwrap());
    assert_eq!(ran.status, 0, "{}\n{}\n{}", ran.text(), ran.err, door.log());
    let version = format!("cellblock {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(door.ok("bob", "cellblock --version").trim(), version);
    door.ok("bob", "cellblock check && id cellblock && dpkg --audit");
    assert!(door.ok("bob", "stat -c '%U %a' /etc/cellblock/cellblock.toml").contains("root 600"));

    door.ok("bob", "echo '# mine' >> /etc/cellblock/cellblock.toml; dpkg --force-confold -i /root/it.deb");
    assert!(door.ok("bob", "tail -n 1 /etc/cellblock/cellblock.toml").contains("# mine"));
    door.ok("bob", "mkdir -p /var/lib/cellblock/tenants/alice/home /var/log/cellblock; touch /etc/cellblock/ssh_host_ed25519_key; dpkg --purge cellblock 2>&1");
    let left = "find / -xdev -name '*cellblock*' -not -path '/proc/*' -not -path '/sys/*' -not -path '/run/*' -not -path '/tmp/*'";
    assert_eq!(door.ok("bob", left).trim(), "/var/lib/cellblock");
    assert!(door.ok("bob", "ls /var/lib/cellblock/tenants/alice").contains("home"), "a tenant's home is never deleted");
}
