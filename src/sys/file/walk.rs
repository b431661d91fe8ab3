//! Walking a path one component at a time, each opened beneath the one before and judged by its
//! descriptor. Follows links itself, so that what they lead through is judged too.

use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStringExt as _,
    },
    path::{Component, Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, openat, readlinkat, statat};

use super::TrustedDir;
use super::trust::{Distrust, Links, Untrusted, owned_by_root, writable_by_root_only};

/// Directories above one file. Far more than real paths have; each holds a descriptor for a moment.
const MAX_DEPTH: usize = 64;

/// Symbolic links in one path: the kernel's own bound (path_resolution(7)).
const MAX_LINKS: usize = 40;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// How far a path has been walked.
pub(super) struct Walk {
    links: Links,
    followed: usize,
    /// `/` and every directory below it that was entered, with its permission bits.
    chain: Vec<(OwnedFd, u32)>,
    /// Where that is.
    pub(super) path: PathBuf,
    /// Components still to come, the next one last.
    pub(super) pending: Vec<OsString>,
}

impl Walk {
    pub(super) fn start(path: &Path, links: Links) -> Result<Self, Untrusted> {
        let mut walk = Self { links, followed: 0, chain: Vec::new(), path: PathBuf::new(), pending: Vec::new() };
        let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
        if !path.is_absolute() || !path.components().all(plain) {
            return Err(Untrusted::new(path, Distrust::Form));
        }
        walk.back_to_root()?;
        walk.queue(path);
        Ok(walk)
    }

    fn back_to_root(&mut self) -> Result<(), Untrusted> {
        self.chain.clear();
        self.path = PathBuf::from("/");
        let root = openat(CWD, c"/", DIRECTORY, Mode::empty()).map_err(|errno| Untrusted::new(&self.path, errno))?;
        self.push(root)
    }

    fn queue(&mut self, path: &Path) {
        for part in path.components().rev() {
            match part {
                Component::Normal(name) => self.pending.push(name.to_owned()),
                Component::ParentDir => self.pending.push(OsString::from("..")),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
    }

    fn push(&mut self, dir: OwnedFd) -> Result<(), Untrusted> {
        let blame = |why: Distrust| Untrusted::new(&self.path, why);
        let stat = fstat(&dir).map_err(|errno| blame(errno.into()))?;
        owned_by_root(&stat).map_err(blame)?;
        if stat.st_mode & Mode::SVTX.as_raw_mode() == 0 {
            writable_by_root_only(&stat).map_err(blame)?;
        }
        if self.chain.len() >= MAX_DEPTH {
            return Err(blame(Distrust::Form));
        }
        self.chain.push((dir, stat.st_mode));
        Ok(())
    }

    pub(super) fn enter(&mut self, name: &OsStr) -> Result<(), Untrusted> {
        if name == ".." {
            // Above `/` is `/`, as for the kernel.
            if self.chain.len() > 1 {
                self.chain.pop();
                self.path.pop();
            }
            return Ok(());
        }
        let Some((here, _mode)) = self.chain.last() else { return self.back_to_root() };
        match openat(here.as_fd(), name, DIRECTORY, Mode::empty()) {
            Ok(dir) => {
                self.path.push(name);
                self.push(dir)
            }
            Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
                if self.follow_link(name)? {
                    Ok(())
                } else {
                    Err(Untrusted::new(&self.path.join(name), Distrust::NotDirectory))
                }
            }
            Err(errno) => Err(Untrusted::new(&self.path.join(name), errno)),
        }
    }

    /// If `name` is a symbolic link, puts its target in its place.
    pub(super) fn follow_link(&mut self, name: &OsStr) -> Result<bool, Untrusted> {
        let Some((here, _mode)) = self.chain.last() else { return Ok(false) };
        let Ok(target) = readlinkat(here, name, Vec::new()) else { return Ok(false) };
        let blame = |why: Distrust| Untrusted::new(&self.path.join(name), why);
        if self.links == Links::Refuse || self.followed >= MAX_LINKS {
            return Err(blame(Distrust::Link));
        }
        // In a sticky directory anyone can make links; nobody can exchange root's.
        let stat = statat(here, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| blame(errno.into()))?;
        owned_by_root(&stat).map_err(blame)?;
        self.followed += 1;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        if target.is_absolute() {
            self.back_to_root()?;
        }
        self.queue(&target);
        Ok(true)
    }

    pub(super) fn finish(mut self) -> Result<TrustedDir, Untrusted> {
        let private = self.chain.iter().any(|(_dir, mode)| mode & 0o011 == 0);
        let (fd, mode) = self.chain.pop().ok_or_else(|| Untrusted::new(&self.path, Distrust::NotDirectory))?;
        if mode & 0o022 != 0 {
            return Err(Untrusted::new(&self.path, Distrust::Writable(mode & 0o7777)));
        }
        Ok(TrustedDir { fd, private })
    }
}
