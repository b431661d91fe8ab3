//! The host view: what every cell may show of the host, attached once, read-only, in the listener's
//! own mount namespace.
//!
//! A cell's user namespace gets a copy of that namespace, and the kernel locks the attributes of
//! the mounts in it (mount_namespaces(7)). Copies that the cell then takes keep the locks, so not
//! even CAP_SYS_ADMIN in the cell makes them writable again (docs/kernel.md, A).

use std::{
    fs,
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::fs::DirBuilderExt as _,
    },
    path::{Path, PathBuf},
};

use crate::base::{Failure, Result, fail};
use crate::sys::{
    Errno,
    mount::{self, Extent, Kind, attributes},
    namespace,
};

use super::facts::{Facts, Groups, Rights};

/// Where in the view the `/dev` of a cell lies, and that of a cell with `fuse`.
pub(super) const DEVICES: &str = "dev";
/// The same with `fuse`.
pub(super) const DEVICES_WITH_FUSE: &str = "dev-fuse";

/// Device files of a cell: name, major, minor (the kernel's admin-guide/devices).
const FILES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// What `fuse` adds.
const FUSE: (&str, u32, u32) = ("fuse", 10, 229);

/// Links in `/dev`.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("ptmx", "pts/ptmx"),
    ("stderr", "/proc/self/fd/2"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
];

/// Mount points in `/dev`.
const DEVICE_DIRECTORIES: [&str; 3] = ["mqueue", "pts", "shm"];

/// Where a child attaches, in its own namespace, what it mounts before there is a root.
pub(super) const STAGE: &str = "stage";

/// Mount points there.
const STAGE_DIRECTORIES: [&str; 3] = ["dev", "proc", "sys"];

const LOCKED: u64 = attributes::READ_ONLY | attributes::NO_SUID | attributes::NO_DEV;

/// Makes the view under `run_dir` and says where it is. Moves the calling process into a mount
/// namespace of its own, which its children inherit.
pub(super) fn build(run_dir: &Path, facts: &Facts) -> Result<PathBuf> {
    let view = run_dir.join("host");
    let failed = |errno: Errno| fail("making the host view", view.display(), errno);
    namespace::leave_mounts().map_err(failed)?;
    mount::stop_sending_mounts().map_err(failed)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&view).map_err(|e| failed(e.into()))?;
    let base = mount::create("tmpfs", &[("mode", "0755"), ("size", "64k")], LOCKED & !attributes::READ_ONLY)
        .map_err(failed)?;
    mount::attach_at(base.as_fd(), &view).map_err(failed)?;
    for name in facts.real.iter().copied().chain([DEVICES, DEVICES_WITH_FUSE, "empty", "etc", "sys", "cgroup"]) {
        fs::create_dir(view.join(name)).map_err(|e| failed(e.into()))?;
    }
    for name in STAGE_DIRECTORIES {
        fs::create_dir_all(view.join(STAGE).join(name)).map_err(|e| failed(e.into()))?;
    }
    if let Groups::V1(hierarchies) = &facts.groups {
        for (controller, _) in hierarchies {
            fs::create_dir(view.join("cgroup").join(controller)).map_err(|e| failed(e.into()))?;
        }
    }
    for name in facts.real.iter().copied().chain(["etc", "sys"]) {
        show(&Path::new("/").join(name), &view.join(name))?;
    }
    devices(&view.join(DEVICES), &FILES, facts.rights)?;
    if facts.rights == Rights::Root {
        let with_fuse: Vec<_> = FILES.into_iter().chain([FUSE]).collect();
        devices(&view.join(DEVICES_WITH_FUSE), &with_fuse, facts.rights)?;
    }
    mount::set_attributes(base.as_fd(), LOCKED | attributes::NO_EXEC, Extent::One).map_err(failed)?;
    Ok(view)
}

fn show(source: &Path, at: &Path) -> Result<()> {
    let failed = |errno: Errno| fail("showing", source.display(), errno);
    let tree = mount::clone_tree_at(source, Extent::All).map_err(failed)?;
    // What the host mounts there later would be neither read-only nor nodev in running cells.
    mount::make_private(tree.as_fd(), Extent::All).map_err(failed)?;
    mount::set_attributes(tree.as_fd(), LOCKED, Extent::All).map_err(failed)?;
    mount::attach_at(tree.as_fd(), at).map_err(failed)
}

/// Device files are made by the host's root alone; the host's own is attached.
fn lend_device(tree: BorrowedFd<'_>, name: &Path) -> Result<(), Errno> {
    mount::make_file(tree, name, 0o644)?;
    let at = mount::locate(tree, name, Kind::Any)?;
    let device = mount::clone_tree_at(&Path::new("/dev").join(name), Extent::One)?;
    mount::make_private(device.as_fd(), Extent::One)?;
    mount::set_attributes(device.as_fd(), attributes::NO_SUID | attributes::NO_EXEC, Extent::One)?;
    mount::attach(device.as_fd(), at.as_fd())
}

/// One `/dev` for all cells: nobody can write to the directory, and the files in it are those that
/// all share anyway. The one tree that is not nodev.
fn devices(at: &Path, files: &[(&str, u32, u32)], rights: Rights) -> Result<()> {
    let failed = |cause: Errno| -> Failure { fail("making", at.display(), cause) };
    let flags = attributes::NO_SUID | attributes::NO_EXEC;
    let tree = mount::create("tmpfs", &[("mode", "0755"), ("size", "64k")], flags).map_err(failed)?;
    let tree = tree.as_fd();
    mount::attach_at(tree, at).map_err(failed)?;
    for (name, major, minor) in files {
        match rights {
            Rights::Root => mount::make_character_device(tree, Path::new(name), 0o666, (*major, *minor)),
            Rights::Lender | Rights::User { .. } => lend_device(tree, Path::new(name)),
        }
        .map_err(failed)?;
    }
    for (name, target) in LINKS {
        mount::make_symlink(Path::new(target), tree, Path::new(name)).map_err(failed)?;
    }
    for name in DEVICE_DIRECTORIES {
        mount::make_directory(tree, Path::new(name), 0o755).map_err(failed)?;
    }
    mount::set_attributes(tree, flags | attributes::READ_ONLY, Extent::One).map_err(failed)
}
