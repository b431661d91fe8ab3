//! The end: nobody is taken any more, and what runs ends where that was asked for.

use std::time::{Duration, Instant};

use tracing::error;

use crate::base::{Result, TenantName, fail};
use crate::sys::signal;

use super::Listener;

/// Time between TERM and KILL for what runs in cells, with `--stop-sessions`.
const STOP_GRACE: Duration = Duration::from_secs(3);
/// How long `--stop-sessions` waits for all of that, before it kills.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// How long what was killed then may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(5);

impl Listener {
    /// Whoever waits or comes at the enter door is refused.
    pub(super) fn close_to_callers(&mut self) {
        self.waiting = None;
        if let Some(enter) = self.enter.take() {
            enter.close(&mut self.partings);
        }
    }

    /// Ends all monitors and cells, and waits for that. What does not end by itself is killed.
    pub(super) fn stop_sessions(&mut self) -> Result<()> {
        let deadline = Instant::now() + STOP_LIMIT;
        self.stock = None;
        self.sockets.clear();
        self.close_to_callers();
        self.control = None;
        self.monitors.signal_all(signal::SIGTERM);
        // Monitors of an earlier listener have told us nothing of the cells that they entered.
        self.watch.take_up(self.cells.running()?);
        for tenant in self.watch.tenants() {
            // An init that does not answer takes some seconds of everybody's.
            if Instant::now() >= deadline {
                break;
            }
            if let Err(failure) = self.cells.end(tenant, STOP_GRACE) {
                error!("{failure}");
            }
        }
        self.wait_for_the_end(deadline)?;
        self.monitors.signal_all(signal::SIGKILL);
        self.watch.kill_all();
        self.wait_for_the_end(Instant::now() + KILL_LIMIT)?;
        let left: Vec<&str> = self.watch.tenants().map(TenantName::as_str).collect();
        if left.is_empty() { Ok(()) } else { Err(fail("ending the cells of", left.join(" "), "they still run")) }
    }

    /// Until no monitor and no cell is left, or `deadline`.
    fn wait_for_the_end(&mut self, deadline: Instant) -> Result<()> {
        while (self.monitors.count() > 0 || !self.watch.is_empty()) && Instant::now() < deadline {
            let found = self.poll(Some(deadline))?;
            for pid in found.monitors {
                let seen = self.monitors.hear(pid);
                self.watch(seen);
            }
            for tenant in found.cells {
                self.watch.ended(&tenant, &self.cells);
            }
            if found.signals {
                self.take_signals()?;
            }
        }
        Ok(())
    }
}
