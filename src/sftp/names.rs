//! What is asked of paths, and not of what is open.

use std::{
    ffi::OsStr,
    fs, io,
    os::fd::AsFd as _,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _, chown, fchown, lchown, symlink},
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::sys::{
    Errno,
    path::{self, Last},
};

use super::{
    packet::{Attributes, MAX_PATH},
    reply::Status,
};

/// What a client calls a path, as one. The kernel takes none with NUL or longer than [`MAX_PATH`].
pub(super) fn path(bytes: &[u8]) -> Result<&Path, Status> {
    if bytes.contains(&0) || bytes.len() >= MAX_PATH {
        return Err(Status::BadMessage);
    }
    Ok(Path::new(OsStr::from_bytes(bytes)))
}

/// The absolute path of `path`, links followed. Its last part need not be there.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, Status> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    match path::resolve(path) {
        Err(Errno::ENOENT) => {
            let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else { return Err(Status::NoSuchFile) };
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            Ok(path::resolve(parent)?.join(name))
        }
        resolved => Ok(resolved?),
    }
}

/// As [`resolve`], where all but directories is taken for missing.
pub(super) fn resolve_among_directories(path: &Path) -> Result<PathBuf, Status> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    match path::resolve_directory(path) {
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {
            let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else { return Err(Status::NoSuchFile) };
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            Ok(path::resolve_directory(parent)?.join(name))
        }
        resolved => Ok(resolved?),
    }
}

/// Removes a name that is no directory's.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}

pub(super) fn make_directory(path: &Path, attributes: &Attributes) -> io::Result<()> {
    fs::DirBuilder::new().mode(attributes.mode.unwrap_or(0o777) & 0o7777).create(path)
}

/// Version 3's rename, which replaces nothing.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), Errno> {
    match path::rename_to_new(from, to) {
        Err(Errno::EINVAL) => rename_in_steps(from, to),
        renamed => renamed,
    }
}

/// On a file system that cannot do it at once, as OpenSSH does it: a file gets a second name, which fails where
/// that is taken, and loses the first. For what cannot have two names it is looked before.
fn rename_in_steps(from: &Path, to: &Path) -> Result<(), Errno> {
    if fs::symlink_metadata(from)?.is_file() {
        match fs::hard_link(from, to).map_err(Errno::from) {
            Ok(()) => return Ok(fs::remove_file(from)?),
            Err(Errno::EPERM | Errno::ENOTSUP | Errno::ENOSYS) => {}
            Err(errno) => return Err(errno),
        }
    }
    if fs::symlink_metadata(to).is_ok() {
        return Err(Errno::EEXIST);
    }
    Ok(fs::rename(from, to)?)
}

pub(super) fn make_link(target: &Path, path: &Path) -> io::Result<()> {
    symlink(target, path)
}

