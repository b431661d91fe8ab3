//! Files by their paths, as the calling process sees them: what the standard library has no call for.

use std::{
    ffi::OsString,
    fs::File,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd},
        unix::ffi::OsStringExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::fs::{
    AtFlags, CWD, Mode, RenameFlags, StatVfs, StatVfsMountFlags, Timespec, Timestamps, openat, readlinkat,
    renameat_with, utimensat,
};

pub use rustix::fs::OFlags as OpenFlags;

use super::{SysResult, error::retry};

/// openat(2) with `flags`, close-on-exec, never as the controlling terminal and without waiting for
/// the other end of a FIFO. `mode` is for a file that is made, and cut by the umask.
pub fn open(path: &Path, flags: OpenFlags, mode: u32) -> SysResult<File> {
    let flags = flags | OpenFlags::CLOEXEC | OpenFlags::NOCTTY | OpenFlags::NONBLOCK;
    let fd = retry(|| Ok(openat(CWD, path, flags, Mode::from_raw_mode(mode & 0o7777))?))?;
    Ok(fd.into())
}

/// Opens what is at `path` itself, be it a link, for [`by_descriptor`] alone (`O_PATH`).
pub fn locate(path: &Path) -> SysResult<File> {
    Ok(openat(CWD, path, OpenFlags::PATH | OpenFlags::NOFOLLOW | OpenFlags::CLOEXEC, Mode::empty())?.into())
}

/// A path that leads to an open file for as long as it is open. Needs `/proc`.
#[must_use]
pub fn by_descriptor(file: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// The absolute path of what is at `path`, links followed, as the kernel knows it. Needs `/proc`.
pub fn resolve(path: &Path) -> SysResult<PathBuf> {
    resolve_with(path, OpenFlags::empty())
}

/// As [`resolve`], of a directory; `ENOTDIR` where something else is there.
pub fn resolve_directory(path: &Path) -> SysResult<PathBuf> {
    resolve_with(path, OpenFlags::DIRECTORY)
}

fn resolve_with(path: &Path, flags: OpenFlags) -> SysResult<PathBuf> {
    let place = openat(CWD, path, flags | OpenFlags::PATH | OpenFlags::CLOEXEC, Mode::empty())?;
    let name = readlinkat(CWD, by_descriptor(place.as_fd()), Vec::new())?;
    Ok(OsString::from_vec(name.into_bytes()).into())
}

/// renameat2(2) with `RENAME_NOREPLACE`: what is at `to` stays, and is `EEXIST`. `EINVAL` where the
/// file system cannot.
pub fn rename_to_new(from: &Path, to: &Path) -> SysResult<()> {
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

/// Which file is meant where a path ends in a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// What the link leads to.
    Followed,
    /// The link.
    Itself,
}

/// utimensat(2): the times of the last access and change, in seconds since 1970.
pub fn set_times(path: &Path, accessed: u32, changed: u32, last: Last) -> SysResult<()> {
    let flags = match last {
        Last::Followed => AtFlags::empty(),
        Last::Itself => AtFlags::SYMLINK_NOFOLLOW,
    };
    let time = |seconds: u32| Timespec { tv_sec: i64::from(seconds), tv_nsec: 0 };
    let times = Timestamps { last_access: time(accessed), last_modification: time(changed) };
    Ok(utimensat(CWD, path, &times, flags)?)
}

/// truncate(2).
pub fn truncate(path: &Path, length: u64) -> SysResult<()> {
    let length = i64::try_from(length).map_err(|_large| super::Errno::EFBIG)?;
    Ok(nix::unistd::truncate(path, length)?)
}

/// A file system's size and use, in the words of statvfs(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of statvfs(3), without their first letters")]
pub struct FileSystem {
    pub block_size: u64,
    pub fragment_size: u64,
    pub blocks: u64,
    pub blocks_free: u64,
    pub blocks_available: u64,
    pub files: u64,
    pub files_free: u64,
    pub files_available: u64,
    pub id: u64,
    pub read_only: bool,
    pub no_setuid: bool,
    pub name_max: u64,
}

impl FileSystem {
    /// How large it is, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.blocks.saturating_mul(self.fragment_size)
    }

    /// How much of that is in use, in bytes.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.blocks.saturating_sub(self.blocks_free).saturating_mul(self.fragment_size)
    }
}

/// statfs(2) of what holds `path`.
pub fn file_system(path: &Path) -> SysResult<FileSystem> {
    Ok(described(&rustix::fs::statvfs(path)?))
}

/// fstatfs(2) of what holds `file`.
pub fn file_system_of(file: BorrowedFd<'_>) -> SysResult<FileSystem> {
    Ok(described(&rustix::fs::fstatvfs(file)?))
}

fn described(stat: &StatVfs) -> FileSystem {
    FileSystem {
        block_size: stat.f_bsize,
        fragment_size: stat.f_frsize,
        blocks: stat.f_blocks,
        blocks_free: stat.f_bfree,
        blocks_available: stat.f_bavail,
        files: stat.f_files,
        files_free: stat.f_ffree,
        files_available: stat.f_favail,
        id: stat.f_fsid,
        read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
        no_setuid: stat.f_flag.contains(StatVfsMountFlags::NOSUID),
        name_max: stat.f_namemax,
    }
}

/// copy_file_range(2): at most `length` bytes, as many as it says. 0: `from` has no more.
pub fn copy(from: (BorrowedFd<'_>, u64), to: (BorrowedFd<'_>, u64), length: usize) -> SysResult<usize> {
    let (mut read_at, mut write_at) = (from.1, to.1);
    retry(|| Ok(rustix::fs::copy_file_range(from.0, Some(&mut read_at), to.0, Some(&mut write_at), length)?))
}
