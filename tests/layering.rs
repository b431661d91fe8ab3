//! The shape of the tree (ARCHITECTURE.md, "Rooms"): who may use whom, where raw system calls are,
//! and what is linked into what.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    reason = "test support code"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Lowest first. A room may name only rooms on earlier lines.
const LAYERS: &[&[&str]] = &[
    &["base"],
    &["sys"],
    &["wire"],
    &["config"],
    &["policy"],
    &["account", "auth", "init", "jail", "probe", "sftp"],
    &["sshd"],
    &["enter", "monitor"],
    &["doctor", "verify"],
    &["listen"],
    &["cli"],
];
/// The room of `cellblock-ssh` alone: what it needs to know arrives in a message.
const SSH_MAY_USE: &[&str] = &["base", "sys", "wire", "ssh"];

fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|rooms| rooms.contains(&room))
}

fn sources(dir: &Path, end: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, end, found);
        } else if path.extension().is_some_and(|extension| extension == end) {
            found.push(path);
        }
    }
}

fn tree(end: &str) -> (PathBuf, Vec<PathBuf>) {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, end, &mut files);
    assert!(!files.is_empty() || end != "rs");
    (src, files)
}

/// The rooms that a file names, each with its line.
fn rooms_named(file: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(file).unwrap();
    let mut named = Vec::new();
    for (n, line) in text.lines().enumerate() {
        for start in ["crate::", "cellblock::"] {
            for part in line.split(start).skip(1) {
                assert!(!part.starts_with('{'), "{}:{}: one `use` per room", file.display(), n + 1);
                let room: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                named.push((n + 1, room));
            }
        }
    }
    named
}

fn own_room<'a>(src: &Path, file: &'a Path) -> &'a str {
    let first = file.strip_prefix(src).unwrap().components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs")
}

