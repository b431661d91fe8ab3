//! What the facts mean for tenants. Pure: facts come in, verdicts go out.

mod config;
mod groups;
mod kernel;
mod neighbours;
mod room;
mod settings;

use super::checks::{ALL, CONFIG, Check, Group};
use super::facts::{Config, Facts};
use super::verdict::Verdict;

pub(super) use settings::SYSCTLS;

/// Every check at least once, in the order of the table.
#[must_use]
pub fn judge(facts: &Facts) -> Vec<Verdict> {
    let named = match &facts.config {
        Config::Read(named) => Some(&**named),
        Config::Missing(_) | Config::Unseen(..) | Config::Unusable { .. } => None,
    };
    let mut verdicts = kernel::judge(&facts.kernel, named);
    verdicts.extend(settings::judge(&facts.kernel));
    verdicts.extend(room::judge(&facts.kernel, named));
    verdicts.extend(groups::judge(&facts.groups));
    verdicts.push(config::judge(&facts.config));
    match named {
        Some(named) => verdicts.extend(config::judge_named(named).into_iter().chain(neighbours::judge(named))),
        None => {
            let why = match &facts.config {
                Config::Missing(_) => "there is no config",
                Config::Unusable { .. } => "the config has errors",
                Config::Unseen(..) | Config::Read(_) => "the config could not be read",
            };
            let left = ALL.iter().filter(|check| needs_config(check));
            verdicts.extend(left.map(|check| Verdict::unknown(check, why)));
        }
    }
    let place = |check: &Check| ALL.iter().position(|known| known.id == check.id);
    verdicts.sort_by_key(|verdict| place(verdict.check));
    verdicts
}

fn needs_config(check: &Check) -> bool {
    match check.group {
        Group::Kernel | Group::Settings | Group::Limits => false,
        Group::Files => *check != CONFIG,
        Group::Neighbours => true,
    }
}

/// Some names for a sentence.
fn some<T: std::fmt::Display>(names: &[T]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
