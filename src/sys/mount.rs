//! Mounts by descriptor (`open_tree`, `move_mount`, `fsopen`, `mount_setattr`: Linux 5.2 to 5.12)
//! and paths that cannot leave a tree (openat2(2), Linux 5.6).

use std::{
    ffi::CString,
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags},
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags},
};

use super::{Errno, SysResult};

/// Attributes of a mount, or-ed: `MOUNT_ATTR_*` (mount_setattr(2)).
pub mod attributes {
    /// `MOUNT_ATTR_RDONLY`.
    pub const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;
    /// `MOUNT_ATTR_NOSUID`.
    pub const NO_SUID: u64 = libc::MOUNT_ATTR_NOSUID;
    /// `MOUNT_ATTR_NODEV`.
    pub const NO_DEV: u64 = libc::MOUNT_ATTR_NODEV;
    /// `MOUNT_ATTR_NOEXEC`.
    pub const NO_EXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
}

/// How much of a tree is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// One mount.
    One,
    /// With the mounts below it (`AT_RECURSIVE`).
    All,
}

/// What a path inside a tree must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// Anything but a symbolic link.
    Any,
}

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// A detached copy (`OPEN_TREE_CLONE`) of what is mounted at `path`, which starts at `dir` or is
/// absolute; a symbolic link at the end is not followed. An empty `path` is `dir` itself.
pub fn clone_tree(dir: BorrowedFd<'_>, path: &Path, extent: Extent) -> SysResult<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW
        | OpenTreeFlags::AT_NO_AUTOMOUNT;
    if path.as_os_str().is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    if extent == Extent::All {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(rustix::mount::open_tree(dir, path, flags)?)
}

/// As [`clone_tree`], of an absolute path of the calling process.
pub fn clone_tree_at(path: &Path, extent: Extent) -> SysResult<OwnedFd> {
    clone_tree(CWD, path, extent)
}

/// move_mount(2) of the detached or attached `tree` onto the file that `at` refers to.
pub fn attach(tree: BorrowedFd<'_>, at: BorrowedFd<'_>) -> SysResult<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(tree, "", at, "", flags)?)
}

