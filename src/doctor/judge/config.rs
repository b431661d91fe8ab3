//! The config, and the files that it names.

use super::some;
use crate::doctor::checks::{CONFIG, DIRECTORIES, HOST_KEYS, IDMAP, PAM};
use crate::doctor::facts::{Config, Holds, Mount, Named, Pam, Seen, Trust};
use crate::doctor::verdict::{Remedy, Verdict};

pub(super) fn judge(config: &Config) -> Verdict {
    let see = |path: &std::path::Path| format!("cellblock --config {} check", path.display());
    match config {
        Config::Missing(path) => {
            Verdict::unknown(&CONFIG, format!("{} is not there: the host alone was looked at", path.display()))
        }
        Config::Unseen(path, why) => Verdict::unknown(&CONFIG, format!("{}: {why}", path.display())),
        Config::Unusable { path, errors, remedy } => {
            let found = format!("{}: {}", path.display(), counted(*errors, "error"));
            let verdict = Verdict::fail(&CONFIG, found, "the listener does not start with it, or keeps an older one");
            verdict.run(remedy.clone().unwrap_or_else(|| see(path)))
        }
        Config::Read(named) if named.errors > 0 => {
            let found = format!("{}: {}", named.path.display(), counted(named.errors, "error"));
            Verdict::fail(&CONFIG, found, "the listener does not start with it, or keeps an older one")
                .run(see(&named.path))
        }
        Config::Read(named) => {
            Verdict::ok(&CONFIG, format!("{}: {}", named.path.display(), counted(named.tenants.count, "tenant")))
        }
    }
}

fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

pub(super) fn judge_named(named: &Named) -> Vec<Verdict> {
    let mut verdicts: Vec<Verdict> = Vec::new();
    verdicts.extend(named.directories.iter().map(|(key, path, trust)| directory(key, path, trust)));
    verdicts.extend(named.host_keys.iter().map(|(path, trust)| host_key(path, trust)));
    if named.host_keys.is_empty() {
        verdicts.push(
            Verdict::fail(&HOST_KEYS, "none is named", "nobody can log in")
                .remedy(Remedy::Advice("name one: `host_keys` in [server]".into())),
        );
    }
    verdicts.push(pam(&named.pam));
    verdicts.extend(named.mounts.iter().map(mount));
    if named.untried > 0 {
        let found = format!("{} lie on further file systems, which were not tried", counted(named.untried, "root"));
        let means = "a cell whose root's owners cannot be shifted does not start";
        verdicts.push(
            Verdict::warn(&IDMAP, found, means)
                .remedy(Remedy::Advice("log in once as a tenant of each, or put roots on fewer file systems".into())),
        );
    }
    verdicts
}

fn directory(key: &str, path: &std::path::Path, trust: &Trust) -> Verdict {
    let shown = format!("{key} {}", path.display());
    match trust {
        Trust::Private => Verdict::ok(&DIRECTORIES, shown),
        Trust::Missing => Verdict::ok(&DIRECTORIES, format!("{shown} is made at the first start")),
        Trust::Open(mode) => Verdict::fail(
            &DIRECTORIES,
            format!("{shown} has mode {mode:04o}"),
            "a user of the host can run what tenants leave in there with a setuid bit, or talk to their cells",
        )
        .run(format!("chmod 700 {}", path.display())),
        Trust::Changeable(why, remedy) => {
            let verdict =
                Verdict::fail(&DIRECTORIES, format!("{key}: {why}"), "others than root decide what lies there");
            remedied(verdict, remedy.as_deref())
        }
        Trust::Unseen(why) => Verdict::unknown(&DIRECTORIES, format!("{shown}: {why}")),
    }
}

fn host_key(path: &std::path::Path, trust: &Trust) -> Verdict {
    let shown = path.display();
    let made = path.file_name().is_some_and(|name| name.to_string_lossy().contains("ed25519"));
    match trust {
        Trust::Private => Verdict::ok(&HOST_KEYS, shown.to_string()),
        Trust::Missing if made => Verdict::ok(&HOST_KEYS, format!("{shown} is made at the first start")),
        Trust::Missing => Verdict::fail(&HOST_KEYS, format!("{shown} is not there"), "the listener does not start")
            .run(format!("ssh-keygen -t ed25519 -N '' -f {shown}")),
        Trust::Open(mode) => Verdict::fail(
            &HOST_KEYS,
            format!("{shown} has mode {mode:04o}"),
            "whoever can read it can pass for this host; the listener does not start",
        )
        .run(format!("chmod 600 {shown}")),
        Trust::Changeable(why, remedy) => {
            let means = "others than root decide who this host is; the listener does not start";
            remedied(Verdict::fail(&HOST_KEYS, why, means), remedy.as_deref())
        }
        Trust::Unseen(why) => Verdict::unknown(&HOST_KEYS, format!("{shown}: {why}")),
    }
}

fn pam(pam: &Pam) -> Verdict {
    let Pam { tenants, program, missing } = pam;
    let needing = format!("needed by {}", some(tenants));
    match program {
        _any if tenants.is_empty() => Verdict::ok(&PAM, "no login goes through PAM"),
        None => Verdict::fail(
            &PAM,
            format!("cellblock-pam is not installed; {needing}"),
            "logins that go through PAM are refused",
        )
        .remedy(Remedy::Advice("install the package cellblock-pam, or build it: cargo build -p cellblock-pam".into())),
        Some(_there) if !missing.is_empty() => Verdict::warn(
            &PAM,
            format!("there is no service {}; {needing}", some(missing)),
            "PAM takes /etc/pam.d/other for it, which as a rule lets nobody in",
        )
        .remedy(Remedy::Advice("write that file in /etc/pam.d; pam/cellblock is one to start from".into())),
        Some(path) => Verdict::ok(&PAM, format!("{}, {needing}", path.display())),
    }
}

fn remedied(verdict: Verdict, command: Option<&str>) -> Verdict {
    match command {
        Some(command) => verdict.run(command),
        None => verdict.remedy(Remedy::Advice("name another path in the config".into())),
    }
}

fn mount(mount: &Mount) -> Verdict {
    let Mount { path, kind, holds, shifts } = mount;
    let what = match holds {
        Holds::Homes => "homes".to_owned(),
        Holds::Roots(count) => counted(*count, "root"),
    };
    let found = format!("{what} on {kind}, {}", path.display());
    match shifts {
        Seen::Is(true) => Verdict::ok(&IDMAP, found),
        Seen::Is(false) => {
            let (means, key) = match holds {
                Holds::Homes => ("no cell with root = \"host\" can start", "state_dir"),
                Holds::Roots(_) => ("the cells of these tenants cannot start", "root"),
            };
            Verdict::fail(&IDMAP, format!("{found}: owners cannot be shifted"), means).remedy(Remedy::Advice(format!(
                "move it to ext4, xfs or btrfs (tmpfs from Linux 6.3 on), and name the new place in `{key}`"
            )))
        }
        Seen::Absent => Verdict::unknown(&IDMAP, found),
        Seen::Unseen(why) => Verdict::unknown(&IDMAP, format!("{found}: {why}")),
    }
}
