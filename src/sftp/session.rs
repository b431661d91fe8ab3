//! One session: each request carried out and answered, in the order in which they come.

use std::{
    ffi::OsStr,
    fs::{self, Metadata},
    io,
    os::{
        fd::AsFd as _,
        unix::{ffi::OsStrExt as _, fs::FileExt as _},
    },
    path::{Path, PathBuf},
};

use crate::sys::{
    Errno,
    path::{self as paths, FileSystem, OpenFlags},
};
use crate::wire::sftp::{Access, Operation};

use super::{
    accounts::Accounts,
    copy,
    handles::{Handles, MOST, Open, OpenFile},
    journal::{Journal, opening},
    listing::{Clock, Listing, attributes},
    names::{self, Subject, path},
    packet::{Attributes, Handle, MAX_PACKET, Malformed},
    reply::{Replies, Status},
    request::{EXTENSIONS, Request, decode, decode_hello},
    rules,
};

/// The version that is spoken, whatever the client knows (section 4).
const VERSION: u32 = 3;

/// Most bytes of one read or write: a packet's worth, as OpenSSH's server says it.
const MAX_DATA: usize = MAX_PACKET - 1024;

/// Most ids in one question for their names: the answer stays within a packet's length.
const MAX_IDS: usize = 1024;

/// How a request was answered.
enum Answer {
    /// It is done, and its status is to be sent.
    Done,
    /// The reply was written.
    Sent,
}

/// A session's state.
#[derive(Debug)]
pub(super) struct Session {
    access: Access,
    home: PathBuf,
    greeted: bool,
    handles: Handles,
    accounts: Accounts,
    clock: Option<Clock>,
    journal: Journal,
}

impl Session {
    /// A session in which nothing was said yet.
    pub(super) fn new(access: Access, home: PathBuf, journal: Journal) -> Self {
        let (handles, accounts) = (Handles::default(), Accounts::default());
        Self { access, home, greeted: false, handles, accounts, clock: None, journal }
    }

    /// Sends what was done on its way to the audit file: before the client is told of it.
    pub(super) fn record(&mut self) {
        self.journal.flush();
    }

    /// The client is gone: closes all that is open, for the record too.
    pub(super) fn end(mut self) {
        for open in self.handles.remove_all() {
            close(&mut self.journal, open);
        }
        self.journal.end();
    }

    /// Answers one packet. An error ends the session.
    pub(super) fn answer(&mut self, packet: &[u8], replies: &mut Replies) -> Result<(), Malformed> {
        if !self.greeted {
            decode_hello(packet)?;
            self.greeted = true;
            let announced = EXTENSIONS.iter().filter(|(extension, ..)| rules::announces(self.access, *extension));
            replies.version(VERSION, announced.map(|(_, name, version)| (*name, *version)));
            return Ok(());
        }
        let (id, request) = decode(packet)?;
        let answer = if rules::permits(self.access, &request) {
            self.carry_out(id, &request, replies)
        } else {
            Err(Status::PermissionDenied)
        };
        self.note(&request, &answer);
        match answer {
            Ok(Answer::Sent) => {}
            Ok(Answer::Done) => replies.status(id, Status::Ok),
            Err(status) => replies.status(id, status),
        }
        Ok(())
    }

