//! How long a config of 100,000 tenants takes to load, and a lookup in it. `cargo bench --bench config`.
//!
//! Prints medians. The files are made first, in a directory of their own that is removed in the end.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and has nobody to report to")]

use std::{
    fs,
    hint::black_box,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use cellblock::base::TenantName;
use cellblock::config::{Compiled, load};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOvEZAsSCSXY/tD17dlr8tZQuiDwxgYK6SvOxvCl6bsB";
const MAIN: &str = "[defaults]\nlinger = \"5m\"\n[class.shop]\nlimits = { tmp = \"128M\" }\nset_env = { A = \"b\" }\n";
const ROUNDS: usize = 5;

fn main() {
    let dir = PathBuf::from(format!("/tmp/cellblock-bench-config-{}", std::process::id()));
    fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
    fs::create_dir(dir.join("tenants.d")).unwrap();
    fs::write(dir.join("cellblock.toml"), MAIN).unwrap();
    let mut made = 0;
    for tenants in [10, 1_000, 100_000] {
        for number in made..tenants {
            let body = format!("class = \"shop\"\nauthorized_keys = [\"{KEY} t{number}@example\"]\n");
            fs::write(dir.join(format!("tenants.d/t{number}.toml")), body).unwrap();
        }
        made = tenants;
        measure(&dir.join("cellblock.toml"), tenants);
    }
    fs::remove_dir_all(&dir).unwrap();
}

fn measure(config: &Path, tenants: usize) {
    let mut loads = Vec::new();
    let mut compiled = None;
    for _round in 0..ROUNDS {
        let start = Instant::now();
        let loaded = load(config).unwrap();
        loads.push(start.elapsed());
        assert_eq!(loaded.compiled.count(), tenants);
        compiled = Some(loaded.compiled);
    }
    loads.sort();
    let (known, unknown) = lookups(&compiled.unwrap(), tenants);
    println!(
        "{tenants:>7} tenants: load {:>8.1?}, lookup {known:>6.0?}, of an unknown name {unknown:>6.0?}",
        loads.get(ROUNDS / 2).unwrap()
    );
}

fn lookups(compiled: &Compiled, tenants: usize) -> (Duration, Duration) {
    const TIMES: u32 = 20_000;
    let time = |prefix: &str, expected: bool| {
        let names: Vec<TenantName> =
            (0..TIMES).map(|n| format!("{prefix}{}", n as usize * 7919 % tenants).parse().unwrap()).collect();
        let start = Instant::now();
        for name in &names {
            assert_eq!(black_box(compiled.tenant(name)).unwrap().is_some(), expected);
        }
        start.elapsed() / TIMES
    };
    (time("t", true), time("x", false))
}
