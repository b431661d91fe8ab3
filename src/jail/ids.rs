//! Host ids for tenants: one range each, never shared with anybody, kept for good.
//!
//! `STATE_DIR/ids.toml` holds one line per tenant, `name = { first = N, count = N }`; it is read
//! and written under a lock, and replaced whole. Runs in the listener and in monitors.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::base::{Failure, Result, TenantName, fail};
use crate::config::settings::{IdPool, Server};
use crate::sys::file::read_capped;
use crate::sys::{Errno, credentials, mount, process};

/// Largest registry: the whole default pool is 28,663 lines of less than 100 bytes.
const MAX_REGISTRY: u64 = 16 << 20;

/// How often to try for a lock of shadow's files, and how long to wait in between. useradd holds
/// them for milliseconds.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Ids for spare cells' user namespaces to belong to: more than cells run at once on most
/// hosts. When all are taken no spares are made.
const OWNERS: u32 = 2048;
/// A pool that is not so many times as large gives none: tenants need them more.
const POOLS_PART: u32 = 256;

/// Longest text in a lock: a pid.
const MAX_PID: usize = 32;

/// Consecutive host ids; id N of the cell is `first + N` on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The host's id of the cell's id 0.
    pub first: u32,
    /// How many.
    pub count: u32,
}

impl IdRange {
    /// The first id after the range.
    #[must_use]
    pub fn end(self) -> u64 {
        u64::from(self.first) + u64::from(self.count)
    }
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.end().saturating_sub(1))
    }
}

/// Gives ranges out of the pool.
#[derive(Debug, Clone)]
pub struct Ids {
    registry: PathBuf,
    owners: PathBuf,
    lock: PathBuf,
    pool: IdPool,
    /// Whether the host's files name ids of the pool's kind: not those of a namespace.
    of_host: bool,
}

impl Ids {
    /// Out of the server's pool, kept in its state directory.
    #[must_use]
    pub fn new(server: &Server) -> Self {
        let registry = server.state_dir.join("ids.toml");
        let owners = server.state_dir.join("owners.toml");
        Self { registry, owners, lock: server.state_dir.join("ids.lock"), pool: server.id_pool, of_host: true }
    }

    /// Out of a pool that is a user namespace's own, and nobody else's.
    pub(super) fn of_namespace(server: &Server) -> Self {
        Self { of_host: false, ..Self::new(server) }
    }

    /// None: an ordinary user's cells have the user's own.
    pub(super) fn none(state_dir: &Path) -> Self {
        let pool = IdPool { first: 0, count: 0, register: false };
        Self {
            registry: state_dir.join("ids.toml"),
            owners: state_dir.join("owners.toml"),
            lock: state_dir.join("ids.lock"),
            pool,
            of_host: false,
        }
    }

    /// The uid and gid of the ssh process where the config names no account: the pool's first id,
    /// which no tenant gets.
    #[must_use]
    pub fn service_ids(&self) -> (u32, u32) {
        (self.pool.first, self.pool.first)
    }

