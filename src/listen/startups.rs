//! Who is let in at all: how many connections there may be, in all, from one address or block, and
//! without a login. Pure counting.

use std::{collections::HashMap, fmt};

use crate::base::Block;
use crate::config::settings::{MaxStartups, Server};

/// Why a connection is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// `max_connections`.
    Connections,
    /// `max_connections_per_source`.
    Source,
    /// `max_startups`, for certain or by the draw.
    Startups,
}

impl Full {
    /// For the audit file.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Connections => "max_connections",
            Self::Source => "max_connections_per_source",
            Self::Startups => "max_startups",
        }
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

/// Live connections, counted.
#[derive(Debug, Default)]
pub(super) struct Counts {
    connections: u32,
    startups: u32,
    by_source: HashMap<Block, u32>,
}

impl Counts {
    /// Whether one more from `source` may come in. `draw` is a fresh random number.
    pub(super) fn judge(&self, server: &Server, source: Block, draw: u32) -> Result<(), Full> {
        if self.connections >= server.max_connections {
            return Err(Full::Connections);
        }
        let of_source = self.by_source.get(&source).copied().unwrap_or(0);
        if of_source >= server.max_connections_per_source {
            return Err(Full::Source);
        }
        if draw % 100 < drop_percent(server.max_startups, self.startups) {
            return Err(Full::Startups);
        }
        Ok(())
    }

    /// One more, not logged in yet.
    pub(super) fn add(&mut self, source: Block) {
        self.connections = self.connections.saturating_add(1);
        self.startups = self.startups.saturating_add(1);
        let of_source = self.by_source.entry(source).or_insert(0);
        *of_source = of_source.saturating_add(1);
    }

    /// One of them logged in, or never will.
    pub(super) fn started(&mut self) {
        self.startups = self.startups.saturating_sub(1);
    }

    /// One of them ended.
    pub(super) fn remove(&mut self, source: Block, has_started: bool) {
        self.connections = self.connections.saturating_sub(1);
        if !has_started {
            self.startups = self.startups.saturating_sub(1);
        }
        if let Some(of_source) = self.by_source.get_mut(&source) {
            *of_source = of_source.saturating_sub(1);
            if *of_source == 0 {
                self.by_source.remove(&source);
            }
        }
    }
}

/// OpenSSH's `should_drop_connection`: how many in a hundred to turn away with `startups` there.
pub(super) fn drop_percent(limit: MaxStartups, startups: u32) -> u32 {
    let rate = u32::from(limit.rate);
    if startups < limit.begin {
        return 0;
    }
    if startups >= limit.full || rate >= 100 {
        return 100;
    }
    let rise = u64::from(100 - rate) * u64::from(startups - limit.begin) / u64::from(limit.full - limit.begin);
    u32::try_from(rise).unwrap_or(100).saturating_add(rate)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::base::Bytes;
    use crate::config::settings::{IdPool, Penalties, RekeyLimit};
    use std::{path::PathBuf, time::Duration};

    #[test]
    fn startups_are_turned_away_as_by_sshd() {
        let limit = MaxStartups { begin: 10, rate: 30, full: 100 };
        let expected = [(0, 0), (9, 0), (10, 30), (11, 30), (55, 65), (99, 99), (100, 100), (5000, 100)];
        for (startups, percent) in expected {
            assert_eq!(drop_percent(limit, startups), percent, "{startups}");
        }
        let hard = MaxStartups { begin: 10, rate: 100, full: 10 };
        assert_eq!((drop_percent(hard, 9), drop_percent(hard, 10)), (0, 100));
    }

    pub(in crate::listen) fn server() -> Server {
        Server {
            listen: Vec::new(),
            host_keys: Vec::new(),
            user: None,
            state_dir: PathBuf::new(),
            run_dir: PathBuf::new(),
            audit_log: PathBuf::new(),
            max_startups: MaxStartups { begin: 2, rate: 100, full: 2 },
            max_connections: 4,
            max_connections_per_source: 3,
            login_grace: Duration::from_secs(1),
            max_auth_tries: 6,
            client_alive_interval: None,
            client_alive_count_max: 3,
            rekey_limit: RekeyLimit { bytes: Bytes(1 << 30), time: Duration::from_secs(3600) },
            encrypt_and_mac: false,
            banner: None,
            id_pool: IdPool { first: 1, count: 1, register: false },
            penalties: Penalties::default(),
            keys_command: None,
        }
    }

    #[test]
    fn a_login_makes_room_for_the_next_startup_and_an_end_for_the_next_connection() {
        let block = |text: &str| Block::around(text.parse().unwrap(), 32, 128);
        let (a, b, mapped) = (block("192.0.2.1"), block("192.0.2.2"), block("::ffff:192.0.2.1"));
        let (mut counts, server) = (Counts::default(), server());
        counts.add(a);
        counts.add(mapped);
        assert_eq!(counts.judge(&server, b, 0), Err(Full::Startups));
        counts.started();
        counts.started();
        assert_eq!(counts.judge(&server, a, 0), Ok(()));
        counts.add(a);
        assert_eq!(counts.judge(&server, mapped, 0), Err(Full::Source));
        counts.add(b);
        assert_eq!(counts.judge(&server, b, 0), Err(Full::Connections));
        counts.remove(b, false);
        counts.remove(a, false);
        counts.remove(a, true);
        counts.remove(a, true);
        assert_eq!((counts.connections, counts.startups, counts.by_source.len()), (0, 0, 0));
    }
}
