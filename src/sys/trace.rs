//! Pipes and terminals that others hold: looked at, and cut, without being held open meanwhile.
//!
//! A trace is an `O_PATH` descriptor (open(2)): it keeps the name of the thing alive, and counts neither
//! as its reader nor as its writer.

use std::{
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    time::Instant,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    pty::OpenptFlags,
};

use super::{
    Errno, SysResult,
    poll::{self, Watch},
};

/// A trace of what is open here.
pub fn of(fd: BorrowedFd<'_>) -> SysResult<OwnedFd> {
    open(fd, OFlags::PATH)
}

/// A trace of the slave of this terminal (`TIOCGPTPEER`, Linux 4.13).
pub fn of_terminal(master: BorrowedFd<'_>) -> SysResult<OwnedFd> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    of(rustix::pty::ioctl_tiocgptpeer(master, flags)?.as_fd())
}

/// Whether anybody can write to a pipe (pipe(7)).
pub fn has_writers(pipe: BorrowedFd<'_>) -> SysResult<bool> {
    has_others(pipe, OFlags::RDONLY)
}

/// Whether anybody can read from it.
pub fn has_readers(pipe: BorrowedFd<'_>) -> SysResult<bool> {
    has_others(pipe, OFlags::WRONLY)
}

/// Opened for a moment at one end, a pipe tells whether the other is there.
fn has_others(pipe: BorrowedFd<'_>, end: OFlags) -> SysResult<bool> {
    let end = open(pipe, end | OFlags::NONBLOCK)?;
    let broken = poll::wait(&[Watch::Broken(end.as_fd())], Some(Instant::now()))?;
    Ok(!broken.contains(&true))
}

/// Leaves a pipe to those who have it open: an `O_PATH` descriptor of it, which nobody sees, can be
/// opened again by its owner, and that is root from here on.
pub fn seal(pipe: BorrowedFd<'_>) -> SysResult<()> {
    give_to_root(pipe)
}

/// Takes a terminal from all who have it open, but for its master: they are hung up on (`TIOCVHANGUP`,
/// which asks for CAP_SYS_ADMIN of the host), and none but host root opens it again.
pub fn cut(terminal: BorrowedFd<'_>) -> SysResult<()> {
    give_to_root(terminal)?;
    let slave = match open(terminal, OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK) {
        Ok(slave) => slave,
        // Neither master nor slave is open any more.
        Err(Errno::EIO | Errno::ENXIO) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    // SAFETY: TIOCVHANGUP takes no argument; `slave` is open for the length of the call.
    let done = unsafe { libc::ioctl(slave.as_raw_fd(), libc::TIOCVHANGUP) };
    if done < 0 { Err(Errno::last()) } else { Ok(()) }
}

fn give_to_root(fd: BorrowedFd<'_>) -> SysResult<()> {
    let root = (rustix::process::Uid::ROOT, rustix::process::Gid::ROOT);
    rustix::fs::chownat(fd, "", Some(root.0), Some(root.1), AtFlags::EMPTY_PATH)?;
    // From here on its owner cannot undo that.
    Ok(rustix::fs::chmod(path(fd), Mode::from_raw_mode(0o600))?)
}

fn open(fd: BorrowedFd<'_>, flags: OFlags) -> SysResult<OwnedFd> {
    Ok(rustix::fs::open(path(fd), flags | OFlags::CLOEXEC, Mode::empty())?)
}

/// The link in proc(5), which leads to the thing itself.
fn path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::CommandExt as _,
        process::{Command, Stdio},
    };

    use super::*;
    use crate::sys::{fd, pty};

    #[test]
    fn a_traced_pipe_says_who_is_there_and_ends_as_if_nobody_looked() {
        let (read, write) = fd::pipe().unwrap();
        let trace = of(read.as_fd()).unwrap();
        let there = || (has_readers(trace.as_fd()).unwrap(), has_writers(trace.as_fd()).unwrap());
        assert_eq!(there(), (true, true));
        drop(read);
        assert_eq!(there(), (false, true));
        assert_eq!(fd::write(write.as_fd(), b"x"), Err(Errno::EPIPE));
        drop(write);
        assert_eq!(there(), (false, false));
    }

    #[test]
    fn who_kept_but_the_name_of_a_sealed_pipe_does_not_open_it_again() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (read, _write) = fd::pipe().unwrap();
        let nobody = (rustix::process::Uid::from_raw(65_534), rustix::process::Gid::from_raw(65_534));
        rustix::fs::fchown(&read, Some(nobody.0), Some(nobody.1)).unwrap();
        let kept = of(read.as_fd()).unwrap();
        let reopens = || {
            let mut shell = Command::new("sh");
            shell.args(["-c", ": </proc/self/fd/0"]).uid(65_534).gid(65_534);
            shell.stdin(kept.try_clone().unwrap()).stderr(Stdio::null()).status().unwrap().success()
        };
        assert!(reopens());
        seal(kept.as_fd()).unwrap();
        assert!(!reopens());
    }

    #[test]
    fn a_terminal_that_is_cut_takes_no_word_from_those_who_had_it_open() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (master, slave) = pty::open().unwrap();
        let trace = of_terminal(master.as_fd()).unwrap();
        assert_eq!(fd::write(slave.as_fd(), b"x"), Ok(1));
        cut(trace.as_fd()).unwrap();
        assert_eq!(fd::write(slave.as_fd(), b"y"), Err(Errno::EIO));
        drop((master, slave));
        cut(trace.as_fd()).unwrap();
    }
}