#[test]
fn rooms_use_only_lower_rooms() {
    let (src, files) = tree("rs");
    let mut wrong = Vec::new();
    for file in &files {
        let own = own_room(&src, file);
        for (line, used) in rooms_named(file) {
            let allowed = match (own, layer(own), layer(&used)) {
                _ if used == own => true,
                ("ssh", _, _) => layer(&used).is_none() || SSH_MAY_USE.contains(&used.as_str()),
                (_, Some(own), Some(used)) => used < own,
                (_, Some(_), None) => used != "ssh",
                (_, None, _) => true,
            };
            if !allowed {
                wrong.push(format!("{}:{line}: {own} must not use {used}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_room_has_its_layer() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let known: BTreeSet<_> = LAYERS.iter().flat_map(|rooms| rooms.iter().copied()).chain(["ssh", "bin"]).collect();
    for entry in fs::read_dir(src).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert!(!entry.file_type().unwrap().is_dir() || known.contains(name.as_str()), "src/{name} has no layer");
    }
}

#[test]
fn raw_system_calls_stay_in_sys() {
    let (src, files) = tree("rs");
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| !file.starts_with(src.join("sys"))) {
        let text = fs::read_to_string(file).unwrap();
        for word in ["libc::", "rustix::", "nix::", "unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"] {
            // `unix::` ends in a name that it is not.
            let starts = text
                .match_indices(word)
                .any(|(at, _)| !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
            if starts {
                wrong.push(format!("{} names {word}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    let (src, mut files) = tree("rs");
    files.retain(|file| file.starts_with(src.join("sys")));
    sources(&src.with_file_name("pam").join("src/ffi"), "rs", &mut files);
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        let blocks = text.matches("unsafe {").count();
        let reasons = text.matches("SAFETY:").count();
        assert!(reasons >= blocks, "{}: {blocks} unsafe blocks, {reasons} reasons", file.display());
    }
}

/// Names of the functions in a binary, mangled. Debug builds keep them; a release build is stripped of debug info only.
fn symbols(binary: &str) -> String {
    let out = Command::new("nm").arg(binary).output().expect("nm (binutils)");
    assert!(out.status.success(), "nm {binary}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Whether a crate's code is in there: Rust's manglings write a crate as length and name.
fn links(symbols: &str, name: &str) -> bool {
    symbols.contains(&format!("{}{name}", name.len()))
}

#[test]
fn nothing_privileged_links_russh_or_tokio() {
    let ssh = symbols(env!("CARGO_BIN_EXE_cellblock-ssh"));
    assert!(links(&ssh, "russh") && links(&ssh, "tokio"), "the test would see them");
    let binaries =
        [env!("CARGO_BIN_EXE_cellblock"), env!("CARGO_BIN_EXE_cellblock-admin"), env!("CARGO_BIN_EXE_cellblock-init")];
    for binary in binaries {
        let symbols = symbols(binary);
        assert!(symbols.lines().count() > 100, "{binary} is stripped; nothing is proved");
        for name in ["russh", "tokio", "aws_lc_rs", "mio"] {
            assert!(!links(&symbols, name), "{binary} links {name}");
        }
    }
}

#[test]
fn init_and_callers_are_static() {
    for binary in [env!("CARGO_BIN_EXE_cellblock-init"), env!("CARGO_BIN_EXE_cellblock")] {
        let headers = Command::new("readelf").args(["-l", "-d", binary]).output().expect("readelf (binutils)");
        let headers = String::from_utf8_lossy(&headers.stdout).into_owned();
        assert!(headers.contains("LOAD"), "{headers}");
        assert!(!headers.contains("INTERP") && !headers.contains("NEEDED"), "{headers}");
    }
}

/// One lives as long as each session that came by the enter door
#[test]
fn callers_have_nothing_in_them_that_they_do_not_need() {
    let symbols = symbols(env!("CARGO_BIN_EXE_cellblock"));
    assert!(links(&symbols, "cellblock"), "the test would see it");
    for name in ["clap_builder", "toml", "serde_json", "argon2", "ssh_key", "jiff"] {
        assert!(!links(&symbols, name), "{name}");
    }
}

/// CVE-2024-3094: "`ldd` of net process shows libc only"
#[test]
fn our_programs_load_the_c_library_and_no_other() {
    for binary in [env!("CARGO_BIN_EXE_cellblock-admin"), env!("CARGO_BIN_EXE_cellblock-ssh")] {
        let headers = Command::new("readelf").args(["-d", binary]).output().expect("readelf (binutils)");
        let headers = String::from_utf8_lossy(&headers.stdout).into_owned();
        let needed: Vec<_> = headers.lines().filter(|line| line.contains("(NEEDED)")).collect();
        let of_libc = ["[libc.so.", "[libm.so.", "[libgcc_s.so.", "[ld-linux-"];
        let strange: Vec<_> = needed.iter().filter(|line| !of_libc.iter().any(|name| line.contains(name))).collect();
        assert!(!needed.is_empty() && strange.is_empty(), "{binary}: {strange:?}");
    }
}

/// PAM's modules are loaded by a program that has nothing of ours in it
#[test]
fn the_program_that_loads_pam_links_libpam_and_nothing_of_ours() {
    let binary = Path::new(env!("CARGO_BIN_EXE_cellblock")).with_file_name("cellblock-pam");
    let headers = Command::new("readelf").arg("-d").arg(&binary).output().expect("readelf (binutils)");
    let headers = String::from_utf8_lossy(&headers.stdout).into_owned();
    let needed: Vec<_> = headers.lines().filter(|line| line.contains("(NEEDED)")).collect();
    let known = ["[libpam.so.", "[libc.so.", "[libgcc_s.so.", "[ld-linux-"];
    assert!(needed.iter().any(|line| line.contains("[libpam.so.")), "cargo build -p cellblock-pam: {headers}");
    assert!(needed.iter().all(|line| known.iter().any(|name| line.contains(name))), "{needed:?}");
    let symbols = symbols(binary.to_str().unwrap());
    assert!(links(&symbols, "cellblock_pam") && !links(&symbols, "cellblock"), "the messages are its own copy");
}

/// "filters are data, each with a reason"
#[test]
fn every_rule_of_every_filter_has_a_reason() {
    let (_, files) = tree("toml");
    let mut rules = 0;
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let value: toml::Table = text.parse().unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let mut names = BTreeSet::new();
        each_table(&toml::Value::Table(value), &mut |table| {
            let listed =
                ["name", "calls", "syscall", "syscalls", "call", "names"].iter().find_map(|key| table.get(*key));
            let Some(listed) = listed else { return };
            let why =
                table.get("why").or_else(|| table.get("reason")).and_then(toml::Value::as_str).unwrap_or_default();
            assert!(why.len() > 5, "{}: no reason for {listed}", file.display());
            assert!(names.insert(format!("{table:?}")), "{}: {listed} twice", file.display());
            rules += 1;
        });
        assert!(!names.is_empty(), "{}: no rule was found", file.display());
    }
    assert!(rules > 0, "the ssh process has a filter");
}

fn each_table(value: &toml::Value, visit: &mut impl FnMut(&toml::Table)) {
    match value {
        toml::Value::Table(table) => {
            visit(table);
            table.values().for_each(|value| each_table(value, visit));
        }
        toml::Value::Array(values) => values.iter().for_each(|value| each_table(value, visit)),
        _ => {}
    }
}

/// Documents that name tests, each as `file.rs` `a_test_in_it`, and how many they name at least.
const DOCUMENTS: [(&str, usize); 4] =
    [("docs/cve.md", 36), ("docs/kernel.md", 15), ("docs/clients.md", 10), ("ARCHITECTURE.md", 25)];

/// "Docs that can drift are generated or tested": a document names only tests that exist
#[test]
fn every_test_that_a_document_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (document, at_least) in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).unwrap();
        let mut named = 0;
        for row in text.lines().filter(|line| line.starts_with("| ") && line.contains(".rs` `")) {
            let mut file = String::new();
            for word in row.split('`').skip(1).step_by(2) {
                if word.ends_with(".rs") {
                    // Of this package's tests, of the tree, or of a room.
                    let paths = [root.join("tests").join(word), root.join(word), root.join("src").join(word)];
                    let found = paths.iter().find_map(|path| fs::read_to_string(path).ok());
                    file = found.unwrap_or_else(|| panic!("{document}: there is no {word}"));
                } else if !file.is_empty()
                    && word.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
                {
                    assert!(file.contains(&format!("fn {word}()")), "{document}: {word} does not exist");
                    named += 1;
                }
            }
        }
        assert!(named >= at_least, "{document}: {named}");
    }
}

/// What is known of a break stands in one row: two of them drift apart
#[test]
fn no_published_break_stands_in_two_rows_of_a_table() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cve.md")).unwrap();
    let mut rows = 0;
    for table in page.split("\n## ") {
        let mut seen = BTreeSet::new();
        for row in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what |")) {
            let what = row.split(" | ").next().unwrap();
            assert!(seen.insert(what), "twice: {what}");
            let names = what.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '#');
            let is_name = |name: &&str| {
                ["CVE-", "GHSA-", "RUSTSEC-"].iter().any(|kind| name.starts_with(kind)) || name.contains('#')
            };
            for name in names.filter(is_name).collect::<BTreeSet<_>>() {
                assert!(seen.insert(name), "{name} stands in two rows");
            }
            rows += 1;
        }
    }
    assert!(rows > 100, "{rows}");
}

/// A path in ARCHITECTURE.md leads to a file, but for what it says is still to come
#[test]
fn every_file_that_the_architecture_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let now = text.split("## What comes next").next().unwrap();
    let named: Vec<_> = now
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.ends_with(".rs") && word.contains('/') && !word.contains('<'))
        .collect();
    assert!(named.len() >= 10, "{named:?}");
    for file in named {
        assert!(root.join("src").join(file).exists() || root.join(file).exists(), "ARCHITECTURE.md: no {file}");
    }
}

/// "Every dependency earns a line in docs/dependencies.md"
#[test]
fn every_dependency_has_its_row() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest =
        |path: &str| -> toml::Table { toml::from_str(&fs::read_to_string(root.join(path)).unwrap()).unwrap() };
    let page = fs::read_to_string(root.join("docs/dependencies.md")).unwrap();
    let (whole, pam) = (manifest("Cargo.toml"), manifest("pam/Cargo.toml"));
    for (manifest, table) in [(&whole, "dependencies"), (&whole, "dev-dependencies"), (&pam, "dependencies")] {
        let theirs = |(_, value): &(&String, &toml::Value)| value.get("path").is_none();
        for (name, value) in manifest[table].as_table().unwrap().iter().filter(theirs) {
            let package = value.get("package").and_then(toml::Value::as_str).unwrap_or(name);
            assert!(page.contains(&format!("\n| {package} |")), "{package} has no row in docs/dependencies.md");
        }
    }
}
