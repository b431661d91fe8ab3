//! The life of a child, from exec until it is pid 1 of a cell.
//!
//! It runs as `cellblock-init` in namespaces of its own and holds nothing of who started it: the exec
//! dropped that. First it does what every cell needs; then it waits to be told whose it is. One that
//! the listener made ahead of time, and that waits for long, is a *spare*. It serves one tenant, once.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use crate::base::{Result, fail};
use crate::sys::{
    Errno, credentials, fd,
    mount::{self, Kind},
    poll, process,
};
use crate::wire::Link;

use super::{
    apply::Builder,
    filters::Calls,
    handover::{Answer, LINK, VIEW, Word},
    host::STAGE,
};

/// Longest failure that is reported; the rest is cut.
const MAX_FAILURE: usize = 4096;

/// What pid 1 of a cell starts from.
#[derive(Debug)]
pub struct Built {
    /// init's socket, listening.
    pub listener: OwnedFd,
    /// The first monitor's link.
    pub first_link: OwnedFd,
    /// `tasks` of the sessions' v1 groups, or the directory of their v2 group.
    pub session_groups: Vec<OwnedFd>,
    /// Whether that is a v2 directory.
    pub v2: bool,
    /// The lists of system calls.
    pub filter: OwnedFd,
    /// Where in there that of sessions begins, and its length.
    pub calls: (u64, usize),
    /// Readable when the sessions of a v1 group ran out of memory.
    pub memory_event: Option<OwnedFd>,
    /// What init writes usage into.
    pub board: Option<OwnedFd>,
    /// Whether there is but one id in the cell, init's and the tenant's.
    pub only_id: bool,
}

/// Becomes a cell; `None` if it was not wanted, or told whoever wanted it why it failed.
pub fn become_cell() -> Result<Option<Built>, Errno> {
    process::make_undumpable()?;
    let mut link: Link<Answer, Word> = Link::new(fd::inherited(LINK)?);
    let lived = live(&mut link, fd::inherited(VIEW)?);
    let told = match &lived {
        Ok(Some(_built)) => link.send(&Answer::Ready),
        Ok(None) => Ok(()),
        Err(failure) => link.send(&Answer::Failed(failure.to_string().chars().take(MAX_FAILURE).collect())),
    };
    // A monitor that is gone by now left a cell without sessions, which ends by itself.
    Ok(if told.is_ok() { lived.ok().flatten() } else { None })
}

fn live(link: &mut Link<Answer, Word>, view: OwnedFd) -> Result<Option<Built>> {
    let heard = link.receive().map_err(|error| fail("preparing", "a cell", error))?;
    let (Word::Ahead(ops), with) = heard else {
        return Err(fail("preparing", "a cell", "the first word is another"));
    };
    credentials::set_umask(0o022);
    let mut builder = begin(link, view)?;
    builder.carry_out(&ops)?;
    drop(ops);
    if !is_wanted(&builder, with.into_iter().next())? {
        return Ok(None);
    }
    let (Word::Take { name, sets, calls, trees, lists }, [listener, first_link, filters]) = builder.hear::<3>()? else {
        return Err(builder.misplaced());
    };
    name_process(c"cellblock-init")?;
    builder.name = Some(name);
    builder.calls = Some(Calls::new(filters.into(), sets, calls));
    for _tree in 0..trees {
        let (Word::Tree(number), [tree]) = builder.hear::<1>()? else { return Err(builder.misplaced()) };
        builder.trees.insert(number, tree);
    }
    let mut todo = Vec::new();
    for _list in 0..lists {
        let (Word::Ops(ops), []) = builder.hear::<0>()? else { return Err(builder.misplaced()) };
        todo.push(ops);
    }
    builder.listener = Some(listener);
    todo.iter().try_for_each(|ops| builder.carry_out(ops))?;
    let Builder { listener, session_groups, v2, calls, limited, memory_event, board, only_id, .. } = builder;
    let listener = listener.ok_or_else(|| fail("making", "a cell", "its socket is gone"))?;
    let (Some(Calls { file, .. }), Some(calls)) = (calls, limited) else {
        return Err(fail("making", "a cell", "its system calls are not limited"));
    };
    let filter = file.into();
    Ok(Some(Built { listener, first_link, session_groups, v2, filter, calls, memory_event, board, only_id }))
}

fn begin(link: &mut Link<Answer, Word>, view: OwnedFd) -> Result<Builder<'_>> {
    let root = mount::locate(view.as_fd(), Path::new(STAGE), Kind::Directory)
        .map_err(|errno| fail("preparing a cell in", STAGE, errno))?;
    Ok(Builder {
        link,
        name: None,
        view,
        calls: None,
        limited: None,
        only_id: false,
        for_init: 0,
        memory_event: None,
        board: None,
        listener: None,
        trees: BTreeMap::new(),
        own_groups: Vec::new(),
        session_groups: Vec::new(),
        v2: false,
        root,
        mounted: Vec::new(),
        empty_at: None,
    })
}

/// Waits to be taken; or, where `alive` is given, for the end of the listener, which needs no spare
/// any more. A monitor that has taken it goes on without a listener.
fn is_wanted(builder: &Builder<'_>, alive: Option<OwnedFd>) -> Result<bool> {
    name_process(c"cellblock-spare")?;
    let mut watched = vec![builder.link.as_fd()];
    watched.extend(alive.as_ref().map(OwnedFd::as_fd));
    loop {
        let ready = poll::wait_readable(&watched, None).map_err(|errno| fail("waiting for", "a monitor", errno))?;
        match ready.as_slice() {
            [true, ..] => return Ok(true),
            [false, true] => return Ok(false),
            _interrupted => {}
        }
    }
}

/// A program that was exec'd from a descriptor is named after its file.
fn name_process(name: &std::ffi::CStr) -> Result<()> {
    process::set_name(name).map_err(|errno| fail("naming", "a process", errno))
}
