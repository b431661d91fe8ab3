//! "sftp by our own server inside the cell, as the tenant, with nothing needed in the root … `scp` in
//! both protocols, rsync, git over ssh, sshfs work" (issue 4, item 3), by the clients that people use.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test support code"
)]

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use support::{Door, Ran, Scratch, root, run_bounded};

fn client(door: &Door, program: &str) -> Command {
    let mut command = Command::new(program);
    command.arg("-F").arg(door.dir.join("ssh_config"));
    command
}

/// `sftp -b -` with these lines; `-` before a line lets it fail.
fn sftp(door: &Door, tenant: &str, lines: &str) -> Ran {
    let mut command = client(door, "sftp");
    command.args(["-q", "-b", "-", &format!("{tenant}@door")]);
    run_bounded(command, lines.as_bytes())
}

fn sftp_ok(door: &Door, tenant: &str, lines: &str) -> String {
    let ran = sftp(door, tenant, lines);
    assert_eq!(ran.status, 0, "{lines}\n{}\n{}\n{}", ran.text(), ran.err, door.log());
    ran.text()
}

fn ok(command: Command) -> String {
    let shown = format!("{command:?}");
    let ran = run_bounded(command, b"");
    assert_eq!(ran.status, 0, "{shown}\n{}\n{}", ran.text(), ran.err);
    ran.text()
}

/// A tree with what a copy can get wrong: sizes around packets, odd names, links, modes.
fn tree(scratch: &Scratch) -> std::path::PathBuf {
    let tree = scratch.join("tree");
    fs::create_dir_all(tree.join("sub/deeper")).unwrap();
    for (name, length) in [("empty", 0), ("one", 1), ("packet", 32768), ("large", 3_000_001), ("sub/deeper/x", 261_120)]
    {
        let bytes: Vec<u8> = (0..length).map(|n: usize| (n % 251) as u8).collect();
        fs::write(tree.join(name), bytes).unwrap();
    }
    fs::write(tree.join("naïve name\u{2028}"), "odd").unwrap();
    fs::write(tree.join("run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(tree.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    tree
}

fn same(a: &Path, b: &Path) {
    let mut diff = Command::new("diff");
    diff.arg("-r").arg(a).arg(b);
    ok(diff);
}

fn ssh_option(door: &Door) -> String {
    format!("ssh -F {}", door.dir.join("ssh_config").display())
}

#[test]
fn files_go_both_ways_by_sftp_in_a_root_that_holds_nothing() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let empty = scratch.join("empty");
    fs::create_dir(&empty).unwrap();
    let door = Door::with("").tenant("alice", &format!("root = \"{}\"\nhome = \"/\"", empty.display())).start();
    let tree = tree(&scratch);
    let back = scratch.join("back");
    fs::create_dir(&back).unwrap();
    let out = sftp_ok(
        &door,
        "alice",
        &format!(
            "pwd\ncd /tmp\nput -r {0}\nls -la tree\nget -r tree {1}\nrename tree/one tree/two\nchmod 600 tree/two\n\
             ls -l tree/two\nln -s two tree/link\nls -l tree\nrm tree/two\nmkdir tree/d\nrmdir tree/d\ndf tree\n",
            tree.display(),
            back.display()
        ),
    );
    same(&tree, &back.join("tree"));
    let meta = fs::metadata(back.join("tree/run")).unwrap();
    assert_eq!(meta.permissions().mode() & 0o111, 0o111);
    for expected in ["/", "-rw-------", "lrwxrwxrwx", "large", "tree/.", "tree/..", "Avail"] {
        assert!(out.contains(expected), "{expected}: {out}");
    }
}

#[test]
fn scp_works_in_both_of_its_protocols() {
    if !root() {
        return;
    }
    let (door, scratch) = (Door::standard(), Scratch::new());
    let tree = tree(&scratch);
    for (protocol, back) in [("-s", "by-sftp"), ("-O", "by-scp")] {
        let back = scratch.join(back);
        let mut put = client(&door, "scp");
        put.args([protocol, "-qrp"]).arg(&tree).arg(format!("alice@door:{}", if protocol == "-s" { "s" } else { "o" }));
        ok(put);
        let mut get = client(&door, "scp");
        get.args([protocol, "-qrp"]).arg(format!("alice@door:{}", if protocol == "-s" { "s" } else { "o" })).arg(&back);
        ok(get);
        same(&tree, &back);
        let (was, is) = (fs::metadata(tree.join("run")).unwrap(), fs::metadata(back.join("run")).unwrap());
        assert_eq!((was.mode(), was.mtime()), (is.mode(), is.mtime()));
    }
    // The tenant's files, as the tenant's own commands see them.
    assert_eq!(door.ok("alice", "stat -c '%U %a' ~/s/run"), "alice 755");
}

#[test]
fn rsync_and_git_work_over_ssh() {
    if !root() {
        return;
    }
    let (door, scratch) = (Door::standard(), Scratch::new());
    let tree = tree(&scratch);
    symlink("one", tree.join("link")).unwrap();
    let rsync = |from: String, to: String| {
        let mut command = Command::new("rsync");
        command.args(["-a", "--delete", "-e", &ssh_option(&door), &from, &to]);
        ok(command)
    };
    rsync(format!("{}/", tree.display()), "alice@door:copy/".into());
    rsync("alice@door:copy/".into(), format!("{}/back/", scratch.path().display()));
    same(&tree, &scratch.join("back"));

    door.ok("alice", "git init -q --bare -b main repo.git");
    let git = |dir: &Path, args: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(dir).args(args).env("GIT_SSH_COMMAND", ssh_option(&door)).env("HOME", "/nonexistent");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "a").env(format!("GIT_{who}_EMAIL"), "a@b");
        }
        ok(command)
    };
    let (one, two) = (scratch.join("one"), scratch.join("two"));
    git(scratch.path(), &["clone", "-q", "alice@door:repo.git", &one.display().to_string()]);
    fs::write(one.join("file"), "text\n").unwrap();
    git(&one, &["add", "."]);
    git(&one, &["commit", "-qm", "first"]);
    git(&one, &["push", "-q", "origin", "HEAD:main"]);
    git(scratch.path(), &["clone", "-q", "alice@door:repo.git", &two.display().to_string()]);
    assert_eq!(fs::read_to_string(two.join("file")).unwrap(), "text\n");
}

