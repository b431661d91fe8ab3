//! `cellblock enter`: a session in a cell, for sshd's `ForceCommand` and `Subsystem`, for root; and in a cell of one's
//! own, without the listener and without root. A plain command line of the former is understood before one comes
//! here (`enter::Line`).

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use crate::enter::{self, Asked, FAULT, Own};
use crate::listen::Programs;
use crate::wire::enter::SOCKET;

use super::{DEFAULT_CONFIG, output};

/// The arguments of `enter`.
#[derive(Debug, Args)]
#[command(after_help = "With neither TENANT nor COMMAND it runs what sshd left in SSH_ORIGINAL_COMMAND, or a \
                        login shell: as ForceCommand. It exits as the command does; 255 if the fault is ours.")]
pub struct Enter {
    /// Whose cell to enter; only root can name another than their own
    #[arg(value_name = "TENANT")]
    tenant: Option<String>,
    /// Serve files by SFTP: for sshd's `Subsystem sftp`
    #[arg(long, conflicts_with = "command")]
    sftp: bool,
    /// Where the listener takes callers
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    socket: PathBuf,
    /// Make the jail by your own rights, without a listener and without root; --config names a file of yours, and
    /// without it every default holds
    #[arg(long, conflicts_with_all = ["sftp", "socket"])]
    rootless: bool,
    /// Say what such a jail could not have; a login shell on a terminal says it anyway
    #[arg(long, short, requires = "rootless")]
    verbose: bool,
    /// cellblock-init, if it is not beside this program
    #[arg(long, value_name = "PATH", requires = "rootless")]
    init_program: Option<PathBuf>,
    /// What to run instead of a login shell: these words, as they are
    #[arg(value_name = "COMMAND", last = true)]
    command: Vec<OsString>,
}

impl Enter {
    /// Ends as what ran in the cell.
    pub(super) fn run(self, config: PathBuf) -> ExitCode {
        if self.rootless {
            return self.run_rootless(config);
        }
        ExitCode::from(enter::run(Asked::of(self.tenant, self.sftp, &self.command), &self.socket))
    }

    fn run_rootless(self, config: PathBuf) -> ExitCode {
        let init_program = match (Programs { ssh: None, init: self.init_program }).find_init() {
            Ok(path) => path,
            Err(failure) => {
                output::complain(format_args!("cellblock: {failure}"));
                return ExitCode::from(FAULT);
            }
        };
        let config = Some(config).filter(|config| config != Path::new(DEFAULT_CONFIG));
        let program = enter::of_words(&self.command);
        enter::run_rootless(Own { tenant: self.tenant, program, config, init_program, verbose: self.verbose })
    }
}
