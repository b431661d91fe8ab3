//! Each tenant's last login, for the line that greets the next one.

use std::{fs, io, net::IpAddr, os::unix::fs::DirBuilderExt as _, path::Path};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::{Result, TenantName, fail};
use crate::config::settings::kept;
use crate::sys::{
    file::{Crash, Links, read_trusted, write_atomic},
    zone,
};

/// Longest record: a time and an address.
const MAX_RECORD: usize = 256;

/// When and from where somebody logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastLogin {
    /// Seconds since 1970.
    pub seconds: i64,
    /// From where.
    pub from: IpAddr,
}

impl LastLogin {
    /// A login that happens now.
    #[must_use]
    pub fn now(from: IpAddr) -> Self {
        Self { seconds: Timestamp::now().as_second(), from: from.to_canonical() }
    }

    /// The line as sshd prints it, in the host's time zone, without its newline.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        let time = Timestamp::from_second(self.seconds).ok()?.to_zoned(zone::system().ok()?);
        Some(format!("Last login: {} from {}", time.strftime("%a %b %e %H:%M:%S %Y"), self.from))
    }
}

/// Keeps `this` as `tenant`'s last login and returns the one before.
pub fn exchange(state_dir: &Path, tenant: &TenantName, this: LastLogin) -> Result<Option<LastLogin>> {
    let dir = kept(state_dir, tenant);
    let path = dir.join("last_login");
    let before = read(&path)?;
    let bytes = serde_json::to_vec(&this).map_err(|cause| fail("keeping the last login in", path.display(), cause))?;
    make_dir(&dir)?;
    // The session starts after this: no greeting is worth waiting for a disk.
    write_atomic(&path, &bytes, 0o600, Crash::MayLose)
        .map_err(|why| fail("keeping the last login in", path.display(), why))?;
    Ok(before)
}

fn read(path: &Path) -> Result<Option<LastLogin>> {
    match read_trusted(path, Links::Refuse, MAX_RECORD) {
        // A record that does not read is one of a later version, or damaged: the next one replaces it.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(why) if why.is_missing() => Ok(None),
        Err(why) => Err(fail("reading the last login in", path.display(), why)),
    }
}

fn make_dir(dir: &Path) -> Result<()> {
    match fs::DirBuilder::new().mode(0o700).recursive(true).create(dir) {
        Ok(()) => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(cause) => Err(fail("making", dir.display(), cause)),
    }
}
