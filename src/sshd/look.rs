//! Asking about every account that is a tenant, from every origin, and gathering what leads around cells.

use std::{
    cell::LazyCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::accounts::{Account, Shell, tied};
use super::answer::Answer;
use super::ask::ask;
use super::judge::judge;
use super::leak::{Found, Leak, WHO, Where, Whom};
use super::origin::{Origin, origins};
use super::pam;
use crate::base::{Failure, Result, escape, fail};
use crate::config::Compiled;
use crate::sys::file::{Links, trusted_file};

/// For all questions together: some 2000.
const TIME: Duration = Duration::from_secs(60);

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// Accounts of the host that are tenants.
    pub accounts: usize,
    /// What leads around their cells, in the order of the files.
    pub leaks: Vec<Leak>,
}

/// Has `program` say by its config `file` what it does for the accounts that are tenants. As root: sshd reads
/// its host keys first.
pub fn look(compiled: &Compiled, program: &str, file: &Path) -> Result<Looked> {
    let file = std::path::absolute(file).unwrap_or_else(|_no_cwd| file.to_owned());
    let accounts = tied(compiled)?;
    let mut all = Leaks::default();
    let deadline = Instant::now() + TIME;
    let mut known: Option<(Vec<Origin>, bool)> = None;
    let by_pam = LazyCell::new(pam::own_variables);
    for account in &accounts {
        let name = &account.name;
        if name.contains([',', '=', '\n']) {
            all.add(unasked("sshd -T cannot be given such a name"), account, None);
            continue;
        }
        if Instant::now() >= deadline {
            all.add(unasked(&format!("it took more than {} s", TIME.as_secs())), account, None);
            continue;
        }
        let elsewhere = Origin::elsewhere();
        let usual = answer(program, &file, name, &elsewhere)?;
        let (origins, _) = known.get_or_insert_with(|| {
            all.untrusted(&usual.files);
            origins(&usual.matches)
        });
        all.extend(account, &elsewhere, &usual);
        if usual.value("usepam") == "yes" && account.writes_variables && account.shell != Shell::Shut {
            by_pam.iter().for_each(|found| all.add(found.clone(), account, None));
        }
        for origin in origins.iter().filter(|origin| **origin != elsewhere) {
            all.extend(account, origin, &answer(program, &file, name, origin)?);
        }
    }
    if let Some((origins, true)) = known {
        let what = format!("the Match lines tell apart more than the {} origins that were asked about", origins.len());
        let hint = "let what closes doors to tenants stand in a Match block that asks for the account or group alone";
        all.0.entry(Found { place: Where::File(file.clone()), what, hint: hint.into() }).or_default();
    }
    let leaks = all.0.into_iter().map(|(found, whom)| Leak::new(found, &whom, &file)).collect();
    Ok(Looked { accounts: accounts.len(), leaks })
}

fn answer(program: &str, file: &Path, name: &str, origin: &Origin) -> Result<Answer> {
    ask(program, file, name, origin).map_err(|why| not_told(file, name, &why))
}

fn not_told(file: &Path, name: &str, why: &str) -> Failure {
    let asking = format!("sshd by {} about {}", file.display(), escape(name));
    fail("asking", asking, why).hint(format!("sshd -t -f {}", file.display()))
}

fn unasked(why: &str) -> Found {
    let what = format!("sshd was not asked about {WHO}: {why}");
    Found { place: Where::Accounts, what, hint: "what it does for them is not known".into() }
}

/// What was found, for whom.
#[derive(Debug, Default)]
struct Leaks(BTreeMap<Found, Whom>);

impl Leaks {
    fn add(&mut self, found: Found, account: &Account, origin: Option<&Origin>) {
        let whom = self.0.entry(found).or_default();
        whom.accounts.insert(account.name.clone());
        whom.origins.extend(origin.cloned());
    }

    fn extend(&mut self, account: &Account, origin: &Origin, answer: &Answer) {
        for found in judge(account, answer) {
            self.add(found, account, Some(origin));
        }
    }

    /// Whoever can write to one of these decides what sshd does, as root.
    fn untrusted(&mut self, files: &[PathBuf]) {
        for file in files {
            if let Err(why) = trusted_file(file, Links::Follow) {
                let hint = why.hint().unwrap_or_else(|| "let root alone write to it".to_owned());
                let what = format!("{why}: sshd does what it says, as root");
                self.0.entry(Found { place: Where::File(file.clone()), what, hint }).or_default();
            }
        }
    }
}
