//! Values that a jail is made of.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::DeValue;

use super::{MAX_LIST, Reader, Value};
use crate::base::Cores;
use crate::config::capabilities;
use crate::config::finding::Finding;
use crate::config::nearest::nearest;
use crate::config::permit::{List, Permit};
use crate::config::settings::{Allow, CallSet, Linger, Network, Root};
use crate::config::show::{Capabilities, Umask, Variables, call_set, word};
use crate::sys::landlock;

/// Longest that a cell can linger by a time; who wants more wants `"forever"`.
const MAX_LINGER: u64 = 365 * 86_400;

/// HOST_NAME_MAX (gethostname(2)).
const MAX_HOSTNAME: usize = 64;

impl Reader<'_> {
    pub(in crate::config) fn umask(&mut self, value: Value<'_, '_>) -> Option<Umask> {
        const WHAT: &str = "octal digits as text, as in \"027\"";
        let text = self.text(value, WHAT)?;
        let digits = text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
        match u32::from_str_radix(text, 8).ok().filter(|mask| digits && *mask <= 0o777) {
            Some(mask) => Some(Umask(mask)),
            None => self.error(value, format!("expected {WHAT}")),
        }
    }

    pub(in crate::config) fn cores(&mut self, value: Value<'_, '_>) -> Option<Cores> {
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

    pub(in crate::config) fn linger(&mut self, value: Value<'_, '_>) -> Option<Linger> {
        if value.get_ref().as_str() == Some("forever") {
            return Some(Linger::Forever);
        }
        self.duration(value, 0..=MAX_LINGER).map(Linger::For)
    }

    pub(in crate::config) fn hostname(&mut self, value: Value<'_, '_>) -> Option<String> {
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

    pub(in crate::config) fn root(&mut self, value: Value<'_, '_>) -> Option<Root> {
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

    pub(in crate::config) fn network(&mut self, value: Value<'_, '_>) -> Option<Network> {
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

    pub(in crate::config) fn allow(&mut self, value: Value<'_, '_>) -> Option<BTreeSet<Allow>> {
        let words = Allow::ALL.map(|allow| (word(allow), allow));
        self.list(value, "a list of words", |reader, value| reader.word(value, &words))
            .map(|list| list.into_iter().collect())
    }

    pub(in crate::config) fn permit(&mut self, value: Value<'_, '_>, list: List) -> Option<Permit> {
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

    pub(in crate::config) fn call_sets(&mut self, value: Value<'_, '_>) -> Option<BTreeSet<CallSet>> {
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

    pub(in crate::config) fn variables(&mut self, value: Value<'_, '_>) -> Option<Variables> {
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

    pub(in crate::config) fn capabilities(&mut self, value: Value<'_, '_>) -> Option<Capabilities> {
        let bits = self.list(value, "a list of names", |reader, value| {
            let name = reader.text(value, "the name of a capability")?;
            capabilities::bit(name)
                .map_err(|against| {
                    let finding = Finding::error(reader.place(value), format!("{name} cannot be had: {against}"));
                    let near = nearest(name, capabilities::allowed());
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
