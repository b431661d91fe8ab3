//! `cellblock verify`: shows that a tenant is contained, or where not.

use std::{path::Path, process::ExitCode};

use clap::Args;
use serde_json::json;

use crate::base::{Failure, TenantName, fail};
use crate::config::settings::Tenant;
use crate::config::{Loaded, load};
use crate::jail::Cells;
use crate::verify::{Answer, Detail, Neighbours, Verifier, as_json, as_text, knock};
use crate::wire::verify::{Bombs, Verdict};

use super::serve::{ProgramArgs, require_root};
use super::{FAILED, Trouble, output};

/// The arguments of `verify`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub struct Verify {
    /// Whose cell to try to break out of
    #[arg(value_name = "TENANT", required_unless_present = "all", conflicts_with = "all")]
    tenant: Option<String>,
    /// Every tenant's, one after another
    #[arg(long)]
    all: bool,
    /// Say of every attempt what was tried, what happened and why that is right
    #[arg(long, short, conflicts_with = "json")]
    verbose: bool,
    /// One JSON object per tenant, each on a line
    #[arg(long)]
    json: bool,
    /// Leave out the small bombs, which get in the way of what the tenant runs
    #[arg(long)]
    without_bombs: bool,
    #[command(flatten)]
    programs: ProgramArgs,
}

impl Verify {
    /// Exits with 1 if anything escaped, is not known, or could not be tried.
    pub(super) fn run(&self, config: &Path) -> Result<ExitCode, Trouble> {
        require_root("verifying")?;
        let Loaded { compiled, warnings: _ } =
            load(config).map_err(|report| fail("reading the config", config.display(), format!("\n{report}")))?;
        let server = compiled.server()?;
        let cells = Cells::prepare(&server, &self.programs.programs().find_init()?)?;
        let bombs = if self.without_bombs { Bombs::None } else { Bombs::Small };
        let neighbours = Neighbours::gather(&cells)?;
        let verifier = Verifier { cells: &cells, server: &server, neighbours, bombs };
        let answers = knock(&server);

        let Some(name) = &self.tenant else {
            let mut worst = true;
            for tenant in compiled.tenants() {
                worst &= self.one(&verifier, &tenant?, &answers)?;
            }
            return Ok(status(worst));
        };
        let name: TenantName = name.parse().map_err(|error| fail("verifying", name.escape_debug(), error))?;
        let tenant = compiled.tenant(&name)?.ok_or_else(|| fail("verifying", &name, "there is no such tenant"))?;
        if tenant.locked {
            return Err(fail("verifying", &name, "the tenant is locked: no session starts").into());
        }
        Ok(status(self.one(&verifier, &tenant, &answers)?))
    }

    /// Whether the tenant is contained; says so.
    fn one(&self, verifier: &Verifier<'_>, tenant: &Tenant, answers: &[Answer]) -> Result<bool, Trouble> {
        if tenant.locked {
            self.say_locked(&tenant.name)?;
            return Ok(true);
        }
        match verifier.verify(tenant) {
            Ok(verified) => {
                let detail = if self.verbose { Detail::Full } else { Detail::Brief };
                if self.json {
                    output::say(as_json(&verified, answers))?;
                } else {
                    output::say(format_args!("{}\n", as_text(&verified, answers, detail)))?;
                }
                Ok(matches!(verified.verdict(), Verdict::Held | Verdict::NotApplicable))
            }
            Err(failure) => {
                self.say_failed(&tenant.name, &failure)?;
                Ok(false)
            }
        }
    }

    fn say_locked(&self, tenant: &TenantName) -> Result<(), Trouble> {
        if self.json {
            output::say(json!({ "tenant": tenant, "verdict": "locked" }))?;
        } else {
            output::say(format_args!("{tenant}: locked, so no session starts; not tried\n"))?;
        }
        Ok(())
    }

    /// One tenant's broken root must not hide what is wrong with the next.
    fn say_failed(&self, tenant: &TenantName, failure: &Failure) -> Result<(), Trouble> {
        if self.json {
            output::say(json!({ "tenant": tenant, "verdict": "failed", "error": failure.to_string() }))?;
        }
        output::complain(format_args!("cellblock: {failure}"));
        Ok(())
    }
}

fn status(contained: bool) -> ExitCode {
    if contained { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}