    fn carry_out(&mut self, id: u32, request: &Request<'_>, replies: &mut Replies) -> Result<Answer, Status> {
        match *request {
            Request::Open { path: at, flags, attributes } => {
                let handle = self.open(path(at)?, flags, &attributes)?;
                replies.handle(id, handle);
                return Ok(Answer::Sent);
            }
            Request::Close { handle } => {
                let open = self.handles.remove(handle).ok_or(Status::Failure(None))?;
                close(&mut self.journal, open);
            }
            Request::Read { handle, offset, length } => {
                let file = self.handles.file(handle).ok_or(Status::Failure(None))?;
                let length = usize::try_from(length).unwrap_or(MAX_DATA).min(MAX_DATA);
                let read = replies.data(id, length, |room| read_at(&file.file, room, offset))?;
                file.read = file.read.saturating_add(u64::try_from(read).unwrap_or(0));
                return Ok(Answer::Sent);
            }
            Request::Write { handle, offset, data } => {
                let file = self.handles.file(handle).ok_or(Status::Failure(None))?;
                file.file.write_all_at(data, offset)?;
                file.written = file.written.saturating_add(u64::try_from(data.len()).unwrap_or(0));
            }
            Request::FSync { handle } => self.handles.file(handle).ok_or(Status::Failure(None))?.file.sync_all()?,
            Request::CopyData { from, read_at, length, to, write_at } => {
                self.copy_data((from, read_at), (to, write_at), length)?;
            }
            Request::LStat { path: at } => return self.tell(id, fs::symlink_metadata(path(at)?), replies),
            Request::Stat { path: at } => return self.tell(id, fs::metadata(path(at)?), replies),
            Request::FStat { handle } => {
                let file = self.handles.file(handle).ok_or(Status::Failure(None))?;
                replies.attrs(id, &attributes(&file.file.metadata()?));
                return Ok(Answer::Sent);
            }
            Request::OpenDir { path: at } => {
                let handle = self.open_directory(path(at)?)?;
                replies.handle(id, handle);
                return Ok(Answer::Sent);
            }
            Request::ReadDir { handle } => return self.read_directory(id, handle, replies),
            Request::ReadLink { path: at } => {
                replies.name(id, fs::read_link(path(at)?)?.as_os_str().as_bytes());
                return Ok(Answer::Sent);
            }
            Request::RealPath { path: at } => return say(id, &self.resolve(path(at)?)?, replies),
            Request::ExpandPath { path: at } => {
                let path = self.expand(path(at)?)?;
                return say(id, &self.resolve(&path)?, replies);
            }
            Request::HomeDirectory { user } => {
                let home = if user.is_empty() { Some(self.home.clone()) } else { self.home_of(user) };
                return say(id, &home.ok_or(Status::NoSuchFile)?, replies);
            }
            Request::StatVfs { path: at } => {
                let path = self.visible(path(at)?)?;
                return tell_of(id, &paths::file_system(path)?, replies);
            }
            Request::FStatVfs { handle } => {
                let file = self.handles.file(handle).ok_or(Status::Failure(None))?;
                return tell_of(id, &paths::file_system_of(file.file.as_fd())?, replies);
            }
            Request::Limits => {
                let limits = [MAX_PACKET, MAX_DATA, MAX_DATA, MOST].map(|limit| u64::try_from(limit).unwrap_or(0));
                replies.extended(id, |replies| limits.iter().for_each(|limit| replies.u64(*limit)));
                return Ok(Answer::Sent);
            }
            Request::Names { users, groups } => return self.name_ids(id, users, groups, replies),
            Request::SetStat { .. }
            | Request::LSetStat { .. }
            | Request::FSetStat { .. }
            | Request::Remove { .. }
            | Request::MakeDir { .. }
            | Request::RemoveDir { .. }
            | Request::Rename { .. }
            | Request::PosixRename { .. }
            | Request::Symlink { .. }
            | Request::HardLink { .. } => self.change(request)?,
            Request::Unknown => return Err(Status::Unsupported),
        }
        Ok(Answer::Done)
    }

    fn copy_data(&mut self, from: (Handle, u64), to: (Handle, u64), length: u64) -> Result<(), Status> {
        let mut file = |handle| self.handles.file(handle)?.file.try_clone().ok();
        let (source, target) = file(from.0).zip(file(to.0)).ok_or(Status::Failure(None))?;
        let copied = copy::copy((&source, from.1), (&target, to.1), length)?;
        for (handle, read, written) in [(from.0, copied, 0), (to.0, 0, copied)] {
            if let Some(file) = self.handles.file(handle) {
                file.read = file.read.saturating_add(read);
                file.written = file.written.saturating_add(written);
            }
        }
        Ok(())
    }

