//! How many passwords are hashed at one time: one byte of one file is locked for each, by its monitor.
//!
//! Monitors share nothing but files, and each hash takes memory: without this, as many as may be
//! logging in (`max_startups`) could take theirs at once.

use std::{
    fs::{File, OpenOptions},
    os::{fd::AsFd as _, unix::fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::base::{Result, fail};
use crate::config::MAX_AT_ONCE;
use crate::sys::{lock, process};

/// The file.
#[derive(Debug, Clone)]
pub struct Hashing(PathBuf);

/// Leave to hash, until this is dropped.
#[derive(Debug)]
pub(super) struct Leave {
    _locked: File,
}

impl Hashing {
    /// The file in this directory, made if it is missing.
    pub fn prepare(run_dir: &Path) -> Result<Self> {
        let hashing = Self(run_dir.join("hashing"));
        hashing.open()?;
        Ok(hashing)
    }

    /// Each monitor needs an open file of its own: it is that which holds the lock.
    fn open(&self) -> Result<File> {
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.0);
        opened.map_err(|error| fail("opening", self.0.display(), error))
    }

    /// Waits for one of the places: a free one, or else the one that this process's number says. Not
    /// longer than everyone before it takes to hash, and a process that dies gives its place up.
    pub(super) fn wait(&self) -> Result<Leave> {
        let file = self.open()?;
        let failed = |errno| fail("waiting to hash a password", "", errno);
        for place in 0..MAX_AT_ONCE {
            if lock::try_byte(file.as_fd(), place.into()).map_err(failed)? {
                return Ok(Leave { _locked: file });
            }
        }
        let own = process::own_pid().unsigned_abs() % MAX_AT_ONCE;
        lock::wait_byte(file.as_fd(), own.into()).map_err(failed)?;
        Ok(Leave { _locked: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_hash_at_one_time_than_there_are_places() {
        let dir = std::env::temp_dir().join(format!("cellblock-hashing-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let hashing = Hashing::prepare(&dir).unwrap();
        let mut all: Vec<Leave> = (0..MAX_AT_ONCE).map(|_| hashing.wait().unwrap()).collect();
        let file = hashing.open().unwrap();
        let free = || (0..MAX_AT_ONCE).any(|place| lock::try_byte(file.as_fd(), place.into()).unwrap());
        assert!(!free());
        all.pop();
        assert!(free());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
