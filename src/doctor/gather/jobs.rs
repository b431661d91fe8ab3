//! Jobs: for whom of the tenants' accounts cron(8) and at(1) of the host would run one.

use std::{collections::BTreeSet, fs, path::Path};

use super::{Eyes, NEEDS_ROOT};
use crate::base::escape;
use crate::config::Compiled;
use crate::doctor::facts::{Jobs, Runner, Seen};
use crate::sshd;
use crate::sys::{Errno, file::read_capped};

/// Largest list of names.
const MAX_LIST: usize = 1 << 20;

/// One of the two: its name, what takes jobs for it, the files that say whose, and whether it takes everybody's
/// where there is neither (crontab(1) as Debian has it, at(1)).
struct Known {
    name: &'static str,
    program: &'static str,
    allow: &'static str,
    deny: &'static str,
    /// Where each account's jobs lie in a file of its name.
    spool: Option<&'static str>,
    is_open: bool,
}

const KNOWN: [Known; 2] = [
    Known {
        name: "cron",
        program: "/usr/bin/crontab",
        allow: "/etc/cron.allow",
        deny: "/etc/cron.deny",
        spool: Some("/var/spool/cron/crontabs"),
        is_open: true,
    },
    Known {
        name: "at",
        program: "/usr/bin/at",
        allow: "/etc/at.allow",
        deny: "/etc/at.deny",
        spool: None,
        is_open: false,
    },
];

pub(super) fn gather(compiled: Option<&Compiled>, eyes: Eyes) -> Seen<Jobs> {
    let installed = |known: &&Known| Path::new(known.program).exists();
    let known: Vec<&Known> = KNOWN.iter().filter(installed).collect();
    match (compiled, eyes) {
        _ if known.is_empty() => Seen::Absent,
        (_, Eyes::Others) => Seen::Unseen(NEEDS_ROOT.into()),
        (None, Eyes::Roots) => Seen::Unseen("the config has errors".into()),
        (Some(compiled), Eyes::Roots) => match sshd::accounts(compiled) {
            Ok(accounts) => look(&known, &accounts.into_iter().collect()),
            Err(why) => Seen::Unseen(why.cause().to_string()),
        },
    }
}

fn look(known: &[&Known], accounts: &BTreeSet<String>) -> Seen<Jobs> {
    let mut runners = Vec::new();
    for known in known {
        let read = |path: &'static str| match read_capped(Path::new(path), MAX_LIST) {
            Ok(bytes) => Ok(Some(names(&String::from_utf8_lossy(&bytes)))),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(format!("{path}: {errno}")),
        };
        match (read(known.allow), read(known.deny)) {
            (Ok(allow), Ok(deny)) => {
                let has = known.spool.map(|spool| tables(Path::new(spool), accounts)).unwrap_or_default();
                runners.push(Runner { has, ..runner(known, accounts, allow, deny.as_ref()) });
            }
            (Err(why), _) | (_, Err(why)) => return Seen::Unseen(why),
        }
    }
    Seen::Is(Jobs { accounts: accounts.len(), runners })
}

/// Whose jobs lie in `spool`.
fn tables(spool: &Path, accounts: &BTreeSet<String>) -> Vec<String> {
    let files = fs::read_dir(spool).into_iter().flatten().take(MAX_LIST);
    let mut names: Vec<String> = files
        .filter_map(|file| file.ok()?.file_name().into_string().ok())
        .filter(|name| accounts.contains(name))
        .map(|name| escape(&name))
        .collect();
    names.sort();
    names
}

/// A name a line.
fn names(text: &str) -> BTreeSet<String> {
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// Where there is a list of who may, the other is not asked.
fn runner(
    known: &Known,
    accounts: &BTreeSet<String>,
    allow: Option<BTreeSet<String>>,
    deny: Option<&BTreeSet<String>>,
) -> Runner {
    let may = |name: &&String| match (&allow, deny) {
        (Some(allow), _) => allow.contains(*name),
        (None, Some(deny)) => !deny.contains(*name),
        (None, None) => known.is_open,
    };
    let (takes, others) = (
        accounts.iter().filter(may).map(|name| escape(name)).collect(),
        allow
            .as_ref()
            .map(|allow| allow.iter().filter(|name| !accounts.contains(*name)).map(|name| escape(name)).collect()),
    );
    Runner { name: known.name, allow: known.allow, takes, has: Vec::new(), others }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_who_may_goes_before_that_of_who_may_not_and_without_both_cron_is_open_and_at_is_not() {
        let [cron, at] = &KNOWN;
        let accounts = names("ann\nben");
        let takes = |known, allow: Option<&str>, deny: Option<&str>| {
            runner(known, &accounts, allow.map(names), deny.map(names).as_ref()).takes
        };
        assert_eq!(takes(cron, None, None), ["ann", "ben"]);
        assert!(takes(at, None, None).is_empty());
        for known in [cron, at] {
            assert_eq!(takes(known, None, Some("")), ["ann", "ben"]);
            assert_eq!(takes(known, None, Some("mail\nben\n")), ["ann"]);
            assert_eq!(takes(known, Some("root\n ben \n"), Some("ben")), ["ben"]);
            assert!(takes(known, Some(""), None).is_empty());
        }
        let others = runner(cron, &accounts, Some(names("root\nben\njoe")), None).others;
        assert_eq!(others, Some(vec!["joe".into(), "root".into()]));
    }
}
