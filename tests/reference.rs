//! The reference page says what the table of keys says.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    dead_code,
    reason = "test support code, shared by several tests"
)]

mod scratch;

use std::{fs, path::Path};

use clap::CommandFactory as _;

#[test]
fn the_page_about_verify_is_the_table_of_checks() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verify.md");
    scratch::compare_or_bless(&page, &cellblock::verify::reference());
}

#[test]
fn the_reference_page_is_the_table_of_keys() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/config.md");
    scratch::compare_or_bless(&page, &cellblock::config::reference());
}

#[test]
fn the_manual_is_what_help_says() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/man");
    let mut root = cellblock::cli::Cli::command().disable_help_subcommand(true);
    root.build();
    let verbs = root.get_subcommands().cloned().map(|verb| (format!("cellblock-{}", verb.get_name()), verb));
    let commands: Vec<_> = [("cellblock".to_owned(), root.clone())].into_iter().chain(verbs).collect();
    for (name, command) in &commands {
        let page = clap_mangen::Man::new(command.clone())
            .title(name.clone())
            .section("8")
            .date("")
            .source(format!("cellblock {}", env!("CARGO_PKG_VERSION")))
            .manual("System administration");
        let mut text = Vec::new();
        page.render(&mut text).unwrap();
        scratch::compare_or_bless(&directory.join(format!("{name}.8")), &String::from_utf8(text).unwrap());
    }
    assert_eq!(fs::read_dir(&directory).unwrap().count(), commands.len(), "a page of no command in {directory:?}");
}
