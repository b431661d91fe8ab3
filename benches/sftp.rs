//! One GiB and 10,000 small files by `sftp`, both ways, and the files by `rsync`, beside Debian's
//! sftp-server and sshd (issue 4, "How fast"). All of it in memory, of which that takes 5 GiB: a disk's own
//! ups and downs are greater than what is measured.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "measuring code: a panic is a failed run"
)]

#[path = "support/table.rs"]
mod table;

use std::{
    cell::Cell,
    env, fs,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
};

use support::{Door, Scratch};

const ROUNDS: usize = 5;

/// `BENCH_MIB` and `BENCH_FILES` make a quick run of it.
fn size(variable: &str, otherwise: u64) -> u64 {
    env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Where this is not so yet, starts again with a `/tmp` of its own that is memory: as much as this takes was used
/// before (`benches/run` says why).
fn be_in_memory() {
    const IS: &str = "BENCH_IS_IN_MEMORY";
    if env::var_os(IS).is_none() {
        let mut again = Command::new("unshare");
        let used = format!("head -c {}M /dev/zero >/tmp/all && rm /tmp/all", size("BENCH_MIB", 1024) * 5 + 1024);
        let script = format!("mount -t tmpfs -o size=12G tmpfs /tmp && {used} && exec \"$0\" \"$@\"");
        again.args(["--mount", "sh", "-c", &script]);
        let failed = again.args(env::args_os()).env(IS, "").exec();
        panic!("unshare: {failed}");
    }
}

fn sftp(door: &Door, lines: &str) {
    let mut command = Command::new("sftp");
    command.arg("-F").arg(door.dir.join("ssh_config"));
    command.args(["-q", "-b", "-", &format!("{}@door", door.login("alice"))]);
    let mut client = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    std::io::Write::write_all(client.stdin.as_mut().unwrap(), lines.as_bytes()).unwrap();
    assert!(client.wait().unwrap().success(), "{lines}\n{}", door.log());
}

/// Copies with `rsync`, from one to the other.
fn rsync(door: &Door, from: &str, to: &str) {
    let config = door.dir.join("ssh_config").display().to_string();
    let mut command = Command::new("rsync");
    command.args(["-a", "-e", &format!("ssh -F {config} -l {}", door.login("alice")), from, to]);
    assert!(command.stdin(Stdio::null()).status().unwrap().success(), "{from} {to}\n{}", door.log());
}

/// Where the files lie on the other side: sshd's root has the scratch directory, alice her home.
fn far(door: &Door, scratch: &Path) -> String {
    if door.is_sshd() { scratch.join("far").display().to_string() } else { "/home/alice".into() }
}

fn main() {
    be_in_memory();
    let scratch = Scratch::new();
    let at = scratch.path();
    let (mebibytes, files) = (size("BENCH_MIB", 1024), size("BENCH_FILES", 10_000));
    for directory in ["far", "near/many"] {
        fs::create_dir_all(at.join(directory)).unwrap();
    }
    fs::write(at.join("near/large"), vec![7; usize::try_from(mebibytes << 20).unwrap()]).unwrap();
    for number in 0..files {
        fs::write(at.join(format!("near/many/{number}")), [7; 1000]).unwrap();
    }
    let sshd = Door::sshd();
    let ours = Door::with("[defaults]\nroot = \"host\"\nlimits.memory = \"4G\"\n").tenant("alice", "").start();
    let keep = ours.spawn("alice", "echo up; exec sleep 100000");
    assert_eq!(keep.line(), "up");
    table::head("sshd");
    let near = at.join("near").display().to_string();
    let work = |what: &str, at_most: f64, lines: &dyn Fn(&str) -> String| {
        let run = |door: &Door| sftp(door, &lines(&far(door, at)));
        let (theirs, own) = table::interleaved(ROUNDS, || run(&sshd), || run(&ours));
        table::line(what, theirs.as_secs_f64(), own.as_secs_f64(), "s", at_most);
    };
    work(&format!("put {mebibytes} MiB"), 1.0 / 1.3, &|far| format!("put {near}/large {far}/large\n"));
    work(&format!("get {mebibytes} MiB"), 1.0 / 1.3, &|far| format!("get {far}/large {near}/back\n"));
    work(&format!("put {files} files of 1 kB"), 1.0 / 1.5, &|far| format!("put -r {near}/many {far}\n"));
    work(&format!("get {files} files of 1 kB"), 1.0 / 1.5, &|far| format!("get -r {far}/many {near}\n"));
    // Each time to a place that is new.
    let number = Cell::new(0);
    let next = || number.replace(number.get() + 1);
    let up = |door: &Door| rsync(door, &format!("{near}/many/"), &format!("door:{}/up{}/", far(door, at), next()));
    let down = |door: &Door| rsync(door, &format!("door:{}/many/", far(door, at)), &format!("{near}/down{}/", next()));
    for (what, run) in [("to the other side", &up as &dyn Fn(&Door)), ("back", &down)] {
        let (theirs, own) = table::interleaved(ROUNDS, || run(&sshd), || run(&ours));
        table::line(&format!("rsync {files} files {what}"), theirs.as_secs_f64(), own.as_secs_f64(), "s", 1.0);
    }
    println!("medians of {ROUNDS} interleaved rounds");
}
