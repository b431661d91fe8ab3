//! What a process gives up for good, and how it reads back that it did.
//!
//! Each function does one thing to the calling process, which has one thread; which are done, and
//! in what order, is decided by the process itself (`ssh/sandbox.rs`).

use std::{fs, os::fd::AsFd as _, path::Path, ptr};

use rustix::{
    fs::CWD,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag,
        fsconfig_set_string, fsmount, fsopen, move_mount, unmount,
    },
};

use super::{Errno, SysResult, file::read_capped};

/// Highest capability that a 64-bit set can hold; the kernel knows fewer (capabilities(7)).
const LAST_CAPABILITY: libc::c_ulong = 63;

/// `SECBIT_NOROOT`, `SECBIT_NO_SETUID_FIXUP`, `SECBIT_KEEP_CAPS` off and
/// `SECBIT_NO_CAP_AMBIENT_RAISE`, each with its lock (capabilities(7)).
const SECUREBITS: libc::c_ulong = 0b1110_1111;

/// Room for `allow` or `deny`.
const MAX_ANSWER: usize = 8;

/// Whether supplementary groups can be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groups {
    /// They can, and are.
    GivenUp,
    /// They stay: an ordinary user, who has but one id, made a user namespace around here, and its `setgroups` says
    /// `deny` (user_namespaces(7)). Nobody in there can name them.
    Stuck,
}

/// Which it is, asked of `/proc/self/setgroups`.
pub fn groups() -> SysResult<Groups> {
    let answer = read_capped(Path::new("/proc/self/setgroups"), MAX_ANSWER)?;
    Ok(if answer.trim_ascii() == b"deny" { Groups::Stuck } else { Groups::GivenUp })
}

/// setgroups(2), where it can be had, setresgid(2) and setresuid(2) to nothing and 0, for the first process of a user
/// namespace whose maps are written. Reads the ids back.
pub fn become_root_of_namespace() -> SysResult<()> {
    let groups = groups()?;
    // Raw calls: glibc's wrappers would look for threads in a copy of the parent's list of them.
    if groups == Groups::GivenUp {
        // SAFETY: a count of zero reads nothing through the null pointer.
        check(unsafe { libc::syscall(libc::SYS_setgroups, 0, ptr::null::<libc::gid_t>()) })?;
    }
    // SAFETY: setresgid takes three integers.
    check(unsafe { libc::syscall(libc::SYS_setresgid, 0, 0, 0) })?;
    // SAFETY: setresuid takes three integers.
    check(unsafe { libc::syscall(libc::SYS_setresuid, 0, 0, 0) })?;
    if ids_are_zero(groups)? { Ok(()) } else { Err(Errno::EPERM) }
}

/// Whether all user and group ids are 0 and there are no supplementary groups but those that are stuck.
pub fn ids_are_zero(stuck: Groups) -> SysResult<bool> {
    let users = nix::unistd::getresuid()?;
    let groups = nix::unistd::getresgid()?;
    let users = [users.real, users.effective, users.saved].iter().all(|uid| uid.is_root());
    let groups = [groups.real, groups.effective, groups.saved].iter().all(|gid| gid.as_raw() == 0);
    Ok(users && groups && (stuck == Groups::Stuck || rustix::process::getgroups()?.is_empty()))
}

/// Makes an empty, read-only tmpfs the root of the calling process's mount namespace and lets go
/// of the old one (fsopen(2), Linux 5.2; pivot_root(2)).
///
/// Needs a mount namespace of its own whose mounts are not shared with another.
pub fn enter_empty_root() -> SysResult<()> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), c"size", c"4096")?;
    fsconfig_set_string(context.as_fd(), c"nr_inodes", c"1")?;
    fsconfig_set_string(context.as_fd(), c"mode", c"0555")?;
    fsconfig_set_flag(context.as_fd(), c"ro")?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let root = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    move_mount(root.as_fd(), c"", CWD, c"/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    rustix::process::fchdir(root.as_fd())?;
    // Old and new in the same place stacks the old one on top, where it can be taken off
    // (pivot_root(2), NOTES).
    rustix::process::pivot_root(c".", c".")?;
    unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")?;
    Ok(())
}

