//! Every check's verdicts on made-up facts.

use std::collections::BTreeSet;

use super::*;
use crate::config::settings::IdPool;
use crate::doctor::facts::*;
use crate::doctor::verdict::{Level, Remedy};
use crate::doctor::{as_json, as_text, has_failed};
use crate::jail::IdRange;
use crate::sshd::{Leak, Looked};

fn healthy() -> Facts {
    let settings = [
        ("dev.tty.legacy_tiocsti", "0"),
        ("fs.suid_dumpable", "0"),
        ("kernel.core_pattern", "core"),
        ("kernel.dmesg_restrict", "1"),
        ("kernel.kptr_restrict", "1"),
        ("kernel.modules_disabled", "0"),
        ("kernel.perf_event_paranoid", "2"),
        ("kernel.unprivileged_bpf_disabled", "2"),
        ("kernel.yama.ptrace_scope", "1"),
        ("user.max_user_namespaces", "30000"),
        ("fs.file-max", "9223372036854775807"),
        ("fs.inotify.max_user_instances", "128"),
        ("fs.inotify.max_user_watches", "65536"),
        ("kernel.pty.max", "4096"),
        ("kernel.pty.reserve", "1024"),
    ];
    let mut sysctls: std::collections::BTreeMap<_, _> = SYSCTLS.iter().map(|name| (*name, Seen::Absent)).collect();
    sysctls.extend(settings.map(|(name, value)| (name, Seen::Is(value.to_owned()))));
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    Facts {
        kernel: Kernel {
            release: "6.12.9-cloud-amd64".into(),
            sysctls,
            missing_namespaces: Seen::Is(Vec::new()),
            seccomp: Seen::Is(words("kill_process kill_thread trap errno user_notif trace log allow")),
            landlock: Landlock::Version(6),
        },
        groups: Groups {
            mode: Mode::V2,
            controllers: words("cpu io memory pids"),
            writable: true,
            delegation: Delegation::Delegated,
        },
        config: Config::Read(Box::new(Named {
            path: "/etc/cellblock/cellblock.toml".into(),
            errors: 0,
            tenants: Tenants { count: 3, ..Tenants::default() },
            max_connections: 1000,
            listen: vec!["0.0.0.0:22".parse().unwrap(), "[::]:22".parse().unwrap()],
            mounts: vec![Mount {
                path: "/var/lib/cellblock".into(),
                kind: "ext4".into(),
                holds: Holds::Homes,
                shifts: Seen::Is(true),
            }],
            untried: 0,
            directories: vec![("state_dir", "/var/lib/cellblock".into(), Trust::Private)],
            host_keys: vec![("/etc/cellblock/ssh_host_ed25519_key".into(), Trust::Missing)],
            pam: Pam {
                tenants: vec!["alice".parse().unwrap()],
                program: Some("/usr/libexec/cellblock/cellblock-pam".into()),
                missing: Vec::new(),
            },
            ids: Ids {
                pool: IdPool { first: 524_288, count: 1_000_000, register: true },
                ranges: Seen::Is(vec![("alice".parse().unwrap(), IdRange { first: 524_289, count: 65_536 })]),
                subordinate: Seen::Is(Vec::new()),
                accounts: vec![0, 1000, 65_534],
            },
            sshd: Sshd::Listens(vec!["0.0.0.0:2222".parse().unwrap()]),
            leaks: Seen::Is(Looked { accounts: 2, leaks: Vec::new() }),
            jobs: Seen::Is(Jobs { accounts: 2, runners: vec![cron(&[], None)] }),
        })),
    }
}

type Change = fn(&mut Facts);

fn named(facts: &mut Facts) -> &mut Named {
    let Config::Read(named) = &mut facts.config else { panic!("there is a config") };
    named
}

fn set(facts: &mut Facts, name: &'static str, value: &str) {
    facts.kernel.sysctls.insert(name, Seen::Is(value.to_owned()));
}

