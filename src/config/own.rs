//! The config of an ordinary user's own jail (`cellblock enter --rootless`): the same sections but `[server]`, and of
//! their keys those that a jail without a listener has a use for. The file is the user's, and steers nobody else.

use std::path::Path;

use super::check;
use super::files::{FileId, Files};
use super::finding::{Finding, Findings, Place, Report};
use super::keys::{Layer as _, TenantLayer};
use super::merge::Bases;
use super::raw;
use super::roots::Roots;
use super::settings::{Root, Tenant};
use crate::base::TenantName;

/// Keys that mean there what they mean everywhere; those of `limits` and `set_env` go by their tables.
const HELD: [&str; 17] = [
    "class",
    "root",
    "user",
    "shell",
    "home",
    "hostname",
    "network",
    "linger",
    "allow",
    "command",
    "accept_env",
    "set_env",
    "capabilities",
    "no_new_privs",
    "syscalls",
    "max_sessions",
    "motd",
];
/// Their tables.
const HELD_TABLES: [&str; 2] = ["limits.", "set_env."];

/// What stands in for a file where none is named.
const BUILT_IN: &str = "(built in)";

/// The tenant `name` by the file `path`, which belongs to `owner` or root.
pub fn load_own(path: &Path, owner: u32, name: &TenantName) -> Result<Tenant, Report> {
    let mut findings = Findings::default();
    let files = Files::own(path, owner, &mut findings);
    read(&files, name, findings)
}

/// A jail for `name` where no file says anything: every default, without the limits that only root can set.
pub fn default_jail(name: &TenantName) -> Result<Tenant, Report> {
    let text = format!("[tenant.{name}]\nlimits = {{ enforce = \"best-effort\" }}\n");
    read(&Files::of_text(BUILT_IN, text), name, Findings::default())
}

fn read(files: &Files, name: &TenantName, mut findings: Findings) -> Result<Tenant, Report> {
    let main = raw::parse(files.main_text(), FileId::Main, &mut findings);
    let sections = raw::sections(&main, &mut findings);
    if sections.server.is_some() {
        let finding = Finding::error(Place::file(FileId::Main), "[server] means nothing: there is no listener");
        findings.push(finding.hint("leave that section out"));
    }
    let mut defaults = raw::built_in::<TenantLayer>(&mut findings);
    if let Some(body) = sections.defaults {
        let own: TenantLayer = raw::layer(body, FileId::Main, &mut findings);
        if let Some(class) = &own.class {
            findings.push(Finding::error(class.place, "a class cannot be set for all tenants"));
        }
        defaults.cover(own);
        defaults.class = None;
    }
    let bases = Bases::new(defaults, &sections.classes, &mut findings);
    let Some(found) = sections.tenants.iter().find(|tenant| *tenant.name == name.as_str()) else {
        let finding = Finding::error(Place::file(FileId::Main), format!("there is no tenant `{name}`"));
        findings.push(finding.hint(format!("add [tenant.{name}], or name the tenant that is meant")));
        return Err(findings.report(files));
    };
    let own: TenantLayer = raw::layer(found.body, FileId::Main, &mut findings);
    let mut whole = bases.cover_with(own, &mut findings);
    refuse_what_is_not_held(&whole, &mut findings);
    if findings.has_errors() {
        // The checks of the rest look at the host as root.
        return Err(findings.report(files));
    }
    let tenant = check::tenant(name.clone(), found.place, &mut whole, &mut Roots::default(), files, &mut findings);
    match tenant {
        Some(tenant) if !findings.has_errors() => Ok(tenant),
        Some(_) | None => Err(findings.report(files)),
    }
}

fn refuse_what_is_not_held(whole: &TenantLayer, findings: &mut Findings) {
    if let Some(root) = whole.root.as_ref().filter(|root| root.value != Root::Host) {
        let finding = Finding::error(root.place, "a tree as root of the jail takes root, who alone shifts its owners");
        findings.push(finding.hint("root = \"host\""));
    }
    for row in whole.rows() {
        let held = HELD.contains(&row.name.as_str()) || HELD_TABLES.iter().any(|table| row.name.starts_with(table));
        if let Some((_text, place)) = row.value
            && place.file == FileId::Main
            && !held
        {
            let message = format!("`{}` means nothing without a listener", row.name);
            findings.push(Finding::error(place, message).hint("leave it out"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{Enforce, Network};

    fn loaded(text: &str) -> Result<Tenant, String> {
        let name = "me".parse().unwrap();
        read(&Files::of_text("mine.toml", text.to_owned()), &name, Findings::default()).map_err(|why| why.to_string())
    }

    #[test]
    fn without_a_file_a_jail_has_every_default_and_goes_without_what_is_roots() {
        let jail = default_jail(&"me".parse().unwrap()).unwrap().jail;
        assert_eq!((&jail.root, jail.network, jail.no_new_privs), (&Root::Host, Network::None, true));
        assert_eq!((jail.limits.enforce, jail.home.as_str()), (Enforce::BestEffort, "/home/me"));
    }

    #[test]
    fn what_a_jail_has_is_read_as_everywhere() {
        let text = "[defaults]\nshell = \"/bin/sh\"\n[class.c]\nlimits = { pids = 50 }\n\
                    [tenant.me]\nclass = \"c\"\nset_env = { A = \"1\" }\n[tenant.other]\n";
        let jail = loaded(text).unwrap().jail;
        assert_eq!((jail.shell.as_str(), jail.limits.pids, jail.set_env.len()), ("/bin/sh", 50, 1));
    }

    #[test]
    fn what_only_a_listener_has_a_use_for_is_refused_by_name() {
        for (text, key) in [
            ("[tenant.me]\nopen = [\"Mo 08:00-18:00\"]\n", "`open`"),
            ("[defaults]\nidle_timeout = \"1h\"\n[tenant.me]\n", "`idle_timeout`"),
            ("[tenant.me]\nauthorized_keys_file = \"/etc/shadow\"\n", "`authorized_keys_file`"),
            ("[tenant.me]\nhost_user = \"me\"\n", "`host_user`"),
            ("[tenant.me]\nids = 2000\n", "`ids`"),
            ("[tenant.me]\nsftp = { access = \"read-only\" }\n", "`sftp.access`"),
            ("[tenant.me]\nroot = \"/srv/me\"\n", "takes root"),
            ("[server]\n[tenant.me]\n", "[server]"),
            ("[tenant.you]\n", "no tenant `me`"),
            ("[tenant.me]\nroto = \"host\"\n", "did you mean `root`"),
        ] {
            let why = loaded(text).unwrap_err();
            assert!(why.contains(key), "{text}: {why}");
        }
    }

    #[test]
    fn a_file_that_others_can_write_steers_nobody() {
        use std::{fs, os::unix::fs::PermissionsExt as _};
        let path = std::env::temp_dir().join(format!("cellblock-own-{}.toml", std::process::id()));
        fs::write(&path, "[tenant.me]\n").unwrap();
        let load = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            load_own(&path, crate::sys::process::effective_uid(), &"me".parse().unwrap())
        };
        assert!(load(0o644).is_ok());
        assert!(load(0o664).unwrap_err().to_string().contains("others than its owner can write"));
        fs::remove_file(path).unwrap();
    }
}
