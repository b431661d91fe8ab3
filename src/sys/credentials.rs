//! Ids, capabilities and the other things a process can give up. Whatever is given up is read back.

use std::{collections::BTreeSet, os::fd::BorrowedFd};

use rustix::{
    process::{Gid, Uid},
    thread::{CapabilitySet, CapabilitySets},
};

use super::{Errno, SysResult};

/// Capability numbers that exist at most: one 64-bit mask.
const CAPABILITIES: u32 = 64;

/// setgroups(2) to none, setresgid(2), setresuid(2), in this order, and reads all of it back.
///
/// By raw calls, for the calling thread: the process has one.
pub fn become_user(uid: u32, gid: u32) -> SysResult<()> {
    rustix::thread::set_thread_groups(&[])?;
    let (raw_uid, raw_gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::thread::set_thread_res_gid(raw_gid, raw_gid, raw_gid)?;
    rustix::thread::set_thread_res_uid(raw_uid, raw_uid, raw_uid)?;
    let same = user_ids()? == [uid; 3] && group_ids()? == [gid; 3] && rustix::process::getgroups()?.is_empty();
    if same { Ok(()) } else { Err(Errno::EPERM) }
}

/// As [`become_user`], where no group can be given up: in a user namespace that an ordinary user made, whose
/// `setgroups` says `deny` (user_namespaces(7)).
pub fn become_only_user(uid: u32, gid: u32) -> SysResult<()> {
    let (raw_uid, raw_gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::thread::set_thread_res_gid(raw_gid, raw_gid, raw_gid)?;
    rustix::thread::set_thread_res_uid(raw_uid, raw_uid, raw_uid)?;
    if user_ids()? == [uid; 3] && group_ids()? == [gid; 3] { Ok(()) } else { Err(Errno::EPERM) }
}

/// getgroups(2): the caller's groups besides its own.
pub fn other_groups() -> SysResult<Vec<u32>> {
    let own = rustix::process::getegid();
    let groups = rustix::process::getgroups()?;
    Ok(groups.into_iter().filter(|group| *group != own).map(Gid::as_raw).collect())
}

/// getegid(2).
#[must_use]
pub fn effective_gid() -> u32 {
    rustix::process::getegid().as_raw()
}

/// Takes `uid` as user id, for a new user namespace to belong to; keeps every capability, and root's
/// access to files (setresuid(2), setfsuid(2), capset(2)) until an exec. Reads it back.
///
/// As real user id too: an exec by who has another than the effective one drops ambient
/// capabilities (before Linux 6.16). For a process of root's with one thread; [`be_root_again`]
/// undoes it.
pub fn act_as_owner(uid: u32) -> SysResult<()> {
    let own = rustix::thread::capabilities(None)?;
    let raw = Uid::from_raw(uid);
    rustix::thread::set_keep_capabilities(true)?;
    let taken = rustix::thread::set_thread_res_uid(raw, raw, raw);
    rustix::thread::set_keep_capabilities(false)?;
    taken?;
    // Back in effect first: what follows asks for CAP_SETUID.
    rustix::thread::set_capabilities(None, own)?;
    // What it returns is the id before, and it cannot fail otherwise: asked twice, it tells.
    nix::unistd::setfsuid(nix::unistd::Uid::from_raw(0));
    rustix::thread::set_capabilities(None, own)?;
    let kept = rustix::thread::capabilities(None)? == own;
    let files = nix::unistd::setfsuid(nix::unistd::Uid::from_raw(0)).is_root();
    if kept && files && user_ids()? == [uid; 3] { Ok(()) } else { Err(Errno::EPERM) }
}

/// Back to uid 0 after [`act_as_owner`].
pub fn be_root_again() -> SysResult<()> {
    let own = rustix::thread::capabilities(None)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
    rustix::thread::set_capabilities(None, own)?;
    if user_ids()? == [0; 3] { Ok(()) } else { Err(Errno::EPERM) }
}

fn user_ids() -> SysResult<[u32; 3]> {
    Ok(nix::unistd::getresuid().map(|ids| [ids.real, ids.effective, ids.saved].map(|id| id.as_raw()))?)
}

fn group_ids() -> SysResult<[u32; 3]> {
    Ok(nix::unistd::getresgid().map(|ids| [ids.real, ids.effective, ids.saved].map(|id| id.as_raw()))?)
}

/// capset(2): `kept` becomes the permitted and effective set, nothing is inheritable or ambient.
/// Reads it back.
pub fn keep_capabilities(kept: u64) -> SysResult<()> {
    let kept = CapabilitySet::from_bits_retain(kept);
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::clear_ambient_capability_set()?;
    rustix::thread::set_capabilities(None, sets)?;
    let now = rustix::thread::capabilities(None)?;
    if now == sets { Ok(()) } else { Err(Errno::EPERM) }
}

/// CAP_SYS_ADMIN (capabilities(7)).
pub const SYS_ADMIN: u64 = 1 << 21;

/// capget(2): whether the caller has all of `wanted` in effect.
pub fn is_capable_of(wanted: u64) -> SysResult<bool> {
    let effective = rustix::thread::capabilities(None)?.effective;
    Ok(effective.contains(CapabilitySet::from_bits_retain(wanted)))
}

/// Makes every capability that the caller has inheritable and ambient (capabilities(7)): an exec
/// keeps them although no id here is root's.
pub fn keep_capabilities_on_exec() -> SysResult<()> {
    let CapabilitySets { permitted, effective, .. } = rustix::thread::capabilities(None)?;
    rustix::thread::set_capabilities(None, CapabilitySets { permitted, effective, inheritable: permitted })?;
    for number in 0..CAPABILITIES {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if permitted.contains(one) {
            rustix::thread::configure_capability_in_ambient_set(one, true)?;
        }
    }
    Ok(())
}

/// `PR_CAPBSET_DROP` of every capability that the kernel knows and `kept` does not list; reads
/// each back.
pub fn keep_bounding_set(kept: u64) -> SysResult<()> {
    for number in 0..CAPABILITIES {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::capability_is_in_bounding_set(one) {
            // EINVAL: past the last capability of this kernel.
            Err(rustix::io::Errno::INVAL) => return Ok(()),
            Err(errno) => return Err(errno.into()),
            Ok(false) => continue,
            Ok(true) if kept & (1 << number) != 0 => continue,
            Ok(true) => rustix::thread::remove_capability_from_bounding_set(one)?,
        }
        if rustix::thread::capability_is_in_bounding_set(one)? {
            return Err(Errno::EPERM);
        }
    }
    Ok(())
}

/// `PR_SET_NO_NEW_PRIVS`: no exec gives privileges any more. Reads it back.
pub fn forbid_new_privileges() -> SysResult<()> {
    rustix::thread::set_no_new_privs(true)?;
    if rustix::thread::no_new_privs()? { Ok(()) } else { Err(Errno::EPERM) }
}

/// keyctl(2) `KEYCTL_JOIN_SESSION_KEYRING`: a new, empty, anonymous session keyring.
///
/// A kernel without keyrings (`ENOSYS`) has none to leak.
pub fn new_session_keyring() -> SysResult<()> {
    // SAFETY: a null name asks for an anonymous keyring; nothing is written.
    let done = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, 0) };
    match (done, Errno::last()) {
        (0.., _) | (_, Errno::ENOSYS) => Ok(()),
        (_, errno) => Err(errno),
    }
}

