//! pid 1 of a cell: first `jail`, which makes the cell around it, then `init`. And the probe that
//! `cellblock verify` starts in one, and the sftp server of its sessions.

use std::{env, process::ExitCode};

use cellblock::init::{Bounds, Given, Groups, Ids, live};
use cellblock::jail::{Built, become_cell};
use cellblock::sys::Errno;
use cellblock::wire::init::{PROBE, SFTP};

/// There is nobody to tell why: the exit status is all that is seen.
fn main() -> ExitCode {
    let name = env::args_os().next().unwrap_or_default();
    if name == PROBE {
        return cellblock::probe::run();
    }
    if name == SFTP {
        return cellblock::sftp::run();
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_errno) => ExitCode::FAILURE,
    }
}

fn run() -> Result<(), Errno> {
    let Some(built) = become_cell()? else { return Ok(()) };
    let Built { listener, first_link, mut session_groups, v2, filter, calls, memory_event, board, only_id } = built;
    let groups = match (v2, session_groups.pop()) {
        (true, Some(directory)) => Groups::V2(directory),
        (_, last) => Groups::V1(session_groups.into_iter().chain(last).collect()),
    };
    let bounds = Bounds::read(filter, calls, if only_id { Ids::One } else { Ids::Many })?;
    live(Given { listener, first_link, groups, bounds, memory_event, board })
}
