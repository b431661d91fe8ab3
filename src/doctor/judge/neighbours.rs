//! Users of the host, and the other SSH server.

use std::net::{IpAddr, SocketAddr};

use super::some;
use crate::base::TenantName;
use crate::doctor::checks::{HOST_JOBS, ID_POOL, ID_RANGES, SAME_NAMES, SSHD_LEAKS, SSHD_PORT};
use crate::doctor::facts::{Ids, Jobs, Named, Runner, Seen, Sshd};
use crate::doctor::verdict::{Remedy, Verdict};
use crate::sshd::Looked;

/// Overlaps that are named; the rest is counted.
const MAX_NAMED: usize = 5;

pub(super) fn judge(named: &Named) -> Vec<Verdict> {
    let ids = &named.ids;
    vec![
        pool(ids),
        ranges(ids),
        same_names(named),
        port(&named.listen, &named.sshd),
        leaks(&named.leaks),
        jobs(&named.jobs),
    ]
}

/// Ids that somebody else has: who, the first, and the one after the last.
fn others(ids: &Ids) -> Vec<(String, u64, u64)> {
    let accounts = ids.accounts.iter().map(|id| (format!("account {id}"), u64::from(*id), u64::from(*id) + 1));
    let lines = match &ids.subordinate {
        Seen::Is(lines) => lines.as_slice(),
        Seen::Absent | Seen::Unseen(_) => &[],
    };
    let lines = lines.iter().map(|line| {
        let shown = format!("{} in {} ({}-{})", line.owner, line.file, line.first, line.end.saturating_sub(1));
        (shown, line.first, line.end)
    });
    accounts.chain(lines).collect()
}

