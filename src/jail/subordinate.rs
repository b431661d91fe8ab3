//! Root of a user namespace, which has ids to give to tenants if it can: what an ordinary user becomes to serve a door of
//! their own (`cellblock try`).
//!
//! The ids are those that root of the host has granted (subuid(5)). Without a grant there is the user's own for all:
//! namespaces, filters and what is mounted keep tenants apart, and ids do not. In there the user is to the listener, its monitors
//! and cells what the host's root is elsewhere, but for what no user namespace has a say in: owners on disk are not
//! shifted, device files are the host's, and so are control groups, but where systemd has delegated one.

use std::{
    ffi::OsStr,
    fs,
    os::fd::{AsFd as _, OwnedFd},
    path::{Component, Path},
};

use crate::base::{Result, fail};
use crate::sys::{
    Errno,
    mount::{self, Extent, Kind, attributes},
    process,
};

use super::delegated;
use super::facts::Rights;
use super::ids::end_of_grants;
use super::ranges::{Granted, Wanted};
use super::rootless::become_root_of_own;

/// The first id to give, as the namespace has it: far above the accounts that the host's files name.
pub const FIRST: u32 = 1_700_000_000;

/// How many there are to give: as many as useradd(8) grants to an account.
pub const COUNT: u32 = 65_536;

/// Directories of the host's root without which no cell can be made.
const NEEDED: [&str; 5] = ["dev", "etc", "proc", "sys", "usr"];

/// What tenants are held to in memory and processor time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Their limits, as far as the host's controllers go.
    ToLimits,
    /// Nothing: there are no control groups.
    ToNone,
}

/// The ids that a user may give; `None`: nobody has granted enough, or there is no newuidmap(1).
#[derive(Debug, Clone, Copy)]
pub struct Grant(Option<Granted>);

impl Grant {
    /// That of the caller, whose account has this name.
    pub fn look_up(account: &str) -> Result<Self> {
        Granted::look_up(account, process::effective_uid(), Wanted::pool(FIRST, COUNT)).map(Self)
    }

    /// What the user is in such a namespace.
    #[must_use]
    pub fn rights(self) -> Rights {
        if self.0.is_some() { Rights::Lender } else { Rights::User { others: 0 } }
    }

    /// Moves the calling process, which must have one thread and not be root's, into such a namespace. It keeps the
    /// paths of the host's directories, and that of `directory`, which is the user's own and has no links in its path;
    /// what lies beside that one, up to the root, is not seen any more.
    pub fn become_root(self, directory: &Path) -> Result<Held> {
        // With whoever is forked from here.
        let groups = delegated::take()?;
        become_root_of_own(self.0)?;
        take_own_root(directory)?;
        Ok(if groups == delegated::none() { Held::ToNone } else { Held::ToLimits })
    }
}

/// What root of the host does so that this account has ids to give.
#[must_use]
pub fn how_to_grant(account: &str) -> String {
    // After all that others have; where useradd(8) begins, if nobody has any.
    let first = end_of_grants().unwrap_or_default().max(100_000);
    let range = format!("{first}-{}", first.saturating_add(u64::from(COUNT)).saturating_sub(1));
    format!("apt-get install uidmap && usermod --add-subuids {range} --add-subgids {range} {account}")
}

/// Every directory above the listener's own must be root's, so that nobody else can move it (`sys::file`); those of the
/// host belong to nobody in there. So: a root directory of one's own, in which those of the host are attached.
fn take_own_root(directory: &Path) -> Result<()> {
    let names: Vec<&OsStr> = directory
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            Component::RootDir | Component::CurDir | Component::ParentDir | Component::Prefix(_) => None,
        })
        .collect();
    let failed = |errno: Errno| fail("making", "a root directory of one's own", errno);
    if names.first().is_some_and(|first| NEEDED.iter().any(|needed| first == needed)) {
        return Err(fail("using", directory.display(), "jails are made of what lies beside it")
            .hint("name a directory below /tmp or your home"));
    }
    let shown =
        mount::clone_tree_at(directory, Extent::One).map_err(|errno| fail("using", directory.display(), errno))?;
    let flags = attributes::NO_SUID | attributes::NO_DEV;
    let root = mount::create("tmpfs", &[("mode", "0755"), ("size", "256k")], flags).map_err(failed)?;
    // First, since before Linux 6.15 nothing is attached to what is attached nowhere. Paths still lead below it.
    mount::attach_at(root.as_fd(), Path::new("/")).map_err(failed)?;
    for entry in fs::read_dir("/").map_err(|error| fail("reading", "/", error))? {
        let entry = entry.map_err(|error| fail("reading", "/", error))?;
        if names.first() != Some(&entry.file_name().as_os_str()) {
            show(&entry, &root)?;
        }
    }
    let mut at = mount::locate(root.as_fd(), Path::new("."), Kind::Directory).map_err(failed)?;
    for name in names {
        mount::make_directory(at.as_fd(), Path::new(name), 0o755).map_err(failed)?;
        at = mount::locate(at.as_fd(), Path::new(name), Kind::Directory).map_err(failed)?;
    }
    mount::attach(shown.as_fd(), at.as_fd()).map_err(failed)?;
    mount::pivot(root.as_fd()).map_err(failed)
}

/// Attaches a directory of the host's root, or makes the link that is there. Other files there are nobody's business.
fn show(entry: &fs::DirEntry, root: &OwnedFd) -> Result<()> {
    let (path, name) = (entry.path(), entry.file_name());
    let failed = |cause: &dyn std::fmt::Display| fail("showing", path.display(), cause);
    let kind = entry.file_type().map_err(|error| failed(&error))?;
    let name = Path::new(&name);
    if kind.is_symlink() {
        let target = fs::read_link(&path).map_err(|error| failed(&error))?;
        return mount::make_symlink(&target, root.as_fd(), name).map_err(|errno| failed(&errno));
    }
    if !kind.is_dir() {
        return Ok(());
    }
    let tree = match mount::clone_tree_at(&path, Extent::All) {
        Ok(tree) => tree,
        // Not for the user to look at, a network's that does not answer, or one that cannot be shown elsewhere.
        Err(Errno::EACCES | Errno::ENOTCONN | Errno::ENOENT | Errno::EINVAL) => return Ok(()),
        Err(errno) => return Err(failed(&errno)),
    };
    mount::make_directory(root.as_fd(), name, 0o755)
        .and_then(|()| mount::locate(root.as_fd(), name, Kind::Directory))
        .and_then(|at| mount::attach(tree.as_fd(), at.as_fd()))
        .map_err(|errno| failed(&errno))
}
