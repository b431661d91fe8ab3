//! The sandbox of the ssh process, built from inside before anything of the network is read.
//!
//! The monitor has put the process into namespaces of its own, as root of a user namespace that
//! maps one unprivileged host id (`monitor/confine.rs`). Each step here fails closed, and the whole
//! is read back at the end. Nothing given up here can be had again.

use cellblock::base::{Result, fail};
use cellblock::sys::{
    SysResult, landlock, process,
    sandbox::{self, Resource},
    seccomp, signal,
};

use super::filter;

/// Descriptors: the connection, the link twice, the runtime's own, standard three; three for each of
/// [`super::channels::MOST_CHANNELS`], one for each of 256 forwards, two for each of 32 listeners.
pub(crate) const OPEN_FILES: u64 = 1024;

/// Memory, should something grow that is bounded nowhere else: above what `flow` may hold for all
/// channels together, and what russh keeps of closed ones (`handler.rs`).
const MEMORY: u64 = 768 << 20;

/// Everything that can be used up and that this process needs nothing of; memory; and descriptors.
const LIMITS: [(Resource, u64); 6] = [
    (Resource::Core, 0),
    (Resource::Data, MEMORY),
    (Resource::FileSize, 0),
    (Resource::MessageQueue, 0),
    (Resource::Processes, 0),
    (Resource::OpenFiles, OPEN_FILES),
];

/// Confines the calling process.
///
/// On success it can do what `filter.toml` lists, with what it holds, and nothing else.
pub(crate) fn confine() -> Result<()> {
    step("taking a name", process::set_name(c"cellblock-ssh"))?;
    step("asking to die with the monitor", process::die_with_parent(signal::SIGKILL))?;
    // In the empty root there is nobody to ask.
    let groups = step("asking for groups", sandbox::groups())?;
    step("entering an empty root", sandbox::enter_empty_root())?;
    for (resource, value) in LIMITS {
        step("setting limits", sandbox::limit(resource, value))?;
    }
    step("giving up capabilities", sandbox::drop_capabilities())?;
    step("refusing new privileges", sandbox::set_no_new_privs())?;
    step("refusing to be traced", process::make_undumpable())?;
    // The list of calls forbids most of the questions that reading back asks.
    read_back(groups)?;
    // With the root that was read back it could open nothing; now not even that root.
    step("entering an empty Landlock domain", landlock::give_up_everything())?;
    let rules = filter::rules(filter::TEXT).map_err(|bad| fail("reading the list of system calls", "", bad.0))?;
    step("limiting system calls", seccomp::allow_only(&rules))?;
    holds("the list of system calls is in force", seccomp::is_filtered())?;
    holds("no new privileges can be had", sandbox::has_no_new_privs())
}

/// That all of it holds, asked anew from the kernel.
fn read_back(groups: sandbox::Groups) -> Result<()> {
    holds("first of its pid namespace", Ok(process::own_pid() == 1))?;
    holds("all ids are those of the sandbox", sandbox::ids_are_zero(groups))?;
    holds("the root is empty", sandbox::root_is_empty())?;
    holds("there are no capabilities", sandbox::has_no_capabilities())
}

fn step<T>(doing: &'static str, done: SysResult<T>) -> Result<T> {
    done.map_err(|errno| fail(doing, "", errno))
}

fn holds(what: &str, answer: SysResult<bool>) -> Result<()> {
    match answer {
        Ok(true) => Ok(()),
        Ok(false) => Err(fail("reading back the sandbox", "", format!("{what}: it does not hold"))),
        Err(errno) => Err(fail("reading back the sandbox", "", format!("{what}: {errno}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::process::ExitStatusExt as _, process::Command};

    /// Set in the process that the test starts and that is to die.
    const INNER: &str = "CELLBLOCK_TEST_FILTERED";

    #[test]
    fn a_call_that_is_not_listed_kills_the_process() {
        if std::env::var_os(INNER).is_some() {
            seccomp::allow_only(&filter::rules(filter::TEXT).unwrap()).unwrap();
            assert!(seccomp::is_filtered().unwrap());
            // socketpair(2) is not listed.
            drop(cellblock::sys::seqpacket::pair());
            return;
        }
        let own = std::env::current_exe().unwrap();
        let name = "ssh::sandbox::tests::a_call_that_is_not_listed_kills_the_process";
        let status = Command::new(own).args(["--exact", name]).env(INNER, "1").status().unwrap();
        assert_eq!(status.signal(), Some(31), "SIGSYS, not {status}");
    }
}
