//! From a path to the compiled config: the whole line, read top to bottom.
//!
//! Each tenant is read, merged, checked, compiled and forgotten before the next, so that memory
//! and time grow with nothing but their number.

use std::{borrow::Cow, path::Path};

use toml::de::DeTable;

use super::check;
use super::compiled::{Builder, Compiled};
use super::explain::Explained;
use super::files::{FileId, Files};
use super::finding::{Finding, Findings, Place, Report};
use super::keys::{Layer, ServerLayer, TenantLayer};
use super::merge::Bases;
use super::raw::{self, Named};
use super::roots::Roots;
use super::settings::{KeyRole, Server, Tenant};
use crate::base::{Failure, TenantName};

/// A config without errors.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub compiled: Compiled,
    /// What the admin should know about it.
    pub warnings: Report,
}

/// Reads, merges, checks and compiles `path` and the files of `tenants.d` beside it.
///
/// All or nothing: with one error there is no config, and the report holds all errors and warnings.
pub fn load(path: &Path) -> Result<Loaded, Report> {
    run(path, None).map(|(loaded, _nothing)| loaded)
}

/// As [`load`], and tells where each of one tenant's settings comes from; none: there is no such tenant.
pub fn load_and_explain(path: &Path, tenant: &TenantName) -> Result<(Loaded, Option<Explained>), Report> {
    run(path, Some(tenant))
}

/// `[server]` alone, for verbs that must work whatever is wrong with some tenant: only what is wrong
/// with the main file as a whole, or with that section, is an error.
pub fn load_server(path: &Path) -> Result<Server, Report> {
    match read_server(path) {
        (Some(server), report) if report.errors() == 0 => Ok(server),
        (_, report) => Err(report),
    }
}

/// As [`load_server`], for whoever looks for what is wrong: `[server]` as far as it can be understood.
#[must_use]
pub fn read_server(path: &Path) -> (Option<Server>, Report) {
    let mut findings = Findings::default();
    let files = Files::open(path, &mut findings);
    let main = raw::parse(files.main_text(), FileId::Main, &mut findings);
    let sections = raw::sections(&main, &mut Findings::default());
    let mut server = raw::built_in::<ServerLayer>(&mut findings);
    if let Some(body) = sections.server {
        server.cover(raw::layer(body, FileId::Main, &mut findings));
    }
    let server = check::server(&server, &mut findings);
    (server, findings.report(&files))
}

fn run(path: &Path, wanted: Option<&TenantName>) -> Result<(Loaded, Option<Explained>), Report> {
    let mut findings = Findings::default();
    let files = Files::open(path, &mut findings);
    let main = raw::parse(files.main_text(), FileId::Main, &mut findings);
    let sections = raw::sections(&main, &mut findings);

    let mut server = raw::built_in::<ServerLayer>(&mut findings);
    if let Some(body) = sections.server {
        server.cover(raw::layer(body, FileId::Main, &mut findings));
    }
    let pool_place = server.id_pool_count.as_ref().map_or(Place::file(FileId::Main), |count| count.place);
    let server = check::server(&server, &mut findings);
    let mut defaults = raw::built_in::<TenantLayer>(&mut findings);
    if let Some(body) = sections.defaults {
        let own: TenantLayer = raw::layer(body, FileId::Main, &mut findings);
        if let Some(class) = &own.class {
            let finding = Finding::error(class.place, "a class cannot be set for all tenants");
            findings.push(finding.hint("put what it sets under [defaults]"));
        }
        defaults.cover(own);
        defaults.class = None;
    }
    let stranger = check::stranger(&defaults);
    let bases = Bases::new(defaults, &sections.classes, &mut findings);

    let compiling = server
        .as_ref()
        .zip(stranger.as_ref())
        .and_then(|(server, stranger)| kept(Builder::new(server, stranger), &mut findings));
    let mut pass = Pass {
        files: &files,
        bases: &bases,
        roots: Roots::default(),
        compiling,
        wanted,
        explained: None,
        ids: 0,
        findings,
    };
    pass.tenants(&sections.tenants);
    let Pass { roots, compiling, explained, ids, mut findings, .. } = pass;
    if let Some(server) = &server {
        roots.check_together(server, &files, &mut findings);
        check::pool(server, ids, pool_place, &mut findings);
    }

    let compiled = if findings.has_errors() { None } else { compiling.and_then(|all| kept(all.seal(), &mut findings)) };
    match compiled {
        Some(compiled) if !findings.has_errors() => {
            let explained = wanted.zip(explained).map(|(name, whole)| Explained::new(name, &whole, &bases, &files));
            Ok((Loaded { compiled, warnings: findings.report(&files) }, explained))
        }
        Some(_) | None => {
            if !findings.has_errors() {
                findings.push(Finding::error(Place::file(FileId::Main), "a default is missing from the table of keys"));
            }
            Err(findings.report(&files))
        }
    }
}

