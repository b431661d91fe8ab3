//! Cells that run from the start of the door on (`linger = "forever"`), whether or not anybody has
//! logged in. Runs in a child of the listener.

use std::os::fd::AsFd as _;

use tracing::{error, info, warn};

use crate::base::fail;
use crate::config::settings::Tenant;
use crate::jail::Cells;
use crate::wire::Link;
use crate::wire::door::Word;
use crate::wire::init::Order;

/// Starts the cells of `tenants` that do not run, one after the other, and tells the listener of
/// each. One that fails keeps no other back.
pub(super) fn start(tenants: &[Tenant], cells: &Cells, listener: &Link<Word, ()>) {
    for tenant in tenants {
        let name = &tenant.name;
        let cell = match cells.enter(tenant) {
            Ok(cell) => cell,
            Err(failure) => {
                error!("{failure}");
                continue;
            }
        };
        if let Err(why) = cell.link.send(&Order::Stay) {
            error!("{}", fail("keeping the cell of", name, why));
        }
        if !cell.forgone.is_empty() {
            warn!("the cell of {name} goes without {}", cell.forgone.join(", "));
        }
        if cell.started {
            info!("the cell of {name} runs from now on (pid {})", cell.pid);
        }
        let word = Word::CellEntered { tenant: name.clone(), pid: cell.pid };
        if let Err(why) = listener.send_with(&word, &[cell.pidfd.as_fd()]) {
            warn!("telling the listener: {why}");
        }
    }
}
