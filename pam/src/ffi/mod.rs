//! libpam (pam(3)), and the few calls of libc beside it: the only `unsafe` of this program.
#![expect(unsafe_code, reason = "libpam is a C library")]

mod abi;
mod converse;
mod process;
mod transaction;

pub(crate) use converse::{Conversation, Message};
pub(crate) use process::{Limit, let_signals_pass, take_descriptor};
pub(crate) use transaction::{Outcome, Pam};
