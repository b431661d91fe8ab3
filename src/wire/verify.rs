//! What `cellblock verify` and its probe say to each other: a [`Task`] in, a [`Finding`] per check
//! out, each a line of JSON. And the one table of checks: `docs/verify.md` is made from it.
//!
//! The probe shares its cell with a tenant, so what it says is bounded, and believed no more than
//! an init is.

use serde::{Deserialize, Serialize};

use super::init::Account;

/// Longest line either way: a task lists every mount of a host view.
pub const MAX_LINE: usize = 256 << 10;

/// The probe's first line: it runs, and waits for its task.
pub const READY: &str = "ready";

macro_rules! checks {
    ($($group:ident $title:literal from $side:ident {
        $($check:ident $id:literal $tries:literal $why:literal)*
    })*) => {
        /// What checks are about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Group { $(#[doc = $title] $group,)* }

        impl Group {
            /// All of them, in the order in which they are shown.
            pub const ALL: &[Self] = &[$(Self::$group),*];

            /// Its title.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$group => $title,)* }
            }

            /// From where its checks look at the cell.
            #[must_use]
            pub fn side(self) -> Side {
                match self { $(Self::$group => Side::$side,)* }
            }
        }

        /// One thing that a tenant must not be able to do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Check { $($(#[doc = $tries] $check,)*)* }

        impl Check {
            /// All of them, in the order in which they are shown.
            pub const ALL: &[Self] = &[$($(Self::$check),*),*];

            /// Its name, for monitoring.
            #[must_use]
            pub fn id(self) -> &'static str {
                match self { $($(Self::$check => $id,)*)* }
            }

            /// What is tried.
            #[must_use]
            pub fn tries(self) -> &'static str {
                match self { $($(Self::$check => $tries,)*)* }
            }

            /// Why it must be as it is.
            #[must_use]
            pub fn why(self) -> &'static str {
                match self { $($(Self::$check => $why,)*)* }
            }

            /// What it is about.
            #[must_use]
            pub fn group(self) -> Group {
                match self { $($(Self::$check => Group::$group,)*)* }
            }
        }
    };
}

