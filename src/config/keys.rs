//! The one table of keys. What can be set, how it is read, its default and its sentence in the
//! reference stand on one row; the layers that are merged, `check --explain`, the suggestions for
//! mistyped keys and `docs/config.md` all come from here.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use toml::{Spanned, de::DeValue};

use super::finding::Place;
use super::password_hash::PasswordHash;
use super::permit::{List, Permit};
use super::read::Reader;
use super::settings::{Allow, CallSet, Enforce, Linger, MaxStartups, Network, Overflow, RekeyLimit, Root, User};
use super::show::{Capabilities, KeyLine, Setting, Umask, Variables, Ways};
use crate::base::hours::Hours;
use crate::base::{Block, Bytes, ClassName, Cores};
use crate::wire::init::MAX_CONNECTIONS;
use crate::wire::sftp::Access;

/// A value and where it was set.
#[derive(Debug, Clone)]
pub(super) struct Set<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// What a key is when nobody sets it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fallback {
    /// This TOML value, read like any other.
    Toml(&'static str),
    /// This sentence says how it comes about.
    Words(&'static str),
}

/// One row of the table.
#[derive(Debug)]
pub(super) struct Key {
    /// The table that it stands in, or nothing.
    pub(super) table: &'static str,
    /// Its name there.
    pub(super) name: &'static str,
    /// What kind of value it takes.
    pub(super) kind: &'static str,
    /// Its default.
    pub(super) fallback: Fallback,
    /// What it does.
    pub(super) sentence: &'static str,
}

impl Key {
    /// The name with its table, as in `limits.tmp`.
    pub(super) fn full_name(&self) -> String {
        if self.table.is_empty() { self.name.to_owned() } else { format!("{}.{}", self.table, self.name) }
    }
}

/// One effective value, for `check --explain`.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    /// As TOML, and where it was set; none if it is not set anywhere.
    pub(super) value: Option<(String, Place)>,
}

/// A set of keys that may each be given or not, for which other sets stand in.
pub(super) trait Layer: Default {
    /// Its rows of the table.
    const KEYS: &'static [Key];

    /// Reads one key; false if there is none of that name.
    fn read(&mut self, table: &str, name: &str, value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> bool;

    /// Lays `upper` over this one, key by key.
    fn cover(&mut self, upper: Self);

    /// Every key with its value, in the order of the table.
    fn rows(&self) -> Vec<Row>;
}

macro_rules! keys {
    (
        $(#[$doc:meta])* $layer:ident;
        $($table:literal $name:literal $field:ident: $type:ty = |$r:ident, $v:ident| $read:expr,
            $kind:literal, $fallback:expr, $sentence:literal;)*
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default)]
        pub(super) struct $layer {
            $(pub(super) $field: Option<Set<$type>>,)*
        }

        impl Layer for $layer {
            const KEYS: &'static [Key] = &[$(Key {
                table: $table, name: $name, kind: $kind, fallback: $fallback, sentence: $sentence,
            }),*];

            fn read(&mut self, table: &str, name: &str, value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> bool {
                match (table, name) {
                    $(($table, $name) => {
                        let ($r, $v) = (&mut *reader, value);
                        self.$field = $read.map(|read| Set { value: read, place: reader.place(value) });
                        true
                    })*
                    _ => false,
                }
            }

                        fn cover(&mut self, upper: Self) {
                $(if let Some(mut set) = upper.$field {
                    if let Some(under) = &self.$field {
                        set.value.take_in(&under.value);
                    }
                    self.$field = Some(set);
                })*
            }

            fn rows(&self) -> Vec<Row> {
                let mut rows = Vec::new();
                let mut keys = Self::KEYS.iter().map(Key::full_name);
                $(rows_of(keys.next().unwrap_or_default(), self.$field.as_ref(), &mut rows);)*
                rows
            }
        }
    };
}

