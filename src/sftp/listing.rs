//! A directory that is being read, a packet's worth at a time, and `ls -l`'s line for each name.

use std::{
    ffi::OsStr,
    fs::{self, Metadata, ReadDir},
    io,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use jiff::{Timestamp, tz::TimeZone};

use crate::sys::zone;

use super::{accounts::Accounts, packet::Attributes};

/// Bytes of names, lines and attributes after which a packet is full: all clients must take packets
/// of 34,000 bytes (draft-ietf-secsh-filexfer-02, section 3), and a name is at most 255 long.
const FULL: usize = 32_000;

/// For so long a file's time is shown with the hour, and no year: half a year, as `ls` does.
const RECENT: i64 = 365 * 24 * 3600 / 2;

/// A name, its line, its attributes.
pub(super) type Entry = (Vec<u8>, Vec<u8>, Attributes);

/// How far a directory was read.
#[derive(Debug)]
pub(super) struct Listing {
    path: PathBuf,
    entries: ReadDir,
    /// `.` and `..` are listed first; the standard library leaves them out.
    dots: &'static [&'static str],
}

impl Listing {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), entries: fs::read_dir(path)?, dots: &[".", ".."] })
    }

    /// The next names; none at the end. Those that are gone meanwhile are left out.
    pub(super) fn next(&mut self, accounts: &mut Accounts, clock: &Clock) -> io::Result<Vec<Entry>> {
        let (mut names, mut size) = (Vec::new(), 0);
        while size < FULL {
            let (name, meta) = match self.dots.split_first() {
                Some((dot, rest)) => {
                    self.dots = rest;
                    ((*dot).into(), fs::symlink_metadata(self.path.join(dot)))
                }
                None => match self.entries.next() {
                    Some(entry) => {
                        let entry = entry?;
                        (entry.file_name(), entry.metadata())
                    }
                    None => break,
                },
            };
            let Ok(meta) = meta else { continue };
            let line = line(&name, &meta, accounts, clock);
            let name = name.into_vec();
            size = size.saturating_add(name.len()).saturating_add(line.len()).saturating_add(48);
            names.push((name, line, attributes(&meta)));
        }
        Ok(names)
    }
}

/// What a packet says of a file.
pub(super) fn attributes(meta: &Metadata) -> Attributes {
    // Times of 32 bits are all that version 3 has.
    let seconds = |time: i64| u32::try_from(time).unwrap_or(if time < 0 { 0 } else { u32::MAX });
    Attributes {
        size: Some(meta.size()),
        owner: Some((meta.uid(), meta.gid())),
        mode: Some(meta.mode()),
        times: Some((seconds(meta.atime()), seconds(meta.mtime()))),
    }
}

/// The time and zone of the session, for lines.
#[derive(Debug)]
pub(super) struct Clock {
    zone: TimeZone,
    now: i64,
}

impl Clock {
    /// The cell's zone, as its `/etc/localtime` says.
    pub(super) fn new() -> Self {
        Self { zone: zone::system().unwrap_or(TimeZone::UTC), now: Timestamp::now().as_second() }
    }

    fn show(&self, time: i64) -> String {
        let form =
            if (self.now.saturating_sub(RECENT)..=self.now).contains(&time) { "%b %e %H:%M" } else { "%b %e  %Y" };
        let Ok(time) = Timestamp::from_second(time) else { return "?".into() };
        time.to_zoned(self.zone.clone()).strftime(form).to_string()
    }
}

/// What `ls -l` prints of a file.
fn line(name: &OsStr, meta: &Metadata, accounts: &mut Accounts, clock: &Clock) -> Vec<u8> {
    let shown =
        |name: Option<&[u8]>, id: u32| name.map_or_else(|| id.to_string(), |name| String::from_utf8_lossy(name).into());
    let user = shown(accounts.user(meta.uid()), meta.uid());
    let group = shown(accounts.group(meta.gid()), meta.gid());
    let (mode, links, size) = (mode_text(meta.mode()), meta.nlink(), meta.size());
    let head = format!("{mode} {links:>3} {user:<8} {group:<8} {size:>8} {} ", clock.show(meta.mtime()));
    [head.as_bytes(), name.as_bytes()].concat()
}

/// As in the first column of `ls -l`.
fn mode_text(mode: u32) -> String {
    let kind = match mode & 0o170_000 {
        0o010_000 => 'p',
        0o020_000 => 'c',
        0o040_000 => 'd',
        0o060_000 => 'b',
        0o100_000 => '-',
        0o120_000 => 'l',
        0o140_000 => 's',
        _other => '?',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, false) => letter.to_ascii_uppercase(),
            (true, true) => letter,
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_look_as_in_ls() {
        for (mode, text) in [
            (0o100_644, "-rw-r--r--"),
            (0o040_755, "drwxr-xr-x"),
            (0o104_755, "-rwsr-xr-x"),
            (0o102_644, "-rw-r-Sr--"),
            (0o041_777, "drwxrwxrwt"),
            (0o120_777, "lrwxrwxrwx"),
        ] {
            assert_eq!(mode_text(mode), text);
        }
    }

    #[test]
    fn an_old_time_is_shown_with_its_year_and_a_new_one_with_its_hour() {
        let clock = Clock { zone: TimeZone::UTC, now: 1_700_000_000 };
        assert_eq!(clock.show(1_699_990_000), "Nov 14 19:26");
        assert_eq!(clock.show(0), "Jan  1  1970");
        assert_eq!(clock.show(1_800_000_000), "Jan 15  2027");
        assert_eq!(clock.show(i64::MAX), "?");
    }

    #[test]
    fn a_huge_directory_comes_in_many_packets_that_all_clients_can_take() {
        let dir = std::env::temp_dir().join(format!("cellblock-listing-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        for number in 0..700 {
            fs::write(dir.join(format!("{number:0>200}")), "").unwrap();
        }
        let mut listing = Listing::open(&dir).unwrap();
        let (mut accounts, clock) = (Accounts::default(), Clock::new());
        let (mut seen, mut packets) = (0, 0);
        loop {
            let names = listing.next(&mut accounts, &clock).unwrap();
            if names.is_empty() {
                break;
            }
            let size: usize = names.iter().map(|(name, line, _)| name.len() + line.len() + 48).sum();
            assert!(size < 34_000, "{size}");
            seen += names.len();
            packets += 1;
        }
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(seen, 702, "with . and ..");
        assert!(packets > 5);
    }
}
