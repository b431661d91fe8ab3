//! Namespaces: making, joining, and what is in those that the cell has.

use std::{fs, fs::File, os::fd::AsFd as _, time::Duration};

use crate::sys::{Errno, attempt, attempt::Outcome};
use crate::wire::verify::{Network, Task, Verdict};

use super::tries::{Refusal, Tries, read};

/// Abstract sockets that are tried at most.
const MAX_SOCKETS: usize = 32;

/// How long a single call may take.
const CALL: Duration = Duration::from_secs(5);

pub(super) fn nested(task: &Task, tries: &mut Tries) {
    if task.granted.iter().any(|set| set == "nesting") {
        tries.not_applicable("making namespaces", "the class gives nesting");
        return;
    }
    for (name, flag) in attempt::NAMESPACES {
        tries.refuse(format_args!("unshare {name}"), Refusal::Any, || attempt::unshare(flag));
        tries.refuse(format_args!("clone3 {name}"), Refusal::Any, || attempt::clone_into_new(flag));
    }
    match read("/proc/sys/user/max_user_namespaces") {
        Err(errno) => tries.unknown("user.max_user_namespaces", errno),
        Ok(most) => tries.expect("user.max_user_namespaces", most.trim() == "0", most.trim()),
    }
}

pub(super) fn setns(task: &Task, tries: &mut Tries) {
    for (name, _flag) in attempt::NAMESPACES {
        let path = format!("/proc/{}/ns/{name}", task.init);
        match File::open(&path) {
            Err(error) => tries.add(
                format_args!("opening {path}"),
                format_args!("refused: {}", Errno::from(error)),
                Verdict::Held,
            ),
            Ok(namespace) => {
                tries.refuse(format_args!("joining {path}"), Refusal::Any, || attempt::join(namespace.as_fd()));
            }
        }
    }
}

pub(super) fn host_name(task: &Task, tries: &mut Tries) {
    match read("/proc/sys/kernel/hostname") {
        Err(errno) => tries.unknown("reading it", errno),
        Ok(name) => tries.expect(
            format_args!("expecting {}", task.hostname),
            name.trim() == task.hostname,
            format_args!("it is {}", name.trim()),
        ),
    }
}

/// What somebody else made belongs to an id that the cell does not have.
pub(super) fn ipc(_task: &Task, tries: &mut Tries) {
    for kind in ["shm", "msg", "sem"] {
        let path = format!("/proc/sysvipc/{kind}");
        let text = match read(&path) {
            // A kernel without them.
            Err(Errno::ENOENT) => {
                tries.not_applicable(path, "the kernel has none");
                continue;
            }
            Err(errno) => {
                tries.unknown(path, errno);
                continue;
            }
            Ok(text) => text,
        };
        let mut lines = text.lines();
        let head = lines.next().unwrap_or_default();
        let owner = head.split_whitespace().position(|name| name == "uid").unwrap_or(usize::MAX);
        let all: Vec<_> = lines.collect();
        let foreign = all.iter().filter(|line| line.split_whitespace().nth(owner) == Some("4294967295")).count();
        let foreign = foreign + all.iter().filter(|line| line.split_whitespace().nth(owner) == Some("65534")).count();
        tries.expect(path, foreign == 0, format_args!("{} objects, {foreign} of them not the tenant's", all.len()));
    }
    match fs::read_dir("/dev/mqueue") {
        Err(error) => tries.unknown("/dev/mqueue", error.into()),
        Ok(entries) => {
            use std::os::unix::fs::MetadataExt as _;
            let owners: Vec<_> = entries.flatten().filter_map(|entry| Some(entry.metadata().ok()?.uid())).collect();
            let foreign = owners.iter().filter(|uid| **uid == 65534).count();
            tries.expect(
                "/dev/mqueue",
                foreign == 0,
                format_args!("{} queues, {foreign} of them not the tenant's", owners.len()),
            );
        }
    }
}

pub(super) fn abstract_sockets(task: &Task, tries: &mut Tries) {
    let text = match read("/proc/net/unix") {
        Err(errno) => return tries.unknown("/proc/net/unix", errno),
        Ok(text) => text,
    };
    // Num RefCount Protocol Flags Type St Inode Path; flag 0x10000 is a listener.
    let names = text.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace();
        let listens = fields.nth(3)? == "00010000";
        let name = fields.nth(3)?.strip_prefix('@')?;
        listens.then(|| name.to_owned())
    });
    let names: Vec<_> = names.collect();
    tries.add("/proc/net/unix", format_args!("{} listening abstract sockets", names.len()), Verdict::Held);
    for name in names.iter().take(MAX_SOCKETS) {
        let tried = format!("connecting to @{name}");
        // The kernel writes a zero byte as @; a trailing one pads.
        match attempt::pid_behind(name.replace('@', "\0").as_bytes()) {
            Err(errno) => tries.add(tried, format_args!("refused: {errno}"), Verdict::Held),
            Ok(0) if task.network == Network::Host => {
                tries.not_applicable(
                    tried,
                    "it worked: the class has network = \"host\", which shares them where the kernel cannot scope them",
                );
            }
            Ok(pid) => tries.expect(tried, pid != 0, format_args!("process {pid} of the cell answers")),
        }
    }
}

pub(super) fn network(task: &Task, tries: &mut Tries) {
    if task.network == Network::Host {
        tries.not_applicable("interfaces", "the class has network = \"host\"");
        return;
    }
    match read("/proc/net/dev") {
        Err(errno) => tries.unknown("interfaces", errno),
        Ok(text) => {
            let names: Vec<_> = text.lines().skip(2).filter_map(|line| line.split(':').next()).map(str::trim).collect();
            tries.expect("interfaces", names == ["lo"], names.join(" "));
        }
    }
    match read("/proc/net/route") {
        Err(errno) => tries.unknown("routes", errno),
        Ok(text) => {
            let routes = text.lines().skip(1).filter(|line| !line.trim().is_empty()).count();
            tries.expect("routes", routes == 0, format_args!("{routes}"));
        }
    }
}

pub(super) fn keyrings(_task: &Task, tries: &mut Tries) {
    let tried = "reading the session keyring";
    match attempt::in_child(CALL, attempt::keys_of_session) {
        Ok(Outcome::Done(keys)) => tries.expect(tried, keys == 0, format_args!("{keys} keys")),
        Ok(Outcome::Refused(errno)) => tries.add(tried, format_args!("refused: {errno}"), Verdict::Held),
        Ok(Outcome::Killed(number)) => tries.add(tried, format_args!("killed by signal {number}"), Verdict::Held),
        Ok(Outcome::Hung) => tries.unknown(tried, Errno::ETIMEDOUT),
        Err(errno) => tries.unknown(tried, errno),
    }
    match read("/proc/keys") {
        Err(errno) => tries.add("/proc/keys", format_args!("refused: {errno}"), Verdict::Held),
        Ok(text) => tries.expect("/proc/keys", text.is_empty(), format_args!("{} bytes", text.len())),
    }
}
