//! Locks on parts of a file that belong to an open file (fcntl(2), open file description locks): they
//! end with it, whatever ends the process.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::{Errno, SysResult};

/// Locks the byte at `at` of a file open for writing; false if another open file has it locked.
pub fn try_byte(file: BorrowedFd<'_>, at: u64) -> SysResult<bool> {
    // SAFETY: flock is plain integers, for which zero is a value; l_pid must be zero.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = i16::try_from(libc::F_WRLCK).map_err(|_range| Errno::EINVAL)?;
    lock.l_whence = i16::try_from(libc::SEEK_SET).map_err(|_range| Errno::EINVAL)?;
    lock.l_start = i64::try_from(at).map_err(|_range| Errno::EINVAL)?;
    lock.l_len = 1;
    // SAFETY: F_OFD_SETLK reads one flock, which outlives the call.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    match done {
        0 => Ok(true),
        _failed => match Errno::last() {
            Errno::EAGAIN | Errno::EACCES => Ok(false),
            errno => Err(errno),
        },
    }
}
