//! Files in a tenant's own tree, which the tenant may change at any moment: opened step by step
//! beneath a directory that only root can reach, links refused, each step judged by its descriptor.

use std::path::Path;

use rustix::{
    buffer::spare_capacity,
    fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2},
};

use super::{Distrust, TrustedDir};
use crate::sys::error::retry;

/// Nothing in the path leads out of the directory, and nothing is followed (openat2(2), Linux 5.6).
const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// A FIFO, or a file that somebody has leased (fcntl(2)), must not make us wait.
const READ: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Reads the file that `home` of `dir` leads to by `below`: the directory `home`, each further one and the
/// file belong to `owner` or to id 0, as owners stand on disk, and nobody else can write to them
/// (sshd's StrictModes). At most `cap` bytes.
pub fn read_beneath(
    dir: &TrustedDir,
    home: &Path,
    below: &[&str],
    owner: u32,
    cap: usize,
) -> Result<Vec<u8>, Distrust> {
    let (file, parents) = below.split_last().ok_or(Distrust::Form)?;
    let enter = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut here = openat2(&dir.fd, home, enter, Mode::empty(), BENEATH)?;
    judge(&fstat(&here)?, owner)?;
    for name in parents {
        here = openat2(&here, *name, enter, Mode::empty(), BENEATH)?;
        judge(&fstat(&here)?, owner)?;
    }
    let file = openat2(&here, *file, READ, Mode::empty(), BENEATH)?;
    let stat = fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Distrust::NotFile);
    }
    judge(&stat, owner)?;
    let mut bytes = Vec::new();
    // Whatever size it says it has, it can have another a moment later.
    loop {
        bytes.reserve(4096);
        if retry(|| Ok(rustix::io::read(&file, spare_capacity(&mut bytes))?))? == 0 {
            return Ok(bytes);
        }
        if bytes.len() > cap {
            return Err(Distrust::TooLarge(cap));
        }
    }
}

fn judge(stat: &Stat, owner: u32) -> Result<(), Distrust> {
    if stat.st_uid != owner && stat.st_uid != 0 {
        return Err(Distrust::Stranger(stat.st_uid));
    }
    if stat.st_mode & 0o022 != 0 {
        return Err(Distrust::Loose(stat.st_mode & 0o7777));
    }
    Ok(())
}
