//! What an identity was granted, and the session that each of its requests comes to.

use std::{net::SocketAddr, time::Duration};

use crate::base::{SessionId, TenantName, command_line};
use crate::config::settings::{Allow, KeyOptions, Linger, Tenant};
use crate::wire::init::{Greeting, Start};
use crate::wire::login::{LoggedIn, Refusal};
use crate::wire::session::{MAX_COMMAND, Program, Terminal};
use crate::wire::sftp::Access;

use super::account::account;
use super::environment::{Sources, environment};
use super::identity::{Identity, Proof};
use super::internal_sftp::{Options, internal_sftp};

/// The subsystem that is served without a forced command.
const SFTP: &str = "sftp";
/// What a forced command is told of the one that was asked for.
const ORIGINAL: &str = "SSH_ORIGINAL_COMMAND";
/// Most encoded terminal modes: RFC 4254 knows opcodes below 160.
const MAX_MODES: usize = 160;

/// The two ends of a connection, as seen here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The client's.
    pub peer: SocketAddr,
    /// Ours.
    pub local: SocketAddr,
}

/// What a client asks to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// What to run.
    pub program: Program,
    /// With a terminal, or with pipes.
    pub terminal: Option<Terminal>,
    /// What it asks to be set.
    pub environment: Vec<(String, String)>,
    /// Variables that lead to sockets of its connection: `SSH_AUTH_SOCK`, `DISPLAY`, `XAUTHORITY`.
    pub sockets: Vec<(&'static str, String)>,
}

/// What a session tells whoever logs in, besides running.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// The `Last login:` line, if there was one.
    pub last_login: Option<String>,
    /// What modules of PAM said when its session opened; empty where it was not asked.
    pub said: String,
}

/// What a session runs.
struct Runs {
    program: Program,
    /// What the client asked for where that is something else.
    original: Option<String>,
    /// Where it is not that of the jail.
    umask: Option<u32>,
}

/// An identity, the one jail that it may use, and what it may ask for there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    identity: Identity,
    tenant: Tenant,
    ends: Option<Ends>,
}

/// Grants `tenant`'s jail to `identity`. `None`: it is somebody else's, or locked.
///
/// `ends` are those of the network connection; of one to another server, if that is what `identity` says
/// it came by; or none.
#[must_use]
pub fn grant(identity: Identity, tenant: Tenant, ends: impl Into<Option<Ends>>) -> Option<Grant> {
    let ends = ends.into();
    (*identity.tenant() == tenant.name && !tenant.locked).then_some(Grant { identity, tenant, ends })
}

impl Grant {
    /// Whose it is.
    #[must_use]
    pub fn name(&self) -> &TenantName {
        &self.tenant.name
    }

    /// Who proved it.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The tenant whose jail it is.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// What the ssh process may know of it.
    #[must_use]
    pub fn outline(&self) -> LoggedIn {
        LoggedIn {
            idle_timeout: self.tenant.idle_timeout,
            channel_timeout: self.tenant.channel_timeout,
            forward_timeout: self.tenant.forward_timeout,
            pty: self.gives_terminals(),
            signals: self.takes_signals(),
            accept_env: self.accept_env().to_vec(),
        }
    }

    /// The session number `session`, named `id`, that `ask` comes to.
    pub fn session(&self, session: u64, id: SessionId, ask: Ask, told: &Told) -> Result<Start, Refusal> {
        let jail = &self.tenant.jail;
        let terminal = match ask.terminal {
            Some(terminal) if self.gives_terminals() && terminal.modes.len() <= MAX_MODES => Some(terminal),
            Some(_) => return Err(Refusal::NotAllowed),
            None => None,
        };
        let Runs { program, original, umask } = self.runs(ask.program)?;
        let mut account = account(&self.tenant);
        if let Program::Sftp(_) = program {
            // A server of files has no use for a terminal, and its replies would not pass through one.
            if terminal.is_some() {
                return Err(Refusal::NotAllowed);
            }
            account.umask = umask.or(jail.sftp.umask).unwrap_or(account.umask);
        }
        let environment = environment(&Sources {
            account: &account,
            client: &ask.environment,
            accept: self.accept_env(),
            set: &jail.set_env,
            connection: self.connection(original).into_iter().chain(ask.sockets).collect(),
            term: terminal.as_ref().map(|terminal| terminal.term.as_str()),
        });
        let greeting = (program == Program::Shell && terminal.is_some() && jail.motd).then(|| Greeting {
            said: told.said.clone(),
            last_login: told.last_login.clone(),
            motd: true,
        });
        Ok(Start {
            session,
            id,
            // What somebody of this host says of where they come from is for their own programs alone.
            peer: self.ends.map(|ends| ends.peer).filter(|_| !self.identity.proof().is_of_this_host()),
            program,
            terminal,
            account,
            environment,
            greeting,
            linger: linger(jail.linger),
            max_sessions: jail.max_sessions,
        })
    }

