//! Verdicts as a person reads them, and as monitoring does.

use serde_json::{Value, json};

use super::checks::Group;
use super::facts::{Config, Facts};
use super::verdict::{Level, Remedy, SYSCTL_FILE, Verdict};

/// Grouped, one line for each thing that was looked at; what it means and what to do below it.
#[must_use]
pub fn as_text(facts: &Facts, verdicts: &[Verdict]) -> String {
    let mut lines = Vec::new();
    if let Config::Missing(path) = &facts.config {
        lines.push(format!("There is no config at {}: this is about the host alone.", path.display()));
        lines.push(String::new());
    }
    let width = verdicts.iter().map(|verdict| verdict.check.id.len()).max().unwrap_or(0);
    for group in Group::ALL {
        lines.push(group.heading().to_owned());
        for verdict in verdicts.iter().filter(|verdict| verdict.check.group == group) {
            let Verdict { check, level, found, means, remedies } = verdict;
            lines.push(format!("  {:7}  {:width$}  {found}", level.word(), check.id));
            let indent = " ".repeat(width + 13);
            if !means.is_empty() {
                lines.push(format!("{indent}{means}"));
            }
            for remedy in remedies {
                lines.extend(below(&indent, &remedy.to_string()));
            }
        }
        lines.push(String::new());
    }
    lines.push(summary(verdicts));
    lines.join("\n")
}

fn below(indent: &str, remedy: &str) -> Vec<String> {
    let mut lines = remedy.lines();
    let first = lines.next().map(|line| format!("{indent}→ {line}"));
    first.into_iter().chain(lines.map(|line| format!("{indent}    {line}"))).collect()
}

fn summary(verdicts: &[Verdict]) -> String {
    let of = |level| verdicts.iter().filter(|verdict| verdict.level == level).count();
    let (fail, warn, unknown, ok) = (of(Level::Fail), of(Level::Warn), of(Level::Unknown), of(Level::Ok));
    format!("{fail} fail, {warn} warn, {unknown} unknown, {ok} ok")
}

/// One document; `version` changes when the meaning of a field does.
#[must_use]
pub fn as_json(facts: &Facts, verdicts: &[Verdict]) -> Value {
    let config = match &facts.config {
        Config::Missing(_) => "missing",
        Config::Unusable { .. } => "unusable",
        Config::Unseen(..) => "unknown",
        Config::Read(named) if named.errors > 0 => "unusable",
        Config::Read(_) => "read",
    };
    let checks: Vec<Value> = verdicts.iter().map(check).collect();
    let worst = verdicts.iter().map(|verdict| verdict.level).max().unwrap_or(Level::Ok);
    json!({ "version": 1, "config": config, "worst": worst.word(), "checks": checks })
}

fn check(verdict: &Verdict) -> Value {
    let Verdict { check, level, found, means, remedies } = verdict;
    let remedies: Vec<Value> = remedies.iter().map(remedy).collect();
    json!({ "id": check.id, "level": level.word(), "found": found, "means": means, "remedies": remedies })
}

fn remedy(remedy: &Remedy) -> Value {
    match remedy {
        Remedy::Run(command) => json!({ "command": command }),
        Remedy::Sysctl(key, value) => {
            json!({ "command": format!("sysctl -w {key}={value}"), "file": SYSCTL_FILE, "text": format!("{key} = {value}") })
        }
        Remedy::Install { path, text } => json!({ "file": path, "text": text }),
        Remedy::Advice(text) => json!({ "advice": text }),
    }
}

/// Whether anything failed: the exit status.
#[must_use]
pub fn has_failed(verdicts: &[Verdict]) -> bool {
    verdicts.iter().any(|verdict| verdict.level == Level::Fail)
}
