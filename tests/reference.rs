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
use clap_mangen::roff::{Inline, Roff, bold, roman};

/// The crate would leave an empty argument out, and the next ones would take its place.
const NO_DATE: &str = "\"\"";

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
            .date(NO_DATE)
            .source(format!("cellblock {}", env!("CARGO_PKG_VERSION")))
            .manual("System administration");
        let mut text = Vec::new();
        page.render(&mut text).unwrap();
        scratch::compare_or_bless(&directory.join(format!("{name}.8")), &String::from_utf8(text).unwrap());
    }
    // And one of the config.
    assert_eq!(fs::read_dir(&directory).unwrap().count(), commands.len() + 1, "a page of nothing in {directory:?}");
}

#[test]
fn the_manual_of_the_config_is_the_reference_page() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/man/cellblock.toml.5");
    let mut page = Roff::default();
    let source = format!("cellblock {}", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["cellblock.toml", "5", NO_DATE, source.as_str(), "File formats"]);
    page.control("SH", ["NAME"]);
    page.text([roman("cellblock.toml - who may come in, and what their jails are like")]);
    page.control("SH", ["DESCRIPTION"]);
    // What parts a paragraph from the one before it: below a key it is indented alike.
    let (mut between, mut follows) = ("PP", false);
    for block in cellblock::config::reference().split("\n\n").skip(2) {
        if let Some(key) = block.strip_prefix("### ") {
            page.control("TP", []).text([bold(key.trim_matches('`'))]);
            (between, follows) = ("IP", false);
        } else if let Some(table) = block.strip_prefix("## ") {
            page.control("SH", [table.replace('`', "").as_str()]);
            (between, follows) = ("PP", false);
        } else {
            if follows {
                page.control(between, []);
            }
            page.text(inline(block.trim_end()));
            follows = true;
        }
    }
    page.control("SH", ["SEE ALSO"]).text([
        bold("cellblock-check"),
        roman("(8), "),
        bold("cellblock-serve"),
        roman("(8)"),
    ]);
    scratch::compare_or_bless(&path, &page.to_roff());
}

/// Code is bold, and of a link the words are left.
fn inline(text: &str) -> Vec<Inline> {
    let words = text.replace('\n', " ");
    let parts = words
        .split('`')
        .enumerate()
        .map(|(index, part)| if index % 2 == 1 { bold(part) } else { roman(unlinked(part)) });
    parts.collect()
}

fn unlinked(text: &str) -> String {
    let mut parts = text.split("](");
    let first = parts.next().unwrap_or_default().replace('[', "");
    parts.fold(first, |done, part| done + part.split_once(')').map_or(part, |(_link, rest)| rest))
}