/// One row, or one for each entry of a table.
fn rows_of<T: Setting>(name: String, set: Option<&Set<T>>, rows: &mut Vec<Row>) {
    let entries = set.map(|set| set.value.entries()).unwrap_or_default();
    if entries.is_empty() {
        rows.push(Row { name, value: set.map(|set| (set.value.show(), set.place)) });
    } else {
        let row = |(entry, text, place)| Row { name: format!("{name}.{entry}"), value: Some((text, place)) };
        rows.extend(entries.into_iter().map(row));
    }
}

use Fallback::{Toml, Words};

/// Nothing starts in less than a few MiB of memory.
const LEAST_MEMORY: Bytes = Bytes(4 << 20);

/// A day: longer bans belong to a firewall.
const MOST_PENALTY: u64 = 86_400;

/// A rate of less would be a stop.
const LEAST_IO: Bytes = Bytes(4 << 10);

keys! {
    /// `[server]`, as far as it is given.
    ServerLayer;

    "" "listen" listen: Vec<SocketAddr> = |r, v| r.addresses(v),
        "list of addresses", Toml(r#"["0.0.0.0:22", "[::]:22"]"#),
        "Where connections are accepted. Ignored when systemd passes sockets.";
    "" "host_keys" host_keys: Vec<PathBuf> = |r, v| r.paths(v),
        "list of paths", Toml(r#"["/etc/cellblock/ssh_host_ed25519_key"]"#),
        "Private keys that prove who this server is. A missing ed25519 key is made at the first start.";
    "" "user" user: String = |r, v| r.account(v),
        "name of a host account", Words("the first id of `id_pool`"),
        "Whom the process that speaks SSH runs as.";
    "" "state_dir" state_dir: PathBuf = |r, v| r.path(v),
        "path", Toml(r#""/var/lib/cellblock""#),
        "What must outlive a reboot: id ranges, homes, last logins.";
    "" "run_dir" run_dir: PathBuf = |r, v| r.path(v),
        "path", Toml(r#""/run/cellblock""#),
        "What must not outlive a reboot: running cells.";
    "" "audit_log" audit_log: PathBuf = |r, v| r.path(v),
        "path", Toml(r#""/var/log/cellblock/audit.jsonl""#),
        "One line of JSON for every connection, login attempt, session start and session end.";
    "" "max_startups" max_startups: MaxStartups = |r, v| r.max_startups(v),
        "`start:rate:full`", Toml(r#""10:30:100""#),
        "From `start` connections on that have not logged in, `rate` percent of new ones are refused, rising to all of them at `full`. Connections by the network are counted together; of this host's processes, which come to `enter.sock`, those of each uid that are not let in yet ([enter.md](enter.md)).";
    "" "max_connections" max_connections: u32 = |r, v| r.number(v, 1..=1_000_000),
        "number", Toml("4096"),
        "Connections at a time, logged in or not.";
    "" "max_connections_per_source" max_connections_per_source: u32 = |r, v| r.number(v, 1..=1_000_000),
        "number", Toml("256"),
        "Connections at a time from one address.";
    "" "login_grace" login_grace: Duration = |r, v| r.duration(v, 1..=3600),
        "time", Toml(r#""120s""#),
        "From connecting to being logged in; whoever takes longer is disconnected.";
    "" "max_auth_tries" max_auth_tries: u32 = |r, v| r.number(v, 1..=100),
        "number", Toml("6"),
        "Failed attempts to log in per connection.";
    "" "client_alive_interval" client_alive_interval: Duration = |r, v| r.duration(v, 0..=86_400),
        "time", Toml(r#""0s""#),
        "After so long without a word from the client it is asked for a sign of life, and once more each time this passes again. `0s` never asks: TCP's own probes then find a client that is gone after three minutes.";
    "" "client_alive_count_max" client_alive_count_max: u32 = |r, v| r.number(v, 1..=1000),
        "number", Toml("3"),
        "A client that does not answer so often in a row is disconnected.";
    "" "rekey_limit" rekey_limit: RekeyLimit = |r, v| r.rekey_limit(v),
        "size and time", Toml(r#""1G 1h""#),
        "New keys are made after so many bytes in either direction, and after so long. At most 1G: beyond, counters of the ciphers would come near their end. A client that begins a key exchange, or talks on where one is wanted, and does not finish it within 30 seconds (`login_grace`, where that is shorter) is disconnected; time in which its machine does not acknowledge what was sent does not count.";
    "" "encrypt_and_mac" encrypt_and_mac: bool = |r, v| r.flag(v),
        "true or false", Toml("false"),
        "Whether clients that know no better may use `hmac-sha2-256` and `hmac-sha2-512` over what is not encrypted yet, as sshd lets them by default. libssh2 before 1.11 needs it, and so do Debian 12's `curl sftp://` and PHP's `ssh2`; `ssh-audit` warns of it.";
    "" "banner" banner: PathBuf = |r, v| r.path(v),
        "path", Words("no banner"),
        "A text file that is shown before login. It is read when the config is loaded.";
    "id_pool" "first" id_pool_first: u32 = |r, v| r.number(v, 65_536..=4_000_000_000),
        "number", Toml("524288"),
        "The first host uid and gid to give to tenants.";
    "id_pool" "count" id_pool_count: u32 = |r, v| r.number(v, 65_536..=4_000_000_000),
        "number", Toml("1878458369"),
        "How many ids there are to give. The default ends where systemd's container range ends.";
    "id_pool" "register" id_pool_register: bool = |r, v| r.flag(v),
        "true or false", Toml("true"),
        "Whether ranges in use are written to `/etc/subuid` and `/etc/subgid`, so that `useradd` keeps away from them.";
    "penalties" "enabled" penalties_enabled: bool = |r, v| r.flag(v),
        "true or false", Toml("true"),
        "Whether addresses that misbehave are turned away for a while, as by OpenSSH's `PerSourcePenalties`. Each connection that ends without a login adds a time to what its address has; more than `min` of it, and the address is turned away until it has run down. A login takes up to `min` off again, and for an hour after one the address may have ten times `min`, so that one user's typos do not lock out a whole NAT. At `enter.sock` a uid of this host is what an address is here; root is exempt ([enter.md](enter.md)).";
    "penalties" "crash" penalties_crash: Duration = |r, v| r.duration(v, 0..=MOST_PENALTY),
        "time", Toml(r#""90s""#),
        "Added when a process of ours that served the connection crashed, or said what it must not. `0s` adds nothing, here and below.";
    "penalties" "authfail" penalties_authfail: Duration = |r, v| r.duration(v, 0..=MOST_PENALTY),
        "time", Toml(r#""5s""#),
        "Added after one or more failed tries to log in.";
    "penalties" "invaliduser" penalties_invaliduser: Duration = |r, v| r.duration(v, 0..=MOST_PENALTY),
        "time", Toml(r#""5s""#),
        "Added instead when the last of them was as a tenant that there is not. Nothing else tells the two apart for a stranger: set it to what `authfail` is.";
    "penalties" "noauth" penalties_noauth: Duration = |r, v| r.duration(v, 0..=MOST_PENALTY),
        "time", Toml(r#""1s""#),
        "Added when there was no try to log in, as after a port scan or `ssh-keyscan`.";
    "penalties" "grace_exceeded" penalties_grace_exceeded: Duration = |r, v| r.duration(v, 0..=MOST_PENALTY),
        "time", Toml(r#""10s""#),
        "Added when `login_grace` ran out.";
    "penalties" "refuseconnection" penalties_refuseconnection: Duration = |r, v| r.duration(v, 0..=MOST_PENALTY),
        "time", Toml(r#""10s""#),
        "Added when a tenant proved who they are outside of their hours (`open`).";
    "penalties" "max" penalties_max: Duration = |r, v| r.duration(v, 0..=MOST_PENALTY),
        "time", Toml(r#""10m""#),
        "The most that adds up.";
    "penalties" "min" penalties_min: Duration = |r, v| r.duration(v, 0..=MOST_PENALTY),
        "time", Toml(r#""15s""#),
        "An address that has no more than this is not turned away yet.";
    "penalties" "max_sources4" penalties_max_sources4: u32 = |r, v| r.number(v, 1..=1_000_000),
        "number", Toml("65536"),
        "IPv4 addresses or blocks that are remembered.";
    "penalties" "max_sources6" penalties_max_sources6: u32 = |r, v| r.number(v, 1..=1_000_000),
        "number", Toml("65536"),
        "The same for IPv6.";
    "penalties" "overflow" penalties_overflow: Overflow = |r, v| r.word(v, &[("permissive", Overflow::Permissive), ("deny-all", Overflow::DenyAll)]),
        "`\"permissive\"` or `\"deny-all\"`", Toml(r#""permissive""#),
        "When so many are remembered: `permissive` forgets those that end first, `deny-all` turns everybody new away until one ends.";
    "penalties" "overflow6" penalties_overflow6: Overflow = |r, v| r.word(v, &[("permissive", Overflow::Permissive), ("deny-all", Overflow::DenyAll)]),
        "`\"permissive\"` or `\"deny-all\"`", Toml(r#""permissive""#),
        "The same for IPv6.";
    "penalties" "exempt" penalties_exempt: Vec<Block> = |r, v| r.blocks(v),
        "list of addresses and networks", Toml("[]"),
        "Who gets no penalties: `PerSourcePenaltyExemptList`. Your own way in belongs here.";
    "penalties" "netblock4" penalties_netblock4: u8 = |r, v| r.number(v, 0..=32),
        "number of bits", Toml("32"),
        "How much of an IPv4 address counts, here and for `max_connections_per_source`: at 24, 256 neighbours count as one.";
    "penalties" "netblock6" penalties_netblock6: u8 = |r, v| r.number(v, 0..=128),
        "number of bits", Toml("128"),
        "The same for IPv6. The default is OpenSSH's; most who have one IPv6 address have 2^64, which 64 counts as one.";
}

keys! {
    /// `[defaults]`, a class or a tenant, as far as it is given.
    TenantLayer;

    "" "class" class: ClassName = |r, v| r.class(v),
        "name of a class", Words("no class"),
        "The class to start from. A class can start from another one.";
    "" "locked" locked: bool = |r, v| r.flag(v),
        "true or false", Toml("false"),
        "Whether nobody can log in as this tenant.";
    "" "open" open: Vec<Hours> = |r, v| r.hours(v),
        "list of hours", Words("always"),
        "When the tenant may be inside, as in `[\"Mo-Fr 08:00-18:00\", \"Sa 10:00-14:00\"]`; hours that end before they begin end on the next day. Who comes at another time is told so and turned away. When it closes, those inside are warned five minutes and one minute before, and then disconnected; their cell goes on as long as `linger` lets it.";
    "" "time_zone" time_zone: String = |r, v| r.time_zone(v),
        "name", Words("the host's"),
        "Whose clocks `open` goes by, as in `Europe/Berlin`.";
    "" "max_session_time" max_session_time: Duration = |r, v| r.duration(v, 10..=31_536_000),
        "time", Words("no limit"),
        "How long a connection may last. Those inside are warned five minutes and one minute before its end.";
    "" "idle_timeout" idle_timeout: Duration = |r, v| r.duration(v, 10..=2_592_000),
        "time", Words("no limit"),
        "A connection on which nothing moves for so long ends: no byte to or from a program, nor over a forward. Those inside are warned a minute before.";
    "" "channel_timeout" channel_timeout: Duration = |r, v| r.duration(v, 10..=2_592_000),
        "time", Words("no limit"),
        "The same for each session of a connection: OpenSSH's `ChannelTimeout session=…`. A session that ends so is hung up on.";
    "" "forward_timeout" forward_timeout: Duration = |r, v| r.duration(v, 10..=2_592_000),
        "time", Words("no limit"),
        "The same for each connection over a forward, to the client's agent and to its display: OpenSSH's `ChannelTimeout direct-tcpip=…` and so on. One that ends so is closed, without a warning.";
    "" "auth" auth: Ways = |r, v| r.ways(v),
        "list of sequences", Toml(r#"["publickey"]"#),
        "How to log in: any one of these sequences, whose methods (`publickey`, `password`, `keyboard-interactive`) are joined by `+` and passed in that order. Whoever is unknown is offered what `[defaults]` say.";
    "" "password" password: PasswordHash = |r, v| r.password(v),
        "a hash", Words("no password"),
        "What a password is compared with, an argon2id or yescrypt hash: `cellblock passwd` makes one. One that starts with `!` or `*` matches nothing.";
    "" "pam_service" pam_service: String = |r, v| r.pam_service(v),
        "name", Toml(r#""cellblock""#),
        "The file in `/etc/pam.d` by which PAM asks what `keyboard-interactive` shows, in as many rounds as its modules want, and judges the account; its session is open as long as the connection. Needs the program `cellblock-pam` ([pam.md](pam.md)). Whoever is unknown meets that of `[defaults]`.";
    "" "use_pam" use_pam: bool = |r, v| r.flag(v),
        "true or false", Toml("false"),
        "Whether PAM judges the account and holds a session also where the login was by key or password, as with OpenSSH's `UsePAM`. What `password` compares is the hash above in any case.";
    "" "authorized_keys" authorized_keys: Vec<KeyLine> = |r, v| r.key_lines(v),
        "list of lines", Toml("[]"),
        "Who can log in: lines as in OpenSSH's `authorized_keys`. A line with an option that is not honoured is an error.";
    "" "authorized_keys_file" authorized_keys_file: PathBuf = |r, v| r.path(v),
        "path", Words("no file"),
        "More such lines, read at each login. The file must belong to root and lie outside of every tenant's root. Where nothing else in the config names an authority, the first `cert-authority` line takes effect with a reload.";
    "" "trusted_user_ca_keys" trusted_user_ca_keys: Vec<KeyLine> = |r, v| r.authorities(v),
        "list of lines", Toml("[]"),
        "Public keys of authorities: whoever has a user certificate by one of them, for a principal of `authorized_principals`, can log in.";
    "" "authorized_principals" authorized_principals: Vec<String> = |r, v| r.principals(v),
        "list of names", Words("the tenant's name"),
        "The principals of such certificates that are the tenant, compared exactly. With an empty list there is none.";
    "" "own_keys" own_keys: bool = |r, v| r.flag(v),
        "true or false", Toml("false"),
        "Whether keys in the tenant's own `~/.ssh/authorized_keys` let in as well. `ssh-copy-id` writes there. The file, `.ssh` and the home must belong to the tenant, or root inside, and be writable by nobody else.";
    "" "authorized_keys_command" authorized_keys_command: Vec<String> = |r, v| r.key_command(v),
        "command line", Words("no command"),
        "A program that is asked for more such lines when nothing else lets in, for at most 10 seconds each time. `%u` is the name that is asked for, `%k` the key or certificate, `%t` its type, `%f` its fingerprint. It and its directories must belong to root. Set it under `[defaults]`: where only some tenants have it, the time that a refusal takes tells them from names that do not exist.";
    "" "authorized_keys_command_user" authorized_keys_command_user: String = |r, v| r.account(v),
        "name of a host account", Words("none; needed with `authorized_keys_command`"),
        "Whom that program runs as. An account of its own, without files.";
    "" "revoked_keys" revoked_keys: PathBuf = |r, v| r.path(v),
        "path", Words("no list"),
        "Keys and certificates that are not taken any more: a list made by `ssh-keygen -k`, or public keys, one a line. Read at each login; while it cannot be read, no key lets in.";
    "" "host_user" host_user: String = |r, v| r.account(v),
        "name of a host account", Words("no account"),
        "The host account that is this tenant where it comes by `cellblock enter`, as behind OpenSSH. An account is one tenant at most.";
    "" "host_group" host_group: String = |r, v| r.group(v),
        "name of a host group", Words("no group"),
        "All members of this host group are this tenant there, and share the cell; but for those whom a `host_user` names. Whoever is in the groups of several tenants is the one whose name comes first.";
    "" "root" root: Root = |r, v| r.root(v),
        "`\"host\"` or a path", Toml(r#""host""#),
        "What is `/` in the cell: a read-only view of the host's programs, or a directory. The directory must lie under one that only root can enter, and serves one tenant.";
    "" "user" user: User = |r, v| r.word(v, &[("tenant", User::Tenant), ("root", User::Root)]),
        "`\"tenant\"` or `\"root\"`", Toml(r#""tenant""#),
        "Who the tenant is inside: a user of the tenant's name with uid 1000, or root.";
    "" "shell" shell: String = |r, v| r.inner_path(v),
        "path", Toml(r#""/bin/bash""#),
        "The login shell, as seen in the cell.";
    "" "home" home: String = |r, v| r.inner_path(v),
        "path", Words("`/home/NAME`, or `/root` for `user = \"root\"`"),
        "The home directory, as seen in the cell.";
    "" "hostname" hostname: String = |r, v| r.hostname(v),
        "host name", Words("the tenant's name"),
        "The host name inside.";
    "" "network" network: Network = |r, v| r.network(v),
        "`\"none\"` or `\"host\"`", Toml(r#""none""#),
        "`none` has loopback only. `host` shares the host's network, with every service that listens on it.";
    "" "linger" linger: Linger = |r, v| r.linger(v),
        "time or `\"forever\"`", Toml(r#""10m""#),
        "How long the cell outlives its last session while it has processes. `forever` starts it at boot as well.";
    "" "ids" ids: u32 = |r, v| r.number(v, 1001..=65_536),
        "number", Toml("65536"),
        "How many host ids the tenant gets.";
    "limits" "memory" limits_memory: Bytes = |r, v| r.size_from(v, LEAST_MEMORY),
        "size", Toml(r#""512M""#),
        "Memory of all sessions together. What lies in `/tmp`, `/run`, `/dev/shm` and the page cache counts. Whoever needs more is stopped, and told.";
    "limits" "memory_high" limits_memory_high: Bytes = |r, v| r.size_from(v, LEAST_MEMORY),
        "size", Words("1/128 less than `memory`, at most 4 MiB less"),
        "From here on the tenant is slowed down while memory is taken back; nowhere, where it is the same as `memory`. Needs cgroup v2.";
    "limits" "swap" limits_swap: Bytes = |r, v| r.size(v),
        "size", Toml(r#""0""#),
        "Swap space of all sessions together, besides `memory`.";
    "limits" "pids" limits_pids: u32 = |r, v| r.number(v, 8..=4_194_304),
        "number", Toml("256"),
        "Processes and threads of all sessions together. Whoever is refused one more is told.";
    "limits" "cpu" limits_cpu: Cores = |r, v| r.cores(v),
        "number of processors", Toml("1.0"),
        "Processor time of all sessions together: 0.5 is half of one processor. Who has used it up waits, and is not told: `/run/cellblock/usage` shows for how long.";
    "limits" "cpu_weight" limits_cpu_weight: u32 = |r, v| r.number(v, 1..=10_000),
        "number", Words("100, the kernel's"),
        "Share of processor time, relative to others, when all want more than there is.";
    "limits" "io_read" limits_io_read: Bytes = |r, v| r.size_from(v, LEAST_IO),
        "size", Words("no limit"),
        "Bytes per second read from each disk. Needs cgroup v2, as all `io_` keys do.";
    "limits" "io_write" limits_io_write: Bytes = |r, v| r.size_from(v, LEAST_IO),
        "size", Words("no limit"),
        "Bytes per second written to each disk.";
    "limits" "io_read_iops" limits_io_read_iops: u32 = |r, v| r.number(v, 1..=1_000_000_000),
        "number", Words("no limit"),
        "Reads per second of each disk.";
    "limits" "io_write_iops" limits_io_write_iops: u32 = |r, v| r.number(v, 1..=1_000_000_000),
        "number", Words("no limit"),
        "Writes per second of each disk.";
    "limits" "io_weight" limits_io_weight: u32 = |r, v| r.number(v, 1..=1_000),
        "number", Words("100, the kernel's"),
        "Share of a busy disk, relative to others. The disk needs the bfq scheduler, or iocost switched on.";
    "limits" "enforce" limits_enforce: Enforce = |r, v| r.word(v, &[("strict", Enforce::Strict), ("best-effort", Enforce::BestEffort)]),
        "`\"strict\"` or `\"best-effort\"`", Toml(r#""strict""#),
        "Where the host cannot enforce a limit that is set: `strict` refuses the tenant, `best-effort` goes without and reports it.";
    "limits" "tmp" limits_tmp: Bytes = |r, v| r.size(v),
        "size", Toml(r#""64M""#),
        "Size of `/tmp`. Whose session fails while it is full is told.";
    "limits" "run" limits_run: Bytes = |r, v| r.size(v),
        "size", Toml(r#""16M""#),
        "Size of `/run`. Whose session fails while it is full is told.";
    "limits" "shm" limits_shm: Bytes = |r, v| r.size(v),
        "size", Toml(r#""64M""#),
        "Size of `/dev/shm`. Whose session fails while it is full is told.";
    "limits" "nofile" limits_nofile: u64 = |r, v| r.number(v, 16..=1_048_576),
        "number", Toml("16384"),
        "Open files per process; at most as many as the door was started with (`LimitNOFILE=` of its unit). A process that wants more sees `EMFILE`, and nothing else is said.";
    "limits" "core" limits_core: Bytes = |r, v| r.size(v),
        "size", Toml(r#""0""#),
        "Largest core file.";
    "" "allow" allow: BTreeSet<Allow> = |r, v| r.allow(v),
        "list of words", Toml(r#"["shell", "exec", "sftp", "pty", "env", "signal", "local-forward", "remote-forward", "agent"]"#),
        "Which requests are answered: a login shell, a command (`exec`, as `scp -O`, rsync and git make it), `sftp`, a terminal (`pty`), environment variables, signals, connections from the cell to ports and sockets (`local-forward`: `ssh -L`, `-D`, `-W`), listening in the cell (`remote-forward`: `ssh -R`), the client's agent (`agent`: `ssh -A`), its display (`x11`: `ssh -X`). A key's own `restrict` or `no-…` options switch off more. The rest is refused, and the client told so.";
    "" "permit_open" permit_open: Permit = |r, v| r.permit(v, List::Open),
        "list of `host:port`", Toml(r#"["any"]"#),
        "Which ports `local-forward` leads to: OpenSSH's `PermitOpen`. `*` stands for every host or every port, an IPv6 address has brackets; `[\"any\"]` is all, `[\"none\"]` nothing. An entry is compared with the name or address that the client asks for, before it is looked up in the cell: other names of the same host are not meant. Names are compared without regard to case, addresses as addresses. What a key's `permitopen=` does not list is refused as well. Unix sockets are not ports: as in OpenSSH, no list binds them, and they are opened with the tenant's own rights. Without `local-forward` in `allow` there are neither.";
    "" "permit_listen" permit_listen: Permit = |r, v| r.permit(v, List::Listen),
        "list of `port` or `host:port`", Toml(r#"["any"]"#),
        "Where `remote-forward` may listen: OpenSSH's `PermitListen`. The host is a pattern with `*` and `?` for the one that the client asks for, which is `localhost` where it asks for none, and `*` stands for every port; `[\"any\"]` is all, `[\"none\"]` nothing. `ssh -R 0:…` asks for any free port, and only an entry for every port allows that. Whatever is asked for, it listens on the cell's loopback. What a key's `permitlisten=` does not list is refused as well. Unix sockets are bound by no list, as under `permit_open`.";
    "" "command" command: String = |r, v| r.command(v),
        "text", Words("what the client asks for"),
        "Runs instead of what the client asks for, which it finds in `SSH_ORIGINAL_COMMAND`.";
    "sftp" "access" sftp_access: Access = |r, v| r.word(v, &Access::ALL.map(|access| (access.word(), access))),
        "`\"read-write\"`, `\"read-only\"` or `\"drop-box\"`", Toml(r#""read-write""#),
        "What sftp (and `scp`, but for `scp -O`) may do with the tenant's files. `read-only`: change nothing, as `internal-sftp -R`. `drop-box`: bring files and directories under new names, and rename what is there to new ones; read, list, replace or remove none. That a name is taken shows when it is asked for, so a transfer that broke off is begun again under another name (`put -a` cannot go on with it). All who log in as the tenant are the same to it: whoever knows the name of what another brought can rename that, and set mode and times of directories. Those of files are set as a transfer makes them; clients that set them by name afterwards are refused it (WinSCP: preserve neither). Whoever may also run commands is not held by it: leave `shell` and `exec` out of `allow`.";
    "sftp" "umask" sftp_umask: Umask = |r, v| r.umask(v),
        "octal digits as text", Words("that of all sessions, `022`"),
        "Which permissions files and directories that sftp makes never get, as `internal-sftp -u`: with `027` others get none.";
    "" "accept_env" accept_env: Vec<String> = |r, v| r.patterns(v),
        "list of patterns", Toml(r#"["LANG", "LC_*", "COLORTERM", "NO_COLOR"]"#),
        "Environment variables that a client may set, with `*` and `?`.";
    "" "set_env" set_env: Variables = |r, v| r.variables(v),
        "table of texts", Toml("{}"),
        "Environment variables of every session.";
    "" "capabilities" capabilities: Capabilities = |r, v| r.capabilities(v),
        "list of names", Toml(r#"["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_SETFCAP"]"#),
        "What root can do inside. The default is what package managers need.";
    "" "no_new_privs" no_new_privs: bool = |r, v| r.flag(v),
        "true or false", Toml("true"),
        "Whether programs started inside can gain no rights, so that `sudo` and `su` do not work. Switched off, it takes effect when the cell starts next.";
    "" "syscalls" syscalls: BTreeSet<CallSet> = |r, v| r.call_sets(v),
        "list of words", Toml("[]"),
        "System calls beyond those that every tenant has, by what they are for: `debug` (gdb, strace), `nesting` (user namespaces and mounts inside the cell, as sandboxes and rootless containers make them), `fuse` (with `nesting`: `/dev/fuse`), `io_uring`, `ping`. Takes effect when the cell starts next.";
    "" "max_sessions" max_sessions: u32 = |r, v| r.number(v, 1..=10_000),
        "number", Toml("64"),
        "Sessions at a time over all of the tenant's connections.";
    "" "max_connections" max_connections: u32 = |r, v| r.number(v, 1..=MAX_CONNECTIONS),
        "number", Toml("64"),
        "Connections at a time that are logged in as the tenant, 500 at most.";
    "" "motd" motd: bool = |r, v| r.flag(v),
        "true or false", Toml("true"),
        "Whether a login shell begins with `/etc/motd` and the last login.";
}
