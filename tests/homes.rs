//! What stands in the way of a tenant's home: it is named, and holds nobody up.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "test support code"
)]

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use support::{Door, Ran, Running, Scratch, patience, procfs, root, run_bounded, soon, until};

/// eve in a root of her own, whose home lies below `/way`; alice beside her.
fn door(scratch: &Scratch) -> (Door, PathBuf) {
    door_with(scratch, "")
}

/// The same with lines in `[server]`.
fn door_with(scratch: &Scratch, server: &str) -> (Door, PathBuf) {
    let tree = scratch.join("root");
    for place in ["bin", "way/home"] {
        fs::create_dir_all(tree.join(place)).unwrap();
    }
    fs::copy("/bin/busybox", tree.join("bin/sh")).unwrap();
    let lines = format!(
        "root = \"{}\"\nuser = \"root\"\nshell = \"/bin/sh\"\nhome = \"/way/home\"\nown_keys = true",
        tree.display()
    );
    let door = Door::with("[defaults]\nlinger = \"0s\"\n")
        .server(server)
        .tenant("alice", "root = \"host\"")
        .tenant("eve", &lines);
    (door.start(), tree)
}

/// A key that only her own file could name, and makes a config for `ssh` with it.
fn own_key(door: &Door) -> PathBuf {
    let key = door.dir.join("own");
    let made = Command::new("ssh-keygen").args(["-qt", "ed25519", "-N", "", "-f"]).arg(&key).status();
    assert!(made.unwrap().success());
    let config = fs::read_to_string(door.dir.join("ssh_config")).unwrap();
    let of_door = format!("{}/id\n", door.dir.path().display());
    door.dir.write("own_config", &config.replace(&of_door, &format!("{}\n", key.display())));
    key
}

/// `ssh eve` with that key.
fn with_own_key(door: &Door) -> Command {
    let mut ssh = Command::new("ssh");
    ssh.arg("-F").arg(door.dir.join("own_config")).args(["-l", "eve", "door", "true"]);
    ssh
}

/// Both ways to where her home should be: hers, when she has logged in, and ours to the keys in there.
fn both_ways(door: &Door) -> (Ran, Ran) {
    let ran = (door.run("eve", "echo in; pwd"), run_bounded(with_own_key(door), b""));
    assert!(ran.0.took < patience(15) && ran.1.took < patience(15), "{ran:?}");
    door.ok("alice", "true");
    ran
}

#[test]
fn a_fifo_on_the_way_home_is_named_and_nobody_waits_for_it() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let (door, tree) = door(&scratch);
    own_key(&door);
    let quiet = door.counts();
    for place in ["way", "way/home", "way/home/.ssh"] {
        let (path, aside) = (tree.join(place), tree.join("aside"));
        if path.exists() {
            fs::rename(&path, &aside).unwrap();
        }
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let (inside, refused) = both_ways(&door);
        let lands = if place == "way/home/.ssh" { "/way/home" } else { "/" };
        assert_eq!((inside.status, inside.text()), (0, format!("in\n{lands}")), "{place}: {inside:?}");
        let told = "Could not chdir to home directory /way/home: Not a directory";
        assert_eq!(inside.err.contains(told), lands == "/", "{place}: {inside:?}");
        assert_eq!(refused.status, 255, "{place}: {refused:?}");
        let named = "reading the keys in ~eve/.ssh/authorized_keys: Not a directory";
        soon("the admin is told", || door.log().contains(named));
        fs::remove_file(&path).unwrap();
        fs::write(door.dir.join("err"), "").unwrap();
        if aside.exists() {
            fs::rename(&aside, &path).unwrap();
        }
    }
    door.returns_to(&quiet);
}

#[test]
fn a_home_below_thousands_of_directories_is_reached_or_named() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let (door, tree) = door(&scratch);
    let key = own_key(&door);
    let quiet = door.counts();
    fs::remove_dir_all(tree.join("way")).unwrap();
    // Each link leads past as many as a path has room for.
    let dig = "
import os
for _ in range(3):
    os.symlink('d/' * 2000, 'on')
    for _ in range(2000):
        os.mkdir('d')
        os.chdir('d')
