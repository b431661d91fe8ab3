//! What the host's sshd does for accounts that are tenants, and what of it leads around their cells.
//!
//! sshd is asked about each of them (`sshd -T -C user=…`) and says itself which line it goes by; its config
//! is not interpreted here, only cited. Changes nothing. For `cellblock check --sshd` and `doctor`.

mod accounts;
mod answer;
mod ask;
mod judge;
mod leak;
mod look;
mod origin;
mod pam;

pub use accounts::names as accounts;
pub use ask::program;
pub use leak::Leak;
pub use look::{Looked, look};

/// Where sshd's config lies.
pub const CONFIG: &str = "/etc/ssh/sshd_config";
