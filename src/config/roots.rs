//! Directories that become `/` of a cell, and files that must lie outside of all of them.
//!
//! Looks at directories above roots, never into a root.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
};

use super::authorized_keys::{parse_file, remark};
use super::files::{FileId, Files};
use super::finding::{Finding, Findings, Place};
use super::keys_command::Commands;
use super::pam::Pam;
use super::revoked::{MAX_REVOKED, Presented, is_revoked};
use super::settings::{KeyRole, Server, kept_of_all};
use super::ties::Ties;
use crate::base::TenantName;
use crate::sys::Errno;
use crate::sys::file::{Links, TrustedDir, Untrusted, read_trusted};

/// One authorized_keys file, here and at login.
pub const MAX_KEYS_FILE: usize = 1 << 20;

/// What has been seen of roots and key files so far, over all tenants.
#[derive(Debug, Default)]
pub(super) struct Roots {
    /// Directories that hold roots: many tenants share one, so each is opened once.
    parents: HashMap<PathBuf, Result<TrustedDir, Untrusted>>,
    used: BTreeMap<PathBuf, (TenantName, Place)>,
    keys_files: Vec<(PathBuf, Place)>,
    keys_seen: HashSet<PathBuf>,
    pub(super) commands: Commands,
    pub(super) pam: Pam,
    pub(super) ties: Ties,
    /// Of those, the ones with a `cert-authority` line.
    naming_authorities: HashSet<PathBuf>,
}

impl Roots {
    /// Checks one tenant's root directory.
    pub(super) fn check(
        &mut self,
        root: &Path,
        tenant: &TenantName,
        place: Place,
        files: &Files,
        findings: &mut Findings,
    ) {
        if let Some((other, at)) = self.used.get(root) {
            let message = format!("{} is the root of two tenants, `{other}` and `{tenant}`", root.display());
            let hint =
                format!("a root that can be written to serves one tenant; {other}'s is set at {}", files.where_is(*at));
            return findings.push(Finding::error(place, message).hint(hint));
        }
        self.used.insert(root.to_owned(), (tenant.clone(), place));
        let (Some(parent), Some(name)) = (root.parent(), root.file_name()) else { return };
        if !self.parents.contains_key(parent) {
            self.parents.insert(parent.to_owned(), TrustedDir::open(parent, Links::Refuse));
        }
        let dir = match self.parents.get(parent) {
            Some(Ok(dir)) => dir,
            Some(Err(untrusted)) => {
                let message =
                    format!("the root's directory {} cannot be used: {}", untrusted.path.display(), untrusted.why);
                let missing = untrusted.is_missing().then(|| format!("mkdir -m 0700 {}", untrusted.path.display()));
                return findings.push(Finding::error(place, message).maybe_hint(missing.or(untrusted.hint())));
            }
            None => return,
        };
        let found = match dir.has_directory(name) {
            Ok(true) => None,
            Ok(false) => Some(Finding::error(place, format!("{} is not a directory", root.display()))),
            Err(Errno::ENOENT) => Some(
                Finding::error(place, format!("{} does not exist", root.display()))
                    .hint(format!("mmdebstrap --variant=minbase stable {}", root.display())),
            ),
            Err(errno) => Some(Finding::error(place, format!("{} cannot be looked at: {errno}", root.display()))),
        };
        if let Some(finding) = found {
            return findings.push(finding);
        }
        if !dir.is_private() {
            let message = format!("users of the host can get into {}", root.display());
            let why = "a program with setuid that a tenant puts there would be one for them";
            findings.push(Finding::error(place, message).hint(format!("{why}: chmod 0700 {}", parent.display())));
        }
    }

