//! Limits over all sessions of a tenant: what they stop, whom they spare, and what the tenant learns.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "test code"
)]

use std::{
    fs,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use nix::sys::{
    signal::Signal,
    socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket},
};
use support::{Door, patience, procfs, root, soon};

/// Takes 20 MiB at a time for ever, touching every page.
const HOG: &str = "python3 -c 'a = []\nwhile True: a.append(bytearray(b\"x\") * (20 << 20))'";

fn door(limits: &str) -> Door {
    Door::with("")
        .tenant("eve", &format!("limits = {{ {limits} }}"))
        .tenant("mallory", &format!("user = \"root\"\nlimits = {{ {limits} }}"))
        .start()
}

#[test]
fn a_session_that_takes_too_much_memory_is_stopped_and_told_with_its_name_and_the_limit() {
    if !root() {
        return;
    }
    let door = door("memory = \"64M\"");
    let ran = door.run("eve", &format!("exec {HOG}"));
    assert_eq!(ran.status, 122, "the documented status: {}", ran.err);
    assert!(
        ran.err.contains("cellblock: memory limit reached (64M for all of your sessions together): python3 (pid "),
        "{}",
        ran.err
    );
    assert!(ran.err.contains(") was stopped; see /run/cellblock/usage\n"), "{}", ran.err);
    soon("the audit file says so", || !door.events("session_end").is_empty());
    let event = &door.events("limit_reached")[0];
    assert_eq!(
        (&event["limit"], &event["most"], &event["process"]),
        (&"memory".into(), &(64 << 20).into(), &"python3".into())
    );
    assert_eq!((&event["tenant"], &event["times"]), (&"eve".into(), &1.into()));
    assert_eq!(door.events("session_end")[0]["exit"], "memory_limit");
}

#[test]
fn a_program_that_a_shell_started_is_named_too_and_the_shell_goes_on() {
    if !root() {
        return;
    }
    let door = door("memory = \"64M\"");
    // Where the processor is emulated, init can look half a second after the kernel has told it, and the shell has
    // buried its child by then: so it is named sooner or later.
    let is_slow = patience(1) > Duration::from_secs(1);
    let mut named = 0;
    for _again in 0..if is_slow { 10 } else { 3 } {
        let ran = door.run("eve", &format!("{HOG}; echo status $?; cat /run/cellblock/usage"));
        assert_eq!(ran.status, 0, "{}", ran.err);
        assert!(ran.text().contains("status 137"), "{}", ran.text());
        assert!(ran.err.contains("memory limit reached (64M"), "{}", ran.err);
        let is_named = ran.err.contains("): python3 (pid ");
        assert!(is_named || is_slow && ran.err.contains("): a process was stopped"), "{}", ran.err);
        named += usize::from(is_named);
        if named == 3 {
            break;
        }
    }
    assert!(named >= if is_slow { 1 } else { 3 }, "{named}");
    let usage = door.ok("eve", "cat /run/cellblock/usage");
    assert!(usage.contains("processes_stopped = "), "{usage}");
    assert!(!door.events("limit_reached").is_empty());
}

#[test]
fn a_terminal_is_told_as_well() {
    if !root() {
        return;
    }
    let door = door("memory = \"64M\"");
    let mut command = door.ssh("eve");
    command.arg("-tt").arg(format!("{HOG}; echo over"));
    let mut client = support::TerminalClient::start(command, 24, 80);
    client.expect("cellblock: memory limit reached (64M for all of your sessions together): python3 (pid ");
    client.expect("over");
    client.child.wait().unwrap();
}

