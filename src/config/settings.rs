//! What a checked config says: effective values, after `defaults`, class and tenant are merged.
//!
//! These travel in the compiled config, so every type here encodes with postcard.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::password_hash::PasswordHash;
use super::permit::Permit;
use crate::base::hours::Hours;
use crate::base::{Block, Bytes, ClassName, Cores, TenantName};
use crate::wire::login::Method;
use crate::wire::sftp::Access;

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

/// `[tenant.NAME]` with everything that it inherits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Who.
    pub name: TenantName,
    /// The class it names, if any.
    pub class: Option<ClassName>,
    /// Nobody logs in as this tenant.
    pub locked: bool,
    /// Sequences of methods, each of which lets in when all of it is passed in this order: OpenSSH's
    /// `AuthenticationMethods`. Never empty, and no sequence is.
    pub auth: Vec<Vec<Method>>,
    /// What a password is compared with.
    pub password: Option<PasswordHash>,
    /// The file in `/etc/pam.d` that PAM is asked by.
    pub pam_service: String,
    /// Whether PAM has its say, and holds a session, also where the login did not go through it.
    pub use_pam: bool,
    /// Keys given in the config.
    pub authorized_keys: Vec<AuthorizedKey>,
    /// More keys, read at each login; a root-owned file outside every jail.
    pub authorized_keys_file: Option<PathBuf>,
    /// Who may certify keys for this tenant: the whole blobs of their keys.
    pub trusted_user_ca_keys: Vec<Vec<u8>>,
    /// Principals of their certificates that are this tenant.
    pub authorized_principals: Vec<String>,
    /// When they may be inside; `None`: always.
    pub open: Option<OpenHours>,
    /// How long a connection may last; `None`: as long as it likes.
    pub max_session_time: Option<Duration>,
    /// How long nothing may move on a connection; `None`: for ever.
    pub idle_timeout: Option<Duration>,
    /// The same for each of its sessions.
    pub channel_timeout: Option<Duration>,
    /// The same for each connection over a forward.
    pub forward_timeout: Option<Duration>,
    /// Whether keys in the tenant's own `~/.ssh/authorized_keys` count.
    pub own_keys: bool,
    /// Keys and certificates that are not taken any more; read at each login.
    pub revoked_keys: Option<PathBuf>,
    /// Asked for more keys when nothing else lets in.
    pub keys_command: Option<KeysCommand>,
    /// The host account that is this tenant at the enter door.
    pub host_user: Option<String>,
    /// The host group whose members are.
    pub host_group: Option<String>,
    /// The jail.
    pub jail: Jail,
}

impl Tenant {
    /// Of this name, by public key, with nothing else set: nobody can log in as them yet.
    #[must_use]
    pub fn new(name: TenantName, jail: Jail) -> Self {
        Self {
            name,
            class: None,
            locked: false,
            auth: vec![vec![Method::PublicKey]],
            password: None,
            pam_service: "cellblock".to_owned(),
            use_pam: false,
            authorized_keys: Vec::new(),
            authorized_keys_file: None,
            trusted_user_ca_keys: Vec::new(),
            authorized_principals: Vec::new(),
            own_keys: false,
            revoked_keys: None,
            keys_command: None,
            host_user: None,
            host_group: None,
            open: None,
            max_session_time: None,
            idle_timeout: None,
            channel_timeout: None,
            forward_timeout: None,
            jail,
        }
    }
}

/// When a tenant may be inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenHours {
    /// In some of these.
    pub hours: Vec<Hours>,
    /// By the clocks of this zone of the IANA database; `None`: by the host's.
    pub zone: Option<String>,
}

/// `authorized_keys_command`: a program that prints lines of keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysCommand {
    /// The absolute path of the program and its arguments, in which `%u %k %t %f %%` are filled in.
    pub words: Vec<String>,
    /// The account that it runs as, and its ids; never root.
    pub user: String,
    /// Its uid.
    pub uid: u32,
    /// Its only group.
    pub gid: u32,
}

/// One line of OpenSSH's authorized_keys format (sshd(8)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizedKey {
    /// The whole key blob; keys are compared by nothing less.
    pub blob: Vec<u8>,
    /// What follows the key.
    pub comment: String,
    /// What precedes it.
    pub options: KeyOptions,
    /// What it is for.
    pub role: KeyRole,
}

impl AuthorizedKey {
    /// Whether it is a security key whose touch somebody may rely on: the flags of its signatures are
    /// not seen (docs/upstream.md).
    #[must_use]
    pub fn expects_touch(&self) -> bool {
        // After the length of its type's name (RFC 4253, 6.6).
        !self.options.no_touch_required && self.blob.get(4..).is_some_and(|name| name.starts_with(b"sk-"))
    }
}