fn kept<T>(done: Result<T, Failure>, findings: &mut Findings) -> Option<T> {
    done.map_err(|failure| findings.push(Finding::error(Place::file(FileId::Main), failure.to_string()))).ok()
}

/// One tenant before it is read.
enum Source<'s, 'i> {
    Inline(&'s Named<'s, 'i>),
    File(FileId),
}

/// The one pass over all tenants.
struct Pass<'a> {
    files: &'a Files,
    bases: &'a Bases,
    roots: Roots,
    compiling: Option<Builder>,
    wanted: Option<&'a TenantName>,
    explained: Option<TenantLayer>,
    /// Host ids that all of them would take.
    ids: u64,
    findings: Findings,
}

impl Pass<'_> {
    fn tenants(&mut self, inline: &[Named<'_, '_>]) {
        let files = self.files;
        let mut all: Vec<(Cow<'_, str>, Source<'_, '_>)> = inline
            .iter()
            .map(|named| (Cow::Borrowed(named.name.as_ref()), Source::Inline(named)))
            .chain(files.tenants().map(|(file, name)| (name, Source::File(file))))
            .collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut before: Option<(&str, Place)> = None;
        let mut buffer = Vec::new();
        for (name, source) in &all {
            let place = match source {
                Source::Inline(named) => named.place,
                Source::File(file) => Place::file(*file),
            };
            if let Some((_same, first)) = before.filter(|(last, _)| last == name) {
                let finding = Finding::error(place, format!("there are two tenants `{name}`"));
                self.findings.push(finding.hint(format!("the other one is at {}", self.files.where_is(first))));
                continue;
            }
            before = Some((name.as_ref(), place));
            match source {
                Source::Inline(named) => self.tenant(name, place, named.body, FileId::Main),
                Source::File(file) => buffer = self.file(name, place, *file, buffer),
            }
        }
    }

    /// Reads a tenant's own file, into `buffer`; gives it back for the next.
    fn file(&mut self, name: &str, place: Place, file: FileId, buffer: Vec<u8>) -> Vec<u8> {
        let Some(text) = self.files.read_tenant(file, buffer, &mut self.findings) else { return Vec::new() };
        let body = raw::parse(&text, file, &mut self.findings);
        self.tenant(name, place, &body, file);
        drop(body);
        text.into_bytes()
    }

    fn tenant(&mut self, name: &str, place: Place, body: &DeTable<'_>, file: FileId) {
        let own: TenantLayer = raw::layer(body, file, &mut self.findings);
        let mut whole = self.bases.cover_with(own, &mut self.findings);
        let name: TenantName = match name.parse() {
            Ok(name) => name,
            Err(error) => {
                let what = format!("`{name}` cannot be the name of a tenant: {error}");
                return self.findings.push(Finding::error(place, what));
            }
        };
        let explain = self.wanted == Some(&name);
        let checked = check::tenant(name, place, &mut whole, &mut self.roots, self.files, &mut self.findings);
        match checked {
            Some(tenant) => {
                self.ids += u64::from(tenant.jail.ids);
                self.compile(&tenant);
            }
            // Never left out silently: a tenant that cannot be compiled is an error of the whole.
            None => self.compiling = None,
        }
        if explain {
            self.explained = Some(whole);
        }
    }

    fn compile(&mut self, tenant: &Tenant) {
        let names_authorities = |path| self.roots.names_authorities(path);
        let certified = !tenant.trusted_user_ca_keys.is_empty()
            || tenant.authorized_keys.iter().any(|key| key.role != KeyRole::User)
            || tenant.authorized_keys_file.as_deref().is_some_and(names_authorities);
        if let Some(all) = self.compiling.as_mut().filter(|_| certified) {
            all.add_certified();
        }
        if let Some(Err(failure)) = self.compiling.as_mut().map(|all| all.add(tenant)) {
            self.findings.push(Finding::error(Place::file(FileId::Main), failure.to_string()));
        }
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
