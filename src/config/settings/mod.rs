//! What a checked config says: effective values, after `defaults`, class and tenant are merged.
//!
//! These travel in the compiled config, so every type here encodes with postcard.

mod jail;
mod server;
mod tenant;

pub use jail::{Allow, CallSet, Enforce, Jail, Limits, Linger, Network, Root, Sftp, User};
pub use server::{IdPool, MaxStartups, Overflow, Penalties, RekeyLimit, Server, Stranger};
pub use tenant::{AuthorizedKey, KeyOptions, KeyRole, KeysCommand, OpenHours, Tenant, kept, kept_of_all};
