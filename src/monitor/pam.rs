//! The monitor's end of `cellblock-pam`: started when a login asks for PAM, and gone when the link is.
//!
//! A module may hang, so every wait has a deadline; it may crash, which is a refusal.

use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use tracing::warn;

use crate::base::{Result, Secret, escape, fail};
use crate::sys::process::{self, Forked, Pid};
use crate::sys::{Errno, SysResult, before_exec, net, poll, processes, seqpacket, signal};
use crate::wire::Link;
use crate::wire::pam::{Order, Prompt, SESSION_SECONDS, Word};

use super::ssh::End;

/// What modules find in their environment.
const PATH: &CStr = c"PATH=/usr/sbin:/usr/bin:/sbin:/bin";
/// How long an order may wait for room at a program that reads nothing.
const SEND_LIMIT: Duration = Duration::from_secs(5);
/// How long a session may take to open.
const SESSION_LIMIT: Duration = Duration::from_secs(SESSION_SECONDS as u64);

/// Processes of modules that are looked through for more, when they are ended.
const MAX_RUN: usize = 64;

/// One login's PAM transaction. Dropping it ends the session, if one was opened, and the program at once
/// if not.
#[derive(Debug)]
pub(super) struct Pam {
    link: Link<Order, Word>,
    pid: Pid,
    pidfd: OwnedFd,
    has_session: bool,
}

/// What PAM says to a login.
#[derive(Debug)]
pub(super) enum Said {
    /// The user is to be shown and asked this.
    Ask { text: String, prompts: Vec<Prompt> },
    /// The login may go on.
    Passed,
    /// Not; why, for the admin.
    Refused(String),
}

/// Who is asked about.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) service: &'a str,
    pub(super) user: &'a str,
    pub(super) peer: std::net::IpAddr,
}

impl Pam {
    /// Starts `program`, a sealed copy of `cellblock-pam`, and has it judge a login by `deadline`:
    /// authenticate it and check the account, or only the latter.
    pub(super) fn start(
        program: Option<&OwnedFd>,
        about: About<'_>,
        authenticate: bool,
        deadline: Instant,
    ) -> Result<Self> {
        let program = program.ok_or_else(|| {
            fail("starting", "cellblock-pam", "it is not installed")
                .hint("install the package cellblock-pam, and reload: cellblock reload")
        })?;
        let failed = |errno: Errno| fail("starting", "cellblock-pam", errno);
        let (ours, theirs) = seqpacket::pair().map_err(failed)?;
        net::set_send_timeout(ours.as_fd(), SEND_LIMIT).map_err(failed)?;
        match process::fork().map_err(failed)? {
            Forked::Child => {
                let why = become_pam(program.as_fd(), theirs.as_fd());
                let word = Word::Refused(format!("starting cellblock-pam: {why}"));
                let told = Link::<Word, Order>::new(theirs).send(&word);
                process::exit_now(if told.is_ok() { 1 } else { 2 })
            }
            Forked::Parent { pidfd, pid } => {
                drop(theirs);
                let pam = Self { link: Link::new(ours), pid, pidfd, has_session: false };
                let left = deadline.saturating_duration_since(Instant::now()).as_secs();
                let begin = Order::Begin {
                    service: about.service.to_owned(),
                    user: about.user.to_owned(),
                    peer: about.peer.to_string(),
                    authenticate,
                    seconds: u32::try_from(left).unwrap_or(u32::MAX).saturating_add(1),
                };
                pam.link.send(&begin).map_err(|why| fail("asking", "cellblock-pam", why))?;
                Ok(pam)
            }
        }
    }

    /// What it says next. SIGTERM or the deadline is an end of the connection; that of the program is a
    /// refusal.
    pub(super) fn listen(&mut self, deadline: Instant, told: BorrowedFd<'_>) -> Result<Said, End> {
        Ok(match self.word(deadline, told).inspect_err(|_over| self.cut_off())? {
            Ok(Word::Ask { text, prompts }) => Said::Ask { text, prompts },
            Ok(Word::Passed) => Said::Passed,
            Ok(Word::Refused(why)) => Said::Refused(escape(&why)),
            Ok(Word::SessionOpened { .. }) => Said::Refused("cellblock-pam makes no sense".to_owned()),
            Err(why) => Said::Refused(why),
        })
    }

    /// Passes answers on.
    pub(super) fn answer(&self, answers: Vec<Secret>) -> Result<(), String> {
        self.link.send(&Order::Answers(answers)).map_err(|why| format!("cellblock-pam: {why}"))
    }

    /// Opens the session of a login that is through; it lasts as long as this value. What modules said,
    /// or why there is none.
    pub(super) fn open_session(&mut self, told: BorrowedFd<'_>) -> Result<Result<String, String>, End> {
        if let Err(why) = self.link.send(&Order::OpenSession) {
            return Ok(Err(format!("cellblock-pam: {why}")));
        }
        // From here on it ends by itself, and closes what it may have opened when it sees the link end.
        self.has_session = true;
        let word = match self.word(Instant::now() + SESSION_LIMIT, told) {
            Err(End::Grace) => {
                self.cut_off();
                return Ok(Err(format!("a module took more than {SESSION_SECONDS} seconds")));
            }
            word => word?,
        };
        Ok(match word {
            Ok(Word::SessionOpened { text }) => Ok(text),
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
                _none if Instant::now() >= deadline => {
                    warn!("PAM did not answer in time: does a module hang?");
                    return Err(End::Grace);
                }
                _none => {}
            }
        }
        Ok(self.link.receive().map(|(word, _no_fds)| word).map_err(|why| format!("cellblock-pam: {why}")))
    }

    /// Ends a module that works on something, with what it runs: pam_exec makes a session for each program.
    fn cut_off(&self) {
        if process::signal_pidfd(self.pidfd.as_fd(), signal::SIGSTOP).is_err() {
            return;
        }
        // Each is stopped before its children are looked for, so that nobody reaps what is ended below: the
        // numbers stay theirs.
        let mut found = vec![self.pid];
        let mut next = 0;
        while let Some(pid) = found.get(next).copied().filter(|_| next < MAX_RUN) {
            tolerate(process::kill(pid, signal::SIGSTOP));
            found.extend(processes::children(pid).unwrap_or_default());
            next += 1;
        }
        for pid in found.into_iter().rev() {
            tolerate(process::kill(pid, signal::SIGKILL));
        }
    }
}

/// What ended by itself needs no end.
fn tolerate(ended: SysResult<()>) {
    if let Err(errno) = ended
        && errno != Errno::ESRCH
    {
        warn!("ending what PAM's modules run: {errno}");
    }
}

impl Drop for Pam {
    /// A module that waits for an answer sees the link end; this is for one that does not.
    fn drop(&mut self) {
        if !self.has_session {
            tolerate(process::signal_pidfd(self.pidfd.as_fd(), signal::SIGKILL));
        }
    }
}

/// The new process, up to its exec. Returns only if it fails.
fn become_pam(program: BorrowedFd<'_>, link: BorrowedFd<'_>) -> Errno {
    // It does not die with the monitor: then, it closes the session.
    let ready = before_exec::out_of_the_way(program)
        .and_then(|program| before_exec::start_afresh([None, None, None, Some(link)]).map(|()| program));
    match ready {
        Err(errno) => errno,
        Ok(program) => process::exec(program.as_fd(), &[CString::from(c"cellblock-pam")], &[CString::from(PATH)]),
    }
}
