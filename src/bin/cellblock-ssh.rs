//! `cellblock-ssh`: speaks SSH with one client, in a sandbox, for a monitor that started it.
//!
//! The `ssh` room is mounted here and not in the library, so that nothing privileged links russh.

#[path = "../ssh/mod.rs"]
mod ssh;

fn main() -> std::process::ExitCode {
    ssh::serve::run()
}
