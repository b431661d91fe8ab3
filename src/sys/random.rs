//! getrandom(2).

use rustix::rand::{GetRandomFlags, getrandom};

use super::{Errno, SysResult, error::retry};

/// `N` bytes from the kernel's generator, waiting for it to be seeded.
pub fn bytes<const N: usize>() -> SysResult<[u8; N]> {
    let mut out = [0; N];
    // Up to 256 bytes arrive whole (getrandom(2)).
    let length = retry(|| Ok(getrandom(&mut out, GetRandomFlags::empty())?))?;
    if length == N { Ok(out) } else { Err(Errno::EIO) }
}
