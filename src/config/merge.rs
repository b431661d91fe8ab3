//! Which layers lie over which: built in, `[defaults]`, the class's classes, the class, the tenant.

use std::collections::{BTreeMap, HashMap};

use super::files::FileId;
use super::finding::{Finding, Findings, Place};
use super::keys::{Layer, Set, TenantLayer};
use super::nearest::nearest;
use super::raw::{self, Named};
use crate::base::ClassName;

/// The layers that tenants start from, each class with everything under it.
#[derive(Debug)]
pub(super) struct Bases {
    defaults: TenantLayer,
    /// Each class as it stands in the file.
    own: BTreeMap<String, TenantLayer>,
    /// Each class over all that it starts from.
    whole: HashMap<String, TenantLayer>,
}

impl Bases {
    /// Merges all classes over `defaults`. A class that is not there, or starts from itself, is reported.
    pub(super) fn new(defaults: TenantLayer, classes: &[Named<'_, '_>], findings: &mut Findings) -> Self {
        let mut bases = Self { defaults, own: BTreeMap::new(), whole: HashMap::new() };
        for class in classes {
            if let Err(error) = class.name.parse::<ClassName>() {
                findings.push(Finding::error(class.place, error.to_string()));
            }
            bases.own.insert(class.name.to_string(), raw::layer(class.body, FileId::Main, findings));
        }
        for class in classes {
            if let Some(line) = bases.line_of(class.name, findings) {
                bases.merge(&line);
            }
        }
        bases
    }

    /// The classes from `name` down to the one that starts from the defaults.
    fn line_of(&self, name: &str, findings: &mut Findings) -> Option<Vec<String>> {
        let mut line = vec![name.to_owned()];
        while let Some(parent) = line.last().and_then(|last| self.own.get(last)).and_then(|own| own.class.as_ref()) {
            let next = parent.value.as_str();
            if !self.own.contains_key(next) {
                findings.push(self.unknown(parent));
                return None;
            }
            if line.iter().any(|seen| seen == next) {
                // Every class in the loop comes by here; the first by name reports it.
                if next == name && line.iter().all(|other| name <= other.as_str()) {
                    let turns = format!("{} → {next}", line.join(" → "));
                    findings.push(Finding::error(parent.place, format!("a class starts from itself: {turns}")));
                }
                return None;
            }
            line.push(next.to_owned());
        }
        Some(line)
    }

    fn merge(&mut self, line: &[String]) {
        let mut whole = self.defaults.clone();
        for name in line.iter().rev() {
            if let Some(own) = self.own.get(name) {
                whole.cover(own.clone());
            }
            self.whole.entry(name.clone()).or_insert_with(|| whole.clone());
        }
    }

    fn unknown(&self, class: &Set<ClassName>) -> Finding {
        let name = class.value.as_str();
        let near = nearest(name, self.own.keys().map(String::as_str));
        Finding::error(class.place, format!("there is no class `{name}`"))
            .hint(near.map_or_else(|| format!("add [class.{name}]"), |near| format!("did you mean `{near}`?")))
    }

    /// Under which heading the value at `place` stands; none: under a tenant's.
    pub(super) fn heading_of(&self, place: Place) -> Option<String> {
        let sets =
            |layer: &TenantLayer| layer.rows().iter().any(|row| row.value.as_ref().is_some_and(|set| set.1 == place));
        let class = self.own.iter().find(|(_name, own)| sets(own)).map(|(name, _own)| format!("[class.{name}]"));
        class.or_else(|| sets(&self.defaults).then(|| "[defaults]".to_owned()))
    }

    /// The tenant's layer over everything that it starts from.
    pub(super) fn cover_with(&self, tenant: TenantLayer, findings: &mut Findings) -> TenantLayer {
        let base = match &tenant.class {
            None => Some(&self.defaults),
            Some(class) => {
                let known = self.own.contains_key(class.value.as_str());
                if !known {
                    findings.push(self.unknown(class));
                }
                self.whole.get(class.value.as_str())
            }
        };
        // Where the class is broken, that has been reported; the rest is checked over the defaults.
        let mut whole = base.unwrap_or(&self.defaults).clone();
        whole.cover(tenant);
        whole
    }
}
