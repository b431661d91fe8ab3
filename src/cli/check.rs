//! `cellblock check`: everything that is wrong with the config, where settings come from, and what the
//! host's sshd does around cells.
//!
//! Reads what `serve` would read and changes nothing.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde_json::json;

use super::{FAILED, Trouble, output};
use crate::base::{TenantName, fail};
use crate::config::{Explained, Explanation, Loaded, Report, load, load_and_explain};
use crate::jail::{self, Facts, Ids};
use crate::sshd::{self, Looked};
use crate::sys::process;

/// The arguments of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Show every setting of a tenant and where it comes from, or one of them.
    #[arg(long, value_name = "TENANT[.KEY]")]
    explain: Option<String>,

    /// Show the jail of a tenant as the list of operations that will be done.
    #[arg(long, value_name = "TENANT", conflicts_with = "explain")]
    plan: Option<String>,

    /// Show what the host's sshd does for tenants outside of their cells, by this config of sshd's.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = sshd::CONFIG,
          conflicts_with_all = ["explain", "plan"])]
    sshd: Option<PathBuf>,

    /// Show the explanation as JSON.
    #[arg(long, requires = "explain")]
    json: bool,
}

impl Check {
    /// Exits with 1 if there is an error in the config, or if sshd leads anybody around their cell; warnings
    /// are shown and do not count.
    pub(super) fn run(&self, config: &Path) -> Result<ExitCode, Trouble> {
        match (&self.explain, &self.plan, &self.sshd) {
            (Some(subject), ..) => explain(config, subject, self.json),
            (None, Some(name), _) => plan(config, name),
            (None, None, Some(file)) => around(config, file),
            (None, None, None) => verdict(config),
        }
    }
}

fn verdict(config: &Path) -> Result<ExitCode, Trouble> {
    match load(config) {
        Ok(Loaded { compiled, warnings }) => {
            if !warnings.is_empty() {
                output::complain(format_args!("{warnings}\n"));
            }
            let facts = Facts::gather(&compiled.server()?)?;
            let unmet = jail::review(compiled.tenants().filter_map(Result::ok), &facts.controls);
            for line in &unmet {
                output::complain(format_args!("warning: {line}\n"));
            }
            let tenants = counted(compiled.count(), "tenant");
            let noted = counted(warnings.warnings() + unmet.len(), "warning");
            output::say(format_args!("{}: good, {tenants}, {noted}", config.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(report) => Ok(broken(config, &report)),
    }
}

/// Prints what sshd does outside of cells for the accounts that are tenants.
fn around(config: &Path, file: &Path) -> Result<ExitCode, Trouble> {
    let asking = || file.display();
    if process::effective_uid() != 0 {
        let why = "only root can: sshd reads its host keys first";
        return Err(fail("asking sshd by", asking(), why).hint("run it with sudo").into());
    }
    let Some(program) = sshd::program() else {
        return Err(fail("asking sshd by", asking(), "sshd is not installed").into());
    };
    let compiled = match load(config) {
        Ok(loaded) => loaded.compiled,
        Err(report) => return Ok(broken(config, &report)),
    };
    let Looked { accounts, leaks } = sshd::look(&compiled, program, file)?;
    if leaks.is_empty() {
        output::say(match accounts {
            0 => format!("{}: no account of this host is a tenant (host_user, host_group)", asking()),
            some => format!("{}: good, all that {} may do ends in a cell", asking(), counted(some, "account")),
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    for leak in &leaks {
        output::complain(format_args!("{leak}\n"));
    }
    let (leaks, accounts) = (counted(leaks.len(), "leak"), counted(accounts, "account"));
    output::complain(format_args!("{}: {leaks} around the cells of {accounts}", asking()));
    Ok(ExitCode::from(FAILED))
}

fn broken(config: &Path, report: &Report) -> ExitCode {
    let errors = counted(report.errors(), "error");
    let warnings = counted(report.warnings(), "warning");
    output::complain(format_args!("{report}\n\n{}: {errors}, {warnings}", config.display()));
    ExitCode::from(FAILED)
}

fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn explain(config: &Path, subject: &str, json: bool) -> Result<ExitCode, Trouble> {
    let (name, key) = subject.split_once('.').map_or((subject, None), |(name, key)| (name, Some(key)));
    let tenant: TenantName = name.parse().map_err(|error| fail("explaining", subject.escape_debug(), error))?;
    let explained = match load_and_explain(config, &tenant) {
        Ok((_loaded, explained)) => explained,
        Err(report) => return Ok(broken(config, &report)),
    };
    let Explained(all) = explained.ok_or_else(|| fail("explaining", &tenant, "there is no such tenant"))?;
    // `limits` means everything in that table.
    let meant = |row: &Explanation| {
        key.is_none_or(|key| row.key == key || row.key.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
    };
    let rows: Vec<&Explanation> = all.iter().filter(|row| meant(row)).collect();
    if rows.is_empty() {
        let hint = "cellblock check --explain TENANT shows all keys";
        return Err(fail("explaining", subject.escape_debug(), "there is no such key").hint(hint).into());
    }
    output::say(if json { as_json(&rows) } else { as_toml(&rows) })?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what a login of `name` would carry out if its cell did not run. Gives no ids out: a tenant
/// who has none yet is shown with those that the next first login would get.
fn plan(config: &Path, name: &str) -> Result<ExitCode, Trouble> {
    let name: TenantName = name.parse().map_err(|error| fail("planning", name.escape_debug(), error))?;
    let compiled = match load(config) {
        Ok(loaded) => loaded.compiled,
        Err(report) => return Ok(broken(config, &report)),
    };
    let tenant = compiled.tenant(&name)?.ok_or_else(|| fail("planning", &name, "there is no such tenant"))?;
    let server = compiled.server()?;
    let ids = Ids::new(&server).preview(&name, tenant.jail.ids)?;
    let plan = jail::plan(&tenant, ids, &Facts::gather(&server)?);
    output::say(plan.to_string().trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// Valid TOML, with the origins as comments.
fn as_toml(rows: &[&Explanation]) -> String {
    let lines = rows.iter().map(|row| match &row.value {
        Some(value) => format!("{} = {value}  # {}", row.key, row.origin),
        None => format!("# {}: {}", row.key, row.origin),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn as_json(rows: &[&Explanation]) -> String {
    let objects = rows.iter().map(|row| json!({ "key": row.key, "value": native(row), "from": row.origin }));
    serde_json::Value::Array(objects.collect()).to_string()
}

/// The value as JSON has it. What is shown as TOML can be read as TOML.
fn native(row: &Explanation) -> Option<serde_json::Value> {
    let toml = format!("value = {}", row.value.as_ref()?);
    toml::from_str::<serde_json::Map<String, serde_json::Value>>(&toml).ok()?.remove("value")
}
