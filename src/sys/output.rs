//! What a program of the host's prints, within bounds of time and size.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use super::{Errno, poll, process};

/// How much is read at once.
const CHUNK: usize = 16 << 10;

/// How a program ended, and what it printed until then.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// Why there is no output.
#[derive(Debug)]
pub enum NoOutput {
    /// It could not be started, or a call failed.
    Os(Errno),
    /// It took longer than this; it was killed.
    Late(Duration),
    /// It printed more bytes than this on one stream; it was killed.
    TooMuch(usize),
}

impl fmt::Display for NoOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Os(errno) => write!(f, "{errno}"),
            Self::Late(wait) => write!(f, "it did not end within {} s", wait.as_secs()),
            Self::TooMuch(cap) => write!(f, "it printed more than {cap} bytes"),
        }
    }
}

impl std::error::Error for NoOutput {}

impl From<Errno> for NoOutput {
    fn from(errno: Errno) -> Self {
        Self::Os(errno)
    }
}

impl From<io::Error> for NoOutput {
    fn from(error: io::Error) -> Self {
        Self::Os(error.into())
    }
}

/// Runs `command` without input until it ends: at most for `wait`, at most `cap` bytes of each stream.
/// Whatever goes wrong, it is not left running (what it started itself may be).
pub fn output_of(command: &mut Command, wait: Duration, cap: usize) -> Result<Output, NoOutput> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let heard = hear(&mut child, wait, cap);
    if heard.is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    let [stdout, stderr] = heard?;
    Ok(Output { status, stdout, stderr })
}

/// Both streams until their ends, and then the end of the program.
fn hear(child: &mut Child, wait: Duration, cap: usize) -> Result<[Vec<u8>; 2], NoOutput> {
    let deadline = Instant::now() + wait;
    let pid = i32::try_from(child.id()).map_err(|_range| Errno::ESRCH)?;
    let pidfd = process::pidfd_open(pid)?;
    let stdout = child.stdout.take().map(|stream| File::from(OwnedFd::from(stream)));
    let stderr = child.stderr.take().map(|stream| File::from(OwnedFd::from(stream)));
    let mut open = [stdout, stderr];
    let mut heard = [Vec::new(), Vec::new()];
    let mut ended = false;
    while !ended || open.iter().any(Option::is_some) {
        if Instant::now() >= deadline {
            return Err(NoOutput::Late(wait));
        }
        let streams = open.iter().flatten().count();
        // While there is something to hear, the end of the program does not matter.
        let watched: Vec<BorrowedFd<'_>> =
            if streams > 0 { open.iter().flatten().map(AsFd::as_fd).collect() } else { vec![pidfd.as_fd()] };
        let ready = poll::wait_readable(&watched, Some(deadline))?;
        if streams == 0 {
            ended = ready.contains(&true);
            continue;
        }
        let mut ready = ready.into_iter();
        for (stream, held) in open.iter_mut().zip(&mut heard) {
            let Some(from) = stream else { continue };
            if ready.next() == Some(true) && !read_some(from, held, cap)? {
                *stream = None;
            }
        }
    }
    Ok(heard)
}

/// Reads what is there, once; false at the end.
fn read_some(from: &mut File, held: &mut Vec<u8>, cap: usize) -> Result<bool, NoOutput> {
    let mut chunk = vec![0; CHUNK];
    let length = from.read(&mut chunk)?;
    held.extend(chunk.iter().take(length));
    if held.len() > cap { Err(NoOutput::TooMuch(cap)) } else { Ok(length > 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, wait: Duration, cap: usize) -> Result<Output, NoOutput> {
        output_of(Command::new("sh").args(["-c", script]), wait, cap)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn both_streams_are_read_whichever_is_filled_first() {
        let script = "head -c 200000 /dev/zero >&2; head -c 300000 /dev/zero; echo end >&2; exit 3";
        let output = run(script, LONG, 1 << 20).unwrap();
        assert_eq!((output.stdout.len(), output.stderr.len()), (300_000, 200_004));
        assert_eq!(output.status.code(), Some(3));
    }

    #[test]
    fn neither_time_nor_size_is_without_end() {
        assert!(matches!(run("exec sleep 1000", Duration::from_millis(50), 10), Err(NoOutput::Late(_))));
        let closed = "exec >&- 2>&-; exec sleep 1000";
        assert!(matches!(run(closed, Duration::from_millis(50), 10), Err(NoOutput::Late(_))));
        assert!(matches!(run("exec yes", LONG, 1000), Err(NoOutput::TooMuch(1000))));
        assert!(matches!(run("exec yes >&2", LONG, 1000), Err(NoOutput::TooMuch(1000))));
        assert!(matches!(output_of(&mut Command::new("/nowhere"), LONG, 1), Err(NoOutput::Os(_))));
    }
}
