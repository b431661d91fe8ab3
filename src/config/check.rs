//! From merged layers to settings: what the values mean together and on this host.
//!
//! Looks at files that root alone can write and at the names of accounts; changes nothing.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use ssh_key::{Algorithm, PrivateKey};

use super::files::Files;
use super::finding::{Finding, Findings, Place};
use super::keys::{ServerLayer, Set, TenantLayer};
use super::login;
use super::roots::Roots;
use super::settings::{
    CallSet, IdPool, Jail, Limits, Network, OpenHours, Penalties, Root, Server, Sftp, Stranger, Tenant, User,
};
use crate::base::{Secret, TenantName};
use crate::sys::file::{Links, read_trusted};

/// The banner is sent before login, in one SSH packet.
const MAX_BANNER: usize = 16 << 10;

/// One private key: 16,384 bits of RSA in OpenSSH's form have 13 KiB.
const MAX_HOST_KEY: usize = 64 << 10;

/// NIST's least for keys that are used beyond 2030.
const MIN_RSA_HOST_KEY: usize = 3072;

/// The server's settings. None if a value is missing that has been reported as unreadable.
pub(super) fn server(layer: &ServerLayer, findings: &mut Findings) -> Option<Server> {
    if let Some(keys) = &layer.host_keys {
        for path in &keys.value {
            check_host_key(path, keys.place, findings);
        }
        if keys.value.is_empty() {
            findings.push(Finding::error(keys.place, "there is no host key, so no client could know this server"));
        }
    }
    if let Some(user) = &layer.user {
        check_account(user, findings);
    }
    if let (Some(first), Some(count)) = (&layer.id_pool_first, &layer.id_pool_count)
        && first.value.checked_add(count.value).is_none()
    {
        findings.push(Finding::error(count.place, "the pool ends beyond the highest id there is, 4294967294"));
    }
    Some(Server {
        listen: need(&layer.listen)?,
        host_keys: need(&layer.host_keys)?,
        user: need(&layer.user),
        state_dir: need(&layer.state_dir)?,
        run_dir: need(&layer.run_dir)?,
        audit_log: need(&layer.audit_log)?,
        max_startups: need(&layer.max_startups)?,
        max_connections: need(&layer.max_connections)?,
        max_connections_per_source: need(&layer.max_connections_per_source)?,
        login_grace: need(&layer.login_grace)?,
        max_auth_tries: need(&layer.max_auth_tries)?,
        client_alive_interval: need(&layer.client_alive_interval).filter(|interval| !interval.is_zero()),
        client_alive_count_max: need(&layer.client_alive_count_max)?,
        rekey_limit: need(&layer.rekey_limit)?,
        encrypt_and_mac: need(&layer.encrypt_and_mac)?,
        banner: layer.banner.as_ref().and_then(|banner| read_banner(&banner.value, banner.place, findings)),
        id_pool: IdPool {
            first: need(&layer.id_pool_first)?,
            count: need(&layer.id_pool_count)?,
            register: need(&layer.id_pool_register)?,
        },
        penalties: penalties(layer, findings)?,
        keys_command: None,
    })
}

fn penalties(layer: &ServerLayer, findings: &mut Findings) -> Option<Penalties> {
    let penalties = Penalties {
        enabled: need(&layer.penalties_enabled)?,
        crash: need(&layer.penalties_crash)?,
        authfail: need(&layer.penalties_authfail)?,
        invaliduser: need(&layer.penalties_invaliduser)?,
        noauth: need(&layer.penalties_noauth)?,
        grace_exceeded: need(&layer.penalties_grace_exceeded)?,
        refuseconnection: need(&layer.penalties_refuseconnection)?,
        max: need(&layer.penalties_max)?,
        min: need(&layer.penalties_min)?,
        max_sources4: need(&layer.penalties_max_sources4)?,
        max_sources6: need(&layer.penalties_max_sources6)?,
        overflow: need(&layer.penalties_overflow)?,
        overflow6: need(&layer.penalties_overflow6)?,
        exempt: need(&layer.penalties_exempt)?,
        netblock4: need(&layer.penalties_netblock4)?,
        netblock6: need(&layer.penalties_netblock6)?,
    };
    if penalties.min > penalties.max
        && let Some(min) = &layer.penalties_min
    {
        let finding = Finding::error(min.place, "penalties.min is more than penalties.max: nobody is ever turned away");
        findings.push(finding.hint("set min lower, or `enabled = false`"));
    }
    if let (Some(fail), Some(invalid)) = (&layer.penalties_authfail, &layer.penalties_invaliduser)
        && fail.value != invalid.value
    {
        let finding = Finding::warning(
            invalid.place,
            "invaliduser differs from authfail: strangers can tell which names are tenants'",
        );
        findings.push(finding.hint("set both to the same time"));
    }
    Some(penalties)
}

