//! The sandbox of the ssh process, built from inside before anything of the network is read.
//!
//! The monitor has put the process into namespaces of its own, as root of a user namespace that
//! maps one unprivileged host id (`monitor/confine.rs`). Each step here fails closed, and the whole
//! is read back at the end. Nothing given up here can be had again.

use std::os::fd::RawFd;

use cellblock::base::{Result, fail};
use cellblock::sys::{
    SysResult, fd, landlock, process,
    sandbox::{self, Resource},
    seccomp::{self, Allowed},
    signal,
};

use super::filter;

/// Descriptors: the connection, the link twice, the runtime's own, standard three; three for each of
/// [`super::channels::MOST_CHANNELS`], one for each of 256 forwards, two for each of 32 listeners.
pub(crate) const OPEN_FILES: u64 = 1024;

/// Memory, should something grow that is bounded nowhere else: above what `flow` may hold for all
/// channels together, and what russh keeps of closed ones (`translator.rs`).
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

/// What is done, and how.
type Step = (&'static str, fn() -> SysResult<()>);

/// What the process gives up by itself, in this order. The list of system calls comes after all that is read back.
const STEPS: [Step; 5] = [
    ("entering an empty root", sandbox::enter_empty_root),
    ("setting limits", set_limits),
    ("giving up capabilities", sandbox::drop_capabilities),
    ("refusing new privileges", sandbox::set_no_new_privs),
    ("refusing to be traced", process::make_undumpable),
];

/// That the process was given no descriptor numbered `first` or higher: to be asked before it opens any.
pub(crate) fn read_back_descriptors(first: RawFd) -> Result<()> {
    holds("no descriptors but those that it is to have", fd::none_from(first))
}

/// Confines the calling process.
///
/// On success it can do what `filter.toml` lists, with what it holds, and nothing else.
pub(crate) fn confine() -> Result<()> {
    step("taking a name", process::set_name(c"cellblock-ssh"))?;
    step("asking to die with the monitor", process::die_with_parent(signal::SIGKILL))?;
    give_up(&STEPS, seccomp::allow_only)
}

/// Takes `steps` and limits system calls with `limit_calls`; fails unless all holds that ever should, whatever they are.
fn give_up(steps: &[Step], limit_calls: fn(&[Allowed]) -> SysResult<()>) -> Result<()> {
    // In the empty root there is nobody to ask.
    let groups = step("asking for groups", sandbox::groups())?;
    for (doing, take) in steps {
        step(doing, take())?;
    }
    // The list of calls forbids most of the questions that reading back asks.
    read_back(groups)?;
    // With the root that was read back it could open nothing; now not even that root.
    step("entering an empty Landlock domain", landlock::give_up_everything())?;
    let rules = filter::rules(filter::TEXT).map_err(|bad| fail("reading the list of system calls", "", bad.0))?;
    step("limiting system calls", limit_calls(&rules))?;
    holds("the list of system calls is in force", seccomp::is_filtered())?;
    holds("no new privileges can be had", sandbox::has_no_new_privs())
}

fn set_limits() -> SysResult<()> {
    LIMITS.into_iter().try_for_each(|(resource, value)| sandbox::limit(resource, value))
}

/// That all of it holds, asked anew from the kernel.
fn read_back(groups: sandbox::Groups) -> Result<()> {
    holds("first of its pid namespace", Ok(process::own_pid() == 1))?;
    holds("all ids are those of the sandbox", sandbox::ids_are_zero(groups))?;
    holds("the root is empty", sandbox::root_is_empty())?;
    holds("limits are set", Ok(LIMITS.iter().all(|(resource, value)| sandbox::is_limited(*resource, *value))))?;
    holds("there are no capabilities", sandbox::has_no_capabilities())?;
    // The list of calls brings it along: asked only then, it would not be missed before.
    holds("no new privileges can be had", sandbox::has_no_new_privs())?;
    holds("nobody can trace it", process::is_undumpable())
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
mod tests;
