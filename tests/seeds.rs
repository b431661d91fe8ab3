//! The seeds of the fuzz targets, run as plain tests (`fuzz/README.md`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "test support code"
)]

#[path = "../fuzz/targets.rs"]
mod targets;

use std::{fs, path::Path};

fn seeds(target: &str, run: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut count = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let data = fs::read(entry.unwrap().path()).unwrap();
        run(&data);
        // What a fuzzer does first: shorter, and one bit wrong.
        for length in 0..data.len().min(512) {
            run(&data[..length]);
            let mut wrong = data.clone();
            wrong[length] ^= 1 << (length % 8);
            run(&wrong);
        }
        count += 1;
    }
    assert!(count > 0, "no seeds for {target}");
}

#[test]
fn messages_between_our_processes() {
    seeds("wire", targets::wire);
}

#[test]
fn config_files() {
    seeds("config", targets::config);
}

#[test]
fn authorized_keys() {
    seeds("authorized_keys", targets::authorized_keys);
}

#[test]
fn terminal_modes() {
    seeds("terminal_modes", targets::terminal_modes);
}
