//! The audit file: one write of one line per event.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tracing::error;

use crate::base::{Result, fail};
use crate::sys::append;

use super::event::Event;

/// How long lines without their end may be what another process is writing: many at once, on a machine
/// that has much to do.
const UNDER_WAY: Duration = Duration::from_millis(100);

/// An open audit file.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    file: File,
    /// Where a line was cut that has no end yet: waited for once.
    torn: Option<u64>,
}

impl Audit {
    /// Opens `path`, or makes it (0600). Refuses what is not a regular file of root's that nobody else can read.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), file: open(path)?, torn: None })
    }

    /// A second hold on the same file, for a process that is about to go its own way.
    pub fn duplicate(&self) -> Result<Self> {
        let file = self.file.try_clone().map_err(|cause| fail("duplicating", self.path.display(), cause))?;
        Ok(Self { path: self.path.clone(), file, torn: self.torn })
    }

    /// Writes `event`. A failure goes to the admin's log: a full disk must not lock the admin out.
    ///
    /// A file that was moved away (logrotate(8)) is followed by a new one, in running monitors too,
    /// which nobody could tell to reopen it.
    pub fn record(&mut self, event: &Event<'_>) {
        match event.line(Timestamp::now()) {
            Ok(line) => self.append(line),
            Err(cause) => error!("{}", fail("writing the audit file", self.path.display(), cause)),
        }
    }

    /// Whole lines, in one write.
    pub(super) fn append(&mut self, mut lines: Vec<u8>) {
        if !self.is_current() {
            match open(&self.path) {
                Ok(file) => self.file = file,
                Err(failure) => error!("{failure}"),
            }
        }
        if let Err(cause) = self.write(&mut lines) {
            error!("{}", fail("writing the audit file", self.path.display(), cause));
        }
    }

    fn write(&mut self, lines: &mut Vec<u8>) -> io::Result<()> {
        if self.is_torn()? {
            lines.insert(0, b'\n');
        }
        // One write, so that lines of several processes never mix (O_APPEND).
        let length = self.file.write(lines)?;
        if length == lines.len() { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    /// Whether the last line was cut by a full disk, whoever wrote it: the next one must not be lost in it.
    /// Another's line that is being written looks the same until it is there.
    fn is_torn(&mut self) -> io::Result<bool> {
        let end = Instant::now() + UNDER_WAY;
        loop {
            let Some(last) = self.file.metadata()?.len().checked_sub(1) else { return Ok(false) };
            let mut byte = [0];
            self.file.read_exact_at(&mut byte, last)?;
            if byte == *b"\n" {
                return Ok(false);
            }
            if self.torn == Some(last) {
                return Ok(true);
            }
            if Instant::now() >= end {
                self.torn = Some(last);
                return Ok(true);
            }
            thread::yield_now();
        }
    }

    fn is_current(&self) -> bool {
        let open = self.file.metadata().map(|meta| (meta.dev(), meta.ino()));
        let named = fs::symlink_metadata(&self.path).map(|meta| (meta.dev(), meta.ino()));
        matches!((open, named), (Ok(open), Ok(named)) if open == named)
    }
}

fn open(path: &Path) -> Result<File> {
    let doing = "opening the audit file";
    let file = append::open(path).map_err(|errno| {
        fail(doing, path.display(), errno).hint("`audit_log` in [server] says where it is; its directory must exist")
    })?;
    let meta = file.metadata().map_err(|cause| fail(doing, path.display(), cause))?;
    if !meta.is_file() {
        return Err(fail(doing, path.display(), "it is not a regular file"));
    }
    if meta.uid() != 0 || meta.mode() & 0o077 != 0 {
        let hint = format!("chown root {0} && chmod 600 {0}", path.display());
        return Err(fail(doing, path.display(), "others than root can read or write it").hint(hint));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::read_capped;
    use std::{os::unix::fs::PermissionsExt as _, process};

    fn event() -> Event<'static> {
        Event::ConnectionRefused { peer: "192.0.2.1:5".parse().unwrap(), reason: "test", unlisted: 0 }
    }

    #[test]
    fn a_file_that_is_moved_away_is_followed_by_a_new_one() {
        let dir = std::env::temp_dir().join(format!("cellblock-audit-{}", process::id()));
        fs::create_dir(&dir).unwrap();
        let path = dir.join("audit.log");
        let mut audit = Audit::open(&path).unwrap();
        audit.record(&event());
        fs::rename(&path, dir.join("audit.log.1")).unwrap();
        audit.record(&event());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&path).unwrap().len(), fs::metadata(dir.join("audit.log.1")).unwrap().len());

        // A disk that was full has cut a line; the next one is whole.
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"time\":\"20").unwrap();
        audit.record(&event());
        let text = String::from_utf8(read_capped(&path, 4096).unwrap()).unwrap();
        let whole = text.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count();
        assert_eq!((text.lines().count(), whole), (3, 2), "{text}");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Audit::open(&path).is_err());
        std::os::unix::fs::symlink("audit.log.1", dir.join("link")).unwrap();
        assert!(Audit::open(&dir.join("link")).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
