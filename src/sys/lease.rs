//! Leases (fcntl(2), `F_SETLEASE`): whoever opens the file waits until the holder, told by SIGIO, has
//! let go of it.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::{Errno, SysResult};

/// Takes a lease on a file of one's own that nobody else has open (`EAGAIN` otherwise).
pub fn take(file: BorrowedFd<'_>) -> SysResult<()> {
    set(file, libc::F_WRLCK)
}

/// Lets go of it: whoever waits goes on.
pub fn release(file: BorrowedFd<'_>) -> SysResult<()> {
    set(file, libc::F_UNLCK)
}

fn set(file: BorrowedFd<'_>, kind: libc::c_int) -> SysResult<()> {
    // SAFETY: F_SETLEASE takes an integer; `file` is open for the length of the call.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) };
    if done < 0 { Err(Errno::last()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, os::fd::AsFd as _};

    #[test]
    fn a_file_that_somebody_reads_cannot_be_leased() {
        let path = format!("/dev/shm/cellblock-lease-{}", std::process::id());
        let file = File::create(&path).unwrap();
        take(file.as_fd()).unwrap();
        release(file.as_fd()).unwrap();
        let reader = File::open(&path).unwrap();
        assert_eq!(take(file.as_fd()), Err(Errno::EAGAIN));
        drop(reader);
        take(file.as_fd()).unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
