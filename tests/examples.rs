//! Every config that we show or install is good, by the loader that `serve` uses. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    dead_code,
    reason = "test support code, shared by several tests"
)]

mod scratch;

use std::{
    fs,
    path::{Path, PathBuf},
};

use cellblock::config::{Loaded, load};
use scratch::Scratch;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Loads a copy that belongs to root, with the roots that it names made under the copy's directory.
fn load_copy(name: &str, text: &str) -> Loaded {
    let scratch = Scratch::new(&format!("example-{name}"));
    let moved = text.replace("\"/srv/", &format!("\"{}/srv/", scratch.path().display()));
    let roots = moved.lines().filter_map(|line| line.trim_start_matches("# ").strip_prefix("root = \"/"));
    for root in roots {
        scratch.directory(Path::new("/").join(root.trim_end_matches('"')));
    }
    match load(&scratch.write("cellblock.toml", &moved)) {
        Ok(loaded) => loaded,
        Err(report) => panic!("{name}:\n{report}"),
    }
}

#[test]
fn every_example_loads_without_a_warning() {
    let mut seen = 0;
    for entry in fs::read_dir(repository("examples")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let loaded = load_copy(&name, &fs::read_to_string(&path).unwrap());
        assert!(loaded.warnings.is_empty(), "{name}:\n{}", loaded.warnings);
        assert!(loaded.compiled.count() >= 1, "{name} has a tenant");
        seen += 1;
    }
    assert!(seen >= 7, "only {seen} examples found");
}

#[test]
fn the_installed_config_loads_without_a_warning() {
    let loaded = load_copy("installed", &fs::read_to_string(repository("config/cellblock.toml")).unwrap());
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    assert_eq!(loaded.compiled.count(), 0);
}

#[test]
fn the_installed_config_loads_with_what_it_comments_out() {
    let text = fs::read_to_string(repository("config/cellblock.toml")).unwrap();
    let key = "AAAAC3NzaC1lZDI1NTE5AAAAIOvEZAsSCSXY/tD17dlr8tZQuiDwxgYK6SvOxvCl6bsB";
    let whole = text
        .lines()
        // The account is made by the package, not by this test.
        .filter(|line| !line.starts_with("# user = \"cellblock\""))
        .map(|line| {
            line.strip_prefix("# ").filter(|rest| rest.starts_with('[') || rest.contains(" = ")).unwrap_or(line)
        })
        .map(|line| line.replace("AAAA…", key) + "\n")
        .collect::<String>();
    let loaded = load_copy("uncommented", &whole);
    assert_eq!(loaded.compiled.count(), 1);
}

#[test]
fn the_example_of_a_tenants_own_file_loads() {
    let scratch = Scratch::new("example-tenant");
    let example = fs::read_to_string(repository("config/tenants.d/alice.toml.example")).unwrap();
    let config = scratch.write("cellblock.toml", "");
    scratch.write("tenants.d/alice.toml.example", "not read: = [");
    scratch.write("tenants.d/alice.toml", &example);
    let loaded = load(&config).unwrap();
    let alice = loaded.compiled.tenant(&"alice".parse().unwrap()).unwrap().unwrap();
    assert_eq!(alice.authorized_keys.first().unwrap().comment, "alice@laptop");
}
