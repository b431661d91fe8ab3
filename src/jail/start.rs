//! The monitor's part of starting a cell: what comes before the child is told whose it is, the id
//! maps and control groups, and waiting until the child has become init.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
};

use crate::base::{Failure, Result, fail};
use crate::sys::{
    Errno,
    mount::{self, Extent, Kind, attributes},
    process::Pid,
    seqpacket,
};
use crate::wire::{Link, LinkError, init::Order, init::Report};

use super::{
    Plan, cgroups,
    child::{Child, Tools},
    filters::Filters,
    handover::{Answer, Word, lists},
    keep,
    plan::{Before, Inside, Leaf, Outside, Tree},
    state::Held,
    stock::Spares,
};

/// A cell that was just started.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) link: Link<Order, Report>,
    pub(super) pidfd: OwnedFd,
    pub(super) pid: Pid,
}

/// Why a cell did not start.
enum Trouble {
    /// Somebody killed its pid 1.
    Killed,
    Other(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}

/// Carries out `plan`, for whoever holds the right to, with one of `spares` if there is one.
pub(super) fn start(plan: &Plan, tools: Tools<'_>, held: &Held, spares: Option<&Spares>) -> Result<Started> {
    if let Some(spare) = spares.map(Spares::take).transpose()?.flatten() {
        match Start::new(plan, tools.filters, held)?.with(spare) {
            Ok(started) => return Ok(started),
            // It was nobody's yet: that somebody killed it, or that its listener ended just when it was
            // taken, is no reason to refuse a login.
            Err(Trouble::Killed) => {}
            Err(Trouble::Other(failure)) => return Err(failure),
        }
    }
    let start = Start::new(plan, tools.filters, held)?;
    let child = Child::make(&plan.clone, &plan.ahead, tools, start.group.as_ref().map(File::as_fd), None)?;
    start.with(child).map_err(|trouble| match trouble {
        Trouble::Killed => fail("starting the cell of", &plan.name, "its pid 1 was killed"),
        Trouble::Other(failure) => failure,
    })
}

/// What the monitor has made so far.
struct Start<'a> {
    plan: &'a Plan,
    filters: &'a Filters,
    held: &'a Held,
    trees: BTreeMap<Tree, OwnedFd>,
    /// v2: the group to clone into.
    group: Option<File>,
}

impl<'a> Start<'a> {
    fn new(plan: &'a Plan, filters: &'a Filters, held: &'a Held) -> Result<Self> {
        held.clear()?;
        let mut start = Self { plan, filters, held, trees: BTreeMap::new(), group: None };
        for op in &plan.before {
            start.before(op)?;
        }
        Ok(start)
    }

    fn before(&mut self, op: &Before) -> Result<()> {
        match op {
            Before::Keep { path, uid, mode, fill } => keep::keep(path, *uid, *mode, *fill),
            Before::MakeGroup { path, leaf } => {
                if *leaf == Leaf::Init {
                    // What a start that was killed half-way has left holds no process any more, and a
                    // group whose controllers are on takes none.
                    cgroups::remove_own(path.parent().unwrap_or(path))?;
                }
                cgroups::make(path)?;
                if *leaf == Leaf::Init {
                    self.group = Some(cgroups::open_directory(path.parent().unwrap_or(path))?);
                }
                Ok(())
            }
            Before::GiveGroup { path, uid } => cgroups::give(path, *uid),
            Before::Take { tree, source } => {
                self.trees.insert(*tree, take(source)?);
                Ok(())
            }
        }
    }

    /// Makes `child` the cell; ends it if that fails.
    fn with(self, mut child: Child) -> Result<Started, Trouble> {
        let failed = |errno: Errno| fail("starting the cell of", &self.plan.name, errno);
        let listener = seqpacket::bind_path(&self.held.place().socket()).map_err(failed)?;
        let (link, inner_link) = seqpacket::pair().map_err(failed)?;
        let done = self
            .tell(&child, &[listener, inner_link])
            .and_then(|()| self.plan.outside.iter().try_for_each(|op| self.outside(op, &child)));
        let died = child.has_ended()?;
        let answered = match done {
            Err(Trouble::Other(failure)) if !died => Err(Trouble::Other(failure)),
            // What it says, or said before it ended, goes before what that led to here.
            Ok(()) | Err(_) => match child.answer()? {
                Some(Answer::Ready) => Ok(()),
                Some(Answer::Failed(text)) => Err(Trouble::Other(self.told(&text))),
                None => Err(Trouble::Killed),
            },
        };
        if let Err(trouble) = answered {
            child.end()?;
            return Err(trouble);
        }
        let Child { pidfd, record, .. } = child;
        Ok(Started { link: Link::new(link), pidfd, pid: record.pid })
    }

    /// Tells the child whose cell it is and what to do.
    fn tell(&self, child: &Child, sockets: &[OwnedFd; 2]) -> Result<(), Trouble> {
        let lists = lists(&self.plan.inside)?;
        let name = self.plan.name.clone();
        let limit =
            self.plan.inside.iter().find_map(|op| if let Inside::LimitCalls(sets) = op { Some(sets) } else { None });
        let sets = limit.ok_or_else(|| fail("starting the cell of", &name, "its system calls are not limited"))?;
        let calls =
            self.filters.places(sets).map_err(|errno| fail("finding the list of system calls of", &name, errno))?;
        let word = Word::Take { name, sets: sets.clone(), calls, trees: self.trees.len(), lists: lists.len() };
        let [listener, first_link] = sockets;
        self.send(child, &word, [listener.as_fd(), first_link.as_fd(), self.filters.as_fd()])?;
        for (number, tree) in &self.trees {
            self.send(child, &Word::Tree(*number), [tree.as_fd()])?;
        }
        lists.into_iter().try_for_each(|list| self.send(child, &Word::Ops(list), []))
    }

