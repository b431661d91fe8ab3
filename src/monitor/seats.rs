//! How many connections a tenant has: one byte of one file is locked for each, by its monitor.
//!
//! Monitors outlive the listener, and one that is killed tells nobody: so it is the kernel that
//! counts. A lock ends with the process that holds it.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::AsFd as _, unix::fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::base::{Result, TenantName, fail};
use crate::sys::lock;

/// Bytes for each tenant: more than `max_connections` can be.
const STRIDE: u64 = 1 << 14;

/// The file.
#[derive(Debug, Clone)]
pub struct Seats(PathBuf);

/// A connection that is counted, until this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    _locked: File,
}

impl Seats {
    /// The file in this directory, made if it is missing.
    pub fn prepare(run_dir: &Path) -> Result<Self> {
        let seats = Self(run_dir.join("connections"));
        seats.open()?;
        Ok(seats)
    }

    /// Each monitor needs an open file of its own: it is that which holds the lock.
    fn open(&self) -> Result<File> {
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.0);
        opened.map_err(|error: io::Error| fail("opening", self.0.display(), error))
    }

    /// Takes one of the `most` seats of `tenant`; none is free.
    pub(super) fn take(&self, tenant: &TenantName, most: u32) -> Result<Option<Seat>> {
        let file = self.open()?;
        let first = first_of(tenant);
        for number in 0..u64::from(most).min(STRIDE) {
            let locked = lock::try_byte(file.as_fd(), first + number);
            if locked.map_err(|errno| fail("counting the connections of", tenant, errno))? {
                return Ok(Some(Seat { _locked: file }));
            }
        }
        Ok(None)
    }
}

/// Where a tenant's bytes begin: by a hash (FNV-1a) of 48 bits, since a file has room for 2^63. Two
/// tenants that share a place, one chance in 60,000 among 100,000 of them, would be counted together.
fn first_of(tenant: &TenantName) -> u64 {
    let hash = tenant
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    ((hash >> 16) & 0xffff_ffff_ffff) * STRIDE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_each_tenants_own_and_free_again_when_dropped() {
        let dir = std::env::temp_dir().join(format!("cellblock-seats-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let seats = Seats::prepare(&dir).unwrap();
        let (alice, bob) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        let first = seats.take(&alice, 2).unwrap().unwrap();
        let _second = seats.take(&alice, 2).unwrap().unwrap();
        assert!(seats.take(&alice, 2).unwrap().is_none());
        assert!(seats.take(&bob, 1).unwrap().is_some());
        drop(first);
        assert!(seats.take(&alice, 2).unwrap().is_some());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
