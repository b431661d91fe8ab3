//! Values of `[server]`.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use super::{Reader, Value};
use crate::base::{Bytes, Span};
use crate::config::finding::Finding;
use crate::config::settings::{MaxStartups, RekeyLimit};

/// Bytes between two key exchanges: less would be nothing but key exchanges …
const LEAST_REKEY: Bytes = Bytes(1 << 20);
/// … and more comes near the end of the ciphers' counters (RFC 4344, 3.1; the library refuses it).
const MOST_REKEY: Bytes = Bytes(1 << 30);
/// The same for the time.
const LEAST_REKEY_TIME: Duration = Duration::from_secs(60);
const MOST_REKEY_TIME: Duration = Duration::from_secs(86_400);

impl Reader<'_> {
    pub(in crate::config) fn addresses(&mut self, value: Value<'_, '_>) -> Option<Vec<SocketAddr>> {
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

    pub(in crate::config) fn rekey_limit(&mut self, value: Value<'_, '_>) -> Option<RekeyLimit> {
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

    pub(in crate::config) fn account(&mut self, value: Value<'_, '_>) -> Option<String> {
        let text = self.text(value, "the name of an account")?;
        if text.is_empty() || text == "root" {
            return self.error(value, "expected an account other than root");
        }
        Some(text.to_owned())
    }

    pub(in crate::config) fn group(&mut self, value: Value<'_, '_>) -> Option<String> {
        let text = self.text(value, "the name of a group")?;
        if text.is_empty() || text == "root" {
            return self.error(value, "expected a group other than root");
        }
        Some(text.to_owned())
    }

    pub(in crate::config) fn max_startups(&mut self, value: Value<'_, '_>) -> Option<MaxStartups> {
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
}
