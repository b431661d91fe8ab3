//! The hold on a child that becomes pid 1 of a cell: made by the listener or a monitor, used by one
//! monitor, once.
//!
//! Its files in `/proc` are opened when it is made, by its parent. A monitor that takes a spare is
//! not the parent: by the pid it could find another process there that came later.

use std::{
    ffi::CString,
    fs::File,
    io::Write as _,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use crate::base::{Failure, Result, fail};
use crate::sys::{
    Errno, before_exec,
    credentials::{self, LIMIT_PROCESSES},
    fd, mount, poll,
    process::{self, Forked, namespaces},
    seqpacket,
    signal::SIGKILL,
};
use crate::wire::{Link, LinkError};

use super::{
    facts::Rights,
    filters::Filters,
    handover::{Answer, Word},
    plan::{Cloning, Inside, most_in, owner_in},
    state::Record,
};

/// A child that has not become a cell yet.
#[derive(Debug)]
pub(super) struct Child {
    /// Our end of its link. When the last one closes, the child ends.
    pub(super) link: Link<Word, Answer>,
    /// Which process it is.
    pub(super) record: Record,
    /// A hold on it.
    pub(super) pidfd: OwnedFd,
    /// Its directory in `/proc`.
    pub(super) proc: OwnedFd,
    /// Its user namespace.
    pub(super) user_namespace: OwnedFd,
}

/// What every child needs besides a plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tools<'a> {
    /// Where the host view is.
    pub(super) view: &'a Path,
    /// The program of init.
    pub(super) init: BorrowedFd<'a>,
    /// The lists of system calls.
    pub(super) filters: &'a Filters,
    /// By whose rights.
    pub(super) rights: Rights,
}

impl Child {
    /// Clones it by `clone`, on v2 into `group`, and tells it what to do `ahead` of knowing more.
    /// A spare also gets what tells it that the listener is `alive`.
    pub(super) fn make(
        clone: &[Cloning],
        ahead: &[Inside],
        tools: Tools<'_>,
        group: Option<BorrowedFd<'_>>,
        alive: Option<BorrowedFd<'_>>,
    ) -> Result<Self> {
        let failed = |errno: Errno| fail("cloning", "pid 1 of a cell", errno);
        let (link, inner) = seqpacket::pair().map_err(failed)?;
        let mut kinds = namespaces::USER | namespaces::MOUNT | namespaces::PID;
        if group.is_some() {
            kinds |= namespaces::CGROUP;
        }
        let nobody = || fail("cloning", "pid 1 of a cell", "nobody is to own its user namespace");
        let owner = owner_in(clone).ok_or_else(nobody)?;
        // Where the program's file is the owner's too, one who execs it with ids could read it, and so be traced by
        // the cell's root (docs/kernel.md, L): then it has exec'd before there are any. And until it has, its memory
        // belongs to the namespace in which we were exec'd: of its files in /proc only root there may open them.
        let execs = (tools.rights != Rights::Root).then(fd::pipe).transpose().map_err(failed)?;
        let most = credentials::limit_of(LIMIT_PROCESSES).map_err(failed)?;
        // The maker's soft limit at the clone becomes that of all the cell's users together, unless the
        // maker is root (`enforced_nproc_rlimit` in the kernel). The hard one stays: raising it takes
        // CAP_SYS_RESOURCE, which root in a container may lack.
        let together = most_in(clone).map_or(most.1, |bound| u64::from(bound).min(most.1));
        credentials::set_limit(LIMIT_PROCESSES, together, most.1).map_err(failed)?;
        let cloned = credentials::act_as_owner(owner).and_then(|()| process::clone_into(kinds, group));
        if !matches!(cloned, Ok(Forked::Child)) {
            credentials::be_root_again().map_err(failed)?;
            credentials::set_limit(LIMIT_PROCESSES, most.0, most.1).map_err(failed)?;
        }
        match cloned.map_err(failed)? {
            Forked::Child => {
                // Its copy of our end would keep it from seeing that we are gone.
                drop(link);
                // Closed by exec, and until then by nothing.
                let _closed_by_exec = execs.map(|(_ours, theirs)| before_exec::out_of_the_way(theirs.as_fd()));
                become_program(inner, tools, most)
            }
            Forked::Parent { pid, pidfd } => {
                drop(inner);
                if let Some((ours, theirs)) = execs {
                    drop(theirs);
                    fd::read(ours.as_fd(), &mut [0]).map_err(failed)?;
                }
                let opened = Record::of(pid, owner).map_err(failed).and_then(|record| {
                    let open = |path: String| File::open(&path).map_err(|error| fail("opening", path, error));
                    Ok((record, open(format!("/proc/{pid}"))?, open(format!("/proc/{pid}/ns/user"))?))
                });
                let (record, proc, user_namespace) = match opened {
                    Ok(opened) => opened,
                    Err(failure) => {
                        end(pidfd.as_fd())?;
                        return Err(failure);
                    }
                };
                let (proc, user_namespace) = (proc.into(), user_namespace.into());
                let child = Self { link: Link::new(link), record, pidfd, proc, user_namespace };
                let word = Word::Ahead(ahead.to_vec());
                let with: Vec<_> = alive.into_iter().collect();
                let told = clone.iter().try_for_each(|op| child.set(op)).and_then(|()| {
                    child.link.send_with(&word, &with).map_err(|error| fail("preparing", "a cell", error))
                });
                match told {
                    Ok(()) => Ok(child),
                    Err(failure) => {
                        child.end()?;
                        Err(failure)
                    }
                }
            }
        }
    }

