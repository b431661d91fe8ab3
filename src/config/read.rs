//! From TOML values to typed ones. Each reader method takes one value and gives it typed, or
//! reports why not; none looks at anything but the value.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Component, Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use toml::{Spanned, de::DeValue};

use super::authorized_keys::{KeyLineError, parse_authority, parse_line, remark};
use super::capabilities;
use super::files::FileId;
use super::finding::{Finding, Findings, Place};
use super::password_hash::{BadHash, PasswordHash};
use super::permit::{List, Permit};
use super::settings::{Allow, AuthorizedKey, CallSet, Linger, MaxStartups, Network, RekeyLimit, Root};
use super::show::{Capabilities, KeyLine, Umask, Variables, Ways, call_set, word};
use crate::base::hours::Hours;
use crate::base::{Block, Bytes, ClassName, Cores, Span};
use crate::sys::{landlock, zone};
use crate::wire::login::Method;

/// Entries of one list: more keys or patterns would be a mistake, and every login walks the list.
const MAX_LIST: usize = 1000;

/// One text: the kernel's bound on a path, which is far more than a command line needs.
const MAX_TEXT: usize = 4096;

/// Longest that a cell can linger by a time; who wants more wants `"forever"`.
const MAX_LINGER: u64 = 365 * 86_400;

/// HOST_NAME_MAX (gethostname(2)).
const MAX_HOSTNAME: usize = 64;

/// Longest name of a PAM service: longer than any that there is.
const MAX_SERVICE: usize = 64;