checks! {
    Identity "Who a session is" from Inside {
        Ids "ids" "compare all user and group ids with the account's, and look for more groups"
            "an id that is not the account's, or a group left over from the door, opens files that are not the tenant's"
        Capabilities "capabilities" "read the five capability sets and the securebits"
            "only what the class lists; inheritable and ambient sets would survive an exec (CVE-2022-29162)"
        NoNewPrivs "no-new-privs" "ask whether an exec can give privileges"
            "without it a setuid program gives a tenant what the class did not"
        Rlimits "rlimits" "compare the resource limits with the config's, and try to raise them"
            "they bound what one process takes of the kernel's memory"
        Descriptors "descriptors" "list the open descriptors and see what they are"
            "one descriptor of the host's is a way out of every namespace (CVE-2024-21626)"
        Environment "environment" "list the variables"
            "a variable of the door's tells about the host, and one like LD_PRELOAD changes what programs do"
        Traits "traits" "look at umask, signal mask, ignored signals, nice, personality, dumpability"
            "what a session inherits from the door must not differ from what a fresh login has"
        OomScore "oom-score" "read the OOM score and try to lower it"
            "a tenant whom the kernel spares makes it kill somebody else's process"
    }
    Processes "Other processes" from Inside {
        Neighbours "neighbours" "look at the owner of every process in /proc"
            "a process of another tenant's, or of the host's, is nobody's business here"
        Pid1 "pid-1" "trace pid 1, read its memory, descriptors and environment, signal it"
            "pid 1 holds the link to the door, and starts every session (CVE-2016-9962)"
        LimitsOfPid1 "limits-of-pid-1" "ask for pid 1's resource limits by prlimit"
            "whoever sets its RLIMIT_CPU ends the cell, capabilities or not"
        OwnProgram "own-program" "open the probe's own program, which is init's, for reading and writing"
            "who can write to the launcher owns the next login (CVE-2019-5736); who can read it can trace it"
    }
    Namespaces "Namespaces" from Inside {
        Nested "nested-namespaces" "make each kind of namespace by unshare and by clone3"
            "a namespace of one's own brings capabilities there, and with them most of the kernel's holes (CVE-2022-0185)"
        Setns "setns" "open the namespaces of pid 1 and join them"
            "whoever joins a namespace of another process has left their own"
        HostName "host-name" "read the host name"
            "the host's name, or a neighbour's, shows a shared uts namespace"
        Ipc "ipc" "look for System V objects and message queues of somebody else"
            "IPC objects know no directories: only the namespace keeps tenants apart"
        AbstractSockets "abstract-sockets" "connect to every abstract socket in /proc/net/unix"
            "they belong to the network namespace, and no file permission guards them (CVE-2020-15257)"
        Network "network" "list interfaces and routes"
            "without network = \"host\" there is loopback and nothing else"
        Keyrings "keyrings" "read the session keyring and /proc/keys"
            "keys of whoever started the door would be a tenant's"
    }
    Files "Files and mounts" from Inside {
        Mounts "mounts" "compare every mount and its attributes with the plan of the cell"
            "a missing nodev, nosuid, noexec or read-only is a hole; a mount that nobody planned may be one"
        MountPoints "mount-points" "look at each mount point without following links"
            "a link in place of a mount point leads the mount elsewhere (CVE-2026-41579)"
        Masks "masks" "read every part of /proc and /sys that is to be covered"
            "they tell about the host's memory, keys, timers and firmware"
        ProcWrites "proc-writes" "open for writing what steers the host in /proc and /sys"
            "sysrq-trigger, core_pattern and their like act on the host, whatever the namespace"
        Remount "remount" "mount, remount, unmount and take trees with the old and the new mount API"
            "who can change a mount can take off every lock and mask"
        HostWrites "host-writes" "make and link files in every tree that is read-only, and link from there to writable ones"
            "a changed file of the host's is everybody's; a hard link keeps a setuid program after its update"
        Devices "devices" "look at every node in /dev, make nodes elsewhere and open them"
            "a node of a disk or of memory is the disk or the memory"
        Hidden "hidden" "look for the directories of cellblock, of other tenants, and other homes"
            "what is not there cannot be read"
    }
    Kernel "System calls" from Inside {
        Sockets "sockets" "open sockets of every family and protocol that a tenant has no use for"
            "they are where the kernel's holes are (AF_ALG: CVE-2026-31431; RxRPC, XFRM: CVE-2026-43284)"
        Calls "calls" "make each forbidden system call with harmless arguments"
            "what cannot be called cannot be exploited; a refusal must come before the call looks at its arguments"
        ForeignAbis "foreign-abis" "make calls by the i386 and the x32 ABI"
            "a filter that looks at one table of calls is passed by through another"
        Terminal "terminal" "put input into the terminal by TIOCSTI and TIOCLINUX, with the high bits set too"
            "the next command that somebody reads from the terminal would be the tenant's (CVE-2017-5226, CVE-2023-46277)"
    }
    Limits "Limits" from Inside {
        Cgroup "cgroup" "look where the control groups start, and open their files for writing"
            "who can write to them has no limits; who sees above them sees the neighbours (CVE-2023-25809)"
        ForkBomb "fork-bomb" "start processes until the limit, then go on as before"
            "a fork bomb takes all of the host's process ids"
        MemoryBomb "memory-bomb" "fill memory until the limit, then go on as before"
            "without a limit the host kills whom it likes"
        FdBomb "fd-bomb" "open files until the limit, then go on as before"
            "open files are kernel memory, and the host's table has an end"
        InotifyBomb "inotify-bomb" "make inotify instances until the limit of the cell's own"
            "they are kernel memory, and the kernel counts them against the owner of the cell's user namespace too"
        PtyBomb "pty-bomb" "open terminals until the limit of the cell's devpts"
            "terminals are counted for the whole host: without a limit nobody else logs in"
        Tmpfs "tmpfs" "fill /tmp, /run and /dev/shm beyond their sizes"
            "a tmpfs is memory"
    }
    Host "Seen from the host" from Outside {
        IdMap "id-map" "read the id maps of pid 1"
            "the cell's ids are the tenant's range and nothing else: its root is nobody on the host"
        OwnNamespaces "own-namespaces" "compare the seven namespaces with the host's and with every other cell's"
            "one namespace shared is one wall less"
        OwnCgroup "own-cgroup" "read the control groups of pid 1 and of the probe"
            "what runs outside of the tenant's group is not limited by it"
        InitClosed "init-closed" "look who owns /proc/PID/environ of pid 1 and of the probe"
            "it belongs to the host's root only while the process cannot be traced or dumped"
        OomOutside "oom-score-outside" "read the OOM scores of the probe"
            "a session that inherits another score than 0 is spared, or can spare itself"
    }
}

