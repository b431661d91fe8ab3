//! File descriptors: flags, and what exec must not carry along.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use rustix::{
    fs::{Dir, Mode, OFlags},
    io::FdFlags,
};

use super::{Errno, SysResult, error::retry};

/// Lets `fd` survive exec (`FD_CLOEXEC` off).
pub fn keep_on_exec(fd: BorrowedFd<'_>) -> SysResult<()> {
    Ok(rustix::io::fcntl_setfd(fd, FdFlags::empty())?)
}

/// Makes reads and writes return `EAGAIN` instead of waiting.
pub fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> SysResult<()> {
    Ok(rustix::io::ioctl_fionbio(fd, on)?)
}

/// A second descriptor of the same open file, close-on-exec.
pub fn duplicate(fd: BorrowedFd<'_>) -> SysResult<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)
}

/// As [`duplicate`], at the lowest free number from `at_least` on.
pub fn duplicate_above(fd: BorrowedFd<'_>, at_least: RawFd) -> SysResult<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, at_least)?)
}

/// read(2) into what `buffer` has room for behind what it holds; the length of what came, 0 at the end.
///
/// `EAGAIN`: non-blocking, and nothing is there. The buffer must have spare capacity.
pub fn read_more(fd: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> SysResult<usize> {
    retry(|| Ok(rustix::io::read(fd, rustix::buffer::spare_capacity(buffer))?))
}

/// dup3(2): makes the descriptor number `at` refer to `fd`, surviving exec; what was there is closed.
///
/// For a process that is about to exec and lays out the numbers that the program expects.
pub fn place_at(fd: BorrowedFd<'_>, at: RawFd) -> SysResult<()> {
    if fd.as_raw_fd() == at {
        return keep_on_exec(fd);
    }
    // SAFETY: dup2 takes two numbers; `fd` is open for the length of the call.
    let done = unsafe { libc::dup2(fd.as_raw_fd(), at) };
    if done < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// Takes over a descriptor that the parent process put at a number agreed on.
///
/// Fails if nothing is open there. To be called once per number, before anything else is opened.
pub fn inherited(number: RawFd) -> SysResult<OwnedFd> {
    // SAFETY: fcntl(F_GETFD) on any number only reads the table.
    let open = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if open < 0 {
        return Err(Errno::last());
    }
    // SAFETY: the number is open (checked above), and the contract gives it one owner.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(fd.as_fd(), FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// close_range(2): closes every descriptor from `first` up.
///
/// For a process that has just been forked and owns none of them through Rust values it will use.
pub fn close_from(first: u32) -> SysResult<()> {
    // SAFETY: close_range takes three integers. The contract covers descriptors that Rust values own.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    if done < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// close_range(2) with `CLOSE_RANGE_CLOEXEC` (Linux 5.11): exec will close everything from `first` up.
pub fn close_on_exec_from(first: u32) -> SysResult<()> {
    // SAFETY: close_range takes three integers and, with this flag, closes nothing now.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// Whether the process has no descriptor from `first` up, as `/proc/self/fd` says.
pub fn none_from(first: RawFd) -> SysResult<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = Dir::new(rustix::fs::open(c"/proc/self/fd", flags, Mode::empty())?)?;
    // It lists itself, too.
    let own = directory.fd()?.as_raw_fd();
    for entry in directory {
        let number = entry?.file_name().to_str().ok().and_then(|name| name.parse::<RawFd>().ok());
        if number.is_some_and(|number| number >= first && number != own) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// pipe2(2): the end to read from and the end to write to, close-on-exec.
pub fn pipe() -> SysResult<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// fcntl(2) `F_SETPIPE_SZ`: makes a pipe hold `bytes`, if its maker may have so much
/// (`fs.pipe-user-pages-soft`, `fs.pipe-max-size`).
pub fn set_pipe_size(pipe: BorrowedFd<'_>, bytes: usize) -> SysResult<()> {
    Ok(rustix::pipe::fcntl_setpipe_size(pipe, bytes).map(|_size| ())?)
}

/// What moving bytes came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// So many.
    Bytes(usize),
    /// None: the stream has ended.
    End,
    /// None: one of the two is no descriptor that this can be done with.
    Unfit,
}

/// splice(2), waiting: moves bytes from or to a pipe without copying them through this process.
pub fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, most: usize) -> SysResult<Moved> {
    let flags = rustix::pipe::SpliceFlags::empty();
    match retry(|| Ok(rustix::pipe::splice(from, None, to, None, most, flags)?)) {
        Ok(0) => Ok(Moved::End),
        Ok(count) => Ok(Moved::Bytes(count)),
        Err(Errno::EINVAL) => Ok(Moved::Unfit),
        Err(errno) => Err(errno),
    }
}

/// fstat(2): whether it is a pipe or a socket.
pub fn is_stream(fd: BorrowedFd<'_>) -> SysResult<bool> {
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode);
    Ok(matches!(kind, rustix::fs::FileType::Fifo | rustix::fs::FileType::Socket))
}

/// fstat(2): whether it is `/dev/null` (null(4)).
pub fn is_null(fd: BorrowedFd<'_>) -> SysResult<bool> {
    let stat = rustix::fs::fstat(fd)?;
    let is_device = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::CharacterDevice;
    Ok(is_device && stat.st_rdev == rustix::fs::makedev(1, 3))
}

/// `FIONREAD`: bytes that can be read from a pipe now.
pub fn waiting(pipe: BorrowedFd<'_>) -> SysResult<u64> {
    Ok(rustix::io::ioctl_fionread(pipe)?)
}

/// read(2).
pub fn read(from: BorrowedFd<'_>, buffer: &mut [u8]) -> SysResult<usize> {
    retry(|| Ok(rustix::io::read(from, &mut *buffer)?))
}

/// write(2).
pub fn write(to: BorrowedFd<'_>, bytes: &[u8]) -> SysResult<usize> {
    retry(|| Ok(rustix::io::write(to, bytes)?))
}
