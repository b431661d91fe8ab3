//! One thing that leads around cells: where it stands, whom it concerns, what to write instead.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

use super::answer::Place;
use super::origin::Origin;
use crate::base::escape;
use crate::config::{Cited, draw_error};
use crate::sys::file::{Links, read_trusted};

/// Stands for the accounts that something concerns.
pub(super) const WHO: &str = "{who}";

/// Accounts that are named; the rest is counted.
const MAX_NAMED: usize = 3;

/// Longest file of sshd's config that is cited.
const MAX_FILE: usize = 4 << 20;

/// What is wrong for one account; many have the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) place: Where,
    /// With [`WHO`] in it.
    pub(super) what: String,
    pub(super) hint: String,
}

/// Where it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Where {
    /// Nowhere: it is what sshd does where nothing is said.
    Unsaid,
    /// In the host's list of accounts.
    Accounts,
    /// In a file as a whole.
    File(PathBuf),
    /// In a line.
    Line(Place),
}

impl Found {
    pub(super) fn new(place: Option<&Place>, what: String, hint: String) -> Self {
        Self { place: place.cloned().map_or(Where::Unsaid, Where::Line), what, hint }
    }
}

/// Whom it concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Whom {
    pub(super) accounts: BTreeSet<String>,
    pub(super) origins: BTreeSet<Origin>,
}

/// Something that leads around the cells of some accounts. Displays as the findings of `check` do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leak {
    /// The file, or what else it stands in.
    pub path: String,
    /// The line.
    pub cited: Option<Cited>,
    /// What happens, to whom.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl Leak {
    /// What was `found` for `whom`, in sshd's config `main` or a file that it includes.
    pub(super) fn new(found: Found, whom: &Whom, main: &Path) -> Self {
        let Found { place, what, hint } = found;
        let mut message = what.replace(WHO, &some(&whom.accounts));
        let nowhere = matches!(place, Where::Unsaid);
        if nowhere {
            message.push_str(": no line says otherwise");
        }
        let usual = whom.origins.is_empty() || whom.origins.contains(&Origin::elsewhere());
        if let Some(origin) = whom.origins.first().filter(|_| !usual) {
            message.push_str(&format!(" (from {})", escape(&origin.to_string())));
        }
        let (path, cited) = match &place {
            Where::Unsaid => (main.display().to_string(), None),
            Where::Accounts => ("accounts of this host".to_owned(), None),
            Where::File(file) => (file.display().to_string(), None),
            Where::Line(place) => match cite(place) {
                Some(cited) => (place.file.display().to_string(), Some(cited)),
                None => (format!("{}:{}", place.file.display(), place.number), None),
            },
        };
        Self { path, cited, message, hint }
    }

    /// `FILE:LINE`, or as much of it as there is.
    #[must_use]
    pub fn at(&self) -> String {
        match &self.cited {
            Some(cited) => format!("{}:{}", self.path, cited.number),
            None => self.path.clone(),
        }
    }
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&draw_error(&self.message, &self.path, self.cited.clone(), &self.hint))
    }
}

/// The line, if root alone can have written it.
fn cite(place: &Place) -> Option<Cited> {
    let text = String::from_utf8(read_trusted(&place.file, Links::Follow, MAX_FILE).ok()?).ok()?;
    let line = text.lines().nth(place.number.checked_sub(1)?)?;
    let start = line.len() - line.trim_start().len();
    Some(Cited { line: line.to_owned(), number: place.number, span: start..line.trim_end().len() })
}

fn some(names: &BTreeSet<String>) -> String {
    let named: Vec<String> = names.iter().take(MAX_NAMED).map(|name| escape(name)).collect();
    match (names.len().saturating_sub(MAX_NAMED), named.as_slice()) {
        (0, [all @ .., last]) if !all.is_empty() => format!("{} and {last}", all.join(", ")),
        (0, all) => all.join(", "),
        (more, all) => format!("{} and {more} more", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_accounts_are_named_and_the_rest_is_counted() {
        let names = |count: usize| some(&(0..count).map(|n| format!("u{n}")).collect());
        assert_eq!([0, 1, 2, 3, 5].map(names), ["", "u0", "u0 and u1", "u0, u1 and u2", "u0, u1, u2 and 2 more"]);
    }
}