/// Whether the root holds nothing and nothing can be put there.
pub fn root_is_empty() -> SysResult<bool> {
    let nothing = fs::read_dir("/")?.next().is_none();
    let flags = rustix::fs::statvfs(c"/")?.f_flag;
    Ok(nothing && flags.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// A resource of setrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// `RLIMIT_CORE`: size of a core file.
    Core,
    /// `RLIMIT_DATA`: private memory that can be written (Linux 4.7 counts mappings too).
    Data,
    /// `RLIMIT_FSIZE`: size of a file.
    FileSize,
    /// `RLIMIT_MSGQUEUE`: bytes in message queues.
    MessageQueue,
    /// `RLIMIT_NOFILE`: descriptors.
    OpenFiles,
    /// `RLIMIT_NPROC`: processes of the user.
    Processes,
}

impl Resource {
    fn raw(self) -> rustix::process::Resource {
        match self {
            Self::Core => rustix::process::Resource::Core,
            Self::Data => rustix::process::Resource::Data,
            Self::FileSize => rustix::process::Resource::Fsize,
            Self::MessageQueue => rustix::process::Resource::Msgqueue,
            Self::OpenFiles => rustix::process::Resource::Nofile,
            Self::Processes => rustix::process::Resource::Nproc,
        }
    }
}

/// setrlimit(2), soft and hard; fails if the limits do not read back.
pub fn limit(resource: Resource, value: u64) -> SysResult<()> {
    let wanted = rustix::process::Rlimit { current: Some(value), maximum: Some(value) };
    rustix::process::setrlimit(resource.raw(), wanted)?;
    if is_limited(resource, value) { Ok(()) } else { Err(Errno::EPERM) }
}

/// Whether [`limit`] holds.
#[must_use]
pub fn is_limited(resource: Resource, value: u64) -> bool {
    let set = rustix::process::getrlimit(resource.raw());
    set.current == Some(value) && set.maximum == Some(value)
}

/// Gives up every capability in every set, and every way to get one back (capabilities(7)).
pub fn drop_capabilities() -> SysResult<()> {
    for capability in 0..=LAST_CAPABILITY {
        // SAFETY: PR_CAPBSET_DROP takes one integer.
        match check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }.into()) {
            // Beyond the last that this kernel knows.
            Err(Errno::EINVAL) if capability > 0 => break,
            Err(errno) => return Err(errno),
            Ok(_done) => {}
        }
    }
    // SAFETY: PR_CAP_AMBIENT_CLEAR_ALL takes no further arguments, which must be zero.
    check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) }.into())?;
    // SAFETY: PR_SET_SECUREBITS takes one integer.
    check(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, SECUREBITS, 0, 0, 0) }.into())?;
    let none = rustix::thread::CapabilitySet::empty();
    let none = rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
    Ok(rustix::thread::set_capabilities(None, none)?)
}

/// Whether [`drop_capabilities`] holds.
pub fn has_no_capabilities() -> SysResult<bool> {
    for capability in 0..=LAST_CAPABILITY {
        // SAFETY: PR_CAPBSET_READ takes one integer.
        match check(unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) }.into()) {
            Err(Errno::EINVAL) if capability > 0 => break,
            Err(errno) => return Err(errno),
            Ok(0) => {}
            Ok(_in_the_set) => return Ok(false),
        }
    }
    // SAFETY: PR_GET_SECUREBITS takes no arguments.
    let securebits = check(unsafe { libc::prctl(libc::PR_GET_SECUREBITS, 0, 0, 0, 0) }.into())?;
    let sets = rustix::thread::capabilities(None)?;
    let held = sets.effective | sets.permitted | sets.inheritable;
    Ok(held.is_empty() && u64::try_from(securebits) == Ok(SECUREBITS))
}

/// `PR_SET_NO_NEW_PRIVS` (Linux 3.5), for good.
pub fn set_no_new_privs() -> SysResult<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Whether [`set_no_new_privs`] holds.
pub fn has_no_new_privs() -> SysResult<bool> {
    Ok(rustix::thread::no_new_privs()?)
}

fn check(result: libc::c_long) -> SysResult<libc::c_long> {
    if result < 0 { Err(Errno::last()) } else { Ok(result) }
}
