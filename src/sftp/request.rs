//! What clients ask: draft-ietf-secsh-filexfer-02 (SFTP 3) and the extensions of OpenSSH's PROTOCOL.

use super::packet::{Attributes, Handle, Malformed, Reader};

/// Extensions that are served, and the version of each.
pub(super) const EXTENSIONS: [(Extension, &str, &str); 11] = [
    (Extension::PosixRename, "posix-rename@openssh.com", "1"),
    (Extension::StatVfs, "statvfs@openssh.com", "2"),
    (Extension::FStatVfs, "fstatvfs@openssh.com", "2"),
    (Extension::HardLink, "hardlink@openssh.com", "1"),
    (Extension::FSync, "fsync@openssh.com", "1"),
    (Extension::LSetStat, "lsetstat@openssh.com", "1"),
    (Extension::Limits, "limits@openssh.com", "1"),
    (Extension::ExpandPath, "expand-path@openssh.com", "1"),
    (Extension::CopyData, "copy-data", "1"),
    (Extension::HomeDirectory, "home-directory", "1"),
    (Extension::Names, "users-groups-by-id@openssh.com", "1"),
];

/// One of OpenSSH's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extension {
    PosixRename,
    StatVfs,
    FStatVfs,
    HardLink,
    FSync,
    LSetStat,
    Limits,
    ExpandPath,
    CopyData,
    HomeDirectory,
    Names,
}

/// A request. Paths are bytes as they came: any of them may be empty, too long or hold NUL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the protocol")]
pub enum Request<'a> {
    Open {
        path: &'a [u8],
        flags: u32,
        attributes: Attributes,
    },
    Close {
        handle: Handle,
    },
    Read {
        handle: Handle,
        offset: u64,
        length: u32,
    },
    Write {
        handle: Handle,
        offset: u64,
        data: &'a [u8],
    },
    LStat {
        path: &'a [u8],
    },
    FStat {
        handle: Handle,
    },
    SetStat {
        path: &'a [u8],
        attributes: Attributes,
    },
    FSetStat {
        handle: Handle,
        attributes: Attributes,
    },
    OpenDir {
        path: &'a [u8],
    },
    ReadDir {
        handle: Handle,
    },
    Remove {
        path: &'a [u8],
    },
    MakeDir {
        path: &'a [u8],
        attributes: Attributes,
    },
    RemoveDir {
        path: &'a [u8],
    },
    RealPath {
        path: &'a [u8],
    },
    Stat {
        path: &'a [u8],
    },
    Rename {
        from: &'a [u8],
        to: &'a [u8],
    },
    ReadLink {
        path: &'a [u8],
    },
    /// OpenSSH's order of the two, which all clients know: what the link says comes first.
    Symlink {
        target: &'a [u8],
        path: &'a [u8],
    },
    PosixRename {
        from: &'a [u8],
        to: &'a [u8],
    },
    StatVfs {
        path: &'a [u8],
    },
    FStatVfs {
        handle: Handle,
    },
    HardLink {
        from: &'a [u8],
        to: &'a [u8],
    },
    FSync {
        handle: Handle,
    },
    LSetStat {
        path: &'a [u8],
        attributes: Attributes,
    },
    Limits,
    ExpandPath {
        path: &'a [u8],
    },
    CopyData {
        from: Handle,
        read_at: u64,
        length: u64,
        to: Handle,
        write_at: u64,
    },
    HomeDirectory {
        user: &'a [u8],
    },
    /// Ids, four bytes each.
    Names {
        users: &'a [u8],
        groups: &'a [u8],
    },
    /// A type or an extension that is not served.
    Unknown,
}

/// Reads the first packet of a session: the version that the client speaks.
///
/// # Errors
/// It is no such packet.
pub fn decode_hello(packet: &[u8]) -> Result<u32, Malformed> {
    let mut rest = Reader::new(packet);
    if rest.byte()? == 1 { rest.u32() } else { Err(Malformed) }
}

/// Reads any later packet, given without its length: its id and what it asks. What follows a
/// request in its packet is passed over, as OpenSSH does.
///
/// # Errors
/// The packet ends too early.
pub fn decode(packet: &[u8]) -> Result<(u32, Request<'_>), Malformed> {
    let mut rest = Reader::new(packet);
    let (kind, id) = (rest.byte()?, rest.u32()?);
    let request = match kind {
        3 => Request::Open { path: rest.string()?, flags: rest.u32()?, attributes: rest.attributes()? },
        4 => Request::Close { handle: rest.handle()? },
        5 => Request::Read { handle: rest.handle()?, offset: rest.u64()?, length: rest.u32()? },
        6 => Request::Write { handle: rest.handle()?, offset: rest.u64()?, data: rest.string()? },
        7 => Request::LStat { path: rest.string()? },
        8 => Request::FStat { handle: rest.handle()? },
        9 => Request::SetStat { path: rest.string()?, attributes: rest.attributes()? },
        10 => Request::FSetStat { handle: rest.handle()?, attributes: rest.attributes()? },
        11 => Request::OpenDir { path: rest.string()? },
        12 => Request::ReadDir { handle: rest.handle()? },
        13 => Request::Remove { path: rest.string()? },
        14 => Request::MakeDir { path: rest.string()?, attributes: rest.attributes()? },
        15 => Request::RemoveDir { path: rest.string()? },
        16 => Request::RealPath { path: rest.string()? },
        17 => Request::Stat { path: rest.string()? },
        18 => Request::Rename { from: rest.string()?, to: rest.string()? },
        19 => Request::ReadLink { path: rest.string()? },
        20 => Request::Symlink { target: rest.string()?, path: rest.string()? },
        200 => extended(rest)?,
        _unknown => Request::Unknown,
    };
    Ok((id, request))
}

