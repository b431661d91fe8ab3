//! What admins ask, and a config that has changed.

use sd_notify::NotifyState;
use tracing::{error, info, warn};

use crate::account::Audit;
use crate::base::{Result, fail};
use crate::wire::control::{Answer, Ask, bounded};

use super::super::door::Door;
use super::super::programs::Programs;
use super::super::sockets;
use super::{Listener, notify};

impl Listener {
    /// Does what the admin's verbs ask. An answer that does not go out at once is not waited for.
    pub(super) fn hear_admin(&mut self, ready: &[bool]) {
        let Some(control) = self.control.as_mut() else { return };
        for (caller, ask) in control.hear(ready) {
            let answer = match ask {
                Ask::Reload => self.reload(),
                Ask::Penalties => self.guard.answer(),
            };
            if let Err(why) = caller.send(&answer) {
                warn!("answering the admin: {why}");
            }
        }
    }

    /// New connections see the new config; a broken one changes nothing.
    pub(super) fn reload(&mut self) -> Answer {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(cause) => warn!("telling systemd: {cause}"),
        }
        let config = self.config.display().to_string();
        let answer = match self.try_reload() {
            Ok(()) => {
                info!("the config was read again");
                self.restock();
                self.start_lasting();
                let tenants = u64::try_from(self.door.tenants()).unwrap_or(u64::MAX);
                Answer::Taken { config, tenants, warnings: bounded(self.door.warnings.clone()) }
            }
            Err(failure) => {
                error!("the config stays as it was: {failure}");
                Answer::Kept { config, why: bounded(failure.to_string()) }
            }
        };
        notify(&[NotifyState::Ready]);
        answer
    }

    fn try_reload(&mut self) -> Result<()> {
        let door = Door::open(&self.config, self.cells.facts().rights)?;
        let server = &door.server;
        let old = &self.door.server;
        if (&server.state_dir, &server.run_dir, server.id_pool) != (&old.state_dir, &old.run_dir, old.id_pool) {
            return Err(fail("reloading", "[server]", "state_dir, run_dir and id_pool cannot change while we run")
                .hint("restart: systemctl restart cellblock"));
        }
        let audit = Audit::open(&server.audit_log)?;
        if self.pam_program.is_none() {
            self.pam_program = Programs::seal_pam()?;
        }
        let opened = sockets::missing(&self.sockets, &server.listen)?;
        sockets::replace(&mut self.sockets, opened, &server.listen);
        door.report_unmet(&self.cells);
        self.audit = audit;
        self.door = door;
        // It knows the old one.
        self.waiting = None;
        Ok(())
    }
}