/// What `[defaults]` ask of those who are nobody. None if a value is missing that has been reported.
pub(super) fn stranger(defaults: &TenantLayer) -> Option<Stranger> {
    Some(Stranger { auth: need(&defaults.auth)?.0, pam_service: need(&defaults.pam_service)? })
}

/// Whether every tenant can have its ids.
pub(super) fn pool(server: &Server, ids: u64, place: Place, findings: &mut Findings) {
    let there = server.id_pool.count;
    if ids > u64::from(there) {
        let message = format!("the tenants need {ids} host ids in all, and the pool has {there}");
        let finding = Finding::warning(place, message);
        findings.push(finding.hint("who logs in last gets none: set a lower `ids`, or a larger `id_pool`"));
    }
}

fn need<T: Clone>(set: &Option<Set<T>>) -> Option<T> {
    set.as_ref().map(|set| set.value.clone())
}

fn check_account(user: &Set<String>, findings: &mut Findings) {
    let name = &user.value;
    match users::get_user_by_name(name) {
        None => findings.push(
            Finding::error(user.place, format!("there is no account `{name}` on this host"))
                .hint("systemd-sysusers cellblock.conf makes the one that the package brings"),
        ),
        Some(account) if account.uid() == 0 => {
            findings.push(Finding::error(user.place, format!("the account `{name}` is root by another name")));
        }
        Some(_other) => {}
    }
}

fn check_host_key(path: &Path, place: Place, findings: &mut Findings) {
    let shown = path.display();
    let bytes = match read_trusted(path, Links::Follow, MAX_HOST_KEY) {
        Ok(bytes) => Secret::new(bytes),
        Err(untrusted) if untrusted.is_missing() => {
            if !path.file_name().is_some_and(|name| name.to_string_lossy().contains("ed25519")) {
                let finding = Finding::error(place, format!("the host key {shown} does not exist"));
                findings.push(
                    finding.hint(format!("only ed25519 keys are made by themselves: ssh-keygen -A, or -f {shown}")),
                );
            }
            return;
        }
        Err(untrusted) => {
            let finding = Finding::error(place, format!("the host key cannot be used: {untrusted}"));
            return findings.push(finding.maybe_hint(untrusted.hint()));
        }
    };
    // Its directories are root's, so this is the file that was read.
    if fs::metadata(path).is_ok_and(|facts| facts.permissions().mode() & 0o077 != 0) {
        let finding = Finding::error(place, format!("others than root can read the host key {shown}"));
        findings.push(finding.hint(format!("make a new one if they did; chmod 600 {shown}")));
    }
    let key = match PrivateKey::from_openssh(bytes.expose()) {
        Ok(key) => key,
        Err(_not_said_why) => {
            let finding = Finding::error(place, format!("{shown} is not a private key in OpenSSH's form"));
            return findings.push(finding.hint(format!("ssh-keygen -p -f {shown} converts older forms")));
        }
    };
    if key.is_encrypted() {
        let finding = Finding::error(place, format!("the host key {shown} has a passphrase"));
        findings.push(finding.hint(format!("ssh-keygen -p -N '' -f {shown}")));
        return;
    }
    check_host_algorithm(&key, path, place, findings);
}

