//! `cellblock verify` is not blind: each of its checks fails in a jail that was weakened for it, and
//! none fails in one that was not. Needs root and busybox.
//!
//! A plan is a value, so a weakened jail is a plan from which something was taken, or a session that
//! was given more: nothing in the product knows of it. Where that is not enough, the probe runs with
//! no jail at all. Each test runs in a process of its own: cells are cloned by processes with one
//! thread. `cargo test --test verify -- PART` runs those named so.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "test support code"
)]

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write as _,
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt as _,
        unix::{
            net::{SocketAddr, UnixListener},
            process::CommandExt as _,
        },
    },
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
};

use cellblock::{
    config::settings::{CallSet, Network, Root, Tenant},
    jail::{Cell, Cloning, Inside, Outside, Plan},
    verify::{Heard, Neighbours, Reading, Suspect, Verifier, complete, look, probe_of},
    wire::{
        init::{Order, PROBE, Report, Start},
        session::{Exit, Program, Signal},
        verify::{Bombs, Check, Finding, READY, Task, Verdict},
    },
};

use support::cells::{self, Yard, begin, root_tenant, tenant};

const TESTS: &[(&str, fn())] = &[
    ("every_check_has_a_weakening", every_check_has_a_weakening),
    ("a_session_that_was_given_more_is_told", || weaken(&GENEROUS)),
    ("a_cell_without_masks_is_told", || weaken(&UNMASKED)),
    ("a_cell_with_a_writable_proc_is_told", || weaken(&WRITABLE_PROC)),
    ("a_cell_with_user_namespaces_is_told", || weaken(&NESTING)),
    ("a_cell_with_a_wider_filter_is_told", || weaken(&WIDER_FILTER)),
    ("a_cell_with_the_hosts_ipc_and_name_is_told", || weaken(&SHARED_IPC)),
    ("a_cell_with_the_hosts_network_is_told", || weaken(&SHARED_NETWORK)),
    ("a_cell_with_groups_that_are_not_its_own_is_told", foreign_groups),
    ("a_cell_with_ids_that_are_not_its_own_is_told", || weaken(&FOREIGN_IDS)),
    ("a_cell_that_the_kernel_spares_is_told", || weaken(&SPARED)),
    ("a_link_in_place_of_a_mount_is_told", || weaken(&LINKED)),
    ("a_cell_with_larger_limits_is_told", || weaken(&UNLIMITED)),
    ("a_probe_without_a_jail_gets_out_everywhere", naked),
    ("a_process_that_is_in_no_cell_is_told", in_no_cell),
    ("a_tenants_cell_is_contained", contained_tenant),
    ("a_roots_cell_is_contained", contained_root),
    ("a_cell_on_the_hosts_network_is_contained_but_for_that", contained_on_host_network),
    ("a_cell_that_runs_goes_on_as_it_was", running_cell),
    ("a_probe_that_is_killed_proves_nothing", killed_probe),
    ("a_probe_that_talks_nonsense_proves_nothing", nonsense),
];

fn main() -> ExitCode {
    cells::each_in_a_process(TESTS)
}

/// A jail that lacks something, and the checks that must notice.
struct Weakening {
    fails: &'static [Check],
    tenant: fn(&Yard) -> Tenant,
    /// On the host, before the cell starts; what it gives lives as long as the test.
    before: fn() -> Option<UnixListener>,
    plan: fn(&mut Plan),
    start: fn(&mut Start),
    task: fn(&mut Task),
    bombs: Bombs,
}

const NOTHING: Weakening = Weakening {
    fails: &[],
    tenant: |yard| tenant("alice", Root::Directory(yard.busybox_root("root"))),
    before: || None,
    plan: |_| {},
    start: |_| {},
    task: |_| {},
    bombs: Bombs::None,
};

/// CAP_SYS_PTRACE, which is not in Docker's list.
const SYS_PTRACE: u64 = 1 << 19;

