//! The listener: accepts, counts, forks a monitor per connection, and sweeps up after cells.
//!
//! One process per host, root. It reads nothing from the network, from its monitors only that
//! somebody logged in or entered a cell, and from the admin's verbs that the config is to be read
//! again. Its end, by whatever means, ends no session.

mod callers;
mod cells;
mod control;
mod door;
mod guard;
mod host_keys;
mod lasting;
mod monitors;
mod partings;
mod penalties;
mod programs;
mod serve;
mod sockets;
mod startups;

pub use host_keys::make_ed25519;
pub use programs::{HeldPrograms, Programs};
pub use serve::{Options, Stop, serve};
