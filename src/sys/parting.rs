//! Letting go of sockets whose last close may take as long as somebody else likes.
//!
//! What lies unread in a unix socket goes with its last descriptor, and descriptors that lie there are
//! closed by the process that let go. One of a TCP socket with `SO_LINGER` and bytes that nobody takes sleeps
//! in close(2) for as long as its owner has said, up to 34 years (socket(7)). Only a process that is exiting
//! does not wait (`PF_EXITING`; `inet_release` in Linux).

use std::os::fd::{AsFd as _, IntoRawFd as _, OwnedFd};

use super::{
    SysResult, fd,
    process::{self, Forked, Pid},
};

/// What keeps a new process where it is until its parent has gone on.
#[derive(Debug)]
pub struct Gate(OwnedFd);

/// The parent's end. Its death opens the gate, too.
#[derive(Debug)]
pub struct Shut(OwnedFd);

impl Shut {
    /// Opens the gate: by a word, because others that were forked meanwhile may have this end, too. One behind which
    /// nobody is left is open as well.
    pub fn open(self) {
        if fd::write(self.0.as_fd(), &[0]).is_err() {}
    }
}

/// A gate for the next fork. The child drops its copy of [`Shut`].
pub fn gate() -> SysResult<(Gate, Shut)> {
    let (gate, shut) = fd::pipe()?;
    Ok((Gate(gate), Shut(shut)))
}

impl Gate {
    /// Waits until it is open.
    pub fn pass(self) -> SysResult<()> {
        fd::read(self.0.as_fd(), &mut [0]).map(|_end| ())
    }
}

/// Descriptors that this process does not close: they stay open until it ends, or go to a child that does.
#[derive(Debug, Default)]
pub struct Parting(Vec<OwnedFd>);

impl Parting {
    /// One more.
    pub fn hold(&mut self, fd: OwnedFd) {
        self.0.push(fd);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Forks a child that has nothing else to do than to hold them to the last, and closes them here. The
    /// child, whose pid and pidfd these are, first does `in_child`. When the fork fails all is as it was.
    pub fn leave(&mut self, in_child: impl FnOnce()) -> SysResult<(Pid, OwnedFd)> {
        let (gate, shut) = gate()?;
        match process::fork()? {
            Forked::Child => {
                let _never_back = ExitGuard;
                drop(shut);
                in_child();
                // Open or broken: the parent has gone on.
                process::exit_now(i32::from(gate.pass().is_err()))
            }
            Forked::Parent { pid, pidfd } => {
                self.0.clear();
                shut.open();
                Ok((pid, pidfd))
            }
        }
    }
}

/// The child must not come back to what its parent does, not even by a panic.
struct ExitGuard;

impl Drop for ExitGuard {
    fn drop(&mut self) {
        process::exit_now(70);
    }
}

impl Drop for Parting {
    /// They are left to the end of the process.
    fn drop(&mut self) {
        for fd in self.0.drain(..) {
            let _open_for_good = fd.into_raw_fd();
        }
    }
}
