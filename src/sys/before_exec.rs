//! What a process of ours does between fork and exec, so that a program finds what is agreed on and
//! nothing else.

use std::{
    fs::File,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd},
    path::Path,
};

use super::{Errno, SysResult, credentials, fd, process, signal};

/// Above every number that is laid out.
const OUT_OF_THE_WAY: RawFd = 10;

/// A second descriptor of `program`, for the exec itself: [`lay_out`] covers no such number.
pub fn out_of_the_way(program: BorrowedFd<'_>) -> SysResult<OwnedFd> {
    fd::duplicate_above(program, OUT_OF_THE_WAY)
}

/// Puts `fds` at 0, 1, …, `/dev/null` where there is none; exec closes all others. At most ten.
///
/// Whatever number they had before: none covers another that is still to be placed. But who owns one of
/// the caller's descriptors below `N` must not drop it afterwards: another lies at that number then.
pub fn lay_out<const N: usize>(fds: [Option<BorrowedFd<'_>>; N]) -> SysResult<()> {
    let null = {
        // Gone before anything is placed: its own number may be one of those.
        let opened = File::options().read(true).write(true).open("/dev/null")?;
        out_of_the_way(opened.as_fd())?
    };
    let mut kept = Vec::with_capacity(N);
    for fd in fds {
        kept.push(fd.map(out_of_the_way).transpose()?);
    }
    const { assert!(N <= OUT_OF_THE_WAY as usize) }
    let first = u32::try_from(N).map_err(|_range| Errno::EINVAL)?;
    for (number, fd) in (0..).zip(&kept) {
        fd::place_at(fd.as_ref().unwrap_or(&null).as_fd(), number)?;
    }
    fd::close_on_exec_from(first)
}

/// For a program of the host's: a session, a keyring and a directory of its own, signals as they come,
/// and [`lay_out`].
pub fn start_afresh<const N: usize>(fds: [Option<BorrowedFd<'_>>; N]) -> SysResult<()> {
    // Whoever signals our group means us.
    process::new_session()?;
    signal::reset_all()?;
    process::reset_oom_score(Path::new("/proc/self/oom_score_adj"))?;
    lay_out(fds)?;
    process::enter_directory(Path::new("/"))?;
    credentials::new_session_keyring()
}