const GENEROUS: Weakening = Weakening {
    fails: &[
        Check::Ids,
        Check::Capabilities,
        Check::NoNewPrivs,
        Check::Rlimits,
        Check::Environment,
        Check::Traits,
        Check::FdBomb,
    ],
    tenant: |yard| root_tenant("eve", Root::Directory(yard.busybox_root("root"))),
    plan: |plan| {
        let place = plan.inside.iter().position(|op| matches!(op, Inside::KeepBoundingSet(_))).unwrap();
        if let Inside::KeepBoundingSet(kept) = &mut plan.inside[place] {
            *kept |= SYS_PTRACE;
        }
        // Without no_new_privs a filter takes CAP_SYS_ADMIN, which init keeps for that.
        plan.inside.insert(place, Inside::KeepForInit);
    },
    start: |start| {
        start.account.gid = 5;
        start.account.capabilities |= SYS_PTRACE;
        start.account.bounding |= SYS_PTRACE;
        start.account.no_new_privs = false;
        start.account.rlimits = vec![(7, 2048, 2048)];
        start.account.umask = 0;
        start.environment.push(("LD_PRELOAD".into(), String::new()));
    },
    bombs: Bombs::Small,
    ..NOTHING
};

const UNMASKED: Weakening = Weakening {
    fails: &[Check::Masks, Check::Mounts, Check::MountPoints],
    plan: |plan| plan.ahead.retain(|op| !matches!(op, Inside::Cover { .. })),
    ..NOTHING
};

const WRITABLE_PROC: Weakening = Weakening {
    fails: &[Check::ProcWrites, Check::Mounts, Check::HostWrites],
    tenant: |_| root_tenant("eve", Root::Host),
    plan: |plan| {
        plan.ahead.retain(|op| !matches!(op, Inside::ReadOnly { .. }));
        // No file is ever made in proc: a tree that was to be read-only, where root can make one.
        let (kind, at) = ("tmpfs".to_owned(), "run/cellblock".into());
        let options = vec![("mode".to_owned(), "0755".to_owned())];
        let writable = Inside::Mount { kind, at, options, exec: false, read_only: false };
        let board = plan.inside.iter().position(|op| matches!(op, Inside::Board { .. })).unwrap();
        plan.inside.insert(board + 1, writable);
    },
    ..NOTHING
};

const NESTING: Weakening = Weakening {
    fails: &[Check::Nested],
    // By what it does and not by its name: limits on user namespaces may come in more than one.
    plan: |plan| plan.ahead.retain(|op| !op.to_string().contains("max_user_namespaces")),
    ..NOTHING
};

const WIDER_FILTER: Weakening = Weakening {
    fails: &[Check::Calls],
    plan: |plan| {
        for op in plan.inside.iter_mut() {
            if let Inside::LimitCalls(sets) = op {
                sets.extend(CallSet::ALL);
            }
        }
    },
    ..NOTHING
};

const SHARED_IPC: Weakening = Weakening {
    fails: &[Check::Ipc, Check::HostName, Check::OwnNamespaces],
    before: || {
        assert!(Command::new("ipcmk").args(["-M", "4096"]).stdout(Stdio::null()).status().unwrap().success());
        None
    },
    plan: |plan| {
        let shared = |op: &Inside| match op {
            // Mounting the one and naming or raising the other takes a namespace of one's own.
            Inside::Leave { .. } | Inside::HostName(_) | Inside::LoopbackUp => true,
            Inside::Mount { kind, .. } => *kind == "mqueue" || *kind == "sysfs",
            Inside::Cover { path, .. } => path.starts_with("sys"),
            Inside::Attach { at, .. } | Inside::Settle { at } => at.starts_with("sys"),
            _ => false,
        };
        let kept = |op: &Inside| !shared(op) && !matches!(op, Inside::Mount { at, .. } if at.starts_with("sys"));
        plan.ahead.retain(kept);
        plan.inside.retain(kept);
    },
    ..NOTHING
};

