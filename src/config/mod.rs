//! The config: TOML to typed to checked to compiled.
//!
//! Reads files that only root may write; never touches anything else. What is wrong becomes a
//! finding with `file:line:col`, all findings at once; nothing half-checked gets out.

pub mod authorized_keys;
mod capabilities;
mod check;
mod compiled;
mod explain;
mod files;
mod finding;
mod keys;
mod keys_command;
mod load;
mod login;
mod merge;
mod nearest;
mod own;
mod pam;
mod password_hash;
pub mod permit;
mod programs;
mod raw;
mod read;
mod reference;
pub mod revoked;
mod roots;
#[cfg(test)]
pub(crate) mod sample;
pub mod settings;
mod show;
mod ties;

pub use compiled::{Builder, Compiled};
pub use explain::{Explained, Explanation};
pub use files::Cited;
pub use finding::{Report, draw_error};
pub use load::{Loaded, load, load_and_explain, load_server, read_server};
pub use own::{default_jail, load_own};
pub use pam::{PAM_PROGRAM, has_service, needs_pam};
pub use password_hash::{BadHash, MAX_AT_ONCE, PasswordHash};
pub use programs::{installed, open_installed, open_program};
pub use reference::reference;
pub use roots::MAX_KEYS_FILE;