/// The terminal's end is seen by the ssh process itself; what happened, and how the session ended, it hears from the
/// monitor.
#[test]
fn a_terminal_is_told_even_after_its_last_program_has_gone() {
    if !root() {
        return;
    }
    let door = door("memory = \"64M\"");
    let mut command = door.ssh("eve");
    command.arg("-tt").arg(format!("echo up; read go; {HOG}; echo over; exit 7"));
    let mut client = support::TerminalClient::start(command, 24, 80);
    client.expect("up");
    let ssh = door.ssh_processes()[0];
    let monitor = procfs::parent(ssh).unwrap();
    procfs::kill(monitor, Signal::SIGSTOP);
    client.send("\n");
    client.expect("over");
    soon("the shell has gone", || !door.processes().iter().any(|&pid| procfs::cmdline(pid).contains("echo over")));
    procfs::kill(monitor, Signal::SIGCONT);
    client.expect("cellblock: memory limit reached (64M for all of your sessions together): python3 (pid ");
    assert_eq!(client.wait(), 7);
}

#[test]
fn the_memory_of_all_sessions_counts_together_and_so_do_files_in_memory() {
    if !root() {
        return;
    }
    let door = door("memory = \"64M\", tmp = \"256M\", shm = \"256M\"");
    let first = door.spawn(
        "eve",
        "python3 -c 'a = bytearray(b\"x\") * (40 << 20)\nimport time\nprint(\"ready\", flush=True)\ntime.sleep(100)'",
    );
    first.expect("ready");
    let second = door.run("eve", "python3 -c 'a = bytearray(b\"x\") * (40 << 20)'; cat /run/cellblock/usage");
    assert!(second.text().contains("processes_stopped = 1"), "40 and 40 are more than 64: {}", second.text());
    drop(first);
    for place in ["/tmp", "/dev/shm"] {
        let ran =
            door.run("eve", &format!("dd if=/dev/zero of={place}/big bs=1M count=100; s=$?; rm {place}/big; exit $s"));
        // The file stays when dd is stopped: the shell may be next.
        assert!([137, 122].contains(&ran.status), "{place}: {} {}", ran.status, ran.err);
        assert!(ran.err.contains("memory limit reached (64M"), "{place}: {}", ran.err);
    }
    // What is on a disk is let go of instead: nobody is stopped for it.
    let before = stopped(&door);
    door.ok("eve", "dd if=/dev/zero of=big bs=1M count=300 && cat big >/dev/null && rm big");
    assert_eq!(stopped(&door), before);
}

#[test]
fn whoever_fails_while_a_file_system_in_memory_is_full_is_told_which_and_so_is_the_audit_file() {
    if !root() {
        return;
    }
    let door = door("memory = \"256M\", tmp = \"4M\", run = \"1M\", shm = \"2M\"");
    let holds = ["eve", "mallory"].map(|tenant| door.spawn_with_stderr(tenant, "echo ready; exec sleep 1000"));
    for session in &holds {
        session.expect("ready");
    }
    for (tenant, place, key, most) in
        [("eve", "/tmp", "tmp", "4M"), ("eve", "/dev/shm", "shm", "2M"), ("mallory", "/run", "run", "1M")]
    {
        let told = format!("cellblock: {place} is full ({key} = {most} for all of your sessions together); see");
        let ran = door.run(tenant, &format!("exec dd if=/dev/zero of={place}/big bs=64k"));
        assert_eq!(ran.status, 1, "{}", ran.err);
        assert!(ran.err.contains(&told), "{}", ran.err);
        // It is so for the others as well.
        holds[usize::from(tenant == "mallory")].expect(&told);
        let bytes = most.trim_end_matches('M').parse::<u64>().unwrap() << 20;
        let said = |event: &serde_json::Value| event["limit"] == key && event["most"] == bytes;
        soon("it is in the audit file", || door.events("limit_reached").iter().any(said));
        // Nothing failed here; and another session is another session.
        assert!(!door.run(tenant, "true").err.contains("is full"));
        assert!(door.run(tenant, "false").err.contains(&told));
        door.run(tenant, &format!("rm -f {place}/big"));
        assert!(!door.run(tenant, "false").err.contains("is full"), "there is room again");
    }
    let mut command = door.ssh("eve");
    command.arg("-tt").arg("dd if=/dev/zero of=/tmp/big bs=64k");
    let mut client = support::TerminalClient::start(command, 24, 80);
    client.expect("cellblock: /tmp is full (tmp = 4M for all of your sessions together); see /run/cellblock/usage");
    assert_eq!(client.wait(), 1);
}

