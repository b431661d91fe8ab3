//! A door that is attacked, and what is looked at afterwards: processes, memory, the audit file, and
//! whether an honest login works.

use std::{fs, time::Duration};

use super::{
    Door,
    attacker::{Attacker, Key, Message},
    procfs, until,
};

/// More than an honest connection's processes ever had (crates.md: at most 10 MB at full load).
pub const MOST_KIB: u64 = 64 * 1024;

/// More than any attack of the tests leaves in the audit file, and far less than it sends.
const MOST_AUDIT: u64 = 1 << 20;

/// A door for alice and her key, which lets many connections in.
pub fn door() -> (Door, Key) {
    door_with_grace("10s")
}

/// As [`door`].
pub fn door_with_grace(grace: &str) -> (Door, Key) {
    door_of(grace, "")
}

/// As [`door`], with more lines about alice.
pub fn door_of(grace: &str, alice: &str) -> (Door, Key) {
    let key = Key::new(1);
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .watched()
        .server(&format!(
            "max_startups = \"1100:30:1200\"\nmax_connections = 1200\nmax_connections_per_source = 1200\n\
             login_grace = \"{grace}\""
        ))
        .tenant("alice", &format!("authorized_keys = [\"{{key}}\", \"{}\"]\n{alice}", key.line()))
        .start();
    (door, key)
}

/// The largest process of the door's own, in KiB.
pub fn memory(door: &Door) -> u64 {
    door.processes()
        .into_iter()
        .filter(|&pid| procfs::exe(pid).contains("cellblock"))
        .map(procfs::rss_kib)
        .max()
        .unwrap_or(0)
}

/// Whatever met the attack so far had no more memory at any time than is stated of strangers: before anybody but an
/// honest tenant logs in.
pub fn strangers_cost_little(door: &Door) {
    door.peaks().expect("a door that is watched").are_of_strangers();
}

/// Nothing was started, nothing grew, no process of ours broke or seems captured, and an honest login
/// works.
pub fn unharmed(door: &Door, key: &Key) {
    well(door);
    assert_eq!(Attacker::login(door.port, "alice", key).exec("echo well").as_deref(), Some("well"), "{}", door.log());
}

/// As [`unharmed`], where alice may run no command.
pub fn well(door: &Door) {
    let spawned: Vec<_> =
        door.processes().into_iter().map(procfs::cmdline).filter(|line| line.contains("attack-marker")).collect();
    assert!(spawned.is_empty(), "{spawned:?}");
    assert!(memory(door) < MOST_KIB, "{} KiB", memory(door));
    if let Some(peaks) = door.peaks() {
        peaks.are_of_tenants();
    }
    assert!(!procfs::ended(door.listener()));
    assert!(!door.log().contains("panicked"), "{}", door.log());
    let written = fs::metadata(door.dir.join("audit.jsonl")).map_or(0, |facts| facts.len());
    assert!(written < MOST_AUDIT, "{written} bytes in the audit file");
    let ends = door.ends();
    let captured: Vec<_> = ends.iter().filter(|reason| reason.starts_with("ssh process")).collect();
    assert!(captured.is_empty(), "{captured:?}\n{}", door.log());
}

/// No cell runs. Looks for a while: an ssh process that is just ending has no program to tell it by,
/// while what an attacker started would go on for half a minute.
pub fn no_cell(door: &Door) -> bool {
    let in_a_cell = |pid| {
        procfs::status(pid, "NSpid").is_some_and(|pids| pids.split_whitespace().count() > 1)
            && !procfs::is_ssh_process(pid)
    };
    until(Duration::from_secs(3), || !door.processes().into_iter().any(in_a_cell))
}

/// Asks for a session with a command that can be told among the door's processes.
pub fn exec_marker(client: &mut Attacker) {
    client.send(&Message::open_session(0, 1 << 21, 32768));
    for channel in [0, 1] {
        client.send(&Message::request(channel, "exec", true).text("sleep 30 # attack-marker"));
    }
}