    /// The tenant's range, if it has one.
    pub fn range_of(&self, name: &TenantName) -> Result<Option<IdRange>> {
        // Every start asks this, so one line is parsed and not all, of which there may be 28,663.
        let text = read_registry(&self.registry)?;
        let own = |line: &str| line.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with(" = "));
        let Some((number, line)) = text.lines().enumerate().find(|(_, line)| own(line)) else { return Ok(None) };
        parse(line).map(|(_, range)| Some(range)).ok_or_else(|| self.malformed(number))
    }

    /// The tenant's range; the first time, one of `count` ids is taken from the pool.
    ///
    /// A range once given stays as it is: with another size the owners on disk would be wrong.
    pub fn allot(&self, name: &TenantName, count: u32) -> Result<IdRange> {
        if let Some(range) = self.range_of(name)? {
            return self.same_size(name, range, count);
        }
        let lock = open_private(&self.lock)?;
        lock.lock().map_err(|error| fail("locking", self.lock.display(), error))?;
        let mut ranges = self.read()?;
        if let Some((_, range)) = ranges.iter().find(|(known, _)| known == name) {
            return self.same_size(name, *range, count);
        }
        let range = self.gap(&ranges, name, count)?;
        if self.pool.register {
            for path in ["/etc/subuid", "/etc/subgid"] {
                register(Path::new(path), &format!("cellblock-{name}"), range)?;
            }
        }
        ranges.push((name.clone(), range));
        replace(&self.registry, &render(&ranges), 0o600)?;
        Ok(range)
    }

    /// The ids that spare cells' user namespaces belong to, of the pool's last: no tenant's, no
    /// account's. The first time, they are taken; `None` where the pool has none to spare.
    pub fn owners(&self) -> Result<Option<IdRange>> {
        let lock = open_private(&self.lock)?;
        lock.lock().map_err(|error| fail("locking", self.lock.display(), error))?;
        if let Some(range) = self.owners_taken()? {
            return Ok(Some(range));
        }
        if self.pool.count / POOLS_PART < OWNERS {
            return Ok(None);
        }
        let Some(range) = find_last_gap(self.pool, self.taken(&self.read()?)?, OWNERS) else { return Ok(None) };
        if self.pool.register {
            for path in ["/etc/subuid", "/etc/subgid"] {
                register(Path::new(path), "cellblock", range)?;
            }
        }
        let text = format!("# Host ids of spare cells, kept by cellblock.\n{}\n", line("owners", range));
        replace(&self.owners, &text, 0o600)?;
        Ok(Some(range))
    }

    fn owners_taken(&self) -> Result<Option<IdRange>> {
        let text = read_registry(&self.owners)?;
        let Some(line) = text.lines().find(|line| !line.starts_with('#')) else { return Ok(None) };
        let malformed = || fail("reading", self.owners.display(), "it is not one of ours");
        Ok(Some(parse(line).ok_or_else(malformed)?.1))
    }

    /// All ranges that were given.
    pub fn all(&self) -> Result<Vec<(TenantName, IdRange)>> {
        self.read()
    }

    /// What [`Ids::allot`] would give now, without giving it.
    pub fn preview(&self, name: &TenantName, count: u32) -> Result<IdRange> {
        let ranges = self.read()?;
        match ranges.iter().find(|(known, _)| known == name) {
            Some((_, range)) => self.same_size(name, *range, count),
            None => self.gap(&ranges, name, count),
        }
    }

    /// The lowest `count` ids of the pool that nobody has: no tenant, no account, no subordinate range.
    fn gap(&self, ranges: &[(TenantName, IdRange)], name: &TenantName, count: u32) -> Result<IdRange> {
        find_gap(self.pool, self.taken(ranges)?, count).ok_or_else(|| {
            fail("allotting", format_args!("{count} ids to {name}"), "the pool has no gap of that size")
                .hint("enlarge server.id_pool, or set a smaller `ids` for some tenants")
        })
    }

    /// What somebody has: tenants, spare cells, accounts, subordinate ranges.
    fn taken(&self, ranges: &[(TenantName, IdRange)]) -> Result<Vec<(u64, u64)>> {
        let own = ranges.iter().map(|(_, range)| *range).chain(self.owners_taken()?);
        let mut taken: Vec<(u64, u64)> = own.map(|range| (u64::from(range.first), range.end())).collect();
        if !self.of_host {
            return Ok(taken);
        }
        for path in ["/etc/subuid", "/etc/subgid"] {
            taken.extend(subordinate_ranges(&read_registry(Path::new(path))?));
        }
        taken.extend(account_ranges(&credentials::host_account_ids()));
        Ok(taken)
    }

    fn same_size(&self, name: &TenantName, range: IdRange, count: u32) -> Result<IdRange> {
        if range.count == count {
            return Ok(range);
        }
        let have = range.count;
        Err(fail("mapping the ids of", name, format_args!("the config says {count} ids, it was given {have}"))
            .hint(format_args!("set ids = {have}, or delete its files and its line in {}", self.registry.display())))
    }

    fn read(&self) -> Result<Vec<(TenantName, IdRange)>> {
        let text = read_registry(&self.registry)?;
        text.lines()
            .enumerate()
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(number, line)| parse(line).ok_or_else(|| self.malformed(number)))
            .collect()
    }

    fn malformed(&self, number: usize) -> Failure {
        fail("reading", self.registry.display(), format_args!("line {} is not one of ours", number + 1))
            .hint("restore the file from a backup: owners on disk depend on it")
    }
}

fn parse(line: &str) -> Option<(TenantName, IdRange)> {
    let (name, rest) = line.split_once(" = { first = ")?;
    let (first, count) = rest.strip_suffix(" }")?.split_once(", count = ")?;
    Some((name.parse().ok()?, IdRange { first: first.parse().ok()?, count: count.parse().ok()? }))
}

fn render(ranges: &[(TenantName, IdRange)]) -> String {
    let mut text = String::from("# Host ids of tenants, kept by cellblock. Owners of files depend on it.\n");
    for (name, range) in ranges {
        text.push_str(&line(name.as_str(), *range));
        text.push('\n');
    }
    text
}

