//! The monitor's end of `cellblock-pam`: started when a login asks for PAM, and gone when the link is.
//!
//! A module may hang, so every wait has the login's deadline; it may crash, which is a refusal.

use std::{
    ffi::CString,
    fs::File,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::Instant,
};

use crate::base::{Result, Secret, escape, fail};
use crate::sys::process::{self, Forked};
use crate::sys::{Errno, SysResult, fd, poll, seqpacket, signal};
use crate::wire::Link;
use crate::wire::pam::{Order, Prompt, Word};

use super::ssh::End;

/// Where the program finds the link.
const LINK: i32 = 3;

/// Above every number that is laid out for the new process.
const OUT_OF_THE_WAY: i32 = 10;

/// What modules find in their environment.
const PATH: &std::ffi::CStr = c"PATH=/usr/sbin:/usr/bin:/sbin:/bin";

/// One login's PAM transaction. Dropping it ends the session, if one was opened.
#[derive(Debug)]
pub(super) struct Pam {
    link: Link<Order, Word>,
    /// Keeps the number from being another's.
    _pidfd: OwnedFd,
}

/// What PAM says to a login.
#[derive(Debug)]
pub(super) enum Said {
    /// The user is to be asked this.
    Ask { text: String, prompts: Vec<Prompt> },
    /// The login may go on.
    Passed,
    /// Not; why, for the admin.
    Refused(String),
}

impl Pam {
    /// Starts `program`, a sealed copy of `cellblock-pam`, and gives it the first order.
    pub(super) fn start(program: BorrowedFd<'_>, begin: &Order) -> Result<Self> {
        let failed = |errno: Errno| fail("starting", "cellblock-pam", errno);
        let (ours, theirs) = seqpacket::pair().map_err(failed)?;
        match process::fork().map_err(failed)? {
            Forked::Child => {
                let why = become_pam(program, theirs.as_fd());
                // The monitor sees the link end, and this status in nobody's hands.
                process::exit_now(if why == Errno::ENOENT { 2 } else { 1 })
            }
            Forked::Parent { pidfd, pid: _ } => {
                drop(theirs);
                let pam = Self { link: Link::new(ours), _pidfd: pidfd };
                pam.link.send(begin).map_err(|why| fail("asking", "cellblock-pam", why))?;
                Ok(pam)
            }
        }
    }

    /// What it says next. An end of `told` or the deadline is an end of the connection; that of the
    /// program is a refusal.
    pub(super) fn listen(&mut self, deadline: Instant, told: BorrowedFd<'_>) -> Result<Said, End> {
        match self.word(deadline, told)? {
            Ok(Word::Ask { text, prompts }) => Ok(Said::Ask { text, prompts }),
            Ok(Word::Passed) => Ok(Said::Passed),
            Ok(Word::Refused(why)) => Ok(Said::Refused(escape(&why))),
            Ok(Word::SessionOpened) => Ok(Said::Refused("cellblock-pam makes no sense".to_owned())),
            Err(why) => Ok(Said::Refused(why)),
        }
    }

    /// Passes answers on.
    pub(super) fn answer(&self, answers: Vec<Secret>) -> Result<(), String> {
        self.link.send(&Order::Answers(answers)).map_err(|why| format!("cellblock-pam: {why}"))
    }

    /// Opens the session of a login that is through; it lasts as long as this value.
    pub(super) fn open_session(&mut self, deadline: Instant, told: BorrowedFd<'_>) -> Result<Result<(), String>, End> {
        if let Err(why) = self.link.send(&Order::OpenSession) {
            return Ok(Err(format!("cellblock-pam: {why}")));
        }
        Ok(match self.word(deadline, told)? {
            Ok(Word::SessionOpened) => Ok(()),
            Ok(Word::Refused(why)) => Err(escape(&why)),
            Ok(Word::Ask { .. } | Word::Passed) => Err("cellblock-pam makes no sense".to_owned()),
            Err(why) => Err(why),
        })
    }

    fn word(&mut self, deadline: Instant, told: BorrowedFd<'_>) -> Result<Result<Word, String>, End> {
        loop {
            let ready = poll::wait_readable(&[self.link.as_fd(), told], Some(deadline));
            match ready.map_err(|errno| End::Failed(errno.to_string()))?.as_slice() {
                [_, true] => return Err(End::Told),
                [true, _] => break,
                _none if Instant::now() >= deadline => return Err(End::Grace),
                _none => {}
            }
        }
        Ok(self.link.receive().map(|(word, _no_fds)| word).map_err(|why| format!("cellblock-pam: {why}")))
    }
}

/// The new process, up to its exec. Returns only if it fails.
fn become_pam(program: BorrowedFd<'_>, link: BorrowedFd<'_>) -> Errno {
    match lay_out(program, link) {
        Err(errno) => errno,
        Ok(program) => process::exec(program.as_fd(), &[CString::from(c"cellblock-pam")], &[CString::from(PATH)]),
    }
}

/// It does not die with the monitor: then, it closes the session.
fn lay_out(program: BorrowedFd<'_>, link: BorrowedFd<'_>) -> SysResult<OwnedFd> {
    // Whoever signals the monitor's group means the monitor.
    process::new_session()?;
    signal::reset_all()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let null = fd::duplicate_above(null.as_fd(), OUT_OF_THE_WAY)?;
    let program = fd::duplicate_above(program, OUT_OF_THE_WAY)?;
    let link = fd::duplicate_above(link, OUT_OF_THE_WAY)?;
    for number in 0..LINK {
        fd::place_at(null.as_fd(), number)?;
    }
    fd::place_at(link.as_fd(), LINK)?;
    fd::close_on_exec_from(4)?;
    Ok(program)
}
