//! What a monitor tells the listener that forked it. In the other direction only a monitor is spoken to that waits
//! for a caller of this host.

use serde::{Deserialize, Serialize};

use crate::base::TenantName;

/// From a monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// The client logged in: the connection no longer counts as a startup. After [`Word::Ended`]: its client proved
    /// who they are and is turned away.
    LoggedIn,
    /// A cell was entered. Brings its pidfd, so that the listener can sweep up after it, whoever
    /// started it and however long that one lives.
    CellEntered {
        /// Whose.
        tenant: TenantName,
        /// The pid of its init.
        pid: i32,
    },
    /// The connection ended without a login, or will, like this; none: by what says nothing about who was at its
    /// other end.
    Ended(Option<Outcome>),
}

/// To a monitor that waits: its caller. Brings the socket and, where the kernel has it, the pidfd of the process that
/// connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// Of that process: for the audit file alone.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
}

/// How a connection ended that nobody logged in to, in the words of OpenSSH's penalties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Outcome {
    /// A process of ours crashed, or was caught saying what it must not.
    Crash,
    /// Tries to log in failed.
    AuthFail,
    /// The last of them was as nobody.
    InvalidUser,
    /// There was none.
    NoAuth,
    /// There was no more time.
    GraceExceeded,
    /// Somebody proved who they are and may not come in now.
    RefusedConnection,
}

impl Outcome {
    /// For the audit file and the admin: as in sshd_config(5).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::AuthFail => "authfail",
            Self::InvalidUser => "invaliduser",
            Self::NoAuth => "noauth",
            Self::GraceExceeded => "grace-exceeded",
            Self::RefusedConnection => "refuseconnection",
        }
    }
}
