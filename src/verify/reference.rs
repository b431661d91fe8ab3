//! The page about `verify`, from the table of checks. A test holds that the page is this.

use crate::wire::verify::{Check, Side};

use super::groups;

const HEAD: &str = "\
# What `cellblock verify` tries

Made from the table of checks in `src/wire/verify.rs`; `BLESS=1 cargo test --test reference` writes it anew.

```
cellblock verify alice            one line per check; exits 1 if anything escaped or is not known
cellblock verify alice --verbose  every attempt: what was tried, what happened, why that is right
cellblock verify --all --json     one JSON object per tenant and line, for monitoring
```

`verify` runs as root on the host. It enters the tenant's cell as root of this host, or starts it as a login would, and has its init start a session with all that an ssh login of the tenant gets: account, capabilities, limits, filter, environment. What runs in it is the probe, `cellblock-init` with another name, from the same sealed file, which no tenant can read or trace. It tries to break out, and says how that went. A cell that was started for this ends with it.

The ssh door is knocked at and not gone through: that takes a key of the tenant's, which root of the host does not have, and one that root could make would be a way into every tenant's cell. Behind the door both ways are one: the same `Grant`, the same order to the same init. `tests/verify_command.rs` shows it with keys of its own: the same probe, told the same, comes by ssh and finds the same (`a_probe_that_comes_through_the_ssh_door_finds_what_verify_finds`). The host key is not compared either; `ssh-keyscan` does that.

Where accounts of the host are the tenant (`host_user`, `host_group`), the probe comes a second time, by the enter door: `verify` calls the listener as root, which knows it by the kernel's word, and has the monitor start the probe as it starts what an account asks for. Limits are not tried again; a cell that this starts stays for its `linger`. Nobody but root is given the probe there; that an account that brings its own finds the same is a test (`tests/verify_enter.rs`).

Each attempt is harmless where it works. Bombs are small, sized by the tenant's limits, and give back what they took; while they burn, another process of the same tenant may be refused memory or a fork, and the tenant's sessions are told of the limit that was met. `--without-bombs` leaves them out. The probe runs beside whatever the tenant runs, with the same uid: they can kill it, which shows as *not known*, and hardly more; for proof, verify a cell that nobody is in. A locked tenant is not tried, because no session of theirs starts.

Verdicts: *held*; *escaped*; *not applicable*, with the reason; *not known*, if the probe could not try or did not come to its end, which counts as a failure. Exit status: 0 contained, 1 something escaped, is not known, or could not be tried, 2 wrong usage.
";

/// `docs/verify.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    for group in groups() {
        let side = match group.side() {
            Side::Inside => "by the probe",
            Side::Outside => "by root of the host",
        };
        page.push_str(&format!(
            "\n## {}\n\nTried {side}.\n\n| check | tries to | because |\n|---|---|---|\n",
            group.title()
        ));
        for check in Check::ALL.iter().filter(|check| check.group() == group) {
            page.push_str(&format!("| `{}` | {} | {} |\n", check.id(), check.tries(), check.why()));
        }
    }
    page
}
