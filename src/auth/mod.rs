//! Who may log in: a claim (user name, key, address) becomes an identity, or a reason for the log.
//!
//! Runs in the monitor. Reads the config and root's key files, changes nothing, and never lets a
//! client see why it was refused: every refusal is the same words after the same time.

mod even;
mod keys;
mod password;

pub use even::{even_out, even_out_password};
pub use keys::{Claim, Refused, fingerprint, prove};
pub use password::{hash, prove_password};