    fn send<'f>(
        &self,
        child: &Child,
        word: &Word,
        fds: impl IntoIterator<Item = BorrowedFd<'f>>,
    ) -> Result<(), Trouble> {
        let fds: Vec<_> = fds.into_iter().collect();
        match child.link.send_with(word, &fds) {
            Ok(()) => Ok(()),
            Err(LinkError::Closed) => Err(Trouble::Killed),
            Err(error) => Err(fail("starting the cell of", &self.plan.name, error).into()),
        }
    }

    fn outside(&self, op: &Outside, child: &Child) -> Result<(), Trouble> {
        let failed = |cause: &dyn std::fmt::Display| fail("making the cell", format_args!("({op})"), cause);
        match op {
            Outside::MapIds(range) => map_ids(child, &format!("0 {} {}\n", range.first, range.count))?,
            Outside::MapAround { id, others } => map_ids(child, &map_around(*id, *others))?,
            // We are root of the user namespace around it.
            Outside::MapOne { id } => map_ids(child, &format!("{id} 0 1\n"))?,
            Outside::MakeGroup { path, leaf: _ } => cgroups::make(path)?,
            Outside::Shift { tree } => {
                let tree = self.trees.get(tree).ok_or_else(|| failed(&"no such tree"))?;
                mount::shift_owners(tree.as_fd(), child.user_namespace.as_fd()).map_err(|errno| {
                    failed(&errno).hint("the file system of this directory must support idmapped mounts (ext4, xfs, btrfs; tmpfs from Linux 6.3)")
                })?;
            }
            Outside::Release => self.send(child, &Word::Released, [])?,
            Outside::SetGroup { file, value } => cgroups::set(file, value)?,
            Outside::MoveIn { path } => cgroups::move_in(path, child.record.pid)?,
            Outside::WatchMemory { path } => self.send(child, &Word::Memory, [cgroups::watch_memory(path)?.as_fd()])?,
            Outside::WriteDown => self.held.write(child.record)?,
            Outside::LendGroup { tree, path, v2 } => {
                let lent = cgroups::lend(path, *v2)?;
                self.send(child, &Word::Group { tree: *tree, v2: *v2 }, lent.iter().map(OwnedFd::as_fd))?;
            }
        }
        Ok(())
    }

    fn told(&self, text: &str) -> Failure {
        match text.split_once("\nhint: ") {
            Some((cause, hint)) => fail("starting the cell of", &self.plan.name, cause).hint(hint),
            None => fail("starting the cell of", &self.plan.name, text),
        }
    }
}

/// user_namespaces(7): setgroups stays as it is around it, because the parent namespace's root writes.
fn map_ids(child: &Child, map: &str) -> Result<()> {
    ["uid_map", "gid_map"].iter().try_for_each(|name| child.write(name, map))
}

/// The map in which `id` is 0 outside, those below it follow, and then those above it.
fn map_around(id: u32, others: u32) -> String {
    let above = others.saturating_sub(id);
    let mut lines = vec![format!("{id} 0 1\n")];
    if id > 0 {
        lines.push(format!("0 1 {id}\n"));
    }
    if above > 0 {
        lines.push(format!("{0} {0} {above}\n", id.saturating_add(1)));
    }
    lines.concat()
}

/// Takes a tenant's tree: found without following links, below a directory that only root enters,
/// since a setuid-root file on disk is just that (docs/kernel.md, 15).
fn take(source: &Path) -> Result<OwnedFd> {
    let failed = |errno: Errno| {
        let failure = fail("opening the root", source.display(), errno);
        match errno {
            Errno::ELOOP => failure.hint("name the directory without symbolic links"),
            _other => failure,
        }
    };
    check_private(source)?;
    let slash = File::open("/").map_err(|error| failed(error.into()))?;
    let below = source.strip_prefix("/").unwrap_or(source);
    let found = mount::locate(slash.as_fd(), below, Kind::Directory).map_err(failed)?;
    let tree = mount::clone_tree(found.as_fd(), Path::new(""), Extent::One).map_err(failed)?;
    // What the host mounts there later would come without these attributes and with unshifted owners.
    mount::make_private(tree.as_fd(), Extent::One).map_err(failed)?;
    mount::set_attributes(tree.as_fd(), attributes::NO_DEV, Extent::One).map_err(failed)?;
    Ok(tree)
}

fn check_private(source: &Path) -> Result<()> {
    let mut private = false;
    for parent in source.ancestors().skip(1) {
        let found = fs::symlink_metadata(parent).map_err(|error| fail("looking at", parent.display(), error))?;
        private |= found.uid() == 0 && found.mode() & 0o077 == 0;
    }
    if private {
        return Ok(());
    }
    let parent = source.parent().unwrap_or(source).display();
    Err(fail("opening the root", source.display(), "any user of the host could run its setuid programs")
        .hint(format_args!("chown root {parent} && chmod 700 {parent}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_is_mapped_once_around_the_users_own() {
        assert_eq!(map_around(1000, 65_535), "1000 0 1\n0 1 1000\n1001 1001 64535\n");
        assert_eq!(map_around(1000, 1000), "1000 0 1\n0 1 1000\n");
        assert_eq!(map_around(0, 1000), "0 0 1\n1 1 1000\n");
    }
}
