//! What is shared out while it is used: processor time by weight, disks by rate and weight, memory
//! above `memory_high` and into swap. All but the first is cgroup v2's: tests/vm/run runs it on
//! Debian's kernels.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test code"
)]

use std::{
    env, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use support::{Door, patience, procfs, root, until};

/// Long enough for quotas of 100 ms and for the disk's own periods.
const MEASURE: Duration = Duration::from_secs(5);

/// Whether there is something to ask of this host.
fn v2() -> bool {
    let there = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if !there {
        skip("this host has cgroup v1, where these limits are refused (tests/limits.rs)");
    }
    root() && there
}

/// Says what this host has not; with `REQUIRE_CGROUP_V2=1` (tests/vm/init) that is a failure.
fn skip(why: &str) {
    assert!(env::var_os("REQUIRE_CGROUP_V2").is_none(), "REQUIRE_CGROUP_V2 is set, and {why}");
    eprintln!("SKIPPED: {why}");
}

fn group(door: &Door, tenant: &str) -> PathBuf {
    // Beside the listener's own group, wherever that is.
    let own = fs::read_to_string(format!("/proc/{}/cgroup", door.listener())).unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
    let at = Path::new("/sys/fs/cgroup").join(own);
    let found = at.ancestors().map(|above| above.join(door.cgroup_name())).find(|group| group.is_dir()).unwrap();
    found.join(tenant)
}

/// The sum of `key=N` over all disks.
fn counted(file: &Path, key: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap();
    text.split_whitespace().filter_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse::<u64>().ok()).sum()
}

/// Ticks of processor time that the cell of `tenant` has had, as the host counts them.
fn ticks(first: u32) -> u64 {
    let ids = first..first + 65_536;
    let pids = procfs::pids().into_iter().filter(|&pid| procfs::uid(pid).is_some_and(|uid| ids.contains(&uid)));
    pids.filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(2);
        Some(fields.map(|field| field.parse::<u64>().unwrap()).sum::<u64>())
    })
    .sum()
}

#[test]
fn who_weighs_more_gets_more_of_busy_processors() {
    if !root() {
        return;
    }
    let processors = thread::available_parallelism().unwrap().get();
    let limits = |weight| format!("limits = {{ cpu = {processors}.0, cpu_weight = {weight} }}");
    let door =
        Door::with("[defaults]\nroot = \"host\"\n").tenant("alice", &limits(400)).tenant("eve", &limits(100)).start();
    let busy = format!("for i in $(seq {processors}); do (while :; do :; done) & done; echo ready; wait");
    let first = |tenant: &str| door.ok(tenant, "awk '{ print $2 }' /proc/self/uid_map").parse::<u32>().unwrap();
    let (alice, eve) = (first("alice"), first("eve"));
    let loops = ["alice", "eve"].map(|tenant| door.spawn(tenant, &busy));
    for busy in &loops {
        busy.expect("ready");
    }
    let mut ratio = 0.0;
    let shared = (0..3).any(|_again| {
        let before = (ticks(alice), ticks(eve));
        thread::sleep(MEASURE);
        let (more, less) = (ticks(alice) - before.0, ticks(eve) - before.1);
        ratio = more as f64 / less.max(1) as f64;
        (2.5..6.0).contains(&ratio)
    });
    assert!(shared, "4 to 1 is {ratio} to 1");
}

