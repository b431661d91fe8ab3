//! A terminal of the cell's, relayed to the caller's: which is made raw meanwhile, so that all that is typed
//! means what it means in the cell, and is as it was at whatever end.

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Instant,
};

use crate::base::Result;
use crate::sys::poll::{self, Watch};
use crate::sys::signal::{SIGHUP, SIGTERM, SIGWINCH};
use crate::sys::{Errno, SysResult, fd, pty};
use crate::wire::modes;
use crate::wire::session::{LAST_BYTES, LAST_WORDS, Terminal as Wanted, WindowSize};

use super::failed;
use super::pipes::{start, write_all};
use super::session::{Relay, Taken};

/// As much as a terminal brings at once.
const BUFFER: usize = 4096;

/// What a program may have left on, where it did not end by itself: the other screen, a hidden cursor,
/// reports of the mouse, marks around pasted text, colours.
const TIDY: &[u8] = b"\x1b[?1047l\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[0m";

/// What kind of terminal to ask for: one like the caller's.
pub(super) fn wanted(term: Option<OsString>) -> Result<Wanted> {
    let failed = failed("looking at the terminal");
    let stdin = io::stdin();
    let modes = modes::of(&pty::modes(stdin.as_fd()).map_err(&failed)?);
    let term = term.and_then(|term| term.into_string().ok()).unwrap_or_else(|| "dumb".to_owned());
    Ok(Wanted { term, size: size(stdin.as_fd()).map_err(&failed)?, modes })
}

fn size(terminal: BorrowedFd<'_>) -> SysResult<WindowSize> {
    let [columns, rows, width, height] = pty::size(terminal)?;
    Ok(WindowSize { columns, rows, width, height })
}

/// See the module. Dropping it gives the caller's terminal back.
#[derive(Debug)]
pub(super) struct Terminal {
    master: Arc<OwnedFd>,
    own: OwnedFd,
    before: pty::Modes,
    /// Whether the program ended by itself.
    tidy: bool,
    done: OwnedFd,
    hung_up: OwnedFd,
    /// The other end, so that only what is written there counts.
    _reading: Arc<OwnedFd>,
    /// Dropped when the program has ended.
    running: Option<OwnedFd>,
}

impl Terminal {
    /// Relays the terminal that `master` is of.
    pub(super) fn relay(master: OwnedFd) -> Result<Self> {
        let failed = failed("relaying the terminal");
        let own = fd::duplicate(io::stdin().as_fd()).map_err(&failed)?;
        let out = fd::duplicate(io::stdout().as_fd()).map_err(&failed)?;
        let from = fd::duplicate(io::stdin().as_fd()).map_err(&failed)?;
        let (done, working) = fd::pipe().map_err(&failed)?;
        let (hung_up, reading) = fd::pipe().map_err(&failed)?;
        let reading = Arc::new(reading);
        let (exited, running) = fd::pipe().map_err(&failed)?;
        let before = pty::modes(own.as_fd()).map_err(&failed)?;
        let master = Arc::new(master);
        let terminal = Self {
            master: Arc::clone(&master),
            own,
            before,
            tidy: false,
            done,
            hung_up,
            _reading: Arc::clone(&reading),
            running: Some(running),
        };
        pty::set_modes(terminal.own.as_fd(), &pty::raw(&terminal.before)).map_err(&failed)?;
        terminal.resize();
        let to = Arc::clone(&master);
        start("stdin", move || match copy(from.as_fd(), to.as_fd()) {
            // How the program ended, the monitor says.
            Gone::Programs => {}
            Gone::Callers => drop(fd::write(reading.as_fd(), b"!")),
        })?;
        start("stdout", move || {
            show(&master, &exited, out.as_fd());
            drop(working);
        })?;
        Ok(terminal)
    }

    fn resize(&self) {
        // A terminal that is gone has no size; that it is gone is seen elsewhere.
        if let Ok(WindowSize { columns, rows, width, height }) = size(self.own.as_fd()) {
            pty::set_size(self.master.as_fd(), columns, rows, width, height).unwrap_or_default();
        }
    }
}

impl Relay for Terminal {
    fn done(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }

    fn hung_up(&self) -> Option<BorrowedFd<'_>> {
        Some(self.hung_up.as_fd())
    }

    fn watched(&self) -> Vec<Watch<'_>> {
        Vec::new()
    }

    fn woken(&mut self, _ready: &[bool]) -> Result<()> {
        Ok(())
    }

    fn exited(&mut self, by_itself: bool) {
        self.tidy = by_itself;
        self.running = None;
    }

    fn notice(&mut self, text: &str) {
        // A terminal that takes nothing any more is gone.
        write_all(io::stdout().as_fd(), format!("\r\n{text}\r\n").as_bytes()).unwrap_or_default();
    }

    fn takes(&mut self, number: i32) -> Option<Taken> {
        match number {
            SIGWINCH => {
                self.resize();
                Some(Taken::Done)
            }
            // The terminal is gone, or its user is to go: the program's is hung up by that.
            SIGHUP | SIGTERM => Some(Taken::Ends),
            _for_the_program => None,
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if !self.tidy && io::stdout().is_terminal() {
            write_all(io::stdout().as_fd(), TIDY).unwrap_or_default();
        }
        // A terminal that is gone needs none.
        pty::set_modes(self.own.as_fd(), &self.before).unwrap_or_default();
    }
}

/// Whose terminal was gone first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gone {
    Callers,
    Programs,
}

/// What is typed, until one of the two terminals is gone.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Gone {
    let mut buffer = [0; BUFFER];
    loop {
        match fd::read(from, &mut buffer) {
            Ok(count) => match buffer.get(..count) {
                // Nothing is no line's end: the terminal is raw.
                None | Some([]) => return Gone::Callers,
                Some(bytes) if write_all(to, bytes).is_ok() => {}
                Some(_) => return Gone::Programs,
            },
            Err(Errno::EAGAIN) => if poll::wait_readable(&[from], None).is_err() {},
            Err(_gone) => return Gone::Callers,
        }
    }
}

/// What the program shows, until its terminal is gone; or for a moment more once it has ended itself.
fn show(master: &OwnedFd, exited: &OwnedFd, out: BorrowedFd<'_>) {
    let mut buffer = vec![0; LAST_BYTES];
    let (mut ended, mut after, mut patience) = (false, 0, LAST_WORDS);
    while after < LAST_BYTES {
        let asked = Instant::now();
        let ready = if ended {
            poll::wait_readable(&[master.as_fd()], Some(asked + patience))
        } else {
            poll::wait_readable(&[master.as_fd(), exited.as_fd()], None)
        };
        let Ok(ready) = ready else { return };
        if ended {
            patience = patience.saturating_sub(asked.elapsed());
        }
        if ready.first() == Some(&true) {
            // EIO: the last process on the terminal is gone (ioctl_tty(2)).
            let count = fd::read(master.as_fd(), &mut buffer).unwrap_or(0);
            let bytes = buffer.get(..count).unwrap_or_default();
            if bytes.is_empty() || write_all(out, bytes).is_err() {
                return;
            }
            if ended {
                after += count;
            }
        } else if ended && patience.is_zero() {
            return;
        }
        ended = ended || ready.get(1) == Some(&true);
    }
}
