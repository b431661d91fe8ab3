//! Where the child mounts what, and how it finds the place.
//!
//! No path here follows a link: what lies in the tenant's root is the tenant's.

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use crate::base::{Failure, Result};
use crate::sys::{
    Errno, fd,
    mount::{self, Extent, Kind, attributes},
};

use super::{
    super::plan::{Mask, Tree},
    Builder,
};

impl Builder<'_> {
    /// From where to follow `path`, and what is left of it.
    pub(super) fn base<'p>(&self, path: &'p Path) -> (BorrowedFd<'_>, &'p Path) {
        let found = self.mounted.iter().find_map(|(at, mounted)| Some((mounted.as_fd(), path.strip_prefix(at).ok()?)));
        found.unwrap_or((self.root.as_fd(), path))
    }

    fn locate(&self, path: &Path, kind: Kind) -> Result<OwnedFd, Errno> {
        match self.base(path) {
            (mounted, rest) if rest.as_os_str().is_empty() => fd::duplicate(mounted),
            (base, rest) => mount::locate(base, rest, kind),
        }
    }

    /// Keeps what was just attached, if paths may lead into it.
    fn keep(&mut self, at: &Path, tree: OwnedFd) {
        if at.components().count() == 1 {
            self.mounted.push((at.to_owned(), tree));
        }
    }

    pub(super) fn tree(&mut self, tree: Tree) -> Result<OwnedFd, Errno> {
        self.trees.remove(&tree).ok_or(Errno::EBADF)
    }

    pub(super) fn root_from_tree(&mut self, tree: Tree) -> Result<(), Errno> {
        let tree = self.tree(tree)?;
        mount::attach_at(tree.as_fd(), Path::new("/"))?;
        self.root = tree;
        Ok(())
    }

    pub(super) fn root_from_nothing(&mut self, size: u64) -> Result<(), Errno> {
        let options = [("size", &*size.to_string()), ("mode", "0755")];
        let tree = mount::create("tmpfs", &options, attributes::NO_SUID | attributes::NO_DEV)?;
        mount::attach_at(tree.as_fd(), Path::new("/"))?;
        self.root = tree;
        Ok(())
    }

    /// Moves what lies on the stage. Looks below the root itself: the place has the same name.
    pub(super) fn settle(&self, at: &Path) -> Result<()> {
        let root = self.root.as_fd();
        let found = match mount::locate(root, at, Kind::Directory) {
            Err(Errno::ENOENT) => {
                mount::make_directory(root, at, 0o755).and_then(|()| mount::locate(root, at, Kind::Directory))
            }
            found => found,
        };
        let point = found.map_err(|errno| self.no_mount_point(at, errno))?;
        match self.base(at) {
            (staged, rest) if rest.as_os_str().is_empty() => mount::attach(staged, point.as_fd()),
            _nothing => Err(Errno::ENOENT),
        }
        .map_err(|errno| self.fail(format_args!("mounting /{}: {errno}", at.display())))
    }

    /// Does something to the last component of `path`, with its parent, which is made if missing.
    pub(super) fn parent_of<T>(
        &self,
        path: &Path,
        act: impl FnOnce(BorrowedFd<'_>, &Path) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let name = path.file_name().map(Path::new).ok_or(Errno::EINVAL)?;
        match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            None => act(self.root.as_fd(), name),
            Some(parent) => {
                let parent = self.directory(parent)?;
                act(parent.as_fd(), name)
            }
        }
    }

    /// The directory at `path`, made if it is missing.
    fn directory(&self, path: &Path) -> Result<OwnedFd, Errno> {
        match self.locate(path, Kind::Directory) {
            Err(Errno::ENOENT) => {
                self.make_directory(path, 0o755)?;
                self.locate(path, Kind::Directory)
            }
            found => found,
        }
    }

    pub(super) fn make_directory(&self, path: &Path, mode: u32) -> Result<(), Errno> {
        self.parent_of(path, |parent, name| mount::make_directory(parent, name, mode))
    }

    /// The place to mount at, made if it is missing.
    fn mount_point(&self, at: &Path, file: bool) -> Result<OwnedFd> {
        let found = if file {
            match self.locate(at, Kind::Any) {
                Err(Errno::ENOENT) => self
                    .parent_of(at, |parent, name| mount::make_file(parent, name, 0o644))
                    .and_then(|()| self.locate(at, Kind::Any)),
                found => found,
            }
        } else {
            self.directory(at)
        };
        found.map_err(|errno| self.no_mount_point(at, errno))
    }

    fn no_mount_point(&self, at: &Path, errno: Errno) -> Failure {
        let failure = self.fail(format_args!("mount point /{}: {}", at.display(), reason(errno)));
        match errno {
            Errno::ELOOP | Errno::ENOTDIR => {
                failure.hint(format_args!("make /{} a plain directory in the tenant's root", at.display()))
            }
            Errno::EROFS | Errno::EACCES => {
                failure.hint(format_args!("make the directory /{} in the tenant's root", at.display()))
            }
            _other => failure,
        }
    }

    pub(super) fn attach(&mut self, tree: Tree, at: &Path, file: bool, read_only: bool) -> Result<()> {
        let point = self.mount_point(at, file)?;
        let attached = self.tree(tree).and_then(|tree| {
            if read_only {
                let locked = attributes::READ_ONLY | attributes::NO_SUID | attributes::NO_DEV | attributes::NO_EXEC;
                mount::set_attributes(tree.as_fd(), locked, Extent::All)?;
            }
            mount::attach(tree.as_fd(), point.as_fd())?;
            self.keep(at, tree);
            Ok(())
        });
        attached.map_err(|errno: Errno| self.fail(format_args!("mounting /{}: {errno}", at.display())))
    }

    pub(super) fn mount(
        &mut self,
        kind: &str,
        at: &Path,
        options: &[(String, String)],
        exec: bool,
        read_only: bool,
    ) -> Result<()> {
        let point = self.mount_point(at, false)?;
        let options: Vec<(&str, &str)> = options.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let mut wanted = attributes::NO_SUID | attributes::NO_DEV;
        if !exec {
            wanted |= attributes::NO_EXEC;
        }
        if read_only {
            wanted |= attributes::READ_ONLY;
        }
        // devpts holds device files, which is what it is for.
        if kind == "devpts" {
            wanted &= !attributes::NO_DEV;
        }
        let tree = mount::create(kind, &options, wanted)
            .and_then(|tree| mount::attach(tree.as_fd(), point.as_fd()).map(|()| tree))
            .map_err(|errno| self.fail(format_args!("mounting {kind} at /{}: {errno}", at.display())))?;
        self.keep(at, tree);
        Ok(())
    }

    pub(super) fn make_read_only(&self, path: &Path) -> Result<(), Errno> {
        let point = match self.locate(path, Kind::Any) {
            // A kernel built without it has nothing to protect.
            Err(Errno::ENOENT) => return Ok(()),
            found => found?,
        };
        let tree = mount::clone_tree(point.as_fd(), Path::new(""), Extent::One)?;
        let wanted = attributes::READ_ONLY | attributes::NO_SUID | attributes::NO_DEV | attributes::NO_EXEC;
        mount::set_attributes(tree.as_fd(), wanted, Extent::One)?;
        mount::attach(tree.as_fd(), point.as_fd())
    }

    pub(super) fn cover(&mut self, path: &Path, with: Mask, empty: Tree) -> Result<(), Errno> {
        let point = match self.locate(path, Kind::Any) {
            Err(Errno::ENOENT) => return Ok(()),
            found => found?,
        };
        let cover = match (with, self.empty_at.as_deref()) {
            (Mask::File, _) => {
                let null = self.locate(Path::new("dev/null"), Kind::Any)?;
                mount::clone_tree(null.as_fd(), Path::new(""), Extent::One)?
            }
            (Mask::Directory, Some(first)) => {
                let empty = self.locate(first, Kind::Directory)?;
                mount::clone_tree(empty.as_fd(), Path::new(""), Extent::One)?
            }
            (Mask::Directory, None) => {
                self.empty_at = Some(path.to_owned());
                self.tree(empty)?
            }
        };
        mount::attach(cover.as_fd(), point.as_fd())
    }
}

fn reason(errno: Errno) -> String {
    match errno {
        Errno::ELOOP => "it is a symbolic link, or lies behind one".into(),
        Errno::ENOTDIR => "it is not a directory".into(),
        other => other.to_string(),
    }
}
