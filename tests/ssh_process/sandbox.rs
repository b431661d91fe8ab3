//! The sandbox, as seen from outside.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::{
        fd::AsFd as _,
        unix::{fs::MetadataExt as _, net::UnixStream},
    },
    process::{Child, Command, Stdio},
};

use cellblock::sys::{
    before_exec,
    process::{self, Ended, Forked, namespaces},
    seqpacket,
};
use cellblock::wire::{
    Link,
    login::{Reply, Request},
};

use crate::{
    Test,
    client::{Door, field, stop, wait_for},
    fake_monitor::SERVICE_ID,
};

pub const TESTS: &[Test] = &[
    ("the_sandbox_holds_before_and_after_the_login", holds),
    ("the_process_ends_with_its_monitor", ends_with_monitor),
    ("a_client_that_never_speaks_meets_the_sandbox_too", silent_client),
    ("with_a_descriptor_too_many_it_reads_nothing_and_says_so", a_descriptor_too_many),
    ("every_call_of_the_list_is_used", every_call_is_used),
];

fn idle_session(door: &Door) -> (Child, u32) {
    let ssh = door.ssh(&[]).arg("sleep 5").spawn().unwrap();
    let pid = wait_for(|| door.ssh_processes().first().copied());
    wait_for(|| descriptors(pid).contains("pipe").then_some(()));
    (ssh, pid)
}

/// What kinds of descriptors it holds.
fn descriptors(pid: u32) -> BTreeSet<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    // One may be closed before it is looked at.
    let targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let kind = |target: std::path::PathBuf| target.display().to_string().split([':', '[']).next().unwrap().to_owned();
    targets.map(kind).collect()
}

fn assert_confined(pid: u32) {
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(pid, set).as_deref(), Some("0000000000000000"), "{set}");
    }
    let id = SERVICE_ID;
    assert_eq!(field(pid, "Uid:"), Some(format!("{id} {id} {id} {id}")));
    assert_eq!(field(pid, "Gid:"), Some(format!("{id} {id} {id} {id}")));
    assert_eq!(field(pid, "Groups:").as_deref(), Some(""));
    assert_eq!(field(pid, "Name:").as_deref(), Some("cellblock-ssh"));
    assert_eq!(field(pid, "NoNewPrivs:").as_deref(), Some("1"));
    assert_eq!(field(pid, "Seccomp:").as_deref(), Some("2"));
    assert_eq!(field(pid, "Threads:").as_deref(), Some("1"));
    assert_eq!(field(pid, "NSpid:"), Some(format!("{pid} 1")));
    for namespace in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let inode = |pid: &str| fs::metadata(format!("/proc/{pid}/ns/{namespace}")).unwrap().ino();
        assert_ne!(inode(&pid.to_string()), inode("self"), "{namespace}");
    }
    assert_eq!(fs::read_dir(format!("/proc/{pid}/root/")).unwrap().count(), 0);
    let mounts = fs::read_to_string(format!("/proc/{pid}/mounts")).unwrap();
    assert_eq!(mounts.lines().count(), 1, "{mounts}");
    assert!(mounts.contains(" ro,nosuid,nodev,noexec"), "{mounts}");
    // The loader writes where it reads: an end of string for a colon.
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap().replace(':', "\0");
    let settings = "glibc.cpu.x86_rep_movsb_threshold=0x40000000\0glibc.malloc.trim_threshold=0x100000\0\
                    glibc.malloc.mmap_threshold=0x100000\0";
    assert_eq!(environment, format!("GLIBC_TUNABLES={settings}"));
    // Root owns what belongs to a process that cannot be dumped (proc_pid(5)).
    assert_eq!(fs::metadata(format!("/proc/{pid}/mem")).unwrap().uid(), 0);
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    for name in ["Max file size", "Max processes", "Max core file size"] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line.split_ascii_whitespace().rev().skip(1).any(|word| word == "0"), "{line}");
    }
    for (name, most) in [("Max data size", "805306368"), ("Max open files", "1024")] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        assert_eq!(line.split_ascii_whitespace().filter(|word| *word == most).count(), 2, "{line}");
    }
}

fn holds(door: &Door) {
    let (ssh, pid) = idle_session(door);
    assert_confined(pid);
    let known = ["/dev/null", "anon_inode", "pipe", "socket"].map(str::to_owned);
    assert_eq!(descriptors(pid), BTreeSet::from(known));
    stop(ssh);
    wait_for(|| door.ssh_processes().is_empty().then_some(()));
}

fn ends_with_monitor(door: &Door) {
    let (mut ssh, pid) = idle_session(door);
    let monitor = field(pid, "PPid:").unwrap();
    assert!(Command::new("kill").args(["-9", &monitor]).status().unwrap().success());
    wait_for(|| door.ssh_processes().is_empty().then_some(()));
    assert_eq!(ssh.wait().unwrap().code(), Some(255));
}

fn silent_client(door: &Door) {
    let client = std::net::TcpStream::connect(("127.0.0.1", door.port())).unwrap();
    let confined = door.log().matches("Confined").count();
    wait_for(|| (door.log().matches("Confined").count() > confined || confined > 0).then_some(()));
    let pid = wait_for(|| {
        door.ssh_processes().first().copied().filter(|pid| field(*pid, "Seccomp:").as_deref() == Some("2"))
    });
    assert_confined(pid);
    drop(client);
    wait_for(|| door.ssh_processes().is_empty().then_some(()));
}

