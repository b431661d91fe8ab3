//! Whether a control group holds what was written into it. Pure.

use std::path::Path;

/// The kernel counts memory in pages, and rounds what it is told down. The smallest of any machine:
/// where pages are larger, a limit that is no multiple of theirs is rounded further, which
/// [`is_rounded`] allows.
const PAGE: u64 = 4096;

/// Largest page that a kernel of 64 bits is built with (arm64, powerpc).
const MAX_PAGE: u64 = 64 << 10;

/// What the kernel makes of anything larger: v1 says so by this number, v2 by the word `max`.
const MOST: u64 = i64::MAX.unsigned_abs() / PAGE * PAGE;

/// Whether `held`, as read from a group's `file`, is what `written` asked for. Limits in bytes may be
/// less by less than a page: they are never more.
pub(super) fn holds(file: &Path, written: &str, held: &str) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name {
        // Words with a sign, and the same words without.
        "cgroup.subtree_control" => {
            let on = |word: &str| {
                word.strip_prefix('+').is_some_and(|name| held.split_ascii_whitespace().any(|is| is == name))
            };
            written.split_ascii_whitespace().all(on)
        }
        // Whoever was moved, among those who are there.
        "cgroup.procs" => held.lines().any(|pid| pid == written),
        // A line for each disk, with all rates; rates that were not written are `max`.
        "io.max" => {
            let mut words = written.split_ascii_whitespace();
            let disk = words.next();
            let line = held.lines().find(|line| line.split_ascii_whitespace().next() == disk);
            line.is_some_and(|line| words.all(|rate| line.split_ascii_whitespace().any(|is| is == rate)))
        }
        // `default N`, then what single disks have.
        "io.weight" | "io.bfq.weight" => {
            let first = held.lines().next().unwrap_or_default().trim();
            first == written || Some(first) == written.strip_prefix("default ")
        }
        _ if name.starts_with("memory.") => match (written.parse(), held.trim().parse()) {
            (Ok(written), Ok(held)) => is_rounded(written, held),
            (Ok(written), Err(_)) => held.trim() == "max" && written >= MOST,
            (Err(_), _) => false,
        },
        _ => held.trim() == written,
    }
}

fn is_rounded(written: u64, held: u64) -> bool {
    let less = written.checked_sub(held);
    less == Some(0) || held.is_multiple_of(PAGE) && less.is_some_and(|less| less < MAX_PAGE || held == MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(file: &str, written: &str, held: &str) -> bool {
        super::holds(&Path::new("/sys/fs/cgroup/x").join(file), written, held)
    }

    #[test]
    fn memory_may_be_rounded_down_to_a_page_and_no_further() {
        for file in
            ["memory.max", "memory.high", "memory.swap.max", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]
        {
            assert!(holds(file, "67108864", "67108864\n"));
            assert!(holds(file, "67108865", "67108864\n"));
            assert!(holds(file, "0", "0\n"));
            assert!(!holds(file, "67108864", "67108865\n"), "never more");
            assert!(!holds(file, "67108864", "max\n"));
            assert!(!holds(file, "67108864", "9223372036854771712\n"));
            assert!(!holds(file, "67108864", "33554432\n"));
            assert!(!holds(file, "67108864", ""));
            assert!(holds(file, "18446744073709551615", "max\n"));
            assert!(holds(file, "18446744073709551615", "9223372036854771712\n"));
        }
    }

    #[test]
    fn numbers_are_held_as_they_were_written() {
        assert!(holds("pids.max", "256", "256\n"));
        assert!(!holds("pids.max", "256", "max\n"));
        assert!(holds("cpu.max", "50000 100000", "50000 100000\n"));
        assert!(!holds("cpu.max", "50000 100000", "max 100000\n"));
        assert!(holds("cpu.weight", "50", "50\n"));
        assert!(!holds("cpu.shares", "512", "1024\n"));
    }

    #[test]
    fn controllers_are_all_on() {
        assert!(holds("cgroup.subtree_control", "+memory +pids", "cpu memory pids\n"));
        assert!(holds("cgroup.subtree_control", "+cpu", "cpuset cpu\n"));
        assert!(!holds("cgroup.subtree_control", "+cpu", "cpuset\n"));
        assert!(!holds("cgroup.subtree_control", "+memory +io", "memory pids\n"));
    }

    #[test]
    fn rates_are_those_of_their_disk() {
        let held = "8:0 rbps=1048576 wbps=max riops=max wiops=100\n8:16 rbps=1048576 wbps=max riops=max wiops=max\n";
        assert!(holds("io.max", "8:0 rbps=1048576 wiops=100", held));
        assert!(!holds("io.max", "8:16 rbps=1048576 wiops=100", held));
        assert!(!holds("io.max", "8:32 rbps=1048576", held));
        assert!(!holds("io.max", "8:0 rbps=104857", held));
        assert!(!holds("io.max", "8:0 rbps=104857", ""));
        assert!(holds("io.weight", "default 50", "default 50\n8:0 100\n"));
        assert!(holds("io.bfq.weight", "default 50", "50\n"));
        assert!(!holds("io.weight", "default 50", "default 100\n"));
    }
}
