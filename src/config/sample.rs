//! Settings for tests of other rooms, which change what they are about.

use std::{collections::BTreeSet, time::Duration};

use super::permit::Permit;
use super::settings::{Jail, Limits, Linger, Network, Root, Sftp, User};
use crate::base::Bytes;
use crate::wire::sftp::Access;

/// A jail that allows nothing, on the host's files.
pub(crate) fn jail() -> Jail {
    Jail {
        root: Root::Host,
        user: User::Tenant,
        shell: "/bin/sh".into(),
        home: "/home/alice".into(),
        hostname: "alice".into(),
        network: Network::None,
        linger: Linger::For(Duration::ZERO),
        ids: 65_536,
        limits: Limits { tmp: Bytes(1), run: Bytes(2), shm: Bytes(3), nofile: 4, ..Limits::default() },
        allow: BTreeSet::new(),
        command: None,
        sftp: Sftp { access: Access::ReadWrite, umask: None },
        permit_open: Permit::Any,
        permit_listen: Permit::Any,
        accept_env: Vec::new(),
        set_env: Vec::new(),
        capabilities: 0,
        no_new_privs: true,
        syscalls: BTreeSet::new(),
        max_sessions: 1,
        max_connections: 64,
        motd: false,
    }
}
