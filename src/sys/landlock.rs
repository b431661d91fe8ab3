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

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a domain is a thread's: each test gives up what its own thread has")]
mod tests {
    use super::*;
    use crate::sys::sandbox;
    use std::{
        os::{
            linux::net::SocketAddrExt as _,
            unix::net::{SocketAddr, UnixListener, UnixStream},
        },
        thread,
    };

    fn abstract_socket(name: &str) -> (SocketAddr, UnixListener) {
        let address = SocketAddr::from_abstract_name(format!("cellblock-{name}-{}", std::process::id())).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        (address, listener)
    }

    fn within(test: impl FnOnce() + Send + 'static) {
        let inner = move || {
            sandbox::set_no_new_privs().unwrap();
            test();
        };
        thread::spawn(inner).join().unwrap();
    }

    #[test]
    fn a_domain_with_nothing_in_it_has_neither_files_nor_ports_nor_sockets_outside() {
        let version = version();
        if version == 0 {
            return; // this kernel has no Landlock
        }
        let (address, _listener) = abstract_socket("empty");
        within(move || {
            File::open("/").unwrap();
            give_up_everything().unwrap();
            let code = |error: std::io::Error| error.raw_os_error().unwrap();
            assert_eq!(File::open("/").map_err(code).unwrap_err(), libc::EACCES);
            assert_eq!(std::fs::write("/tmp/cellblock-landlock", "").map_err(code).unwrap_err(), libc::EACCES);
            if version >= NETWORK {
                let bound = TcpListener::bind("127.0.0.1:0").map_err(code);
                let connected = std::net::TcpStream::connect("127.0.0.1:9").map_err(code);
                assert_eq!((bound.unwrap_err(), connected.unwrap_err()), (libc::EACCES, libc::EACCES));
            }
            if version >= SCOPES {
                assert_eq!(UnixStream::connect_addr(&address).map_err(code).unwrap_err(), libc::EPERM);
            }
        });
    }

    #[test]
    fn what_keeps_to_itself_has_files_and_ports_and_its_own_abstract_sockets() {
        if version() < SCOPES {
            return; // this kernel's Landlock has no scopes
        }
        let (outside, _listener) = abstract_socket("outside");
        within(move || {
            UnixStream::connect_addr(&outside).unwrap();
            keep_to_itself().unwrap();
            assert!(UnixStream::connect_addr(&outside).is_err());
            let (inside, _listener) = abstract_socket("inside");
            UnixStream::connect_addr(&inside).unwrap();
            File::open("/").unwrap();
            TcpListener::bind("127.0.0.1:0").unwrap();
        });
    }
}
