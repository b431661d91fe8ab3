//! Looking at the host. Judges nothing; what could not be looked at says so.

mod config;
mod groups;
mod ids;
mod jobs;
mod kernel;
mod mounts;
mod sshd;

use std::path::Path;

use super::facts::Facts;
use crate::sys::process;

/// Looks at this host, and at what the config at `path` names. For a process with one thread.
#[must_use]
pub fn gather(path: &Path) -> Facts {
    let eyes = if process::effective_uid() == 0 { Eyes::Roots } else { Eyes::Others };
    Facts { kernel: kernel::gather(eyes), groups: groups::gather(), config: config::gather(path, eyes) }
}

/// Whose eyes these are: some things only root can look at, or try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Eyes {
    Roots,
    Others,
}

/// Why nobody but root can look at something.
const NEEDS_ROOT: &str = "only root can look: run it with sudo";