fn extended(mut rest: Reader<'_>) -> Result<Request<'_>, Malformed> {
    let name = rest.string()?;
    let known = EXTENSIONS.iter().find(|(_, known, _)| known.as_bytes() == name);
    let Some((extension, ..)) = known else { return Ok(Request::Unknown) };
    Ok(match extension {
        Extension::PosixRename => Request::PosixRename { from: rest.string()?, to: rest.string()? },
        Extension::StatVfs => Request::StatVfs { path: rest.string()? },
        Extension::FStatVfs => Request::FStatVfs { handle: rest.handle()? },
        Extension::HardLink => Request::HardLink { from: rest.string()?, to: rest.string()? },
        Extension::FSync => Request::FSync { handle: rest.handle()? },
        Extension::LSetStat => Request::LSetStat { path: rest.string()?, attributes: rest.attributes()? },
        Extension::Limits => Request::Limits,
        Extension::ExpandPath => Request::ExpandPath { path: rest.string()? },
        Extension::CopyData => Request::CopyData {
            from: rest.handle()?,
            read_at: rest.u64()?,
            length: rest.u64()?,
            to: rest.handle()?,
            write_at: rest.u64()?,
        },
        Extension::HomeDirectory => Request::HomeDirectory { user: rest.string()? },
        Extension::Names => Request::Names { users: rest.string()?, groups: rest.string()? },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet of `kind` with id 7 and this after it.
    fn packet(kind: u8, rest: &[u8]) -> Vec<u8> {
        [&[kind, 0, 0, 0, 7], rest].concat()
    }

    fn string(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
    }

    /// One of each, whole.
    fn samples() -> Vec<Vec<u8>> {
        let (path, handle) = (string(b"/a/b"), string(&[0; 8]));
        let attributes = [&15u32.to_be_bytes()[..], &[1; 8], &[2; 8], &[3; 4], &[4; 8]].concat();
        let extra = [&0x8000_0000u32.to_be_bytes()[..], &1u32.to_be_bytes(), &path, &path].concat();
        let mut samples = vec![
            packet(3, &[&path[..], &[0, 0, 0, 1], &attributes].concat()),
            packet(5, &[&handle[..], &[0; 8], &[0, 0, 128, 0]].concat()),
            packet(6, &[&handle[..], &[0; 8], &string(b"data")].concat()),
            packet(9, &[&path[..], &extra].concat()),
            packet(14, &[&path[..], &attributes].concat()),
            packet(18, &[&path[..], &path].concat()),
            packet(20, &[&path[..], &path].concat()),
        ];
        samples.extend([4, 8, 12].map(|kind| packet(kind, &handle)));
        samples.extend([7, 11, 13, 15, 16, 17, 19].map(|kind| packet(kind, &path)));
        samples.extend(EXTENSIONS.map(|(_, name, _)| packet(200, &[string(name.as_bytes()), vec![0; 60]].concat())));
        samples
    }

    #[test]
    fn a_packet_cut_anywhere_is_malformed_or_another_packet_and_never_a_panic() {
        for sample in samples() {
            let (id, request) = decode(&sample).unwrap();
            assert_eq!(id, 7);
            assert_ne!(request, Request::Unknown);
            for length in 0..sample.len() {
                let cut = decode(&sample[..length]);
                assert!(cut == Err(Malformed) || sample[0] == 200, "{sample:?} cut at {length}: {cut:?}");
            }
        }
    }

    #[test]
    fn lengths_and_counts_that_lie_are_malformed() {
        for length in [5u32, 1 << 18, u32::MAX] {
            assert_eq!(decode(&packet(7, &[&length.to_be_bytes()[..], b"/a"].concat())), Err(Malformed));
        }
        let count = [&string(b"/a")[..], &0x8000_0000u32.to_be_bytes(), &u32::MAX.to_be_bytes()].concat();
        assert_eq!(decode(&packet(9, &count)), Err(Malformed));
        assert_eq!(
            (decode(&[]), decode(&[3]), decode_hello(&[1, 0])),
            (Err(Malformed), Err(Malformed), Err(Malformed))
        );
    }

    #[test]
    fn what_is_not_known_has_an_id_to_answer_to() {
        assert_eq!(decode(&packet(99, b"")), Ok((7, Request::Unknown)));
        assert_eq!(decode(&packet(200, &string(b"md5-hash@x"))), Ok((7, Request::Unknown)));
        assert_eq!(decode_hello(&[1, 0, 0, 0, 3, 9, 9]), Ok(3));
    }

    #[test]
    fn a_handle_of_another_length_is_one_that_was_never_given() {
        let of = |bytes: &[u8]| match decode(&packet(4, &string(bytes))) {
            Ok((_, Request::Close { handle })) => handle,
            other => panic!("{other:?}"),
        };
        let given = Handle { index: 3, generation: 1 };
        assert_eq!(of(&given.bytes()), given);
        assert_eq!(of(b""), of(&[0; 300]));
        assert_ne!(of(b""), Handle { index: 0, generation: 0 });
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            std::hint::black_box((decode(&bytes).is_ok(), decode_hello(&bytes).is_ok()));
        }
    }
}
