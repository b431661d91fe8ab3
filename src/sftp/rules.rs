//! Which requests a session answers, by its access.

use crate::wire::sftp::Access;

use super::request::{Extension, Request};

/// `SSH_FXF_*`, section 6.3.
pub(super) mod open {
    pub(in crate::sftp) const READ: u32 = 0x01;
    pub(in crate::sftp) const WRITE: u32 = 0x02;
    pub(in crate::sftp) const APPEND: u32 = 0x04;
    pub(in crate::sftp) const CREATE: u32 = 0x08;
    pub(in crate::sftp) const TRUNCATE: u32 = 0x10;
    pub(in crate::sftp) const EXCLUSIVE: u32 = 0x20;
}

/// What a request does to the tenant's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing, or only to what is open already.
    Neutral,
    /// Asks of what is there: in a drop box only of directories ([`sees`]).
    Looks,
    /// Tells what is there or in it.
    Reads,
    /// Brings something, or names and describes what was brought.
    Brings,
    /// Takes something away, writes to what was there before, or leads elsewhere.
    Changes,
}

fn kind(request: &Request<'_>) -> Kind {
    match request {
        Request::Open { flags, .. } if flags & open::READ != 0 && flags & !open::READ == 0 => Kind::Reads,
        // Both at once is refused in a drop box as well as where nothing may be changed.
        Request::Open { flags, .. } if flags & open::READ != 0 || flags & open::CREATE == 0 => Kind::Changes,
        Request::Open { .. } => Kind::Brings,
        Request::Close { .. }
        | Request::FStat { .. }
        | Request::FStatVfs { .. }
        | Request::Limits
        | Request::HomeDirectory { .. }
        | Request::Names { .. }
        | Request::Unknown => Kind::Neutral,
        Request::Stat { .. }
        | Request::LStat { .. }
        | Request::StatVfs { .. }
        | Request::RealPath { .. }
        | Request::ExpandPath { .. } => Kind::Looks,
        Request::Read { .. } | Request::OpenDir { .. } | Request::ReadDir { .. } | Request::ReadLink { .. } => {
            Kind::Reads
        }
        Request::Write { .. }
        | Request::FSetStat { .. }
        | Request::SetStat { .. }
        | Request::LSetStat { .. }
        | Request::MakeDir { .. }
        | Request::Rename { .. }
        | Request::FSync { .. } => Kind::Brings,
        Request::Remove { .. }
        | Request::PosixRename { .. }
        | Request::RemoveDir { .. }
        | Request::Symlink { .. }
        | Request::HardLink { .. }
        | Request::CopyData { .. } => Kind::Changes,
    }
}

/// Whether `access` lets the request through.
pub(super) fn permits(access: Access, request: &Request<'_>) -> bool {
    match (access, kind(request)) {
        (Access::ReadWrite, _) | (_, Kind::Neutral | Kind::Looks) => true,
        (Access::ReadOnly, Kind::Reads) | (Access::DropBox, Kind::Brings) => true,
        (Access::ReadOnly, Kind::Brings | Kind::Changes) | (Access::DropBox, Kind::Reads | Kind::Changes) => false,
    }
}

/// Whether a session may be told of what is at a path that is not a directory, or change it. In a drop box no
/// path is known to be that of the session's own file: others bring theirs as the same tenant.
pub(super) fn sees(access: Access) -> bool {
    match access {
        Access::ReadWrite | Access::ReadOnly => true,
        Access::DropBox => false,
    }
}

/// Whether an extension is announced.
pub(super) fn announces(access: Access, extension: Extension) -> bool {
    match extension {
        Extension::FSync | Extension::LSetStat => access != Access::ReadOnly,
        // OpenSSH's client renames without replacing where the first is not announced.
        Extension::PosixRename | Extension::HardLink | Extension::CopyData => access == Access::ReadWrite,
        Extension::StatVfs
        | Extension::FStatVfs
        | Extension::Limits
        | Extension::ExpandPath
        | Extension::HomeDirectory
        | Extension::Names => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sftp::packet::{Attributes, Handle};

    const HANDLE: Handle = Handle { index: 0, generation: 0 };

    fn open(flags: u32) -> Request<'static> {
        Request::Open { path: b"x", flags, attributes: Attributes::default() }
    }

    #[test]
    fn read_only_changes_nothing_and_a_drop_box_tells_nothing() {
        let attributes = Attributes::default();
        let (path, from, to) = (&b"x"[..], &b"x"[..], &b"y"[..]);
        // The request; read-only; drop box.
        let table = [
            (open(open::READ), true, false),
            (open(open::WRITE), false, false),
            (open(open::WRITE | open::TRUNCATE), false, false),
            (open(open::WRITE | open::CREATE | open::TRUNCATE), false, true),
            (open(open::READ | open::WRITE), false, false),
            (open(open::READ | open::TRUNCATE), false, false),
            (open(open::READ | open::CREATE), false, false),
            (open(open::APPEND), false, false),
            (open(0), false, false),
            (Request::Read { handle: HANDLE, offset: 0, length: 1 }, true, false),
            (Request::Write { handle: HANDLE, offset: 0, data: b"" }, false, true),
            (Request::OpenDir { path }, true, false),
            (Request::ReadLink { path }, true, false),
            (Request::SetStat { path, attributes }, false, true),
            (Request::LSetStat { path, attributes }, false, true),
            (Request::FSetStat { handle: HANDLE, attributes }, false, true),
            (Request::MakeDir { path, attributes }, false, true),
            (Request::Rename { from, to }, false, true),
            (Request::PosixRename { from, to }, false, false),
            (Request::Remove { path }, false, false),
            (Request::RemoveDir { path }, false, false),
            (Request::Symlink { target: path, path }, false, false),
            (Request::HardLink { from, to }, false, false),
            (Request::CopyData { from: HANDLE, read_at: 0, length: 0, to: HANDLE, write_at: 0 }, false, false),
        ];
        for (request, read_only, drop_box) in table {
            assert!(permits(Access::ReadWrite, &request));
            assert_eq!(permits(Access::ReadOnly, &request), read_only, "{request:?}");
            assert_eq!(permits(Access::DropBox, &request), drop_box, "{request:?}");
        }
    }
}
