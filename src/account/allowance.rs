//! How much a tenant may have written to the audit file about what it can do in a loop: who moves files
//! about all day is on record, and who makes a loop of it fills no disk.
//!
//! Monitors share nothing but files, and a tenant who comes again gets another one: so what is left is
//! kept in one file, a row for each tenant, and read and written under a lock.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::{
        fd::AsFd as _,
        unix::fs::{FileExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use tracing::error;

use crate::base::{Result, TenantName, fail};
use crate::sys::lock;

use super::audit::Audit;
use super::event::Event;

/// Bytes at once: 10,000 files brought and fetched are 40,000 lines of some 300 bytes.
const MOST: u64 = 16 << 20;

/// Bytes per second from then on: 50 such lines, 1.4 GB a day.
const PER_SECOND: u64 = 16 << 10;

/// Rows in the file, 400 kB: for more tenants who write at one time than a host has.
const MOST_ROWS: usize = 1 << 14;

/// Bytes of a row: three numbers, little-endian.
const ROW: usize = 24;

/// What a tenant has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    tenant: u64,
    left: u64,
    /// When that was so, in milliseconds since 1970.
    counted: u64,
}

impl Row {
    fn full(tenant: u64, now: u64) -> Self {
        Self { tenant, left: MOST, counted: now }
    }

    fn parse(bytes: [u8; ROW]) -> Self {
        let [tenant, left, counted] = [0, 8, 16].map(|at| {
            let number = bytes.get(at..).and_then(<[u8]>::first_chunk).copied();
            u64::from_le_bytes(number.unwrap_or_default())
        });
        Self { tenant, left, counted }
    }

    fn bytes(self) -> Vec<u8> {
        [self.tenant, self.left, self.counted].map(u64::to_le_bytes).concat()
    }

    /// The same at `now`. A clock that was set back takes nothing and gives nothing.
    fn at(self, now: u64) -> Self {
        let more = now.saturating_sub(self.counted).saturating_mul(PER_SECOND) / 1000;
        Self { left: self.left.saturating_add(more).min(MOST), counted: now, ..self }
    }
}

/// The file.
#[derive(Debug, Clone)]
pub struct Allowance(PathBuf);

impl Allowance {
    /// The file in this directory, made if it is missing.
    pub fn prepare(run_dir: &Path) -> Result<Self> {
        let allowance = Self(run_dir.join("allowance"));
        allowance.open().map_err(|cause| fail("opening", allowance.0.display(), cause))?;
        Ok(allowance)
    }

    /// Each use needs an open file of its own: it is that which holds the lock.
    fn open(&self) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.0)
    }

    /// Writes of `tenant`'s events as many, from the first on, as it may; how many those are. Where that
    /// cannot be told none is written: whoever counts the rest says how many there were.
    pub fn record(&self, audit: &mut Audit, tenant: &TenantName, events: &[Event<'_>]) -> usize {
        let now = Timestamp::now();
        let lines = events.iter().map(|event| event.line(now)).collect::<Result<Vec<_>, _>>();
        let taken = lines.map_err(io::Error::from).and_then(|lines| {
            let lengths: Vec<u64> = lines.iter().map(|line| line.len().try_into().unwrap_or(u64::MAX)).collect();
            let many = self.take(key(tenant), &lengths, u64::try_from(now.as_millisecond()).unwrap_or(0))?;
            Ok((lines, many))
        });
        match taken {
            Ok((_, 0)) => 0,
            Ok((lines, many)) => {
                audit.append(lines.into_iter().take(many).collect::<Vec<_>>().concat());
                many
            }
            Err(cause) => {
                error!("{}", fail("counting what is written of", tenant, cause));
                0
            }
        }
    }

    /// Takes as many of these lengths, from the first on, as there is room for; how many.
    fn take(&self, tenant: u64, lengths: &[u64], now: u64) -> io::Result<usize> {
        let mut file = self.open()?;
        // Until `file` is dropped; nobody waits with it.
        lock::wait_byte(file.as_fd(), 0)?;
        let mut bytes = Vec::new();
        file.by_ref().take((MOST_ROWS * ROW).try_into().unwrap_or(0)).read_to_end(&mut bytes)?;
        let rows: Vec<Row> = bytes.as_chunks::<ROW>().0.iter().map(|row| Row::parse(*row).at(now)).collect();
        let (place, mut row) = place(&rows, tenant, now);
        let mut many = 0;
        for length in lengths {
            let Some(left) = row.left.checked_sub(*length) else { break };
            row.left = left;
            many += 1;
        }
        file.write_all_at(&row.bytes(), (place * ROW).try_into().unwrap_or(0))?;
        Ok(many)
    }
}