/// Seconds that dd says it took.
fn dd(door: &Door, tenant: &str, arguments: &str) -> f64 {
    let ran = door.run(tenant, &format!("LC_ALL=C dd {arguments}"));
    assert_eq!(ran.status, 0, "{}", ran.err);
    let said = ran.err.split("copied, ").nth(1).unwrap_or_else(|| panic!("{}", ran.err));
    said.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn disk_rates_are_kept_for_reads_writes_and_operations() {
    if !v2() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("free", "")
        .tenant("write", "limits = { io_write = \"4M\" }")
        .tenant("read", "limits = { io_read = \"4M\" }")
        .tenant("writes", "limits = { io_write_iops = 20 }")
        .tenant("reads", "limits = { io_read_iops = 20 }")
        .start();
    // 16 MiB at 4 MiB a second, and 80 pieces at 20 a second; a burst at the start is let through.
    let write = "if=/dev/zero of=big bs=256k count=64 oflag=direct";
    let read = "if=big of=/dev/null bs=256k count=64 iflag=direct";
    let pieces = "if=/dev/zero of=small bs=4k count=80 oflag=direct";
    let read_pieces = "if=small of=/dev/null bs=4k count=80 iflag=direct";
    for (tenant, before, limited) in
        [("write", "", write), ("read", write, read), ("writes", "", pieces), ("reads", pieces, read_pieces)]
    {
        for who in ["free", tenant].into_iter().filter(|_| !before.is_empty()) {
            dd(&door, who, before);
        }
        let (free, held) = (dd(&door, "free", limited), dd(&door, tenant, limited));
        assert!(held > 3.0 && held > 2.0 * free, "{tenant}: {limited}: {held} s, and {free} s without a limit");
    }
}

/// Makes the disk of `path` one whose time the kernel shares out by weight; put back when dropped.
struct Shared(String);

impl Shared {
    fn disk_of(path: &Path) -> Option<Self> {
        if !Path::new("/sys/fs/cgroup/io.cost.qos").exists() {
            return None;
        }
        let device = fs::metadata(path).unwrap().dev();
        let disk = format!("{}:{}", device >> 8 & 0xfff, device & 0xff);
        // Slower than any disk is, so that it is what two writers wait for.
        let model =
            "ctrl=user model=linear rbps=8000000 rseqiops=200 rrandiops=200 wbps=8000000 wseqiops=200 wrandiops=200";
        fs::write("/sys/fs/cgroup/io.cost.model", format!("{disk} {model}")).unwrap();
        fs::write("/sys/fs/cgroup/io.cost.qos", format!("{disk} enable=1 ctrl=user min=100.00 max=100.00")).unwrap();
        Some(Self(disk))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        fs::write("/sys/fs/cgroup/io.cost.qos", format!("{} enable=0", self.0)).unwrap();
    }
}

#[test]
fn who_weighs_more_gets_more_of_a_busy_disk() {
    if !v2() {
        return;
    }
    let Some(_shared) = Shared::disk_of(&std::env::temp_dir()) else {
        return skip("this kernel has no iocost");
    };
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("alice", "limits = { io_weight = 400 }")
        .tenant("eve", "limits = { io_weight = 100 }")
        .start();
    let busy = "touch ready; echo ready; while :; do dd if=/dev/zero of=big bs=64k count=64 oflag=direct conv=notrunc 2>/dev/null; done";
    let writers = ["alice", "eve"].map(|tenant| door.spawn(tenant, busy));
    for busy in &writers {
        busy.expect("ready");
    }
    let written = |tenant: &str| counted(&group(&door, tenant).join("io.stat"), "wbytes");
    let mut ratio = 0.0;
    let shared = (0..3).any(|_again| {
        let before = (written("alice"), written("eve"));
        thread::sleep(MEASURE);
        let (more, less) = (written("alice") - before.0, written("eve") - before.1);
        ratio = more as f64 / less.max(1) as f64;
        (2.0..8.0).contains(&ratio)
    });
    assert!(shared, "4 to 1 is {ratio} to 1");
}

#[test]
fn above_memory_high_memory_is_taken_back_and_nobody_is_stopped() {
    if !v2() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("free", "limits = { memory = \"256M\" }")
        .tenant("held", "limits = { memory = \"256M\", memory_high = \"32M\" }")
        .start();
    let fill = "dd if=/dev/zero of=big bs=1M count=100 conv=fsync 2>/dev/null && cat big >/dev/null && cat /run/cellblock/usage && rm big";
    let used = |tenant: &str| {
        let usage: toml::Table = door.ok(tenant, fill).parse().unwrap();
        assert_eq!(usage["processes_stopped"].as_integer(), Some(0), "{tenant}");
        usage["memory"].as_integer().unwrap() >> 20
    };
    let keep = door.spawn("held", "echo up; exec cat");
    keep.expect("up");
    let (free, held) = (used("free"), used("held"));
    assert!(free > 90 && held <= 40, "{held} MiB, and {free} MiB without memory_high");
    let events = fs::read_to_string(group(&door, "held").join("sessions/memory.events")).unwrap();
    let high = events.lines().find_map(|line| line.strip_prefix("high ")?.parse::<u64>().ok());
    assert!(high > Some(0), "{events}");
}

/// Swap of the whole machine until it is dropped: a VM's, that names the file for it.
struct Swap(PathBuf);

impl Swap {
    fn on() -> Option<Self> {
        let Some(file) = env::var_os("SWAP_FILE").map(PathBuf::from) else {
            skip("swap is switched on in a VM alone (SWAP_FILE, tests/vm/init)");
            return None;
        };
        // The kernel swaps to no file with holes (swapon(8)).
        sh(&format!(
            "dd if=/dev/zero of={0} bs=1M count=192 && chmod 600 {0} && mkswap {0} && swapon {0}",
            file.display()
        ));
        Some(Self(file))
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        sh(&format!("swapoff {0} && rm {0}", self.0.display()));
    }
}

fn sh(line: &str) {
    let ran = Command::new("sh").args(["-c", line]).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap();
    assert!(ran.status.success(), "{line}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// "`limits.swap`: how much of it may lie in swap"
#[test]
fn no_more_goes_to_swap_than_the_limit_on_it() {
    if !v2() {
        return;
    }
    let Some(_swap) = Swap::on() else { return };
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("none", "limits = { memory = \"64M\" }")
        .tenant("little", "limits = { memory = \"64M\", swap = \"16M\" }")
        .tenant("much", "limits = { memory = \"64M\", swap = \"128M\" }")
        .start();
    // 100 MiB, each page of its own, then up or dead.
    let fill =
        "python3 -c 'a = bytearray(b\"x\") * (100 << 20); print(\"filled\", flush=True); input()'; echo status $?";
    let swapped = |tenant: &str, file: &str| {
        let text = fs::read_to_string(group(&door, tenant).join("sessions").join(file)).unwrap();
        text.trim().parse::<u64>().unwrap() >> 20
    };
    for (tenant, most) in [("none", 0), ("little", 16)] {
        let keep = door.spawn(tenant, "echo up; exec cat");
        keep.expect("up");
        assert_eq!(swapped(tenant, "memory.swap.max"), most);
        let filling = door.spawn(tenant, fill);
        let mut seen = 0;
        let is_stopped = until(patience(60), || {
            seen = seen.max(swapped(tenant, "memory.swap.current"));
            stopped(&group(&door, tenant)) > 0
        });
        assert!(is_stopped && (most / 2..=most).contains(&seen), "{tenant}: {seen} MiB of {most}: {is_stopped}");
        filling.expect("status 137");
    }
    let filled = door.spawn("much", fill);
    filled.expect("filled");
    let used = swapped("much", "memory.swap.current");
    assert!((30..=128).contains(&used), "{used} MiB of 128");
    assert_eq!(stopped(&group(&door, "much")), 0);
    let usage: toml::Table = door.ok("much", "cat /run/cellblock/usage").parse().unwrap();
    assert!(usage["swap"].as_integer() > Some(30 << 20), "{usage}");
}

/// Processes that were stopped for the memory of a group.
fn stopped(group: &Path) -> u64 {
    let events = fs::read_to_string(group.join("sessions/memory.events")).unwrap();
    events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap()
}