fn stopped(door: &Door) -> u64 {
    figure(&door.ok("eve", "cat /run/cellblock/usage"), "processes_stopped")
}

fn figure(usage: &str, key: &str) -> u64 {
    let table: toml::Table = usage.parse().unwrap();
    table[key].as_integer().unwrap().try_into().unwrap()
}

#[test]
fn a_fork_bomb_is_told_of_and_its_tenant_can_log_in_and_end_it() {
    if !root() {
        return;
    }
    let door = door("pids = 32");
    let bomb = door.spawn_with_stderr(
        "eve",
        "python3 -c 'import os, time\nwhile True:\n try: os.fork()\n except OSError: time.sleep(0.2)'",
    );
    bomb.expect("cellblock: process limit reached (32 processes and threads for all of your sessions together)");
    let usage = door.ok("eve", "while read -r line; do echo \"$line\"; done </run/cellblock/usage");
    assert!((32..40).contains(&figure(&usage, "pids")), "{usage}");
    assert!(figure(&usage, "pids_refused") > 0, "{usage}");
    // Only builtins: the shell itself is over the limit. It ends with what it ends.
    door.run("eve", "kill -9 -1");
    soon("the bomb is over", || door.run("eve", "ls / >/dev/null").status == 0);
    let event = &door.events("limit_reached")[0];
    assert_eq!((&event["limit"], &event["most"]), (&"pids".into(), &32.into()));
}

#[test]
fn a_tenant_reads_what_the_limits_are_and_what_is_used_and_writes_neither() {
    if !root() {
        return;
    }
    let door = door("memory = \"96M\", pids = 40, cpu = 0.5, tmp = \"8M\"");
    for tenant in ["eve", "mallory"] {
        let limits: toml::Table = door.ok(tenant, "cat /run/cellblock/limits").parse().unwrap();
        assert_eq!(limits["memory"].as_str(), Some("96M"));
        assert_eq!(limits["pids"].as_integer(), Some(40));
        assert_eq!(limits["cpu"].as_float(), Some(0.5));
        assert_eq!(limits["tmp"].as_str(), Some("8M"));
        assert_eq!(limits["max_sessions"].as_integer(), Some(64));
        for change in [
            "echo x >/run/cellblock/usage",
            "echo x >/run/cellblock/limits",
            "rm -f /run/cellblock/usage",
            "chmod 666 /run/cellblock/usage",
            "touch /run/cellblock/more",
            "mv /run/cellblock /run/other",
            "mount -o remount,rw /run/cellblock",
            "umount /run/cellblock",
            "echo 1 >/sys/fs/cgroup/pids/sessions/pids.max",
        ] {
            assert_ne!(door.run(tenant, change).status, 0, "{tenant}: {change}");
        }
        let usage = door.ok(tenant, "cat /run/cellblock/usage");
        assert!((1..4).contains(&figure(&usage, "pids")), "{usage}");
        assert_eq!(figure(&usage, "sessions"), 1);
        // Live: each time it is opened, and while it is held open.
        let busy = door.ok(tenant, "sleep 100 & sleep 100 & cat /run/cellblock/usage; kill %1 %2");
        assert!(figure(&busy, "pids") >= figure(&usage, "pids") + 2, "{busy}");
        door.ok(tenant, "exec 3</run/cellblock/usage; dd if=/dev/zero of=/tmp/some bs=1M count=4 2>/dev/null; \
                         for i in 1 2 3 4 5 6 7 8 9 10; do cat /run/cellblock/usage | grep -q '^tmp = 4194304' && exit 0; sleep 0.5; done; exit 1");
        door.ok(tenant, "rm /tmp/some; grep -q '^tmp = 0' /run/cellblock/usage");
    }
}

/// Seconds of processor time that tenants' processes have used, as the host counts them.
fn processor_seconds(door: &Door) -> f64 {
    // The first id is that of the ssh processes.
    let ids = door.pool() + 1..door.pool() + 2_000_000;
    let pids = procfs::pids().into_iter().filter(|&pid| procfs::uid(pid).is_some_and(|uid| ids.contains(&uid)));
    pids.filter_map(seconds_of).sum()
}

