//! pid 1 of a cell: first `jail`, which makes the cell around it, then `init`.

use std::process::ExitCode;

use cellblock::init::{Groups, live};
use cellblock::jail::{Built, become_cell};
use cellblock::sys::Errno;

/// There is nobody to tell why: the exit status is all that is seen.
fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_errno) => ExitCode::FAILURE,
    }
}

fn run() -> Result<(), Errno> {
    let Some(Built { listener, first_link, mut session_groups, v2 }) = become_cell()? else { return Ok(()) };
    let groups = match (v2, session_groups.pop()) {
        (true, Some(directory)) => Groups::V2(directory),
        (_, last) => Groups::V1(session_groups.into_iter().chain(last).collect()),
    };
    live(listener, first_link, groups)
}