/// umask(2).
pub fn set_umask(mask: u32) {
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(mask & 0o777));
}

/// setrlimit(2) by resource number, read back.
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> SysResult<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` outlives the call; an unknown resource is EINVAL.
    let done = unsafe { libc::setrlimit(resource, &raw const limit) };
    if done < 0 {
        return Err(Errno::last());
    }
    if limit_of(resource)? == (soft, hard) { Ok(()) } else { Err(Errno::EPERM) }
}

/// As [`set_limit`], to no more than there is already.
pub fn lower_limit(resource: u32, most: u64) -> SysResult<()> {
    let (soft, hard) = limit_of(resource)?;
    set_limit(resource, soft.min(most), hard.min(most))
}

/// getrlimit(2): soft and hard limit.
pub fn limit_of(resource: u32) -> SysResult<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live value of the type that getrlimit writes.
    let done = unsafe { libc::getrlimit(resource, &raw mut limit) };
    if done < 0 { Err(Errno::last()) } else { Ok((limit.rlim_cur, limit.rlim_max)) }
}

/// `RLIMIT_NOFILE`.
pub const LIMIT_OPEN_FILES: u32 = libc::RLIMIT_NOFILE;
/// `RLIMIT_NPROC`.
pub const LIMIT_PROCESSES: u32 = libc::RLIMIT_NPROC;
/// No limit.
pub const UNLIMITED: u64 = libc::RLIM_INFINITY;
/// `RLIMIT_CORE`.
pub const LIMIT_CORE: u32 = libc::RLIMIT_CORE;

/// Undoes what the starter may have been given: all processors (sched_setaffinity(2)), the plain
/// personality(2).
pub fn reset_affinity_and_personality() -> SysResult<()> {
    // SAFETY: cpu_set_t is plain integers; all ones asks for every processor, of which the kernel
    // takes those that the cpuset allows.
    let all: libc::cpu_set_t = unsafe { std::mem::transmute([0xffu8; size_of::<libc::cpu_set_t>()]) };
    // SAFETY: `all` has the size passed and outlives the call.
    let done = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const all) };
    if done < 0 {
        return Err(Errno::last());
    }
    // SAFETY: personality takes one integer; 0 is PER_LINUX.
    let before = unsafe { libc::personality(0) };
    if before < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// Gives another process nice value 0 (setpriority(2)), SCHED_OTHER (sched_setscheduler(2)) and the
/// default io class (ioprio_set(2)). Raising these takes CAP_SYS_NICE in the initial user namespace.
pub fn reset_priority_of(pid: i32) -> SysResult<()> {
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: `param` outlives the call.
    if unsafe { libc::sched_setscheduler(pid, libc::SCHED_OTHER, &raw const param) } < 0 {
        return Err(Errno::last());
    }
    rustix::process::setpriority_process(rustix::process::Pid::from_raw(pid), 0)?;
    // SAFETY: ioprio_set takes three integers: IOPRIO_WHO_PROCESS (1), who, and 0 for "by nice".
    if unsafe { libc::syscall(libc::SYS_ioprio_set, 1, pid, 0) } < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// fchown(2).
pub fn give_to(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> SysResult<()> {
    Ok(rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
}

/// User ids and their primary group ids of every account that the host knows (getpwent(3)).
///
/// Goes through NSS: never in a cell.
#[must_use]
pub fn host_account_ids() -> BTreeSet<u32> {
    // SAFETY: getpwent's one static buffer is safe in a process with one thread, and the processes
    // that hand out ids have one (process::clone_into insists).
    let accounts = unsafe { users::all_users() };
    accounts.flat_map(|user| [user.uid(), user.primary_group_id()]).collect()
}
