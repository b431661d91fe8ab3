//! The config, and what it names.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::mounts::Roots;
use super::{Eyes, NEEDS_ROOT, ids, jobs, sshd};
use crate::config::settings::{Network, Root, Server};
use crate::config::{Compiled, PAM_PROGRAM, has_service, installed, load, needs_pam, read_server};
use crate::doctor::facts::{Config, Named, Pam, Sshd, Tenants, Trust};
use crate::sys::file::{Links, TrustedDir, Untrusted, read_trusted};
use crate::sys::support;

/// Names that are kept to be shown.
const MAX_NAMES: usize = 8;

/// As the loader's: the file is read for nothing but whether it can be.
const MAX_CONFIG: usize = 64 << 20;

pub(super) fn gather(path: &Path, eyes: Eyes) -> Config {
    let path = std::path::absolute(path).unwrap_or_else(|_no_cwd| path.to_owned());
    if eyes == Eyes::Others && path.symlink_metadata().is_ok() {
        return Config::Unseen(path, NEEDS_ROOT.into());
    }
    match read_trusted(&path, Links::Follow, MAX_CONFIG) {
        Ok(_text) => {}
        Err(why) if why.is_missing() => return Config::Missing(path),
        Err(why) => return Config::Unusable { path, errors: 1, remedy: why.hint() },
    }
    let server = match read_server(&path) {
        (Some(server), _report) => server,
        (None, report) => return Config::Unusable { path, errors: report.errors(), remedy: None },
    };
    let (compiled, errors) = match load(&path) {
        Ok(loaded) => (Some(loaded.compiled), 0),
        Err(report) => (None, report.errors()),
    };
    Config::Read(Box::new(named(path, &server, compiled.as_ref(), errors, eyes)))
}

fn named(path: PathBuf, server: &Server, compiled: Option<&Compiled>, errors: usize, eyes: Eyes) -> Named {
    let sshd = sshd::gather(eyes);
    let mut roots = Roots::default();
    let mut tenants = Tenants::default();
    let mut pam = Pam { program: installed(PAM_PROGRAM).ok(), ..Pam::default() };
    if let Some(compiled) = compiled {
        let accounts = if sshd == Sshd::Absent { Default::default() } else { support::host_account_names() };
        for tenant in compiled.tenants().filter_map(Result::ok) {
            tenants.count += 1;
            if tenant.jail.network == Network::Host && tenants.on_host_network.len() < MAX_NAMES {
                tenants.on_host_network.push(tenant.name.clone());
            }
            if accounts.contains(tenant.name.as_str()) && tenants.named_like_accounts.len() < MAX_NAMES {
                tenants.named_like_accounts.push(tenant.name.clone());
            }
            if needs_pam(&tenant) && !tenant.locked {
                if pam.tenants.len() < MAX_NAMES {
                    pam.tenants.push(tenant.name.clone());
                }
                let service = &tenant.pam_service;
                if pam.missing.len() < MAX_NAMES && !pam.missing.contains(service) && !has_service(service) {
                    pam.missing.push(service.clone());
                }
            }
            match &tenant.jail.root {
                Root::Directory(root) => roots.add(root),
                Root::Host => {}
            }
        }
    }
    let (mounts, untried) = roots.look(&server.state_dir, eyes);
    let private = |key, path: &PathBuf| (key, path.clone(), directory(path, 0o077));
    // Callers go through it to `enter.sock`.
    let passable = |key, path: &PathBuf| (key, path.clone(), directory(path, 0o066));
    Named {
        path,
        errors,
        tenants,
        max_connections: server.max_connections,
        listen: server.listen.clone(),
        mounts,
        untried,
        directories: vec![private("state_dir", &server.state_dir), passable("run_dir", &server.run_dir)],
        host_keys: server.host_keys.iter().map(|key| (key.clone(), file(key))).collect(),
        pam,
        ids: ids::gather(server, eyes),
        leaks: sshd::leaks(compiled, &sshd, eyes),
        jobs: jobs::gather(compiled, eyes),
        sshd,
    }
}

/// A directory that has none of these permissions.
fn directory(path: &Path, closed: u32) -> Trust {
    match TrustedDir::open(path, Links::Follow) {
        Ok(dir) if dir.is_private() => Trust::Private,
        Ok(_open) => match fs::metadata(path).map(|found| found.mode() & 0o7777) {
            Ok(mode) if mode & closed == 0 => Trust::Private,
            mode => Trust::Open(mode.unwrap_or(0)),
        },
        Err(why) => distrusted(&why),
    }
}

/// A file that nobody but root may read. Not opened: what it says is a secret.
fn file(path: &Path) -> Trust {
    let Some(parent) = path.parent() else { return Trust::Missing };
    if let Err(why) = TrustedDir::open(parent, Links::Follow) {
        return distrusted(&why);
    }
    let shown = path.display();
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => Trust::Changeable(format!("{shown}: it is not a regular file"), None),
        Ok(found) if found.uid() != 0 => Trust::Changeable(
            format!("{shown}: it belongs to uid {}", found.uid()),
            Some(format!("chown root {shown}")),
        ),
        Ok(found) if found.mode() & 0o022 != 0 => Trust::Changeable(
            format!("{shown}: others than root can write to it (mode {:04o})", found.mode() & 0o7777),
            Some(format!("chmod 600 {shown}")),
        ),
        Ok(found) if found.mode() & 0o077 != 0 => Trust::Open(found.mode() & 0o7777),
        Ok(_private) => Trust::Private,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Trust::Missing,
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => Trust::Unseen(NEEDS_ROOT.into()),
        Err(cause) => Trust::Unseen(cause.to_string()),
    }
}

fn distrusted(why: &Untrusted) -> Trust {
    use crate::sys::Errno;
    use crate::sys::file::Distrust;
    if why.is_missing() {
        return Trust::Missing;
    }
    match why.why {
        Distrust::Os(Errno::EACCES) => Trust::Unseen(NEEDS_ROOT.into()),
        Distrust::Os(errno) => Trust::Unseen(format!("{}: {errno}", why.path.display())),
        Distrust::Owner(_)
        | Distrust::Writable(_)
        | Distrust::Stranger(_)
        | Distrust::Loose(_)
        | Distrust::NotFile
        | Distrust::NotDirectory
        | Distrust::Link
        | Distrust::TooLarge(_)
        | Distrust::Form => Trust::Changeable(why.to_string(), why.hint()),
    }
}
