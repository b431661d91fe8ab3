//! Limits: the groups that hold them, and small bombs that must be stopped by them.
//!
//! Each bomb is sized by the limit that the tenant has, gives back what it took, and shows then that
//! life goes on.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::fd::AsFd as _,
    path::Path,
    time::Duration,
};

use crate::sys::{
    Errno, SysResult,
    attempt::{self, Outcome},
    credentials, fd, pty,
};
use crate::wire::verify::{Bombs, Task, Verdict};

use super::tries::{Tries, read};

/// How long a bomb may burn.
const BURN: Duration = Duration::from_secs(60);

/// Beyond the limit by so much it would have been stopped.
const MARGIN: u64 = 16;

/// More processes than this are not started to see that they are too many.
const MAX_PROCESSES: u64 = 8192;

/// More memory than this is not filled to see that it is too much.
const MAX_MEMORY: u64 = 1 << 30;

/// A kernel's way to say that a user namespace has no limit of its own (ucount.c: `INT_MAX`).
const UNLIMITED: u64 = 0x7fff_ffff;

pub(super) fn cgroup(_task: &Task, tries: &mut Tries) {
    match read("/proc/self/cgroup") {
        Err(errno) => tries.unknown("/proc/self/cgroup", errno),
        Ok(text) => {
            for line in text.lines() {
                let mut fields = line.splitn(3, ':').skip(1);
                let (controller, path) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
                let shown = Path::new("/sys/fs/cgroup").join(controller);
                // A hierarchy that the cell is not shown is one in which tenants have no group.
                let ours = (controller.is_empty() && shown.join("cgroup.procs").exists())
                    || (!controller.is_empty() && shown.is_dir());
                let right = !path.contains("..") && (!ours || path == "/sessions");
                tries.expect(format_args!("own group in {controller:?}"), right, format_args!("it is {path}"));
            }
        }
    }
    let mut groups = vec![Path::new("/sys/fs/cgroup").to_owned()];
    groups.extend(fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path()));
    for group in groups.iter().filter(|group| group.is_dir()) {
        for name in
            ["cgroup.procs", "tasks", "memory.max", "pids.max", "cpu.max", "memory.limit_in_bytes", "release_agent"]
        {
            let path = group.join(name);
            match OpenOptions::new().write(true).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => tries.fail(format_args!("opening {} for writing", path.display()), opened),
            }
        }
        let made = fs::create_dir(group.join("probe"));
        if made.is_ok() {
            tries.undo(fs::remove_dir(group.join("probe")));
        }
        tries.fail(format_args!("making a group in {}", group.display()), made);
    }
}

/// Whether bombs are left out; says so.
fn left_out(task: &Task, tries: &mut Tries) -> bool {
    match task.bombs {
        Bombs::Small => false,
        Bombs::None => {
            tries.not_applicable("nothing", "bombs are left out, as asked");
            true
        }
    }
}

/// A limit that is not there: the class may go without, if the host cannot.
fn no_limit(task: &Task, tries: &mut Tries, key: &str) {
    if task.limits.forgone.is_empty() {
        tries.add(key, "there is none", Verdict::Escaped);
    } else {
        tries.not_applicable(key, "the host cannot, and the class has limits.enforce = \"best-effort\"");
    }
}

fn lives_on(tries: &mut Tries) {
    let outcome = attempt::in_child(BURN, || Ok(0));
    let right = outcome == Ok(Outcome::Done(0));
    let verdict = if right { Verdict::Held } else { Verdict::Unknown };
    tries.add("a process after it", if right { "starts" } else { "does not start" }, verdict);
}

/// Says how a bomb ended that took `taken` and was refused by `refused`, of at most `most`.
fn stopped(tries: &mut Tries, what: &str, most: u64, taken: u64, refused: Option<Errno>) {
    match refused {
        Some(errno) => tries.expect(
            format_args!("{what}, limit {most}"),
            taken <= most,
            format_args!("stopped after {taken}: {errno}"),
        ),
        None => {
            tries.add(format_args!("{what}, limit {most}"), format_args!("not stopped after {taken}"), Verdict::Escaped)
        }
    }
}

/// In a child, since it may be killed; the number that it took and why it stopped come back as one.
fn burn(tries: &mut Tries, what: &str, most: u64, bomb: impl FnOnce(u64) -> SysResult<(u64, Option<Errno>)>) {
    let outcome = attempt::in_child(BURN, || {
        let (taken, refused) = bomb(most.saturating_add(MARGIN))?;
        let taken = i64::try_from(taken).map_err(|_range| Errno::EOVERFLOW)?;
        Ok(taken << 16 | refused.map_or(0, |errno| i64::from(errno.raw())))
    });
    match outcome {
        Ok(Outcome::Done(both)) => {
            let errno = i32::try_from(both & 0xffff).unwrap_or(0);
            let taken = u64::try_from(both >> 16).unwrap_or(u64::MAX);
            stopped(tries, what, most, taken, (errno != 0).then_some(Errno::from_raw(errno)));
        }
        Ok(Outcome::Refused(errno)) => stopped(tries, what, most, 0, Some(errno)),
        Ok(Outcome::Killed(number)) => tries.add(what, format_args!("killed by signal {number}"), Verdict::Held),
        Ok(Outcome::Hung) => tries.add(what, "it did not come back", Verdict::Unknown),
        Err(errno) => tries.unknown(what, errno),
    }
}