fn check_host_algorithm(key: &PrivateKey, path: &Path, place: Place, findings: &mut Findings) {
    let shown = path.display();
    let refusal = if let Some(rsa) = key.public_key().key_data().rsa() {
        let bits = usize::try_from(rsa.key_size()).unwrap_or(0);
        if bits >= MIN_RSA_HOST_KEY {
            return;
        }
        format!("the RSA host key {shown} has {bits} bits; at least {MIN_RSA_HOST_KEY} are needed")
    } else if matches!(key.algorithm(), Algorithm::Ed25519 | Algorithm::Ecdsa { .. }) {
        return;
    } else {
        format!("{shown} holds a {} key, which cannot be a host key", key.algorithm())
    };
    findings.push(Finding::error(place, refusal).hint("ssh-keygen -t ed25519"));
}

fn read_banner(path: &Path, place: Place, findings: &mut Findings) -> Option<String> {
    match read_trusted(path, Links::Follow, MAX_BANNER).map(String::from_utf8) {
        Ok(Ok(text)) => Some(text),
        Ok(Err(_not_text)) => {
            findings.push(Finding::error(place, format!("{} is not UTF-8", path.display())));
            None
        }
        Err(untrusted) => {
            let finding = Finding::error(place, format!("the banner cannot be used: {untrusted}"));
            findings.push(finding.maybe_hint(untrusted.hint()));
            None
        }
    }
}

/// A tenant's settings from everything that applies to it. `whole` gets what only the name decides.
/// None if a value is missing that has been reported as unreadable.
pub(super) fn tenant(
    name: TenantName,
    place: Place,
    whole: &mut TenantLayer,
    roots: &mut Roots,
    files: &Files,
    findings: &mut Findings,
) -> Option<Tenant> {
    let user = need(&whole.user)?;
    complete(&name, user, whole);
    if let Some(Set { value: Root::Directory(root), place }) = &whole.root {
        roots.check(root, &name, *place, files, findings);
    }
    if let Some(file) = &whole.authorized_keys_file {
        roots.check_keys_file(&file.value, file.place, findings);
    }
    if let Some(list) = &whole.revoked_keys {
        roots.check_revoked(&list.value, list.place, findings);
    }
    roots.ties.check(&name, whole, files, findings);
    let own_keys = need(&whole.own_keys)?;
    let keys_command = roots.commands.check(whole, findings);
    let authorized_keys: Vec<_> = whole.authorized_keys.as_ref()?.value.iter().map(|line| line.key.clone()).collect();
    let trusted = whole.trusted_user_ca_keys.as_ref()?;
    let authorities: Vec<_> = trusted.value.iter().map(|line| line.key.blob.clone()).collect();
    let principals = whole.authorized_principals.as_ref();
    if let Some(set) = principals.filter(|_| authorities.is_empty()) {
        let finding = Finding::warning(set.place, "`authorized_principals` does nothing: no authority is trusted");
        findings.push(finding.hint("set `trusted_user_ca_keys`"));
    }
    let by_certificate = !authorities.is_empty() && principals.is_none_or(|set| !set.value.is_empty());
    let locked = need(&whole.locked)?;
    let auth = need(&whole.auth)?.0;
    let has_key = !authorized_keys.is_empty()
        || whole.authorized_keys_file.is_some()
        || by_certificate
        || own_keys
        || keys_command.is_some();
    if !locked {
        roots.pam.check(whole, findings);
    }
    login::check(&name, place, whole, &login::Means { auth: &auth, has_key, locked }, files, findings);
    let authorized_principals = need(&whole.authorized_principals).unwrap_or_else(|| vec![name.to_string()]);
    let jail = jail(whole)?;
    without_effect(whole, &jail, findings);
    if name.as_str() == "root" && user == User::Tenant {
        findings.push(
            Finding::error(place, "a tenant named `root` is root inside")
                .hint("set `user = \"root\"`, or choose another name"),
        );
    }
    Some(Tenant {
        name,
        class: need(&whole.class),
        locked,
        auth,
        password: need(&whole.password),
        pam_service: need(&whole.pam_service)?,
        use_pam: need(&whole.use_pam)?,
        authorized_keys,
        authorized_keys_file: need(&whole.authorized_keys_file),
        trusted_user_ca_keys: authorities,
        authorized_principals,
        open: need(&whole.open).map(|hours| OpenHours { hours, zone: need(&whole.time_zone) }),
        max_session_time: need(&whole.max_session_time),
        idle_timeout: need(&whole.idle_timeout),
        channel_timeout: need(&whole.channel_timeout),
        forward_timeout: need(&whole.forward_timeout),
        own_keys,
        revoked_keys: need(&whole.revoked_keys),
        keys_command,
        host_user: need(&whole.host_user),
        host_group: need(&whole.host_group),
        jail,
    })
}

