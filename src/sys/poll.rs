//! poll(2) over a handful of descriptors, with a deadline.

use std::{
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::{Errno, SysResult};

/// What to wait for.
#[derive(Debug, Clone, Copy)]
pub enum Watch<'a> {
    /// It can be read, has ended or failed.
    Readable(BorrowedFd<'a>),
    /// It can be written to, or nobody reads it any more.
    Writable(BorrowedFd<'a>),
    /// Its contents changed since they were read last: for files of the kernel that tell so, such as
    /// `memory.events` (`POLLPRI`).
    Changed(BorrowedFd<'a>),
    /// Nobody is at the other end any more, as far as that can be told (`POLLERR`, `POLLHUP`).
    Broken(BorrowedFd<'a>),
}

/// As [`wait_readable`], for any mixture.
pub fn wait(watched: &[Watch<'_>], deadline: Option<Instant>) -> SysResult<Vec<bool>> {
    fn poll<'a>(watch: &Watch<'a>) -> PollFd<'a> {
        match *watch {
            Watch::Readable(fd) => PollFd::from_borrowed_fd(fd, PollFlags::IN),
            Watch::Writable(fd) => PollFd::from_borrowed_fd(fd, PollFlags::OUT),
            Watch::Changed(fd) => PollFd::from_borrowed_fd(fd, PollFlags::PRI),
            Watch::Broken(fd) => PollFd::from_borrowed_fd(fd, PollFlags::empty()),
        }
    }
    wait_for(watched.iter().map(poll).collect(), deadline)
}

/// Waits until one of `fds` can be read, has ended or failed, or `deadline` is there: one bool per
/// descriptor. All false: the deadline passed, or a signal came.
pub fn wait_readable(fds: &[BorrowedFd<'_>], deadline: Option<Instant>) -> SysResult<Vec<bool>> {
    wait_for(fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect(), deadline)
}

fn wait_for(mut polled: Vec<PollFd<'_>>, deadline: Option<Instant>) -> SysResult<Vec<bool>> {
    let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
    let timeout = left.map(timespec);
    match rustix::event::poll(&mut polled, timeout.as_ref()) {
        Ok(_count) => Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect()),
        Err(rustix::io::Errno::INTR) => Ok(vec![false; polled.len()]),
        Err(errno) => Err(Errno::from(errno)),
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
