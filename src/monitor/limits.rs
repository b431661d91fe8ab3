//! What is said of a limit that a tenant reached: to the tenant, to the audit file, to the admin.

use tracing::info;

use crate::account::Event;
use crate::base::{TenantName, escape};
use crate::wire::init::Hit;

use super::pipeline::{House, Named};

/// Writes it down.
pub(super) fn record(hit: &Hit, conn: Named<'_>, tenant: &TenantName, house: &mut House) {
    info!("{} {tenant}: {}", conn.id, hit.sentence().trim_start_matches("cellblock: "));
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