/// Which row is this tenant's, and what it says. One that is full again says nothing that a new one would
/// not: it is given to the next who has none, and so is the fullest where there is no room for more.
fn place(rows: &[Row], tenant: u64, now: u64) -> (usize, Row) {
    if let Some((place, row)) = rows.iter().enumerate().find(|(_, row)| row.tenant == tenant) {
        return (place, *row);
    }
    let fullest = rows.iter().enumerate().max_by_key(|(_, row)| row.left);
    let reused = fullest.filter(|(_, row)| row.left == MOST || rows.len() >= MOST_ROWS);
    (reused.map_or(rows.len(), |(place, _)| place), Row::full(tenant, now))
}

/// By a hash (FNV-1a): two tenants with one number, one chance in 10^9 among 100,000 of them, would have
/// one allowance.
fn key(tenant: &TenantName) -> u64 {
    let bytes = tenant.as_str().bytes();
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("cellblock-allowance-{name}-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        dir
    }

    #[test]
    fn a_loop_gets_so_much_and_then_a_little_each_second_whoever_asks_for_it() {
        let dir = scratch("loop");
        let take = |tenant, at| {
            // Another monitor each time.
            let allowance = Allowance::prepare(&dir).unwrap();
            allowance.take(tenant, &[1 << 10; 1 << 15], at).unwrap()
        };
        assert_eq!(take(1, 1_000_000), 16 << 10);
        assert_eq!((take(1, 1_000_000), take(1, 1_000_999)), (0, 15));
        assert_eq!(take(2, 1_001_000), 16 << 10, "another tenant");
        assert_eq!(take(1, 1_003_000), 32);
        // The clock was set back, and goes on from there.
        assert_eq!((take(1, 900_000), take(1, 901_000)), (0, 16));
        assert_eq!(take(1, 1_000_000_000), 16 << 10);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_file_holds_those_who_wrote_of_late() {
        let dir = scratch("rows");
        let allowance = Allowance::prepare(&dir).unwrap();
        let take = |tenant: u64, length, at| assert_eq!(allowance.take(tenant, &[length], at).unwrap(), 1);
        let rows = || std::fs::metadata(dir.join("allowance")).unwrap().len() / 24;
        (0..50).for_each(|tenant| take(tenant, MOST, 1_000_000));
        assert_eq!(rows(), 50);
        // They are full again, and make room.
        (100..150).for_each(|tenant| take(tenant, 1000, 1_000_000 + MOST / PER_SECOND * 1000));
        assert_eq!(rows(), 50);
        // What was cut is written over.
        OpenOptions::new().append(true).open(dir.join("allowance")).unwrap().set_len(24 * 50 + 7).unwrap();
        take(200, 1000, 1_000_000 + MOST / PER_SECOND * 1000);
        assert_eq!(rows(), 51);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn where_there_is_no_room_for_a_row_the_fullest_goes() {
        let mut rows: Vec<Row> = (0..MOST_ROWS).map(|n| Row { tenant: n as u64, left: n as u64, counted: 0 }).collect();
        assert_eq!(place(&rows, u64::MAX, 7), (MOST_ROWS - 1, Row::full(u64::MAX, 7)));
        assert_eq!(place(&rows, 5, 7), (5, rows[5]));
        rows.pop();
        assert_eq!(place(&rows, u64::MAX, 7).0, MOST_ROWS - 1);
    }
}
