//! The ssh process: everything that reads what a client sends, in a sandbox (`sandbox.rs`).
//!
//! `serve.rs` is its life from start to end. It decides nothing about who may do what: it
//! translates between SSH and the messages of `wire::login`, moves bytes, and holds no privilege
//! and no secret but the host keys. It must never open a file, a socket or a process.

mod ahead;
mod algorithms;
mod answers;
mod channels;
mod confirmations;
mod descriptor;
mod end;
mod filter;
mod flow;
mod forwards;
mod handler;
mod idle;
mod monitor;
mod overheard;
mod ready;
mod requests;
mod sandbox;
pub(crate) mod serve;
mod session;
mod socket;
mod translator;
