//! What the host counts for all tenants together, against how many may come.

use crate::doctor::checks::{Check, INOTIFY, OPEN_FILES, TERMINALS};
use crate::doctor::facts::{Kernel, Named, Seen};
use crate::doctor::verdict::Verdict;

/// Descriptors of ours for one connection (monitor and ssh process), and for one cell (init).
const FILES_EACH: u64 = 64;

/// Inotify instances that a cell may have (`jail::planning`): what the host allows one user must not
/// be less, since the cell's owner is one.
const INSTANCES: u64 = 64;

/// The least that a kernel gives by itself (fs/notify/inotify/inotify_user.c).
const WATCHES: u64 = 8192;

pub(super) fn judge(kernel: &Kernel, named: Option<&Named>) -> Vec<Verdict> {
    let connections = named.map_or(1, |named| u64::from(named.max_connections));
    let tenants = named.map_or(1, |named| u64::try_from(named.tenants.count).unwrap_or(u64::MAX));
    vec![
        terminals(kernel, connections),
        open_files(kernel, connections.saturating_add(tenants).saturating_mul(FILES_EACH)),
        inotify(kernel),
    ]
}

/// A setting that is a number, or the verdict where it is none.
fn number(kernel: &Kernel, check: &'static Check, key: &str) -> Result<u64, Verdict> {
    match kernel.sysctls.get(key) {
        Some(Seen::Is(value)) => {
            value.parse().map_err(|_no_number| Verdict::unknown(check, format!("{key} = {value}")))
        }
        Some(Seen::Absent) | None => Err(Verdict::ok(check, format!("the kernel has no {key}"))),
        Some(Seen::Unseen(why)) => Err(Verdict::unknown(check, why)),
    }
}

fn terminals(kernel: &Kernel, wanted: u64) -> Verdict {
    const KEY: &str = "kernel.pty.max";
    const RESERVE: &str = "kernel.pty.reserve";
    let both = number(kernel, &TERMINALS, KEY).and_then(|most| Ok((most, number(kernel, &TERMINALS, RESERVE)?)));
    match both {
        Err(verdict) => verdict,
        Ok((most, reserve)) => {
            let found = format!("{KEY} = {most}, {RESERVE} = {reserve}");
            if most.saturating_sub(reserve) >= wanted {
                return Verdict::ok(&TERMINALS, found);
            }
            let means = format!("with {wanted} connections (max_connections) some would get no terminal");
            let enough = wanted.saturating_mul(2).saturating_add(reserve);
            Verdict::warn(&TERMINALS, found, means).run(format!("sysctl -w {KEY}={enough}"))
        }
    }
}

fn open_files(kernel: &Kernel, wanted: u64) -> Verdict {
    const KEY: &str = "fs.file-max";
    match number(kernel, &OPEN_FILES, KEY) {
        Err(verdict) => verdict,
        Ok(most) if most >= wanted => Verdict::ok(&OPEN_FILES, format!("{KEY} = {most}")),
        Ok(most) => Verdict::warn(
            &OPEN_FILES,
            format!("{KEY} = {most}"),
            format!("connections and cells alone may take {wanted}: programs of tenants would fail to open files"),
        )
        .run(format!("sysctl -w {KEY}={}", wanted.saturating_mul(2))),
    }
}

fn inotify(kernel: &Kernel) -> Verdict {
    for (key, least) in [("fs.inotify.max_user_instances", INSTANCES), ("fs.inotify.max_user_watches", WATCHES)] {
        match number(kernel, &INOTIFY, key) {
            Err(verdict) => return verdict,
            Ok(most) if most >= least => {}
            Ok(most) => {
                let means = format!("each tenant has {most} at most: editors and `tail -f` stop noticing changes");
                return Verdict::warn(&INOTIFY, format!("{key} = {most}"), means)
                    .run(format!("sysctl -w {key}={least}"));
            }
        }
    }
    Verdict::ok(&INOTIFY, format!("{INSTANCES} instances for each tenant"))
}
