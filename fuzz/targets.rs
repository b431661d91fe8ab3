//! What is fuzzed. Each function takes any bytes and must neither panic nor break its rule;
//! `tests/seeds.rs` runs the same functions over the seeds in every run of the tests.
#![allow(dead_code, reason = "each fuzz target uses one of them")]

use std::{fs, io::Write as _, path::PathBuf};

use cellblock::{
    config,
    init::modes,
    sys::pty,
    wire::{control, door, init, link, login, verify},
};

/// Messages between our processes: what decodes is encoded to bytes that decode to the same.
pub fn wire(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 8 {
        0 => round_trip::<login::Request>(bytes),
        1 => round_trip::<login::Reply>(bytes),
        2 => round_trip::<init::Order>(bytes),
        3 => round_trip::<init::Report>(bytes),
        4 => round_trip::<control::Ask>(bytes),
        5 => round_trip::<control::Answer>(bytes),
        6 => round_trip::<door::Word>(bytes),
        _ => round_trip::<verify::Finding>(bytes),
    }
}

fn round_trip<T: serde::Serialize + serde::de::DeserializeOwned>(bytes: &[u8]) {
    let Ok(message) = link::decode::<T>(bytes) else { return };
    let Ok(first) = link::encode(&message) else { return };
    let again: T = link::decode(&first).expect("what was encoded decodes");
    assert_eq!(*first, *link::encode(&again).expect("and is encoded again"));
}

/// A config file: accepted, or refused with at least one finding that can be shown.
pub fn config(data: &[u8]) {
    let path = file(data);
    match config::load(&path) {
        Ok(loaded) => assert_eq!(loaded.warnings.errors(), 0),
        Err(report) => {
            assert!(report.errors() > 0);
            assert!(!report.to_string().is_empty());
        }
    }
}

/// A file of this process in memory, where the loader finds it owned by root and closed to others.
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

/// `authorized_keys`: every line is a key, is passed over or is an error with its number.
pub fn authorized_keys(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (keys, errors) = config::authorized_keys::parse_file(text);
    assert!(keys.len() + errors.len() <= text.lines().count());
}

/// RFC 4254's terminal modes, applied to a real terminal.
pub fn terminal_modes(data: &[u8]) {
    let (master, terminal) = pty::open().expect("a terminal");
    let modes = data.chunks_exact(5).map(|chunk| (chunk[0], u32::from_be_bytes([chunk[1], chunk[2], chunk[3], chunk[4]])));
    modes::apply(std::os::fd::AsFd::as_fd(&terminal), &modes.collect::<Vec<_>>()).expect("any modes apply");
    drop(master);
}