fn roots(shifts: Seen<bool>) -> Mount {
    Mount { path: "/srv/jails/bob".into(), kind: "nfs".into(), holds: Holds::Roots(7), shifts }
}

fn leak() -> Leak {
    Leak {
        path: "/etc/ssh/sshd_config".into(),
        cited: None,
        message: "sshd opens a port of this host for alice".into(),
        hint: "write `X11Forwarding no` instead".into(),
    }
}

fn cron(takes: &[&str], others: Option<&[&str]>) -> Runner {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Runner { name: "cron", allow: "/etc/cron.allow", takes: names(takes), has: Vec::new(), others: others.map(names) }
}

/// What is changed about a healthy host, the check that notices, how bad it is, and a word of what it says.
#[rustfmt::skip]
const CASES: &[(&str, Level, &str, Change)] = &[
    ("kernel", Level::Ok, "5.15", |f| f.kernel.release = "5.15.0-91-generic".into()),
    ("kernel", Level::Fail, "boot Linux 5.15", |f| f.kernel.release = "5.10.0-28-amd64".into()),
    ("kernel", Level::Fail, "boot Linux", |f| f.kernel.release = "4.19.0".into()),
    ("kernel", Level::Unknown, "no version", |f| f.kernel.release = "custom".into()),
    ("user-namespaces", Level::Fail, "sysctl -w user.max_user_namespaces=30000", |f| set(f, "user.max_user_namespaces", "0")),
    ("user-namespaces", Level::Fail, "CONFIG_USER_NS", |f| { f.kernel.sysctls.remove("user.max_user_namespaces"); }),
    ("user-namespaces", Level::Warn, "sysctl -w user.max_user_namespaces=2006", |f| set(f, "user.max_user_namespaces", "1002")),
    ("user-namespaces", Level::Ok, "no matter here", |f| set(f, "kernel.apparmor_restrict_unprivileged_userns", "1")),
    ("namespaces", Level::Fail, "net (No space left", |f| f.kernel.missing_namespaces = Seen::Is(vec![("net", "No space left on device".into())])),
    ("namespaces", Level::Unknown, "sudo", |f| f.kernel.missing_namespaces = Seen::Unseen("run it with sudo".into())),
    ("seccomp", Level::Fail, "lacks kill_process", |f| f.kernel.seccomp = Seen::Is(vec!["errno".into(), "allow".into()])),
    ("seccomp", Level::Fail, "CONFIG_SECCOMP_FILTER", |f| f.kernel.seccomp = Seen::Absent),
    ("landlock", Level::Ok, "not built in", |f| f.kernel.landlock = Landlock::NotBuilt),
    ("landlock", Level::Warn, "lsm=", |f| { f.kernel.landlock = Landlock::SwitchedOff; named(f).tenants.on_host_network = vec!["bob".parse().unwrap()]; }),
    ("landlock", Level::Warn, "bob can reach every abstract", |f| { f.kernel.landlock = Landlock::Version(5); named(f).tenants.on_host_network = vec!["bob".parse().unwrap()]; }),
    ("landlock", Level::Ok, "version 6", |f| named(f).tenants.on_host_network = vec!["bob".parse().unwrap()]),
    ("core-pattern", Level::Warn, "as root of the host", |f| set(f, "kernel.core_pattern", "|/usr/share/apport/apport %p")),
    ("core-pattern", Level::Warn, "socket", |f| set(f, "kernel.core_pattern", "@/run/core.socket")),
    ("core-pattern", Level::Ok, "/var/crash", |f| set(f, "kernel.core_pattern", "/var/crash/core.%p")),
    ("suid-dumpable", Level::Fail, "sysctl -w fs.suid_dumpable=0", |f| set(f, "fs.suid_dumpable", "1")),
    ("suid-dumpable", Level::Ok, "2", |f| set(f, "fs.suid_dumpable", "2")),
    ("tiocsti", Level::Warn, "sysctl -w dev.tty.legacy_tiocsti=0", |f| set(f, "dev.tty.legacy_tiocsti", "1")),
    ("tiocsti", Level::Warn, "boot Linux 6.2", |f| { f.kernel.sysctls.insert("dev.tty.legacy_tiocsti", Seen::Absent); }),
    ("unprivileged-bpf", Level::Warn, "sysctl -w kernel.unprivileged_bpf_disabled=2", |f| set(f, "kernel.unprivileged_bpf_disabled", "0")),
    ("dmesg-restrict", Level::Warn, "sysctl -w kernel.dmesg_restrict=1", |f| set(f, "kernel.dmesg_restrict", "0")),
    ("kptr-restrict", Level::Warn, "sysctl -w kernel.kptr_restrict=1", |f| { set(f, "kernel.kptr_restrict", "0"); set(f, "kernel.perf_event_paranoid", "1"); }),
    ("kptr-restrict", Level::Ok, "paranoid = 2", |f| set(f, "kernel.kptr_restrict", "0")),
    ("kptr-restrict", Level::Unknown, "could not be read", |f| { set(f, "kernel.kptr_restrict", "0"); f.kernel.sysctls.insert("kernel.perf_event_paranoid", Seen::Unseen("EIO".into())); }),
    ("ptrace", Level::Ok, "no Yama", |f| { f.kernel.sysctls.insert("kernel.yama.ptrace_scope", Seen::Absent); }),
    ("modules", Level::Ok, "no modules", |f| { f.kernel.sysctls.insert("kernel.modules_disabled", Seen::Absent); }),
    ("terminals", Level::Ok, "4096", |f| set(f, "kernel.pty.max", "4096")),
    ("terminals", Level::Warn, "sysctl -w kernel.pty.max=3024", |f| set(f, "kernel.pty.max", "2000")),
    ("terminals", Level::Warn, "some would get no terminal", |f| set(f, "kernel.pty.reserve", "4000")),
    ("terminals", Level::Unknown, "pty.max = many", |f| set(f, "kernel.pty.max", "many")),
    ("open-files", Level::Warn, "sysctl -w fs.file-max=128384", |f| set(f, "fs.file-max", "64191")),
    ("open-files", Level::Ok, "64192", |f| set(f, "fs.file-max", "64192")),
    ("open-files", Level::Unknown, "EIO", |f| { f.kernel.sysctls.insert("fs.file-max", Seen::Unseen("EIO".into())); }),
    ("inotify", Level::Warn, "sysctl -w fs.inotify.max_user_instances=64", |f| set(f, "fs.inotify.max_user_instances", "63")),
    ("inotify", Level::Warn, "sysctl -w fs.inotify.max_user_watches=8192", |f| set(f, "fs.inotify.max_user_watches", "100")),
    ("inotify", Level::Ok, "no fs.inotify", |f| { f.kernel.sysctls.remove("fs.inotify.max_user_instances"); }),
    ("config", Level::Fail, "check", |f| named(f).errors = 2),
    ("config", Level::Fail, "chmod go-w", |f| f.config = Config::Unusable { path: "/c".into(), errors: 1, remedy: Some("chmod go-w /c".into()) }),
    ("config", Level::Unknown, "host alone", |f| f.config = Config::Missing("/c".into())),
    ("config", Level::Unknown, "sudo", |f| f.config = Config::Unseen("/c".into(), "run it with sudo".into())),
    ("directories", Level::Fail, "chmod 700 /s", |f| named(f).directories = vec![("state_dir", "/s".into(), Trust::Open(0o755))]),
    ("directories", Level::Fail, "chown root /s", |f| named(f).directories = vec![("run_dir", "/s".into(), Trust::Changeable("x".into(), Some("chown root /s".into())))]),
    ("directories", Level::Ok, "first start", |f| named(f).directories = vec![("run_dir", "/s".into(), Trust::Missing)]),
    ("host-keys", Level::Fail, "chmod 600 /k", |f| named(f).host_keys = vec![("/k".into(), Trust::Open(0o644))]),
    ("host-keys", Level::Fail, "ssh-keygen", |f| named(f).host_keys = vec![("/ssh_host_rsa_key".into(), Trust::Missing)]),
    ("host-keys", Level::Fail, "host_keys", |f| named(f).host_keys.clear()),
    ("host-keys", Level::Fail, "another path", |f| named(f).host_keys = vec![("/k".into(), Trust::Changeable("x".into(), None))]),
    ("host-keys", Level::Unknown, "sudo", |f| named(f).host_keys = vec![("/k".into(), Trust::Unseen("sudo".into()))]),
    ("pam", Level::Fail, "needed by alice", |f| named(f).pam.program = None),
    ("pam", Level::Warn, "no service totp", |f| named(f).pam.missing = vec!["totp".into()]),
    ("pam", Level::Ok, "no login", |f| named(f).pam = Pam::default()),
    ("idmapped-mounts", Level::Fail, "7 roots on nfs", |f| named(f).mounts.push(roots(Seen::Is(false)))),
    ("idmapped-mounts", Level::Unknown, "sudo", |f| named(f).mounts.push(roots(Seen::Unseen("sudo".into())))),
    ("idmapped-mounts", Level::Warn, "9 roots", |f| named(f).untried = 9),
    ("cgroup-mode", Level::Warn, "unified_cgroup_hierarchy", |f| f.groups.mode = Mode::Hybrid),
    ("cgroup-mode", Level::Fail, "mount -t cgroup2", |f| f.groups.mode = Mode::None),
    ("cgroup-mode", Level::Fail, "read-only", |f| f.groups.writable = false),
    ("cgroup-controllers", Level::Fail, "cgroup_enable=memory", |f| f.groups.controllers = vec!["cpu".into(), "pids".into()]),
    ("cgroup-controllers", Level::Fail, "limits on pids", |f| f.groups.controllers = vec!["cpu".into(), "memory".into()]),
    ("cgroup-controllers", Level::Warn, "disks", |f| f.groups.controllers.retain(|name| name != "io")),
    ("cgroup-delegation", Level::Warn, "Delegate=yes", |f| f.groups.delegation = Delegation::Undelegated),
    ("cgroup-delegation", Level::Warn, "systemd 254", |f| f.groups.delegation = Delegation::WithoutLeaf),
    ("cgroup-delegation", Level::Ok, "does not start", |f| f.groups.delegation = Delegation::NoUnit),
    ("cgroup-delegation", Level::Unknown, "no bus", |f| f.groups.delegation = Delegation::Unseen("no bus".into())),
    ("id-pool", Level::Warn, "account 600000", |f| named(f).ids.accounts.push(600_000)),
    ("id-pool", Level::Warn, "ann in /etc/subuid", |f| named(f).ids.subordinate = Seen::Is(vec![Subordinate { file: "/etc/subuid", owner: "ann".into(), first: 600_000, end: 665_536 }])),
    ("id-pool", Level::Unknown, "EIO", |f| named(f).ids.subordinate = Seen::Unseen("EIO".into())),
    ("id-ranges", Level::Fail, "alice (524289-589824) with account 524300", |f| named(f).ids.accounts.push(524_300)),
    ("id-ranges", Level::Fail, "with ann in /etc/subgid", |f| named(f).ids.subordinate = Seen::Is(vec![Subordinate { file: "/etc/subgid", owner: "ann".into(), first: 100_000, end: 524_290 }])),
    ("id-ranges", Level::Ok, "ids of their own", |f| named(f).ids.accounts.push(589_825)),
    ("id-ranges", Level::Unknown, "sudo", |f| named(f).ids.ranges = Seen::Unseen("sudo".into())),
    ("same-names", Level::Warn, "DenyUsers alice mail", |f| named(f).tenants.named_like_accounts = vec!["alice".parse().unwrap(), "mail".parse().unwrap()]),
    ("same-names", Level::Ok, "not installed", |f| { let n = named(f); n.sshd = Sshd::Absent; n.tenants.named_like_accounts = vec!["alice".parse().unwrap()]; }),
    ("sshd-port", Level::Warn, "both want 0.0.0.0:22", |f| named(f).sshd = Sshd::Listens(vec!["192.0.2.1:22".parse().unwrap()])),
    ("sshd-port", Level::Ok, "2222", |_| {}),
    ("sshd-leaks", Level::Fail, "X11Forwarding no", |f| named(f).leaks = Seen::Is(Looked { accounts: 1, leaks: vec![leak()] })),
    ("sshd-leaks", Level::Ok, "no account", |f| named(f).leaks = Seen::Is(Looked { accounts: 0, leaks: Vec::new() })),
    ("sshd-leaks", Level::Ok, "1 account", |f| named(f).leaks = Seen::Is(Looked { accounts: 1, leaks: Vec::new() })),
    ("sshd-leaks", Level::Ok, "not installed", |f| named(f).leaks = Seen::Absent),
    ("sshd-leaks", Level::Unknown, "no hostkeys", |f| named(f).leaks = Seen::Unseen("no hostkeys".into())),
    ("host-jobs", Level::Warn, "cron takes jobs of ann, ben such a job is run by /bin/sh", |f| named(f).jobs = Seen::Is(Jobs { accounts: 2, runners: vec![cron(&["ann", "ben"], None)] })),
    ("host-jobs", Level::Warn, "install /etc/cron.allow:\nroot list in /etc/cron.allow also", |f| named(f).jobs = Seen::Is(Jobs { accounts: 1, runners: vec![cron(&["ann"], None)] })),
    ("host-jobs", Level::Warn, "install /etc/cron.allow:\njoe\nroot", |f| named(f).jobs = Seen::Is(Jobs { accounts: 1, runners: vec![cron(&["ann"], Some(&["joe", "root"]))] })),
    ("host-jobs", Level::Warn, "cron has jobs of ann such a job", |f| named(f).jobs = Seen::Is(Jobs { accounts: 1, runners: vec![Runner { has: vec!["ann".into()], ..cron(&[], None) }] })),
    ("host-jobs", Level::Warn, "crontab -u ann -r", |f| named(f).jobs = Seen::Is(Jobs { accounts: 1, runners: vec![Runner { has: vec!["ann".into()], ..cron(&[], None) }] })),
    ("host-jobs", Level::Ok, "may have jobs (cron)", |_| {}),
    ("host-jobs", Level::Ok, "no account of this host is a tenant", |f| named(f).jobs = Seen::Is(Jobs { accounts: 0, runners: vec![cron(&[], None)] })),
    ("host-jobs", Level::Ok, "neither cron nor at", |f| named(f).jobs = Seen::Absent),
    ("host-jobs", Level::Unknown, "EIO", |f| named(f).jobs = Seen::Unseen("EIO".into())),
    ("sshd-port", Level::Unknown, "no hostkeys", |f| named(f).sshd = Sshd::Unseen("no hostkeys".into())),
];

