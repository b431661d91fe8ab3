//! The directory of one `cellblock try`. Held open: what is removed in the end lies in that directory, and not in
//! another that has come to bear its path.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::AsFd as _,
        unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use crate::base::{Failure, Result, fail};
use crate::jail::{Rights, can_shift};
use crate::sys::file::{Links, TrustedDir};
use crate::sys::path::by_descriptor;
use crate::sys::{process, random};

/// What is made in it.
const OURS: [&str; 10] = [
    "state",
    "run",
    "audit.jsonl",
    "cellblock.toml",
    "ssh_config",
    "known_hosts",
    "id_ed25519",
    "id_ed25519.pub",
    "host_ed25519",
    "host_ed25519.pub",
];

/// See the module.
pub(super) struct Place {
    /// Its path, without links.
    pub(super) dir: PathBuf,
    opened: File,
    /// What it was made in; none: it was there.
    made_in: Option<File>,
}

impl Place {
    /// The directory `given`, which may be there and must hold nothing of ours; or a new one.
    pub(super) fn make(given: Option<&Path>, rights: Rights) -> Result<Self> {
        let dir = match given {
            Some(dir) => std::path::absolute(dir).map_err(|cause| fail("finding", dir.display(), cause))?,
            None => {
                let bytes: [u8; 4] = random::bytes().map_err(|errno| fail("naming", "a directory", errno))?;
                // Homes are shifted to their tenants' ids; /tmp may be a tmpfs that cannot be.
                let above = if rights != Rights::Root || can_shift(Path::new("/tmp"))? { "/tmp" } else { "/var/tmp" };
                PathBuf::from(format!("{above}/cellblock-try-{:08x}", u32::from_ne_bytes(bytes)))
            }
        };
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            // Nothing is in it yet, so this removes no more than was made.
            Ok(()) => Self::open(&dir, true, rights).inspect_err(|_failure| fs::remove_dir(&dir).unwrap_or_default()),
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists && given.is_some() => {
                Self::open(&dir, false, rights)
            }
            Err(cause) => Err(fail("making", dir.display(), cause)),
        }
    }

    /// Refuses a directory that is another's, that others could put in another's place, or that holds what we would
    /// write over; and closes it to others.
    fn open(dir: &Path, made: bool, rights: Rights) -> Result<Self> {
        let failed = |cause| fail("using", dir.display(), cause);
        let opened = File::open(dir).map_err(failed)?;
        let dir = fs::read_link(by_descriptor(opened.as_fd())).map_err(failed)?;
        let refused = |cause: &dyn std::fmt::Display| -> Failure { fail("using", dir.display(), cause) };
        let found = opened.metadata().map_err(|cause| refused(&cause))?;
        if found.uid() != process::effective_uid() {
            return Err(refused(&format_args!("it belongs to uid {}", found.uid())));
        }
        opened.set_permissions(fs::Permissions::from_mode(0o700)).map_err(|cause| refused(&cause))?;
        if rights == Rights::Root {
            TrustedDir::open(&dir, Links::Refuse).map_err(|untrusted| match untrusted.hint() {
                Some(hint) => refused(&untrusted).hint(hint),
                None => refused(&untrusted),
            })?;
        }
        if let Some(name) = OURS.iter().find(|name| by_descriptor(opened.as_fd()).join(name).symlink_metadata().is_ok())
        {
            let hint = "name an empty or a new directory";
            return Err(refused(&format_args!("{name} is there already")).hint(hint));
        }
        let above = dir.parent().filter(|_| made).map(File::open).transpose();
        let made_in = above.map_err(|cause| refused(&cause))?;
        Ok(Self { dir, opened, made_in })
    }

    /// Removes what was made, and nothing else. Links in homes are removed, not followed.
    pub(super) fn remove(self) -> Result<()> {
        let mut removed = Ok(());
        for name in OURS {
            let path = by_descriptor(self.opened.as_fd()).join(name);
            let gone = match path.symlink_metadata() {
                Err(_missing) => continue,
                Ok(meta) if meta.is_dir() => fs::remove_dir_all(&path),
                Ok(_file) => fs::remove_file(&path),
            };
            // The rest goes all the same: keys are in it.
            removed = removed.and(gone.map_err(|cause| fail("removing", self.dir.join(name).display(), cause)));
        }
        removed?;
        let (Some(above), Some(name)) = (self.made_in, self.dir.file_name()) else { return Ok(()) };
        // An ordinary user's door does not see what lies above.
        fs::remove_dir(by_descriptor(above.as_fd()).join(name))
            .map_err(|cause| fail("removing", self.dir.display(), cause))
    }
}
