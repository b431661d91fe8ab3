//! The reference page says what the table of keys says.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    dead_code,
    reason = "test support code, shared by several tests"
)]

mod scratch;

use std::path::Path;

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
