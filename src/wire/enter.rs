//! The enter door: a process of this host, who asks, and the monitor that the listener forked for it.
//!
//! The caller calls once and is answered once; whoever is let in goes on as an ssh process whose client
//! is logged in does ([`Request`](super::login::Request), [`Reply`](super::login::Reply)), with one
//! session. Nothing that a caller says is believed: who it is, the kernel says.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::login::LoggedIn;

/// Where the listener of an installed cellblock takes callers.
pub const SOCKET: &str = "/run/cellblock/enter.sock";

/// By this name `cellblock` is a login shell (passwd(5)), which asks to be let in there.
pub const SHELL_NAME: &str = "cellblock-shell";

/// Where the listener with this `run_dir` does.
#[must_use]
pub fn socket(run_dir: &Path) -> PathBuf {
    run_dir.join("enter.sock")
}

/// From the caller, first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Whose cell to enter, if that is named: whoever is not root may name themselves alone.
    pub tenant: Option<String>,
    /// Both ends of the connection that the caller says it came by (`SSH_CONNECTION`), the client's
    /// first: for programs in the cell to see.
    pub came_by: Option<(SocketAddr, SocketAddr)>,
}

/// To the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Let in: a session may be asked for.
    Entered(LoggedIn),
    /// Not let in. The last word.
    Refused(NoEntry),
}

/// Why a caller is not let in. Whoever asks has an account on this host, so they may know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoEntry {
    /// The host account is no tenant.
    NoTenant,
    /// It is another tenant than the one that was named.
    Another,
    /// Root has to name a tenant.
    Unnamed,
    /// There is no such tenant. Said to root alone.
    Unknown,
    /// The tenant is locked.
    Locked,
    /// Outside of the tenant's hours.
    Closed,
    /// The tenant has as many connections as they may.
    TooMany,
    /// Too many callers wait, or have failed just now.
    Busy,
    /// Something of ours failed; the admin's log has it.
    Failed,
}

impl NoEntry {
    /// The sentence for the caller.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::NoTenant => "Your account on this host is no tenant of cellblock. Please ask the administrator.",
            Self::Another => "Only root can enter the cell of another tenant.",
            Self::Unnamed => "Root is no tenant: say whose cell to enter, as in `cellblock enter alice`.",
            Self::Unknown => "There is no such tenant.",
            Self::Locked => "This account is locked.",
            Self::Closed => "This account is closed at this time.",
            Self::TooMany => "Too many connections are open.",
            Self::Busy => "Not allowed at this time: too many have asked. Try again in a few seconds.",
            Self::Failed => "The cell could not be entered. Please tell the administrator.",
        }
    }
}
