use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use super::*;

/// A private directory in `/tmp`, removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(format!("/tmp/cellblock-file-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        chmod(&path, 0o700);
        Self(path)
    }

    fn file(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, "hello").unwrap();
        chmod(&path, mode);
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn chown(path: &Path, uid: u32) {
    std::os::unix::fs::lchown(path, Some(uid), None).unwrap();
}

fn refused(path: &Path) -> Distrust {
    read_trusted(path, Links::Follow, 100).unwrap_err().why
}

#[test]
fn a_file_of_root_in_a_directory_of_root_is_read() {
    let dir = Scratch::new("good");
    assert_eq!(read_trusted(&dir.file("a", 0o644), Links::Refuse, 5).unwrap(), b"hello");
}

#[test]
fn a_file_that_others_can_write_or_own_is_refused() {
    let dir = Scratch::new("bad");
    assert_eq!(refused(&dir.file("group", 0o664)), Distrust::Writable(0o664));
    assert_eq!(refused(&dir.file("world", 0o602)), Distrust::Writable(0o602));
    let theirs = dir.file("theirs", 0o600);
    chown(&theirs, 1000);
    assert_eq!(refused(&theirs), Distrust::Owner(1000));
}

#[test]
fn what_is_not_a_regular_file_is_refused_without_waiting() {
    let dir = Scratch::new("kind");
    let fifo = dir.0.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert_eq!(refused(&fifo), Distrust::NotFile);
    assert_eq!(refused(&dir.0), Distrust::Writable(0o1777), "a directory, in /tmp");
    assert_eq!(refused(&dir.0.join("missing")), Distrust::Os(Errno::ENOENT));
    assert_eq!(refused(Path::new("/")), Distrust::NotFile);
    assert_eq!(refused(Path::new("etc/passwd")), Distrust::Form);
    assert_eq!(refused(&dir.0.join("../x")), Distrust::Form);
}

#[test]
fn a_directory_above_that_others_can_change_is_refused_by_name() {
    let dir = Scratch::new("above");
    let inner = dir.0.join("inner");
    fs::create_dir(&inner).unwrap();
    let file = inner.join("file");
    fs::write(&file, "hello").unwrap();
    chmod(&inner, 0o775);
    let error = read_trusted(&file, Links::Follow, 100).unwrap_err();
    assert_eq!((error.path.as_path(), error.why), (inner.as_path(), Distrust::Writable(0o775)));
    chmod(&inner, 0o755);
    chown(&inner, 1000);
    assert_eq!(refused(&file), Distrust::Owner(1000));
    chown(&inner, 0);
    assert!(read_trusted(&file, Links::Follow, 100).is_ok());
}

#[test]
fn a_sticky_directory_is_passed_through_but_holds_no_trusted_file() {
    let path = PathBuf::from(format!("/tmp/cellblock-file-sticky-{}", std::process::id()));
    fs::write(&path, "hello").unwrap();
    chmod(&path, 0o600);
    let why = refused(&path);
    fs::remove_file(&path).unwrap();
    assert_eq!(why, Distrust::Writable(0o1777));
}

#[test]
fn links_are_followed_where_root_made_them_and_refused_on_request() {
    let dir = Scratch::new("links");
    let file = dir.file("file", 0o600);
    let link = dir.0.join("link");
    symlink("../../tmp/./../".to_owned() + file.strip_prefix("/").unwrap().to_str().unwrap(), &link).unwrap();
    assert_eq!(read_trusted(&link, Links::Follow, 100).unwrap(), b"hello");
    assert_eq!(read_trusted(&link, Links::Refuse, 100).unwrap_err().why, Distrust::Link);
    let through = dir.0.join("dir");
    symlink(&dir.0, &through).unwrap();
    assert_eq!(read_trusted(&through.join("file"), Links::Follow, 100).unwrap(), b"hello");
    assert_eq!(read_trusted(&through.join("file"), Links::Refuse, 100).unwrap_err().why, Distrust::Link);
    chown(&through, 1000);
    assert_eq!(refused(&through.join("file")), Distrust::Owner(1000));
    let looped = dir.0.join("loop");
    symlink(&looped, &looped).unwrap();
    assert_eq!(refused(&looped), Distrust::Link);
}

#[test]
fn a_size_is_kept_to() {
    let dir = Scratch::new("size");
    let file = dir.file("file", 0o600);
    assert_eq!(read_trusted(&file, Links::Refuse, 4).unwrap_err().why, Distrust::TooLarge(4));
    assert_eq!(read_capped(&file, 4), Err(Errno::EFBIG));
    assert_eq!(read_capped(&file, 5).unwrap(), b"hello");
    assert!(read_capped(Path::new("/proc/self/status"), 1 << 16).unwrap().len() > 100);
}

#[test]
fn a_private_directory_is_known_by_any_directory_above() {
    let dir = Scratch::new("private");
    let inner = dir.0.join("inner");
    fs::create_dir(&inner).unwrap();
    chmod(&inner, 0o755);
    assert!(TrustedDir::open(&inner, Links::Refuse).unwrap().is_private());
    chmod(&dir.0, 0o711);
    assert!(!TrustedDir::open(&inner, Links::Refuse).unwrap().is_private());
}

#[test]
fn a_write_replaces_the_whole_file_and_leaves_no_scratch_file() {
    let dir = Scratch::new("write");
    let path = dir.file("file", 0o644);
    write_atomic(&path, b"new", 0o600, Crash::Keeps).unwrap();
    assert_eq!(read_trusted(&path, Links::Refuse, 100).unwrap(), b"new");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(TrustedDir::open(&dir.0, Links::Refuse).unwrap().names().unwrap(), ["file"]);
    let error = write_atomic(&dir.0.join("missing/file"), b"new", 0o600, Crash::MayLose).unwrap_err();
    assert!(error.is_missing());
}
