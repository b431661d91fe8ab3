//! `cellblock list`: the cells that run, and the sessions in them. Needs no listener.

use std::{path::Path, process::ExitCode, time::Duration};

use clap::Args;
use serde_json::{Value, json};

use crate::account::{text_ago, text_ago_short};
use crate::config::load_server;
use crate::jail::{Seen, Visitor};
use crate::wire::control::{Answer, Ask, Penalty, socket};
use crate::wire::init::{MAX_SHOWN, Running, RunningSession};
use crate::wire::session::Program;

use super::ask::ask;
use super::serve::require_root;
use super::{Trouble, broken_server, output};

/// How long the listener may take to say whom it refuses: `list` works without it.
const PENALTIES_WAIT: Duration = Duration::from_secs(2);

/// The arguments of `list`.
#[derive(Debug, Args)]
pub struct List {
    /// Show it as JSON.
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn run(&self, config: &Path) -> Result<ExitCode, Trouble> {
        require_root("listing")?;
        let server = match load_server(config) {
            Ok(server) => server,
            Err(report) => return Ok(broken_server(config, &report)),
        };
        let cells = Visitor::new(&server)?.list()?;
        let penalties = penalties(&server.run_dir);
        output::say(if self.json {
            as_json(&cells, penalties.as_ref()).to_string()
        } else {
            as_text(&cells) + &penalties.map_or_else(String::new, |penalties| penalties_text(&penalties))
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Whose connections are refused, and how many there are; nothing, where no listener says so.
fn penalties(run_dir: &Path) -> Option<(Vec<Penalty>, u64)> {
    match ask(&socket(run_dir), Ask::Penalties, PENALTIES_WAIT) {
        Ok(Answer::Penalties { penalties, count }) => Some((penalties, count)),
        Ok(Answer::Taken { .. } | Answer::Kept { .. }) | Err(_) => None,
    }
}

fn penalties_text((penalties, count): &(Vec<Penalty>, u64)) -> String {
    if penalties.is_empty() {
        return String::new();
    }
    let mut text = format!("\n\nCONNECTIONS REFUSED FROM                     FOR  AFTER ({count} in all)");
    for Penalty { source, cause, left } in penalties {
        text.push_str(&format!(
            "\n{:40}  {:>6}  {}",
            source.to_string(),
            format!("{} s", left.as_secs()),
            cause.name()
        ));
    }
    text
}

fn as_text(cells: &[Seen]) -> String {
    if cells.is_empty() {
        return "no cell runs".to_owned();
    }
    let width = cells.iter().map(|cell| cell.name.as_str().len()).max().unwrap_or(0).max("TENANT".len());
    let mut lines = vec![format!("{:width$}  {:>7}  {:19}  SESSIONS  CONNECTIONS", "TENANT", "PID", "SINCE")];
    for Seen { name, pid, age, inside } in cells {
        let since = text_ago_short(*age);
        match inside {
            Ok(Running { sessions, connections, .. }) => {
                lines.push(format!(
                    "{:width$}  {pid:>7}  {since:19}  {:<8}  {connections}",
                    name.as_str(),
                    sessions.len()
                ));
                lines.extend(sessions.iter().map(session_line));
            }
            Err(why) => lines.push(format!("{:width$}  {pid:>7}  {since:19}  ? ({})", name.as_str(), why.cause())),
        }
    }
    lines.join("\n")
}

fn session_line(session: &RunningSession) -> String {
    let RunningSession { id, peer, pid, age, terminal, program } = session;
    let (kind, command) = shown(program);
    let terminal = if *terminal { "terminal" } else { "pipes" };
    let id = id.to_string();
    let from = peer.map_or_else(|| "this host".to_owned(), |peer| peer.to_string());
    let line = format!("  {id:16}  pid {pid:<7} {}  from {from:21}  {terminal:8}  {kind}", text_ago_short(*age));
    match command {
        Some(command) => format!("{line} {command}"),
        None => line,
    }
}

/// What runs, and its command, which a tenant chose: escaped.
fn shown(program: &Program) -> (&'static str, Option<String>) {
    let cut = matches!(program, Program::Command(command) if command.len() >= MAX_SHOWN);
    (program.kind(), program.command().map(|command| if cut { command + "…" } else { command }))
}

fn as_json(cells: &[Seen], penalties: Option<&(Vec<Penalty>, u64)>) -> Value {
    let cells = cells.iter().map(|Seen { name, pid, age, inside }| {
        let since = text_ago(*age);
        match inside {
            Ok(Running { sessions, connections, .. }) => {
                let sessions: Vec<Value> = sessions.iter().map(session_json).collect();
                json!({ "tenant": name, "pid": pid, "since": since, "connections": connections, "sessions": sessions })
            }
            Err(why) => {
                json!({ "tenant": name, "pid": pid, "since": since, "connections": null, "sessions": null, "unknown": why.cause() })
            }
        }
    });
    let penalty = |Penalty { source, cause, left }: &Penalty| json!({ "source": source.to_string(), "seconds": left.as_secs(), "cause": cause.name() });
    let penalties = penalties.map(|(penalties, _count)| penalties.iter().map(penalty).collect::<Vec<Value>>());
    json!({ "cells": cells.collect::<Vec<Value>>(), "penalties": penalties })
}

fn session_json(session: &RunningSession) -> Value {
    let RunningSession { id, peer, pid, age, terminal, program } = session;
    let (kind, command) = shown(program);
    json!({ "session": id, "from": peer, "pid": pid, "since": text_ago(*age), "terminal": terminal, "kind": kind, "command": command })
}
