//! Locks on parts of a file that belong to an open file (fcntl(2), open file description locks): they
//! end with it, whatever ends the process.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::{Errno, SysResult, error::retry};

/// Locks the byte at `at` of a file open for writing; false if another open file has it locked.
pub fn try_byte(file: BorrowedFd<'_>, at: u64) -> SysResult<bool> {
    match lock(file, at, libc::F_OFD_SETLK) {
        Ok(()) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// As [`try_byte`], waiting for it as long as another open file has it locked.
pub fn wait_byte(file: BorrowedFd<'_>, at: u64) -> SysResult<()> {
    retry(|| lock(file, at, libc::F_OFD_SETLKW))
}

fn lock(file: BorrowedFd<'_>, at: u64, command: libc::c_int) -> SysResult<()> {
    // SAFETY: flock is plain integers, for which zero is a value; l_pid must be zero.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = i16::try_from(libc::F_WRLCK).map_err(|_range| Errno::EINVAL)?;
    lock.l_whence = i16::try_from(libc::SEEK_SET).map_err(|_range| Errno::EINVAL)?;
    lock.l_start = i64::try_from(at).map_err(|_range| Errno::EINVAL)?;
    lock.l_len = 1;
    // SAFETY: both commands read one flock, which outlives the call.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw const lock) };
    if done == 0 { Ok(()) } else { Err(Errno::last()) }
}
