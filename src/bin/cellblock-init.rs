//! pid 1 of a cell. See `init`.

use std::process::ExitCode;

/// There is nobody to tell why: the exit status is all that the monitor sees.
fn main() -> ExitCode {
    match cellblock::init::live() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_errno) => ExitCode::FAILURE,
    }
}
