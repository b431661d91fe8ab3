//! What `verify` prints: text for a person, JSON for monitoring. Pure.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::base::escape;
use crate::wire::verify::{Attempt, Finding, Verdict};

use super::{Answer, ByEnter, Verified, count, groups};

/// Room for the longest name of a check.
const ID_WIDTH: usize = 18;

/// Room for the longest verdict.
const VERDICT_WIDTH: usize = 15;

/// How much to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// A line for each check, and more where something is wrong.
    Brief,
    /// Every attempt.
    Full,
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Held => "held",
        Verdict::Escaped => "ESCAPED",
        Verdict::Unknown => "NOT KNOWN",
        Verdict::NotApplicable => "not applicable",
    }
}

fn key(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Held => "held",
        Verdict::Escaped => "escaped",
        Verdict::Unknown => "unknown",
        Verdict::NotApplicable => "not-applicable",
    }
}

/// Grouped and aligned, a line for each check.
#[must_use]
pub fn as_text(verified: &Verified, answers: &[Answer], detail: Detail) -> String {
    let mut text = format!("{}: {}\n", verified.tenant, summary(verified));
    text.push_str(&format!("  {}\n", way(verified)));
    for answer in answers {
        text.push_str(&format!("  {}\n", door(answer)));
    }
    text.push_str(&format!("  {}\n", enter_door(&verified.by_enter)));
    for group in groups() {
        text.push_str(&format!("\n  {}\n", group.title()));
        for finding in verified.findings.iter().filter(|finding| finding.check.group() == group) {
            check(&mut text, finding, detail);
        }
    }
    let by_enter = verified.by_enter.findings().iter();
    let shown: Vec<_> = by_enter.filter(|finding| detail == Detail::Full || is_wrong(finding.verdict())).collect();
    if !shown.is_empty() {
        text.push_str("\n  By the enter door\n");
        shown.into_iter().for_each(|finding| check(&mut text, finding, detail));
    }
    text.trim_end().to_owned()
}

fn is_wrong(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Escaped | Verdict::Unknown)
}

fn counted(findings: &[Finding]) -> String {
    let counts = [Verdict::Escaped, Verdict::Unknown, Verdict::Held, Verdict::NotApplicable].map(|verdict| {
        let count = count(findings, verdict);
        (count > 0).then(|| format!("{count} {}", word(verdict)))
    });
    counts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn summary(verified: &Verified) -> String {
    let verdict = match verified.verdict() {
        Verdict::Escaped => "NOT CONTAINED",
        Verdict::Unknown => "NOT SHOWN TO BE CONTAINED",
        Verdict::Held | Verdict::NotApplicable => "contained",
    };
    format!("{verdict} ({})", counted(&verified.findings))
}

/// Which door was taken, and which not.
fn way(verified: &Verified) -> String {
    let cell = if verified.started { "a cell started for this" } else { "the cell that runs" };
    format!("tried in {cell}, entered as root of this host, in a session as an ssh login gets it")
}

fn door(answer: &Answer) -> String {
    match &answer.banner {
        None => format!("ssh door {}: nothing answers, it is off", answer.address),
        Some(banner) => format!(
            "ssh door {}: answers {}; not gone through (that takes the tenant's key), host key not compared",
            answer.address,
            escape(banner)
        ),
    }
}

fn enter_door(by_enter: &ByEnter) -> String {
    match by_enter {
        ByEnter::NoAccount => "enter door: no account of the host is this tenant".into(),
        ByEnter::Off => "enter door: no listener answers, it is off".into(),
        ByEnter::Through(findings) => format!("enter door: gone through, as root of this host: {}", counted(findings)),
    }
}

fn check(text: &mut String, finding: &Finding, detail: Detail) {
    let verdict = finding.verdict();
    let (id, said) = (finding.check.id(), remark(finding));
    let line = format!("    {id:ID_WIDTH$}  {:VERDICT_WIDTH$} {said}", word(verdict));
    text.push_str(line.trim_end());
    text.push('\n');
    if detail == Detail::Brief && !is_wrong(verdict) {
        return;
    }
    let shown = |attempt: &&Attempt| match detail {
        Detail::Full => true,
        Detail::Brief => is_wrong(attempt.verdict),
    };
    for attempt in finding.attempts.iter().filter(shown) {
        let (tried, happened) = (escape(&attempt.tried), escape(&attempt.happened));
        if writeln!(text, "        {:VERDICT_WIDTH$} {tried}: {happened}", word(attempt.verdict)).is_err() {}
    }
    text.push_str(&format!("        why: {}\n", finding.check.why()));
}

/// What one line can say: what was tried, or why it was not.
fn remark(finding: &Finding) -> String {
    match finding.verdict() {
        Verdict::Held | Verdict::Escaped | Verdict::Unknown => finding.check.tries().to_owned(),
        Verdict::NotApplicable => finding.attempts.first().map(|attempt| escape(&attempt.happened)).unwrap_or_default(),
    }
}

/// One object.
#[must_use]
pub fn as_json(verified: &Verified, answers: &[Answer]) -> Value {
    let by_enter = match &verified.by_enter {
        ByEnter::NoAccount => json!({ "door": "no-account" }),
        ByEnter::Off => json!({ "door": "off" }),
        ByEnter::Through(findings) => {
            json!({ "door": "through", "counts": counts(findings), "checks": checks(findings) })
        }
    };
    json!({
        "tenant": verified.tenant,
        "verdict": key(verified.verdict()),
        "door": "cell",
        "cell": if verified.started { "started" } else { "joined" },
        "ssh": answers,
        "enter": by_enter,
        "counts": counts(&verified.findings),
        "checks": checks(&verified.findings),
    })
}

fn counts(findings: &[Finding]) -> Value {
    json!({
        "held": count(findings, Verdict::Held),
        "escaped": count(findings, Verdict::Escaped),
        "unknown": count(findings, Verdict::Unknown),
        "not-applicable": count(findings, Verdict::NotApplicable),
    })
}

fn checks(findings: &[Finding]) -> Vec<Value> {
    let object = |finding: &Finding| {
        json!({
            "check": finding.check.id(),
            "group": finding.check.group().title(),
            "verdict": key(finding.verdict()),
            "tries": finding.check.tries(),
            "why": finding.check.why(),
            "attempts": finding.attempts,
        })
    };
    findings.iter().map(object).collect()
}
