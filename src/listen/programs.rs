//! Our other programs: found once, at the start, so that an upgrade on disk reaches nobody half-way.

use std::{
    env,
    ffi::CStr,
    fs::File,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use crate::base::{Result, fail};
use crate::sys::memfd;

/// Where packages put programs that nobody calls by name.
const LIBEXEC: &str = "/usr/libexec/cellblock";

/// Where the admin says that they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Programs {
    /// `cellblock-ssh`.
    pub ssh: Option<PathBuf>,
    /// `cellblock-init`.
    pub init: Option<PathBuf>,
}

impl Programs {
    /// A sealed copy of `cellblock-ssh`.
    pub(super) fn seal_ssh(&self) -> Result<OwnedFd> {
        seal(c"cellblock-ssh", &find("cellblock-ssh", self.ssh.as_deref())?)
    }

    /// The path of `cellblock-init`.
    pub fn find_init(&self) -> Result<PathBuf> {
        find("cellblock-init", self.init.as_deref())
    }
}

/// As the admin says; or beside this program; or in libexec.
fn find(name: &str, given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    let own = env::current_exe().map_err(|cause| fail("finding", name, cause))?;
    let sibling = own.with_file_name(name);
    let places = [sibling, Path::new(LIBEXEC).join(name)];
    places.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        let option = name.trim_start_matches("cellblock-");
        fail("finding", name, format!("it is neither beside {} nor in {LIBEXEC}", own.display()))
            .hint(format!("say where it is: --{option}-program PATH"))
    })
}

fn seal(name: &CStr, path: &Path) -> Result<OwnedFd> {
    let failed = |cause: &dyn std::fmt::Display| fail("taking", path.display(), cause);
    let mut file = File::open(path).map_err(|cause| failed(&cause))?;
    let meta = file.metadata().map_err(|cause| failed(&cause))?;
    if !meta.is_file() || meta.uid() != 0 || meta.mode() & 0o022 != 0 {
        return Err(failed(&"it is not a file that only root can write")
            .hint(format!("chown root {0} && chmod go-w {0}", path.display())));
    }
    memfd::sealed_program(name, &mut file).map_err(|cause| failed(&cause))
}
