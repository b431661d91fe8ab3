//! Sockets that clients want inside the cell: each is opened by a child with the tenant's ids, so
//! that it belongs to the tenant, and paths are followed with the tenant's rights and no others.
//!
//! init waits for none of them (docs/kernel.md, G). A child has one descriptor, an end of a link to
//! init, on which it sends the socket or why there is none; one that takes too long is killed.

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::sys::{
    Errno, fd,
    parting::Parting,
    process::{self, Forked, Pid},
    seqpacket, signal,
};
use crate::wire::{
    Link, LinkError,
    forward::Socket,
    init::{Account, Open, Report},
};

use super::{
    links::LinkId,
    open::{self, Left},
    sessions::Sessions,
    spawn::{self, Step},
};

/// Children of one link at once: a browser behind `-D` opens dozens of connections together.
const MAX_PENDING: usize = 128;

/// What is left of listeners of one link, at most: as many as a connection may have.
const MAX_LEFT: usize = 64;

/// How long a child may take. It gives up by itself before that, unless the tenant stops it.
const LIMIT: Duration = open::CONNECT_LIMIT.saturating_add(Duration::from_secs(5));

/// What a child says, once.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Word {
    /// It brings the socket, or two.
    Opened { number: u16 },
    /// `step` is one of the child's sentences.
    Failed { step: String, errno: i32 },
}

#[derive(Debug)]
struct Opener {
    link: LinkId,
    forward: u64,
    pid: Pid,
    word: Link<(), Word>,
    until: Instant,
    /// What it leaves in the file system if it succeeds.
    left: Option<(Left, Account)>,
}

/// What a listener left in the file system.
#[derive(Debug)]
struct Trace {
    link: LinkId,
    forward: u64,
    left: Left,
    account: Account,
    number: u16,
}

/// A report for a monitor, with its descriptors.
pub(super) type Told = (LinkId, Report, Vec<OwnedFd>);

/// All that are under way, and what they left.
#[derive(Debug, Default)]
pub(super) struct Openers {
    pending: Vec<Opener>,
    traces: Vec<Trace>,
    unwanted: Parting,
}

impl Openers {
    /// Starts a child. `Err` is what to report at once.
    pub(super) fn start(&mut self, link: LinkId, order: Open, sessions: &mut Sessions) -> Result<(), Report> {
        let Open { forward, socket, account, linger: _ } = order;
        let failed =
            |(step, errno): (Step, Errno)| Report::NotOpened { forward, step: step.into(), errno: errno.raw() };
        let left = open::leaves(&socket);
        let pending = self.pending.iter().filter(|opener| opener.link == link).count();
        let traces = self.traces.iter().filter(|trace| trace.link == link).count();
        if pending >= MAX_PENDING || (left.is_some() && traces >= MAX_LEFT) {
            return Err(failed(("counting sockets", Errno::EAGAIN)));
        }
        let (pid, word) = fork(Job::Open(&socket), &account, sessions).map_err(failed)?;
        let left = left.map(|left| (left, account));
        self.pending.push(Opener { link, forward, pid, word, until: Instant::now() + LIMIT, left });
        Ok(())
    }

    /// Closes sockets that no monitor takes any more, by a child: what programs of the tenant's left unread in
    /// one could hold init up, and with it all that it does in the cell. Where that cannot be, they go with
    /// the next ones.
    pub(super) fn part_with(&mut self, sockets: Vec<OwnedFd>) {
        if sockets.is_empty() {
            return;
        }
        for socket in sockets {
            self.unwanted.hold(socket);
        }
        // It is reaped with all others.
        if self.unwanted.leave(|| {}).is_err() {}
    }

    /// A client needs a socket no more, or its connection has ended.
    pub(super) fn close(&mut self, link: LinkId, forward: u64, sessions: &mut Sessions) {
        self.clear(|of, number| (of, number) == (link, forward), sessions);
    }

