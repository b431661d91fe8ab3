//! What every room speaks: validated names, units, failures, escaped text, secrets.
//!
//! Nothing here touches the system.

mod block;
mod escape;
mod failure;
mod fields;
pub mod hours;
mod name;
mod secret;
mod session_id;
mod units;
mod wildcard;
mod words;

pub use block::{Block, BlockError};
pub use escape::{escape, escape_bytes, escape_bytes_to, escape_to};
pub use failure::{Failure, Result, fail};
pub use fields::Fields;
pub use name::{ClassName, NameError, TenantName};
pub use secret::Secret;
pub use session_id::{SessionId, SessionIdError};
pub use units::{Bytes, Cores, Span, UnitError};
pub use wildcard::matches;
pub use words::command_line;