/// Reports what was set and, beside the rest, does nothing.
fn without_effect(whole: &TenantLayer, jail: &Jail, findings: &mut Findings) {
    if let (Some(high), most) = (&whole.limits_memory_high, jail.limits.memory)
        && high.value > most
    {
        let message = format!("memory_high is {} and memory is {most}: nothing is ever slowed down", high.value);
        findings.push(Finding::error(high.place, message).hint("set memory_high no higher than memory"));
    }
    if let Some(sets) = &whole.syscalls
        && sets.value.contains(&CallSet::Ping)
        && jail.network == Network::Host
    {
        let finding = Finding::warning(sets.place, "the host decides who sends ICMP echo requests on its network");
        findings.push(finding.hint("let net.ipv4.ping_group_range of the host hold the tenants' ids"));
    }
    if let (Some(zone), None) = (&whole.time_zone, &whole.open) {
        let finding = Finding::warning(zone.place, "a time zone without hours does nothing");
        findings.push(finding.hint("set `open` too"));
    }
}

/// Sets what is left to the tenant's name.
fn complete(name: &TenantName, user: User, whole: &mut TenantLayer) {
    let place = Place::file(super::files::FileId::BuiltIn);
    whole.home.get_or_insert_with(|| {
        let value = match user {
            User::Tenant => format!("/home/{name}"),
            User::Root => "/root".to_owned(),
        };
        Set { value, place }
    });
    whole.hostname.get_or_insert_with(|| {
        // Host names know no underscore, and neither begin nor end with a hyphen.
        let value = name.as_str().replace('_', "-");
        let value = value.trim_matches('-');
        Set { value: if value.is_empty() { "cell" } else { value }.to_owned(), place }
    });
}

fn jail(whole: &TenantLayer) -> Option<Jail> {
    Some(Jail {
        root: need(&whole.root)?,
        user: need(&whole.user)?,
        shell: need(&whole.shell)?,
        home: need(&whole.home)?,
        hostname: need(&whole.hostname)?,
        network: need(&whole.network)?,
        linger: need(&whole.linger)?,
        ids: need(&whole.ids)?,
        limits: limits(whole)?,
        allow: need(&whole.allow)?,
        permit_open: need(&whole.permit_open)?,
        permit_listen: need(&whole.permit_listen)?,
        command: need(&whole.command),
        sftp: Sftp { access: need(&whole.sftp_access)?, umask: need(&whole.sftp_umask).map(|umask| umask.0) },
        accept_env: need(&whole.accept_env)?,
        set_env: need(&whole.set_env)?.0.into_iter().map(|(name, (value, _place))| (name, value)).collect(),
        capabilities: need(&whole.capabilities)?.0,
        no_new_privs: need(&whole.no_new_privs)?,
        syscalls: need(&whole.syscalls)?,
        max_sessions: need(&whole.max_sessions)?,
        max_connections: need(&whole.max_connections)?,
        motd: need(&whole.motd)?,
    })
}

fn limits(whole: &TenantLayer) -> Option<Limits> {
    Some(Limits {
        enforce: need(&whole.limits_enforce)?,
        memory: need(&whole.limits_memory)?,
        memory_high: need(&whole.limits_memory_high),
        swap: need(&whole.limits_swap)?,
        pids: need(&whole.limits_pids)?,
        cpu: need(&whole.limits_cpu)?,
        cpu_weight: need(&whole.limits_cpu_weight),
        io_read: need(&whole.limits_io_read),
        io_write: need(&whole.limits_io_write),
        io_read_iops: need(&whole.limits_io_read_iops),
        io_write_iops: need(&whole.limits_io_write_iops),
        io_weight: need(&whole.limits_io_weight),
        tmp: need(&whole.limits_tmp)?,
        run: need(&whole.limits_run)?,
        shm: need(&whole.limits_shm)?,
        nofile: need(&whole.limits_nofile)?,
        core: need(&whole.limits_core)?,
    })
}