/// move_mount(2) of `tree` onto an absolute path of the calling process.
pub fn attach_at(tree: BorrowedFd<'_>, at: &Path) -> SysResult<()> {
    Ok(rustix::mount::move_mount(tree, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// mount_setattr(2), Linux 5.12: sets `attributes` on the tree that `tree` refers to.
pub fn set_attributes(tree: BorrowedFd<'_>, attributes: u64, extent: Extent) -> SysResult<()> {
    set_attr(tree, libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 }, extent)
}

/// mount_setattr(2) with `MS_PRIVATE`: nothing that is mounted elsewhere later appears in the tree.
pub fn make_private(tree: BorrowedFd<'_>, extent: Extent) -> SysResult<()> {
    set_attr(tree, libc::mount_attr { attr_set: 0, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 }, extent)
}

/// mount_setattr(2) with `MOUNT_ATTR_IDMAP`, Linux 5.12: owners of the one mount `tree` are mapped
/// as `user_namespace` maps them. Both maps must have been written (`EINVAL` before).
pub fn shift_owners(tree: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> SysResult<()> {
    let userns_fd = u64::try_from(user_namespace.as_raw_fd()).map_err(|_negative| Errno::EBADF)?;
    let attr = libc::mount_attr { attr_set: libc::MOUNT_ATTR_IDMAP, attr_clr: 0, propagation: 0, userns_fd };
    set_attr(tree, attr, Extent::One)
}

fn set_attr(tree: BorrowedFd<'_>, attr: libc::mount_attr, extent: Extent) -> SysResult<()> {
    let recursive = if extent == Extent::All { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is the empty C string that AT_EMPTY_PATH wants; `attr` has the size passed
    // and outlives the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if done < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// A new file system of type `kind` (fsopen(2), fsconfig(2), fsmount(2); Linux 5.2), detached, with
/// `options` and mount `attributes`.
pub fn create(kind: &str, options: &[(&str, &str)], attributes: u64) -> SysResult<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        if value.is_empty() {
            rustix::mount::fsconfig_set_flag(context.as_fd(), *key)?;
        } else {
            rustix::mount::fsconfig_set_string(context.as_fd(), *key, *value)?;
        }
    }
    rustix::mount::fsconfig_create(context.as_fd())?;
    let attributes = u32::try_from(attributes).map_err(|_range| Errno::EINVAL)?;
    let attributes = MountAttrFlags::from_bits_retain(attributes);
    Ok(rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// pivot_root(2) with the mount at `root` (attached, on top of the present root) as new root; the
/// old one and all below it are detached.
pub fn pivot(root: BorrowedFd<'_>) -> SysResult<()> {
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(".", ".")?;
    Ok(rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH)?)
}

/// umount2(2) with `MNT_DETACH` and `UMOUNT_NOFOLLOW`.
pub fn detach(path: &Path) -> SysResult<()> {
    let flags = rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::NOFOLLOW;
    Ok(rustix::mount::unmount(path, flags)?)
}

/// Makes every mount of the calling process's namespace receive, but not send, what is mounted
/// elsewhere (`MS_SLAVE | MS_REC`).
pub fn stop_sending_mounts() -> SysResult<()> {
    Ok(rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?)
}

/// A handle (`O_PATH`) on `path` beneath `dir`: no symbolic link on the way or at its end
/// (`ELOOP`), no `..` out of it (`EXDEV`).
pub fn locate(dir: BorrowedFd<'_>, path: &Path, kind: Kind) -> SysResult<OwnedFd> {
    let directory = if kind == Kind::Directory { OFlags::DIRECTORY } else { OFlags::empty() };
    open_beneath(dir, path, OFlags::PATH | OFlags::NOFOLLOW | directory, Mode::empty())
}

/// Opens `path` beneath `dir` for reading, under [`locate`]'s rules. Never waits for a fifo, never
/// takes a terminal.
pub fn open_to_read(dir: BorrowedFd<'_>, path: &Path) -> SysResult<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::NONBLOCK;
    open_beneath(dir, path, flags, Mode::empty()).map(File::from)
}

/// Opens the existing `path` beneath `dir` for writing, under [`locate`]'s rules.
pub fn open_to_write(dir: BorrowedFd<'_>, path: &Path) -> SysResult<File> {
    open_beneath(dir, path, OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NOCTTY, Mode::empty()).map(File::from)
}

/// Makes the file `path` beneath `dir`, which must not exist, and writes `contents`.
pub fn write_new(dir: BorrowedFd<'_>, path: &Path, contents: &[u8], mode: u32) -> SysResult<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let mut file = File::from(open_beneath(dir, path, flags, Mode::from_bits_retain(mode))?);
    Ok(file.write_all(contents)?)
}

fn open_beneath(dir: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> SysResult<OwnedFd> {
    // EAGAIN: a rename somewhere raced with the walk (openat2(2)); it is safe to walk again.
    for _attempt in 0..64 {
        match rustix::fs::openat2(dir, path, flags | OFlags::CLOEXEC, mode, BENEATH) {
            Err(rustix::io::Errno::AGAIN) => {}
            done => return Ok(done?),
        }
    }
    Err(Errno::EAGAIN)
}

/// mkdirat(2) of one component below the directory `parent`; the umask applies.
pub fn make_directory(parent: BorrowedFd<'_>, name: &Path, mode: u32) -> SysResult<()> {
    Ok(rustix::fs::mkdirat(parent, name, Mode::from_bits_retain(mode))?)
}

/// symlinkat(2).
pub fn make_symlink(target: &Path, parent: BorrowedFd<'_>, name: &Path) -> SysResult<()> {
    Ok(rustix::fs::symlinkat(target, parent, name)?)
}

/// An empty regular file (mknodat(2)), for a mount to cover.
pub fn make_file(parent: BorrowedFd<'_>, name: &Path, mode: u32) -> SysResult<()> {
    Ok(rustix::fs::mknodat(parent, name, FileType::RegularFile, Mode::from_bits_retain(mode), 0)?)
}

/// Whether `path` (not followed at its end) is a symbolic link, and where it leads.
pub fn link_target(path: &Path) -> SysResult<Option<CString>> {
    match rustix::fs::readlink(path, Vec::new()) {
        Ok(target) => Ok(Some(target)),
        Err(rustix::io::Errno::INVAL) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads `file` to its end, at most `limit` bytes (`EFBIG` beyond).
pub fn read_capped(file: &mut File, limit: u64) -> SysResult<Vec<u8>> {
    // With room to begin with, most files are one read and one that finds the end.
    let mut bytes = Vec::with_capacity(1024);
    io::Read::by_ref(file).take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit { Err(Errno::EFBIG) } else { Ok(bytes) }
}

/// mknodat(2) of a character device with exactly this mode, whatever the umask.
pub fn make_character_device(parent: BorrowedFd<'_>, name: &Path, mode: u32, number: (u32, u32)) -> SysResult<()> {
    let device = rustix::fs::makedev(number.0, number.1);
    let mode = Mode::from_bits_retain(mode);
    rustix::fs::mknodat(parent, name, FileType::CharacterDevice, mode, device)?;
    Ok(rustix::fs::chmodat(parent, name, mode, AtFlags::empty())?)
}

/// Opens a device file beneath `dir` for reading and writing, under [`locate`]'s rules.
pub fn open_device(dir: BorrowedFd<'_>, path: &Path) -> SysResult<OwnedFd> {
    open_beneath(dir, path, OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NOCTTY, Mode::empty())
}
