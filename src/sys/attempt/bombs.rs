//! Small bombs: each takes of one thing until it is refused or a bound is reached, and gives all of
//! it back.

use std::{os::fd::OwnedFd, ptr, slice};

use super::super::{Errno, SysResult, process};
use super::{fork_to, wait_for};

/// Steps in which memory is taken.
const STEP: usize = 1 << 20;

/// One byte in each page is enough to make it real.
const PAGE: usize = 4096;

/// Starts up to `at_most` processes that wait, then ends them all: how many there were, and what
/// refused the next one.
pub fn fork_until_refused(at_most: u64) -> SysResult<(u64, Option<Errno>)> {
    let mut children = Vec::new();
    let mut refused = None;
    for _ in 0..at_most {
        let forked = fork_to(|| {
            process::die_with_parent(libc::SIGKILL)?;
            loop {
                // SAFETY: pause takes nothing.
                unsafe { libc::pause() };
            }
        });
        match forked {
            Ok(pid) => children.push(pid),
            Err(errno) => {
                refused = Some(errno);
                break;
            }
        }
    }
    for pid in &children {
        process::kill(*pid, libc::SIGKILL)?;
    }
    for pid in &children {
        wait_for(*pid)?;
    }
    Ok((u64::try_from(children.len()).unwrap_or(u64::MAX), refused))
}

/// Takes descriptors until `open` refuses or there are `at_most`, then closes them all.
pub fn until_refused(at_most: u64, mut open: impl FnMut() -> SysResult<OwnedFd>) -> (u64, Option<Errno>) {
    let mut held = Vec::new();
    let mut refused = None;
    for _ in 0..at_most {
        match open() {
            Ok(fd) => held.push(fd),
            Err(errno) => {
                refused = Some(errno);
                break;
            }
        }
    }
    (u64::try_from(held.len()).unwrap_or(u64::MAX), refused)
}

/// inotify_init1(2).
pub fn inotify() -> SysResult<OwnedFd> {
    Ok(rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC)?)
}

/// Maps and touches up to `bytes` of memory, for a child that does nothing else: how much it was.
/// `ENOMEM` if the kernel refuses, and no answer if it kills.
pub fn touch_memory(bytes: u64) -> SysResult<i64> {
    let mut touched = 0_u64;
    while touched < bytes {
        // SAFETY: a new anonymous mapping, chosen by the kernel, overlaps nothing.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                STEP,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        // SAFETY: the mapping is STEP bytes long, zeroed, writable, ours alone and never unmapped.
        let memory = unsafe { slice::from_raw_parts_mut(start.cast::<u8>(), STEP) };
        for byte in memory.iter_mut().step_by(PAGE) {
            // A write that the compiler may not leave out: nobody reads it.
            *std::hint::black_box(byte) = 1;
        }
        touched = touched.saturating_add(u64::try_from(STEP).unwrap_or(u64::MAX));
    }
    Ok(i64::try_from(touched).unwrap_or(i64::MAX))
}
