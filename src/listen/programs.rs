//! Our other programs: found once, at the start, so that an upgrade on disk reaches nobody half-way.

use std::{
    ffi::CStr,
    fs::File,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use crate::base::{Result, fail};
use crate::config::{PAM_PROGRAM, installed, open_program};
use crate::sys::{memfd, path::by_descriptor};

/// Where the admin says that they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Programs {
    /// `cellblock-ssh`.
    pub ssh: Option<PathBuf>,
    /// `cellblock-init`.
    pub init: Option<PathBuf>,
}

/// Programs that are found even where their paths lead nowhere any more.
#[derive(Debug)]
pub struct HeldPrograms {
    ssh: File,
    init: File,
}

impl HeldPrograms {
    /// Where this process, and whatever forks from it, finds them while this value lives.
    #[must_use]
    pub fn by_number(&self) -> Programs {
        let path = |file: &File| Some(by_descriptor(file.as_fd()));
        Programs { ssh: path(&self.ssh), init: path(&self.init) }
    }
}

impl Programs {
    /// Opens them.
    pub fn hold(&self) -> Result<HeldPrograms> {
        let ssh = open_program(&find("cellblock-ssh", self.ssh.as_deref())?)?;
        Ok(HeldPrograms { ssh, init: open_program(&find("cellblock-init", self.init.as_deref())?)? })
    }

    /// A sealed copy of `cellblock-ssh`.
    pub(super) fn seal_ssh(&self) -> Result<OwnedFd> {
        seal(c"cellblock-ssh", &find("cellblock-ssh", self.ssh.as_deref())?)
    }

    /// A sealed copy of `cellblock-pam`, where it is installed: not every host needs it.
    pub(super) fn seal_pam() -> Result<Option<OwnedFd>> {
        match installed(PAM_PROGRAM) {
            Ok(path) => seal(c"cellblock-pam", &path).map(Some),
            Err(_missing) => Ok(None),
        }
    }

    /// The path of `cellblock-init`.
    pub fn find_init(&self) -> Result<PathBuf> {
        let path = find("cellblock-init", self.init.as_deref())?;
        open_program(&path)?;
        Ok(path)
    }
}

/// As the admin says; or where it is installed.
fn find(name: &str, given: Option<&Path>) -> Result<PathBuf> {
    match given {
        Some(path) => Ok(path.to_owned()),
        None => {
            let option = name.trim_start_matches("cellblock-");
            installed(name).map_err(|failure| failure.hint(format!("say where it is: --{option}-program PATH")))
        }
    }
}

fn seal(name: &CStr, path: &Path) -> Result<OwnedFd> {
    memfd::sealed_program(name, &mut open_program(path)?).map_err(|cause| fail("taking", path.display(), cause))
}
