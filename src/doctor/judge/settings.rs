//! Kernel settings that tenants can feel.

use crate::doctor::checks::{BPF, CORE_PATTERN, Check, DMESG, KPTR, MODULES, PTRACE, SUID_DUMPABLE, TIOCSTI};
use crate::doctor::facts::{Kernel, Seen};
use crate::doctor::verdict::{Remedy, Verdict};

/// Settings that are looked at.
pub(in crate::doctor) const SYSCTLS: [&str; 17] = [
    "dev.tty.legacy_tiocsti",
    "fs.file-max",
    "fs.inotify.max_user_instances",
    "fs.inotify.max_user_watches",
    "fs.suid_dumpable",
    "kernel.apparmor_restrict_unprivileged_userns",
    "kernel.core_pattern",
    "kernel.dmesg_restrict",
    "kernel.kptr_restrict",
    "kernel.modules_disabled",
    "kernel.perf_event_paranoid",
    "kernel.pty.max",
    "kernel.pty.reserve",
    "kernel.unprivileged_bpf_disabled",
    "kernel.unprivileged_userns_clone",
    "kernel.yama.ptrace_scope",
    "user.max_user_namespaces",
];

pub(super) fn judge(kernel: &Kernel) -> Vec<Verdict> {
    vec![
        core_pattern(kernel),
        suid_dumpable(kernel),
        tiocsti(kernel),
        bpf(kernel),
        dmesg(kernel),
        kptr(kernel),
        ptrace(kernel),
        modules(kernel),
    ]
}

/// The value of `key`, or the verdict where it has none.
fn value<'k>(kernel: &'k Kernel, check: &'static Check, key: &str, absent: &str) -> Result<&'k str, Verdict> {
    match kernel.sysctls.get(key) {
        Some(Seen::Is(value)) => Ok(value),
        Some(Seen::Absent) | None => Err(Verdict::ok(check, absent)),
        Some(Seen::Unseen(why)) => Err(Verdict::unknown(check, why)),
    }
}

fn core_pattern(kernel: &Kernel) -> Verdict {
    const KEY: &str = "kernel.core_pattern";
    match value(kernel, &CORE_PATTERN, KEY, "the kernel dumps no core") {
        Err(verdict) => verdict,
        Ok(pattern) => {
            let found = format!("{KEY} = {pattern}");
            let means = match pattern.chars().next() {
                Some('|') => {
                    "a crash in a cell runs this program as root of the host, outside of the cell, on what the tenant's process left"
                }
                Some('@') => "a crash in a cell reaches this socket of the host, with what the tenant's process left",
                Some(_) | None => return Verdict::ok(&CORE_PATTERN, found),
            };
            Verdict::warn(&CORE_PATTERN, found, means).remedy(Remedy::Sysctl(KEY, "core"))
        }
    }
}

fn suid_dumpable(kernel: &Kernel) -> Verdict {
    const KEY: &str = "fs.suid_dumpable";
    match value(kernel, &SUID_DUMPABLE, KEY, "the kernel has no such setting") {
        Err(verdict) => verdict,
        Ok("1") => Verdict::fail(
            &SUID_DUMPABLE,
            format!("{KEY} = 1"),
            "tenants could trace a session's process between its change of ids and its start; serve refuses",
        )
        .remedy(Remedy::Sysctl(KEY, "0")),
        Ok(value) => Verdict::ok(&SUID_DUMPABLE, format!("{KEY} = {value}")),
    }
}

fn tiocsti(kernel: &Kernel) -> Verdict {
    const KEY: &str = "dev.tty.legacy_tiocsti";
    let means = "unless a filter refuses TIOCSTI, a program can type into the terminal that it was started on: a user's into root's, where root of the cell uses su";
    match kernel.sysctls.get(KEY) {
        Some(Seen::Is(value)) if value == "0" => Verdict::ok(&TIOCSTI, format!("{KEY} = 0")),
        Some(Seen::Is(value)) => {
            Verdict::warn(&TIOCSTI, format!("{KEY} = {value}"), means).remedy(Remedy::Sysctl(KEY, "0"))
        }
        Some(Seen::Absent) | None => Verdict::warn(&TIOCSTI, "this kernel cannot forbid it", means)
            .remedy(Remedy::Advice(format!("boot Linux 6.2 or later, which has {KEY}"))),
        Some(Seen::Unseen(why)) => Verdict::unknown(&TIOCSTI, why),
    }
}

