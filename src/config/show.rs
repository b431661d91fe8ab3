//! Values of the config as TOML text, and how those that are tables take in what they lie over.

use std::{collections::BTreeMap, collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use super::capabilities;
use super::finding::Place;
use super::password_hash::PasswordHash;
use super::permit::Permit;
use super::settings::{
    Allow, AuthorizedKey, CallSet, Enforce, Linger, MaxStartups, Network, Overflow, RekeyLimit, Root, User,
};
use crate::base::hours::Hours;
use crate::base::{Block, Bytes, ClassName, Cores, Span};
use crate::wire::login::Method;
use crate::wire::sftp::Access;

/// A value that a key can have.
pub(super) trait Setting {
    /// As TOML.
    fn show(&self) -> String;

    /// Takes in what the value under it has and it has not. Only tables merge; all else replaces.
    fn take_in(&mut self, _under: &Self) {}

    /// The entries of a table, each as TOML and with the place where it was set.
    fn entries(&self) -> Vec<(String, String, Place)> {
        Vec::new()
    }
}

/// A line of `authorized_keys` and what it says.
#[derive(Debug, Clone)]
pub(super) struct KeyLine {
    pub(super) line: String,
    pub(super) key: AuthorizedKey,
}

/// Sequences of methods.
#[derive(Debug, Clone)]
pub(super) struct Ways(pub(super) Vec<Vec<Method>>);

/// Capabilities, bit N for number N.
#[derive(Debug, Clone, Copy)]
pub(super) struct Capabilities(pub(super) u64);

/// Permissions that new files do not get.
#[derive(Debug, Clone, Copy)]
pub(super) struct Umask(pub(super) u32);

/// Environment variables, each with the place where it was set.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables(pub(super) BTreeMap<String, (String, Place)>);

fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

macro_rules! show {
    ($($type:ty: |$value:ident| $shown:expr;)*) => {
        $(impl Setting for $type {
            fn show(&self) -> String {
                let $value = self;
                $shown
            }
        })*
    };
}

show! {
    bool: |value| value.to_string();
    u8: |value| value.to_string();
    u32: |value| value.to_string();
    u64: |value| value.to_string();
    String: |value| quote(value);
    PathBuf: |value| quote(&value.to_string_lossy());
    ClassName: |value| quote(value.as_str());
    Bytes: |value| quote(&value.to_string());
    Cores: |value| value.to_string();
    Enforce: |value| quote(match value {
        Enforce::Strict => "strict",
        Enforce::BestEffort => "best-effort",
    });
    Duration: |value| quote(&Span(*value).to_string());
    MaxStartups: |value| quote(&format!("{}:{}:{}", value.begin, value.rate, value.full));
    Root: |value| match value {
        Root::Host => quote("host"),
        Root::Directory(path) => quote(&path.to_string_lossy()),
    };
    User: |value| quote(match value {
        User::Tenant => "tenant",
        User::Root => "root",
    });
    Network: |value| quote(match value {
        Network::None => "none",
        Network::Host => "host",
    });
    Linger: |value| match value {
        Linger::For(time) => time.show(),
        Linger::Forever => quote("forever"),
    };
    Vec<SocketAddr>: |value| list(value.iter().map(|address| quote(&address.to_string())));
    Vec<Block>: |value| list(value.iter().map(|block| quote(&block.to_string())));
    Vec<Hours>: |value| list(value.iter().map(|hours| quote(&hours.to_string())));
    RekeyLimit: |value| quote(&format!("{} {}", value.bytes, Span(value.time)));
    Overflow: |value| quote(match value {
        Overflow::Permissive => "permissive",
        Overflow::DenyAll => "deny-all",
    });
    Vec<PathBuf>: |value| list(value.iter().map(Setting::show));
    Vec<String>: |value| list(value.iter().map(Setting::show));
    Ways: |value| list(value.0.iter().map(|way| quote(&joined(way))));
    PasswordHash: |value| quote(value.scheme());
    Vec<KeyLine>: |value| list(value.iter().map(|key| quote(&key.line)));
    Permit: |value| match value {
        Permit::Any => list(std::iter::once(quote("any"))),
        Permit::Only(entries) if entries.is_empty() => list(std::iter::once(quote("none"))),
        Permit::Only(entries) => list(entries.iter().map(|entry| quote(&entry.to_string()))),
    };
    Access: |value| quote(value.word());
    Umask: |value| quote(&format!("{:03o}", value.0));
    Capabilities: |value| list(capabilities::names(value.0).map(quote));
    BTreeSet<Allow>: |value| list(value.iter().map(|allow| quote(word(*allow))));
    BTreeSet<CallSet>: |value| list(value.iter().map(|set| quote(call_set(*set))));
}

impl Setting for Variables {
    fn show(&self) -> String {
        let entries: Vec<String> =
            self.0.iter().map(|(name, (value, _))| format!("{name} = {}", quote(value))).collect();
        if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
    }

    fn take_in(&mut self, under: &Self) {
        for (name, value) in &under.0 {
            if !self.0.contains_key(name) {
                self.0.insert(name.clone(), value.clone());
            }
        }
    }

    fn entries(&self) -> Vec<(String, String, Place)> {
        self.0.iter().map(|(name, (value, place))| (name.clone(), quote(value), *place)).collect()
    }
}

/// A sequence of methods, as it is written.
pub(super) fn joined(way: &[Method]) -> String {
    way.iter().map(|method| method.name()).collect::<Vec<_>>().join("+")
}

/// The word for a set of system calls.
pub(super) const fn call_set(set: CallSet) -> &'static str {
    match set {
        CallSet::Debug => "debug",
        CallSet::Fuse => "fuse",
        CallSet::IoUring => "io_uring",
        CallSet::Nesting => "nesting",
        CallSet::Ping => "ping",
    }
}

/// The word for a kind of request.
pub(super) const fn word(allow: Allow) -> &'static str {
    match allow {
        Allow::Shell => "shell",
        Allow::Exec => "exec",
        Allow::Sftp => "sftp",
        Allow::Pty => "pty",
        Allow::Env => "env",
        Allow::Signal => "signal",
        Allow::LocalForward => "local-forward",
        Allow::RemoteForward => "remote-forward",
        Allow::Agent => "agent",
        Allow::X11 => "x11",
    }
}
