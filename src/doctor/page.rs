//! The page `docs/doctor.md`, made from the table of checks.

use super::checks::{ALL, Group};

const HEAD: &str = "\
# What `cellblock doctor` looks at

<!-- Made from src/doctor/checks.rs by `BLESS=1 cargo test --test doctor`. Change that table, not this page. -->

`cellblock doctor` tells what this host can and cannot do for tenants. Each check comes to

* `ok`: as it should be, or of no matter here;
* `warn`: tenants are served, and something is weaker than it could be;
* `fail`: tenants cannot be served, or not safely;
* `unknown`: it could not be looked at (run it as root, write a config). That is no pass.

With what was found it says what that means for tenants, and what to do: a command, a file to install, or, where neither
can do it, a sentence. The exit status is 1 if anything fails, otherwise 0. `--json` prints one document: `version`,
`config` (`read`, `missing`, `unusable`, `unknown`), `worst`, and `checks`, each with `id`, `level`, `found`, `means` and
`remedies` (with `command`, `file` and `text`, or `advice`). A check that looks at several things, such as file systems,
comes several times. Nothing on the host is changed.

Without a config the host alone is looked at. Kernel settings that it asks for stand in `config/sysctl.d/60-cellblock.conf`,
which a package installs as `/etc/sysctl.d/60-cellblock.conf`.
";

/// The page.
#[must_use]
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    for group in Group::ALL {
        page.push_str(&format!("\n## {}\n", group.heading()));
        for check in ALL.iter().filter(|check| check.group == group) {
            page.push_str(&format!("\n### `{}`\n\n{}\n", check.id, check.about));
            for (word, when) in [("warn", check.warns), ("fail", check.fails)] {
                if !when.is_empty() {
                    page.push_str(&format!("\n* `{word}`: {when}"));
                }
            }
            if !(check.warns.is_empty() && check.fails.is_empty()) {
                page.push('\n');
            }
        }
    }
    page
}