/// What attributes are given to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject<'a> {
    /// What a path leads to.
    Path(&'a Path),
    /// What is at a path, be it a link.
    Itself(&'a Path),
    /// An open file.
    File(&'a fs::File),
}

/// Gives all attributes that it can; the first failure.
pub(super) fn set(subject: Subject<'_>, attributes: &Attributes) -> Result<(), Status> {
    let size = attributes.size.map_or(Ok(()), |size| set_size(subject, size));
    let mode = attributes.mode.map_or(Ok(()), |mode| set_mode(subject, mode & 0o7777));
    let owner = attributes.owner.map_or(Ok(()), |owner| set_owner(subject, owner));
    // Last: all others change the time.
    let times = attributes.times.map_or(Ok(()), |times| set_times(subject, times));
    size.and(mode).and(owner).and(times)
}

fn set_size(subject: Subject<'_>, size: u64) -> Result<(), Status> {
    match subject {
        Subject::Path(path) => Ok(path::truncate(path, size)?),
        Subject::Itself(_) => Err(Status::BadMessage),
        Subject::File(file) => Ok(file.set_len(size)?),
    }
}

fn set_mode(subject: Subject<'_>, mode: u32) -> Result<(), Status> {
    let mode = fs::Permissions::from_mode(mode);
    match subject {
        Subject::Path(path) => Ok(fs::set_permissions(path, mode)?),
        Subject::File(file) => Ok(file.set_permissions(mode)?),
        Subject::Itself(path) => {
            let place = path::locate(path)?;
            if place.metadata()?.is_symlink() {
                return Err(Errno::ENOTSUP.into());
            }
            Ok(fs::set_permissions(path::by_descriptor(place.as_fd()), mode)?)
        }
    }
}

fn set_owner(subject: Subject<'_>, (user, group): (u32, u32)) -> Result<(), Status> {
    match subject {
        Subject::Path(path) => Ok(chown(path, Some(user), Some(group))?),
        Subject::Itself(path) => Ok(lchown(path, Some(user), Some(group))?),
        Subject::File(file) => Ok(fchown(file, Some(user), Some(group))?),
    }
}

fn set_times(subject: Subject<'_>, (accessed, changed): (u32, u32)) -> Result<(), Status> {
    match subject {
        Subject::Path(path) => Ok(path::set_times(path, accessed, changed, Last::Followed)?),
        Subject::Itself(path) => Ok(path::set_times(path, accessed, changed, Last::Itself)?),
        Subject::File(file) => {
            let time = |seconds: u32| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into());
            Ok(file.set_times(fs::FileTimes::new().set_accessed(time(accessed)).set_modified(time(changed)))?)
        }
    }
}

/// Whether a file that was opened is of a kind that this server reads and writes: not a FIFO or
/// anything else that makes the one who reads it wait for another.
pub(super) fn is_readable_kind(meta: &fs::Metadata) -> bool {
    meta.is_file() || meta.file_type().is_char_device()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("cellblock-sftp-{name}-{}", std::process::id()));
            fs::create_dir(&dir).unwrap();
            Self(path::resolve(&dir).unwrap())
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn paths_with_nul_or_without_end_are_refused() {
        assert_eq!(path(b"a\0b"), Err(Status::BadMessage));
        assert_eq!(path(&[0; 200]), Err(Status::BadMessage));
        assert_eq!(path(&[b'a'; MAX_PATH]), Err(Status::BadMessage));
        assert!(path(&[b'a'; MAX_PATH - 1]).is_ok() && path(b"\xff\n").is_ok());
    }

    #[test]
    fn a_path_is_resolved_when_its_last_part_is_missing_and_no_further() {
        let scratch = Scratch::new("resolve");
        let dir = &scratch.0;
        fs::create_dir(dir.join("real")).unwrap();
        symlink("real", dir.join("link")).unwrap();
        assert_eq!(resolve(&dir.join("link/../link/new")), Ok(dir.join("real/new")));
        assert_eq!(resolve(&dir.join("no/new")), Err(Status::NoSuchFile));
        assert_eq!(resolve(Path::new("/../..")), Ok("/".into()));
        assert_eq!(resolve(Path::new("")), resolve(Path::new(".")));
    }

    #[test]
    fn a_rename_replaces_nothing_at_once_or_in_steps() {
        let scratch = Scratch::new("rename");
        for (name, rename) in [("once", rename as fn(&Path, &Path) -> _), ("steps", rename_in_steps)] {
            let [from, to, again, directory] =
                ["from", "to", "again", "dir"].map(|end| scratch.0.join(name.to_owned() + end));
            fs::write(&from, "new").unwrap();
            fs::write(&to, "old").unwrap();
            fs::create_dir(&directory).unwrap();
            for taken in [&to, &directory] {
                assert_eq!(rename(&from, taken), Err(Errno::EEXIST), "{name}");
                assert_eq!(rename(&directory, &to), Err(Errno::EEXIST), "{name}");
            }
            assert_eq!(fs::read(&to).unwrap(), b"old", "{name}");
            assert_eq!(rename(&from, &again), Ok(()), "{name}");
            assert_eq!((fs::read(&again).unwrap(), from.exists()), (b"new".to_vec(), false), "{name}");
            assert_eq!(rename(&directory, &from), Ok(()), "{name}");
            assert_eq!(rename(&directory, &from), Err(Errno::ENOENT), "{name}");
        }
    }

    #[test]
    fn attributes_of_a_link_itself_do_not_reach_what_it_leads_to() {
        let scratch = Scratch::new("attributes");
        let [file, link] = ["file", "link"].map(|name| scratch.0.join(name));
        fs::write(&file, "12345").unwrap();
        symlink("file", &link).unwrap();
        let given = |change: fn(&mut Attributes)| {
            let mut attributes = Attributes::default();
            change(&mut attributes);
            attributes
        };
        let before = fs::metadata(&file).unwrap().permissions();
        let (mode, size) = (given(|given| given.mode = Some(0o600)), given(|given| given.size = Some(2)));
        assert_eq!(set(Subject::Itself(&link), &mode), Err(Status::Failure(Some(Errno::ENOTSUP))));
        assert_eq!(set(Subject::Itself(&link), &size), Err(Status::BadMessage));
        assert_eq!(fs::metadata(&file).unwrap().permissions(), before);
        let times = given(|given| given.times = Some((7, 7)));
        assert_eq!(set(Subject::Itself(&link), &times), Ok(()));
        let changed = |meta: fs::Metadata| meta.modified().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(changed(fs::symlink_metadata(&link).unwrap()).as_secs(), 7);
        assert!(changed(fs::metadata(&file).unwrap()).as_secs() > 7);
        assert_eq!(set(Subject::Path(&link), &mode).and(set(Subject::Path(&link), &size)), Ok(()));
        let meta = fs::metadata(&file).unwrap();
        assert_eq!((meta.permissions().mode() & 0o777, meta.len()), (0o600, 2));
        assert_eq!(set(Subject::Itself(&file), &given(|given| given.mode = Some(0o640))), Ok(()));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    }
}