/// The same of one process that runs.
fn seconds_of(pid: i32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.map(|field| field.parse::<u64>().unwrap()).sum();
    Some(ticks as f64 / 100.0)
}

/// Lets the tenants of `door` go first where others want the processors too: this measures a quota,
/// not who is busiest.
fn favour(door: &Door) {
    let mut favoured = 0;
    for hierarchy in ["cpu", "cpu,cpuacct", ""] {
        let own = std::path::Path::new("/sys/fs/cgroup").join(hierarchy).join(door.cgroup_name());
        for group in [own.clone(), own.join("eve"), own.join("eve/sessions")] {
            favoured += usize::from(fs::write(group.join("cpu.shares"), "200000").is_ok());
            favoured += usize::from(fs::write(group.join("cpu.weight"), "10000").is_ok());
        }
    }
    assert!(favoured >= 3, "no weights were set");
}

#[test]
fn half_a_processor_is_half_a_processor_however_many_loops_run() {
    if !root() {
        return;
    }
    let door = door("cpu = 0.5");
    door.ok("eve", "true");
    let loops = door.spawn("eve", "for i in 1 2 3 4; do (while :; do :; done) & done; echo ready; wait");
    loops.expect("ready");
    favour(&door);
    let measure = || {
        let (start, before) = (Instant::now(), processor_seconds(&door));
        // The quota is given out every 100 ms.
        std::thread::sleep(Duration::from_secs(4));
        (processor_seconds(&door) - before) / start.elapsed().as_secs_f64()
    };
    let mut share = 0.0;
    // A machine that is busy with something else gives less, never more.
    let held = (0..3).any(|_| {
        share = measure();
        assert!(share < 0.55, "she has {share} of a processor");
        share > 0.45
    });
    assert!(held, "she has {share} of a processor");
    let usage: toml::Table = door.ok("eve", "cat /run/cellblock/usage").parse().unwrap();
    assert!(usage["cpu_throttled_seconds"].as_float().unwrap() > 0.5, "{usage}");
    assert!(usage["cpu_seconds"].as_float().unwrap() > 1.5, "{usage}");
}

