//! Signals as events: blocked, and read from a descriptor. No handler ever runs our code.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr,
};

use nix::sys::{
    signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, pthread_sigmask, sigaction},
    signalfd::{SfdFlags, SignalFd},
};

use super::{Errno, SysResult};

pub use nix::libc::{
    SIGABRT, SIGALRM, SIGCHLD, SIGCONT, SIGFPE, SIGHUP, SIGILL, SIGINT, SIGIO, SIGKILL, SIGPIPE, SIGQUIT, SIGSEGV,
    SIGSTOP, SIGSYS, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};

/// Signals that wait to be read.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks `signals` in the calling thread and makes them readable from a close-on-exec,
    /// non-blocking signalfd(2).
    pub fn block(signals: &[i32]) -> SysResult<Self> {
        let mut set = SigSet::empty();
        for number in signals {
            set.add(Signal::try_from(*number)?);
        }
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// The next signal that came, if any.
    pub fn take_one(&mut self) -> SysResult<Option<i32>> {
        match self.0.read_signal()? {
            None => Ok(None),
            Some(info) => i32::try_from(info.ssi_signo).map(Some).map_err(|_range| Errno::EIO),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Signals> for OwnedFd {
    fn from(signals: Signals) -> Self {
        signals.0.into()
    }
}

/// For a process about to exec: unblocks every signal and sets every disposition to the default.
pub fn reset_all() -> SysResult<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in Signal::iterator() {
        if matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) {
            continue;
        }
        // SAFETY: the default disposition runs no code of ours.
        unsafe { sigaction(signal, &default) }?;
    }
    // All zero: SIG_DFL, no flags, no restorer, an empty mask (struct kernel_sigaction).
    let default = [0_u64; 4];
    for number in REAL_TIME {
        // glibc keeps the first two for itself and refuses to touch them, but exec carries an
        // inherited "ignore" of them along: so the call is made without glibc.
        //
        // SAFETY: the kernel reads 32 bytes, which `default` has, and writes nothing; the default
        // disposition runs no code of ours.
        let done = unsafe {
            libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), ptr::null_mut::<u8>(), size_of::<u64>())
        };
        if done < 0 {
            return Err(Errno::last());
        }
    }
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

/// sigaction(2): ignores a signal.
pub fn ignore(number: i32) -> SysResult<()> {
    let ignored = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: nothing of ours runs when the signal comes.
    unsafe { sigaction(Signal::try_from(number)?, &ignored) }?;
    Ok(())
}

/// sigaction(2): whether the calling process ignores a signal, as nohup(1) makes it.
pub fn is_ignored(number: i32) -> SysResult<bool> {
    let mut now = [0_u64; 4];
    // SAFETY: no new action is given; the kernel writes 32 bytes (struct kernel_sigaction), which `now` has.
    let done =
        unsafe { libc::syscall(libc::SYS_rt_sigaction, number, ptr::null::<u8>(), now.as_mut_ptr(), size_of::<u64>()) };
    if done < 0 { Err(Errno::last()) } else { Ok(now.first() == Some(&IGNORE)) }
}

/// `SIG_IGN`, as the kernel has it.
const IGNORE: u64 = 1;

/// Ends the calling process by this signal, without a core file. Returns only if that cannot be done, as
/// for pid 1 of a pid namespace.
pub fn die_by(number: i32) -> SysResult<()> {
    super::credentials::set_limit(super::credentials::LIMIT_CORE, 0, 0)?;
    reset_all()?;
    super::process::kill(super::process::own_pid(), number)
}

/// First and last real-time signal, as the kernel counts (signal(7)); glibc uses the first two.
const REAL_TIME: std::ops::RangeInclusive<i32> = 32..=64;

/// A signal's name without `SIG`, `RTMIN+N` for the real-time ones (N from glibc's `SIGRTMIN`, 34).
#[must_use]
pub fn name(number: i32) -> String {
    match Signal::try_from(number) {
        Ok(signal) => signal.as_str().trim_start_matches("SIG").to_owned(),
        Err(_unnamed) if REAL_TIME.contains(&number) => match number - 34 {
            0 => "RTMIN".to_owned(),
            above => format!("RTMIN{above:+}"),
        },
        Err(_unnamed) => number.to_string(),
    }
}

/// The number of a named signal, `name` without `SIG`.
#[must_use]
pub fn number(name: &str) -> Option<i32> {
    Signal::iterator().find(|signal| signal.as_str().trim_start_matches("SIG") == name).map(|signal| signal as i32)
}