    /// The session number `session`, named `id`, that runs the probe, with pipes. What a client may ask for does
    /// not bear on it; all that a jail gives to a session, it gets as an ssh login does. `None`: only
    /// root of the host may have it.
    #[must_use]
    pub fn probe(&self, session: u64, id: SessionId) -> Option<Start> {
        match self.identity.proof() {
            Proof::Key { .. }
            | Proof::Certificate { .. }
            | Proof::Password
            | Proof::Pam
            | Proof::HostAccount { .. } => return None,
            Proof::HostRoot => {}
        }
        let jail = &self.tenant.jail;
        let account = account(&self.tenant);
        let environment = environment(&Sources {
            account: &account,
            client: &[],
            accept: &[],
            set: &jail.set_env,
            connection: self.connection(None),
            term: None,
        });
        Some(Start {
            session,
            id,
            peer: None,
            program: Program::Probe,
            terminal: None,
            account,
            environment,
            greeting: None,
            linger: linger(jail.linger),
            max_sessions: jail.max_sessions,
        })
    }

    /// Whether signals are delivered.
    #[must_use]
    pub fn takes_signals(&self) -> bool {
        self.allows(Allow::Signal)
    }

    /// Which variables a client may set.
    fn accept_env(&self) -> &[String] {
        if self.tenant.jail.allow.contains(&Allow::Env) { &self.tenant.jail.accept_env } else { &[] }
    }

    fn gives_terminals(&self) -> bool {
        self.allows(Allow::Pty)
    }

    /// Whether requests of this kind are answered: by the class, and by the key that was used. Root of
    /// the host may have everything: what a class switches off, it switches off for its tenants.
    #[must_use]
    pub fn allows(&self, kind: Allow) -> bool {
        if *self.identity.proof() == Proof::HostRoot {
            return true;
        }
        let by_key = self.identity.proof().options().is_none_or(|options| key_allows(options, kind));
        by_key && self.tenant.jail.allow.contains(&kind)
    }

    /// What runs.
    fn runs(&self, asked: Program) -> Result<Runs, Refusal> {
        let asked = match asked {
            Program::Words(words) if are_too_long(&words) => return Err(Refusal::TooLong),
            Program::Words(words) if *self.identity.proof() == Proof::HostRoot => return of_words(words),
            Program::Words(words) => Program::Command(command_line(&words)),
            Program::Shell | Program::Command(_) | Program::Subsystem(_) | Program::Probe | Program::Sftp(_) => asked,
        };
        let forced = self.forced();
        if let Some(options) = forced.and_then(internal_sftp) {
            return self.sftp(&options.ok_or(Refusal::NotAllowed)?);
        }
        let original = match &asked {
            Program::Shell if !self.allows(Allow::Shell) => return Err(Refusal::NotAllowed),
            Program::Shell => None,
            Program::Command(_) if !self.allows(Allow::Exec) => return Err(Refusal::NotAllowed),
            Program::Command(command) if command.contains(&0) => return Err(Refusal::NotAllowed),
            Program::Command(command) if command.len() > MAX_COMMAND => return Err(Refusal::TooLong),
            Program::Command(command) => Some(command.as_slice()),
            Program::Subsystem(name) if forced.is_none() && name == SFTP => return self.sftp(&Options::default()),
            // A forced command decides what a subsystem is; nothing else here knows any.
            Program::Subsystem(name) => {
                if forced.is_none() || !self.allows(Allow::Exec) || name.contains('\0') {
                    return Err(Refusal::NotAllowed);
                }
                Some(name.as_bytes())
            }
            Program::Probe | Program::Sftp(_) | Program::Words(_) => return Err(Refusal::NotAllowed),
        };
        match forced {
            None => Ok(Runs { program: asked, original: None, umask: None }),
            Some(forced) => {
                // A variable's name and value are one string to the kernel.
                if original.is_some_and(|text| text.len() + ORIGINAL.len() + "=".len() > MAX_COMMAND) {
                    return Err(Refusal::TooLong);
                }
                // A forced command decides by this text: what cannot be handed on exactly is refused.
                let original = original.map(|bytes| String::from_utf8(bytes.to_vec())).transpose();
                let original = original.map_err(|_not_utf8| Refusal::NotAllowed)?;
                Ok(Runs { program: Program::Command(forced.as_bytes().to_vec()), original, umask: None })
            }
        }
    }

