//! What a monitor tells the listener that forked it. Nothing is said in the other direction.

use serde::{Deserialize, Serialize};

use crate::base::TenantName;

/// From a monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// The client logged in: the connection no longer counts as a startup.
    LoggedIn,
    /// A cell was entered. Brings its pidfd, so that the listener can sweep up after it, whoever
    /// started it and however long that one lives.
    CellEntered {
        /// Whose.
        tenant: TenantName,
        /// The pid of its init.
        pid: i32,
    },
}
