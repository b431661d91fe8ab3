//! What cells are made of.

use super::some;
use crate::doctor::checks::{KERNEL, LANDLOCK, NAMESPACES, SECCOMP, USER_NAMESPACES};
use crate::doctor::facts::{Kernel, Landlock, Named, Seen};
use crate::doctor::verdict::{Remedy, Verdict};

/// The oldest kernel that is supported.
const OLDEST: (u32, u32) = (5, 15);

/// What filters do with a system call: let it pass, refuse it, end the process.
const ACTIONS: [&str; 3] = ["kill_process", "errno", "allow"];

/// From this version on Landlock has scopes for abstract unix sockets and signals (Linux 6.12).
const SCOPES: u32 = 6;

/// Plenty for one host, and the kernel's default on one with 8 GiB of memory.
const MANY: &str = "30000";

pub(super) fn judge(kernel: &Kernel, named: Option<&Named>) -> Vec<Verdict> {
    vec![version(kernel), user_namespaces(kernel, named), namespaces(kernel), seccomp(kernel), landlock(kernel, named)]
}

fn version(kernel: &Kernel) -> Verdict {
    let release = &kernel.release;
    let (major, minor) = OLDEST;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(first), Some(second)) if (first, second) >= OLDEST => Verdict::ok(&KERNEL, format!("Linux {release}")),
        (Some(_), Some(_)) => {
            let means = "cells are not tested on it and may not start";
            Verdict::fail(&KERNEL, format!("Linux {release}"), means)
                .remedy(Remedy::Advice(format!("boot Linux {major}.{minor} or later")))
        }
        (_, _) => Verdict::unknown(&KERNEL, format!("\"{release}\" names no version")),
    }
}

fn user_namespaces(kernel: &Kernel, named: Option<&Named>) -> Verdict {
    const KEY: &str = "user.max_user_namespaces";
    let value = |name| kernel.sysctls.get(name).unwrap_or(&Seen::Absent);
    let mut shown = Vec::new();
    for name in ["kernel.unprivileged_userns_clone", "kernel.apparmor_restrict_unprivileged_userns"] {
        if let Seen::Is(value) = value(name) {
            shown.push(format!("{name} = {value} (no matter here)"));
        }
    }
    let most = match value(KEY) {
        Seen::Is(most) => most,
        Seen::Absent => {
            return Verdict::fail(&USER_NAMESPACES, "the kernel has none", "no cell can start")
                .remedy(Remedy::Advice("boot a kernel with CONFIG_USER_NS".into()));
        }
        Seen::Unseen(why) => return Verdict::unknown(&USER_NAMESPACES, why),
    };
    shown.insert(0, format!("{KEY} = {most}"));
    let found = shown.join(", ");
    let wanted = named
        .map_or(1, |named| u64::from(named.max_connections) + u64::try_from(named.tenants.count).unwrap_or(u64::MAX));
    match most.parse::<u64>() {
        Ok(0) => Verdict::fail(&USER_NAMESPACES, found, "no cell can start").remedy(Remedy::Sysctl(KEY, MANY)),
        Ok(most) if most < wanted => {
            let means = format!(
                "with {wanted} connections and cells (max_connections, and one per tenant) some logins would fail"
            );
            Verdict::warn(&USER_NAMESPACES, found, means).run(format!("sysctl -w {KEY}={}", wanted.saturating_mul(2)))
        }
        Ok(_enough) => Verdict::ok(&USER_NAMESPACES, found),
        Err(_no_number) => Verdict::unknown(&USER_NAMESPACES, found),
    }
}

fn namespaces(kernel: &Kernel) -> Verdict {
    match &kernel.missing_namespaces {
        Seen::Is(missing) if missing.is_empty() => Verdict::ok(&NAMESPACES, "all seven can be made"),
        Seen::Is(missing) => {
            let list: Vec<_> = missing.iter().map(|(kind, why)| format!("{kind} ({why})")).collect();
            Verdict::fail(&NAMESPACES, format!("cannot be made: {}", list.join(", ")), "no cell can start").remedy(
                Remedy::Advice(
                    "raise the limits that `sysctl user` shows; in a container, have it allow namespaces".into(),
                ),
            )
        }
        Seen::Absent => Verdict::unknown(&NAMESPACES, "they were not tried"),
        Seen::Unseen(why) => Verdict::unknown(&NAMESPACES, why),
    }
}

fn seccomp(kernel: &Kernel) -> Verdict {
    let means = "the process that speaks SSH would not run without its filter: nobody can log in";
    let remedy = || Remedy::Advice("boot a kernel with CONFIG_SECCOMP_FILTER, 4.14 or later".into());
    match &kernel.seccomp {
        Seen::Is(actions) => {
            let lacking: Vec<_> = ACTIONS.iter().filter(|action| !actions.iter().any(|has| has == *action)).collect();
            if lacking.is_empty() {
                Verdict::ok(&SECCOMP, format!("{} actions", actions.len()))
            } else {
                Verdict::fail(&SECCOMP, format!("lacks {}", some(&lacking)), means).remedy(remedy())
            }
        }
        Seen::Absent => Verdict::fail(&SECCOMP, "the kernel has none", means).remedy(remedy()),
        Seen::Unseen(why) => Verdict::unknown(&SECCOMP, why),
    }
}

fn landlock(kernel: &Kernel, named: Option<&Named>) -> Verdict {
    let on_host_network = named.map(|named| named.tenants.on_host_network.as_slice()).unwrap_or_default();
    let (found, remedy) = match &kernel.landlock {
        Landlock::Version(version) if *version >= SCOPES => {
            return Verdict::ok(&LANDLOCK, format!("version {version}"));
        }
        Landlock::Version(version) => {
            (format!("version {version}, without scopes"), "boot Linux 6.12 or later, or set network = \"none\"")
        }
        Landlock::NotBuilt => (
            "not built in".to_owned(),
            "boot Linux 6.12 or later with CONFIG_SECURITY_LANDLOCK, or set network = \"none\"",
        ),
        Landlock::SwitchedOff => (
            "not switched on at boot".to_owned(),
            "add `landlock` to the kernel's lsm= parameter and reboot, or set network = \"none\"",
        ),
        Landlock::Unseen(why) => return Verdict::unknown(&LANDLOCK, why),
    };
    if on_host_network.is_empty() {
        return Verdict::ok(&LANDLOCK, format!("{found}; no tenant has network = \"host\""));
    }
    let means = format!(
        "{} can reach every abstract unix socket of the host, since their network is the host's",
        some(on_host_network)
    );
    Verdict::warn(&LANDLOCK, found, means).remedy(Remedy::Advice(remedy.into()))
}