/// Unmounts, whatever happened.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("fusermount3").arg("-uz").arg(&self.0).status().ok();
    }
}

#[test]
fn sshfs_mounts_copies_builds_and_unmounts() {
    if !root() {
        return;
    }
    let (door, scratch) = (Door::standard(), Scratch::new());
    let (tree, at) = (tree(&scratch), scratch.join("mnt"));
    fs::create_dir(&at).unwrap();
    let mut mount = Command::new("sshfs");
    mount.arg("alice@door:").arg(&at).arg("-F").arg(door.dir.join("ssh_config"));
    let mounted = Mounted(at.clone());
    ok(mount);
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(&tree).arg(at.join("copy"));
    ok(copy);
    same(&tree, &at.join("copy"));
    let mut build = Command::new("sh");
    build.current_dir(&at).arg("-ec").arg(
        "mkdir b; cd b; printf 'int f(void){return 42;}\\n' >f.c; printf 'int f(void);int main(void){return f();}\\n' >m.c\n\
         printf 'm: m.o f.o\\n\\tcc -o m m.o f.o\\n%%.o: %%.c\\n\\tcc -c $<\\n' >Makefile; make -s; ./m || test $? = 42\n\
         mv m n; ln -s n l; test \"$(readlink l)\" = n; chmod 700 n; truncate -s 5 f.c; test $(stat -c %s f.c) = 5; rm -r ../b\n\
         df .. >/dev/null",
    );
    ok(build);
    let mut unmount = Command::new("fusermount3");
    unmount.arg("-u").arg(&at);
    ok(unmount);
    drop(mounted);
    same(&tree, &door.dir.join("state/tenants/alice/home/copy"));
}
