//! Values that say who logs in, when, and to do what.

use super::{Reader, Value};
use crate::base::ClassName;
use crate::base::hours::Hours;
use crate::config::authorized_keys::{KeyLineError, parse_authority, parse_line, remark};
use crate::config::finding::Finding;
use crate::config::password_hash::{BadHash, PasswordHash};
use crate::config::settings::AuthorizedKey;
use crate::config::show::{KeyLine, Ways};
use crate::sys::zone;
use crate::wire::login::Method;

/// Longest name of a PAM service: longer than any that there is.
const MAX_SERVICE: usize = 64;

impl Reader<'_> {
    pub(in crate::config) fn hours(&mut self, value: Value<'_, '_>) -> Option<Vec<Hours>> {
        let hours = self.list(value, "a list of hours", |reader, value| {
            reader.parsed(value, "hours as in \"Mo-Fr 08:00-18:00\"")
        })?;
        if hours.is_empty() {
            self.error(value, "these hours are never; set `locked = true` if that is meant")
        } else {
            Some(hours)
        }
    }

    pub(in crate::config) fn time_zone(&mut self, value: Value<'_, '_>) -> Option<String> {
        let name = self.text(value, "the name of a time zone")?;
        match zone::named(name) {
            Ok(_zone) => Some(name.to_owned()),
            Err(why) => {
                let finding = Finding::error(self.place(value), format!("there is no such time zone here: {why}"));
                self.report(finding.hint("`timedatectl list-timezones` lists them; they come with the package tzdata"));
                None
            }
        }
    }

    pub(in crate::config) fn class(&mut self, value: Value<'_, '_>) -> Option<ClassName> {
        self.parsed(value, "the name of a class")
    }

    pub(in crate::config) fn key_lines(&mut self, value: Value<'_, '_>) -> Option<Vec<KeyLine>> {
        self.lines(value, parse_line)
    }

    /// A program with arguments, divided at blanks: no shell sees it.
    pub(in crate::config) fn key_command(&mut self, value: Value<'_, '_>) -> Option<Vec<String>> {
        let text = self.text(value, "a command line")?;
        if text.contains(['"', '\'', '\\']) {
            return self.error(value, "the command line is divided at blanks and knows no quotes");
        }
        let words: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
        if !words.first().is_some_and(|program| program.starts_with('/') && !program.contains('%')) {
            return self.error(value, "the command line begins with the absolute path of a program");
        }
        for word in &words {
            let mut rest = word.as_str();
            while let Some((_before, after)) = rest.split_once('%') {
                if !after.starts_with(['u', 'k', 't', 'f', '%']) {
                    let token: String = after.chars().take(1).collect();
                    let finding = Finding::error(self.place(value), format!("there is no token `%{token}` here"));
                    self.report(finding.hint("%u, %k, %t, %f and %% are known"));
                    return None;
                }
                rest = after.get(1..).unwrap_or_default();
            }
        }
        Some(words)
    }

    pub(in crate::config) fn authorities(&mut self, value: Value<'_, '_>) -> Option<Vec<KeyLine>> {
        self.lines(value, parse_authority)
    }

    pub(in crate::config) fn principals(&mut self, value: Value<'_, '_>) -> Option<Vec<String>> {
        self.list(value, "a list of names", |reader, value| {
            let text = reader.text(value, "a name")?;
            if text.is_empty() || text.contains(',') {
                let finding = Finding::error(reader.place(value), "a principal is one name, without commas");
                reader.report(finding.hint("write a list of them as [\"alice\", \"admins\"]"));
                return None;
            }
            Some(text.to_owned())
        })
    }

    fn lines(
        &mut self,
        value: Value<'_, '_>,
        parse: fn(&str) -> Result<Option<AuthorizedKey>, KeyLineError>,
    ) -> Option<Vec<KeyLine>> {
        let lines = self.list(value, "a list of lines", |reader, value| {
            let Some(line) = value.get_ref().as_str() else { return reader.expected(value, "a line") };
            match parse(line) {
                Ok(key) => Some(key.map(|key| {
                    if let Some((message, hint)) = remark(&key) {
                        let finding = Finding::warning(reader.place(value), message);
                        reader.report(finding.hint(hint));
                    }
                    KeyLine { line: line.to_owned(), key }
                })),
                Err(error) => {
                    let finding = Finding::error(reader.place(value), error.to_string());
                    reader.report(finding.maybe_hint(error.advice().map(str::to_owned)));
                    None
                }
            }
        })?;
        Some(lines.into_iter().flatten().collect())
    }

    pub(in crate::config) fn ways(&mut self, value: Value<'_, '_>) -> Option<Ways> {
        let words = Method::ALL.map(|method| (method.name(), method));
        let ways = self.list(value, "a list of sequences of methods", |reader, value| {
            let text = reader.text(value, "a sequence of methods")?;
            let mut way = Vec::new();
            for word in text.split('+') {
                let Some((_word, method)) = words.iter().find(|(name, _)| *name == word) else {
                    let known = words.map(|(name, _)| format!("\"{name}\"")).join(" or ");
                    return reader.error(value, format!("a sequence holds {known}, joined by +"));
                };
                if way.contains(method) {
                    return reader.error(value, format!("{word} is there twice: each method counts once"));
                }
                way.push(*method);
            }
            Some(way)
        })?;
        if ways.is_empty() { self.error(value, "with no sequence, nobody could log in") } else { Some(Ways(ways)) }
    }

    pub(in crate::config) fn password(&mut self, value: Value<'_, '_>) -> Option<PasswordHash> {
        let text = self.text(value, "a password hash")?;
        match text.parse() {
            Ok(hash) => Some(hash),
            Err(why) => {
                let hint = match why {
                    BadHash::Form | BadHash::Scheme | BadHash::Malformed => {
                        "`cellblock passwd` makes one; \"!\" stands for a password that never matches"
                    }
                    BadHash::TooDear => "`cellblock passwd` makes one that costs 19M and some hundredths of a second",
                };
                self.report(Finding::error(self.place(value), why.to_string()).hint(hint));
                None
            }
        }
    }

    pub(in crate::config) fn pam_service(&mut self, value: Value<'_, '_>) -> Option<String> {
        let text = self.text(value, "the name of a service")?;
        // libpam makes letters small, and takes what follows the last slash.
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
        if text.is_empty() || text.len() > MAX_SERVICE || text.starts_with('.') || !text.bytes().all(good) {
            return self.error(value, "a PAM service is a file name in /etc/pam.d, of a-z, 0-9, -, _ and .");
        }
        Some(text.to_owned())
    }
}
