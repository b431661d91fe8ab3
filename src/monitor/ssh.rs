//! The monitor's end of the ssh process, or of a caller at the enter door who speaks as one that is logged
//! in: what it sends is taken one request at a time, in turn or not at all.

use std::{
    fmt,
    mem::ManuallyDrop,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use tracing::{error, info, warn};

use crate::base::escape;
use crate::sys::process::Ended;
use crate::sys::{Errno, net, poll, process, seqpacket, signal};
use crate::wire::login::{GaveUp, Reply, Request};
use crate::wire::{Link, LinkError};

use super::phase::{Phase, Turn, caller_turn, turn};

/// Lines for the admin's log that one connection may write.
const MAX_NOTES: u32 = 32;
/// How long a reply may wait for room. The ssh process reads all the time; one that does not is
/// stuck or captured, and must not hold its monitor.
const SEND_LIMIT: Duration = Duration::from_secs(5);
/// How long a killed ssh process may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// How a Rust program exits that panicked (std::process); one built for release aborts.
const PANICKED: i32 = 101;

/// Why a connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The ssh process is done: the client went, or it gave up on it.
    Closed,
    /// The ssh process was killed, by its list of system calls as likely as not, or panicked.
    Crashed,
    /// Nobody was logged in when the time was up.
    Grace,
    /// Too many failed logins.
    Tries,
    /// The ssh process gave up on the client.
    GaveUp(GaveUp),
    /// A request that is not in turn.
    OutOfTurn(&'static str),
    /// A message that is none.
    Wrong(LinkError),
    /// We were told to end.
    Told,
    /// The tenant has as many connections as it may.
    Full,
    /// It is outside of the tenant's hours.
    Hours,
    /// The connection lasted as long as it may.
    Time,
    /// Something of ours failed; the log has it.
    Failed(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed"),
            Self::Crashed => f.write_str("ssh process crashed"),
            Self::Grace => f.write_str("not logged in within login_grace"),
            Self::Tries => f.write_str("too many login attempts"),
            Self::GaveUp(why) => f.write_str(why.sentence()),
            Self::OutOfTurn(request) => write!(f, "ssh process sent {request} out of turn"),
            Self::Wrong(why) => write!(f, "ssh process sent a wrong message: {why}"),
            Self::Told => f.write_str("ended by the administrator"),
            Self::Full => f.write_str("the tenant has too many connections"),
            Self::Hours => f.write_str("outside of the tenant's hours"),
            Self::Time => f.write_str("as long as max_session_time"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl From<LinkError> for End {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Closed => Self::Closed,
            LinkError::WouldBlock
            | LinkError::TooLong
            | LinkError::Malformed
            | LinkError::Descriptors
            | LinkError::Socket(_) => Self::Wrong(error),
        }
    }
}

/// Who is at the other end of the link.
#[derive(Debug)]
enum Other {
    /// An ssh process that this monitor started, and ends.
    Ours(OwnedFd),
    /// A process of this host, which is not ours to end.
    Caller {
        /// Where the kernel gives one (Linux 6.5).
        pidfd: Option<OwnedFd>,
        /// Whether it has asked for its one session.
        asked: bool,
    },
}

/// The ssh process of this connection, or the caller. Dropping it kills an ssh process.
#[derive(Debug)]
pub(super) struct Ssh {
    /// Closed by the end of the monitor alone: what may lie there unread could hold it up (`sys::parting`).
    link: ManuallyDrop<Link<Reply, Request>>,
    other: Other,
    phase: Phase,
    notes: u32,
}

impl Ssh {
    /// Takes over a process that was just started.
    pub(super) fn new(link: Link<Reply, Request>, pidfd: OwnedFd) -> Result<Self, End> {
        net::set_send_timeout(link.as_fd(), SEND_LIMIT).map_err(|errno| End::Failed(errno.to_string()))?;
        Ok(Self { link: ManuallyDrop::new(link), other: Other::Ours(pidfd), phase: Phase::Confining, notes: 0 })
    }

    /// Takes over a caller who was let in.
    pub(super) fn of_caller(link: Link<Reply, Request>, pidfd: Option<OwnedFd>) -> Result<Self, End> {
        net::set_send_timeout(link.as_fd(), SEND_LIMIT).map_err(|errno| End::Failed(errno.to_string()))?;
        Ok(Self {
            link: ManuallyDrop::new(link),
            other: Other::Caller { pidfd, asked: false },
            phase: Phase::Open,
            notes: 0,
        })
    }

    /// Whether it is a caller.
    pub(super) fn is_caller(&self) -> bool {
        matches!(self.other, Other::Caller { .. })
    }

    /// What to poll: requests, and the process's end. The end of a caller that cannot be polled for is the
    /// end of the link.
    pub(super) fn fds(&self) -> [BorrowedFd<'_>; 2] {
        let end = match &self.other {
            Other::Ours(pidfd) | Other::Caller { pidfd: Some(pidfd), .. } => pidfd.as_fd(),
            Other::Caller { pidfd: None, .. } => self.link.as_fd(),
        };
        [self.link.as_fd(), end]
    }

    /// Goes on to the next phase.
    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// The next request, when [`fds`](Self::fds) say that there is one; `None`: it was a note.
    pub(super) fn request(&mut self) -> Result<Option<Request>, End> {
        let request = self.link.receive_alone()?;
        let judged = match &mut self.other {
            Other::Ours(_) => turn(self.phase, request),
            Other::Caller { asked, .. } => caller_turn(asked, request),
        };
        match judged {
            Turn::OutOfTurn(name) => Err(End::OutOfTurn(name)),
            Turn::Take(Request::Note { text }) => {
                self.note(&text);
                Ok(None)
            }
            Turn::Take(request) => Ok(Some(request)),
        }
    }

    /// Waits for the next request that is no note, until `deadline`.
    pub(super) fn wait(&mut self, deadline: Instant, told: BorrowedFd<'_>) -> Result<Request, End> {
        loop {
            let [link, pidfd] = self.fds();
            let ready = poll::wait_readable(&[link, pidfd, told], Some(deadline));
            match ready.map_err(|errno| End::Failed(errno.to_string()))?.as_slice() {
                [_, _, true] => return Err(End::Told),
                // Requests first: a process that ended may have left some.
                [true, _, _] => {
                    if let Some(request) = self.request()? {
                        return Ok(request);
                    }
                }
                [_, true, _] => return Err(End::Closed),
                _none if Instant::now() >= deadline => return Err(End::Grace),
                _none => {}
            }
            if Instant::now() >= deadline {
                return Err(End::Grace);
            }
        }
    }

    /// Answers.
    pub(super) fn reply(&self, reply: &Reply, fds: &[BorrowedFd<'_>]) -> Result<(), End> {
        Ok(self.link.send_with(reply, fds)?)
    }

    /// Whether the process, which hung up, was killed by a signal or panicked. Reaps it.
    pub(super) fn has_crashed(&self) -> bool {
        let Other::Ours(pidfd) = &self.other else { return false };
        let gone = poll::wait_readable(&[pidfd.as_fd()], Some(Instant::now() + KILL_LIMIT));
        gone.is_ok_and(|ready| ready.contains(&true))
            && match process::wait_for(pidfd.as_fd()) {
                Ok(Ended::Killed { .. } | Ended::Exited(PANICKED)) => true,
                Ok(Ended::Exited(_)) | Err(_) => false,
            }
    }

    /// Ends an ssh process, and with it the descriptors of sessions that it holds.
    pub(super) fn kill(&self) {
        let Other::Ours(pidfd) = &self.other else { return };
        match process::signal_pidfd(pidfd.as_fd(), signal::SIGKILL) {
            // It ended by itself.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => error!("ending the ssh process: {errno}"),
        }
        match poll::wait_readable(&[pidfd.as_fd()], Some(Instant::now() + KILL_LIMIT)) {
            Ok(ended) if ended.contains(&true) => {}
            Ok(_none) => error!("the ssh process does not end"),
            Err(errno) => error!("waiting for the ssh process: {errno}"),
        }
    }

    fn note(&mut self, text: &str) {
        self.notes = self.notes.saturating_add(1);
        if self.notes <= MAX_NOTES {
            info!("ssh process: {}", escape(text));
        } else if self.notes == MAX_NOTES + 1 {
            warn!("ssh process: more than {MAX_NOTES} notes; the rest is dropped");
        }
    }
}

impl Drop for Ssh {
    /// Whatever the end was, the process that reads the network does not outlive its monitor.
    fn drop(&mut self) {
        self.kill();
        // Or it has hung up already.
        seqpacket::hang_up(self.link.as_fd()).unwrap_or_default();
    }
}