    /// Removes what links left that are gone.
    pub(super) fn forget(&mut self, is_there: impl Fn(LinkId) -> bool, sessions: &mut Sessions) {
        self.clear(|link, _number| !is_there(link), sessions);
    }

    fn clear(&mut self, is_meant: impl Fn(LinkId, u64) -> bool, sessions: &mut Sessions) {
        let (gone, stay) =
            std::mem::take(&mut self.traces).into_iter().partition(|trace: &Trace| is_meant(trace.link, trace.forward));
        self.traces = stay;
        for trace in gone {
            // As the tenant, who may have put something else in its place; the best that can be done.
            drop(fork(Job::Remove(&trace.left, trace.number), &trace.account, sessions));
        }
    }

    pub(super) fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pending.iter().map(|opener| opener.word.as_fd())
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.pending.iter().map(|opener| opener.until).min()
    }

    /// Takes what children have said. Those that ended without a word, or took too long, have failed.
    pub(super) fn hear(&mut self, now: Instant) -> Vec<Told> {
        let mut told = Vec::new();
        let mut pending = Vec::new();
        for mut opener in std::mem::take(&mut self.pending) {
            let failed = |step: &str, errno: Errno| {
                let report = Report::NotOpened { forward: opener.forward, step: step.into(), errno: errno.raw() };
                (opener.link, report, Vec::new())
            };
            match opener.word.receive() {
                Ok((Word::Opened { number }, fds)) => {
                    told.push((opener.link, Report::Opened { forward: opener.forward, number }, fds));
                    let (link, forward) = (opener.link, opener.forward);
                    let trace = opener.left.map(|(left, account)| Trace { link, forward, left, account, number });
                    self.traces.extend(trace);
                }
                Ok((Word::Failed { step, errno }, _)) => told.push(failed(&step, Errno::from_raw(errno))),
                Err(LinkError::WouldBlock) if now < opener.until => pending.push(opener),
                Err(LinkError::WouldBlock) => {
                    // It still holds its end, so this pid is still its own.
                    process::kill(opener.pid, signal::SIGKILL).unwrap_or_default();
                    told.push(failed("waiting for the socket", Errno::ETIMEDOUT));
                }
                Err(_gone) => told.push(failed("opening the socket", Errno::ESRCH)),
            }
        }
        self.pending = pending;
        told
    }
}

enum Job<'a> {
    Open(&'a Socket),
    Remove(&'a Left, u16),
}

fn fork(job: Job<'_>, account: &Account, sessions: &mut Sessions) -> Result<(Pid, Link<(), Word>), (Step, Errno)> {
    let (ours, theirs) = seqpacket::pair().map_err(|errno| ("making a link", errno))?;
    fd::set_nonblocking(ours.as_fd(), true).map_err(|errno| ("making a link", errno))?;
    let (groups, bounds) = sessions.tools();
    let (forked, to_join) = spawn::fork_among(groups);
    match forked.map_err(|errno| ("forking", errno))? {
        Forked::Parent { pid, pidfd: _ } => Ok((pid, Link::new(ours))),
        Forked::Child => {
            let done = spawn::become_tenant(account, (to_join, bounds), &theirs);
            let done = done.and_then(|()| match job {
                Job::Open(socket) => open::open(socket, account),
                Job::Remove(left, number) => {
                    open::remove(left, number);
                    Err(("removing", Errno::ENOENT))
                }
            });
            // The number that `become_tenant` left it at.
            let Ok(link) = fd::inherited(0) else { process::exit_now(1) };
            let link: Link<Word, ()> = Link::new(link);
            let told = match done {
                Ok((number, sockets)) => {
                    let fds: Vec<_> = sockets.iter().map(OwnedFd::as_fd).collect();
                    link.send_with(&Word::Opened { number }, &fds)
                }
                Err((step, errno)) => link.send(&Word::Failed { step: step.into(), errno: errno.raw() }),
            };
            process::exit_now(i32::from(told.is_err()))
        }
    }
}