fn bpf(kernel: &Kernel) -> Verdict {
    const KEY: &str = "kernel.unprivileged_bpf_disabled";
    match value(kernel, &BPF, KEY, "the kernel has no bpf(2)") {
        Err(verdict) => verdict,
        Ok("0") => Verdict::warn(
            &BPF,
            format!("{KEY} = 0"),
            "whoever can call bpf(2) may load programs into the kernel: users of the host, and what a cell's filter lets through",
        )
        .remedy(Remedy::Sysctl(KEY, "2")),
        Ok(value) => Verdict::ok(&BPF, format!("{KEY} = {value}")),
    }
}

fn dmesg(kernel: &Kernel) -> Verdict {
    const KEY: &str = "kernel.dmesg_restrict";
    match value(kernel, &DMESG, KEY, "the kernel keeps no log") {
        Err(verdict) => verdict,
        Ok("0") => Verdict::warn(
            &DMESG,
            format!("{KEY} = 0"),
            "whoever can call syslog(2) reads the host's kernel log: devices, addresses, other tenants' crashes",
        )
        .remedy(Remedy::Sysctl(KEY, "1")),
        Ok(value) => Verdict::ok(&DMESG, format!("{KEY} = {value}")),
    }
}

fn kptr(kernel: &Kernel) -> Verdict {
    const KEY: &str = "kernel.kptr_restrict";
    const PERF: &str = "kernel.perf_event_paranoid";
    let restrict = match value(kernel, &KPTR, KEY, "the kernel has no such setting") {
        Err(verdict) => return verdict,
        Ok(restrict) => restrict,
    };
    // Without performance events the setting is missing, and nothing is shown for their sake.
    let paranoid = match kernel.sysctls.get(PERF) {
        Some(Seen::Is(value)) => value.parse::<i32>().ok(),
        Some(Seen::Absent) | None => Some(i32::MAX),
        Some(Seen::Unseen(_)) => None,
    };
    match (restrict, paranoid) {
        ("0", Some(paranoid)) if paranoid <= 1 => Verdict::warn(
            &KPTR,
            format!("{KEY} = 0, {PERF} = {paranoid}"),
            "/proc/kallsyms shows tenants where everything in the kernel lies, which a hole in it is easier to use with",
        )
        .remedy(Remedy::Sysctl(KEY, "1")),
        ("0", None) => Verdict::unknown(&KPTR, format!("{KEY} = 0, {PERF} could not be read")),
        (_, Some(i32::MAX) | None) => Verdict::ok(&KPTR, format!("{KEY} = {restrict}")),
        (_, Some(paranoid)) => Verdict::ok(&KPTR, format!("{KEY} = {restrict}, {PERF} = {paranoid}")),
    }
}

fn ptrace(kernel: &Kernel) -> Verdict {
    const KEY: &str = "kernel.yama.ptrace_scope";
    match value(kernel, &PTRACE, KEY, "no Yama: a tenant's processes can trace each other") {
        Err(verdict) => verdict,
        Ok("0") => Verdict::ok(&PTRACE, format!("{KEY} = 0: a tenant's processes can trace each other")),
        Ok(value) => {
            Verdict::ok(&PTRACE, format!("{KEY} = {value}: also within a tenant not all can trace each other"))
        }
    }
}

fn modules(kernel: &Kernel) -> Verdict {
    const KEY: &str = "kernel.modules_disabled";
    match value(kernel, &MODULES, KEY, "the kernel has no modules") {
        Err(verdict) => verdict,
        Ok("1") => Verdict::ok(&MODULES, format!("{KEY} = 1: none can be loaded any more")),
        Ok(value) => Verdict::ok(&MODULES, format!("{KEY} = {value}: some load by themselves, when first used")),
    }
}