    /// What is set from outside when it is made.
    fn set(&self, op: &Cloning) -> Result<()> {
        let failed = |cause: &dyn std::fmt::Display| fail("preparing a cell", format_args!("({op})"), cause);
        match op {
            Cloning::ResetOomScore => self.write("oom_score_adj", "0"),
            Cloning::ResetPriority => credentials::reset_priority_of(self.record.pid).map_err(|errno| failed(&errno)),
            // Done: there is a child.
            Cloning::Clone { group: _, owner: _ } | Cloning::BoundProcesses { most: _ } => Ok(()),
        }
    }

    /// Writes to one of its files in `/proc`.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<()> {
        let written = mount::open_to_write(self.proc.as_fd(), Path::new(name))
            .and_then(|mut file| Ok(file.write_all(text.as_bytes())?));
        written.map_err(|errno| fail("writing", format_args!("/proc/{}/{name}", self.record.pid), errno))
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> Result<bool> {
        process::has_ended(self.pidfd.as_fd()).map_err(|errno| fail("looking at", self.record.pid, errno))
    }

    /// Waits for its answer; `None` if it was killed.
    pub(super) fn answer(&mut self) -> Result<Option<Answer>> {
        // That it left words of ours unread is told before what it said (unix(7): ECONNRESET).
        let first = self.link.receive();
        let answer = if matches!(first, Err(LinkError::Closed)) { self.link.receive() } else { first };
        match answer {
            Ok((answer, fds)) if fds.is_empty() => Ok(Some(answer)),
            Ok(_) => Err(fail("waiting for", "pid 1 of a cell", LinkError::Descriptors)),
            Err(LinkError::Closed) => Ok(None),
            Err(error) => Err(fail("waiting for", "pid 1 of a cell", error)),
        }
    }

    /// Ends it, and waits for that.
    pub(super) fn end(&self) -> Result<()> {
        end(self.pidfd.as_fd())
    }
}

fn end(pidfd: BorrowedFd<'_>) -> Result<()> {
    let failed = |errno: Errno| -> Failure { fail("ending", "what was to be pid 1 of a cell", errno) };
    match process::signal_pidfd(pidfd, SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => return Err(failed(errno)),
    }
    poll::wait_readable(&[pidfd], None).map_err(failed)?;
    match process::wait_for(pidfd) {
        // A spare's parent is the listener, which reaps it.
        Ok(_) | Err(Errno::ECHILD) => Ok(()),
        Err(errno) => Err(failed(errno)),
    }
}

/// The child, still a copy of its parent. What fails is told as an answer.
fn become_program(link: OwnedFd, tools: Tools<'_>, processes: (u64, u64)) -> ! {
    // Told by a number that is not laid out: after that, another descriptor may lie at the link's own.
    let Ok(teller) = before_exec::out_of_the_way(link.as_fd()) else { process::exit_now(2) };
    let errno = match lay_out(link.as_fd(), tools, processes) {
        Ok(init) => process::exec(init.as_fd(), &[CString::from(c"cellblock-init")], &[]),
        Err(errno) => errno,
    };
    let answer = Answer::Failed(fail("becoming", "cellblock-init", errno).to_string());
    let told = Link::<Answer, Word>::new(teller).send(&answer);
    process::exit_now(if told.is_ok() { 1 } else { 2 })
}

/// Still with root's access to files, which the exec takes.
fn lay_out(link: BorrowedFd<'_>, tools: Tools<'_>, (soft, hard): (u64, u64)) -> Result<OwnedFd, Errno> {
    credentials::set_limit(LIMIT_PROCESSES, soft, hard)?;
    // No id is mapped yet, so nobody here is root, whom exec would give capabilities.
    credentials::keep_capabilities_on_exec()?;
    let view = {
        // Gone before anything is placed: its own number may be one of those.
        let opened = File::open(tools.view)?;
        before_exec::out_of_the_way(opened.as_fd())?
    };
    let init = before_exec::out_of_the_way(tools.init)?;
    // The link and the view at the numbers of `handover.rs`.
    before_exec::lay_out([None, None, None, Some(link), Some(view.as_fd())])?;
    Ok(init)
}