fn said(verdict: &Verdict) -> String {
    let remedies: Vec<String> = verdict.remedies.iter().map(ToString::to_string).collect();
    format!("{} {} {}", verdict.found, verdict.means, remedies.join(" "))
}

#[test]
fn each_change_of_a_healthy_host_is_noticed_by_its_check_alone() {
    for (id, level, word, change) in CASES {
        let mut facts = healthy();
        change(&mut facts);
        let verdicts = judge(&facts);
        let worst =
            verdicts.iter().filter(|verdict| verdict.check.id == *id).max_by_key(|verdict| verdict.level).unwrap();
        assert_eq!((worst.level, *id), (*level, *id), "{worst:?}");
        assert!(said(worst).contains(word), "{id}: \"{word}\" is not in: {}", said(worst));
        let config_known = matches!(facts.config, Config::Read(_));
        // Ids that are in the pool may be an account's and a tenant's: two checks about one thing.
        let together: &[&str] = if id.starts_with("id-") { &["id-pool", "id-ranges"] } else { &[id] };
        let others: Vec<_> = verdicts.iter().filter(|verdict| !together.contains(&verdict.check.id)).collect();
        let fine = |verdict: &&&Verdict| verdict.level == Level::Ok || !config_known || named_twice(verdict);
        assert_eq!(others.iter().filter(fine).count(), others.len(), "{id}: {others:?}");
    }
}

