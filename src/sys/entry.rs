//! The way into a program that is started for every call.
//!
//! The standard library's own way there takes longer than what such a program does until it waits: it looks for the
//! stack's end in `/proc/self/maps` and keeps a second stack, to say that a stack overflowed before that ends the
//! process all the same. What else it does before `main` is done here.

use super::{Errno, SysResult, signal};
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fs::{Mode, OFlags},
};
use std::os::fd::IntoRawFd as _;

/// Makes a `fn() -> u8` what this program does; what it returns is the exit status. For a program whose first line is
/// `#![no_main]`, once; there are no other threads. A panic aborts.
#[macro_export]
macro_rules! program {
    ($runs:path) => {
        /// C's `main`, which is given nothing: std finds the arguments itself.
        #[allow(unsafe_code, reason = "no other function of this program has this name: rustc makes none")]
        #[unsafe(no_mangle)]
        extern "C" fn main() -> std::ffi::c_int {
            $crate::sys::entry::run($runs)
        }
    };
}

/// Calls `runs` where the process is as Rust expects it to be. For [`program!`](crate::program) alone.
#[must_use]
pub fn run(runs: fn() -> u8) -> i32 {
    match prepare() {
        Ok(()) => i32::from(runs()),
        Err(_errno) => std::process::abort(),
    }
}

/// Opens what of standard input, output and error is closed: another file that is opened would get its number, and be
/// taken for it. Ignores `SIGPIPE`: a write to a pipe that nobody reads is an error.
fn prepare() -> SysResult<()> {
    let (stdin, stdout, stderr) = (rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr());
    let mut fds = [stdin, stdout, stderr].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::empty()));
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&at_once)))?;
    for (number, fd) in (0..).zip(&fds) {
        if fd.revents().contains(PollFlags::NVAL) {
            let null = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty())?;
            // The lowest that is free: those before it are open by now. It stays.
            if null.into_raw_fd() != number {
                return Err(Errno::EBADF);
            }
        }
    }
    signal::ignore(signal::SIGPIPE)
}
