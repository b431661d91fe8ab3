//! The one table of checks: output, JSON and docs/doctor.md name them by it.

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// What cells are made of.
    Kernel,
    /// Kernel settings that tenants can feel.
    Settings,
    /// Where tenants' files lie.
    Files,
    /// Control groups.
    Limits,
    /// Users of the host, and the other SSH server.
    Neighbours,
}

impl Group {
    /// All, in the order of the output.
    pub const ALL: [Self; 5] = [Self::Kernel, Self::Settings, Self::Files, Self::Limits, Self::Neighbours];

    /// Its heading.
    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Self::Kernel => "What cells are made of",
            Self::Settings => "Kernel settings",
            Self::Files => "Config and files",
            Self::Limits => "Control groups",
            Self::Neighbours => "Ids, accounts and sshd",
        }
    }
}

/// One check.
#[derive(Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name, for good: monitoring goes by it.
    pub id: &'static str,
    /// What it is about.
    pub group: Group,
    /// What is looked at, and why tenants care.
    pub about: &'static str,
    /// When it warns; empty: never.
    pub warns: &'static str,
    /// When it fails; empty: never.
    pub fails: &'static str,
}

macro_rules! checks {
    ($($name:ident = $id:literal, $group:ident, $about:literal, warn $warns:literal, fail $fails:literal;)*) => {
        $(#[doc = $about]
        pub static $name: Check = Check { id: $id, group: Group::$group, about: $about, warns: $warns, fails: $fails };)*

        /// All, in the order of the output.
        pub static ALL: &[&Check] = &[$(&$name),*];
    };
}

