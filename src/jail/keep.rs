//! Directories that outlive a cell, `STATE_DIR/tenants/NAME/{home,var}`, made the first time.
//!
//! Files lie there with the owners that the cell sees (0 is the cell's root), below a directory that
//! only root of the host enters: a setuid-root file in there is just that. After the first fill the
//! contents belong to the tenant, and nothing of ours looks inside again. Runs in monitors.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, lchown, symlink},
    path::{Path, PathBuf},
};

use crate::base::{Result, fail};

use super::plan::Fill;

/// The host's files for new homes.
const SKELETON: &str = "/etc/skel";

/// Deepest directory in the skeleton that is copied, and most files: an admin's mistake there
/// should not fill the disk at a login.
const MAX_DEPTH: u32 = 8;
const MAX_FILES: u32 = 10_000;

/// Directories of a new `/var`: name and mode (file-hierarchy(7)).
const VAR: [(&str, u32); 7] = [
    ("cache", 0o755),
    ("lib", 0o755),
    ("local", 0o755),
    ("log", 0o755),
    ("opt", 0o755),
    ("spool", 0o755),
    ("tmp", 0o1777),
];

/// Makes `path` for `uid` unless it is there. It appears whole: made aside, then renamed.
pub(super) fn keep(path: &Path, uid: u32, mode: u32, fill: Fill) -> Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        return Ok(());
    }
    make(path, uid, mode, fill).map_err(|error| fail("making", path.display(), error))
}

fn make(path: &Path, uid: u32, mode: u32, fill: Fill) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    let aside = PathBuf::from(format!("{}.new", path.display()));
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => fs::create_dir(&aside)?,
    }
    match fill {
        Fill::Empty => {}
        Fill::Skeleton => copy_tree(Path::new(SKELETON), &aside, uid, 0, &mut 0)?,
        Fill::Var => {
            for (name, mode) in VAR {
                make_directory(&aside.join(name), uid, mode)?;
            }
            symlink("/run", aside.join("run"))?;
            symlink("/run/lock", aside.join("lock"))?;
        }
    }
    set(&aside, uid, mode)?;
    fs::rename(aside, path)
}

/// Copies regular files, directories and links; whatever else an admin put there is left out.
fn copy_tree(from: &Path, to: &Path, uid: u32, depth: u32, files: &mut u32) -> io::Result<()> {
    let entries = match fs::read_dir(from) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        *files += 1;
        if *files > MAX_FILES || depth > MAX_DEPTH {
            return Err(io::Error::other("too much in /etc/skel"));
        }
        let (kind, source, target) = (entry.file_type()?, entry.path(), to.join(entry.file_name()));
        if kind.is_dir() {
            make_directory(&target, uid, 0o755)?;
            copy_tree(&source, &target, uid, depth + 1, files)?;
        } else if kind.is_file() {
            fs::copy(&source, &target)?;
            set(&target, uid, entry.metadata()?.permissions().mode() & 0o777)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
            lchown(&target, Some(uid), Some(uid))?;
        }
    }
    Ok(())
}

fn make_directory(path: &Path, uid: u32, mode: u32) -> io::Result<()> {
    fs::create_dir(path)?;
    set(path, uid, mode)
}

fn set(path: &Path, uid: u32, mode: u32) -> io::Result<()> {
    lchown(path, Some(uid), Some(uid))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
