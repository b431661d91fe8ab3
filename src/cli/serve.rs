//! `cellblock serve`: the listener.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use crate::account::start_logging;
use crate::base::{Result, fail};
use crate::jail::Rights;
use crate::listen::{self, Options, Programs, Stop};
use crate::sys::process;

use super::Trouble;

/// The arguments of `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// When told to stop, end all sessions and cells too
    #[arg(long)]
    stop_sessions: bool,
    #[command(flatten)]
    programs: ProgramArgs,
}

/// Where our other programs are.
#[derive(Debug, Args)]
pub(super) struct ProgramArgs {
    /// cellblock-ssh, if it is not beside this program
    #[arg(long, value_name = "PATH")]
    ssh_program: Option<PathBuf>,
    /// cellblock-init, if it is not beside this program
    #[arg(long, value_name = "PATH")]
    init_program: Option<PathBuf>,
}

impl ProgramArgs {
    pub(super) fn programs(&self) -> Programs {
        Programs { ssh: self.ssh_program.clone(), init: self.init_program.clone() }
    }
}

impl Serve {
    /// Serves until SIGTERM or SIGINT.
    pub(super) fn run(&self, config: &Path) -> Result<ExitCode, Trouble> {
        require_root("serving")?;
        start_logging()?;
        let stop = if self.stop_sessions { Stop::StopSessions } else { Stop::LeaveSessions };
        let (config, programs) = (config.to_owned(), self.programs.programs());
        let options = Options { config, programs, rights: Rights::Root, stop };
        listen::serve(&options, || Ok(()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Jails are made of what only root may do.
pub(super) fn require_root(doing: &'static str) -> Result<()> {
    if process::effective_uid() == 0 { Ok(()) } else { Err(fail(doing, "", "only root can").hint("run it with sudo")) }
}
