//! The program's pipes, relayed to whatever the caller has for input and output: a thread for each on which
//! something comes, which waits in the kernel. (This process is the caller's own; it has no rights and forks
//! nobody.)
//!
//! The end of a stream and a broken pipe travel as they would without us: what has ended or broken on one
//! side is closed on the other.

use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    thread,
    time::Instant,
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

/// A stream on which nothing has come yet.
#[derive(Debug)]
struct Idle {
    name: &'static str,
    from: OwnedFd,
    to: OwnedFd,
    /// Whether pages may be moved instead of bytes.
    splices: bool,
    /// Of a stream out of the cell, to whose other end we alone listen: gone once all was passed on.
    working: Option<OwnedFd>,
}

impl Idle {
    /// Whether what has come is nothing but the end: nobody can write any more, and nothing is left. (That nothing
    /// is left alone means little: a program can read its own output back by `/proc/self/fd`.)
    fn has_ended(&self) -> bool {
        let from = self.from.as_fd();
        let hung_up = || poll::wait(&[Watch::Broken(from)], Some(Instant::now()));
        self.working.is_some() && hung_up() == Ok(vec![true]) && fd::waiting(from) == Ok(0)
    }

    /// Moves what comes from now on, beside the rest.
    fn begin(self) -> Result<()> {
        let Self { name, from, to, splices, working } = self;
        let ours = if working.is_some() { &from } else { &to };
        // Fewer turns for much data. Who has many pipes gets small ones, which do as well.
        fd::set_pipe_size(ours.as_fd(), MOST).unwrap_or_default();
        start(name, move || {
            pump(&from, &to, splices);
            drop(working);
        })
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pipes {
    idle: Vec<Idle>,
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
        let mut idle = vec![
            Idle { name: "stdout", from: stdout, to: out, splices: true, working: Some(working) },
            Idle { name: "stderr", from: stderr, to: err, splices: true, working: Some(working_too) },
        ];
        // Nothing ever comes from there, and the program sees the end at once.
        if !fd::is_null(from.as_fd()).map_err(&failed)? {
            idle.push(Idle { name: "stdin", from, to: stdin, splices, working: None });
        }
        Ok(Self { idle, done, notices })
    }
}

impl Relay for Pipes {
    fn done(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }

    fn hung_up(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn watched(&self) -> Vec<Watch<'_>> {
        fn both(idle: &Idle) -> [Watch<'_>; 2] {
            [Watch::Readable(idle.from.as_fd()), Watch::Broken(idle.to.as_fd())]
        }
        self.idle.iter().flat_map(both).collect()
    }

    fn woken(&mut self, ready: &[bool]) -> Result<()> {
        let mut ready = ready.chunks(2);
        for idle in std::mem::take(&mut self.idle) {
            match ready.next() {
                // Closed on both sides.
                Some([_, true]) => drop(idle),
                Some([true, _]) if idle.has_ended() => drop(idle),
                Some([true, _]) => idle.begin()?,
                _nothing_yet => self.idle.push(idle),
            }
        }
        Ok(())
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
