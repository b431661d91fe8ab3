//! `copy-data`: from one open file to another, without a way through the client.

use std::{
    fs::File,
    os::{
        fd::AsFd as _,
        unix::fs::{FileExt as _, MetadataExt as _},
    },
};

use crate::sys::{Errno, path};

use super::reply::Status;

/// Bytes in one go.
const PIECE: usize = 1 << 20;

/// Copies `length` bytes, or all that is there now for 0; how many that were. Both must be regular files: the end of
/// what is copied is known before, so that it ends.
pub(super) fn copy(from: (&File, u64), to: (&File, u64), length: u64) -> Result<u64, Status> {
    let (source, target) = (from.0.metadata()?, to.0.metadata()?);
    if !source.is_file() || !target.is_file() {
        return Err(Errno::ENOTSUP.into());
    }
    let there = source.len().saturating_sub(from.1);
    let length = if length == 0 { there } else { length.min(there) };
    let same = (source.dev(), source.ino()) == (target.dev(), target.ino());
    if same && from.1 < to.1.saturating_add(length) && to.1 < from.1.saturating_add(length) {
        return Err(Errno::EINVAL.into());
    }
    let mut done: u64 = 0;
    while done < length {
        let piece = usize::try_from(length.saturating_sub(done)).unwrap_or(PIECE).min(PIECE);
        let (read_at, write_at) = (from.1.saturating_add(done), to.1.saturating_add(done));
        let copied = match path::copy((from.0.as_fd(), read_at), (to.0.as_fd(), write_at), piece) {
            Ok(copied) => copied,
            // Between file systems, or one that cannot; or a file that is only written at its end.
            Err(Errno::EXDEV | Errno::EINVAL | Errno::ENOSYS | Errno::ENOTSUP | Errno::EBADF) => {
                let mut bytes = vec![0; piece];
                let length = from.0.read_at(&mut bytes, read_at)?;
                to.0.write_all_at(bytes.get(..length).unwrap_or_default(), write_at)?;
                length
            }
            Err(errno) => return Err(errno.into()),
        };
        if copied == 0 {
            // It has become shorter meanwhile.
            break;
        }
        done = done.saturating_add(u64::try_from(copied).unwrap_or(0));
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_part_is_copied_and_never_over_itself_or_from_what_has_no_end() {
        let dir = std::env::temp_dir().join(format!("cellblock-copy-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let open =
            |name: &str| File::options().read(true).write(true).create(true).truncate(false).open(dir.join(name));
        let (a, b) = (open("a").unwrap(), open("b").unwrap());
        a.write_all_at(b"0123456789", 0).unwrap();
        assert_eq!(copy((&a, 2), (&b, 0), 3), Ok(3));
        assert_eq!(fs::read(dir.join("b")).unwrap(), b"234");
        assert_eq!(copy((&a, 0), (&b, 3), 0), Ok(10));
        assert_eq!(fs::read(dir.join("b")).unwrap(), b"2340123456789");
        assert_eq!(copy((&a, 0), (&b, 0), u64::MAX), Ok(10), "as far as it goes");
        let again = open("a").unwrap();
        assert!(copy((&a, 0), (&again, 5), 0).is_err());
        assert_eq!(copy((&a, 0), (&again, 10), 0), Ok(10));
        let zero = File::open("/dev/zero").unwrap();
        assert!(copy((&zero, 0), (&b, 0), 0).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
