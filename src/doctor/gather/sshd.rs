//! The other SSH server. It is asked (`sshd -T`); its config is not read.

use std::{
    io::Read as _,
    net::SocketAddr,
    os::fd::AsFd as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{Eyes, NEEDS_ROOT};
use crate::base::escape;
use crate::doctor::facts::Sshd;
use crate::sys::{poll, process, signal};

/// Where packages put it.
const PLACES: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"];
const CONFIG: &str = "/etc/ssh/sshd_config";

/// How long a program that is asked may take.
const WAIT: Duration = Duration::from_secs(10);

/// Most that is read of its answer. Less than a pipe holds, so that it ends before it is read.
const MAX_ANSWER: u64 = 60 << 10;

pub(super) fn gather(eyes: Eyes) -> Sshd {
    let Some(program) = PLACES.iter().find(|path| Path::new(path).is_file()) else { return Sshd::Absent };
    if !Path::new(CONFIG).is_file() {
        return Sshd::Absent;
    }
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

fn addresses(text: &str) -> Vec<SocketAddr> {
    text.lines().filter_map(|line| line.strip_prefix("listenaddress ")?.trim().parse().ok()).collect()
}

/// What a program of the host's prints, if it ends well and soon; otherwise why not, escaped.
pub(super) fn output_of(command: &mut Command) -> Result<String, String> {
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|cause| cause.to_string())?;
    let deadline = Instant::now() + WAIT;
    let ended = || -> Result<bool, crate::sys::Errno> {
        let pid = i32::try_from(child.id()).map_err(|_range| crate::sys::Errno::ESRCH)?;
        let pidfd = process::pidfd_open(pid)?;
        while Instant::now() < deadline {
            if poll::wait_readable(&[pidfd.as_fd()], Some(deadline))?.contains(&true) {
                return Ok(true);
            }
        }
        process::signal_pidfd(pidfd.as_fd(), signal::SIGKILL)?;
        Ok(false)
    };
    let ended = ended().map_err(|errno| errno.to_string());
    let status = child.wait().map_err(|cause| cause.to_string())?;
    let read = |stream: &mut dyn std::io::Read| -> Result<String, String> {
        let mut bytes = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut bytes).map_err(|cause| cause.to_string())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match (ended?, status.success(), child.stdout.take(), child.stderr.take()) {
        (false, ..) => Err(format!("it did not end within {} s", WAIT.as_secs())),
        (true, true, Some(mut stdout), _) => read(&mut stdout),
        (true, _, _, Some(mut stderr)) => Err(escape(read(&mut stderr)?.trim())),
        (true, ..) => Err(status.to_string()),
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
