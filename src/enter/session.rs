//! The caller's one session: asked for, watched, and ended.

use std::{
    mem::ManuallyDrop,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use crate::base::{Result, fail};
use crate::sys::poll::{self, Watch};
use crate::sys::signal::{self, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, Signals};
use crate::wire::LinkError;
use crate::wire::link::exactly;
use crate::wire::session::{Exit, Signal};

use super::end::{Ending, FAULT};
use super::pipes::Pipes;
use super::starter::{Said, Starter};
use super::terminal::Terminal;
use super::{complain, failed};

/// What is passed on to the program, where nobody ignores it: as sshd passes on what a client sends.
const PASSED: [(i32, Signal); 6] = [
    (SIGHUP, Signal::Hup),
    (SIGINT, Signal::Int),
    (SIGQUIT, Signal::Quit),
    (SIGTERM, Signal::Term),
    (SIGUSR1, Signal::Usr1),
    (SIGUSR2, Signal::Usr2),
];

/// What moves a session's bytes meanwhile.
pub(super) trait Relay {
    /// Readable once all that came out of the program was passed on.
    fn done(&self) -> BorrowedFd<'_>;
    /// Readable once the caller's terminal is gone; none where there is none.
    fn hung_up(&self) -> Option<BorrowedFd<'_>>;
    /// What else to wait for; nothing, most of the time.
    fn watched(&self) -> Vec<Watch<'_>>;
    /// Which of these has come.
    fn woken(&mut self, ready: &[bool]) -> Result<()>;
    /// The program has ended, by itself or not: what others still write is not waited for without end.
    fn exited(&mut self, by_itself: bool);
    /// Tells the caller something.
    fn notice(&mut self, text: &str);
    /// What this signal means for the caller itself; none: it is for the program.
    fn takes(&mut self, number: i32) -> Option<Taken>;
}

/// What became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It was about the terminal.
    Done,
    /// The caller ends by it.
    Ends,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session<S> {
    /// Stays connected until the process ends, and a moment later so does this one: who started the session is woken
    /// by that, and its own end would go first.
    starter: ManuallyDrop<S>,
    signals: Signals,
}

impl<S: Starter> Session<S> {
    /// From here on signals are for the session. In a process with one thread: others inherit that.
    pub(super) fn begin(starter: S, with_terminal: bool) -> Result<Self> {
        let mut numbers = Vec::new();
        for (number, _) in PASSED {
            // nohup(1) and the like: what is ignored stays ignored.
            if !signal::is_ignored(number).map_err(failed("asking for signals"))? {
                numbers.push(number);
            }
        }
        numbers.extend(with_terminal.then_some(SIGWINCH));
        let signals = Signals::block(&numbers).map_err(failed("blocking signals"))?;
        Ok(Self { starter: ManuallyDrop::new(starter), signals })
    }

    /// Asks for it by `ask`. The program's streams; or how it ends that none started.
    pub(super) fn start(
        &mut self,
        ask: impl FnOnce(&mut S) -> Result<(), LinkError>,
    ) -> Result<Result<Vec<OwnedFd>, Ending>> {
        let lost = |why: LinkError| fail("starting the session", "", why);
        ask(&mut self.starter).map_err(lost)?;
        loop {
            let fds = [self.signals.as_fd(), self.starter.as_fd()];
            let ready = poll::wait_readable(&fds, None).map_err(failed("waiting"))?;
            if ready.first() == Some(&true) {
                match self.next_signal()? {
                    Some(SIGWINCH) | None => {}
                    Some(number) => return Ok(Err(Ending::Signal(number))),
                }
            }
            if ready.get(1) != Some(&true) {
                continue;
            }
            match self.starter.hear().map_err(lost)? {
                Said::Started(fds) => return Ok(Ok(fds)),
                Said::Refused(why) => {
                    complain(format_args!("cellblock: {why}"));
                    return Ok(Err(Ending::Status(FAULT)));
                }
                Said::Notice(text) => complain(text),
                Said::Nothing => {}
                Said::Ended(_) => return Err(unexpected("SessionEnded")),
                Said::Odd(name) => return Err(unexpected(&name)),
            }
        }
    }

    /// Relays what started; or ends as nothing did.
    pub(super) fn relay(self, streams: Result<Vec<OwnedFd>, Ending>, with_terminal: bool) -> Result<Ending> {
        match streams {
            Ok(fds) if with_terminal => self.on_terminal(fds),
            Ok(fds) => self.on_pipes(fds),
            Err(ending) => Ok(ending),
        }
    }

    /// Relays a terminal of the cell's to the caller's.
    fn on_terminal(self, fds: Vec<OwnedFd>) -> Result<Ending> {
        let [master] = exactly(fds).map_err(|why| fail("starting the session", "", why))?;
        self.watch(&mut Terminal::relay(master)?)
    }

    /// Relays pipes of the cell's to whatever the caller has.
    fn on_pipes(self, fds: Vec<OwnedFd>) -> Result<Ending> {
        let [stdin, stdout, stderr] = exactly(fds).map_err(|why| fail("starting the session", "", why))?;
        self.watch(&mut Pipes::relay(stdin, stdout, stderr)?)
    }

    /// Until the program has ended and what it wrote was passed on.
    fn watch(mut self, relay: &mut impl Relay) -> Result<Ending> {
        let (mut ended, mut done, mut linked) = (None, false, true);
        loop {
            if let Some(ending) = ended.filter(|_| done) {
                return Ok(ending);
            }
            let fds = [
                Some(self.signals.as_fd()),
                linked.then(|| self.starter.as_fd()),
                (!done).then(|| relay.done()),
                relay.hung_up().filter(|_| ended.is_none()),
            ];
            let ([signalled, told, finished, hung_up], more) = wait(fds, relay.watched())?;
            relay.woken(&more)?;
            // First: a signal that comes after the program's end is for nobody.
            if told {
                match self.hear(relay) {
                    Ok(exit) => ended = exit.map(|exit| note_end(relay, &exit)).or(ended),
                    // Its last word was said before.
                    Err(_gone) if ended.is_some() => linked = false,
                    Err(why) => {
                        relay.notice(&format!("cellblock: the session was lost: {why}"));
                        return Ok(Ending::Status(FAULT));
                    }
                }
            }
            if signalled {
                match self.take_signal(relay, ended.is_some())? {
                    Passed::On => {}
                    Passed::ToEnded(exit) => ended = Some(note_end(relay, &exit)),
                    Passed::ToCaller(number) => return Ok(Ending::Signal(number)),
                }
            }
            done |= finished;
            if hung_up {
                return Ok(Ending::Signal(SIGHUP));
            }
        }
    }

    /// How the program ended, if that is what was told.
    fn hear(&mut self, relay: &mut impl Relay) -> Result<Option<Exit>, LinkError> {
        match self.starter.hear()? {
            Said::Notice(text) => {
                relay.notice(&text);
                Ok(None)
            }
            Said::Ended(exit) => Ok(Some(exit)),
            Said::Nothing => Ok(None),
            Said::Started(_) | Said::Refused(_) | Said::Odd(_) => Err(LinkError::Malformed),
        }
    }

    /// Takes the next signal; whether the program `has_ended` is known.
    fn take_signal(&mut self, relay: &mut impl Relay, has_ended: bool) -> Result<Passed> {
        let Some(number) = self.next_signal()? else { return Ok(Passed::On) };
        match relay.takes(number) {
            Some(Taken::Ends) => return Ok(Passed::ToCaller(number)),
            Some(Taken::Done) => return Ok(Passed::On),
            None => {}
        }
        let passed = PASSED.iter().find(|(passed, _)| *passed == number).filter(|_| !has_ended);
        let Some((_, signal)) = passed else { return Ok(Passed::On) };
        if self.starter.signal(*signal).is_ok() {
            return Ok(Passed::On);
        }
        // Whoever started it has gone. Either it has ended, and that was said, or the signal is for the caller.
        loop {
            match self.hear(relay) {
                Ok(Some(exit)) => return Ok(Passed::ToEnded(exit)),
                Ok(None) => {}
                Err(_gone) => return Ok(Passed::ToCaller(number)),
            }
        }
    }

    fn next_signal(&mut self) -> Result<Option<i32>> {
        self.signals.take_one().map_err(failed("reading signals"))
    }
}

/// Where a signal went.
enum Passed {
    /// To the program, or to nobody.
    On,
    /// To a program that had ended so.
    ToEnded(Exit),
    /// To this process: nobody else is there.
    ToCaller(i32),
}

/// Takes in how the program ended.
fn note_end(relay: &mut impl Relay, exit: &Exit) -> Ending {
    relay.exited(matches!(exit, Exit::Status(_)));
    if *exit == Exit::CellGone {
        relay.notice("cellblock: the jail has ended");
    }
    Ending::of(exit)
}

/// Waits until one of those that are there can be read, or something else comes.
fn wait<const N: usize>(fds: [Option<BorrowedFd<'_>>; N], more: Vec<Watch<'_>>) -> Result<([bool; N], Vec<bool>)> {
    let there = fds.iter().flatten().map(|fd| Watch::Readable(*fd));
    let watched: Vec<Watch<'_>> = there.chain(more).collect();
    let mut ready = poll::wait(&watched, None).map_err(failed("waiting"))?.into_iter();
    let own = fds.map(|fd| fd.is_some() && ready.next().unwrap_or(false));
    Ok((own, ready.collect()))
}

fn unexpected(name: &str) -> crate::base::Failure {
    fail("starting the session", "", format!("the answer was {name}"))
}
