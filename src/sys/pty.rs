//! Terminals (pty(7)): made in one devpts instance, set up, made the controlling one.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::{
    fs::{Mode, OFlags},
    pty::OpenptFlags,
    termios::{OptionalActions, Termios, Winsize},
};

use super::{Errno, SysResult};

pub use rustix::termios::Termios as Modes;
pub use rustix::termios::{ControlModes, InputModes, LocalModes, OutputModes, SpecialCodeIndex};

/// A new terminal out of the devpts instance behind `/dev/ptmx`: master and slave (`TIOCGPTPEER`,
/// Linux 4.13), both close-on-exec, neither the caller's controlling terminal.
pub fn open() -> SysResult<(OwnedFd, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty())?;
    rustix::pty::unlockpt(master.as_fd())?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(master.as_fd(), flags)?;
    Ok((master, slave))
}

/// The master of a new terminal alone.
pub fn open_master() -> SysResult<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty())?)
}

/// `TIOCSCTTY`: makes `terminal` the controlling terminal of the caller, a session leader without one.
pub fn make_controlling(terminal: BorrowedFd<'_>) -> SysResult<()> {
    Ok(rustix::process::ioctl_tiocsctty(terminal)?)
}

/// `TIOCSWINSZ`.
pub fn set_size(terminal: BorrowedFd<'_>, columns: u16, rows: u16, width: u16, height: u16) -> SysResult<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: width, ws_ypixel: height };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}

/// The slave's name, `/dev/pts/N`.
pub fn name(master: BorrowedFd<'_>) -> SysResult<String> {
    let name = rustix::pty::ptsname(master, Vec::new())?;
    name.into_string().map_err(|_text| Errno::EIO)
}

/// Changes the terminal's modes: tcgetattr(3), `change`, tcsetattr(3).
pub fn change_modes(terminal: BorrowedFd<'_>, change: impl FnOnce(&mut Termios)) -> SysResult<()> {
    let mut modes = rustix::termios::tcgetattr(terminal)?;
    change(&mut modes);
    Ok(rustix::termios::tcsetattr(terminal, OptionalActions::Now, &modes)?)
}

/// tcgetattr(3).
pub fn modes(terminal: BorrowedFd<'_>) -> SysResult<Termios> {
    Ok(rustix::termios::tcgetattr(terminal)?)
}

/// tcsetattr(3), at once: what the terminal has still to show was made fit for it when it was written.
pub fn set_modes(terminal: BorrowedFd<'_>, modes: &Termios) -> SysResult<()> {
    Ok(rustix::termios::tcsetattr(terminal, OptionalActions::Now, modes)?)
}

/// cfmakeraw(3): what is typed comes as it is, and what is written goes as it is.
#[must_use]
pub fn raw(modes: &Termios) -> Termios {
    let mut raw = modes.clone();
    raw.make_raw();
    raw
}

/// `TIOCGWINSZ`: columns, rows, width, height.
pub fn size(terminal: BorrowedFd<'_>) -> SysResult<[u16; 4]> {
    let Winsize { ws_row, ws_col, ws_xpixel, ws_ypixel } = rustix::termios::tcgetwinsize(terminal)?;
    Ok([ws_col, ws_row, ws_xpixel, ws_ypixel])
}

/// Whether both standard input and output are terminals. Asked of the bare descriptors: `std::io::stdin` makes a buffer.
#[must_use]
pub fn are_terminals_at_both_ends() -> bool {
    is_terminal(rustix::stdio::stdin()) && is_terminal(rustix::stdio::stdout())
}

/// isatty(3).
#[must_use]
pub fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    rustix::termios::isatty(fd)
}
