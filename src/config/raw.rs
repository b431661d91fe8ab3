//! From TOML text to layers of known keys. Every table and key that is not known is reported with
//! the nearest one that is.

use std::borrow::Cow;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::files::FileId;
use super::finding::{Finding, Findings, Place};
use super::keys::{Fallback, Key, Layer, ServerLayer, TenantLayer};
use super::nearest::nearest;
use super::read::Reader;

/// What stands at the top of the main file.
const SECTIONS: [&str; 4] = ["server", "defaults", "class", "tenant"];

/// Parses `text`. Every syntax error becomes a finding; what could be read is given all the same.
pub(super) fn parse<'i>(text: &'i str, file: FileId, findings: &mut Findings) -> DeTable<'i> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(0..1);
        // An error at the end of the file has no character of its own to point to.
        let span = if span.is_empty() { span.start..span.end.max(1) } else { span };
        findings.push(Finding::error(Place::new(file, &span), error.message()));
    }
    table.into_inner()
}

/// The main file's tables.
#[derive(Debug, Default)]
pub(super) struct Sections<'t, 'i> {
    pub(super) server: Option<&'t DeTable<'i>>,
    pub(super) defaults: Option<&'t DeTable<'i>>,
    pub(super) classes: Vec<Named<'t, 'i>>,
    pub(super) tenants: Vec<Named<'t, 'i>>,
}

/// `[class.NAME]` or `[tenant.NAME]`.
#[derive(Debug)]
pub(super) struct Named<'t, 'i> {
    pub(super) name: &'t Cow<'i, str>,
    /// Where the name stands.
    pub(super) place: Place,
    pub(super) body: &'t DeTable<'i>,
}

/// Divides the main file.
pub(super) fn sections<'t, 'i>(main: &'t DeTable<'i>, findings: &mut Findings) -> Sections<'t, 'i> {
    let mut sections = Sections::default();
    let mut reader = Reader::new(FileId::Main, findings);
    for (name, value) in main {
        let place = reader.place(name);
        let word = name.get_ref().as_ref();
        let Some(table) = value.get_ref().as_table() else {
            let hint = if SECTIONS.contains(&word) { format!("`{word}` is a section") } else { belongs(word) };
            reader.report(Finding::error(place, format!("`{word}` stands outside of every section")).hint(hint));
            continue;
        };
        match word {
            "server" => sections.server = Some(table),
            "defaults" => sections.defaults = Some(table),
            "class" => sections.classes = named("class", table, &mut reader),
            "tenant" => sections.tenants = named("tenant", table, &mut reader),
            other => {
                let hint = nearest(other, SECTIONS.into_iter())
                    .map_or_else(|| belongs(other), |near| format!("did you mean `{near}`?"));
                reader.report(Finding::error(place, format!("unknown section `{other}`")).hint(hint));
            }
        }
    }
    sections
}

fn named<'t, 'i>(section: &str, table: &'t DeTable<'i>, reader: &mut Reader<'_>) -> Vec<Named<'t, 'i>> {
    let mut all = Vec::with_capacity(table.len());
    for (name, value) in table {
        let place = reader.place(name);
        match value.get_ref().as_table() {
            Some(body) => all.push(Named { name: name.get_ref(), place, body }),
            None => {
                let word = name.get_ref();
                let finding = Finding::error(place, format!("`{word}` is set for no {section} in particular"));
                reader.report(finding.hint(format!("write it under [{section}.NAME], or under [defaults] for all")));
            }
        }
    }
    all
}

/// Reads one body: the keys that are known, in their tables.
pub(super) fn layer<L: Layer>(body: &DeTable<'_>, file: FileId, findings: &mut Findings) -> L {
    let mut layer = L::default();
    let mut reader = Reader::new(file, findings);
    for (name, value) in body {
        let word = name.get_ref().as_ref();
        if layer.read("", word, value, &mut reader) {
            continue;
        }
        if !L::KEYS.iter().any(|key| key.table == word) {
            unknown::<L>("", name, &mut reader);
            continue;
        }
        let Some(table) = value.get_ref().as_table() else {
            reader.report(Finding::error(reader.place(value), format!("`{word}` is a table: {word} = {{ … }}")));
            continue;
        };
        for (name, value) in table {
            if !layer.read(word, name.get_ref(), value, &mut reader) {
                unknown::<L>(word, name, &mut reader);
            }
        }
    }
    layer
}

fn unknown<L: Layer>(table: &str, name: &Spanned<Cow<'_, str>>, reader: &mut Reader<'_>) {
    let word = name.get_ref().as_ref();
    let beside = L::KEYS.iter().filter(|key| key.table == table).map(|key| key.name);
    let tables = L::KEYS.iter().map(|key| key.table).filter(|name| table.is_empty() && !name.is_empty());
    let hint = match nearest(word, beside.chain(tables)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => match L::KEYS.iter().find(|key| key.name == word) {
            Some(key) if key.table.is_empty() => format!("`{word}` does not belong into `{table}`"),
            Some(key) => format!("write it as `{}`", key.full_name()),
            None => belongs(word),
        },
    };
    let full = if table.is_empty() { word.to_owned() } else { format!("{table}.{word}") };
    reader.report(Finding::error(reader.place(name), format!("unknown key `{full}`")).hint(hint));
}

/// Where a key that stands in the wrong place belongs.
fn belongs(word: &str) -> String {
    let known = |keys: &[Key]| keys.iter().any(|key| key.name == word || key.table == word);
    match (known(ServerLayer::KEYS), known(TenantLayer::KEYS)) {
        (true, false) => format!("`{word}` belongs under [server]"),
        (false, true) => format!("`{word}` belongs under [defaults], [class.NAME] or [tenant.NAME]"),
        (true, true) | (false, false) => "docs/config.md lists all keys".to_owned(),
    }
}

/// The layer under all others: the defaults of the table, read as if someone had written them.
pub(super) fn built_in<L: Layer>(findings: &mut Findings) -> L {
    let mut layer = L::default();
    let mut reader = Reader::new(FileId::BuiltIn, findings);
    for key in L::KEYS {
        if let Fallback::Toml(text) = key.fallback {
            match DeValue::parse(text) {
                Ok(value) => {
                    layer.read(key.table, key.name, &value, &mut reader);
                }
                Err(error) => reader.report(Finding::error(Place::file(FileId::BuiltIn), error.message())),
            }
        }
    }
    layer
}