    fn open_directory(&mut self, path: &Path) -> Result<Handle, Status> {
        if !self.handles.has_room() {
            return Err(Errno::EMFILE.into());
        }
        let listing = Listing::open(path)?;
        Ok(self.handles.add(Open::Directory(Box::new(listing))).ok_or(Errno::EMFILE)?)
    }

    fn read_directory(&mut self, id: u32, handle: Handle, replies: &mut Replies) -> Result<Answer, Status> {
        let listing = self.handles.directory(handle).ok_or(Status::Failure(None))?;
        let entries = listing.next(&mut self.accounts, self.clock.get_or_insert_with(Clock::new))?;
        if entries.is_empty() {
            return Err(Status::Eof);
        }
        replies.names(id, &entries);
        Ok(Answer::Sent)
    }

    /// Requests that change names and attributes, and are answered by a status alone.
    fn change(&mut self, request: &Request<'_>) -> Result<(), Status> {
        match *request {
            Request::SetStat { path: at, attributes } => self.describe(Subject::Path(path(at)?), &attributes),
            Request::LSetStat { path: at, attributes } => self.describe(Subject::Itself(path(at)?), &attributes),
            Request::FSetStat { handle, attributes } => {
                let file = self.handles.file(handle).ok_or(Status::Failure(None))?;
                names::set(Subject::File(&file.file), &attributes)
            }
            Request::Remove { path: at } => Ok(names::remove(path(at)?)?),
            Request::MakeDir { path: at, attributes } => Ok(names::make_directory(path(at)?, &attributes)?),
            Request::RemoveDir { path: at } => Ok(fs::remove_dir(path(at)?)?),
            Request::Rename { from, to } => Ok(names::rename(path(from)?, path(to)?)?),
            Request::PosixRename { from, to } => Ok(fs::rename(path(from)?, path(to)?)?),
            Request::Symlink { target, path: at } => Ok(names::make_link(path(target)?, path(at)?)?),
            Request::HardLink { from, to } => Ok(fs::hard_link(path(from)?, path(to)?)?),
            Request::Open { .. }
            | Request::Close { .. }
            | Request::Read { .. }
            | Request::Write { .. }
            | Request::LStat { .. }
            | Request::FStat { .. }
            | Request::OpenDir { .. }
            | Request::ReadDir { .. }
            | Request::RealPath { .. }
            | Request::Stat { .. }
            | Request::ReadLink { .. }
            | Request::StatVfs { .. }
            | Request::FStatVfs { .. }
            | Request::FSync { .. }
            | Request::Limits
            | Request::ExpandPath { .. }
            | Request::CopyData { .. }
            | Request::HomeDirectory { .. }
            | Request::Names { .. }
            | Request::Unknown => Err(Status::Unsupported),
        }
    }

    /// Writes down what changes files, or opens them, whether it was done or not.
    fn note(&mut self, request: &Request<'_>, answer: &Result<Answer, Status>) {
        let (operation, path, to) = match *request {
            Request::Open { path, flags, .. } => {
                let has = |flag: u32| flags & flag != 0;
                let writes = rules::open::WRITE | rules::open::APPEND | rules::open::CREATE | rules::open::TRUNCATE;
                (opening(has(rules::open::READ), has(writes)), path, None)
            }
            Request::SetStat { path, .. } | Request::LSetStat { path, .. } => (Operation::SetAttributes, path, None),
            Request::FSetStat { handle, .. } => {
                let Some(file) = self.handles.file(handle) else { return };
                let done = answer.as_ref().map(|_| ()).map_err(|status| *status);
                return self.journal.note(Operation::SetAttributes, &file.path, None, &done);
            }
            Request::Remove { path } => (Operation::Remove, path, None),
            Request::MakeDir { path, .. } => (Operation::MakeDirectory, path, None),
            Request::RemoveDir { path } => (Operation::RemoveDirectory, path, None),
            Request::Rename { from, to } | Request::PosixRename { from, to } => (Operation::Rename, from, Some(to)),
            Request::Symlink { target, path } => (Operation::Symlink, path, Some(target)),
            Request::HardLink { from, to } => (Operation::HardLink, from, Some(to)),
            Request::Close { .. }
            | Request::Read { .. }
            | Request::Write { .. }
            | Request::LStat { .. }
            | Request::FStat { .. }
            | Request::OpenDir { .. }
            | Request::ReadDir { .. }
            | Request::RealPath { .. }
            | Request::Stat { .. }
            | Request::ReadLink { .. }
            | Request::StatVfs { .. }
            | Request::FStatVfs { .. }
            | Request::FSync { .. }
            | Request::Limits
            | Request::ExpandPath { .. }
            | Request::CopyData { .. }
            | Request::HomeDirectory { .. }
            | Request::Names { .. }
            | Request::Unknown => return,
        };
        let done = answer.as_ref().map(|_| ()).map_err(|status| *status);
        self.journal.note(operation, path, to, &done);
    }

