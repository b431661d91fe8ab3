//! The few files of `/etc` that a cell with `root = "host"` gets of its own. Pure.

use crate::base::TenantName;
use crate::config::settings::{Jail, Network, User};

/// Group of terminals, as on Debian and Fedora.
pub(super) const TTY_GROUP: u32 = 5;

/// What the host's own `/etc` lends, if it has it: no secrets, nothing about accounts.
pub(super) const LENT: [&str; 18] = [
    "alternatives",
    "bash.bashrc",
    "bashrc",
    "ca-certificates",
    "inputrc",
    "ld.so.cache",
    "localtime",
    "login.defs",
    "mime.types",
    "pki",
    "profile",
    "profile.d",
    "protocols",
    "services",
    "shells",
    "skel",
    "ssl/certs",
    "terminfo",
];

/// Files by their name in `/etc`.
pub(super) fn files(name: &TenantName, jail: &Jail, resolver: &str) -> Vec<(&'static str, String)> {
    let Jail { home, shell, hostname, .. } = jail;
    let id = jail.user.id();
    let (root_home, user) = match jail.user {
        User::Root => (home.as_str(), String::new()),
        User::Tenant => ("/root", format!("{name}:x:{id}:{id}::{home}:{shell}\n")),
    };
    let group = match jail.user {
        User::Root => String::new(),
        User::Tenant => format!("{name}:x:{id}:\n"),
    };
    vec![
        (
            "passwd",
            format!("root:x:0:0:root:{root_home}:{shell}\n{user}nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"),
        ),
        ("group", format!("root:x:0:\ntty:x:{TTY_GROUP}:\n{group}nogroup:x:65534:\n")),
        ("hostname", format!("{hostname}\n")),
        ("hosts", format!("127.0.0.1 localhost {hostname}\n::1 localhost ip6-localhost ip6-loopback\n")),
        ("resolv.conf", if jail.network == Network::Host { resolver.to_owned() } else { String::new() }),
        (
            "nsswitch.conf",
            "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n".into(),
        ),
        ("motd", String::new()),
    ]
}