pub(super) fn forks(task: &Task, tries: &mut Tries) {
    match task.limits.pids {
        None => no_limit(task, tries, "limits.pids"),
        Some(_) if left_out(task, tries) => {}
        Some(most) if most > MAX_PROCESSES => {
            tries.not_applicable("starting processes", format_args!("{most} are more than a probe starts"));
        }
        Some(most) => {
            burn(tries, "processes", most, attempt::fork_until_refused);
            lives_on(tries);
        }
    }
}

pub(super) fn memory(task: &Task, tries: &mut Tries) {
    match task.limits.memory {
        None => no_limit(task, tries, "limits.memory"),
        Some(_) if left_out(task, tries) => {}
        Some(most) if most > MAX_MEMORY || most > available() / 2 => {
            tries.not_applicable(
                "filling memory",
                format_args!("{most} bytes are more than a probe fills on this host"),
            );
        }
        Some(most) => {
            let outcome = attempt::in_child(BURN, || {
                // The kernel is to take this process, and nobody else's. Closed to itself until it opens up.
                attempt::make_dumpable()?;
                fs::write("/proc/self/oom_score_adj", "1000")?;
                attempt::touch_memory(most.saturating_add(most / 4))
            });
            let tried = format!("filling {most} bytes and a quarter more");
            match outcome {
                Ok(Outcome::Killed(number)) => {
                    tries.add(tried, format_args!("killed by signal {number}"), Verdict::Held);
                }
                Ok(Outcome::Refused(Errno::ENOMEM)) => tries.add(tried, "refused: no memory", Verdict::Held),
                Ok(Outcome::Done(bytes)) => {
                    tries.add(tried, format_args!("{bytes} bytes were given"), Verdict::Escaped)
                }
                Ok(other) => tries.add(tried, format_args!("{other:?}"), Verdict::Unknown),
                Err(errno) => tries.unknown(tried, errno),
            }
            lives_on(tries);
        }
    }
}

/// What the host has left, in bytes.
fn available() -> u64 {
    let text = read("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib: u64 = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    kib.saturating_mul(1024)
}

pub(super) fn fds(task: &Task, tries: &mut Tries) {
    if left_out(task, tries) {
        return;
    }
    let most = task.account.rlimits.iter().find(|(resource, ..)| *resource == credentials::LIMIT_OPEN_FILES);
    match most {
        None => tries.add("the limit of open files", "there is none", Verdict::Escaped),
        Some((_, _, most)) => {
            burn(tries, "open files", *most, |bound| {
                let null = File::open("/dev/null")?;
                Ok(attempt::until_refused(bound, || fd::duplicate(null.as_fd())))
            });
            lives_on(tries);
        }
    }
}

pub(super) fn inotify(task: &Task, tries: &mut Tries) {
    let limit = read("/proc/sys/user/max_inotify_instances").ok().and_then(|text| text.trim().parse().ok());
    match limit {
        None => tries.not_applicable("inotify instances", "the kernel has none"),
        Some(UNLIMITED..) => tries.add("the cell's own limit of inotify instances", "there is none", Verdict::Escaped),
        Some(_) if left_out(task, tries) => {}
        Some(most) => {
            let files = task.account.rlimits.iter().find(|(resource, ..)| *resource == credentials::LIMIT_OPEN_FILES);
            let bound = files.map_or(most, |(_, _, files)| most.min(*files));
            burn(tries, "inotify instances", bound, |bound| Ok(attempt::until_refused(bound, attempt::inotify)));
            lives_on(tries);
        }
    }
}

pub(super) fn ptys(task: &Task, tries: &mut Tries) {
    let mounts = read("/proc/self/mountinfo").unwrap_or_default();
    let options = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/dev/pts")).unwrap_or_default();
    let most: Option<u64> = options.split([',', ' ']).find_map(|option| option.strip_prefix("max=")?.parse().ok());
    match most {
        None => tries.add("the limit of /dev/pts", "there is none", Verdict::Escaped),
        Some(_) if left_out(task, tries) => {}
        Some(most) => {
            let files = task.account.rlimits.iter().find(|(resource, ..)| *resource == credentials::LIMIT_OPEN_FILES);
            let bound = files.map_or(most, |(_, _, files)| most.min(*files));
            burn(tries, "terminals", bound, |bound| Ok(attempt::until_refused(bound, pty::open_master)));
            lives_on(tries);
        }
    }
}

pub(super) fn tmpfs(task: &Task, tries: &mut Tries) {
    for (at, size) in &task.limits.tmpfs {
        let path = Path::new(at);
        match attempt::size_of_file_system(path) {
            Err(errno) => tries.unknown(at, errno),
            Ok(found) => tries.expect(format_args!("size of {at}, {size}"), found <= *size, format_args!("{found}")),
        }
        if task.bombs == Bombs::None {
            continue;
        }
        let file = path.join(format!(".cellblock-probe-{}", crate::sys::process::own_pid()));
        let tried = format!("filling {at}");
        match File::create_new(&file) {
            Err(error) => tries.add(tried, format_args!("refused: {}", Errno::from(error)), Verdict::Held),
            Ok(open) => {
                let filled = attempt::fill(open.as_fd(), size.saturating_add(1));
                tries.undo(fs::remove_file(&file));
                tries.fail(tried, filled);
            }
        }
    }
}
