//! Whether a file system can carry a cell: owners of a tree on it can be shifted.

use std::{
    fs::{self, File},
    os::fd::AsFd as _,
    path::Path,
};

use crate::base::{Result, fail};
use crate::sys::mount::{self, Extent};
use crate::sys::process::{self, Forked, Pid, namespaces};
use crate::sys::{Errno, SysResult, seqpacket};

/// Any range does: nothing is made with its ids.
const MAP: &str = "0 1700000000 65536";

/// Whether what is mounted at `directory` can be idmapped (mount_setattr(2): not every file system
/// can, tmpfs from Linux 6.3 on). For a process with one thread.
pub fn can_shift(directory: &Path) -> Result<bool> {
    let failed = |errno: Errno| fail("trying to shift owners below", directory.display(), errno);
    let (hold, held) = seqpacket::pair().map_err(failed)?;
    match process::clone_into(namespaces::USER, None).map_err(failed)? {
        Forked::Child => {
            drop(hold);
            // It only holds its namespace, until the other end is gone.
            let told = seqpacket::receive(held.as_fd(), &mut [0; 1]);
            process::exit_now(i32::from(told.is_err()))
        }
        Forked::Parent { pid, pidfd } => {
            drop(held);
            let shifted = shift(pid, directory);
            drop(hold);
            process::wait_for(pidfd.as_fd()).map_err(failed)?;
            match shifted {
                Ok(()) => Ok(true),
                Err(Errno::EINVAL) => Ok(false),
                Err(errno) => Err(failed(errno)),
            }
        }
    }
}

fn shift(pid: Pid, directory: &Path) -> SysResult<()> {
    fs::write(format!("/proc/{pid}/uid_map"), MAP)?;
    fs::write(format!("/proc/{pid}/gid_map"), MAP)?;
    let namespace = File::open(format!("/proc/{pid}/ns/user"))?;
    let tree = mount::clone_tree_at(directory, Extent::One)?;
    mount::shift_owners(tree.as_fd(), namespace.as_fd())
}