    fn sftp(&self, options: &Options) -> Result<Runs, Refusal> {
        if !self.allows(Allow::Sftp) {
            return Err(Refusal::NotAllowed);
        }
        let access = match (self.tenant.jail.sftp.access, options.read_only) {
            (access, false) => access,
            (Access::ReadWrite | Access::ReadOnly, true) => Access::ReadOnly,
            // Nothing is left of that.
            (Access::DropBox, true) => return Err(Refusal::NotAllowed),
        };
        Ok(Runs { program: Program::Sftp(access), original: None, umask: options.umask })
    }

    /// The config goes before the key, as `ForceCommand` does in sshd. Nothing forces root of the host.
    fn forced(&self) -> Option<&str> {
        if *self.identity.proof() == Proof::HostRoot {
            return None;
        }
        let of_key = self.identity.proof().options().and_then(|options| options.command.as_deref());
        self.tenant.jail.command.as_deref().or(of_key)
    }

    fn connection(&self, original: Option<String>) -> Vec<(&'static str, String)> {
        let mut out = Vec::new();
        if let Some(Ends { peer, local }) = self.ends {
            let (from, to) = (peer.ip().to_canonical(), local.ip().to_canonical());
            out.push(("SSH_CLIENT", format!("{from} {} {}", peer.port(), local.port())));
            out.push(("SSH_CONNECTION", format!("{from} {} {to} {}", peer.port(), local.port())));
        }
        out.extend(original.map(|command| (ORIGINAL, command)));
        out
    }
}

/// What a line of `authorized_keys` leaves of a kind (sshd(8), `restrict` and the `no-` options).
fn key_allows(options: &KeyOptions, kind: Allow) -> bool {
    match kind {
        Allow::Pty => !options.no_pty,
        Allow::LocalForward | Allow::RemoteForward => !options.no_port_forwarding,
        Allow::Agent => !options.no_agent_forwarding,
        Allow::X11 => !options.no_x11_forwarding,
        Allow::Shell | Allow::Exec | Allow::Sftp | Allow::Env | Allow::Signal => true,
    }
}

pub(super) fn linger(linger: Linger) -> Option<Duration> {
    match linger {
        Linger::For(time) => Some(time),
        Linger::Forever => None,
    }
}

/// Each word counts as what a shell's command line would have of it, with two quotes and a blank.
fn are_too_long(words: &[Vec<u8>]) -> bool {
    words.iter().map(|word| word.len() + 3).sum::<usize>() > MAX_COMMAND
}

/// What root of the host runs: nothing but the kernel holds for it.
fn of_words(words: Vec<Vec<u8>>) -> Result<Runs, Refusal> {
    if words.is_empty() || words.iter().any(|word| word.contains(&0)) {
        return Err(Refusal::NotAllowed);
    }
    Ok(Runs { program: Program::Words(words), original: None, umask: None })
}

#[cfg(test)]
mod tests;
