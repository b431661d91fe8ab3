//! `cellblock reload`: the running listener reads its config again, and says whether it took it.

use std::{path::Path, process::ExitCode, time::Duration};

use clap::Args;

use crate::base::fail;
use crate::config::load_server;
use crate::wire::control::{Answer, Ask, socket};

use super::ask::ask;
use super::serve::require_root;
use super::{FAILED, Trouble, output};

/// How long the listener may take: a hundred thousand tenants load in a second or two.
const ANSWER_WAIT: Duration = Duration::from_secs(120);

/// The arguments of `reload`: none of its own.
#[derive(Debug, Args)]
pub struct Reload {}

impl Reload {
    /// Exits with 1 if the listener keeps the config that it has, or none runs.
    pub(super) fn run(&self, config: &Path) -> Result<ExitCode, Trouble> {
        require_root("reloading")?;
        // What keeps us from finding the listener would keep it from taking the config, too.
        let server = match load_server(config) {
            Ok(server) => server,
            Err(report) => {
                let file = config.display();
                output::complain(format_args!("{report}\n\n{file}: not taken; a listener that runs keeps what it has"));
                return Ok(ExitCode::from(FAILED));
            }
        };
        match ask(&socket(&server.run_dir), Ask::Reload, ANSWER_WAIT)? {
            Answer::Taken { config, tenants, warnings } => {
                if !warnings.is_empty() {
                    output::complain(format_args!("{warnings}\n"));
                }
                let noun = if tenants == 1 { "tenant" } else { "tenants" };
                output::say(format_args!("{config}: taken, {tenants} {noun}"))?;
                Ok(ExitCode::SUCCESS)
            }
            Answer::Kept { config, why } => {
                output::complain(format_args!("{why}\n\n{config}: not taken; the listener keeps what it has"));
                Ok(ExitCode::from(FAILED))
            }
            Answer::Penalties { .. } => Err(fail("reloading", "", "the listener answered something else").into()),
        }
    }
}
