//! What `ps` shows of a process.

use std::ptr;

use super::{Errno, SysResult};

/// Longest title; `ps` cuts at the width of a terminal anyway.
const MAX_TITLE: usize = 128;

/// `PR_SET_NAME`: shows the first 15 bytes of `title` in `comm`; and, where the caller has
/// CAP_SYS_RESOURCE, `PR_SET_MM_ARG_START` and `_END` (Linux 3.5): shows all of it in
/// `/proc/PID/cmdline`. Costs 128 bytes of memory for good.
pub fn set(title: &str) -> SysResult<()> {
    let length = title.len().min(MAX_TITLE - 1);
    let place: &'static mut [u8; MAX_TITLE] = Box::leak(Box::new([0; MAX_TITLE]));
    for (to, from) in place.iter_mut().zip(title.as_bytes().iter().take(length)) {
        *to = *from;
    }
    let start = ptr::from_mut(place) as usize;
    // SAFETY: PR_SET_NAME reads at most 16 bytes of a string that ends in NUL: `place` is longer,
    // lives for ever and is zero from `length` on.
    let done = unsafe { libc::prctl(libc::PR_SET_NAME, start, 0, 0, 0) };
    if done < 0 {
        return Err(Errno::last());
    }
    match set_arguments(start, start + length + 1) {
        Ok(()) | Err(Errno::EPERM) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// The kernel wants start <= end after each call: which goes first depends on where the old pair lies.
fn set_arguments(start: usize, end: usize) -> SysResult<()> {
    match prctl_mm(libc::PR_SET_MM_ARG_START, start) {
        Err(Errno::EINVAL) => {
            prctl_mm(libc::PR_SET_MM_ARG_END, end)?;
            prctl_mm(libc::PR_SET_MM_ARG_START, start)
        }
        set => set.and_then(|()| prctl_mm(libc::PR_SET_MM_ARG_END, end)),
    }
}

fn prctl_mm(what: i32, address: usize) -> SysResult<()> {
    // SAFETY: PR_SET_MM stores a number in the process's descriptor; what is there is read only by
    // readers of /proc, and stays mapped.
    let done = unsafe { libc::prctl(libc::PR_SET_MM, what, address, 0, 0) };
    if done < 0 { Err(Errno::last()) } else { Ok(()) }
}
