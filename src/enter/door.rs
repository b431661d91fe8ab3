//! Calling the listener.

use std::{
    fmt,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use crate::base::{Failure, Result, fail};
use crate::sys::{Errno, poll, seqpacket};
use crate::wire::enter::{Answer, Call, NoEntry};
use crate::wire::login::LoggedIn;
use crate::wire::{Link, LinkError};

use super::starter::Monitor;

/// How long the listener may take to know the caller: it may have to ask a directory of accounts elsewhere.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// Calls at `path`. Whoever is let in is told what they may do, and goes on by the link. `ahead` is asked for in the same
/// breath, an encoded [`Request`](crate::wire::login::Request): it lies there when they are let in, and is gone with the link when they are not.
pub(super) fn call(path: &Path, call: &Call, ahead: Option<&[u8]>) -> Result<(Monitor, LoggedIn)> {
    call_with(path, call, ahead)?.ok_or_else(|| {
        failed_at(path)(&"none runs there").hint("systemctl start cellblock; or name its socket by --socket")
    })
}

/// As [`call`] by `cellblock enter`; `None`: no listener is there.
pub fn call_if_open(path: &Path, call: &Call) -> Result<Option<(Monitor, LoggedIn)>> {
    call_with(path, call, None)
}

fn call_with(path: &Path, call: &Call, ahead: Option<&[u8]>) -> Result<Option<(Monitor, LoggedIn)>> {
    let failed = failed_at(path);
    let Some(socket) = connect(path)? else { return Ok(None) };
    // Whoever else answers there is no listener, and is given nothing to read.
    match seqpacket::peer_ids(socket.as_fd()) {
        Ok((_pid, 0)) => {}
        Ok((_pid, uid)) => return Err(failed(&format_args!("uid {uid} answers there, and not root"))),
        Err(errno) => return Err(failed(&errno)),
    }
    let mut link: Link<Call, Answer> = Link::new(socket);
    // One that is turned away may be hung up on before it has called: the answer is there all the same.
    let asked = |sent: std::result::Result<(), LinkError>| match sent {
        Ok(()) | Err(LinkError::Closed) => Ok(()),
        Err(why) => Err(failed(&why)),
    };
    asked(link.send(call))?;
    if let Some(request) = ahead {
        asked(seqpacket::send(link.as_fd(), request, &[]).map_err(LinkError::from))?;
    }
    wait(&link, path)?;
    let answer = match link.receive() {
        // What was not read of the call is told first (unix(7)).
        Err(LinkError::Closed) => link.receive(),
        answer => answer,
    };
    match answer {
        Ok((Answer::Entered(outline), fds)) if fds.is_empty() => {
            Ok(Some((Monitor::new(Link::new(OwnedFd::from(link))), outline)))
        }
        Ok((Answer::Refused(why), _)) => Err(refused(why)),
        Ok((Answer::Entered(_), _)) => Err(failed(&LinkError::Descriptors)),
        Err(why @ (LinkError::Malformed | LinkError::TooLong)) => {
            Err(failed(&why).hint("it runs since before an upgrade: systemctl restart cellblock"))
        }
        Err(why @ (LinkError::Closed | LinkError::WouldBlock | LinkError::Descriptors | LinkError::Socket(_))) => {
            Err(failed(&why))
        }
    }
}

fn connect(path: &Path) -> Result<Option<OwnedFd>> {
    match seqpacket::connect_path(path) {
        Ok(socket) => Ok(Some(socket)),
        Err(Errno::ENOENT | Errno::ECONNREFUSED) => Ok(None),
        Err(errno) => Err(failed_at(path)(&errno)),
    }
}

fn wait(link: &Link<Call, Answer>, path: &Path) -> Result<()> {
    let failed = failed_at(path);
    let deadline = Instant::now() + ANSWER_WAIT;
    while !poll::wait_readable(&[link.as_fd()], Some(deadline)).map_err(|errno| failed(&errno))?.contains(&true) {
        if Instant::now() >= deadline {
            return Err(failed(&"it does not answer"));
        }
    }
    Ok(())
}

fn failed_at(path: &Path) -> impl Fn(&dyn fmt::Display) -> Failure {
    move |cause| fail("asking the listener at", path.display(), cause)
}

fn refused(why: NoEntry) -> Failure {
    fail("entering", "", why.sentence())
}
