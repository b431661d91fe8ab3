//! The enter door, gone through: the listener is called as by `cellblock enter NAME`, the kernel tells it who
//! calls, a monitor grants the cell, and the probe's streams come back through it.
//!
//! Root of the host calls, since nobody else may have the probe. What comes of a tenant's own account is
//! decided by the same code but for who it is; that the probe finds the same when the account brings it along
//! is a test (`verify_enter.rs`, `a_probe_that_an_account_brings_along_finds_what_verify_finds`).

use std::{
    fmt::Display,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    time::Instant,
};

use crate::base::{Failure, Result, TenantName, fail};
use crate::enter::{Monitor, Said, Starter as _, call_if_open};
use crate::sys::poll;
use crate::wire::enter::{Call, socket};
use crate::wire::session::Program;
use crate::wire::verify::Task;

use super::session::{Heard, START_WAIT, Streams};

/// What a probe with this `task` finds that comes by the door of the listener in `run_dir`; `None`: the door
/// is off.
pub(super) fn hear(run_dir: &Path, tenant: &TenantName, task: &Task) -> Result<Option<Heard>> {
    let call = Call { tenant: Some(tenant.to_string()), came_by: None };
    let Some((mut monitor, _outline)) = call_if_open(&socket(run_dir), &call)? else { return Ok(None) };
    let failed = |why: &dyn Display| -> Failure { fail("verifying by the enter door", tenant, why) };
    monitor.ask(Program::Probe, None, Vec::new()).map_err(|why| failed(&why))?;
    let fds = started(&mut monitor).map_err(|why| failed(&why))?;
    let probe = Streams::of(fds).map_err(|why| failed(&why))?;
    // The session ends with the link, whatever is left of it.
    probe.tell(task).map(Some).map_err(|why| failed(&why))
}

/// The streams of the session that was asked for.
fn started(monitor: &mut Monitor) -> Result<Vec<OwnedFd>, String> {
    let deadline = Instant::now() + START_WAIT;
    while Instant::now() < deadline {
        if !poll::wait_readable(&[monitor.as_fd()], Some(deadline)).map_err(|errno| errno.to_string())?.contains(&true)
        {
            continue;
        }
        match monitor.hear().map_err(|why| why.to_string())? {
            Said::Started(fds) => return Ok(fds),
            Said::Notice(_) => {}
            Said::Refused(why) => return Err(why),
            Said::Nothing | Said::Ended(_) | Said::Odd(_) => return Err("the listener answers something else".into()),
        }
    }
    Err("the session does not start".into())
}
