//! What is said of a limit that a tenant reached: to the tenant, to the audit file, to the admin.

use tracing::info;

use crate::account::Event;
use crate::base::{TenantName, escape};
use crate::wire::init::{Hit, Victim};

use super::pipeline::{House, Named};

/// For the tenant's terminal or standard error: one line.
pub(super) fn sentence(hit: &Hit) -> String {
    let what = match hit {
        Hit::Memory { most, stopped, victim } => {
            let who = match victim {
                Some(Victim { pid, name }) => format!("{} (pid {pid})", escape(name)),
                None => "a process".to_owned(),
            };
            let more = match stopped.saturating_sub(1) {
                0 => String::new(),
                1 => " and 1 more".to_owned(),
                more => format!(" and {more} more"),
            };
            let verb = if *stopped > 1 { "were" } else { "was" };
            format!("memory limit reached ({most} for all of your sessions together): {who}{more} {verb} stopped")
        }
        Hit::Pids { most, refused: _ } => {
            format!(
                "process limit reached ({most} processes and threads for all of your sessions together): \
                 no more can be started"
            )
        }
    };
    format!("cellblock: {what}; see /run/cellblock/usage")
}

/// Writes it down.
pub(super) fn record(hit: &Hit, conn: Named<'_>, tenant: &TenantName, house: &mut House) {
    info!("{} {tenant}: {}", conn.id, sentence(hit).trim_start_matches("cellblock: "));
    let (limit, most, times, victim) = match hit {
        Hit::Memory { most, stopped, victim } => ("memory", most.0, *stopped, victim.as_ref()),
        Hit::Pids { most, refused } => ("pids", *most, *refused, None),
    };
    house.audit.record(&Event::LimitReached {
        connection: conn.id,
        tenant,
        limit,
        most,
        times,
        process: victim.map(|victim| escape(&victim.name)),
        pid: victim.map(|victim| victim.pid),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Bytes;

    #[test]
    fn the_sentence_names_the_limit_and_who_was_stopped() {
        let victim = Some(Victim { pid: 42, name: "evil\u{1b}[2J".into() });
        let one = Hit::Memory { most: Bytes(512 << 20), stopped: 1, victim };
        assert_eq!(
            sentence(&one),
            "cellblock: memory limit reached (512M for all of your sessions together): evil\\x1b[2J (pid 42) was \
             stopped; see /run/cellblock/usage"
        );
        let several = sentence(&Hit::Memory { most: Bytes(1 << 30), stopped: 3, victim: None });
        assert!(
            several.contains("(1G for all of your sessions together): a process and 2 more were stopped"),
            "{several}"
        );
        let pids = sentence(&Hit::Pids { most: 256, refused: 9 });
        assert!(pids.contains("process limit reached (256 processes"), "{pids}");
    }
}
