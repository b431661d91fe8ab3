//! Asking sshd about one account: `sshd -T`, by its absolute path, in a clean environment, within bounds.

use std::{path::Path, process::Command, time::Duration};

use super::answer::Answer;
use super::origin::Origin;
use crate::base::escape;
use crate::sys::output::output_of;

/// Where packages put it.
const PLACES: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"];

/// How long it may take. It takes some 30 ms; sshd asks the host's directory of accounts for groups.
const WAIT: Duration = Duration::from_secs(10);

/// Longest answer: it names every line of the config twice.
const MAX_ANSWER: usize = 4 << 20;

/// Most that is quoted of why it does not answer.
const MAX_QUOTED: usize = 10;

/// The host's sshd, if there is one.
#[must_use]
pub fn program() -> Option<&'static str> {
    PLACES.into_iter().find(|path| Path::new(path).is_file())
}

/// What `program` says about `account`, coming from `origin`, by the config `file`; or why it does not.
pub(super) fn ask(program: &str, file: &Path, account: &str, origin: &Origin) -> Result<Answer, String> {
    let mut command = Command::new(program);
    command.args(["-T", "-ddd", "-C", &origin.asking(account), "-f"]).arg(file);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
    let output = output_of(&mut command, WAIT, MAX_ANSWER).map_err(|why| why.to_string())?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() && !stdout.is_empty() {
        return Ok(Answer::read(&stdout, &stderr, file));
    }
    let words = stderr.lines().map(str::trim_end).filter(|line| !line.starts_with("debug"));
    let words: Vec<String> = words.take(MAX_QUOTED).map(escape).collect();
    Err(if words.is_empty() { output.status.to_string() } else { words.join("; ") })
}
