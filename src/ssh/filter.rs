//! `filter.toml`, the list of the system calls that the ssh process may make, read into rules.

use cellblock::sys::seccomp::{self, Allowed, Argument};
use serde::Deserialize;

/// The list.
pub(crate) const TEXT: &str = include_str!("filter.toml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    allow: Vec<Entry>,
}

/// One call, or one call with one value of an argument.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Its name.
    pub(crate) call: String,
    /// Only with this argument.
    argument: Option<Condition>,
    /// Only on this architecture, where others lack the call.
    arch: Option<String>,
    /// Only in these builds.
    builds: Option<Builds>,
    /// What needs it.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reader of the list; a test demands it"))]
    why: String,
    /// Why a test run may not see it used.
    #[cfg_attr(not(test), expect(dead_code, reason = "for tests/ssh_process.rs, which reads the list too"))]
    rare: Option<String>,
}

/// Some builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Builds {
    /// Those whose assertions are on, the standard library's own among them.
    Debug,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    index: u8,
    equals: String,
}

/// What is wrong with the list. It is part of the program: only a test meets this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadList(pub(crate) String);

/// The rules for this architecture and this build.
pub(crate) fn rules(text: &str) -> Result<Vec<Allowed>, BadList> {
    rules_of(text, cfg!(debug_assertions))
}

fn rules_of(text: &str, debug: bool) -> Result<Vec<Allowed>, BadList> {
    entries(text)?
        .into_iter()
        .filter(|entry| debug || entry.builds != Some(Builds::Debug))
        .filter(|entry| entry.arch.as_deref().is_none_or(|arch| arch == std::env::consts::ARCH))
        .map(|entry| {
            let call = seccomp::number(&entry.call).ok_or_else(|| BadList(format!("no call {}", entry.call)))?;
            let argument = entry.argument.map(|condition| {
                let equals = seccomp::value(&condition.equals);
                let equals = equals.ok_or_else(|| BadList(format!("no constant {}", condition.equals)))?;
                Ok(Argument { index: condition.index, equals })
            });
            Ok(Allowed { call, argument: argument.transpose()? })
        })
        .collect()
}

fn entries(text: &str) -> Result<Vec<Entry>, BadList> {
    let list: List = toml::from_str(text).map_err(|error| BadList(error.to_string()))?;
    Ok(list.allow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_says_why_and_is_known_here() {
        let told = |reason: &str| reason.len() > 10;
        let told = |entry: &Entry| told(&entry.why) && entry.rare.as_deref().is_none_or(told);
        assert!(entries(TEXT).unwrap().iter().all(told));
        assert!(!rules(TEXT).unwrap().is_empty());
    }

    #[test]
    fn what_debug_builds_call_is_not_allowed_in_others() {
        let list = "[[allow]]\ncall = \"fcntl\"\nbuilds = \"debug\"\nwhy = \"assertions\"";
        assert_eq!(rules_of(list, true).unwrap().len(), 1);
        assert_eq!(rules_of(list, false), Ok(Vec::new()));
        let all = |debug| rules_of(TEXT, debug).unwrap();
        let fcntl = seccomp::number("fcntl").unwrap();
        assert!(all(true).iter().any(|rule| rule.call == fcntl) && all(false).iter().all(|rule| rule.call != fcntl));
    }

    #[test]
    fn a_call_that_the_kernel_does_not_have_is_refused() {
        let list = "[[allow]]\ncall = \"open_everything\"\nwhy = \"because it is nice\"";
        assert_eq!(rules(list), Err(BadList("no call open_everything".into())));
    }
}
