//! The program's pipes, relayed to whatever the caller has for input and output: a thread for each, which
//! waits in the kernel. (This process is the caller's own; it has no rights and forks nobody.)
//!
//! The end of a stream and a broken pipe travel as they would without us: what has ended or broken on one
//! side is closed on the other.

use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    thread,
};

use crate::base::{Result, fail};
use crate::sys::fd::{self, Moved};
use crate::sys::poll::{self, Watch};
use crate::sys::{Errno, SysResult};

use super::failed;
use super::session::{Relay, Taken};

/// Standard input, output and error of the caller.
const STDIN: i32 = 0;
const STDOUT: i32 = 1;
const STDERR: i32 = 2;

/// Moved at once: as much as a pipe may hold without a capability (pipe(7)).
const MOST: usize = 1 << 20;

/// Copied at once where nothing can be spliced: what a pipe holds.
const BUFFER: usize = 64 << 10;

/// Threads need no more than the buffer and some calls.
const STACK: usize = 256 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Pipes {
    done: OwnedFd,
    notices: File,
}

impl Pipes {
    /// Relays these ends of the program's pipes. Takes over the caller's descriptors 0 to 2.
    pub(super) fn relay(stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd) -> Result<Self> {
        let failed = failed("relaying the session");
        let notices = File::from(fd::duplicate(io::stderr().as_fd()).map_err(&failed)?);
        let (done, working) = fd::pipe().map_err(&failed)?;
        let working_too = fd::duplicate(working.as_fd()).map_err(&failed)?;
        let own = |number| fd::inherited(number).map_err(&failed);
        let (from, out, err) = (own(STDIN)?, own(STDOUT)?, own(STDERR)?);
        // Pages of a file that were spliced into a pipe are the host's own, and the cell holds its end: we
        // do not do that. Whoever fills the caller's pipe might have (docs/threat-model.md).
        let splices = fd::is_stream(from.as_fd()).map_err(&failed)?;
        for pipe in [&stdin, &stdout] {
            // Fewer turns for much data. Who has many pipes gets small ones, which do as well.
            if fd::set_pipe_size(pipe.as_fd(), MOST).is_err() {}
        }
        start("stdin", move || pump(&from, &stdin, splices))?;
        start("stdout", move || {
            pump(&stdout, &out, true);
            drop(working);
        })?;
        start("stderr", move || {
            pump(&stderr, &err, true);
            drop(working_too);
        })?;
        Ok(Self { done, notices })
    }
}

impl Relay for Pipes {
    fn done(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }

    fn hung_up(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// As sshd, which waits until nobody holds the pipes any more.
    fn exited(&mut self, _by_itself: bool) {}

    fn notice(&mut self, text: &str) {
        drop(writeln!(self.notices, "{text}"));
    }

    fn takes(&mut self, _number: i32) -> Option<Taken> {
        None
    }
}

/// Runs `work` beside the rest.
pub(super) fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(work);
    thread.map(drop).map_err(|cause| fail("relaying the session", name, cause))
}

/// Moves all that comes, until `from` ends or `to` breaks. The caller closes both then.
fn pump(from: &OwnedFd, to: &OwnedFd, mut splices: bool) {
    let (from, to) = (from.as_fd(), to.as_fd());
    let mut buffer = Vec::new();
    while let Ok(true) = wait(from, to) {
        let moved = if splices { fd::splice(from, to, MOST) } else { copy(from, to, &mut buffer) };
        match moved {
            Ok(Moved::Bytes(_)) => {}
            Ok(Moved::Unfit) => splices = false,
            // Somebody made the caller's end non-blocking: it is full, or `from` was empty after all.
            Err(Errno::EAGAIN) => if wait_for_room(to).is_err() {},
            Ok(Moved::End) | Err(_) => return,
        }
    }
}

/// Waits until there is something to move; false if `to` is broken.
fn wait(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> SysResult<bool> {
    loop {
        match poll::wait(&[Watch::Readable(from), Watch::Broken(to)], None)?.as_slice() {
            [_, true] => return Ok(false),
            [true, _] => return Ok(true),
            // A signal.
            _none => {}
        }
    }
}

fn wait_for_room(to: BorrowedFd<'_>) -> SysResult<()> {
    poll::wait(&[Watch::Writable(to)], None).map(drop)
}

/// Copies what one read brings.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> SysResult<Moved> {
    buffer.resize(BUFFER, 0);
    let count = fd::read(from, buffer)?;
    match buffer.get(..count) {
        None | Some([]) => Ok(Moved::End),
        Some(bytes) => write_all(to, bytes).map(|()| Moved::Bytes(count)),
    }
}

/// Writes all of it, however `to` is set.
pub(super) fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> SysResult<()> {
    while !bytes.is_empty() {
        match fd::write(to, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::EAGAIN) => wait_for_room(to)?,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
