//! Whether what a tenant's settings ask of whoever logs in can be had.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::files::Files;
use super::finding::{Finding, Findings, Place};
use super::keys::TenantLayer;
use super::password_hash::PasswordHash;
use super::show::joined;
use crate::base::TenantName;
use crate::wire::login::Method;

/// What there is to log in with.
#[derive(Debug)]
pub(super) struct Means<'a> {
    pub(super) auth: &'a [Vec<Method>],
    pub(super) has_key: bool,
    pub(super) locked: bool,
}

/// Reports what cannot be passed, and hashes that others can read.
pub(super) fn check(
    name: &TenantName,
    place: Place,
    whole: &TenantLayer,
    means: &Means<'_>,
    files: &Files,
    findings: &mut Findings,
) {
    if let Some(password) = &whole.password {
        if !means.auth.iter().flatten().any(|method| *method == Method::Password) {
            let finding = Finding::warning(password.place, "this password is asked of nobody");
            findings.push(
                finding.hint("auth = [\"publickey\", \"password\"] lets in by either, \"publickey+password\" by both"),
            );
        }
        let path = files.path(password.place.file);
        // Its directories are root's, so this is the file that was read.
        if fs::metadata(&path).is_ok_and(|facts| facts.permissions().mode() & 0o044 != 0) {
            let finding =
                Finding::warning(password.place, "others than root can read this hash, and try passwords against it");
            findings.push(finding.hint(format!("chmod 600 {}", path.display())));
        }
    }
    let has_password = whole.password.as_ref().is_some_and(|set| set.value != PasswordHash::Locked);
    let missing = |method: &Method| match method {
        Method::PublicKey => (!means.has_key).then_some("key"),
        Method::Password => (!has_password).then_some("password"),
        // What PAM asks for is PAM's matter.
        Method::KeyboardInteractive => None,
    };
    let open = means.auth.iter().any(|way| way.iter().all(|method| missing(method).is_none()));
    // Whom sshd lets in may need nothing here.
    let tied = whole.host_user.is_some() || whole.host_group.is_some();
    // After an error, what is missing may be what could not be read.
    if open || tied || means.locked || findings.has_errors() {
        return;
    }
    let what = means.auth.iter().flatten().find_map(missing).unwrap_or("way");
    let finding = Finding::warning(place, format!("nobody can log in as `{name}`: there is no {what}"));
    let hint = match what {
        "key" => "set `authorized_keys` or `authorized_keys_file`, or `locked = true` if that is meant".to_owned(),
        _password => {
            let ways: Vec<String> = means.auth.iter().map(|way| joined(way)).collect();
            format!("`auth` asks for {}: set `password` (`cellblock passwd` makes it)", ways.join(" or "))
        }
    };
    findings.push(finding.hint(hint));
}
