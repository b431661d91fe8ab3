//! Our other programs: found once, at the start, so that an upgrade on disk reaches nobody half-way.

use std::{
    ffi::CStr,
    fs::{self, File, Metadata},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use crate::base::{Result, fail};
use crate::config::{PAM_PROGRAM, installed};
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
        let ssh = open(&find("cellblock-ssh", self.ssh.as_deref())?)?;
        Ok(HeldPrograms { ssh, init: open(&find("cellblock-init", self.init.as_deref())?)? })
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
        open(&path)?;
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
    memfd::sealed_program(name, &mut open(path)?).map_err(|cause| fail("taking", path.display(), cause))
}

/// Opens a program of ours. Only root can write it; or only whoever can write this one, which root
/// runs already: a clone that a user built and runs by sudo.
fn open(path: &Path) -> Result<File> {
    let failed = |cause: &dyn std::fmt::Display| fail("taking", path.display(), cause);
    let file = File::open(path).map_err(|cause| failed(&cause))?;
    let meta = file.metadata().map_err(|cause| failed(&cause))?;
    let own = fs::metadata("/proc/self/exe").map_err(|cause| failed(&cause))?;
    let writers = |of: &Metadata| (of.uid(), of.gid(), of.mode() & 0o022);
    let only_root = meta.uid() == 0 && meta.mode() & 0o022 == 0;
    if !meta.is_file() || !only_root && writers(&meta) != writers(&own) {
        return Err(failed(&"it is not a file that only root can write")
            .hint(format!("chown root {0} && chmod go-w {0}", path.display())));
    }
    Ok(file)
}
