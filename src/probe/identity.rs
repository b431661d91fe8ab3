//! Who a session is: ids, capabilities, limits, and what it inherited.

use std::{env, fs, os::unix::fs::FileTypeExt as _, time::Duration};

use crate::policy::UNLIMITED;
use crate::sys::{attempt, attempt::Outcome, credentials, signal};
use crate::wire::verify::{Task, Verdict};

use super::tries::{Refusal, Tries, read, status};

/// CAP_SYS_ADMIN: no session has it, whatever the class lists.
const SYS_ADMIN: u64 = 1 << 21;

/// How long a write to a file in `/proc` may take.
const WRITE: Duration = Duration::from_secs(5);

pub(super) fn ids(task: &Task, tries: &mut Tries) {
    let (uid, gid) = (task.account.uid, task.account.gid);
    match attempt::ids() {
        Err(errno) => tries.unknown("asking for the ids", errno),
        Ok((users, groups, more)) => {
            tries.expect(format_args!("user ids, account {uid}"), users == [uid; 3], format_args!("{users:?}"));
            tries.expect(format_args!("group ids, account {gid}"), groups == [gid; 3], format_args!("{groups:?}"));
            tries.expect("supplementary groups", more == 0, format_args!("{more}"));
        }
    }
}

pub(super) fn capabilities(task: &Task, tries: &mut Tries) {
    let account = &task.account;
    let sets = [
        ("CapInh", 0),
        ("CapPrm", account.capabilities),
        ("CapEff", account.capabilities),
        ("CapBnd", account.bounding),
        ("CapAmb", 0),
    ];
    for (set, listed) in sets {
        let held =
            status("self", set).and_then(|text| u64::from_str_radix(&text, 16).map_err(|_text| crate::sys::Errno::EIO));
        let listed = listed & !SYS_ADMIN;
        match held {
            Err(errno) => tries.unknown(set, errno),
            Ok(held) => {
                tries.expect(format_args!("{set}, listed {listed:#x}"), held & !listed == 0, format_args!("{held:#x}"));
            }
        }
    }
    match attempt::securebits() {
        Err(errno) => tries.unknown("securebits", errno),
        Ok(bits) => tries.expect("securebits", bits == 0, format_args!("{bits:#x}")),
    }
}

pub(super) fn no_new_privs(task: &Task, tries: &mut Tries) {
    if !task.account.no_new_privs {
        tries.not_applicable("no_new_privs", "the class has no_new_privs = false");
        return;
    }
    match attempt::no_new_privs() {
        Err(errno) => tries.unknown("no_new_privs", errno),
        Ok(set) => tries.expect("no_new_privs", set, if set { "set" } else { "not set" }),
    }
}

pub(super) fn rlimits(task: &Task, tries: &mut Tries) {
    for (resource, soft, hard) in &task.account.rlimits {
        let what = format!("resource {resource}, {soft} and {hard}");
        match credentials::limit_of(*resource) {
            Err(errno) => tries.unknown(what, errno),
            Ok((now, most)) => tries.expect(what, now <= *soft && most <= *hard, format_args!("{now} and {most}")),
        }
        let (resource, hard) = (*resource, *hard);
        if hard == UNLIMITED {
            continue;
        }
        tries.refuse(format_args!("raising resource {resource}"), Refusal::Any, move || {
            attempt::raise_limit(resource, hard)
        });
    }
}

pub(super) fn descriptors(_task: &Task, tries: &mut Tries) {
    let entries = match fs::read_dir("/proc/self/fd") {
        Err(error) => return tries.unknown("listing /proc/self/fd", error.into()),
        Ok(entries) => entries,
    };
    let mut seen: Vec<(u32, String)> = Vec::new();
    for entry in entries.flatten() {
        let number = entry.file_name().to_string_lossy().parse().unwrap_or(u32::MAX);
        let target = fs::read_link(entry.path()).map(|path| path.display().to_string()).unwrap_or_default();
        // The listing itself, whose pid the path names.
        if !target.starts_with("/proc/") {
            seen.push((number, target));
        }
    }
    for (number, target) in &seen {
        let pipe = fs::metadata(format!("/proc/self/fd/{number}")).is_ok_and(|found| found.file_type().is_fifo());
        tries.expect(format_args!("descriptor {number}"), *number < 3 && pipe, target);
    }
    tries.expect("descriptors", seen.len() == 3, format_args!("{}", seen.len()));
}

pub(super) fn environment(task: &Task, tries: &mut Tries) {
    let strange: Vec<_> = env::vars_os()
        .map(|(name, _)| name.to_string_lossy().into_owned())
        .filter(|name| !task.environment.contains(name))
        .collect();
    let all = format!("{} variables", env::vars_os().count());
    tries.expect(all, strange.is_empty(), if strange.is_empty() { "as given".into() } else { strange.join(" ") });
}

pub(super) fn traits(task: &Task, tries: &mut Tries) {
    let umask = format!("{:04o}", task.account.umask);
    let none = "0000000000000000";
    for (field, right) in [("Umask", umask.as_str()), ("SigBlk", none), ("SigIgn", none)] {
        match status("self", field) {
            Err(errno) => tries.unknown(field, errno),
            // Rust's start-up ignores SIGPIPE in every program of ours; exec'd programs of tenants do not have that.
            Ok(value) if field == "SigIgn" => {
                let ours = format!("{:016x}", 1_u64 << (signal::SIGPIPE - 1));
                tries.expect(field, value == right || value == ours, value);
            }
            Ok(value) => tries.expect(field, value == right, value),
        }
    }
    match read("/proc/self/stat") {
        Err(errno) => tries.unknown("nice", errno),
        Ok(stat) => {
            let nice = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(16)).unwrap_or_default();
            tries.expect("nice", nice == "0", nice);
        }
    }
    match attempt::personality() {
        Err(errno) => tries.unknown("personality", errno),
        Ok(value) => tries.expect("personality", value == 0, format_args!("{value:#x}")),
    }
}

pub(super) fn oom_score(_task: &Task, tries: &mut Tries) {
    const FILE: &str = "/proc/self/oom_score_adj";
    let score = read(FILE).ok().and_then(|text| text.trim().parse::<i32>().ok());
    match score {
        None => tries.unknown("reading the score", crate::sys::Errno::EIO),
        Some(score) => tries.expect("score, a fresh login's is 0", score == 0, format_args!("{score}")),
    }
    // Closed to itself too while it cannot be traced: a child opens up, and then only rights count.
    let lowered = attempt::in_child(WRITE, || {
        attempt::make_dumpable()?;
        let lower = score.unwrap_or(0).saturating_sub(1);
        fs::write(FILE, lower.to_string())?;
        Ok(i64::from(lower))
    });
    match lowered {
        Ok(Outcome::Done(lower)) => tries.add("lowering it", format_args!("it is {lower} now"), Verdict::Escaped),
        Ok(Outcome::Refused(errno)) => tries.add("lowering it", format_args!("refused: {errno}"), Verdict::Held),
        Ok(outcome) => tries.add("lowering it", format_args!("{outcome:?}"), Verdict::Unknown),
        Err(errno) => tries.unknown("lowering it", errno),
    }
}
