//! A private directory that goes away with its value.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A directory of mode 0700 under `/tmp`.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Short: a path to a unix socket has room for 107 bytes.
        let path = PathBuf::from(format!("/tmp/cbt-{}-{number}", process::id()));
        fs::create_dir(&path).expect("making a scratch directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::env::var_os("KEEP_SCRATCH").is_some() {
            eprintln!("kept: {}", self.0.display());
            return;
        }
        // Mounts below first: a test that failed may have left some, and rm must not enter them.
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let prefix = format!("{}/", self.0.display());
        for target in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)) {
            if target.starts_with(&prefix) {
                process::Command::new("umount").args(["-l", target]).status().ok();
            }
        }
        process::Command::new("rm").args(["-rf", "--one-file-system"]).arg(&self.0).status().ok();
    }
}
