//! The other SSH server. It is asked (`sshd -T`); its config is not read.

use std::{net::SocketAddr, path::Path, process::Command, time::Duration};

use super::{Eyes, NEEDS_ROOT};
use crate::base::escape;
use crate::config::Compiled;
use crate::doctor::facts::{Seen, Sshd};
use crate::sshd::{self, Looked};
use crate::sys::output;

/// How long a program that is asked may take.
const WAIT: Duration = Duration::from_secs(10);

/// Longest answer.
const MAX_ANSWER: usize = 256 << 10;

pub(super) fn gather(eyes: Eyes) -> Sshd {
    let Some(program) = sshd::program().filter(|_| Path::new(sshd::CONFIG).is_file()) else { return Sshd::Absent };
    // It reads its host keys first.
    if eyes == Eyes::Others {
        return Sshd::Unseen(NEEDS_ROOT.into());
    }
    let mut command = Command::new(program);
    command.args(["-T", "-C", "user=root,host=localhost,addr=127.0.0.1"]);
    match output_of(&mut command) {
        Ok(text) => Sshd::Listens(addresses(&text)),
        Err(why) => Sshd::Unseen(format!("{program} -T: {why}")),
    }
}

/// What it does outside of cells for accounts that are tenants of this config, if that is known.
pub(super) fn leaks(compiled: Option<&Compiled>, sshd: &Sshd, eyes: Eyes) -> Seen<Looked> {
    let Some(program) = sshd::program().filter(|_| *sshd != Sshd::Absent) else { return Seen::Absent };
    match (compiled, eyes) {
        (_, Eyes::Others) => Seen::Unseen(NEEDS_ROOT.into()),
        (None, Eyes::Roots) => Seen::Unseen("the config has errors".into()),
        (Some(compiled), Eyes::Roots) => sshd::look(compiled, program, Path::new(sshd::CONFIG))
            .map_or_else(|why| Seen::Unseen(format!("{program} -T: {}", why.cause())), Seen::Is),
    }
}

fn addresses(text: &str) -> Vec<SocketAddr> {
    text.lines().filter_map(|line| line.strip_prefix("listenaddress ")?.trim().parse().ok()).collect()
}

/// What a program of the host's prints, if it ends well and soon; otherwise why not, escaped.
pub(super) fn output_of(command: &mut Command) -> Result<String, String> {
    let output = output::output_of(command, WAIT, MAX_ANSWER).map_err(|why| why.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    match String::from_utf8_lossy(&output.stderr).trim() {
        "" => Err(output.status.to_string()),
        words => Err(escape(words)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_sshd_prints_them() {
        let text = "port 22\naddressfamily any\nlistenaddress [::]:22\nlistenaddress 0.0.0.0:22\nusepam yes\n";
        assert_eq!(addresses(text), ["[::]:22".parse().unwrap(), "0.0.0.0:22".parse().unwrap()]);
    }

    #[test]
    fn a_program_that_fails_says_why() {
        assert_eq!(output_of(Command::new("echo").arg("well")).unwrap(), "well\n");
        assert_eq!(output_of(Command::new("sh").args(["-c", "echo '\u{1b}no' >&2; exit 3"])).unwrap_err(), "\\x1bno");
        assert!(output_of(&mut Command::new("/nowhere/at/all")).is_err());
    }
}
