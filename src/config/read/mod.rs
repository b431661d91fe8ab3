//! From TOML values to typed ones. Each reader method takes one value and gives it typed, or
//! reports why not; none looks at anything but the value. What is read for one part of
//! [`settings`](super::settings) only stands in a file of that part's name.

mod jail;
mod server;
mod tenant;

use std::{
    ops::RangeInclusive,
    path::{Component, Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use toml::{Spanned, de::DeValue};

use super::files::FileId;
use super::finding::{Finding, Findings, Place};
use crate::base::{Block, Bytes, Span};

/// Entries of one list: more keys or patterns would be a mistake, and every login walks the list.
const MAX_LIST: usize = 1000;

/// One text: the kernel's bound on a path, which is far more than a command line needs.
const MAX_TEXT: usize = 4096;

type Value<'v, 'i> = &'v Spanned<DeValue<'i>>;

/// Reads values of one file.
#[derive(Debug)]
pub(super) struct Reader<'f> {
    file: FileId,
    findings: &'f mut Findings,
}

impl<'f> Reader<'f> {
    pub(super) fn new(file: FileId, findings: &'f mut Findings) -> Self {
        Self { file, findings }
    }

    /// Where `spanned` stands.
    pub(super) fn place<T>(&self, spanned: &Spanned<T>) -> Place {
        Place::new(self.file, &spanned.span())
    }

    pub(super) fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn error<T>(&mut self, value: Value<'_, '_>, message: impl Into<String>) -> Option<T> {
        self.report(Finding::error(self.place(value), message));
        None
    }

    fn expected<T>(&mut self, value: Value<'_, '_>, what: &str) -> Option<T> {
        let found = match value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.error(value, format!("expected {what}, found {found}"))
    }

    fn text<'v>(&mut self, value: Value<'v, '_>, what: &str) -> Option<&'v str> {
        let Some(text) = value.get_ref().as_str() else { return self.expected(value, what) };
        if text.len() > MAX_TEXT {
            return self.error(value, format!("a text has at most {MAX_TEXT} bytes here"));
        }
        if text.chars().any(char::is_control) {
            return self.error(value, "a text holds no control characters");
        }
        Some(text)
    }

    fn parsed<T: FromStr<Err: ToString>>(&mut self, value: Value<'_, '_>, what: &str) -> Option<T> {
        match self.text(value, what)?.parse() {
            Ok(parsed) => Some(parsed),
            Err(error) => self.error(value, error.to_string()),
        }
    }

    /// Every entry that can be read; what cannot is reported, and then there is no list.
    fn list<T>(
        &mut self,
        value: Value<'_, '_>,
        what: &str,
        mut entry: impl FnMut(&mut Self, Value<'_, '_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Some(entries) = value.get_ref().as_array() else { return self.expected(value, what) };
        if entries.len() > MAX_LIST {
            return self.error(value, format!("a list has at most {MAX_LIST} entries"));
        }
        let read: Vec<Option<T>> = entries.iter().map(|value| entry(self, value)).collect();
        read.into_iter().collect()
    }

    pub(super) fn flag(&mut self, value: Value<'_, '_>) -> Option<bool> {
        value.get_ref().as_bool().or_else(|| self.expected(value, "true or false"))
    }

    pub(super) fn number<T: TryFrom<u64>>(&mut self, value: Value<'_, '_>, range: RangeInclusive<u64>) -> Option<T> {
        let Some(number) = value.get_ref().as_integer() else { return self.expected(value, "a number") };
        u64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .or_else(|| self.error(value, format!("expected a number from {} to {}", range.start(), range.end())))
    }

    pub(super) fn word<T: Copy>(&mut self, value: Value<'_, '_>, words: &[(&str, T)]) -> Option<T> {
        let what = words.iter().map(|(word, _meaning)| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
        let text = self.text(value, &what)?;
        match words.iter().find(|(word, _meaning)| *word == text) {
            Some((_word, meaning)) => Some(*meaning),
            None => self.error(value, format!("expected {what}")),
        }
    }

    pub(super) fn size(&mut self, value: Value<'_, '_>) -> Option<Bytes> {
        self.parsed(value, "a size as in \"64M\"")
    }

    pub(super) fn size_from(&mut self, value: Value<'_, '_>, least: Bytes) -> Option<Bytes> {
        let size = self.size(value)?;
        if size < least { self.error(value, format!("expected a size of at least {least}")) } else { Some(size) }
    }

    pub(super) fn duration(&mut self, value: Value<'_, '_>, seconds: RangeInclusive<u64>) -> Option<Duration> {
        let Span(time) = self.parsed(value, "a time as in \"120s\"")?;
        if seconds.contains(&time.as_secs()) && time <= Duration::from_secs(*seconds.end()) {
            return Some(time);
        }
        let [least, most] = [seconds.start(), seconds.end()].map(|n| Span(Duration::from_secs(*n)));
        self.error(value, format!("expected a time from {least} to {most}"))
    }

    pub(super) fn path(&mut self, value: Value<'_, '_>) -> Option<PathBuf> {
        self.inner_path(value).map(PathBuf::from)
    }

    /// An absolute path as seen in the cell; one of the host's follows the same rules.
    pub(super) fn inner_path(&mut self, value: Value<'_, '_>) -> Option<String> {
        let text = self.text(value, "an absolute path")?;
        let path = Path::new(text);
        if !path.is_absolute() {
            return self.error(value, "a path is absolute here: it starts with /");
        }
        if path.components().any(|part| matches!(part, Component::ParentDir)) {
            return self.error(value, "a path holds no \"..\" here");
        }
        Some(text.to_owned())
    }

    pub(super) fn paths(&mut self, value: Value<'_, '_>) -> Option<Vec<PathBuf>> {
        self.list(value, "a list of paths", Self::path)
    }

    pub(super) fn blocks(&mut self, value: Value<'_, '_>) -> Option<Vec<Block>> {
        self.list(value, "a list of addresses and networks", |reader, value| {
            reader.parsed(value, "an address or a network as in \"192.0.2.0/24\"")
        })
    }

    pub(super) fn command(&mut self, value: Value<'_, '_>) -> Option<String> {
        let text = self.text(value, "a command")?;
        if text.trim().is_empty() { self.error(value, "the command is empty") } else { Some(text.to_owned()) }
    }

    pub(super) fn patterns(&mut self, value: Value<'_, '_>) -> Option<Vec<String>> {
        self.list(value, "a list of patterns", |reader, value| {
            let text = reader.text(value, "a pattern")?;
            let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'*' | b'?');
            if text.is_empty() || !text.bytes().all(good) {
                return reader.error(value, "a pattern holds letters, digits, _, * and ?");
            }
            Some(text.to_owned())
        })
    }
}
