//! The probe: tries to break out of the cell that it runs in, and says how that went.
//!
//! Runs as `cellblock-probe`, the second face of `cellblock-init`, in a session of the tenant's with
//! the tenant's ids. It reads a task from its stdin and writes a finding per check to its stdout.
//! What it tries does no harm where it works: `verify` is for cells that may be broken.

mod files;
mod identity;
mod kernel;
mod limits;
mod mounts;
mod namespaces;
mod processes;
mod tries;

use std::{
    io::{self, Read as _, Write as _},
    process::ExitCode,
};

use crate::wire::verify::{Check, Finding, MAX_LINE, READY, Task};

use tries::Tries;

/// How a check is made.
type Make = fn(&Task, &mut Tries);

/// Every check that is made inside, in the order in which it is made: bombs last.
const CHECKS: &[(Check, Make)] = &[
    (Check::Ids, identity::ids),
    (Check::Capabilities, identity::capabilities),
    (Check::NoNewPrivs, identity::no_new_privs),
    (Check::Rlimits, identity::rlimits),
    (Check::Descriptors, identity::descriptors),
    (Check::Environment, identity::environment),
    (Check::Traits, identity::traits),
    (Check::OomScore, identity::oom_score),
    (Check::Neighbours, processes::neighbours),
    (Check::Pid1, processes::pid_1),
    (Check::LimitsOfPid1, processes::limits_of_pid_1),
    (Check::OwnProgram, processes::own_program),
    (Check::Nested, namespaces::nested),
    (Check::Setns, namespaces::setns),
    (Check::HostName, namespaces::host_name),
    (Check::Ipc, namespaces::ipc),
    (Check::AbstractSockets, namespaces::abstract_sockets),
    (Check::Network, namespaces::network),
    (Check::Keyrings, namespaces::keyrings),
    (Check::Mounts, mounts::mounts),
    (Check::MountPoints, mounts::mount_points),
    (Check::Masks, mounts::masks),
    (Check::Remount, mounts::remount),
    (Check::ProcWrites, files::proc_writes),
    (Check::HostWrites, files::host_writes),
    (Check::Devices, files::devices),
    (Check::Hidden, files::hidden),
    (Check::Sockets, kernel::sockets),
    (Check::Calls, kernel::calls),
    (Check::ForeignAbis, kernel::foreign_abis),
    (Check::Terminal, kernel::terminal),
    (Check::Cgroup, limits::cgroup),
    (Check::FdBomb, limits::fds),
    (Check::InotifyBomb, limits::inotify),
    (Check::PtyBomb, limits::ptys),
    (Check::Tmpfs, limits::tmpfs),
    (Check::ForkBomb, limits::forks),
    (Check::MemoryBomb, limits::memory),
];

/// The life of a probe.
pub fn run() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_nobody_listens) => ExitCode::FAILURE,
    }
}

fn work() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{READY}")?;
    let mut line = Vec::new();
    io::stdin().lock().take(u64::try_from(MAX_LINE).unwrap_or(u64::MAX)).read_to_end(&mut line)?;
    let task: Task = serde_json::from_slice(&line)?;
    for (check, make) in CHECKS {
        let mut tries = Tries::default();
        make(&task, &mut tries);
        let finding = Finding { check: *check, attempts: tries.done() };
        let mut line = serde_json::to_vec(&finding)?;
        line.push(b'\n');
        out.write_all(&line)?;
        out.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::verify::Side;

    #[test]
    fn every_check_inside_is_made_once() {
        let mut made: Vec<_> = CHECKS.iter().map(|(check, _)| *check).collect();
        made.sort_unstable();
        let mut inside: Vec<_> =
            Check::ALL.iter().copied().filter(|check| check.group().side() == Side::Inside).collect();
        inside.sort_unstable();
        assert_eq!(made, inside);
    }
}
