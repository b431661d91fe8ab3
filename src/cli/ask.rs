//! One question to the running listener, for verbs that have one.

use std::{
    os::fd::AsFd as _,
    path::Path,
    time::{Duration, Instant},
};

use crate::base::{Result, fail};
use crate::sys::{Errno, poll, seqpacket};
use crate::wire::Link;
use crate::wire::control::{Answer, Ask};

/// Asks the listener whose socket is at `path`; it may take `patience`.
pub(super) fn ask(path: &Path, question: Ask, patience: Duration) -> Result<Answer> {
    let failed = |cause: &dyn std::fmt::Display| fail("asking the listener at", path.display(), cause);
    let socket = seqpacket::connect_path(path).map_err(|errno| match errno {
        Errno::ENOENT | Errno::ECONNREFUSED => failed(&"none runs there")
            .hint("systemctl start cellblock; or, if `run_dir` was changed: systemctl restart cellblock"),
        errno => failed(&errno),
    })?;
    let mut link: Link<Ask, Answer> = Link::new(socket);
    link.send(&question).map_err(|why| failed(&why))?;
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        let ready = poll::wait_readable(&[link.as_fd()], Some(deadline)).map_err(|errno| failed(&errno))?;
        if ready.contains(&true) {
            let (answer, _fds) = link.receive().map_err(|why| failed(&why))?;
            return Ok(answer);
        }
    }
    Err(failed(&"it does not answer"))
}
