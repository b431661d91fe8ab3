//! `cellblock list`: the cells that run, and the sessions in them. Needs no listener.

use std::{path::Path, process::ExitCode};

use clap::Args;
use serde_json::{Value, json};

use crate::account::{text_ago, text_ago_short};
use crate::base::{escape, escape_bytes};
use crate::config::load_server;
use crate::jail::{Seen, Visitor};
use crate::wire::init::{MAX_SHOWN, Running, RunningSession};
use crate::wire::session::Program;

use super::serve::require_root;
use super::{Trouble, broken_server, output};

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
        output::say(if self.json { as_json(&cells).to_string() } else { as_text(&cells) })?;
        Ok(ExitCode::SUCCESS)
    }
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
    match program {
        Program::Shell => ("shell", None),
        Program::Command(command) if command.len() >= MAX_SHOWN => {
            ("exec", Some(format!("{}…", escape_bytes(command))))
        }
        Program::Command(command) => ("exec", Some(escape_bytes(command))),
        Program::Subsystem(name) => ("subsystem", Some(escape(name))),
        Program::Probe => ("probe", None),
        Program::Sftp(_) => ("sftp", None),
    }
}

fn as_json(cells: &[Seen]) -> Value {
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
    json!({ "cells": cells.collect::<Vec<Value>>() })
}

fn session_json(session: &RunningSession) -> Value {
    let RunningSession { id, peer, pid, age, terminal, program } = session;
    let (kind, command) = shown(program);
    json!({ "session": id, "from": peer, "pid": pid, "since": text_ago(*age), "terminal": terminal, "kind": kind, "command": command })
}
