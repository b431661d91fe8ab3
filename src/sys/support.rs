//! What this kernel has and this host is, for whoever reports on it.

use std::{collections::BTreeSet, path::Path, ptr};

use rustix::fs::{AtFlags, CWD, StatxFlags};

use super::{Errno, SysResult};

/// `LANDLOCK_CREATE_RULESET_VERSION`.
const LANDLOCK_VERSION: u32 = 1;

/// landlock_create_ruleset(2), asked for the version of its interface (Linux 5.13). `ENOSYS`: it is
/// not built in; `ENOTSUP`: it was not switched on at boot.
pub fn landlock_version() -> SysResult<u32> {
    // SAFETY: with this flag the call takes no attributes (null and 0) and changes nothing.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<u8>(), 0usize, LANDLOCK_VERSION) };
    if version < 0 { Err(Errno::last()) } else { u32::try_from(version).map_err(|_range| Errno::EOVERFLOW) }
}

/// uname(2): the release of the kernel.
#[must_use]
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// statx(2) with `STATX_MNT_ID` (Linux 5.8): the id, as in `/proc/self/mountinfo`, of the mount that
/// `path` lies on. A symbolic link at the end is not followed.
pub fn mount_of(path: &Path) -> SysResult<u64> {
    Ok(rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID)?.stx_mnt_id)
}

/// Names of every account that the host knows (getpwent(3)). Goes through NSS.
#[must_use]
pub fn host_account_names() -> BTreeSet<String> {
    // SAFETY: getpwent's one static buffer is safe in a process with one thread, as `cellblock` is
    // (process::fork insists).
    let accounts = unsafe { users::all_users() };
    accounts.map(|user| user.name().to_string_lossy().into_owned()).collect()
}

/// Names of the accounts whose own group is one of `gids` (getpwent(3)); a group's list of members leaves
/// them out. Goes through NSS.
#[must_use]
pub fn host_accounts_in(gids: &BTreeSet<u32>) -> BTreeSet<String> {
    // SAFETY: as in `host_account_names`.
    let accounts = unsafe { users::all_users() };
    let own = accounts.filter(|user| gids.contains(&user.primary_group_id()));
    own.map(|user| user.name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_can_be_asked() {
        assert!(kernel_release().contains('.'));
        assert!(mount_of(Path::new("/proc")).unwrap() != mount_of(Path::new("/")).unwrap());
        assert!(host_account_names().contains("root"));
        assert!(
            host_accounts_in(&BTreeSet::from([0])).contains("root") && host_accounts_in(&BTreeSet::new()).is_empty()
        );
        match landlock_version() {
            Ok(version) => assert!(version >= 1),
            Err(errno) => assert!([Errno::ENOSYS, Errno::ENOTSUP].contains(&errno), "{errno}"),
        }
    }
}