/// Bytes between two key exchanges: less would be nothing but key exchanges …
const LEAST_REKEY: Bytes = Bytes(1 << 20);
/// … and more comes near the end of the ciphers' counters (RFC 4344, 3.1; the library refuses it).
const MOST_REKEY: Bytes = Bytes(1 << 30);
/// The same for the time.
const LEAST_REKEY_TIME: Duration = Duration::from_secs(60);
const MOST_REKEY_TIME: Duration = Duration::from_secs(86_400);

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

    pub(super) fn umask(&mut self, value: Value<'_, '_>) -> Option<Umask> {
        const WHAT: &str = "octal digits as text, as in \"027\"";
        let text = self.text(value, WHAT)?;
        let digits = text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
        match u32::from_str_radix(text, 8).ok().filter(|mask| digits && *mask <= 0o777) {
            Some(mask) => Some(Umask(mask)),
            None => self.error(value, format!("expected {WHAT}")),
        }
    }

    pub(super) fn size(&mut self, value: Value<'_, '_>) -> Option<Bytes> {
        self.parsed(value, "a size as in \"64M\"")
    }

    pub(super) fn size_from(&mut self, value: Value<'_, '_>, least: Bytes) -> Option<Bytes> {
        let size = self.size(value)?;
        if size < least { self.error(value, format!("expected a size of at least {least}")) } else { Some(size) }
    }

    pub(super) fn cores(&mut self, value: Value<'_, '_>) -> Option<Cores> {
        let text = match value.get_ref() {
            DeValue::Float(number) => number.as_str(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => return self.expected(value, "a number of processors, as in 0.5"),
        };
        match text.parse() {
            Ok(cores) => Some(cores),
            Err(error) => self.error(value, error.to_string()),
        }
    }

    pub(super) fn duration(&mut self, value: Value<'_, '_>, seconds: RangeInclusive<u64>) -> Option<Duration> {
        let Span(time) = self.parsed(value, "a time as in \"120s\"")?;
        if seconds.contains(&time.as_secs()) && time <= Duration::from_secs(*seconds.end()) {
            return Some(time);
        }
        let [least, most] = [seconds.start(), seconds.end()].map(|n| Span(Duration::from_secs(*n)));
        self.error(value, format!("expected a time from {least} to {most}"))
    }

    pub(super) fn linger(&mut self, value: Value<'_, '_>) -> Option<Linger> {
        if value.get_ref().as_str() == Some("forever") {
            return Some(Linger::Forever);
        }
        self.duration(value, 0..=MAX_LINGER).map(Linger::For)
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

    pub(super) fn addresses(&mut self, value: Value<'_, '_>) -> Option<Vec<SocketAddr>> {
        let mut seen = BTreeSet::new();
        let list = self.list(value, "a list of addresses", |reader, value| {
            let text = reader.text(value, "an address as in \"0.0.0.0:22\"")?;
            let Ok(address) = text.parse::<SocketAddr>() else {
                let finding = Finding::error(reader.place(value), "expected an IP address and a port");
                reader.report(finding.hint("write it as \"192.0.2.1:22\" or \"[2001:db8::1]:22\""));
                return None;
            };
            if !seen.insert(address) {
                return reader.error(value, format!("{address} is listed twice"));
            }
            Some(address)
        })?;
        if list.is_empty() { self.error(value, "there is no address to listen on") } else { Some(list) }
    }

    pub(super) fn hours(&mut self, value: Value<'_, '_>) -> Option<Vec<Hours>> {
        let hours = self.list(value, "a list of hours", |reader, value| {
            reader.parsed(value, "hours as in \"Mo-Fr 08:00-18:00\"")
        })?;
        if hours.is_empty() {
            self.error(value, "these hours are never; set `locked = true` if that is meant")
        } else {
            Some(hours)
        }
    }

    pub(super) fn time_zone(&mut self, value: Value<'_, '_>) -> Option<String> {
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

    pub(super) fn rekey_limit(&mut self, value: Value<'_, '_>) -> Option<RekeyLimit> {
        let text = self.text(value, "a size and a time as in \"1G 1h\"")?;
        let read = text.split_once(' ').and_then(|(bytes, time)| {
            Some(RekeyLimit { bytes: bytes.parse().ok()?, time: time.parse::<Span>().ok()?.0 })
        });
        match read {
            Some(limit)
                if (LEAST_REKEY..=MOST_REKEY).contains(&limit.bytes)
                    && (LEAST_REKEY_TIME..=MOST_REKEY_TIME).contains(&limit.time) =>
            {
                Some(limit)
            }
            Some(_) | None => {
                let message = format!(
                    "expected a size from {LEAST_REKEY} to {MOST_REKEY} and a time from {} to {}",
                    Span(LEAST_REKEY_TIME),
                    Span(MOST_REKEY_TIME)
                );
                let finding = Finding::error(self.place(value), message);
                self.report(finding.hint("write both, as in \"1G 1h\""));
                None
            }
        }
    }

    pub(super) fn blocks(&mut self, value: Value<'_, '_>) -> Option<Vec<Block>> {
        self.list(value, "a list of addresses and networks", |reader, value| {
            reader.parsed(value, "an address or a network as in \"192.0.2.0/24\"")
        })
    }

    pub(super) fn account(&mut self, value: Value<'_, '_>) -> Option<String> {
        let text = self.text(value, "the name of an account")?;
        if text.is_empty() || text == "root" {
            return self.error(value, "expected an account other than root");
        }
        Some(text.to_owned())
    }

    pub(super) fn group(&mut self, value: Value<'_, '_>) -> Option<String> {
        let text = self.text(value, "the name of a group")?;
        if text.is_empty() || text == "root" {
            return self.error(value, "expected a group other than root");
        }
        Some(text.to_owned())
    }

    pub(super) fn max_startups(&mut self, value: Value<'_, '_>) -> Option<MaxStartups> {
        let text = self.text(value, "\"start:rate:full\"")?;
        let mut fields = text.split(':').map(|field| field.parse::<u32>().ok());
        let read = match (fields.next().flatten(), fields.next(), fields.next(), fields.next()) {
            (Some(full), None, None, None) => Some(MaxStartups { begin: full, rate: 100, full }),
            (Some(begin), Some(Some(rate)), Some(Some(full)), None) => {
                u8::try_from(rate).ok().map(|rate| MaxStartups { begin, rate, full })
            }
            _ => None,
        };
        match read {
            Some(limits) if limits.begin >= 1 && limits.begin <= limits.full && (1..=100).contains(&limits.rate) => {
                Some(limits)
            }
            Some(_) | None => {
                let finding = Finding::error(self.place(value), "expected three numbers, start:rate:full");
                self.report(finding.hint("start is 1 to full, rate 1 to 100 percent, as in \"10:30:100\""));
                None
            }
        }
    }

    pub(super) fn class(&mut self, value: Value<'_, '_>) -> Option<ClassName> {
        self.parsed(value, "the name of a class")
    }

    pub(super) fn hostname(&mut self, value: Value<'_, '_>) -> Option<String> {
        let text = self.text(value, "a host name")?;
        let good = |label: &str| {
            let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
        };
        if text.len() > MAX_HOSTNAME || !text.split('.').all(good) {
            return self.error(value, "a host name has at most 64 letters, digits, inner hyphens and dots");
        }
        Some(text.to_owned())
    }

    pub(super) fn root(&mut self, value: Value<'_, '_>) -> Option<Root> {
        if value.get_ref().as_str() == Some("host") {
            return Some(Root::Host);
        }
        let Some(text) = value.get_ref().as_str().filter(|text| text.starts_with('/')) else {
            return self.error(value, "expected \"host\" or an absolute path");
        };
        if text.split('/').all(str::is_empty) {
            let finding = Finding::error(self.place(value), "the host's own / cannot be a tenant's root");
            self.report(finding.hint("root = \"host\" gives a safe view of it"));
            return None;
        }
        // Two spellings of one directory must be seen to be one.
        self.path(value).map(|path| Root::Directory(path.components().collect()))
    }

    pub(super) fn network(&mut self, value: Value<'_, '_>) -> Option<Network> {
        let network = self.word(value, &[("none", Network::None), ("host", Network::Host)])?;
        if network == Network::Host {
            let scoped = landlock::version() >= landlock::SCOPES;
            let (leak, remedy) = if scoped {
                ("", "")
            } else {
                (" and on abstract sockets", "; Linux 6.12 keeps abstract sockets apart")
            };
            let finding = Finding::warning(
                self.place(value),
                format!(
                    "the host's network is shared: the tenant reaches every service of this host, those on \
                     127.0.0.1{leak} included, and can listen on its addresses"
                ),
            );
            self.report(finding.hint(format!("network = \"none\" gives loopback of its own{remedy}")));
        }
        Some(network)
    }

    pub(super) fn key_lines(&mut self, value: Value<'_, '_>) -> Option<Vec<KeyLine>> {
        self.lines(value, parse_line)
    }

    /// A program with arguments, divided at blanks: no shell sees it.
    pub(super) fn key_command(&mut self, value: Value<'_, '_>) -> Option<Vec<String>> {
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

    pub(super) fn authorities(&mut self, value: Value<'_, '_>) -> Option<Vec<KeyLine>> {
        self.lines(value, parse_authority)
    }

    pub(super) fn principals(&mut self, value: Value<'_, '_>) -> Option<Vec<String>> {
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

    pub(super) fn ways(&mut self, value: Value<'_, '_>) -> Option<Ways> {
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

    pub(super) fn password(&mut self, value: Value<'_, '_>) -> Option<PasswordHash> {
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

    pub(super) fn pam_service(&mut self, value: Value<'_, '_>) -> Option<String> {
        let text = self.text(value, "the name of a service")?;
        // libpam makes letters small, and takes what follows the last slash.
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
        if text.is_empty() || text.len() > MAX_SERVICE || text.starts_with('.') || !text.bytes().all(good) {
            return self.error(value, "a PAM service is a file name in /etc/pam.d, of a-z, 0-9, -, _ and .");
        }
        Some(text.to_owned())
    }

    pub(super) fn allow(&mut self, value: Value<'_, '_>) -> Option<BTreeSet<Allow>> {
        let words = Allow::ALL.map(|allow| (word(allow), allow));
        self.list(value, "a list of words", |reader, value| reader.word(value, &words))
            .map(|list| list.into_iter().collect())
    }

    pub(super) fn permit(&mut self, value: Value<'_, '_>, list: List) -> Option<Permit> {
        let read = self.list(value, "a list of hosts and ports", |reader, value| {
            match reader.text(value, "a host and a port")? {
                "any" => Some(Permit::Any),
                "none" => Some(Permit::Only(Vec::new())),
                text => match list.entry(text) {
                    Ok(entry) => Some(Permit::Only(vec![entry])),
                    Err(why) => {
                        reader.report(Finding::error(reader.place(value), why.to_string()).hint(list.form()));
                        None
                    }
                },
            }
        })?;
        if let [only] = read.as_slice() {
            return Some(only.clone());
        }
        let mut entries = Vec::new();
        for entry in &read {
            match entry {
                Permit::Only(one) if !one.is_empty() => entries.extend_from_slice(one),
                Permit::Only(_) | Permit::Any => return self.error(value, "\"any\" and \"none\" stand alone"),
            }
        }
        if entries.is_empty() {
            let finding = Finding::error(self.place(value), "the list is empty");
            self.report(finding.hint("[\"none\"] allows nothing, [\"any\"] everything"));
            return None;
        }
        Some(Permit::Only(entries))
    }

    pub(super) fn call_sets(&mut self, value: Value<'_, '_>) -> Option<BTreeSet<CallSet>> {
        let words = CallSet::ALL.map(|set| (call_set(set), set));
        let sets: BTreeSet<_> = self
            .list(value, "a list of words", |reader, value| {
                let set = reader.word(value, &words)?;
                let finding = Finding::warning(reader.place(value), given_away(set));
                reader.report(finding.hint("give it to classes whose tenants need it, and to no others"));
                Some(set)
            })?
            .into_iter()
            .collect();
        if sets.contains(&CallSet::Fuse) && !sets.contains(&CallSet::Nesting) {
            let finding = Finding::error(
                self.place(value),
                "`fuse` does nothing alone: the kernel takes such a mount in a user namespace of the tenant's own only",
            );
            self.report(finding.hint("syscalls = [\"fuse\", \"nesting\"]"));
            return None;
        }
        Some(sets)
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

    pub(super) fn variables(&mut self, value: Value<'_, '_>) -> Option<Variables> {
        let Some(table) = value.get_ref().as_table() else { return self.expected(value, "a table") };
        if table.len() > MAX_LIST {
            return self.error(value, format!("a table has at most {MAX_LIST} entries"));
        }
        let mut variables = BTreeMap::new();
        for (name, value) in table {
            let text = self.text(value, "a text")?;
            let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            if name.get_ref().is_empty() || !name.get_ref().bytes().all(letter) {
                let place = self.place(name);
                self.report(Finding::error(place, "the name of a variable holds letters, digits and _"));
                return None;
            }
            variables.insert(name.get_ref().to_string(), (text.to_owned(), self.place(value)));
        }
        Some(Variables(variables))
    }

    pub(super) fn capabilities(&mut self, value: Value<'_, '_>) -> Option<Capabilities> {
        let bits = self.list(value, "a list of names", |reader, value| {
            let name = reader.text(value, "the name of a capability")?;
            capabilities::bit(name)
                .map_err(|against| {
                    let finding = Finding::error(reader.place(value), format!("{name} cannot be had: {against}"));
                    let near = super::nearest::nearest(name, capabilities::allowed());
                    reader.report(finding.maybe_hint(near.map(|near| format!("did you mean {near}?"))));
                })
                .ok()
        })?;
        Some(Capabilities(bits.into_iter().fold(0, |all, bit| all | bit)))
    }
}

/// What a set gives away, for whoever switches it on.
const fn given_away(set: CallSet) -> &'static str {
    match set {
        CallSet::Debug => "`debug` lets each of the tenant's programs read and steer all of the tenant's others",
        CallSet::Fuse => {
            "`fuse` opens a file system of the kernel to answers that the tenant makes up, and lets programs of the \
             cell hang on files"
        }
        CallSet::IoUring => {
            "`io_uring` is a second way into the kernel that no filter sees: with it the tenant has sockets of every \
             family, and code that has had many holes"
        }
        CallSet::Nesting => {
            "`nesting` makes the tenant root of namespaces inside the cell, which opens mount, firewall and routing \
             code of the kernel: most of the known ways out begin there"
        }
        CallSet::Ping => "`ping` lets the tenant send ICMP echo requests to whatever the cell's network reaches",
    }
}
