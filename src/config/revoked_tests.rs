use proptest::prelude::*;

use super::*;

const KEY: &[u8] = b"\0\0\0\x0bssh-ed25519\0\0\0\x20an ed25519 key has 32 bytes, as ";
const OTHER: &[u8] = b"\0\0\0\x0bssh-ed25519\0\0\0\x20another one has, which is this a";
const AUTHORITY: &[u8] = b"\0\0\0\x0bssh-ed25519\0\0\0\x20the key of whoever certifies us.";

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn sections(sections: &[(u8, Vec<u8>)]) -> Vec<u8> {
    sections.iter().flat_map(|(kind, body)| [vec![*kind], string(body)].concat()).collect()
}

fn krl(parts: &[(u8, Vec<u8>)]) -> Vec<u8> {
    [MAGIC, &1_u32.to_be_bytes(), &[0; 24], &string(b""), &string(b"of a test"), &sections(parts)].concat()
}

/// Certificates of `authority`.
fn certificates(authority: &[u8], parts: &[(u8, Vec<u8>)]) -> Vec<u8> {
    krl(&[(section::CERTIFICATES, [string(authority), string(b""), sections(parts)].concat())])
}

fn plain(list: &[u8]) -> Result<bool, BadList> {
    is_revoked(list, &Presented { key: KEY, certificate: None })
}

fn certified(list: &[u8], serial: u64) -> Result<bool, BadList> {
    let certificate = Some(PresentedCertificate { authority: AUTHORITY, serial, key_id: "alice" });
    is_revoked(list, &Presented { key: KEY, certificate })
}

#[test]
fn an_empty_list_revokes_nothing() {
    for list in [&b""[..], b"\n# a comment\n\n", &krl(&[])] {
        assert_eq!((plain(list), certified(list, 5)), (Ok(false), Ok(false)));
    }
}

#[test]
fn keys_are_revoked_whole_or_by_hash_and_with_an_authority_all_that_it_certified() {
    let hash = |key: &[u8]| PublicKey::from_bytes(key).unwrap().fingerprint(HashAlg::Sha256).as_bytes().to_vec();
    for kind in [section::KEYS, section::SHA256] {
        let name = |key: &[u8]| if kind == section::KEYS { string(key) } else { string(&hash(key)) };
        let both = krl(&[(kind, [name(OTHER), name(KEY)].concat())]);
        assert_eq!((plain(&both), certified(&both, 5)), (Ok(true), Ok(true)));
        let other = krl(&[(kind, name(OTHER))]);
        assert_eq!((plain(&other), certified(&other, 5)), (Ok(false), Ok(false)));
        let authority = krl(&[(kind, name(AUTHORITY))]);
        assert_eq!((plain(&authority), certified(&authority, 5)), (Ok(false), Ok(true)));
    }
    let line = |key: &[u8]| format!("ssh-ed25519 {} c", BASE64.encode(key));
    let lines = |key: &[u8]| format!("# gone\n{}\r\n\n  {}\n", line(OTHER), line(key));
    assert_eq!(plain(lines(KEY).as_bytes()), Ok(true));
    assert_eq!(plain(lines(AUTHORITY).as_bytes()), Ok(false));
    assert_eq!(certified(lines(AUTHORITY).as_bytes(), 5), Ok(true));
}

#[test]
fn certificates_are_revoked_by_number_and_by_name_for_one_authority_or_for_all() {
    let list: Vec<u8> = [3_u64, 9].iter().flat_map(|serial| serial.to_be_bytes()).collect();
    let range: Vec<u8> = [4_u64, 6].iter().flat_map(|serial| serial.to_be_bytes()).collect();
    let bits = [&100_u64.to_be_bytes()[..], &string(&[0b1, 0b0000_0101])].concat();
    let of = |authority: &[u8]| {
        certificates(
            authority,
            &[
                (super::certificates::SERIALS, list.clone()),
                (super::certificates::RANGE, range.clone()),
                (super::certificates::BITMAP, bits.clone()),
            ],
        )
    };
    for authority in [AUTHORITY, b""] {
        let revoked = (0..120).filter(|serial| certified(&of(authority), *serial) == Ok(true));
        assert_eq!(revoked.collect::<Vec<_>>(), [3, 4, 5, 6, 9, 100, 102, 108]);
    }
    assert_eq!(certified(&of(OTHER), 5), Ok(false));
    assert_eq!(plain(&of(AUTHORITY)), Ok(false));
    assert_eq!(certified(&of(AUTHORITY), u64::MAX), Ok(false));
    let ids = |id: &str| {
        certificates(AUTHORITY, &[(super::certificates::KEY_IDS, [string(b"x"), string(id.as_bytes())].concat())])
    };
    assert_eq!(certified(&ids("alice"), 0), Ok(true));
    assert_eq!(certified(&ids("alice2"), 0), Ok(false));
    // 0 is the number of those that have none.
    let zero = certificates(AUTHORITY, &[(super::certificates::RANGE, [[0; 8], [0; 8]].concat())]);
    assert_eq!(certified(&zero, 0), Ok(false));
}

#[test]
fn what_is_not_understood_is_an_error_even_after_a_match() {
    let found = (section::KEYS, string(KEY));
    let after = |kind: u8, body: &[u8]| plain(&krl(&[found.clone(), (kind, body.to_vec())]));
    assert_eq!(after(section::SHA1, &string(&[0; 20])), Err(BadList::Sha1));
    assert_eq!(after(section::SIGNATURE, b""), Err(BadList::Signed));
    assert_eq!(after(77, b""), Err(BadList::Section(77)));
    assert_eq!(after(section::KEYS, &[0, 0, 0, 9, 1]), Err(BadList::Malformed));
    let extension = |critical: u8| [string(b"x@y"), vec![critical], string(b"")].concat();
    assert_eq!(after(section::EXTENSION, &extension(0)), Ok(true));
    assert_eq!(after(section::EXTENSION, &extension(1)), Err(BadList::Extension));
    let whole = krl(&[found]);
    for length in MAGIC.len()..whole.len() {
        let short = plain(&whole[..length]);
        let between = length == whole.len() - 5 - string(KEY).len();
        assert!(if between { short == Ok(false) } else { short.is_err() }, "{length} bytes: {short:?}");
    }
    let mut later = whole;
    later[11] = 2;
    assert_eq!(plain(&later), Err(BadList::Version(2)));
    let bad = |kind: u8, body: Vec<u8>| certified(&certificates(AUTHORITY, &[(kind, body)]), 5);
    assert_eq!(bad(super::certificates::RANGE, [[9; 8], [1; 8]].concat()), Err(BadList::Malformed));
    assert_eq!(bad(super::certificates::SERIALS, vec![0; 7]), Err(BadList::Malformed));
    assert_eq!(bad(super::certificates::BITMAP, [vec![0; 8], string(&[0x80])].concat()), Err(BadList::Malformed));
    assert_eq!(bad(0x30, Vec::new()), Err(BadList::Section(0x30)));
    for text in ["ssh-ed25519", "hello", "ssh-ed25519 AAAA", "SSHKRL"] {
        assert_eq!(plain(format!("\n{text}\n").as_bytes()), Err(BadList::Line(2)), "{text}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _read = certified(&[MAGIC, &1_u32.to_be_bytes(), &[0; 24], &body].concat(), 5);
        let _read = certified(&krl(&[(section::CERTIFICATES, body.clone())]), 5);
        let _read = certified(&body, 5);
    }
}