/// One that outlived the exec by mistake would outlive the sandbox as well: a file, a socket, a directory of the host.
fn a_descriptor_too_many(_door: &Door) {
    let (_client, connection) = UnixStream::pair().unwrap();
    let (link, their_link) = seqpacket::pair().unwrap();
    let too_many = File::open("/etc/passwd").unwrap();
    let program = File::open(env!("CARGO_BIN_EXE_cellblock-ssh")).unwrap();
    // Were it let go on, it should find no root of the host's to leave.
    match process::clone_into(namespaces::USER | namespaces::MOUNT, None).unwrap() {
        Forked::Child => {
            let program = before_exec::out_of_the_way(program.as_fd()).unwrap();
            let fds = [None, None, None, Some(connection.as_fd()), Some(their_link.as_fd()), Some(too_many.as_fd())];
            before_exec::lay_out(fds).unwrap();
            let _failed = process::exec(program.as_fd(), &[c"cellblock-ssh".into()], &[]);
            process::exit_now(9);
        }
        Forked::Parent { pidfd, .. } => {
            drop(their_link);
            let (request, _fds) = Link::<Reply, Request>::new(link).receive().unwrap();
            let Request::Note { text } = request else { panic!("{request:?}") };
            assert!(text.contains("no descriptors but those that it is to have: it does not hold"), "{text}");
            assert_eq!(process::wait_for(pidfd.as_fd()).unwrap(), Ended::Exited(1));
        }
    }
}

/// Traces a connection that does some of everything.
fn every_call_is_used(door: &Door) {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        eprintln!("SKIPPED: every_call_of_the_list_is_used needs strace");
        assert!(std::env::var_os("REQUIRE_ROOT").is_none());
        return;
    }
    let monitor = door.monitor().to_string();
    let trace = door.dir().join("trace");
    let mut strace = Command::new("strace")
        .args(["-f", "-q", "-e", "signal=none", "-p", &monitor, "-o"])
        .arg(&trace)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(|| (field(door.monitor(), "TracerPid:").as_deref() != Some("0")).then_some(()));
    // One packet of 200 kB.
    door.shell("half=$(head -c 100000 /dev/zero | tr '\\0' x); $SSH $half $half");
    let line = "head -c 30M /dev/zero | $SSH 'head -c 30M /dev/zero; cat' | wc -c; $SSH -tt -C 'stty size; exit 3'";
    door.shell(line);
    let words = door.ssh(&[]);
    let words: Vec<&str> = words.get_args().skip(1).map(|arg| arg.to_str().unwrap()).collect();
    let resize = "stty rows 20 cols 80; (sleep 1; stty rows 41 cols 142 </dev/tty) & $SSH -tt 'sleep 2'";
    let mut script = Command::new("timeout");
    script
        .args(["15", "script", "-qec", resize, "/dev/null"])
        .env("SSH", words.join(" "))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    assert!(script.status().unwrap().success());
    // A client that takes nothing for a while, beside a terminal.
    let beside = door.dir().join("beside").display().to_string();
    door.shell(&format!(
        "$SSH -MS {beside} -tt 'sleep 60' & until [ -S {beside} ]; do sleep 0.05; done; \
         $SSH -S {beside} 'head -c 30M /dev/zero' | (sleep 1; wc -c); $SSH -S {beside} -O exit; wait"
    ));
    let listened = door.dir().join("listened");
    let forward = format!("{}:127.0.0.1:1", listened.display());
    let ssh = door.ssh(&["-N", "-R", &forward]).spawn().unwrap();
    let accepted = || door.log().contains("Accepted {");
    assert!(!accepted());
    // There before it is listened on.
    let _connection = wait_for(|| UnixStream::connect(&listened).ok());
    wait_for(|| accepted().then_some(()));
    stop(ssh);
    wait_for(|| door.ssh_processes().is_empty().then_some(()));
    Command::new("kill").args(["-INT", &strace.id().to_string()]).status().unwrap();
    strace.wait().unwrap();
    let trace = fs::read_to_string(trace).unwrap();
    let (mut landlocked, mut confined) = (BTreeSet::new(), BTreeSet::new());
    let mut calls = Vec::new();
    for line in trace.lines() {
        let (pid, call) = line.split_once(' ').unwrap();
        // Where another process called something meanwhile, its end is a line of its own.
        if call.contains("landlock_restrict_self") && call.ends_with("= 0") {
            landlocked.insert(pid);
        } else if call.contains("seccomp(SECCOMP_SET_MODE_FILTER") {
            confined.insert(pid);
        } else if confined.contains(pid) {
            calls.push(call.trim_start());
        }
    }
    assert!(!confined.is_empty() && landlocked == confined, "{landlocked:?} {confined:?}");
    let list: toml::Table = toml::from_str(include_str!("../../src/ssh/filter.toml")).unwrap();
    let mut unused = Vec::new();
    for entry in list["allow"].as_array().unwrap() {
        let call = entry["call"].as_str().unwrap();
        let argument = entry.get("argument").map_or("", |argument| argument["equals"].as_str().unwrap());
        // As strace(1) writes it.
        let argument = if argument == "PROT_READ_WRITE" { "PROT_READ|PROT_WRITE" } else { argument };
        let here = entry.get("arch").is_none_or(|arch| arch.as_str() == Some(std::env::consts::ARCH))
            && (cfg!(debug_assertions) || entry.get("builds").is_none());
        let used = calls.iter().any(|line| line.starts_with(&format!("{call}(")) && line.contains(argument));
        if here && !used && entry.get("rare").is_none() {
            unused.push(format!("{call} {argument}"));
        }
    }
    assert_eq!(unused, Vec::<String>::new());
}
