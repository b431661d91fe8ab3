//! `cellblock`: everything privileged. What it does is chosen by its first argument; see `cli`.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    cellblock::cli::run(env::args_os())
}
