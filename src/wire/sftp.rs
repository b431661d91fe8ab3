//! What the sftp face of init's program is told when it starts, and what it tells of files.

use serde::{Deserialize, Serialize};

/// What an sftp session may do with the tenant's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// All that the tenant may.
    ReadWrite,
    /// Change nothing: `internal-sftp -R`.
    ReadOnly,
    /// Bring files and directories, and see none that is there.
    DropBox,
}

impl Access {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ReadWrite, Self::ReadOnly, Self::DropBox];

    /// The word in the config, which is also the face's one argument.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
            Self::DropBox => "drop-box",
        }
    }

    /// What a word means.
    #[must_use]
    pub fn from_word(word: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|access| access.word().as_bytes() == word)
    }
}

/// Bytes of a path in a [`Record`], and of an error: the audit file shows as much.
pub const MAX_NAME: usize = 1024;

/// Longest encoded [`Entry`] but for its length: two paths, an error, and small numbers.
pub const MAX_ENTRY: usize = 3 * MAX_NAME + 64;

/// Bytes before each entry: its length, little-endian.
const LENGTH: usize = 2;

/// One thing that was done to a file, or tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Operation {
    OpenToRead,
    OpenToWrite,
    OpenToReadAndWrite,
    Close,
    Remove,
    Rename,
    MakeDirectory,
    RemoveDirectory,
    SetAttributes,
    Symlink,
    HardLink,
}

impl Operation {
    /// The word in the audit file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::OpenToRead => "open_read",
            Self::OpenToWrite => "open_write",
            Self::OpenToReadAndWrite => "open_read_write",
            Self::Close => "close",
            Self::Remove => "remove",
            Self::Rename => "rename",
            Self::MakeDirectory => "mkdir",
            Self::RemoveDirectory => "rmdir",
            Self::SetAttributes => "setstat",
            Self::Symlink => "symlink",
            Self::HardLink => "hardlink",
        }
    }
}

/// What was done to which file, for the audit file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What.
    pub operation: Operation,
    /// To which file, as the client named it; cut after [`MAX_NAME`] bytes.
    pub path: Vec<u8>,
    /// The other path of operations that have two; what the link says, for symlinks.
    pub to: Option<Vec<u8>>,
    /// Bytes read from it and written to it while it was open.
    pub bytes: Option<(u64, u64)>,
    /// Why it was not done.
    pub error: Option<String>,
}

/// What goes from the face to the monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// Something was done.
    Done(Record),
    /// So many more things were done, for which there was no room.
    Missing(u64),
}

impl Entry {
    /// Appends it to a stream of entries.
    pub fn append_to(&self, stream: &mut Vec<u8>) {
        let start = stream.len();
        stream.extend([0; LENGTH]);
        let encoded = postcard::to_stdvec(self).unwrap_or_default();
        let length = u16::try_from(encoded.len()).unwrap_or(0);
        if let Some(place) = stream.get_mut(start..).and_then(|rest| rest.first_chunk_mut()) {
            *place = length.to_le_bytes();
            stream.extend(encoded);
        }
    }

    /// The first entry of a stream and how many bytes it took; `None`: it is not whole yet.
    ///
    /// # Errors
    /// It is no entry, or too long for one.
    pub fn first_of(stream: &[u8]) -> Result<Option<(Self, usize)>, super::LinkError> {
        let Some((length, rest)) = stream.split_first_chunk() else { return Ok(None) };
        let length = usize::from(u16::from_le_bytes(*length));
        if length > MAX_ENTRY {
            return Err(super::LinkError::TooLong);
        }
        let Some(encoded) = rest.get(..length) else { return Ok(None) };
        match postcard::take_from_bytes(encoded) {
            Ok((entry, [])) => Ok(Some((entry, length.saturating_add(LENGTH)))),
            Ok(_) | Err(_) => Err(super::LinkError::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_out_as_they_went_in_and_what_is_none_is_refused() {
        let record = Record {
            operation: Operation::Rename,
            path: vec![0xff; MAX_NAME],
            to: Some(vec![7; MAX_NAME]),
            bytes: Some((u64::MAX, u64::MAX)),
            error: Some("x".repeat(MAX_NAME)),
        };
        let entries = [Entry::Done(record), Entry::Missing(u64::MAX)];
        let mut stream = Vec::new();
        entries.iter().for_each(|entry| entry.append_to(&mut stream));
        let (first, length) = Entry::first_of(&stream).unwrap().unwrap();
        let (second, rest) = Entry::first_of(&stream[length..]).unwrap().unwrap();
        assert_eq!(([first, second], length + rest), (entries, stream.len()));
        assert_eq!(Entry::first_of(&stream[..length - 1]), Ok(None));
        assert!(Entry::first_of(&[0xff, 0xff]).is_err() && Entry::first_of(&[1, 0, 99]).is_err());
    }
}
