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

/// `N` such bytes as hexadecimal digits: a name that nobody else has.
pub fn hex<const N: usize>() -> SysResult<String> {
    Ok(bytes::<N>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}
