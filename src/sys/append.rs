//! Log files: written by appending alone, so that one write is one line whoever else writes.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use super::SysResult;

/// open(2) with `O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK`, mode 0600.
///
/// `O_NONBLOCK` keeps a FIFO at that path from holding the caller; it means nothing to a regular file.
pub fn open(path: &Path) -> SysResult<File> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
    Ok(OpenOptions::new().read(true).append(true).create(true).mode(0o600).custom_flags(flags).open(path)?)
}