const SHARED_NETWORK: Weakening = Weakening {
    fails: &[Check::AbstractSockets],
    tenant: |_| {
        let mut alice = tenant("alice", Root::Host);
        alice.jail.network = Network::Host;
        alice
    },
    before: || {
        let address = SocketAddr::from_abstract_name(format!("cellblock-test-{}", std::process::id())).unwrap();
        Some(UnixListener::bind_addr(&address).unwrap())
    },
    // Landlock's scope would hold what the namespace no longer does.
    plan: |plan| plan.inside.retain(|op| !matches!(op, Inside::KeepToItself)),
    task: |task| task.network = cellblock::wire::verify::Network::Own,
    ..NOTHING
};

const FOREIGN_GROUPS: Weakening = Weakening {
    fails: &[Check::Cgroup, Check::OwnCgroup],
    plan: |plan| {
        plan.inside.retain(|op| !matches!(op, Inside::LeaveGroups | Inside::JoinGroups));
    },
    ..NOTHING
};

const FOREIGN_IDS: Weakening = Weakening {
    fails: &[Check::IdMap],
    plan: |plan| {
        for op in plan.outside.iter_mut() {
            if let Outside::MapIds(range) = op {
                range.first += 65_536;
            }
        }
        for op in plan.clone.iter_mut() {
            if let Cloning::Clone { owner, .. } = op {
                *owner += 65_536;
            }
        }
    },
    ..NOTHING
};

const SPARED: Weakening = Weakening {
    fails: &[Check::OomScore, Check::OomOutside],
    before: || {
        fs::write("/proc/self/oom_score_adj", "500").unwrap();
        None
    },
    plan: |plan| plan.clone.retain(|op| !matches!(op, Cloning::ResetOomScore)),
    ..NOTHING
};

const LINKED: Weakening = Weakening {
    fails: &[Check::MountPoints, Check::Mounts],
    tenant: |_| tenant("alice", Root::Host),
    plan: |plan| {
        for op in plan.inside.iter_mut() {
            if matches!(op, Inside::Mount { at, .. } if at == Path::new("tmp")) {
                *op = Inside::Symlink { path: "tmp".into(), target: "var/tmp".into() };
            }
        }
    },
    ..NOTHING
};

const UNLIMITED: Weakening = Weakening {
    fails: &[Check::ForkBomb, Check::MemoryBomb, Check::InotifyBomb, Check::PtyBomb, Check::Tmpfs],
    plan: |plan| {
        plan.ahead.retain(|op| !op.to_string().contains("max_inotify_instances"));
        for op in plan.inside.iter_mut() {
            if let Inside::Mount { kind, options, .. } = op
                && kind == "devpts"
            {
                options.retain(|(key, _)| *key != "max");
            }
        }
    },
    task: |task| {
        task.limits.pids = Some(20);
        task.limits.memory = Some(32 << 20);
        for (_, size) in &mut task.limits.tmpfs {
            *size = 4096;
        }
    },
    bombs: Bombs::Small,
    ..NOTHING
};

/// What a probe must notice that is in no jail.
const NAKED: &[Check] = &[
    Check::Ids,
    Check::Capabilities,
    Check::NoNewPrivs,
    Check::Rlimits,
    Check::Descriptors,
    Check::Environment,
    Check::Traits,
    Check::Neighbours,
    Check::Pid1,
    Check::LimitsOfPid1,
    Check::OwnProgram,
    Check::Nested,
    Check::Setns,
    Check::HostName,
    Check::Network,
    Check::Keyrings,
    Check::Mounts,
    Check::MountPoints,
    Check::Masks,
    Check::ProcWrites,
    Check::Remount,
    Check::HostWrites,
    Check::Devices,
    Check::Hidden,
    Check::Sockets,
    Check::Calls,
    Check::ForeignAbis,
    Check::Terminal,
    Check::Cgroup,
];

