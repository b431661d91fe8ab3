//! Ranges of ids that root of the host has granted to an ordinary user (subuid(5)). The kernel takes them from root
//! alone: newuidmap(1) and newgidmap(1), which are root's, write the maps, once they found the user in those files.

use std::{
    ffi::CString,
    io::{self, Read as _},
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use crate::base::{Result, fail};
use crate::sys::{
    Errno, SysResult, before_exec, fd, file, poll,
    process::{self, Ended, Forked, Pid},
    signal::SIGKILL,
};

/// Who maps, and what they ask whether they may.
const HELPERS: [(&str, &str); 2] = [("/usr/bin/newuidmap", "/etc/subuid"), ("/usr/bin/newgidmap", "/etc/subgid")];

/// What ids are wanted for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Fewer are of no use.
    least: u32,
    /// More are not taken.
    most: u32,
    /// The first of them, as the namespace has them.
    inside: u32,
}

impl Wanted {
    /// To lie around the user's own in one cell: those below a tenant's at least, and no more than a tenant has.
    pub(super) const AROUND: Self = Self { least: 1000, most: 65_535, inside: 1 };

    /// To be given to tenants: from `inside` on, `count` of them.
    pub(super) const fn pool(inside: u32, count: u32) -> Self {
        Self { least: count, most: count, inside }
    }
}

/// Largest `/etc/subuid`: a line of less than a hundred bytes for each account.
const MAX_FILE: usize = 16 << 20;

/// How long both helpers may take: they may have to ask a directory of accounts elsewhere.
const TIME: Duration = Duration::from_secs(60);

/// What the host has granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Granted {
    /// First ids, of uids and of gids.
    first: [u32; 2],
    /// How many of each.
    pub(super) count: u32,
    /// The first inside.
    inside: u32,
}

impl Granted {
    /// What it grants to the account of that name and uid; none where it grants too few, or has no helpers.
    pub(super) fn look_up(account: &str, uid: u32, wanted: Wanted) -> Result<Option<Self>> {
        let mut found = Vec::new();
        for (program, path) in HELPERS {
            if !Path::new(program).is_file() {
                return Ok(None);
            }
            let text = match file::read_capped(Path::new(path), MAX_FILE) {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(Errno::ENOENT) => return Ok(None),
                Err(errno) => return Err(fail("reading", path, errno)),
            };
            found.extend(range_of(&text, account, uid, wanted.least));
        }
        let &[(uids, of_uids), (gids, of_gids)] = found.as_slice() else { return Ok(None) };
        let count = of_uids.min(of_gids).min(wanted.most);
        Ok(Some(Self { first: [uids, gids], count, inside: wanted.inside }))
    }
}

/// First id and count in the first line of `text` (subuid(5)) that grants `least` or more.
fn range_of(text: &str, account: &str, uid: u32, least: u32) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let who = fields.next()?;
        let (first, count): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.trim().parse().ok()?);
        let meant = who == account || who.parse() == Ok(uid);
        (meant && count >= least && first.checked_add(count).is_some()).then_some((first, count))
    })
}

/// A process that stays outside of the namespace which its maker is about to make, and has the maps written.
#[derive(Debug)]
pub(super) struct Outsider {
    go: OwnedFd,
    pidfd: OwnedFd,
}

impl Outsider {
    /// Forks it.
    pub(super) fn start(granted: Granted) -> Result<Self> {
        let failed = |errno: Errno| fail("forking", "who maps your ids", errno);
        let (wait, go) = fd::pipe().map_err(failed)?;
        let maker = process::own_pid();
        match process::fork().map_err(failed)? {
            Forked::Child => {
                drop(go);
                process::exit_now(i32::from(!help(wait, maker, granted)))
            }
            Forked::Parent { pidfd, .. } => Ok(Self { go, pidfd }),
        }
    }

    /// Has the maps of this process's new namespace written: its ids become 0, and those granted follow.
    pub(super) fn map(self) -> Result<()> {
        let failed = |errno: Errno| fail("mapping", "your ids", errno);
        fd::write(self.go.as_fd(), b"!").map_err(failed)?;
        match process::wait_for(self.pidfd.as_fd()).map_err(failed)? {
            Ended::Exited(0) => Ok(()),
            Ended::Exited(_) | Ended::Killed { .. } => {
                Err(fail("mapping", "your ids", "newuidmap or newgidmap failed; what it said is above")
                    .hint("see newuidmap(1)"))
            }
        }
    }
}

/// Whether both maps were written, once the maker says that there is something to write.
fn help(wait: OwnedFd, maker: Pid, granted: Granted) -> bool {
    // Nothing: it has gone.
    if std::fs::File::from(wait).read_exact(&mut [0]).is_err() {
        return false;
    }
    let own = [process::effective_uid(), crate::sys::credentials::effective_gid()];
    let deadline = Instant::now() + TIME;
    HELPERS.iter().zip(own).zip(granted.first).all(|(((program, _), own), first)| {
        let words = [(*program).to_owned(), maker.to_string(), "0".to_owned(), own.to_string(), "1".to_owned()];
        let words = words.into_iter().chain([granted.inside, first, granted.count].map(|number| number.to_string()));
        let words: Option<Vec<CString>> = words.map(|word| CString::new(word).ok()).collect();
        words.is_some_and(|words| run(&words, deadline) == Ok(Ended::Exited(0)))
    })
}

/// Runs a program without environment, and with nothing of ours but standard error.
fn run(words: &[CString], deadline: Instant) -> SysResult<Ended> {
    let program = words.first().ok_or(Errno::EINVAL)?;
    let pidfd = match process::fork()? {
        Forked::Child => {
            if before_exec::lay_out([None, None, Some(io::stderr().as_fd())]).is_ok() {
                process::exec_path(program, words, &[]);
            }
            process::exit_now(127)
        }
        Forked::Parent { pidfd, .. } => pidfd,
    };
    while !poll::wait_readable(&[pidfd.as_fd()], Some(deadline))?.contains(&true) {
        if Instant::now() >= deadline {
            process::signal_pidfd(pidfd.as_fd(), SIGKILL)?;
        }
    }
    process::wait_for(pidfd.as_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_that_of_the_first_line_that_grants_enough() {
        let text = "root:100000:65536\nme:1:10\nme:200000:65536\n62017:300000:1000\nodd:x:y\nbig:4294967295:70000\n";
        assert_eq!(range_of(text, "me", 1, 1000), Some((200_000, 65_536)));
        assert_eq!(range_of(text, "me", 1, 65_537), None);
        assert_eq!(range_of(text, "nobody", 62_017, 1000), Some((300_000, 1000)));
        for (account, uid) in [("you", 5), ("odd", 5), ("big", 5), ("m", 5), ("", 0)] {
            assert_eq!(range_of(text, account, uid, 1000), None, "{account}");
        }
    }
}
