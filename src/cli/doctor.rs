//! `cellblock doctor`: what this host can and cannot do for tenants. Changes nothing.

use std::{path::Path, process::ExitCode};

use clap::Args;

use crate::base::Result;
use crate::doctor::{as_json, as_text, gather, has_failed, judge};

use super::{FAILED, Trouble, output};

/// The arguments of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Show it as JSON.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    /// Exits with 1 if anything fails; what could not be looked at does not count.
    pub(super) fn run(&self, config: &Path) -> Result<ExitCode, Trouble> {
        let facts = gather(config);
        let verdicts = judge(&facts);
        output::say(if self.json { as_json(&facts, &verdicts).to_string() } else { as_text(&facts, &verdicts) })?;
        Ok(if has_failed(&verdicts) { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
    }
}
