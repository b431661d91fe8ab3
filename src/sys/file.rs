//! Files that root reads and writes.
//!
//! What steers root must belong to root and be writable by nobody else, and so must every directory
//! above it (OpenSSH's rule). The path is walked one component at a time, each opened beneath the
//! one before and judged by its descriptor, so nothing can be exchanged between check and use.
//! A sticky, root-owned directory (`/tmp`) may be passed through, because nobody can exchange what
//! root put there, but may not itself hold the file: others can link files into it.

mod homes;
mod trust;
mod walk;

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{Read as _, Write as _},
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    buffer::spare_capacity,
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fchmod, fstat, fsync, openat, renameat, statat, unlinkat},
};

use super::{Errno, SysResult, error::retry};
use trust::{owned_by_root, writable_by_root_only};
use walk::Walk;

pub use homes::read_beneath;
pub use trust::{Distrust, Links, Untrusted};

/// `O_NONBLOCK`, so that a FIFO is refused and not waited for.
const READ: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// A directory that only root can change, with everything above it.
#[derive(Debug)]
pub struct TrustedDir {
    fd: OwnedFd,
    private: bool,
}

impl TrustedDir {
    /// Opens `path`.
    pub fn open(path: &Path, links: Links) -> Result<Self, Untrusted> {
        let mut walk = Walk::start(path, links)?;
        while let Some(name) = walk.pending.pop() {
            walk.enter(&name)?;
        }
        walk.finish()
    }

    /// Whether nobody but root can get into it: it or a directory above denies search to group and others.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// Names in it, `.` and `..` left out, in no order.
    pub fn names(&self) -> SysResult<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::new(self.readable()?)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    /// For reading and syncing, which a descriptor opened with `O_PATH` cannot do.
    fn readable(&self) -> SysResult<OwnedFd> {
        Ok(openat(&self.fd, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// Whether `name` in it is a directory, and not a link to one.
    pub fn has_directory(&self, name: &OsStr) -> SysResult<bool> {
        let stat = statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    /// Replaces `buffer` by the file `name`: regular, root's, writable by nobody else, at most `cap`
    /// bytes. Four system calls.
    pub fn read(&self, name: &OsStr, cap: usize, buffer: &mut Vec<u8>) -> Result<(), Distrust> {
        let file = openat(&self.fd, name, READ, Mode::empty()).map_err(|errno| match errno {
            rustix::io::Errno::LOOP => Distrust::Link,
            errno => errno.into(),
        })?;
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Distrust::NotFile);
        }
        owned_by_root(&stat)?;
        writable_by_root_only(&stat)?;
        buffer.clear();
        let size = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
        if size > cap {
            return Err(Distrust::TooLarge(cap));
        }
        buffer.reserve(size + 1);
        // One byte of room is left over, so a short read is the end: the file cannot be changed
        // behind our back by anyone but root.
        while retry(|| Ok(rustix::io::read(&file, spare_capacity(buffer))?))? != 0 {
            if buffer.len() > cap {
                return Err(Distrust::TooLarge(cap));
            }
            if buffer.len() == size {
                break;
            }
            buffer.reserve(1);
        }
        Ok(())
    }
}

/// Reads the file `path` if it and all directories above belong to root and can be written by
/// nobody else. At most `cap` bytes.
pub fn read_trusted(path: &Path, links: Links, cap: usize) -> Result<Vec<u8>, Untrusted> {
    let (dir, name, real) = parent(path, links)?;
    let mut buffer = Vec::new();
    dir.read(&name, cap, &mut buffer).map_err(|why| Untrusted { path: real, why })?;
    Ok(buffer)
}

/// Reads a regular file that nobody but `owner` or root can write; at most `cap` bytes. For what steers nobody but
/// `owner`: who may exchange it by a directory above is theirs to decide.
pub fn read_own(path: &Path, owner: u32, cap: usize) -> Result<Vec<u8>, Untrusted> {
    let read = || {
        let file = open_any(path)?;
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Distrust::NotFile);
        }
        if stat.st_uid != owner {
            owned_by_root(&stat)?;
        }
        if stat.st_mode & 0o022 != 0 {
            return Err(Distrust::Loose(stat.st_mode & 0o7777));
        }
        at_most(cap, file)?.ok_or(Distrust::TooLarge(cap))
    };
    read().map_err(|why| Untrusted::new(path, why))
}

