//! Where each of a tenant's settings comes from.

use super::files::{FileId, Files};
use super::keys::{Layer, TenantLayer};
use super::merge::Bases;
use crate::base::TenantName;

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Its key, as in `limits.tmp`.
    pub key: String,
    /// Its value as TOML; none if it is not set and needs no value.
    pub value: Option<String>,
    /// `built in`, or the file and line that set it, and under which heading.
    pub origin: String,
}

/// All settings of one tenant, in the order of the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained(pub Vec<Explanation>);

impl Explained {
    pub(super) fn new(tenant: &TenantName, whole: &TenantLayer, bases: &Bases, files: &Files) -> Self {
        let explain = |row: super::keys::Row| {
            let (value, origin) = match row.value {
                None => (None, "not set".to_owned()),
                Some((value, place)) if place.file == FileId::BuiltIn => (Some(value), "built in".to_owned()),
                Some((value, place)) => {
                    let heading = bases.heading_of(place).unwrap_or_else(|| format!("[tenant.{tenant}]"));
                    (Some(value), format!("{}, {heading}", files.where_is(place)))
                }
            };
            Explanation { key: row.name, value, origin }
        };
        Self(whole.rows().into_iter().map(explain).collect())
    }
}
