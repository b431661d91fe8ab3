//! What is written down of a running cell, `RUN_DIR/cells/NAME/`: a lock, init's socket, its pid.
//!
//! Only root enters the directory. Everything in it is removed when the cell has ended.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::base::{Failure, Result, TenantName, fail};
use crate::sys::{Errno, mount, namespace, process::Pid};

/// Largest `cell.json`.
const MAX_RECORD: u64 = 4096;

/// How long to go on when the lock is removed again and again between opening and locking it; each
/// time another process has ended a cell in between. A span and not a count: how often that happens
/// while one process does not get a processor has no bound. A whole minute: the lock is not fair, so
/// with two hundred that wait, one of them waits for as many starts (100 ms each on an emulated
/// processor).
const LOCK_TIME: Duration = Duration::from_secs(60);

/// The same for whoever does not wait for locks: the listener, which has others to serve.
const LOCK_TIME_AT_ONCE: Duration = Duration::from_secs(1);

/// Where a cell is written down.
#[derive(Debug, Clone)]
pub(super) struct Place(PathBuf);

/// What is written down: which process is the cell's pid 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Its pid on the host.
    pub(super) pid: Pid,
    /// When it started, in clock ticks since boot: tells it from a later process with the same pid.
    pub(super) started: u64,
    /// The host's id that owns its user namespace.
    #[serde(default)]
    pub(super) owner: u32,
}

/// The right to start or clear away the cell. Ends when dropped.
#[derive(Debug)]
pub(super) struct Held {
    place: Place,
    _lock: File,
}

/// Whether to wait for the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    Yes,
    No,
}

impl Place {
    pub(super) fn new(run_dir: &Path, name: &TenantName) -> Self {
        Self(cells(run_dir).join(name.as_str()))
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.0.join("init.sock")
    }

    fn record_path(&self) -> PathBuf {
        self.0.join("cell.json")
    }

    /// What is written down, if anything.
    pub(super) fn record(&self) -> Result<Option<Record>> {
        let path = self.record_path();
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("reading", &path, &error)),
        };
        let bytes =
            mount::read_capped(&mut file, MAX_RECORD).map_err(|errno| fail("reading", path.display(), errno))?;
        // Half a record: its writer was killed, and the child it was about to release with it.
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// Takes the lock, making the directory if it is missing; `None` if another process has it and
    /// `wait` says not to wait.
    pub(super) fn hold(&self, wait: Wait) -> Result<Option<Held>> {
        let path = self.0.join("lock");
        let failed = |error: io::Error| failed("locking", &path, &error);
        let until = Instant::now() + if wait == Wait::Yes { LOCK_TIME } else { LOCK_TIME_AT_ONCE };
        while Instant::now() < until {
            let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
            let file = match opened {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match DirBuilder::new().recursive(true).mode(0o700).create(&self.0) {
                        Ok(()) => continue,
                        // It was there, and was removed before it was looked at.
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                        Err(error) => return Err(failed(error)),
                    }
                }
                Err(error) => return Err(failed(error)),
            };
            match (wait, file.try_lock()) {
                (_, Ok(())) => {}
                (Wait::No, Err(fs::TryLockError::WouldBlock)) => return Ok(None),
                (Wait::Yes, Err(fs::TryLockError::WouldBlock)) => file.lock().map_err(failed)?,
                (_, Err(fs::TryLockError::Error(error))) => return Err(failed(error)),
            }
            // Removed while we waited for it: the next process would lock another file.
            if file.metadata().map_err(failed)?.nlink() > 0 {
                return Ok(Some(Held { place: self.clone(), _lock: file }));
            }
        }
        Err(fail("locking", path.display(), "cells of this tenant end as fast as they start"))
    }
}

impl Held {
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Writes down a cell that is about to be released.
    pub(super) fn write(&self, record: Record) -> Result<()> {
        let path = self.place.record_path();
        let bytes = serde_json::to_vec(&record).map_err(|error| fail("writing", path.display(), error))?;
        fs::write(&path, bytes).map_err(|error| failed("writing", &path, &error))
    }

    /// Removes what a cell left, but not the lock: a new one is about to start.
    pub(super) fn clear(&self) -> Result<()> {
        for path in [self.place.socket(), self.place.record_path()] {
            remove_file(&path)?;
        }
        Ok(())
    }

    /// Removes everything.
    pub(super) fn remove(self) -> Result<()> {
        self.clear()?;
        remove_file(&self.place.0.join("lock"))?;
        match fs::remove_dir(&self.place.0) {
            Ok(()) => Ok(()),
            // Another process has taken the place since the lock went: it is its to remove, or it has.
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) => Ok(()),
            Err(error) => Err(failed("removing", &self.place.0, &error)),
        }
    }
}

impl Record {
    /// Of a process that was just cloned.
    pub(super) fn of(pid: Pid, owner: u32) -> Result<Self, Errno> {
        Ok(Self { pid, started: namespace::start_time(pid)?, owner })
    }

    /// A hold on that process, if it has not been reaped.
    pub(super) fn pidfd(self) -> Result<Option<OwnedFd>> {
        match namespace::pidfd_if_started_at(self.pid, self.started) {
            Ok(pidfd) => Ok(Some(pidfd)),
            Err(Errno::ESRCH | Errno::EINVAL) => Ok(None),
            Err(errno) => Err(fail("looking at process", self.pid, errno)),
        }
    }
}

/// Names under which something is written down.
pub(super) fn names(run_dir: &Path) -> Result<Vec<TenantName>> {
    let path = cells(run_dir);
    let mut names = Vec::new();
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
        Err(error) => return Err(failed("listing", &path, &error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| failed("listing", &path, &error))?;
        let name = entry.file_name().into_string().ok().and_then(|name| name.parse().ok());
        names.push(name.ok_or_else(|| fail("listing", path.display(), "something there is not a cell's"))?);
    }
    Ok(names)
}

/// The directory above all places.
pub(super) fn cells(run_dir: &Path) -> PathBuf {
    run_dir.join("cells")
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("removing", path, &error)),
    }
}

fn failed(doing: &'static str, path: &Path, error: &io::Error) -> Failure {
    fail(doing, path.display(), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_are_taken_and_removed_at_the_same_time_are_removed() {
        let run_dir = std::env::temp_dir().join(format!("cellblock-places-{}", std::process::id()));
        let place = Place::new(&run_dir, &"alice".parse().unwrap());
        std::thread::scope(|scope| {
            let removers = [(); 3].map(|()| {
                scope.spawn(|| (0..200).try_for_each(|_| place.hold(Wait::Yes)?.map_or(Ok(()), Held::remove)))
            });
            for remover in removers {
                remover.join().unwrap().unwrap();
            }
        });
        assert_eq!(names(&run_dir).unwrap(), Vec::new());
        fs::remove_dir_all(run_dir).unwrap();
    }
}
