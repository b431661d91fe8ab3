//! Sealed files, mapped for reading.

use std::{
    fmt,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr::{self, NonNull},
    slice,
};

use rustix::fs::{SealFlags, fcntl_get_seals, fstat};

use super::{Errno, SysResult};

/// A sealed memfd in memory, shared with every process forked from here.
pub struct Map {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the bytes are mapped read-only and sealed against writing, so any thread may read them.
unsafe impl Send for Map {}
// SAFETY: as above; there is no interior mutability.
unsafe impl Sync for Map {}

impl Map {
    /// mmap(2), `MAP_SHARED` and `PROT_READ`, of all of `file`. `EPERM` unless it is sealed against
    /// writing and shrinking, `EINVAL` if it is empty.
    pub fn sealed(file: BorrowedFd<'_>) -> SysResult<Self> {
        if !fcntl_get_seals(file)?.contains(SealFlags::WRITE | SealFlags::SHRINK) {
            return Err(Errno::EPERM);
        }
        let length = usize::try_from(fstat(file)?.st_size).map_err(|_negative| Errno::EOVERFLOW)?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that exists.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let start = NonNull::new(start.cast()).ok_or(Errno::ENOMEM)?;
        Ok(Self { start, length })
    }

    /// The file's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: mapped for reading from `start` for `length` bytes until drop; the seals, checked
        // in the constructor, mean that nobody can change or take them away.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: this mapping is ours, and no slice of it outlives self.
        let done = unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
        debug_assert_eq!(done, 0, "munmap of a whole mapping cannot fail");
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Map({} bytes)", self.length)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::sys::memfd;

    #[test]
    fn a_sealed_file_is_mapped_and_any_other_refused() {
        let file = memfd::sealed(c"test", b"hello").unwrap();
        assert_eq!(Map::sealed(file.as_fd()).unwrap().bytes(), b"hello");
        let open = std::fs::File::open("/proc/self/exe").unwrap();
        assert!(Map::sealed(open.as_fd()).is_err());
    }
}
