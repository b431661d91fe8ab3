//! What is typed at the terminal of whoever runs us, unseen (termios(3)).

use std::{
    fs::File,
    io::{IsTerminal as _, Write as _},
    os::fd::AsFd as _,
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::base::Secret;

use super::signal::{self, Signals};
use super::{Errno, SysResult, poll, process};

/// Whether standard input is a terminal.
#[must_use]
pub fn is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// Writes `prompt` to the controlling terminal and reads a line from it without echo, its first `most`
/// bytes. A signal that would end us does so once the terminal is as it was.
pub fn hidden(prompt: &str, most: usize) -> SysResult<Secret> {
    let mut tty = File::options().read(true).write(true).open("/dev/tty")?;
    let mut signals = Signals::block(&[signal::SIGINT, signal::SIGTERM, signal::SIGHUP, signal::SIGQUIT])?;
    let silence = Silence::over(tty.try_clone()?)?;
    tty.write_all(prompt.as_bytes())?;
    let read = read_line(&tty, &mut signals, most);
    drop(silence);
    tty.write_all(b"\n")?;
    match read? {
        Ok(line) => Ok(line),
        Err(number) => {
            signal::reset_all()?;
            process::kill(process::own_pid(), number)?;
            Err(Errno::EINTR)
        }
    }
}

/// The line, or the signal that came first.
fn read_line(tty: &File, signals: &mut Signals, most: usize) -> SysResult<Result<Secret, i32>> {
    let mut line = Vec::with_capacity(most);
    loop {
        let ready = poll::wait_readable(&[signals.as_fd(), tty.as_fd()], None)?;
        if ready.first() == Some(&true)
            && let Some(number) = signals.take_one()?
        {
            drop(Secret::new(line));
            return Ok(Err(number));
        }
        if ready.get(1) != Some(&true) {
            continue;
        }
        let mut byte = [0];
        match rustix::io::read(tty, &mut byte)? {
            0 => return Ok(Ok(Secret::new(line))),
            _one if byte == *b"\n" => return Ok(Ok(Secret::new(line))),
            _one if line.len() < most => line.extend(byte),
            _too_many => {}
        }
    }
}

/// No echo on a terminal, until this is dropped.
struct Silence {
    tty: File,
    before: Termios,
}

impl Silence {
    fn over(tty: File) -> SysResult<Self> {
        let before = tcgetattr(&tty)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&tty, OptionalActions::Flush, &silent)?;
        Ok(Self { tty, before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that is gone needs none.
        tcsetattr(&self.tty, OptionalActions::Flush, &self.before).ok();
    }
}