    fn open(&mut self, path: &Path, flags: u32, attributes: &Attributes) -> Result<Handle, Status> {
        if !self.handles.has_room() {
            return Err(Errno::EMFILE.into());
        }
        let mut flags = open_flags(flags);
        if !rules::sees(self.access) {
            // What is there stays as it is, and is no way to its size.
            flags |= OpenFlags::EXCL;
        }
        let file = paths::open(path, flags, attributes.mode.unwrap_or(0o666))?;
        if !names::is_readable_kind(&file.metadata()?) {
            return Err(Errno::ENOTSUP.into());
        }
        let open = OpenFile { file, path: path.as_os_str().as_bytes().to_vec(), read: 0, written: 0 };
        Ok(self.handles.add(Open::File(open)).ok_or(Errno::EMFILE)?)
    }

    /// What is known of a path.
    fn tell(&self, id: u32, meta: io::Result<Metadata>, replies: &mut Replies) -> Result<Answer, Status> {
        if !rules::sees(self.access) && !meta.as_ref().is_ok_and(Metadata::is_dir) {
            return Err(Status::PermissionDenied);
        }
        replies.attrs(id, &attributes(&meta?));
        Ok(Answer::Sent)
    }

    /// The path, if the session may be told of what is there.
    fn visible<'a>(&self, path: &'a Path) -> Result<&'a Path, Status> {
        if rules::sees(self.access) || fs::metadata(path).is_ok_and(|meta| meta.is_dir()) {
            return Ok(path);
        }
        Err(Status::PermissionDenied)
    }

    /// Gives attributes to what is at a path, if the session may be told of that.
    fn describe(&self, subject: Subject<'_>, attributes: &Attributes) -> Result<(), Status> {
        let (path, links) = match subject {
            _ if rules::sees(self.access) => return names::set(subject, attributes),
            Subject::Path(path) => (path, OpenFlags::empty()),
            Subject::Itself(path) => (path, OpenFlags::NOFOLLOW),
            Subject::File(_) => return Err(Status::PermissionDenied),
        };
        // By now a file can have the name of a directory that was looked at: what is opened is a directory.
        let place = paths::open(path, links | OpenFlags::PATH | OpenFlags::DIRECTORY, 0)
            .map_err(|_other_or_missing| Status::PermissionDenied)?;
        if attributes.size.is_some() {
            return Err(Status::PermissionDenied);
        }
        names::set(Subject::Path(&paths::by_descriptor(place.as_fd())), attributes)
    }

    /// The absolute path, as if there were nothing that the session may not be told of.
    fn resolve(&self, path: &Path) -> Result<PathBuf, Status> {
        if rules::sees(self.access) { names::resolve(path) } else { names::resolve_among_directories(path) }
    }

    fn home_of(&mut self, user: &[u8]) -> Option<PathBuf> {
        self.accounts.home(user).map(|home| PathBuf::from(OsStr::from_bytes(home)))
    }

    /// `~` and `~user` at the beginning, as shells have it.
    fn expand(&mut self, path: &Path) -> Result<PathBuf, Status> {
        let mut parts = path.components();
        let Some(user) = parts.next().and_then(|first| first.as_os_str().as_bytes().strip_prefix(b"~")) else {
            return Ok(path.to_owned());
        };
        let home = if user.is_empty() { Some(self.home.clone()) } else { self.home_of(user) };
        Ok(home.ok_or(Status::NoSuchFile)?.join(parts.as_path()))
    }

    fn name_ids(&mut self, id: u32, users: &[u8], groups: &[u8], replies: &mut Replies) -> Result<Answer, Status> {
        let ids = |bytes: &[u8]| -> Vec<u32> { bytes.as_chunks().0.iter().map(|id| u32::from_be_bytes(*id)).collect() };
        let (users, groups) = (ids(users), ids(groups));
        if users.len() > MAX_IDS || groups.len() > MAX_IDS {
            return Err(Status::BadMessage);
        }
        let accounts = &mut self.accounts;
        let mut listed = [Vec::new(), Vec::new()];
        let [user_names, group_names] = &mut listed;
        users.iter().for_each(|user| push_string(user_names, accounts.user(*user).unwrap_or_default()));
        groups.iter().for_each(|group| push_string(group_names, accounts.group(*group).unwrap_or_default()));
        replies.extended(id, |replies| listed.iter().for_each(|names| replies.string(names)));
        Ok(Answer::Sent)
    }
}

