//! The root process that serves one connection: between the ssh process, which is believed nothing,
//! and the init of the tenant's cell.
//!
//! Forked by the listener, and dies alone. It never reads a byte from the network: only typed,
//! bounded messages, in the order that `phase` allows.

mod caller;
mod cell;
mod clock;
pub mod confine;
mod dialogue;
mod ear;
mod files;
mod forwards;
mod hashing;
mod leaving;
mod limits;
mod login;
mod outcome;
mod pam;
mod phase;
mod pipeline;
mod progress;
mod seats;
mod serve;
mod sessions;
mod ssh;
mod starting;
mod unwanted;

pub use caller::{Caller, Find, Tied, attend};
pub use cell::Entered;
pub use ear::Ear;
pub use hashing::Hashing;
pub use outcome::Tally;
pub use pipeline::{Conn, EnterCell, FindTenant, House, ReadLines, converse, run};
pub use seats::Seats;
pub use sessions::MAX_CHANNELS;
