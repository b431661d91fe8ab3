//! cellblock: an SSH front door that lands every tenant in a jail of their own.
//!
//! The rooms, in the order in which a login flows through them. A room uses only rooms above it
//! (`tests/layering.rs` enforces it); `ARCHITECTURE.md` tells what each process does with them.
//! The `ssh` room is not listed: it is part of `cellblock-ssh` alone, so that nothing privileged
//! can link russh or tokio.

pub mod base;
pub mod sys;

pub mod wire;

pub mod config;

pub mod policy;

pub mod account;
pub mod auth;
pub mod init;
pub mod jail;
pub mod probe;
pub mod sftp;

pub mod sshd;

pub mod doctor;
pub mod enter;
pub mod monitor;
pub mod verify;

pub mod listen;

pub mod cli;
