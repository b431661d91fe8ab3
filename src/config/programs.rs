//! Where our other programs are.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::base::{Result, fail};

/// Where packages put programs that nobody calls by name.
pub(super) const LIBEXEC: &str = "/usr/libexec/cellblock";

/// The program of ours called `name`: beside this one, or in libexec.
pub fn installed(name: &str) -> Result<PathBuf> {
    let own = env::current_exe().map_err(|cause| fail("finding", name, cause))?;
    let places = [own.with_file_name(name), Path::new(LIBEXEC).join(name)];
    let found = places.iter().find(|path| path.is_file()).cloned();
    found.ok_or_else(|| fail("finding", name, format!("it is neither beside {} nor in {LIBEXEC}", own.display())))
}