/// init is outside of the quota, so what it does for a tenant is bounded by itself (`init/board.rs`): ten
/// answers a second, and never a twentieth of a processor
#[test]
fn a_loop_that_asks_what_is_used_costs_the_host_next_to_nothing_and_is_answered() {
    if !root() {
        return;
    }
    let door = door("cpu = 0.5");
    let stays = door.spawn("eve", "echo ready; exec sleep 1000");
    stays.expect("ready");
    let record = fs::read_to_string(door.run_dir().join("cells/eve/cell.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let init = i32::try_from(record["pid"].as_i64().unwrap()).unwrap();
    // O_NONBLOCK: init is told, and whoever opens neither waits for it nor holds the file.
    let ask = "import os, time\nend = time.monotonic() + 4\nn = 0\nwhile time.monotonic() < end:\n n += 1\n try: os.close(os.open('/run/cellblock/usage', os.O_NONBLOCK))\n except BlockingIOError: time.sleep(0.001)\nprint(n)";
    let (start, before) = (Instant::now(), seconds_of(init).unwrap());
    let asked: u64 = door.ok("eve", &format!("exec /usr/bin/python3 -c \"{ask}\"")).parse().unwrap();
    let share = (seconds_of(init).unwrap() - before) / start.elapsed().as_secs_f64();
    assert!(asked > 1000, "{asked} openings are no loop");
    assert!(share < 0.05, "init took {share} of a processor for {asked} openings");
    // It is up to date again for whoever asks now and then.
    let _more = door.spawn("eve", "exec sleep 1000");
    soon("the file says so", || figure(&door.ok("eve", "cat /run/cellblock/usage"), "sessions") == 3);
}

#[test]
fn a_tenant_has_so_many_connections_and_no_more_and_one_that_ends_makes_room() {
    if !root() {
        return;
    }
    let door = Door::with("").tenant("eve", "max_connections = 2").tenant("alice", "").start();
    let first = door.spawn("eve", "echo ready; sleep 100");
    let second = door.spawn("eve", "echo ready; sleep 100");
    first.expect("ready");
    second.expect("ready");
    let third = door.run("eve", "true");
    assert_eq!(third.status, 255, "{}", third.err);
    assert!(third.err.contains("Too many connections are open."), "{}", third.err);
    assert_eq!(door.ok("alice", "echo fine"), "fine");
    drop(first);
    soon("there is room again", || door.run("eve", "true").status == 0);
}

/// "`max_sessions`", counted over all of a tenant's connections
#[test]
fn a_tenant_has_so_many_sessions_and_no_more_and_one_that_ends_makes_room() {
    if !root() {
        return;
    }
    let door = Door::with("").tenant("eve", "max_sessions = 2").tenant("alice", "").start();
    let first = door.spawn("eve", "echo ready; cat");
    let second = door.spawn("eve", "echo ready; cat");
    first.expect("ready");
    second.expect("ready");
    let third = door.run("eve", "true");
    assert_eq!(third.status, 255, "{}", third.err);
    assert!(third.err.contains("Too many sessions are open."), "{}", third.err);
    let refused = |event: &serde_json::Value| event["event"] == "session_refused";
    soon("it is on record", || door.audit().iter().any(refused));
    let event = door.audit().into_iter().find(refused).unwrap();
    assert_eq!((&event["tenant"], &event["reason"]), (&"eve".into(), &"the tenant has too many sessions".into()));
    assert_eq!(door.ok("alice", "echo fine"), "fine");
    drop(first);
    soon("there is room again", || door.run("eve", "true").status == 0);
}

/// One init serves 512 links. The config lets a tenant have 500 connections, so these are root's own.
#[test]
fn a_cell_that_serves_as_many_links_as_it_can_refuses_the_next_at_once() {
    if !root() {
        return;
    }
    let door = Door::with("").tenant("eve", "").start();
    let first = door.spawn("eve", "echo ready; sleep 100");
    first.expect("ready");
    let path = UnixAddr::new(&door.run_dir().join("cells/eve/init.sock")).unwrap();
    let link = || {
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
        connect(socket.as_raw_fd(), &path).unwrap();
        let mut word = [0];
        let read = nix::unistd::read(&socket, &mut word).unwrap();
        (read == 1 && word == *b".").then_some(socket)
    };
    let links: Vec<_> = std::iter::from_fn(link).take(1000).collect();
    assert_eq!(links.len(), 511);
    let asked = Instant::now();
    let refused = door.run("eve", "true");
    assert!(refused.status == 255 && refused.err.contains("Your session could not be started"), "{}", refused.err);
    assert!(door.log().contains("its init serves as many connections as it can"), "{}", door.log());
    assert!(asked.elapsed() < Duration::from_secs(20), "it waited for an end that does not come");
    drop(links);
    soon("there is room again", || door.run("eve", "true").status == 0);
}

#[test]
fn what_this_host_cannot_enforce_is_refused_or_by_choice_reported() {
    if !root() || std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return;
    }
    let io = "io_read = \"1M\", memory_high = \"32M\"";
    let door = Door::with("")
        .tenant("strict", &format!("limits = {{ {io} }}"))
        .tenant("easy", &format!("limits = {{ {io}, enforce = \"best-effort\" }}"))
        .start();
    let ran = door.run("strict", "true");
    assert_ne!(ran.status, 0);
    assert!(door.log().contains("this host cannot enforce limits.memory_high, limits.io_read"), "{}", door.log());
    assert!(door.ok("easy", "cat /run/cellblock/limits").contains("io_read = \"1M\"  # not enforced on this host"));
    let event = &door.events("limits_forgone")[0];
    assert_eq!(event["limits"], serde_json::json!(["limits.memory_high", "limits.io_read"]));
    assert!(door.log().contains("goes without limits.memory_high, limits.io_read"), "{}", door.log());
}
