//! What is answered, gathered until there is enough to write or nothing more to do.

use std::{
    fs::File,
    io::{self, Write as _},
};

use crate::sys::Errno;

use super::packet::{Attributes, Handle, MAX_PACKET};

/// From so many bytes on they are written: the other side has something to do while more is read.
const ENOUGH: usize = 128 << 10;

/// Where one more reply of any size still fits.
const CAPACITY: usize = ENOUGH + MAX_PACKET + 64;

/// Bytes of a data reply before the data: length, type, id, length of the data.
const DATA_HEADER: usize = 13;

/// How a request ended (draft-ietf-secsh-filexfer-02, section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    Eof,
    NoSuchFile,
    PermissionDenied,
    /// With what the system said, where it said something.
    Failure(Option<Errno>),
    BadMessage,
    Unsupported,
}

impl From<Errno> for Status {
    /// As OpenSSH's server does, whose clients know what to make of it.
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::ENOENT | Errno::ENOTDIR | Errno::EBADF | Errno::ELOOP => Self::NoSuchFile,
            Errno::EPERM | Errno::EACCES => Self::PermissionDenied,
            Errno::ENAMETOOLONG | Errno::EINVAL => Self::BadMessage,
            Errno::ENOSYS => Self::Unsupported,
            errno => Self::Failure(Some(errno)),
        }
    }
}

impl From<io::Error> for Status {
    fn from(error: io::Error) -> Self {
        Errno::from(error).into()
    }
}

impl Status {
    fn code(self) -> u32 {
        match self {
            Self::Ok => 0,
            Self::Eof => 1,
            Self::NoSuchFile => 2,
            Self::PermissionDenied => 3,
            Self::Failure(_) => 4,
            Self::BadMessage => 5,
            Self::Unsupported => 8,
        }
    }

    pub(super) fn sentence(self) -> String {
        match self {
            Self::Ok => "Success".into(),
            Self::Eof => "End of file".into(),
            Self::NoSuchFile => "No such file".into(),
            Self::PermissionDenied => "Permission denied".into(),
            Self::Failure(None) => "Failure".into(),
            Self::Failure(Some(errno)) => errno.to_string(),
            Self::BadMessage => "Bad message".into(),
            Self::Unsupported => "Operation unsupported".into(),
        }
    }
}

/// The stream of replies.
#[derive(Debug)]
pub(super) struct Replies {
    to: File,
    /// Written to its full length once, so that a file is read into it without a copy.
    buffer: Vec<u8>,
    used: usize,
    /// Where the reply that is being written begins.
    begun: usize,
}

impl Replies {
    pub(super) fn new(to: File) -> Self {
        Self { to, buffer: vec![0; CAPACITY], used: 0, begun: 0 }
    }

    /// Whether there is enough to be worth a write.
    pub(super) fn are_many(&self) -> bool {
        self.used >= ENOUGH
    }

    /// Writes what there is. Waits for a client that does not read.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.to.write_all(self.buffer.get(..self.used).unwrap_or_default())?;
        self.used = 0;
        // A list of names can have been longer than expected.
        self.buffer.truncate(CAPACITY);
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.used.saturating_add(bytes.len());
        if end > self.buffer.len() {
            self.buffer.resize(end, 0);
        }
        if let Some(room) = self.buffer.get_mut(self.used..end) {
            room.copy_from_slice(bytes);
            self.used = end;
        }
    }

    pub(super) fn u32(&mut self, number: u32) {
        self.put(&number.to_be_bytes());
    }

    pub(super) fn u64(&mut self, number: u64) {
        self.put(&number.to_be_bytes());
    }

    pub(super) fn string(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.put(bytes);
    }

    pub(super) fn attributes(&mut self, attributes: &Attributes) {
        self.u32(attributes.flags());
        if let Some(size) = attributes.size {
            self.u64(size);
        }
        if let Some((user, group)) = attributes.owner {
            self.u32(user);
            self.u32(group);
        }
        if let Some(mode) = attributes.mode {
            self.u32(mode);
        }
        if let Some((accessed, changed)) = attributes.times {
            self.u32(accessed);
            self.u32(changed);
        }
    }

    /// Begins a reply of this type. Ended by [`Replies::end`].
    fn begin(&mut self, kind: u8) {
        self.begun = self.used;
        self.put(&[0, 0, 0, 0, kind]);
    }

    fn end(&mut self) {
        let length = self.used.saturating_sub(self.begun).saturating_sub(4);
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(place) = self.buffer.get_mut(self.begun..).and_then(|rest| rest.first_chunk_mut()) {
            *place = length;
        }
    }

    /// `SSH_FXP_VERSION`.
    pub(super) fn version(&mut self, version: u32, extensions: impl Iterator<Item = (&'static str, &'static str)>) {
        self.begin(2);
        self.u32(version);
        for (name, value) in extensions {
            self.string(name.as_bytes());
            self.string(value.as_bytes());
        }
        self.end();
    }

    /// `SSH_FXP_STATUS`.
    pub(super) fn status(&mut self, id: u32, status: Status) {
        self.begin(101);
        self.u32(id);
        self.u32(status.code());
        self.string(status.sentence().as_bytes());
        self.string(b"");
        self.end();
    }

    /// `SSH_FXP_HANDLE`.
    pub(super) fn handle(&mut self, id: u32, handle: Handle) {
        self.begin(102);
        self.u32(id);
        self.string(&handle.bytes());
        self.end();
    }

    /// `SSH_FXP_DATA`: what `read` puts into a buffer of `length` bytes. Nothing is sent if that
    /// fails, or reads nothing.
    pub(super) fn data(
        &mut self,
        id: u32,
        length: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> Result<usize, Status> {
        let start = self.used.saturating_add(DATA_HEADER);
        let end = start.saturating_add(length);
        if end > self.buffer.len() {
            self.buffer.resize(end, 0);
        }
        let got = read(self.buffer.get_mut(start..end).unwrap_or_default())?.min(length);
        if got == 0 {
            return Err(Status::Eof);
        }
        self.begin(103);
        self.u32(id);
        self.u32(u32::try_from(got).unwrap_or(u32::MAX));
        self.used = self.used.saturating_add(got);
        self.end();
        Ok(got)
    }

    /// `SSH_FXP_NAME` with one name and no attributes.
    pub(super) fn name(&mut self, id: u32, name: &[u8]) {
        self.names(id, &[(name.to_vec(), name.to_vec(), Attributes::default())]);
    }

    /// `SSH_FXP_NAME`: names, what `ls -l` would print of each, attributes.
    pub(super) fn names(&mut self, id: u32, names: &[(Vec<u8>, Vec<u8>, Attributes)]) {
        self.begin(104);
        self.u32(id);
        self.u32(u32::try_from(names.len()).unwrap_or(u32::MAX));
        for (name, line, attributes) in names {
            self.string(name);
            self.string(line);
            self.attributes(attributes);
        }
        self.end();
    }

    /// `SSH_FXP_ATTRS`.
    pub(super) fn attrs(&mut self, id: u32, attributes: &Attributes) {
        self.begin(105);
        self.u32(id);
        self.attributes(attributes);
        self.end();
    }

    /// `SSH_FXP_EXTENDED_REPLY`.
    pub(super) fn extended(&mut self, id: u32, fill: impl FnOnce(&mut Self)) {
        self.begin(201);
        self.u32(id);
        fill(self);
        self.end();
    }
}
