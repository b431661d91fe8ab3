//! What is fuzzed. Each function takes any bytes and must neither panic nor break its rule; it tells
//! whether they were taken for what they should be. `tests/seeds.rs` runs the same functions over the
//! seeds whenever the tests run, `fuzz/run` for as long as one likes.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::disallowed_methods,
    reason = "test support code, of which each fuzz target uses a part"
)]

use std::{fs, io::Write as _, net::IpAddr, os::fd::AsFd as _, path::PathBuf};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use cellblock::{
    auth::judge_certificate,
    base::Fields,
    config, sftp as server,
    sys::pty,
    wire::{control, door, enter, init, link, login, modes, pam, sftp as records, verify},
};
use ssh_key::{Certificate, certificate::CertType};

/// Messages that our processes take from each other; the first byte says between which of them.
pub fn wire(data: &[u8]) -> bool {
    let Some((kind, bytes)) = data.split_first() else { return false };
    match kind {
        0 => round_trip::<login::Request>(bytes),
        1 => round_trip::<login::Reply>(bytes),
        2 => round_trip::<init::Order>(bytes),
        3 => round_trip::<init::Report>(bytes),
        4 => round_trip::<control::Ask>(bytes),
        5 => round_trip::<control::Answer>(bytes),
        6 => round_trip::<door::Word>(bytes),
        7 => file_operations(bytes),
        8 => serde_json::from_slice::<verify::Finding>(bytes).is_ok(),
        9 => round_trip::<enter::Call>(bytes),
        10 => round_trip::<enter::Answer>(bytes),
        11 => round_trip::<pam::Order>(bytes),
        12 => round_trip::<pam::Word>(bytes),
        13 => round_trip::<door::Given>(bytes),
        _none => false,
    }
}

/// What decodes is encoded to bytes that decode to the same.
fn round_trip<T: serde::Serialize + serde::de::DeserializeOwned>(bytes: &[u8]) -> bool {
    let Ok(message) = link::decode::<T>(bytes) else { return false };
    let Ok(first) = link::encode(&message) else { return false };
    let again: T = link::decode(&first).expect("what was encoded decodes");
    assert_eq!(*first, *link::encode(&again).expect("and is encoded again"));
    true
}

/// What the sftp server says that it did, a stream that ends anywhere.
fn file_operations(mut stream: &[u8]) -> bool {
    let mut seen = false;
    while let Ok(Some((_entry, length))) = records::Entry::first_of(stream) {
        stream = &stream[length..];
        seen = true;
    }
    seen
}

/// A config file: whole, or refused with at least one finding that can be shown.
pub fn config(data: &[u8]) -> bool {
    let path = file(data);
    let loaded = config::load(&path);
    fs::remove_dir_all(path.parent().expect("it lies in a directory")).expect("the directory is ours");
    match loaded {
        Ok(loaded) => {
            assert_eq!(loaded.warnings.errors(), 0);
            let tenants = loaded.compiled.tenants().filter(Result::is_ok).count();
            assert_eq!(tenants, loaded.compiled.count(), "each can be read back");
            true
        }
        Err(report) => {
            assert!(report.errors() > 0 && !report.to_string().is_empty());
            false
        }
    }
}

/// A file of this process in memory, which the loader finds owned by root and closed to others.
fn file(data: &[u8]) -> PathBuf {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    let directory = PathBuf::from(format!("/dev/shm/cellblock-fuzz-{}", std::process::id()));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).expect("a directory in /dev/shm");
    let path = directory.join("cellblock.toml");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&path).and_then(|mut file| file.write_all(data)).expect("a file in /dev/shm");
    path
}

/// `authorized_keys`: every line is a key that may be used, is passed over, or is an error.
pub fn authorized_keys(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let (keys, errors) = config::authorized_keys::parse_file(text);
    assert!(keys.len() + errors.len() <= text.lines().count());
    for key in &keys {
        assert!(config::authorized_keys::check_key(&key.blob, &key.role).is_ok(), "{key:?}");
    }
    let authorities = text.lines().filter_map(|line| config::authorized_keys::parse_authority(line).ok().flatten());
    !keys.is_empty() && authorities.count() <= keys.len()
}

const ALICE: &str = "alice";
const NOW: u64 = 1000;

/// The policy about certificates. `data` is what an authority signs after the key: number, type, name,
/// principals, times, options. What is let in is held against the rules once more.
pub fn certificate(data: &[u8]) -> bool {
    let blob = signed(data);
    let judged = judge_certificate(&blob, &[ALICE.to_owned()], IpAddr::from([192, 0, 2, 1]), NOW as i64);
    let Ok(options) = judged else { return false };
    let certificate = Certificate::from_bytes(&blob).expect("it was decoded before");
    assert_eq!(certificate.cert_type(), CertType::User);
    assert!(certificate.valid_principals().iter().any(|name| name == ALICE));
    assert!((certificate.valid_after()..certificate.valid_before()).contains(&NOW));
    for (name, value) in certificate.critical_options().iter() {
        match name.as_str() {
            "force-command" => assert_eq!(options.command.as_ref(), Some(value)),
            "source-address" => {}
            other => panic!("nobody honours {other}"),
        }
    }
    let grants = |name| certificate.extensions().contains_key(name);
    assert_eq!(options.no_pty, !grants("permit-pty"));
    assert_eq!(options.no_port_forwarding, !grants("permit-port-forwarding"));
    true
}

/// An ed25519 certificate for `data` with a signature that is right (PROTOCOL.certkeys).
fn signed(data: &[u8]) -> Vec<u8> {
    let key = |seed| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a seed has 32 bytes");
    let (authority, user) = (key(1), key(2));
    let blob_of = |key: &Ed25519KeyPair| [string(b"ssh-ed25519"), string(key.public_key().as_ref())].concat();
    let mut blob = string(b"ssh-ed25519-cert-v01@openssh.com");
    blob.extend([string(&[7; 32]), string(user.public_key().as_ref())].concat());
    blob.extend(data);
    blob.extend(string(&blob_of(&authority)));
    let signature = authority.sign(&blob);
    blob.extend(string(&[string(b"ssh-ed25519"), string(signature.as_ref())].concat()));
    blob
}

/// SSH's `string`.
pub fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

/// An sftp session's packets, each with its length: what is asked can be shown, and repeats nothing
/// that did not come.
pub fn sftp(data: &[u8]) -> bool {
    let mut stream = Fields::new(data);
    let Some(hello) = stream.string() else { return false };
    let mut taken = server::decode_hello(hello).is_ok();
    while let Some(packet) = stream.string() {
        match server::decode(packet) {
            Ok((id, request)) => {
                assert_eq!(packet[1..5], id.to_be_bytes());
                if let server::Request::Write { data, .. } = request {
                    assert!(data.len() < packet.len());
                }
            }
            Err(server::Malformed) => taken = false,
        }
    }
    taken
}

/// RFC 4254's terminal modes, opcode and value, applied to a real terminal.
pub fn terminal_modes(data: &[u8]) -> bool {
    let (master, terminal) = pty::open().expect("a terminal");
    let modes = data.chunks_exact(5).map(|chunk| {
        let [opcode, value @ ..] = chunk.first_chunk::<5>().expect("five bytes");
        (*opcode, u32::from_be_bytes(*value))
    });
    let modes: Vec<(u8, u32)> = modes.collect();
    modes::apply(terminal.as_fd(), &modes).expect("any modes apply");
    drop(master);
    !modes.is_empty()
}
