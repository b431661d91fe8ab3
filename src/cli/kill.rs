//! `cellblock kill`: ends a tenant's cell, or one session. Needs no listener.

use std::{path::Path, process::ExitCode, time::Duration};

use clap::Args;

use crate::base::{Result, SessionId, Span, TenantName, escape, fail};
use crate::config::load_server;
use crate::jail::{Ended, Visitor};

use super::serve::require_root;
use super::{Trouble, broken_server, output};

/// Longest grace: an end that takes longer is none.
const MAX_GRACE: Duration = Duration::from_secs(3600);

/// The arguments of `kill`.
#[derive(Debug, Args)]
pub struct Kill {
    /// Whose cell, or which session, as `cellblock list` and the audit file name it
    #[arg(value_name = "TENANT|SESSION")]
    target: String,

    /// Time between asking to end (TERM) and killing
    #[arg(long, value_name = "TIME", default_value = "10s")]
    grace: Span,
}

impl Kill {
    /// Returns when it is gone. Exits with 1 if there is nothing of that name.
    pub(super) fn run(&self, config: &Path) -> Result<ExitCode, Trouble> {
        require_root("killing")?;
        let server = match load_server(config) {
            Ok(server) => server,
            Err(report) => return Ok(broken_server(config, &report)),
        };
        let visitor = Visitor::new(&server)?;
        let grace = self.grace.0.min(MAX_GRACE);
        let (what, ended) = self.end(&visitor, grace)?;
        match ended {
            Ended::Gone => output::say(format_args!("{what}: ended"))?,
            Ended::Killed => output::say(format_args!("{what}: did not end by itself, and was killed"))?,
            Ended::NotThere => {
                return Err(fail(
                    "killing",
                    escape(&self.target),
                    "neither a running cell nor a session has that name",
                )
                .hint("cellblock list shows what runs")
                .into());
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// A text can be the name of a tenant and of a session; a tenant whose cell runs goes before a
    /// session only if there is no such session.
    fn end(&self, visitor: &Visitor, grace: Duration) -> Result<(String, Ended)> {
        let tenant: Option<TenantName> = self.target.parse().ok();
        let session: Option<(SessionId, TenantName)> = match self.target.parse::<SessionId>() {
            Ok(id) => visitor.find_session(&id)?.map(|name| (id, name)),
            Err(_no_session) => None,
        };
        match (tenant, session) {
            (Some(tenant), Some((_, holder))) if visitor.runs(&tenant)? => {
                let cause = format!("{tenant} is a tenant, and a session of {holder} has the same name");
                Err(fail("killing", tenant, cause).hint("log the tenant out, or end the session from inside"))
            }
            (_, Some((id, holder))) => {
                Ok((format!("session {id} of {holder}"), visitor.end_session(&holder, &id, grace)?))
            }
            (Some(tenant), None) => Ok((format!("the cell of {tenant}"), visitor.end_cell(&tenant, grace)?)),
            (None, None) => Ok((String::new(), Ended::NotThere)),
        }
    }
}