/// Closes what was open. A directory leaves no line.
fn close(journal: &mut Journal, open: Open) {
    match open {
        Open::File(OpenFile { file: _, path, read, written }) => journal.note_close(&path, read, written),
        Open::Directory(_) => {}
    }
}

fn push_string(list: &mut Vec<u8>, name: &[u8]) {
    list.extend(u32::try_from(name.len()).unwrap_or(0).to_be_bytes());
    list.extend(name);
}

fn say(id: u32, path: &Path, replies: &mut Replies) -> Result<Answer, Status> {
    replies.name(id, path.as_os_str().as_bytes());
    Ok(Answer::Sent)
}

fn tell_of(id: u32, system: &FileSystem, replies: &mut Replies) -> Result<Answer, Status> {
    let flags = u64::from(system.read_only) | (u64::from(system.no_setuid) << 1);
    let numbers = [
        system.block_size,
        system.fragment_size,
        system.blocks,
        system.blocks_free,
        system.blocks_available,
        system.files,
        system.files_free,
        system.files_available,
        system.id,
        flags,
        system.name_max,
    ];
    replies.extended(id, |replies| numbers.iter().for_each(|number| replies.u64(*number)));
    Ok(Answer::Sent)
}

fn open_flags(flags: u32) -> OpenFlags {
    let has = |flag: u32| flags & flag != 0;
    let mut out = match (has(rules::open::READ), has(rules::open::WRITE)) {
        (true, true) => OpenFlags::RDWR,
        (false, true) => OpenFlags::WRONLY,
        (_, false) => OpenFlags::RDONLY,
    };
    let rest = [
        (rules::open::APPEND, OpenFlags::APPEND),
        (rules::open::CREATE, OpenFlags::CREATE),
        (rules::open::TRUNCATE, OpenFlags::TRUNC),
        (rules::open::EXCLUSIVE, OpenFlags::EXCL),
    ];
    rest.into_iter().filter(|(asked, _)| has(*asked)).for_each(|(_, flag)| out |= flag);
    out
}

/// As much as there is, up to all of `room`: short only at the end of the file.
fn read_at(file: &fs::File, room: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = room.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(u64::try_from(got).unwrap_or(0))) {
            Ok(0) => break,
            Ok(length) => got = got.saturating_add(length),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if got == 0 => return Err(error),
            Err(_later) => break,
        }
    }
    Ok(got)
}