fn line(name: &str, IdRange { first, count }: IdRange) -> String {
    format!("{name} = {{ first = {first}, count = {count} }}")
}

/// The lowest gap of `count` ids in the pool, after its first id.
fn find_gap(pool: IdPool, mut taken: Vec<(u64, u64)>, count: u32) -> Option<IdRange> {
    taken.sort_unstable();
    let end = u64::from(pool.first) + u64::from(pool.count);
    let mut first = u64::from(pool.first) + 1;
    for (from, to) in taken {
        if first + u64::from(count) <= from {
            break;
        }
        first = first.max(to);
    }
    let fits = count > 0 && first + u64::from(count) <= end;
    fits.then(|| u32::try_from(first).ok()).flatten().map(|first| IdRange { first, count })
}

/// The highest gap of `count` ids in the pool, after its first id.
fn find_last_gap(pool: IdPool, mut taken: Vec<(u64, u64)>, count: u32) -> Option<IdRange> {
    taken.sort_unstable_by_key(|(_from, to)| std::cmp::Reverse(*to));
    let mut end = u64::from(pool.first) + u64::from(pool.count);
    for (from, to) in taken {
        if to + u64::from(count) <= end {
            break;
        }
        end = end.min(from);
    }
    let first = end.checked_sub(u64::from(count)).filter(|first| *first > u64::from(pool.first))?;
    Some(IdRange { first: u32::try_from(first).ok()?, count })
}

/// The first id after all that the host has granted.
pub(super) fn end_of_grants() -> Result<u64> {
    let mut end = 0;
    for path in ["/etc/subuid", "/etc/subgid"] {
        let ranges = subordinate_ranges(&read_registry(Path::new(path))?);
        end = ranges.into_iter().map(|(_first, end)| end).fold(end, u64::max);
    }
    Ok(end)
}

/// `name:first:count` lines (subuid(5)); others are passed over, as shadow does.
fn subordinate_ranges(text: &str) -> Vec<(u64, u64)> {
    let parse = |line: &str| {
        let mut fields = line.split(':').skip(1);
        let first: u64 = fields.next()?.trim().parse().ok()?;
        let count: u64 = fields.next()?.trim().parse().ok()?;
        Some((first, first.checked_add(count)?))
    };
    text.lines().filter_map(parse).collect()
}

fn account_ranges(ids: &BTreeSet<u32>) -> Vec<(u64, u64)> {
    ids.iter().map(|id| (u64::from(*id), u64::from(*id) + 1)).collect()
}

/// Adds a line to `/etc/subuid` or `/etc/subgid`, under the lock that shadow's tools take.
fn register(path: &Path, name: &str, range: IdRange) -> Result<()> {
    let _lock = ShadowLock::take(path)?;
    let mut text = read_registry(path)?;
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&format!("{name}:{}:{}\n", range.first, range.count));
    replace(path, &text, 0o644)
}

/// `FILE.lock`, as lckpwdf's relatives in shadow make it: a file holding a pid, made aside and
/// linked to its name, so that nobody sees one without. Released when dropped.
struct ShadowLock(PathBuf);

impl ShadowLock {
    fn take(path: &Path) -> Result<Self> {
        let lock = PathBuf::from(format!("{}.lock", path.display()));
        let aside = PathBuf::from(format!("{}.cellblock-{}", path.display(), std::process::id()));
        let taken = sweep(path).and_then(|()| write_aside(&aside)).and_then(|()| Self::link(&aside, lock.clone()));
        let removed = remove_if_there(&aside);
        let taken = taken.and_then(|taken| removed.map(|()| taken));
        taken.map_err(|error| fail("locking", path.display(), error))?.ok_or_else(|| {
            fail("locking", path.display(), "another program holds the lock")
                .hint(format_args!("if none does, remove {}", lock.display()))
        })
    }

    fn link(aside: &Path, lock: PathBuf) -> io::Result<Option<Self>> {
        for _try in 0..LOCK_TRIES {
            match fs::hard_link(aside, &lock) {
                Ok(()) => return Ok(Some(Self(lock))),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match holder(&lock) {
                    Holder::Gone => fs::remove_file(&lock)?,
                    Holder::There => thread::sleep(LOCK_PAUSE),
                },
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

impl Drop for ShadowLock {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            warn!("{}", fail("unlocking", self.0.display(), error));
        }
    }
}

/// Removes what processes that were killed while they waited for the lock have left beside `path`.
fn sweep(path: &Path) -> io::Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str)) else { return Ok(()) };
    let prefix = format!("{name}.cellblock-");
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(&prefix)).and_then(|pid| pid.parse().ok());
        if pid.is_some_and(is_gone) {
            remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Whether there is no such process any more; a pid that none can have is nobody's to be gone.
fn is_gone(pid: i32) -> bool {
    pid > 0 && process::kill(pid, 0) == Err(Errno::ESRCH)
}

fn write_aside(path: &Path) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| write!(file, "{}", std::process::id()))
}

