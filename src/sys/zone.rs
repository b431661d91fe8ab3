//! Time zones, each read from its own file. jiff's own search lists every zone that the host has
//! before it finds one: in each new process that costs 2 ms and 200 KiB.

use std::{
    env,
    fs::File,
    io::{Error, ErrorKind, Read as _, Result},
    path::Path,
};

use jiff::tz::TimeZone;

/// The zone that programs of this host show their times in (tzset(3)).
const LOCAL: &str = "/etc/localtime";

/// Where the package tzdata has the others.
const ZONES: &str = "/usr/share/zoneinfo";

/// Longest file: those of tzdata have up to 4 KiB.
const MAX_FILE: u64 = 64 << 10;

/// Longest name of a zone: those of tzdata have up to 32 characters.
const MAX_NAME: usize = 64;

/// The zone of this process: by `TZ`, where that is set to a name, a file or a rule of POSIX's, else
/// the host's. UTC where the host has none, as for libc.
pub fn system() -> Result<TimeZone> {
    let said = env::var("TZ").unwrap_or_default();
    match said.strip_prefix(':').unwrap_or(&said) {
        "" => match file(Path::new(LOCAL)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(TimeZone::UTC),
            read => read,
        },
        path if path.starts_with('/') => file(Path::new(path)),
        name => named(name).or_else(|why| TimeZone::posix(name).map_err(|_no_rule| why)),
    }
}

/// The zone called `name`, as in `Europe/Berlin`.
pub fn named(name: &str) -> Result<TimeZone> {
    if name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    let ordinary = |b: u8| b.is_ascii_alphanumeric() || b"_-+".contains(&b);
    let good = |part: &str| !part.is_empty() && part.bytes().all(ordinary);
    if name.len() > MAX_NAME || !name.split('/').all(good) {
        return Err(Error::new(ErrorKind::InvalidInput, "that is not the name of a time zone"));
    }
    file(&Path::new(ZONES).join(name))
}

fn file(path: &Path) -> Result<TimeZone> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    TimeZone::tzif("", &bytes).map_err(|error| Error::new(ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_their_files_and_nowhere_else() {
        let offset = |zone: TimeZone| zone.to_offset(jiff::Timestamp::UNIX_EPOCH).seconds();
        assert_eq!(offset(named("UTC").unwrap()), 0);
        if Path::new(ZONES).is_dir() {
            assert_eq!(offset(named("Asia/Tokyo").unwrap()), 9 * 3600);
        }
        for bad in ["", "/", "../localtime", "Europe/../UTC", "Asia//Tokyo", "Nowhere", &"a".repeat(65)] {
            assert!(named(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_zone_is_an_error() {
        assert_eq!(file(Path::new("/etc/passwd")).unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(file(Path::new("/dev/zero")).unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(file(Path::new("/nowhere")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
