//! What is said of a limit that a tenant reached: to the tenant, to the audit file, to the admin.

use tracing::info;

use crate::account::Event;
use crate::base::{TenantName, escape};
use crate::wire::init::{Hit, Store};

use super::pipeline::{House, Named};

/// Writes it down.
pub(super) fn record(hit: &Hit, conn: Named<'_>, tenant: &TenantName, house: &mut House) {
    info!("{} {tenant}: {}", conn.id, hit.sentence().trim_start_matches("cellblock: "));
    let (limit, most, times, victim) = match hit {
        Hit::Memory { most, stopped, victim } => ("memory", most.0, *stopped, victim.as_ref()),
        Hit::Pids { most, refused } => ("pids", *most, *refused, None),
        Hit::Full { store, most } => (store.key(), most.0, 1, None),
        Hit::ManyFiles { store: Store::Tmp, most } => ("tmp_files", *most, 1, None),
        Hit::ManyFiles { store: Store::Run, most } => ("run_files", *most, 1, None),
        Hit::ManyFiles { store: Store::Shm, most } => ("shm_files", *most, 1, None),
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
