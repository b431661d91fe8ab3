//! What is kept of what happened: the audit file, last logins, the admin's log.
//!
//! Listener and monitors write; nobody here reads back anything but a last login. Text from tenants
//! or the network is escaped before it gets into a line.

mod allowance;
mod audit;
mod event;
mod last_login;
mod log;
mod refused;

pub use allowance::Allowance;
pub use audit::Audit;
pub use event::{CertificateText, Event, ExitText, now_text, text_ago, text_ago_short};
pub use last_login::{LastLogin, exchange};
pub use log::start_logging;
pub use refused::Refusals;
