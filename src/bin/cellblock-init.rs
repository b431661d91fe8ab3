//! pid 1 of a cell, and the probe that `cellblock verify` starts in one. See `init` and `probe`.

use std::{env, process::ExitCode};

use cellblock::wire::init::handover;

/// There is nobody to tell why: the exit status is all that the monitor sees.
fn main() -> ExitCode {
    if env::args_os().next().is_some_and(|name| name == handover::PROBE) {
        return cellblock::probe::run();
    }
    match cellblock::init::live() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_errno) => ExitCode::FAILURE,
    }
}