checks! {
    KERNEL = "kernel", Kernel,
        "The kernel's version. Cells need idmapped mounts as 5.15 has them; the oldest that the tests boot is 6.1.",
        warn "", fail "it is older than 5.15";
    USER_NAMESPACES = "user-namespaces", Kernel,
        "How many user namespaces root may make (`user.max_user_namespaces`): one for each cell and one for each connection. `kernel.unprivileged_userns_clone` and AppArmor's `kernel.apparmor_restrict_unprivileged_userns` are shown; both hold for users without CAP_SYS_ADMIN, so not for cellblock but for `enter --rootless`, and tenants get no user namespaces in any case.",
        warn "there may be fewer than `max_connections` and one per tenant", fail "there may be none, or the kernel has none";
    NAMESPACES = "namespaces", Kernel,
        "Whether all seven kinds of namespace can really be made, by making them.",
        warn "", fail "one of them cannot";
    SECCOMP = "seccomp", Kernel,
        "Whether the kernel can filter system calls (`/proc/sys/kernel/seccomp/actions_avail`). The process that speaks SSH never runs without.",
        warn "", fail "it cannot, or lacks an action that the filters use";
    LANDLOCK = "landlock", Kernel,
        "Which version of Landlock there is. From version 6 on (Linux 6.12) it can keep a cell with `network = \"host\"` away from the host's abstract unix sockets, which lie in the network namespace.",
        warn "a tenant has `network = \"host\"`, and the version is lower than 6 or there is none", fail "";

    CORE_PATTERN = "core-pattern", Settings,
        "Where core dumps go (`kernel.core_pattern`). A pattern that starts with `|` has the kernel run a program as root of the host, outside of every cell, which reads what the tenant's process left in memory; `@` sends it to a socket of the host. A limit on core files (`RLIMIT_CORE`) does not stop a pipe.",
        warn "it is a pipe or a socket", fail "";
    SUID_DUMPABLE = "suid-dumpable", Settings,
        "Whether processes that changed their ids can be traced by those they changed to (`fs.suid_dumpable`).",
        warn "", fail "it is 1: `serve` refuses to start";
    TIOCSTI = "tiocsti", Settings,
        "Whether a program can type into its terminal as if the user did (`dev.tty.legacy_tiocsti`). Inside a cell that matters where one user starts another's program on a terminal (`su`).",
        warn "it is allowed, or the kernel (before 6.2) cannot forbid it", fail "";
    BPF = "unprivileged-bpf", Settings,
        "Whether users without privileges may load BPF programs (`kernel.unprivileged_bpf_disabled`), a frequent way into the kernel.",
        warn "it is 0", fail "";
    DMESG = "dmesg-restrict", Settings,
        "Whether users without privileges may read the kernel's log (`kernel.dmesg_restrict`): it tells of the host, its devices, and of other tenants' crashes.",
        warn "it is 0", fail "";
    KPTR = "kptr-restrict", Settings,
        "Whether `/proc/kallsyms` shows kernel addresses to users without privileges: that takes `kernel.kptr_restrict` 0 together with `kernel.perf_event_paranoid` 1 or lower. Addresses make a hole in the kernel easier to use.",
        warn "it does", fail "";
    PTRACE = "ptrace", Settings,
        "`kernel.yama.ptrace_scope`. Tenants cannot trace each other whatever it says, since they have no ids and no pids in common; it decides about processes of one tenant.",
        warn "", fail "";
    MODULES = "modules", Settings,
        "Whether modules can still be loaded (`kernel.modules_disabled`). Using a protocol or a device for the first time can load one.",
        warn "", fail "";

    TERMINALS = "terminals", Settings,
        "How many terminals there are for the host and all cells together (`kernel.pty.max`, less `kernel.pty.reserve`, which cells cannot have), against the connections that there may be.",
        warn "there are fewer than `max_connections`", fail "";
    OPEN_FILES = "open-files", Settings,
        "How many files may be open on the host (`fs.file-max`). Root is not held to it, tenants are.",
        warn "it is less than 64 for each connection and each tenant's cell", fail "";
    INOTIFY = "inotify", Settings,
        "How many inotify instances and watches one user may have (`fs.inotify.max_user_instances`, `fs.inotify.max_user_watches`): each tenant is one, and a cell may have 64 instances.",
        warn "there are fewer than 64 instances or 8192 watches", fail "";

    CONFIG = "config", Files,
        "Whether the config can be read, and belongs to root alone.",
        warn "", fail "it has errors, or others than root can change it";
    DIRECTORIES = "directories", Files,
        "Whether `state_dir` can be entered, and `run_dir` be read, by root alone: a setuid program that a tenant leaves in their home is harmless only behind such a directory. Through `run_dir` others reach `enter.sock`, and nothing else.",
        warn "", fail "others can enter or change one of them";
    HOST_KEYS = "host-keys", Files,
        "Whether the host keys are there, and root's alone. A missing ed25519 key is made at the first start.",
        warn "", fail "one is missing that is not made, or others can read or change one";
    PAM = "pam", Files,
        "Whether there is what logins through PAM need: the program `cellblock-pam`, beside cellblock or in `/usr/libexec/cellblock`, and the services that tenants name (`pam_service`), in `/etc/pam.d`.",
        warn "a service is missing: PAM takes `other` for it", fail "a tenant needs the program, and it is missing";
    IDMAP = "idmapped-mounts", Files,
        "Whether owners can be shifted on each file system that homes or roots lie on, by trying: tenants' files keep their natural owners on disk, and cells see them through an idmapped mount.",
        warn "there are more file systems than were tried", fail "on one of them they cannot";

    CGROUP_MODE = "cgroup-mode", Limits,
        "Which control groups there are. Version 2 can enforce every limit; version 1 memory, pids and cpu.",
        warn "they are version 1 (alone or hybrid)", fail "none are mounted, or they cannot be written to";
    CGROUP_CONTROLLERS = "cgroup-controllers", Limits,
        "Whether the controllers that limits are set in are there: memory, pids, cpu, and on version 2 io.",
        warn "io is missing on version 2", fail "memory, pids or cpu is missing";
    CGROUP_DELEGATION = "cgroup-delegation", Limits,
        "Whether systemd leaves a part of the hierarchy to cellblock (`Delegate=` and `DelegateSubgroup=` in its unit). Without, two programs manage one tree.",
        warn "on version 2, systemd starts cellblock without one of them", fail "";

    ID_POOL = "id-pool", Neighbours,
        "Whether ids in the pool for tenants are taken by accounts of the host, or by lines of `/etc/subuid` and `/etc/subgid` that are not cellblock's. What is taken is passed over when ids are given out.",
        warn "some are taken", fail "";
    ID_RANGES = "id-ranges", Neighbours,
        "Whether ids that a tenant has been given are also an account's of the host, or can be mapped by a user of the host: that user would own the tenant's files and processes.",
        warn "", fail "they are";
    SAME_NAMES = "same-names", Neighbours,
        "Whether accounts of the host have names of tenants, where sshd is installed. Tenants need no account, so what sshd allows does not concern them; but whoever logs in through sshd under such a name is outside of every cell.",
        warn "there are such accounts", fail "";
    SSHD_PORT = "sshd-port", Neighbours,
        "Where sshd listens, as `sshd -T` says, and where cellblock does.",
        warn "both want one address and port: who starts second does not start", fail "";
    SSHD_LEAKS = "sshd-leaks", Neighbours,
        "What sshd does on the host, outside of every cell, for accounts that are tenants (`host_user`, `host_group`): shells and files without `cellblock enter`, forwards, variables. sshd is asked about each account, as in `cellblock check --sshd`, which shows the lines.",
        warn "", fail "it does any of that, or could not be asked about all of them";
    HOST_JOBS = "host-jobs", Neighbours,
        "Whether cron and at of the host, where they are installed, take jobs of accounts that are tenants (`host_user`, `host_group`), by `/etc/cron.allow`, `/etc/cron.deny`, `/etc/at.allow` and `/etc/at.deny`: they run `/bin/sh` on the host, whatever login shell an account has and whatever sshd forces. And whether cron has jobs of theirs already (`/var/spool/cron/crontabs`): it asks none of these lists before it runs them.",
        warn "one of them does, or cron has jobs of theirs", fail "";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_has_a_name_of_its_own_and_a_sentence() {
        let mut names: Vec<_> = ALL.iter().map(|check| check.id).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for check in ALL {
            assert!(check.about.ends_with('.') && !check.id.contains(' '), "{}", check.id);
        }
        for group in Group::ALL {
            assert!(ALL.iter().any(|check| check.group == group), "{group:?}");
        }
    }
}
