//! What an identity may do: identity → grant → the session that a request comes to.
//!
//! Pure: reads and changes nothing. Monitors use it; there is no other way to a
//! [`Start`](crate::wire::init::Start) than through a [`Grant`].

mod account;
mod environment;
mod forward;
mod grant;
mod identity;
mod internal_sftp;
mod pattern;
mod rlimits;
mod sequence;

pub use forward::Prohibited;
pub use grant::{Ask, Ends, Grant, Told, grant};
pub use identity::{Identity, Proof};
pub use pattern::{BadPattern, from_allows, networks_allow};
pub use rlimits::{DEFINED, UNLIMITED};
pub use sequence::{is_complete, next_methods};