os.makedirs('home/.ssh')
os.rename(KEY, 'home/.ssh/authorized_keys')
";
    fs::create_dir(tree.join("deep")).unwrap();
    // Followed to its end, it would let her in.
    let dig = dig.replace("KEY", &format!("'{}.pub'", key.display()));
    let dug = Command::new("python3").args(["-c", &dig]).current_dir(tree.join("deep")).status();
    assert!(dug.unwrap().success());
    symlink("deep/on/on/on", tree.join("way")).unwrap();
    let (inside, refused) = both_ways(&door);
    assert!(inside.status == 0 && inside.text().starts_with("in"), "{inside:?}");
    assert!(!inside.err.contains("Could not chdir"), "{inside:?}");
    assert_eq!(refused.status, 255, "{refused:?}");
    soon("the admin is told", || door.log().contains("reading the keys in ~eve/.ssh/authorized_keys: "));
    // More links in a row than the kernel follows.
    fs::remove_file(tree.join("way")).unwrap();
    for number in 0..50 {
        symlink(format!("link{}", number + 1), tree.join(format!("link{number}"))).unwrap();
    }
    fs::create_dir_all(tree.join("link50/home")).unwrap();
    symlink("link0", tree.join("way")).unwrap();
    let (inside, refused) = both_ways(&door);
    assert_eq!((inside.status, inside.text().as_str()), (0, "in\n/"), "{inside:?}");
    assert!(inside.err.contains("Could not chdir to home directory /way/home: "), "{inside:?}");
    assert_eq!(refused.status, 255, "{refused:?}");
    door.returns_to(&quiet);
}

/// A file system that never answers, at `at`, as the door's processes see it; until it is dropped.
fn never_answers(door: &Door, at: &Path) -> Running {
    mounted(door, at, "exec sleep 1000")
}

/// The same, by a server that takes requests and answers the first alone: who has sent one waits in the kernel
/// until there is an answer, or no server, even when it is killed.
fn takes_and_never_answers(door: &Door, at: &Path) -> Running {
    let server = "
import os, struct
length, opcode, unique = struct.unpack(\"<IIQ\", os.read(9, 1 << 18)[:16])
assert opcode == 26, opcode
ready = struct.pack(\"<IIIIHHIIHHI28x\", 7, 31, 1 << 17, 0, 12, 9, 1 << 17, 1, 0, 0, 0)
os.write(9, struct.pack(\"<IiQ\", 16 + len(ready), 0, unique) + ready)
while True:
    os.read(9, 1 << 18)
";
    mounted(door, at, &format!("exec python3 -c '{server}'"))
}

fn mounted(door: &Door, at: &Path, server: &str) -> Running {
    let mount = "exec 9<>/dev/fuse; mount -i -t fuse -o fd=9,rootmode=40000,user_id=0,group_id=0 none \"$0\"";
    let script = format!("{mount} && echo up && {server}");
    let mut command = Command::new("nsenter");
    command.args(["-t", &door.listener().to_string(), "-m", "sh", "-c", &script]).arg(at);
    let running = Running::start(command);
    running.expect("up");
    running
}

/// How many of the door's processes wait for it.
fn hanging(door: &Door) -> usize {
    let hangs = |pid: &i32| procfs::status(*pid, "State").is_some_and(|state| state.starts_with('D'));
    door.processes().iter().filter(|pid| hangs(pid)).count()
}

#[test]
fn a_home_on_storage_that_never_answers_holds_up_nobody_else() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let (door, tree) = door(&scratch);
    own_key(&door);
    let quiet = door.counts();
    let storage = never_answers(&door, &tree.join("way"));
    let mut waiting: Vec<_> = (0..3).map(|_| Running::start(with_own_key(&door))).collect();
    soon("their monitors wait for the storage", || hanging(&door) == waiting.len());
    for tenant in ["alice", "eve", "alice", "eve"] {
        // eve by the key that is in the config: what lies below her root does not come into the cell.
        let ran = door.run(tenant, "echo in");
        assert!(ran.text() == "in" && ran.took < patience(15), "{tenant}: {ran:?}");
    }
    assert!(waiting.iter_mut().all(Running::is_running));
    // One of them has gone before there is an answer.
    drop(waiting.pop());
    drop(storage);
    assert!(waiting.iter_mut().all(|client| client.wait() == 255));
    door.returns_to(&quiet);
}

#[test]
fn logins_that_hang_at_storage_do_not_count_against_max_startups_for_ever() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let grace = patience(2).as_secs();
    let lines = format!("max_startups = \"2:100:2\"\nlogin_grace = \"{grace}s\"");
    let (door, tree) = door_with(&scratch, &lines);
    own_key(&door);
    let quiet = door.counts();
    let storage = takes_and_never_answers(&door, &tree.join("way"));
    let mut waiting: Vec<_> = (0..2).map(|_| Running::start(with_own_key(&door))).collect();
    soon("their monitors wait for the storage", || hanging(&door) == waiting.len());
    let refused = door.run("alice", "true");
    assert!(refused.status == 255 && door.log().contains("refused: max_startups"), "{refused:?}");
    // What a session of PAM may take to open is waited for first.
    let killed = until(patience(60), || door.log().matches("hangs, long after login_grace: it is killed").count() == 2);
    assert!(killed, "{}", door.log());
    door.ok("alice", "true");
    // They are there still: no signal ends what waits in the kernel for an answer.
    assert_eq!(hanging(&door), waiting.len());
    drop(storage);
    assert!(waiting.iter_mut().all(|client| client.wait() == 255));
    door.returns_to(&quiet);
}