/// What a key of an authorized_keys line is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyRole {
    /// Whoever signs with it is let in.
    User,
    /// `cert-authority`: whoever has a certificate by it is.
    Authority {
        /// `principals=`: of which the certificate must name one; `None`: the tenant's name.
        principals: Option<Vec<String>>,
    },
}

/// The options that are honoured. A line with any other option is an error, and its key not used.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is one of sshd(8)'s pairs, independent of the others")]
pub struct KeyOptions {
    /// `from=`: patterns and networks, as given; `None`: from anywhere.
    pub from: Option<String>,
    /// `expiry-time=`: the key is refused from this moment on, seconds since 1970.
    pub expiry: Option<i64>,
    /// `command=`: runs whatever the client asks for.
    pub command: Option<String>,
    /// `no-pty`, or `restrict` without `pty` after it; the same for the next four.
    pub no_pty: bool,
    /// `no-port-forwarding`.
    pub no_port_forwarding: bool,
    /// `no-agent-forwarding`.
    pub no_agent_forwarding: bool,
    /// `no-X11-forwarding`.
    pub no_x11_forwarding: bool,
    /// `no-user-rc`.
    pub no_user_rc: bool,
    /// `no-touch-required`: nobody expects that the touch of a security key is checked.
    pub no_touch_required: bool,
    /// `permitopen=`: besides what the tenant's list says.
    pub permit_open: Permit,
    /// `permitlisten=`: the same.
    pub permit_listen: Permit,
}

/// The settings of one jail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jail {
    /// What is `/` in the cell.
    pub root: Root,
    /// Who the tenant is inside.
    pub user: User,
    /// Absolute path of the shell.
    pub shell: String,
    /// Absolute path of the home directory.
    pub home: String,
    /// Host name inside.
    pub hostname: String,
    /// Which network.
    pub network: Network,
    /// How long the cell outlives its last session.
    pub linger: Linger,
    /// How many host ids the tenant gets.
    pub ids: u32,
    /// What can be used up.
    pub limits: Limits,
    /// Which kinds of request are answered.
    pub allow: BTreeSet<Allow>,
    /// Which ports clients may have connections to.
    pub permit_open: Permit,
    /// Where they may have something listen.
    pub permit_listen: Permit,
    /// Runs instead of what the client asks for.
    pub command: Option<String>,
    /// What sftp sessions may do.
    pub sftp: Sftp,
    /// Names that a client may set, with `*` and `?`.
    pub accept_env: Vec<String>,
    /// Variables that every session has.
    pub set_env: Vec<(String, String)>,
    /// What root keeps in the cell (bit N for capability N). Never CAP_SYS_ADMIN.
    pub capabilities: u64,
    /// Whether exec can give no new privileges.
    pub no_new_privs: bool,
    /// System calls beyond every tenant's.
    pub syscalls: BTreeSet<CallSet>,
    /// Sessions at once over all connections.
    pub max_sessions: u32,
    /// Connections at once that are logged in.
    pub max_connections: u32,
    /// Whether `/etc/motd` and the last login are shown.
    pub motd: bool,
}

/// What sftp sessions may do, in place of options of `internal-sftp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sftp {
    /// With the tenant's files.
    pub access: Access,
    /// Their umask(2), where it is not that of all sessions.
    pub umask: Option<u32>,
}

/// CAP_NET_RAW (capabilities(7)).
const NET_RAW: u64 = 1 << 13;

impl Jail {
    /// Capabilities that programs in the cell may carry as files, and that nobody gets by starting
    /// them: execve(2) fails with EPERM where a file carries one that the bounding set lacks, as
    /// Debian's `ping` does with CAP_NET_RAW. Only with `no_new_privs`, under which an exec gives
    /// nothing.
    #[must_use]
    pub fn carried(&self) -> u64 {
        if self.no_new_privs && self.syscalls.contains(&CallSet::Ping) { NET_RAW } else { 0 }
    }
}

/// What is `/` in the cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Root {
    /// A view of the live host.
    Host,
    /// A directory tree.
    Directory(PathBuf),
}

/// Who the tenant is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum User {
    /// uid 1000, named like the tenant.
    Tenant,
    /// uid 0.
    Root,
}

impl User {
    /// Their uid and gid inside, which is that of their files on disk: the first ordinary user's, as
    /// useradd(8) counts, or root's.
    #[must_use]
    pub const fn id(self) -> u32 {
        match self {
            Self::Tenant => 1000,
            Self::Root => 0,
        }
    }
}