/// What must be noticed of a process that is in no cell.
const IN_NO_CELL: &[Check] =
    &[Check::IdMap, Check::OwnNamespaces, Check::OwnCgroup, Check::InitClosed, Check::OomOutside];

/// "A deliberately weakened jail makes each check fail, so that no check is blind"
fn every_check_has_a_weakening() {
    let weakenings = [
        GENEROUS,
        UNMASKED,
        WRITABLE_PROC,
        NESTING,
        WIDER_FILTER,
        SHARED_IPC,
        SHARED_NETWORK,
        FOREIGN_GROUPS,
        FOREIGN_IDS,
        SPARED,
        LINKED,
        UNLIMITED,
    ];
    let lists = weakenings.iter().map(|weakening| weakening.fails).chain([NAKED, IN_NO_CELL]);
    let shown: BTreeSet<Check> = lists.flatten().copied().collect();
    let blind: Vec<_> = Check::ALL.iter().filter(|check| !shown.contains(check)).map(|check| check.id()).collect();
    assert!(blind.is_empty(), "no weakening shows that these can fail: {blind:?}");
}

/// On v2 the clone itself goes into the group, so there is no step to leave out; there the probe
/// without a jail and the process in no cell show the same two checks.
fn foreign_groups() {
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        weaken(&FOREIGN_GROUPS);
    }
}

fn weaken(weakening: &Weakening) {
    let kept = (weakening.before)();
    let yard = Yard::new("weak");
    let tenant = (weakening.tenant)(&yard);
    let verifier = verifier(&yard, weakening.bombs);
    let right = yard.cells.plan(&tenant).unwrap();
    let mut plan = right.clone();
    (weakening.plan)(&mut plan);
    let mut cell = yard.cells.enter_by(&tenant, || Ok(plan.clone())).unwrap();
    let mut start = probe_of(&verifier.grant(&tenant).unwrap(), true).unwrap();
    let mut task = verifier.task(&tenant, &right, &start);
    (weakening.start)(&mut start);
    (weakening.task)(&mut task);
    let heard = verifier.probe(&mut cell, &tenant, start, &task).unwrap();
    cells::end(&yard.cells, cell);
    yard.remove();
    drop(kept);
    clean_up_ipc();
    assert_escaped(&complete(heard), weakening.fails);
}

fn clean_up_ipc() {
    let text = fs::read_to_string("/proc/sysvipc/shm").unwrap();
    for line in text.lines().skip(1) {
        let fields: Vec<_> = line.split_whitespace().collect();
        // Made by this process's ipcmk: 4096 bytes, and nobody attached.
        if fields[3] == "4096" && fields[6] == "0" {
            Command::new("ipcrm").args(["-m", fields[1]]).status().unwrap();
        }
    }
}

fn verifier(yard: &Yard, bombs: Bombs) -> Verifier<'_> {
    let neighbours = Neighbours::gather(&yard.cells).unwrap();
    Verifier { cells: &yard.cells, server: &yard.server, neighbours, bombs }
}

fn assert_escaped(findings: &[Finding], checks: &[Check]) {
    let blind: Vec<_> =
        findings.iter().filter(|f| checks.contains(&f.check) && f.verdict() != Verdict::Escaped).collect();
    assert!(blind.is_empty(), "these did not notice: {blind:#?}");
}

