//! Ids: the pool, what tenants have, what the host's users have.

use std::path::Path;

use super::{Eyes, NEEDS_ROOT};
use crate::base::{TenantName, escape};
use crate::config::settings::Server;
use crate::doctor::facts::{Ids, Seen, Subordinate};
use crate::jail;
use crate::sys::file::read_capped;
use crate::sys::{Errno, credentials};

/// Largest file: as many lines as there are ranges of 65,536 in all ids.
const MAX_FILE: usize = 16 << 20;

const FILES: [&str; 2] = ["/etc/subuid", "/etc/subgid"];

pub(super) fn gather(server: &Server, eyes: Eyes) -> Ids {
    let mut subordinate = Seen::Is(Vec::new());
    for file in FILES {
        match (&mut subordinate, read_capped(Path::new(file), MAX_FILE)) {
            (Seen::Is(all), Ok(bytes)) => all.extend(lines(file, &String::from_utf8_lossy(&bytes))),
            (_, Err(Errno::ENOENT)) | (Seen::Absent | Seen::Unseen(_), Ok(_)) => {}
            (_, Err(errno)) => subordinate = Seen::Unseen(format!("{file}: {errno}")),
        }
    }
    let ranges = match eyes {
        Eyes::Roots => jail::Ids::new(server).all().map_or_else(|why| Seen::Unseen(why.to_string()), Seen::Is),
        Eyes::Others => Seen::Unseen(NEEDS_ROOT.into()),
    };
    let accounts = credentials::host_account_ids().into_iter().collect();
    Ids { pool: server.id_pool, ranges, subordinate, accounts }
}

/// Lines of others: `cellblock-NAME` is how a tenant's own range is registered.
fn lines(file: &'static str, text: &str) -> Vec<Subordinate> {
    let parse = |line: &str| {
        let mut fields = line.split(':');
        let (owner, first, count) = (fields.next()?, fields.next()?, fields.next()?);
        let ours = owner.strip_prefix("cellblock-").is_some_and(|name| name.parse::<TenantName>().is_ok());
        let first: u64 = first.trim().parse().ok()?;
        let end = first.checked_add(count.trim().parse().ok()?)?;
        (!ours).then(|| Subordinate { file, owner: escape(owner), first, end })
    };
    text.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_ours_are_left_out() {
        let found = lines("/etc/subuid", "# x\nann:100000:65536\ncellblock-alice:524289:65536\nbad\n");
        assert_eq!(found, [Subordinate { file: "/etc/subuid", owner: "ann".into(), first: 100_000, end: 165_536 }]);
    }
}
