//! Asks PAM for one login, on behalf of a monitor, and keeps the PAM session of it.
//!
//! Exec'd by a monitor, as root, with a link to it as descriptor 3. Modules are the admin's choice, load
//! whatever they like and may hang or crash: so they run here, in a process that holds nothing but what
//! the user types. It links libpam and nothing else of cellblock; the messages are one shared file.
//!
//! It outlives the monitor by as long as it takes to close the session.

use std::process::ExitCode;

#[path = "../../src/base/secret.rs"]
pub mod secret;
#[path = "../../src/wire/pam.rs"]
pub mod wire;

/// Where the shared files look for it.
mod base {
    pub(crate) use crate::secret::Secret;
}

mod ffi;
mod link;
mod login;

fn main() -> ExitCode {
    match login::run() {
        Ok(()) => ExitCode::SUCCESS,
        // The monitor is gone, or made no sense: there is nobody to tell.
        Err(_gone) => ExitCode::FAILURE,
    }
}