/// Everything is as it must be.
fn assert_contained(findings: &[Finding]) {
    let wrong: Vec<_> =
        findings.iter().filter(|finding| matches!(finding.verdict(), Verdict::Escaped | Verdict::Unknown)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(findings.len(), Check::ALL.len());
}

/// The probe as root of the host, in its own mount, uts and ipc namespaces alone, so that what it
/// gets away with is gone with it; with a descriptor too many, and a route.
fn naked() {
    let yard = Yard::new("naked");
    let alice = tenant("alice", Root::Directory(yard.busybox_root("root")));
    let mut verifier = verifier(&yard, Bombs::None);
    verifier.bombs = Bombs::None;
    let start = probe_of(&verifier.grant(&alice).unwrap(), true).unwrap();
    let mut task = verifier.task(&alice, &yard.cells.plan(&alice).unwrap(), &start);
    // What is read-only in a view of the host, which this is: to be written to.
    let host = yard.cells.plan(&tenant("bob", Root::Host)).unwrap();
    task.mounts = verifier.task(&alice, &host, &start).mounts;
    task.account.rlimits = vec![(7, 16, 16)];
    let victim = Command::new("sleep").arg("1000").spawn().unwrap();
    task.init = i32::try_from(victim.id()).unwrap();
    let script = "busybox ip link set lo up && busybox ip route add 10.98.0.0/16 dev lo; umask 0; \
                  exec -a \"$0\" \"$1\" 3</dev/null";
    let mut probe = Command::new("unshare")
        .args(["--mount", "--uts", "--ipc", "--net", "--fork", "bash", "-c", script, PROBE])
        .arg(env!("CARGO_BIN_EXE_cellblock-init"))
        .env("LD_SOMETHING", "x")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reading = Reading::new(OwnedFd::from(probe.stdout.take().unwrap()));
    assert_eq!(reading.line().unwrap().unwrap(), READY.as_bytes());
    probe.stdin.take().unwrap().write_all(&serde_json::to_vec(&task).unwrap()).unwrap();
    let heard = reading.findings();
    assert!(probe.wait().unwrap().success());
    stop(victim);
    yard.remove();
    let findings = complete(heard);
    assert_escaped(&findings, NAKED);
    // One blind try in a check would hide behind the others: each way into a terminal for itself.
    let terminal = findings.iter().find(|finding| finding.check == Check::Terminal).unwrap();
    let open: Vec<_> = terminal.attempts.iter().filter(|attempt| attempt.verdict == Verdict::Escaped).collect();
    let names: Vec<_> = open.iter().filter_map(|attempt| attempt.tried.split(',').next()).collect();
    assert_eq!(names, ["TIOCSTI", "TIOCLINUX", "TIOCSTI", "TIOCLINUX"], "{terminal:#?}");
}

fn stop(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn in_no_cell() {
    let yard = Yard::new("nocell");
    let alice = tenant("alice", Root::Directory(yard.busybox_root("root")));
    fs::write("/proc/self/oom_score_adj", "500").unwrap();
    let process = Command::new("sleep").arg("1000").uid(65_534).gid(65_534).spawn().unwrap();
    let pid = i32::try_from(process.id()).unwrap();
    let neighbours = Neighbours::gather(&yard.cells).unwrap();
    let findings = look(&yard.cells, &alice, Suspect { init: pid, probe: pid }, &neighbours).unwrap();
    stop(process);
    yard.remove();
    assert_eq!(findings.len(), IN_NO_CELL.len());
    assert_escaped(&findings, IN_NO_CELL);
}

fn contained(name: &str, make: impl FnOnce(&Yard) -> Tenant) -> Vec<Finding> {
    let yard = Yard::new(name);
    let tenant = make(&yard);
    let verified = verifier(&yard, Bombs::Small).verify(&tenant).unwrap();
    assert!(verified.started);
    // It ended with the probe.
    assert!(yard.cells.running().unwrap().is_empty());
    yard.remove();
    assert_contained(&verified.findings);
    verified.findings
}

fn contained_tenant() {
    contained("alice", |yard| tenant("alice", Root::Directory(yard.busybox_root("root"))));
}

fn contained_root() {
    contained("eve", |_| root_tenant("eve", Root::Host));
}

fn contained_on_host_network() {
    let findings = contained("net", |_| {
        let mut alice = tenant("alice", Root::Host);
        alice.jail.network = Network::Host;
        alice
    });
    let network = findings.iter().find(|finding| finding.check == Check::Network).unwrap();
    assert_eq!(network.verdict(), Verdict::NotApplicable);
}

/// A neighbour's cell, and the tenant's own with a session in it.
fn running_cell() {
    let yard = Yard::new("running");
    let (alice, bob) = (
        tenant("alice", Root::Directory(yard.busybox_root("root"))),
        tenant("bob", Root::Directory(yard.busybox_root("other"))),
    );
    let sleep = |tenant: &Tenant| cells::start(tenant, 7, Program::Command("exec sleep 1000".into()), None);
    let mut cell = yard.cells.enter(&alice).unwrap();
    let session = begin(&mut cell, sleep(&alice));
    let mut other = yard.cells.enter(&bob).unwrap();
    let neighbour = begin(&mut other, sleep(&bob));
    let verified = verifier(&yard, Bombs::Small).verify(&alice).unwrap();
    assert!(!verified.started);
    assert_contained(&verified.findings);
    // Both go on as they were.
    for (cell, session) in [(&mut cell, session), (&mut other, neighbour)] {
        cell.link.send(&Order::Signal { session: 7, signal: Signal::Usr1 }).unwrap();
        assert!(matches!(await_end(cell), Exit::Signal { number: 10, .. }));
        drop(session);
    }
    cells::end(&yard.cells, cell);
    cells::end(&yard.cells, other);
    yard.remove();
}

/// Its sessions are told when a bomb meets a limit.
fn await_end(cell: &mut Cell) -> Exit {
    loop {
        match cell.link.receive().unwrap().0 {
            Report::Ended { exit, .. } => return exit,
            Report::LimitHit { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

fn killed_probe() {
    let yard = Yard::new("killed");
    let alice = tenant("alice", Root::Directory(yard.busybox_root("root")));
    let mut cell = yard.cells.enter(&alice).unwrap();
    // As the tenant, who may: it has the same uid.
    let killer = "while :; do for p in /proc/[0-9]*; do case $(cat $p/cmdline) in \
                  cellblock-probe*) kill -9 ${p#/proc/};; esac; done; done 2>/dev/null";
    let killer = begin(&mut cell, cells::start(&alice, 7, Program::Command(killer.into()), None));
    let verified = verifier(&yard, Bombs::Small).verify(&alice);
    drop(killer);
    cells::end(&yard.cells, cell);
    yard.remove();
    match verified {
        // Before it had said that it runs, or before it was found.
        Err(failure) => {
            let (said, known) = (failure.to_string(), ["starting the probe", "looking for the probe"]);
            assert!(known.iter().any(|doing| said.starts_with(doing)), "{said}");
        }
        Ok(verified) => {
            let unknown = verified.count(Verdict::Unknown);
            assert!(unknown > 0 && verified.verdict() >= Verdict::Unknown, "{verified:#?}");
        }
    }
}

/// What comes out of a cell may be anything.
fn nonsense() {
    let hear = |text: &str| -> Heard {
        let (read, write) = cellblock::sys::fd::pipe().unwrap();
        let mut write = File::from(write);
        write.write_all(text.as_bytes()).unwrap();
        drop(write);
        Reading::new(read).findings()
    };
    let line = |check: Check| serde_json::to_string(&Finding { check, attempts: Vec::new() }).unwrap() + "\n";
    let ids = line(Check::Ids);
    for (text, found, silence) in [
        (String::new(), 0, "ended before"),
        (ids.clone(), 1, "ended before"),
        (format!("{ids}{ids}"), 1, "out of turn"),
        (line(Check::IdMap), 0, "out of turn"),
        (format!("{ids}{{}}\n{ids}"), 1, "no finding"),
        (format!("{ids}\u{1b}[2J\n"), 1, "no finding"),
    ] {
        let heard = hear(&text);
        assert!(heard.findings.len() == found && heard.silence.contains(silence), "{text:?}: {heard:?}");
        let all = complete(heard);
        assert_eq!(all.iter().filter(|finding| finding.verdict() == Verdict::Unknown).count(), all.len());
    }
}