/// From where a check looks at the cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The probe makes it, as the tenant.
    Inside,
    /// `verify` makes it, as root of the host.
    Outside,
}

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// There was nothing to try: the class gives it, or the kernel has no such thing.
    NotApplicable,
    /// It is as it must be.
    Held,
    /// It could not be tried, or the probe did not say how it went.
    Unknown,
    /// The tenant could do it.
    Escaped,
}

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What.
    pub tried: String,
    /// What happened.
    pub happened: String,
    /// What that means.
    pub verdict: Verdict,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which.
    pub check: Check,
    /// All that was tried.
    pub attempts: Vec<Attempt>,
}

impl Finding {
    /// The worst of its attempts. A check that tried nothing has shown nothing.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.attempts.iter().map(|attempt| attempt.verdict).max().unwrap_or(Verdict::Unknown)
    }
}

/// What the probe must know to tell right from wrong: the jail, as it was planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Who it runs as.
    pub account: Account,
    /// Names of the variables that it was given.
    pub environment: Vec<String>,
    /// Everything that is mounted.
    pub mounts: Vec<Mount>,
    /// The host name.
    pub hostname: String,
    /// The names below `/home`, where that is ours to say.
    pub homes: Option<Vec<String>>,
    /// Files of the host that must not be there.
    pub hidden: Vec<Hidden>,
    /// Which network it has.
    pub network: Network,
    /// Sets of system calls that the class gives on top.
    pub granted: Vec<String>,
    /// What it may use up.
    pub limits: Limits,
    /// Whether to try the limits, which gets in the way of what else runs in the cell.
    pub bombs: Bombs,
    /// The process that nobody may touch: 1.
    pub init: i32,
}

/// A file of the host's. A tenant may have something of the same name, but not this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hidden {
    /// Where it is on the host.
    pub path: String,
    /// Its device.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
}

/// A mount as it was planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where, as an absolute path.
    pub at: String,
    /// What it must at least be, as `mountinfo` spells it: `ro`, `nosuid`, `nodev`, `noexec`.
    pub flags: Vec<String>,
    /// What it is there for.
    pub kind: MountKind,
}

/// What a mount is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// It has something to show, and perhaps other mounts below.
    Shows,
    /// It covers a file, which then reads as empty; where the kernel has it.
    Covers,
    /// It makes a part read-only, where the kernel has it.
    Locks,
}

/// Which network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// Loopback only.
    Own,
    /// The host's.
    Host,
}

/// Whether limits are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bombs {
    /// They are.
    Small,
    /// They are not.
    None,
}

/// What a tenant may use up. `None`: nothing says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Keys of the config that the class goes without on this host.
    pub forgone: Vec<String>,
    /// Sizes of the file systems in memory, by mount point.
    pub tmpfs: Vec<(String, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_has_a_name_of_its_own_and_a_reason() {
        let mut ids: Vec<_> = Check::ALL.iter().map(|check| check.id()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Check::ALL.len());
        assert!(Check::ALL.iter().all(|check| check.why().len() > 10 && check.tries().len() > 10));
    }

    #[test]
    fn the_worst_attempt_is_the_verdict_and_no_attempt_proves_nothing() {
        let attempt = |verdict| Attempt { tried: String::new(), happened: String::new(), verdict };
        let finding = |verdicts: &[Verdict]| {
            Finding { check: Check::Ids, attempts: verdicts.iter().copied().map(attempt).collect() }.verdict()
        };
        assert_eq!(finding(&[Verdict::Held, Verdict::Escaped, Verdict::Unknown]), Verdict::Escaped);
        assert_eq!(finding(&[Verdict::NotApplicable, Verdict::Held]), Verdict::Held);
        assert_eq!(finding(&[]), Verdict::Unknown);
    }
}
