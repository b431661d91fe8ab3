//! Anonymous files that can no longer change.

use std::{
    ffi::CStr,
    fs::File,
    io::{self, Read, Write as _},
    os::fd::{AsFd as _, OwnedFd},
};

use rustix::fs::{MemfdFlags, Mode, SealFlags, fchmod, fcntl_add_seals, fcntl_get_seals, memfd_create};

use super::{Errno, SysResult};

/// All seals: neither the size nor a byte can change, nor the seals.
const SEALS: SealFlags = SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// A sealed file holding `bytes`. `name` shows in `/proc/PID/maps`.
pub fn sealed(name: &CStr, bytes: &[u8]) -> SysResult<OwnedFd> {
    let mut file = create(name)?;
    file.write_all(bytes)?;
    seal(file)
}

/// A sealed copy of a program that can be executed by all and read by nobody (mode 0111): what it
/// runs in cannot be traced by those it is run for (docs/kernel.md, L).
pub fn sealed_program(name: &CStr, program: &mut impl Read) -> SysResult<OwnedFd> {
    let mut file = create(name)?;
    io::copy(program, &mut file)?;
    fchmod(file.as_fd(), Mode::from_bits_retain(0o111))?;
    seal(file)
}

fn create(name: &CStr) -> SysResult<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // MFD_EXEC (Linux 6.3) is required where vm.memfd_noexec is 1; older kernels do not know it.
    let fd = match memfd_create(name, flags | MemfdFlags::EXEC) {
        Err(rustix::io::Errno::INVAL) => memfd_create(name, flags)?,
        made => made?,
    };
    Ok(File::from(fd))
}

/// How often the kernel is asked anew to seal: each time it has waited a sixth of a second itself.
const ATTEMPTS: usize = 60;

fn seal(file: File) -> SysResult<OwnedFd> {
    // EBUSY: somebody holds one of its pages, who may write it later (mm/memfd.c). Nobody but the kernel has
    // it: whoever moves pages together, or writes what memory is short of, lets it go again.
    let mut attempts = 0..ATTEMPTS;
    while let Err(errno) = fcntl_add_seals(file.as_fd(), SEALS) {
        if errno != rustix::io::Errno::BUSY || attempts.next().is_none() {
            return Err(errno.into());
        }
    }
    if fcntl_get_seals(file.as_fd())?.contains(SEALS) { Ok(file.into()) } else { Err(Errno::EPERM) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt as _, PermissionsExt as _};

    #[test]
    fn a_sealed_file_cannot_be_written_or_resized() {
        let file = File::from(sealed(c"test", b"hello").unwrap());
        assert!(file.write_at(b"x", 0).is_err());
        assert!(file.set_len(1).is_err());
        assert!(file.set_len(10).is_err());
    }

    #[test]
    fn a_sealed_program_can_be_executed_by_all_and_read_by_nobody() {
        let file = File::from(sealed_program(c"test", &mut &b"x"[..]).unwrap());
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o111);
    }
}
