//! Reading `/proc` of the host.

use std::{collections::BTreeSet, fs};

use nix::{sys::signal::Signal, unistd::Pid};

/// Every pid there is.
pub fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// A field of `/proc/PID/status`, the whole value.
pub fn status(pid: i32, field: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// The real uid.
pub fn uid(pid: i32) -> Option<u32> {
    status(pid, "Uid")?.split_whitespace().next()?.parse().ok()
}

/// The parent.
pub fn parent(pid: i32) -> Option<i32> {
    status(pid, "PPid")?.parse().ok()
}

/// Its children, but those of its other threads.
pub fn children(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// `comm`, at most 15 bytes.
pub fn name(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// The arguments, separated by spaces.
pub fn cmdline(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
}

/// Where `/proc/PID/exe` points to.
pub fn exe(pid: i32) -> String {
    fs::read_link(format!("/proc/{pid}/exe")).map(|path| path.display().to_string()).unwrap_or_default()
}

/// Whether it is the process of a connection that speaks SSH with the client.
pub fn is_ssh_process(pid: i32) -> bool {
    exe(pid).contains("cellblock-ssh")
}

/// Bytes that a process has written, to whatever it was.
pub fn written(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok()).unwrap_or(0)
}

/// The process group.
pub fn group(pid: i32) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()
}

/// A zombie has ended; it waits only for its parent.
pub fn ended(pid: i32) -> bool {
    status(pid, "State").is_none_or(|state| state.starts_with('Z'))
}

/// The environment it was exec'd with.
pub fn environ(pid: i32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/environ")).unwrap_or_default()).into_owned()
}

/// The seven namespaces of a process, as `kind:[inode]`.
pub fn namespaces(pid: i32) -> BTreeSet<String> {
    ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"]
        .iter()
        .filter_map(|kind| Some(fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()?.display().to_string()))
        .collect()
}

/// How many descriptors are open.
pub fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::count).unwrap_or(0)
}

/// Proportional set size in KiB.
pub fn pss_kib(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Resident set size in KiB.
pub fn rss_kib(pid: i32) -> u64 {
    status(pid, "VmRSS").and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The most that was resident since the process was forked or exec'd, in KiB.
pub fn peak_kib(pid: i32) -> u64 {
    status(pid, "VmHWM").and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// `kill(2)`; that it has gone already is no failure.
pub fn kill(pid: i32, signal: Signal) {
    nix::sys::signal::kill(Pid::from_raw(pid), signal).ok();
}
