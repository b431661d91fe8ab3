//! Messages between our own processes: one `SOCK_SEQPACKET` packet is one message, encoded with
//! postcard, at most 192 KiB and 4 descriptors.
//!
//! What does not decode, is too long or carries the wrong number of descriptors is an error; the
//! reader ends the link. Nothing here decides anything.

pub mod control;
pub mod door;
pub mod enter;
pub mod forward;
pub mod init;
pub mod link;
pub mod login;
pub mod modes;
pub mod pam;
pub mod session;
pub mod sftp;
pub mod variables;
pub mod verify;

pub use link::{Link, LinkError};
