//! `[server]`: what holds for the whole door.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::KeysCommand;
use crate::base::{Block, Bytes};
use crate::wire::login::Method;

/// `[server]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Addresses to listen on; ignored where systemd passes sockets.
    pub listen: Vec<SocketAddr>,
    /// Private host keys, OpenSSH's text form. A missing ed25519 key is made at the first start.
    pub host_keys: Vec<PathBuf>,
    /// Host account of the ssh process; `None`: the first id of the pool.
    pub user: Option<String>,
    /// What must outlive a reboot: id ranges, homes, last logins.
    pub state_dir: PathBuf,
    /// What must not: running cells.
    pub run_dir: PathBuf,
    /// One JSON line per event.
    pub audit_log: PathBuf,
    /// Unauthenticated connections: OpenSSH's `MaxStartups`.
    pub max_startups: MaxStartups,
    /// Connections in all.
    pub max_connections: u32,
    /// Connections from one address.
    pub max_connections_per_source: u32,
    /// From accept to logged in.
    pub login_grace: Duration,
    /// Failed tries per connection: OpenSSH's `MaxAuthTries`.
    pub max_auth_tries: u32,
    /// How often a silent client is asked for a sign of life; `None`: never.
    pub client_alive_interval: Option<Duration>,
    /// How often in a row it may fail to give one.
    pub client_alive_count_max: u32,
    /// When new keys are made.
    pub rekey_limit: RekeyLimit,
    /// Whether MACs over the plaintext are offered, for clients that know no others.
    pub encrypt_and_mac: bool,
    /// Text of the banner file, read when the config is loaded.
    pub banner: Option<String>,
    /// Where tenants' id ranges come from.
    pub id_pool: IdPool,
    /// What addresses that misbehave are turned away for.
    pub penalties: Penalties,
    /// The command of `[defaults]`, which is asked about names that are nobody's as well, so that
    /// nobody can tell them by time.
    pub keys_command: Option<KeysCommand>,
}

/// OpenSSH's `PerSourcePenalties`, `PerSourcePenaltyExemptList` and `PerSourceNetBlockSize`. A time of
/// zero: no penalty of that kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Penalties {
    /// Whether there are any.
    pub enabled: bool,
    /// A process that served the connection crashed, or was caught saying what it must not.
    pub crash: Duration,
    /// Failed tries to log in.
    pub authfail: Duration,
    /// Tries to log in as somebody who is not there.
    pub invaliduser: Duration,
    /// No try to log in.
    pub noauth: Duration,
    /// Not logged in within `login_grace`.
    pub grace_exceeded: Duration,
    /// A tenant who may not come in now.
    pub refuseconnection: Duration,
    /// The most that adds up.
    pub max: Duration,
    /// Nothing happens up to here.
    pub min: Duration,
    /// IPv4 blocks to remember.
    pub max_sources4: u32,
    /// IPv6 blocks to remember.
    pub max_sources6: u32,
    /// What a full table of IPv4 blocks means.
    pub overflow: Overflow,
    /// The same for IPv6.
    pub overflow6: Overflow,
    /// Who gets none.
    pub exempt: Vec<Block>,
    /// Leading bits of an IPv4 address that make a block.
    pub netblock4: u8,
    /// The same for IPv6.
    pub netblock6: u8,
}

impl Default for Penalties {
    /// As in the table of keys, where nothing is set (`load_tests.rs` compares the two).
    fn default() -> Self {
        Self {
            enabled: true,
            crash: Duration::from_secs(90),
            authfail: Duration::from_secs(5),
            invaliduser: Duration::from_secs(5),
            noauth: Duration::from_secs(1),
            grace_exceeded: Duration::from_secs(10),
            refuseconnection: Duration::from_secs(10),
            max: Duration::from_secs(600),
            min: Duration::from_secs(15),
            max_sources4: 65_536,
            max_sources6: 65_536,
            overflow: Overflow::Permissive,
            overflow6: Overflow::Permissive,
            exempt: Vec::new(),
            netblock4: 32,
            netblock6: 128,
        }
    }
}

/// What a full table of penalties means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overflow {
    /// Those that end first make room.
    Permissive,
    /// Nobody new comes in until one ends.
    DenyAll,
}

/// OpenSSH's `RekeyLimit`: what the same keys are used for at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RekeyLimit {
    /// Bytes in either direction.
    pub bytes: Bytes,
    /// Time.
    pub time: Duration,
}

/// What `[defaults]` say that is asked of those who are nobody, so that they see what others see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stranger {
    /// Sequences of methods.
    pub auth: Vec<Vec<Method>>,
    /// What PAM is asked by.
    pub pam_service: String,
}

/// OpenSSH's `start:rate:full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxStartups {
    /// From this many unauthenticated connections on, some are refused …
    pub begin: u32,
    /// … with this probability in percent, rising linearly …
    pub rate: u8,
    /// … to certainty at this many.
    pub full: u32,
}

/// Host ids to give to tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdPool {
    /// First id.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// Whether ranges are written to `/etc/subuid` and `/etc/subgid`.
    pub register: bool,
}
