//! Where our other programs are, and whether they are nobody else's.

use std::{
    env,
    fs::{self, File, Metadata},
    os::unix::fs::MetadataExt as _,
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

/// [`installed`], and [opened](open_program).
pub fn open_installed(name: &str) -> Result<(PathBuf, File)> {
    let path = installed(name)?;
    let file = open_program(&path)?;
    Ok((path, file))
}

/// Opens a program of ours. Only root can write it; or only whoever can write this one, which root
/// runs already: a clone that a user built and runs by sudo. Where the path is a link, it is one of theirs: a directory
/// like `/tmp` takes those of others.
pub fn open_program(path: &Path) -> Result<File> {
    let failed = |cause: &dyn std::fmt::Display| fail("taking", path.display(), cause);
    let file = File::open(path).map_err(|cause| failed(&cause))?;
    let meta = file.metadata().map_err(|cause| failed(&cause))?;
    let own = fs::metadata("/proc/self/exe").map_err(|cause| failed(&cause))?;
    let writers = |of: &Metadata| (of.uid(), of.gid(), of.mode() & 0o022);
    let entry = fs::symlink_metadata(path).map_err(|cause| failed(&cause))?;
    if entry.is_symlink() && ![0, own.uid()].contains(&entry.uid()) {
        return Err(failed(&format_args!("uid {} has put a link there", entry.uid())));
    }
    let only_root = meta.uid() == 0 && meta.mode() & 0o022 == 0;
    if !meta.is_file() || !only_root && writers(&meta) != writers(&own) {
        return Err(failed(&"it is not a file that only root can write")
            .hint(format!("chown root {0} && chmod go-w {0}", path.display())));
    }
    Ok(file)
}
