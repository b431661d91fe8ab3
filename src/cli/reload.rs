//! `cellblock reload`: the running listener reads its config again, and says whether it took it.

use std::{
    os::fd::AsFd as _,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;

use crate::base::{Result, fail};
use crate::config::load_server;
use crate::sys::{Errno, poll, seqpacket};
use crate::wire::Link;
use crate::wire::control::{Answer, Ask, socket};

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
        match ask(&socket(&server.run_dir))? {
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
        }
    }
}

fn ask(path: &Path) -> Result<Answer> {
    let failed = |cause: &dyn std::fmt::Display| fail("asking the listener at", path.display(), cause);
    let socket = seqpacket::connect_path(path).map_err(|errno| match errno {
        Errno::ENOENT | Errno::ECONNREFUSED => failed(&"none runs there")
            .hint("systemctl start cellblock; or, if `run_dir` was changed: systemctl restart cellblock"),
        errno => failed(&errno),
    })?;
    let mut link: Link<Ask, Answer> = Link::new(socket);
    link.send(&Ask::Reload).map_err(|why| failed(&why))?;
    let deadline = Instant::now() + ANSWER_WAIT;
    while Instant::now() < deadline {
        let ready = poll::wait_readable(&[link.as_fd()], Some(deadline)).map_err(|errno| failed(&errno))?;
        if ready.contains(&true) {
            let (answer, _fds) = link.receive().map_err(|why| failed(&why))?;
            return Ok(answer);
        }
    }
    Err(failed(&"it does not answer"))
}
