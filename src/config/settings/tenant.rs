//! A tenant: who may log in as one, when, and to do what.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::Jail;
use crate::base::hours::Hours;
use crate::base::{ClassName, TenantName};
use crate::config::password_hash::PasswordHash;
use crate::config::permit::Permit;
use crate::wire::login::Method;

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
