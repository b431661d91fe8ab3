//! The reference page, `docs/config.md`, made from the table of keys.

use super::keys::{Fallback, Key, Layer, ServerLayer, TenantLayer};

const HEAD: &str = "\
# Config reference

<!-- Made from src/config/keys.rs by `BLESS=1 cargo test --test reference`. Change that table, not this page. -->

`/etc/cellblock/cellblock.toml` holds `[server]`, `[defaults]`, `[class.NAME]` and `[tenant.NAME]`. Beside it,
`tenants.d/NAME.toml` holds the body of `[tenant.NAME]`. All of them, and all directories above, must belong to root
and be writable by nobody else. `cellblock check` tells what is wrong, `cellblock check --explain NAME` where each of
a tenant's settings comes from.

What a tenant does not set comes from its class, then from the class that this one starts from, then from
`[defaults]`, then from here. Tables (`limits`, `set_env`) merge entry by entry; a list replaces the whole list.

Sizes are whole numbers with `K`, `M`, `G` or `T`. Times are numbers with `ms`, `s`, `m`, `h` or `d`, as in `1h30m`.
Paths are absolute.
";

/// The page.
#[must_use]
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\n## `[server]`\n");
    for key in ServerLayer::KEYS {
        page.push_str(&entry(key));
    }
    page.push_str("\n## `[defaults]`, `[class.NAME]`, `[tenant.NAME]`\n");
    for key in TenantLayer::KEYS {
        page.push_str(&entry(key));
    }
    page
}

fn entry(key: &Key) -> String {
    let fallback = match key.fallback {
        Fallback::Toml(value) => format!("`{value}`"),
        Fallback::Words(words) => words.to_owned(),
    };
    format!("\n### `{}`\n\n{}\n\n{}. Default: {fallback}\n", key.full_name(), key.sentence, capital(key.kind))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
