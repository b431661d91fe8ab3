//! Everything privileged, and all that an admin asks for: the verbs of `cellblock`, which becomes this. See `cli`.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    cellblock::cli::run(env::args_os())
}
