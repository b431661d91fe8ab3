//! What this process asks of the kernel through libc.

use std::{
    ffi::c_int,
    os::fd::{FromRawFd as _, OwnedFd},
    ptr,
};

/// Lets pass what would end this process by the way: the link's end does it. Not ignored, which the programs
/// of modules would inherit.
pub(crate) fn let_signals_pass() {
    extern "C" fn nothing(_signal: c_int) {}
    let handler: extern "C" fn(c_int) = nothing;
    for number in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGPIPE] {
        // SAFETY: a handler that does nothing may run at any time; glibc's signal(3) restarts calls.
        unsafe { libc::signal(number, handler as libc::sighandler_t) };
    }
}

/// The end of this process, whatever a module does meanwhile: unlike alarm(2), nobody else's alarm takes it
/// away, and the signal cannot be caught.
#[derive(Debug)]
pub(crate) struct Limit(libc::timer_t);

impl Limit {
    /// After so many seconds this process is killed.
    pub(crate) fn start(seconds: u32) -> Option<Self> {
        // SAFETY: sigevent is plain numbers and an unused pointer, for which zero is a value.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = libc::SIGKILL;
        let mut timer: libc::timer_t = ptr::null_mut();
        // SAFETY: both pointers are to live values of the types that timer_create takes and writes.
        let made = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
        let limit = Self(timer);
        (made == 0 && limit.set(seconds)).then_some(limit)
    }

    /// Begins anew, with so many seconds; 0: none any more. False: it stays as it was.
    pub(crate) fn set(&self, seconds: u32) -> bool {
        let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let value = libc::timespec { tv_sec: libc::time_t::from(seconds), ..zero };
        let spec = libc::itimerspec { it_interval: zero, it_value: value };
        // SAFETY: the timer was made by timer_create, and `spec` lives for the call.
        let done = unsafe { libc::timer_settime(self.0, 0, &raw const spec, ptr::null_mut()) };
        done == 0
    }
}

/// Takes over a descriptor that was open at exec; close-on-exec from here on, for the programs of modules.
pub(crate) fn take_descriptor(number: i32) -> Option<OwnedFd> {
    // SAFETY: fcntl takes numbers; on one that is not open it does nothing.
    let kept = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    if kept < 0 {
        return None;
    }
    // SAFETY: it is open, and this is called once, at the start, for the one that the monitor lays out.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}