/// With errors in the config, nothing is known of tenants' names.
fn named_twice(verdict: &Verdict) -> bool {
    verdict.check.id == "same-names" && verdict.found == "the config has errors"
}

#[test]
fn a_healthy_host_is_well_and_every_check_is_told() {
    let facts = healthy();
    let verdicts = judge(&facts);
    let told: BTreeSet<_> = verdicts.iter().map(|verdict| verdict.check.id).collect();
    assert_eq!(told, ALL.iter().map(|check| check.id).collect());
    for verdict in &verdicts {
        assert_eq!(verdict.level, Level::Ok, "{verdict:?}");
    }
    assert!(!has_failed(&verdicts) && as_json(&facts, &verdicts)["worst"] == "ok");
}

/// What docs/doctor.md says of when a check warns and fails has a case; what it does not say has none.
#[test]
fn each_check_warns_and_fails_as_its_table_says() {
    for check in ALL {
        for (when, level) in [(check.warns, Level::Warn), (check.fails, Level::Fail)] {
            let tried = CASES.iter().any(|(id, found, ..)| *id == check.id && *found == level);
            assert_eq!(tried, !when.is_empty(), "{}: {level:?}", check.id);
        }
    }
}

#[test]
fn whatever_is_not_well_says_what_it_means_and_what_to_do() {
    for (.., change) in CASES {
        let mut facts = healthy();
        change(&mut facts);
        for verdict in judge(&facts) {
            match verdict.level {
                Level::Warn | Level::Fail => {
                    assert!(!verdict.means.is_empty() && !verdict.remedies.is_empty(), "{verdict:?}");
                }
                Level::Ok | Level::Unknown => assert!(verdict.remedies.is_empty(), "{verdict:?}"),
            }
        }
    }
}