enum Holder {
    There,
    Gone,
}

/// Whether a lock's process is there. One that was killed leaves its lock, which shadow's tools take
/// for none too; a file that names no process is left to whoever made it.
fn holder(lock: &Path) -> Holder {
    let pid = read_capped(lock, MAX_PID).ok().and_then(|text| String::from_utf8(text).ok());
    let pid = pid.and_then(|text| text.trim_matches(['\0', '\n', ' ']).parse().ok());
    if pid.is_some_and(is_gone) { Holder::Gone } else { Holder::There }
}

fn read_registry(path: &Path) -> Result<String> {
    let failed = |cause: &dyn fmt::Display| -> Failure { fail("reading", path.display(), cause) };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(failed(&error)),
    };
    let bytes = mount::read_capped(&mut file, MAX_REGISTRY).map_err(|errno| failed(&errno))?;
    String::from_utf8(bytes).map_err(|error| failed(&error))
}

fn open_private(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| fail("opening", path.display(), error))
}

/// Replaces a file of root's by rename, so that no reader sees half of it.
pub(super) fn replace(path: &Path, text: &str, mode: u32) -> Result<()> {
    let failed = |error: io::Error| fail("writing", path.display(), error);
    let new = PathBuf::from(format!("{}.cellblock", path.display()));
    remove_if_there(&new).map_err(failed)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&new, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: IdPool = IdPool { first: 1000, count: 100, register: false };

    #[test]
    fn ranges_take_the_lowest_gap_and_never_the_first_id() {
        let range = |first, count| Some(IdRange { first, count });
        assert_eq!(find_gap(POOL, vec![], 10), range(1001, 10));
        assert_eq!(find_gap(POOL, vec![(1050, 1060), (1001, 1011)], 10), range(1011, 10));
        assert_eq!(find_gap(POOL, vec![(1005, 1006), (900, 1003)], 10), range(1006, 10));
        assert_eq!(find_gap(POOL, vec![(1020, 1200), (1001, 1011)], 10), None);
        assert_eq!(find_gap(POOL, vec![], 99), range(1001, 99));
        assert_eq!(find_gap(POOL, vec![], 100), None);
        assert_eq!(find_gap(POOL, vec![], 0), None);
    }

    #[test]
    fn the_registry_reads_back_as_it_is_written() {
        let ranges = vec![("alice".parse().unwrap(), IdRange { first: 524_289, count: 65_536 })];
        let text = render(&ranges);
        let lines: Vec<_> =
            text.lines().filter(|line| !line.starts_with('#')).map(|line| parse(line).unwrap()).collect();
        assert_eq!(lines, ranges);
        assert!(parse("../x = { first = 1, count = 2 }").is_none());
    }

    #[test]
    fn the_lock_of_a_process_that_was_killed_holds_nobody_up() {
        let dir = std::env::temp_dir().join(format!("cellblock-ids-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let (path, lock) = (dir.join("subuid"), dir.join("subuid.lock"));
        // Above the largest pid that Linux gives (proc(5), pid_max).
        fs::write(&lock, "4194305").unwrap();
        drop(ShadowLock::take(&path).unwrap());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "it is released, and nothing is left");

        fs::write(&lock, std::process::id().to_string()).unwrap();
        assert!(matches!(holder(&lock), Holder::There));
        fs::write(&lock, "").unwrap();
        assert!(matches!(holder(&lock), Holder::There));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn spare_cells_get_the_highest_gap() {
        let gap = |taken: &[(u64, u64)], count| find_last_gap(POOL, taken.to_vec(), count).map(|range| range.first);
        assert_eq!(gap(&[], 10), Some(1090));
        assert_eq!(gap(&[(1001, 1050), (1095, 2000)], 10), Some(1085));
        assert_eq!(gap(&[(1085, 1095), (1080, 1082), (5000, 6000)], 10), Some(1070));
        assert_eq!(gap(&[(1001, 1095)], 10), None);
        assert_eq!(gap(&[], 99), Some(1001));
        assert_eq!(gap(&[], 100), None, "the first id is the ssh process's");
    }

    #[test]
    fn subordinate_ranges_of_others_are_seen() {
        assert_eq!(subordinate_ranges("# x\nuser:100000:65536\nbad\n"), vec![(100_000, 165_536)]);
    }
}