fn first_few(all: &[String]) -> String {
    let shown = some(all.get(..MAX_NAMED.min(all.len())).unwrap_or_default());
    match all.len().checked_sub(MAX_NAMED) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

fn pool(ids: &Ids) -> Verdict {
    let (first, end) = (u64::from(ids.pool.first), u64::from(ids.pool.first) + u64::from(ids.pool.count));
    let shown = format!("{first}-{}", end.saturating_sub(1));
    if let Seen::Unseen(why) = &ids.subordinate {
        return Verdict::unknown(&ID_POOL, why);
    }
    let taken: Vec<String> =
        others(ids).into_iter().filter(|(_, from, to)| *from < end && *to > first).map(|(who, ..)| who).collect();
    if taken.is_empty() {
        return Verdict::ok(&ID_POOL, shown);
    }
    let found = format!("{shown} overlaps {}", first_few(&taken));
    let means = "these ids are passed over, so the pool holds fewer tenants; an account made later could still be given one of a tenant's";
    Verdict::warn(&ID_POOL, found, means).remedy(Remedy::Advice(
        "for a new install, set `id_pool` in [server] to ids that nobody has; what tenants have stays theirs".into(),
    ))
}

fn ranges(ids: &Ids) -> Verdict {
    let ranges = match &ids.ranges {
        Seen::Is(ranges) => ranges,
        Seen::Absent => return Verdict::ok(&ID_RANGES, "no tenant has ids yet"),
        Seen::Unseen(why) => return Verdict::unknown(&ID_RANGES, why),
    };
    if let Seen::Unseen(why) = &ids.subordinate {
        return Verdict::unknown(&ID_RANGES, why);
    }
    let mut others = others(ids);
    others.sort_by_key(|(_, first, _)| *first);
    let mut shared = Vec::new();
    for (name, range) in ranges {
        // Lines may nest, so those that begin before the range are all looked at; there are few.
        let candidates = others.iter().take_while(|(_, first, _)| *first < range.end());
        let overlapping = candidates.filter(|(_, _, end)| *end > u64::from(range.first));
        shared.extend(overlapping.map(|(who, ..)| format!("{name} ({range}) with {who}")));
    }
    if shared.is_empty() {
        let noun = if ranges.len() == 1 { "tenant has" } else { "tenants have" };
        return Verdict::ok(&ID_RANGES, format!("{} {noun} ids of their own", ranges.len()));
    }
    let means = "that user of the host is, or can become, the owner of the tenant's files, and can end and trace the tenant's processes";
    Verdict::fail(&ID_RANGES, format!("shared: {}", first_few(&shared)), means).remedy(Remedy::Advice(
        "give the account another id (usermod -u), or take the line out of /etc/subuid and /etc/subgid (usermod --del-subuids)".into(),
    ))
}

fn same_names(named: &Named) -> Verdict {
    if named.sshd == Sshd::Absent {
        return Verdict::ok(&SAME_NAMES, "sshd is not installed");
    }
    if named.errors > 0 {
        return Verdict::unknown(&SAME_NAMES, "the config has errors");
    }
    let names = &named.tenants.named_like_accounts;
    match names.first() {
        None => Verdict::ok(&SAME_NAMES, "no tenant is called like an account"),
        Some(first) => Verdict::warn(
            &SAME_NAMES,
            format!("accounts of the host, too: {}", some(names)),
            "who gets in as one of them through sshd is on the host and in no cell",
        )
        .remedy(Remedy::Install {
            path: "/etc/ssh/sshd_config.d/60-cellblock.conf",
            text: format!("# Names of cellblock's tenants: nobody logs in here as one.\nDenyUsers {}\n", spaced(names)),
        })
        .run(format!("sshd -T -C user={first},host=localhost,addr=127.0.0.1    # what sshd allows {first}")),
    }
}

fn spaced(names: &[TenantName]) -> String {
    names.iter().map(TenantName::as_str).collect::<Vec<_>>().join(" ")
}

fn port(ours: &[SocketAddr], sshd: &Sshd) -> Verdict {
    let theirs = match sshd {
        Sshd::Absent => return Verdict::ok(&SSHD_PORT, "sshd is not installed"),
        Sshd::Unseen(why) => return Verdict::unknown(&SSHD_PORT, why),
        Sshd::Listens(theirs) => theirs,
    };
    let both: Vec<_> = ours.iter().filter(|our| theirs.iter().any(|their| collide(our, their))).collect();
    if both.is_empty() {
        return Verdict::ok(&SSHD_PORT, format!("sshd: {}; cellblock: {}", some(theirs), some(ours)));
    }
    Verdict::warn(
        &SSHD_PORT,
        format!("both want {}", some(&both)),
        "whichever starts second does not start: tenants get in nowhere, or the admin does not",
    )
    .remedy(Remedy::Advice("change `listen` in [server], or Port in sshd's config".into()))
    .run("systemctl disable --now ssh.service ssh.socket    # once you can get in another way")
}

fn leaks(seen: &Seen<Looked>) -> Verdict {
    let Looked { accounts, leaks } = match seen {
        Seen::Absent => return Verdict::ok(&SSHD_LEAKS, "sshd is not installed"),
        Seen::Unseen(why) => return Verdict::unknown(&SSHD_LEAKS, why),
        Seen::Is(looked) => looked,
    };
    match (leaks.as_slice(), accounts) {
        ([], 0) => Verdict::ok(&SSHD_LEAKS, "no account of this host is a tenant"),
        ([], 1) => Verdict::ok(&SSHD_LEAKS, "all that the 1 account that is a tenant may do ends in a cell"),
        ([], some) => {
            Verdict::ok(&SSHD_LEAKS, format!("all that {some} accounts that are tenants may do ends in cells"))
        }
        (leaks, _) => {
            let told: Vec<String> = leaks.iter().map(|leak| format!("{} ({})", leak.message, leak.at())).collect();
            let means =
                "what sshd itself does for these tenants it does on the host: no cell, limit or audit line holds it";
            let verdict = Verdict::fail(&SSHD_LEAKS, first_few(&told), means);
            let advised = leaks
                .iter()
                .take(MAX_NAMED)
                .fold(verdict, |verdict, leak| verdict.remedy(Remedy::Advice(format!("{}: {}", leak.at(), leak.hint))));
            advised.run("cellblock check --sshd    # shows each line")
        }
    }
}

fn jobs(seen: &Seen<Jobs>) -> Verdict {
    let Jobs { accounts, runners } = match seen {
        Seen::Absent => return Verdict::ok(&HOST_JOBS, "neither cron nor at is installed"),
        Seen::Unseen(why) => return Verdict::unknown(&HOST_JOBS, why),
        Seen::Is(jobs) => jobs,
    };
    let open: Vec<&Runner> =
        runners.iter().filter(|runner| !runner.takes.is_empty() || !runner.has.is_empty()).collect();
    let names: Vec<&str> = runners.iter().map(|runner| runner.name).collect();
    match (open.as_slice(), accounts) {
        ([], 0) => Verdict::ok(&HOST_JOBS, "no account of this host is a tenant"),
        ([], _) => Verdict::ok(&HOST_JOBS, format!("no account that is a tenant may have jobs ({})", names.join(", "))),
        (open, _) => {
            let told = open.iter().flat_map(|runner| {
                let told = |verb, names: &[String]| {
                    (!names.is_empty()).then(|| format!("{} {verb} jobs of {}", runner.name, first_few(names)))
                };
                [told("takes", &runner.takes), told("has", &runner.has)].into_iter().flatten()
            });
            let means = "such a job is run by /bin/sh on the host, whatever login shell its account has and whatever \
                         sshd forces: no cell, limit or audit line holds it";
            let verdict = Verdict::warn(&HOST_JOBS, told.collect::<Vec<_>>().join("; "), means);
            let taking = open.iter().filter(|runner| !runner.takes.is_empty());
            let verdict = taking.fold(verdict, |verdict, runner| keep_out(verdict, runner));
            let has = open.iter().flat_map(|runner| &runner.has);
            has.take(MAX_NAMED).fold(verdict, |verdict, name| verdict.run(format!("crontab -u {name} -r")))
        }
    }
}

/// A list of who may keeps out whoever becomes a tenant later, too.
fn keep_out(verdict: Verdict, runner: &Runner) -> Verdict {
    let listed = runner.others.iter().flatten().map(|name| format!("{name}\n")).collect::<String>();
    let text = if listed.is_empty() { "root\n".to_owned() } else { listed };
    let verdict = verdict.remedy(Remedy::Install { path: runner.allow, text });
    match runner.others {
        Some(_) => verdict,
        None => verdict.remedy(Remedy::Advice(format!(
            "list in {} also the host's own users who are to have jobs, a name a line",
            runner.allow
        ))),
    }
}

/// Whether two sockets cannot be there at once. IPv6 sockets of both servers take IPv6 alone.
fn collide(one: &SocketAddr, other: &SocketAddr) -> bool {
    let any = |address: &SocketAddr| match address.ip() {
        IpAddr::V4(ip) => ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    one.port() == other.port() && one.is_ipv4() == other.is_ipv4() && (one.ip() == other.ip() || any(one) || any(other))
}
