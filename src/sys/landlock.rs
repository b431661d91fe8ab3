//! Landlock (landlock(7)): what a process can no longer reach, itself and all that it starts.
//!
//! A domain cannot be asked for; each function here is followed by a try of what it forbids.

use std::{ffi::c_void, fs::File, net::TcpListener, ptr};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, Scope,
};

use super::{Errno, SysResult};

/// The first version that keeps signals and abstract unix sockets within a domain: Linux 6.12.
pub const SCOPES: u32 = 6;

/// The first that knows TCP: Linux 6.7.
const NETWORK: u32 = 4;

/// The newest whose rights are known here.
const NEWEST: ABI = ABI::V10;

/// landlock_create_ruleset(2) with `LANDLOCK_CREATE_RULESET_VERSION`: the version that the kernel
/// has, 0 for none.
#[must_use]
pub fn version() -> u32 {
    let none = ptr::null::<c_void>();
    // SAFETY: with this flag, null and a length of 0 are what the call wants.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, 1_u32) };
    u32::try_from(version).unwrap_or(0)
}

/// Keeps signals and connections to abstract unix sockets within the caller and what it starts.
/// Needs [`SCOPES`], and CAP_SYS_ADMIN in the user namespace or no_new_privs.
pub fn keep_to_itself() -> SysResult<()> {
    let restrict = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .scope(Scope::AbstractUnixSocket | Scope::Signal)?
            .create()?
            .no_new_privs(false)
            .restrict_self()
    };
    restrict().map_err(|error: RulesetError| errno(&error)).map(|_enforced| ())
}

/// A domain in which nothing is allowed that this kernel's Landlock can forbid: no file, no TCP, no
/// signal and no abstract socket outside. Nothing happens where the kernel has none. Tries a file
/// and a port, and fails if either is to be had.
pub fn give_up_everything() -> SysResult<()> {
    let version = version();
    if version == 0 {
        return Ok(());
    }
    let restrict = || {
        Ruleset::default()
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()?
            .no_new_privs(false)
            // The tries below are no news for the host's audit log.
            .log_same_exec(false)?
            .restrict_self()
    };
    restrict().map_err(|error: RulesetError| errno(&error))?;
    let denied = |tried: std::io::Result<()>| tried.is_err_and(|error| error.raw_os_error() == Some(libc::EACCES));
    let file = denied(File::open("/").map(drop));
    let port = version < NETWORK || denied(TcpListener::bind("127.0.0.1:0").map(drop));
    if file && port { Ok(()) } else { Err(Errno::EPERM) }
}

/// The crate's errors hold the kernel's.
fn errno(error: &RulesetError) -> Errno {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(raw) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error) {
            return Errno::from_raw(raw);
        }
        source = error.source();
    }
    Errno::ENOSYS
}
