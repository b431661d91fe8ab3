//! The syscall room: the only `unsafe`, the only libc, nix and rustix. Thin, without policy.
//!
//! Every function says which call it makes and what it promises; what it means is decided above.
#![expect(unsafe_code, reason = "this is the one room for raw system calls")]

pub mod append;
pub mod attempt;
pub mod before_exec;
pub mod cgroup;
pub mod credentials;
pub mod entry;
pub mod error;
pub mod fd;
pub mod file;
pub mod landlock;
pub mod lease;
pub mod lock;
pub mod map;
pub mod memfd;
pub mod mount;
pub mod namespace;
pub mod net;
pub mod output;
pub mod parting;
pub mod path;
pub mod poll;
pub mod process;
pub mod processes;
pub mod pty;
pub mod random;
pub mod sandbox;
pub mod seccomp;
pub mod seqpacket;
pub mod signal;
pub mod stream;
pub mod support;
pub mod syscalls;
pub mod tcp;
pub mod title;
pub mod trace;
pub mod typed;
pub mod zone;

pub use error::{Errno, SysResult};
