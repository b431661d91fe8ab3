//! What makes a file or directory one that root can rely on.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use rustix::fs::Stat;

use crate::sys::Errno;

/// What a symbolic link on the way means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Root's own links are followed.
    Follow,
    /// Any link is refused.
    Refuse,
}

/// Why a file or directory is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distrust {
    /// A call failed.
    Os(Errno),
    /// It belongs to this uid and not to root.
    Owner(u32),
    /// Group or others may write; the permission bits.
    Writable(u32),
    /// It belongs to this id, as owners stand on disk, which is neither the tenant's nor root's.
    Stranger(u32),
    /// Others than its owner may write; the permission bits.
    Loose(u32),
    /// Not a regular file.
    NotFile,
    /// Not a directory.
    NotDirectory,
    /// A symbolic link where none is wanted, or too many.
    Link,
    /// More bytes than this.
    TooLarge(usize),
    /// Not absolute, with `..`, or deeper than any real path.
    Form,
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Os(errno) => write!(f, "{errno}"),
            Self::Owner(uid) => write!(f, "it belongs to uid {uid}, not to root"),
            Self::Writable(mode) => write!(f, "others than root can write to it (mode {mode:04o})"),
            Self::Stranger(uid) => write!(f, "it belongs to uid {uid} of the tenant's tree, not to the tenant"),
            Self::Loose(mode) => write!(f, "others than its owner can write to it (mode {mode:04o})"),
            Self::NotFile => f.write_str("it is not a regular file"),
            Self::NotDirectory => f.write_str("it is not a directory"),
            Self::Link => f.write_str("it is a symbolic link"),
            Self::TooLarge(cap) => write!(f, "it has more than {cap} bytes"),
            Self::Form => f.write_str("the path is not absolute, or contains \"..\""),
        }
    }
}

impl From<Errno> for Distrust {
    fn from(errno: Errno) -> Self {
        Self::Os(errno)
    }
}

impl From<rustix::io::Errno> for Distrust {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Os(errno.into())
    }
}

/// A file or directory that root must not use, and which part of its path is to blame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untrusted {
    /// The file or one of the directories above it.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: Distrust,
}

impl Untrusted {
    pub(super) fn new(path: &Path, why: impl Into<Distrust>) -> Self {
        Self { path: path.to_owned(), why: why.into() }
    }

    /// Whether the file, or a directory above it, does not exist.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.why == Distrust::Os(Errno::ENOENT)
    }

    /// The command that mends it, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let path = self.path.display();
        match self.why {
            Distrust::Owner(_) => Some(format!("chown root {path}")),
            Distrust::Writable(_) => Some(format!("chmod go-w {path}")),
            Distrust::Link => Some(format!("name the file itself: readlink -f {path}")),
            Distrust::Os(_)
            | Distrust::Stranger(_)
            | Distrust::Loose(_)
            | Distrust::NotFile
            | Distrust::NotDirectory
            | Distrust::TooLarge(_)
            | Distrust::Form => None,
        }
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for Untrusted {}

/// Root owns it.
pub(super) fn owned_by_root(stat: &Stat) -> Result<(), Distrust> {
    if stat.st_uid == 0 { Ok(()) } else { Err(Distrust::Owner(stat.st_uid)) }
}

/// Neither group nor others can write to it.
pub(super) fn writable_by_root_only(stat: &Stat) -> Result<(), Distrust> {
    if stat.st_mode & 0o022 == 0 { Ok(()) } else { Err(Distrust::Writable(stat.st_mode & 0o7777)) }
}