#[test]
fn without_a_config_what_needs_one_is_unknown_and_no_pass() {
    let facts = Facts { config: Config::Missing("/etc/x.toml".into()), ..healthy() };
    let verdicts = judge(&facts);
    for check in ALL {
        let level = verdicts.iter().find(|verdict| verdict.check.id == check.id).unwrap().level;
        let of_host = matches!(check.group, Group::Kernel | Group::Settings | Group::Limits);
        assert_eq!(level, if of_host { Level::Ok } else { Level::Unknown }, "{}", check.id);
    }
    assert!(as_text(&facts, &verdicts).starts_with("There is no config at /etc/x.toml"));
}

/// "a file to install": the one that the package brings says what the remedies say
#[test]
fn the_sysctl_file_of_the_package_holds_every_setting_that_is_asked_for() {
    let file = include_str!("../../../config/sysctl.d/60-cellblock.conf");
    let lines: BTreeSet<String> =
        file.lines().map(|line| line.trim_start_matches(['#', '-']).replace(' ', "")).collect();
    let mut asked = 0;
    for (.., change) in CASES {
        let mut facts = healthy();
        change(&mut facts);
        for remedy in judge(&facts).into_iter().flat_map(|verdict| verdict.remedies) {
            if let Remedy::Sysctl(key, value) = remedy {
                assert!(lines.contains(&format!("{key}={value}")), "{key}={value}");
                asked += 1;
            }
        }
    }
    assert!(asked >= 7, "{asked}");
}