/// Where in `state_dir` what is kept of all tenants lies.
#[must_use]
pub fn kept_of_all(state_dir: &Path) -> PathBuf {
    state_dir.join("tenants")
}

/// Where in `state_dir` what is kept of one tenant lies: `home` and `var` of a host view, the last login.
#[must_use]
pub fn kept(state_dir: &Path, tenant: &TenantName) -> PathBuf {
    kept_of_all(state_dir).join(tenant.as_str())
}

/// Which network the cell has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// Its own, loopback only.
    None,
    /// The host's.
    Host,
}

/// How long a cell outlives its last session while it has processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Linger {
    /// So long.
    For(Duration),
    /// Until it is killed, with or without processes; started at boot.
    Forever,
}

/// What one tenant can use up, over all sessions where it is not said otherwise. What is `None` is
/// not asked of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// What becomes of a tenant that the host cannot hold to all of this.
    pub enforce: Enforce,
    /// Memory, with tmpfs, shared memory and page cache.
    pub memory: Bytes,
    /// From where on it is slowed down and reclaimed (cgroup v2).
    pub memory_high: Option<Bytes>,
    /// Swap space besides.
    pub swap: Bytes,
    /// Processes and threads.
    pub pids: u32,
    /// Processor time.
    pub cpu: Cores,
    /// Its share when processors are short; 100 is ordinary.
    pub cpu_weight: Option<u32>,
    /// Bytes per second read from each disk (cgroup v2).
    pub io_read: Option<Bytes>,
    /// Bytes per second written to each disk.
    pub io_write: Option<Bytes>,
    /// Reads per second of each disk.
    pub io_read_iops: Option<u32>,
    /// Writes per second of each disk.
    pub io_write_iops: Option<u32>,
    /// Its share when disks are busy; 100 is ordinary.
    pub io_weight: Option<u32>,
    /// Size of `/tmp`.
    pub tmp: Bytes,
    /// Size of `/run`.
    pub run: Bytes,
    /// Size of `/dev/shm`.
    pub shm: Bytes,
    /// Open files per process (`RLIMIT_NOFILE`).
    pub nofile: u64,
    /// Largest core file (`RLIMIT_CORE`).
    pub core: Bytes,
}

impl Default for Limits {
    /// As in the table of keys, where nothing is set (`load_tests.rs` compares the two).
    fn default() -> Self {
        Self {
            enforce: Enforce::Strict,
            memory: Bytes(512 << 20),
            memory_high: None,
            swap: Bytes(0),
            pids: 256,
            cpu: Cores::from_thousandths(1000),
            cpu_weight: None,
            io_read: None,
            io_write: None,
            io_read_iops: None,
            io_write_iops: None,
            io_weight: None,
            tmp: Bytes(64 << 20),
            run: Bytes(16 << 20),
            shm: Bytes(64 << 20),
            nofile: 16_384,
            core: Bytes(0),
        }
    }
}

/// What happens where the host cannot enforce a limit that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enforce {
    /// The tenant is refused.
    Strict,
    /// The tenant runs without it, and that is reported.
    BestEffort,
}

/// A named set of system calls, with what else of the cell they need, that a class can open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CallSet {
    /// Looking into one's own processes: gdb, strace.
    Debug,
    /// File systems served by a program. Only with [`CallSet::Nesting`].
    Fuse,
    /// io_uring(7).
    IoUring,
    /// User namespaces below the cell's, and mounts in them.
    Nesting,
    /// ICMP echo.
    Ping,
}

impl CallSet {
    /// Every set.
    pub const ALL: [Self; 5] = [Self::Debug, Self::Fuse, Self::IoUring, Self::Nesting, Self::Ping];
}

/// Kinds of request that a class can switch off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Allow {
    /// A login shell.
    Shell,
    /// A command.
    Exec,
    /// The subsystem `sftp`, by our own server.
    Sftp,
    /// A terminal.
    Pty,
    /// Environment variables, by `accept_env`.
    Env,
    /// Signals.
    Signal,
    /// Connections out of the cell's network, to ports and to sockets: `ssh -L`, `-D`, `-W`, `-J`.
    LocalForward,
    /// Listening in the cell, on ports and on sockets: `ssh -R`.
    RemoteForward,
    /// The client's agent, as a socket in the cell: `ssh -A`.
    Agent,
    /// The client's display: `ssh -X`.
    X11,
}

impl Allow {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Shell,
        Self::Exec,
        Self::Sftp,
        Self::Pty,
        Self::Env,
        Self::Signal,
        Self::LocalForward,
        Self::RemoteForward,
        Self::Agent,
        Self::X11,
    ];
}