/// Whether `path` is a regular file that [`read_trusted`] would read, whatever its size: one that may be
/// executed by root's order.
pub fn trusted_file(path: &Path, links: Links) -> Result<(), Untrusted> {
    let (dir, name, real) = parent(path, links)?;
    let judge = || {
        let stat = statat(&dir.fd, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Distrust::NotFile);
        }
        owned_by_root(&stat)?;
        writable_by_root_only(&stat)
    };
    judge().map_err(|why| Untrusted { path: real, why })
}

/// Reads a file whose owner does not matter (`/proc`, `/etc/passwd`), at most `cap` bytes; more is `EFBIG`.
pub fn read_capped(path: &Path, cap: usize) -> SysResult<Vec<u8>> {
    at_most(cap, open_any(path)?)?.ok_or(Errno::EFBIG)
}

/// Whatever it is: nothing waits, and no terminal becomes ours.
fn open_any(path: &Path) -> SysResult<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(File::from(openat(CWD, path, flags, Mode::empty())?))
}

/// All of it; `None`: it is longer.
fn at_most(cap: usize, file: File) -> SysResult<Option<Vec<u8>>> {
    let mut buffer = Vec::new();
    let limit = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut buffer)?;
    Ok((buffer.len() <= cap).then_some(buffer))
}

/// Whether [`write_atomic`] waits until the disk has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// Yes: if the machine stops half-way, the file is whole or as it was before.
    Keeps,
    /// No: that holds if the process stops; if the machine does, the file may be empty. Two waits
    /// for a disk are 5 to 20 ms.
    MayLose,
}

/// Makes `path` hold `bytes` with the permission bits `mode`: whole, or as it was before. Its
/// directory must be trusted.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32, crash: Crash) -> Result<(), Untrusted> {
    let (dir, name, real) = parent(path, Links::Follow)?;
    let mut scratch = OsString::from(".");
    scratch.push(&name);
    scratch.push(format!(".{}", super::process::own_pid()));
    write_then_rename(&dir, &scratch, &name, bytes, mode, crash)
        // The write's own error is the one to report; a scratch file left over is replaced next time.
        .map_err(|errno| match unlinkat(&dir.fd, &scratch, AtFlags::empty()) {
            Ok(()) | Err(_) => errno,
        })
        .map_err(|errno| Untrusted { path: real, why: errno.into() })
}

fn write_then_rename(
    dir: &TrustedDir,
    scratch: &OsStr,
    name: &OsStr,
    bytes: &[u8],
    mode: u32,
    crash: Crash,
) -> SysResult<()> {
    match unlinkat(&dir.fd, scratch, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(&dir.fd, scratch, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(bytes)?;
    fchmod(&file, Mode::from_bits_truncate(mode))?;
    match crash {
        Crash::Keeps => file.sync_all()?,
        Crash::MayLose => {}
    }
    renameat(&dir.fd, scratch, &dir.fd, name)?;
    match crash {
        // A rename is on disk when its directory is (fsync(2)).
        Crash::Keeps => Ok(fsync(dir.readable()?)?),
        Crash::MayLose => Ok(()),
    }
}

/// The trusted directory of `path`, the name in it, and the path without links.
fn parent(path: &Path, links: Links) -> Result<(TrustedDir, OsString, PathBuf), Untrusted> {
    let mut walk = Walk::start(path, links)?;
    loop {
        let name = walk.pending.pop().ok_or_else(|| Untrusted::new(path, Distrust::NotFile))?;
        if !walk.pending.is_empty() {
            walk.enter(&name)?;
        } else if !walk.follow_link(&name)? {
            let real = walk.path.join(&name);
            return Ok((walk.finish()?, name, real));
        }
    }
}

#[cfg(test)]
mod tests;
