//! Who may log in: a claim (user name, key, address) becomes an identity, or a reason for the log.
//!
//! Runs in the monitor. Reads the config and root's key files, changes nothing, and never lets a
//! client see why it was refused: every refusal is the same words after the same time.

mod certificates;
mod command;
mod even;
mod fields;
mod host;
mod keys;
mod pam;
mod password;
mod sources;

pub use certificates::{BadCertificate, judge_certificate};
pub use even::{even_out, even_out_list, even_out_password};
pub use host::{HostAccount, HostClaim, NotTied, host_account, own_identity, prove_host};
pub use keys::{Claim, Lines, Refused, certified_fingerprint, fingerprint, prove, prove_certificate};
pub use pam::Candidate;
pub use password::{hash, prove_password};
pub use sources::{Source, ask_in_vain, key_lines};
