//! The way into a program that is started for every call.
//!
//! The standard library's own way there takes longer than what such a program does until it waits: it looks for the
//! stack's end in `/proc/self/maps` and keeps a second stack, to say that a stack overflowed before that ends the
//! process all the same. What else it does before `main` is done here.

use std::{
    io::{self, Write as _},
    os::fd::IntoRawFd as _,
};

use rustix::fs::{Mode, OFlags};

use super::{Errno, SysResult, signal};

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

/// The exit status where not even that could be prepared; as ssh(1) has it for its own faults.
const FAULT: i32 = 255;

/// Calls `runs` where the process is as Rust expects it to be. For [`program!`](crate::program) alone.
#[must_use]
pub fn run(runs: fn() -> u8) -> i32 {
    match prepare() {
        Ok(()) => i32::from(runs()),
        Err(errno) => {
            // If that cannot be said, the status has to do.
            drop(writeln!(io::stderr(), "opening /dev/null for a stream that is closed: {errno}"));
            FAULT
        }
    }
}

/// Opens what of standard input, output and error is closed: another file that is opened would get its number, and be
/// taken for it. Ignores `SIGPIPE`: a write to a pipe that nobody reads is an error.
fn prepare() -> SysResult<()> {
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    for (number, stream) in (0..).zip(streams) {
        if rustix::io::fcntl_getfd(stream) == Err(rustix::io::Errno::BADF) {
            let null = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty())?;
            // The lowest that is free: those before it are open by now. It stays.
            if null.into_raw_fd() != number {
                return Err(Errno::EBADF);
            }
        }
    }
    signal::ignore(signal::SIGPIPE)
}