    /// Checks one tenant's file of keys.
    pub(super) fn check_keys_file(&mut self, path: &Path, place: Place, findings: &mut Findings) {
        if !self.keys_seen.insert(path.to_owned()) {
            return;
        }
        self.keys_files.push((path.to_owned(), place));
        let shown = path.display();
        let bytes = match read_trusted(path, Links::Refuse, MAX_KEYS_FILE) {
            Ok(bytes) => bytes,
            Err(untrusted) if untrusted.is_missing() => {
                return findings.push(Finding::warning(place, format!("{shown} does not exist, so it lets nobody in")));
            }
            Err(untrusted) => {
                let finding = Finding::error(place, format!("the keys cannot be used: {untrusted}"));
                return findings.push(finding.maybe_hint(untrusted.hint()));
            }
        };
        let Ok(text) = str::from_utf8(&bytes) else {
            return findings.push(Finding::error(place, format!("{shown} is not UTF-8")));
        };
        let (keys, errors) = parse_file(text);
        if keys.iter().any(|key| key.role != KeyRole::User) {
            self.naming_authorities.insert(path.to_owned());
        }
        if let Some((message, hint)) = keys.iter().find_map(remark) {
            findings.push(Finding::warning(place, format!("{shown}: {message}")).hint(hint));
        }
        for (line, error) in errors {
            let finding = Finding::warning(place, format!("{shown}:{line} lets nobody in: {error}"));
            findings.push(finding.maybe_hint(error.advice().map(str::to_owned)));
        }
    }

    /// Checks one tenant's list of revoked keys. Whatever is wrong with it would keep everybody out.
    pub(super) fn check_revoked(&mut self, path: &Path, place: Place, findings: &mut Findings) {
        if !self.keys_seen.insert(path.to_owned()) {
            return;
        }
        self.keys_files.push((path.to_owned(), place));
        let bytes = match read_trusted(path, Links::Refuse, MAX_REVOKED) {
            Ok(bytes) => bytes,
            Err(untrusted) => {
                let finding = Finding::error(place, format!("the revoked keys cannot be used: {untrusted}"));
                let missing = untrusted.is_missing().then(|| format!("touch {}", path.display()));
                return findings.push(finding.maybe_hint(missing.or(untrusted.hint())));
            }
        };
        if let Err(bad) = is_revoked(&bytes, &Presented { key: &[], certificate: None }) {
            let message = format!("the revoked keys in {} cannot be used: {bad}", path.display());
            findings.push(Finding::error(place, message).hint(bad.advice()));
        }
    }

    /// Whether the file of keys, which was checked, names authorities.
    pub(super) fn names_authorities(&self, path: &Path) -> bool {
        self.naming_authorities.contains(path)
    }

    /// Checks what only all tenants together can show: what lies inside a root, where a tenant
    /// could change it.
    pub(super) fn check_together(&self, server: &Server, files: &Files, findings: &mut Findings) {
        for (root, (tenant, place)) in &self.used {
            if let Some((outer, (other, at))) = self.above(root) {
                let message = format!("the root of `{tenant}` lies inside {}, the root of `{other}`", outer.display());
                let finding = Finding::error(*place, message);
                findings.push(finding.hint(format!("{other}'s is set at {}", files.where_is(*at))));
            }
        }
        let homes = kept_of_all(&server.state_dir);
        for (path, place) in &self.keys_files {
            if path.starts_with(&homes) {
                let message = format!("the file lies inside {}, where tenants' homes are", homes.display());
                findings.push(Finding::error(*place, message).hint("keep it beside cellblock.toml"));
            } else if let Some((root, (tenant, _at))) = self.above(path) {
                let message =
                    format!("the file lies inside {}, so `{tenant}` could write keys into it", root.display());
                findings.push(Finding::error(*place, message).hint("keep it beside cellblock.toml"));
            }
        }
        let main = files.path(FileId::Main);
        let ours = [&main, &server.state_dir, &server.run_dir, &server.audit_log].into_iter().chain(&server.host_keys);
        for path in ours {
            if let Some((root, (tenant, place))) = self.holding(path) {
                let message = format!("{} lies inside {}, the root of `{tenant}`", path.display(), root.display());
                findings
                    .push(Finding::error(*place, message).hint("give the tenant a directory that holds nothing else"));
            }
        }
    }

    /// The root that is `path`, or above it.
    fn holding(&self, path: &Path) -> Option<(&PathBuf, &(TenantName, Place))> {
        path.ancestors().find_map(|above| self.used.get_key_value(above))
    }

    fn above(&self, path: &Path) -> Option<(&PathBuf, &(TenantName, Place))> {
        self.holding(path.parent()?)
    }
}
