//! The probe's session: started by the cell's init as any other, told its task, heard to its end.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    time::{Duration, Instant},
};

use crate::base::{Failure, Result, escape, fail};
use crate::jail::Cell;
use crate::sys::{Errno, poll};
use crate::wire::LinkError;
use crate::wire::init::{Order, Report, Start};
use crate::wire::link::exactly;
use crate::wire::session::{Exit, Signal};
use crate::wire::verify::{Check, Finding, MAX_LINE, READY, Task};

use super::is_inside;

/// How long init may take to start it.
pub(super) const START_WAIT: Duration = Duration::from_secs(10);

/// How long it may take in all: five bombs of a minute at most are the worst of it.
const PROBE_WAIT: Duration = Duration::from_secs(360);

/// How long its end may take to be told.
const END_WAIT: Duration = Duration::from_secs(5);

/// Most of its stderr that is quoted.
const MAX_STDERR: usize = 512;

/// A probe that waits for its task, in a cell that we entered.
#[derive(Debug)]
pub(super) struct Running {
    session: u64,
    pid: i32,
    probe: Streams,
}

/// The streams of a probe that waits for its task.
#[derive(Debug)]
pub(super) struct Streams {
    stdin: File,
    reading: Reading,
    stderr: File,
}

/// What a probe said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Each check at most once.
    pub findings: Vec<Finding>,
    /// Why others are missing, if any are.
    pub silence: String,
}

/// Lines of a probe, each of bounded length and before a deadline.
#[derive(Debug)]
pub struct Reading {
    from: File,
    held: Vec<u8>,
    deadline: Instant,
}

impl Reading {
    /// Of the probe that writes to `from`.
    #[must_use]
    pub fn new(from: OwnedFd) -> Self {
        Self { from: from.into(), held: Vec::new(), deadline: Instant::now() + PROBE_WAIT }
    }

    /// The next line, without its end; `None` at the end of all.
    pub fn line(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            if let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
                let rest = self.held.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.held, rest);
                line.pop();
                return Ok(Some(line));
            }
            if self.held.len() > MAX_LINE {
                return Err("the probe sent a line without end".into());
            }
            let ready = poll::wait_readable(&[self.from.as_fd()], Some(self.deadline)).map_err(|e| e.to_string())?;
            if !ready.contains(&true) {
                if Instant::now() < self.deadline {
                    continue;
                }
                return Err("the probe did not come to an end in time".into());
            }
            let mut buffer = vec![0; 16 << 10];
            let length = self.from.read(&mut buffer).map_err(|error| error.to_string())?;
            if length == 0 {
                return Ok(None);
            }
            self.held.extend(buffer.iter().take(length));
        }
    }

    /// All findings that follow. What is no finding ends it.
    pub fn findings(&mut self) -> Heard {
        let mut findings: Vec<Finding> = Vec::new();
        let silence = loop {
            match self.line() {
                Ok(None) => break "the probe ended before it".into(),
                Err(why) => break why,
                Ok(Some(line)) => {
                    let Ok(finding) = serde_json::from_slice::<Finding>(&line) else {
                        break "the probe sent what is no finding".into();
                    };
                    let known = findings.iter().any(|known| known.check == finding.check);
                    if known || !is_inside(finding.check) {
                        break format!("the probe spoke of {} out of turn", finding.check.id());
                    }
                    findings.push(finding);
                }
            }
            if findings.len() > Check::ALL.len() {
                break "the probe never ends".into();
            }
        };
        Heard { findings, silence }
    }
}

/// Has init start the probe, and waits until it runs.
pub(super) fn begin(cell: &mut Cell, start: Start) -> Result<Running> {
    let failed =
        |cause: &dyn std::fmt::Display| -> Failure { fail("starting the probe in the cell of", &cell.name, cause) };
    let session = start.session;
    cell.link.send(&Order::Start(Box::new(start))).map_err(|why| failed(&why))?;
    let deadline = Some(Instant::now() + START_WAIT);
    let fds = [cell.link.as_fd(), cell.pidfd.as_fd()];
    if !poll::wait_readable(&fds, deadline).map_err(|errno| failed(&errno))?.contains(&true) {
        return Err(failed(&"its init does not answer"));
    }
    let (report, fds) = cell.link.receive().map_err(|why| {
        if why == LinkError::Closed {
            return fail("starting the probe in the cell of", &cell.name, "its init does not know how")
                .hint("it runs since before an upgrade: end the cell and verify again");
        }
        fail("starting the probe in the cell of", &cell.name, why)
    })?;
    let failed = |cause: &dyn std::fmt::Display| fail("starting the probe in the cell of", &cell.name, cause);
    let pid = match report {
        Report::Started { session: number, pid } if number == session => pid,
        Report::NotStarted { step, errno, .. } => {
            return Err(failed(&format_args!("{}: {}", escape(&step), Errno::from_raw(errno))));
        }
        Report::Full { .. } => {
            return Err(failed(&"it has as many sessions as it may").hint("verify again when one has ended"));
        }
        Report::Started { .. }
        | Report::Ended { .. }
        | Report::LimitHit { .. }
        | Report::Opened { .. }
        | Report::NotOpened { .. }
        | Report::Running(_)
        | Report::SessionGone { .. } => return Err(failed(&"its init answers something else")),
    };
    let probe = Streams::of(fds).map_err(|why| failed(&why))?;
    Ok(Running { session, pid, probe })
}

impl Running {
    /// Its pid in the cell.
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Tells it its task and hears what it found, until it ends.
    pub(super) fn hear(self, cell: &mut Cell, task: &Task) -> Result<Heard> {
        let mut heard = self.probe.tell(task).map_err(|why| fail("telling the probe of", &cell.name, why))?;
        // Whatever it still does. It may have ended, and its init with it.
        if cell.link.send(&Order::Signal { session: self.session, signal: Signal::Kill }).is_err() {
            heard.silence.push_str(" (and so did the cell)");
            return Ok(heard);
        }
        if let Some(exit) = ended(cell)?
            && exit != Exit::Status(0)
        {
            heard.silence = format!("{} ({exit})", heard.silence);
        }
        Ok(heard)
    }
}

impl Streams {
    /// Those of a session that has just started; waits until it is the probe that runs there.
    pub(super) fn of(fds: Vec<OwnedFd>) -> Result<Self, String> {
        let [stdin, stdout, stderr] = exactly(fds).map_err(|why| why.to_string())?;
        let mut probe = Self { stdin: stdin.into(), reading: Reading::new(stdout), stderr: stderr.into() };
        match probe.reading.line()? {
            Some(line) if line == READY.as_bytes() => Ok(probe),
            Some(_) | None => Err(probe.last_words()),
        }
    }

    /// Tells it its task and hears what it found.
    pub(super) fn tell(mut self, task: &Task) -> Result<Heard, String> {
        let line = serde_json::to_vec(task).map_err(|why| why.to_string())?;
        let told = self.stdin.write_all(&line);
        drop(self.stdin);
        match told {
            // It has ended, or somebody ended it: what is missing says so.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.to_string()),
            Ok(()) | Err(_) => Ok(self.reading.findings()),
        }
    }

    /// What it, or init's child before it became the probe, said at last.
    fn last_words(&mut self) -> String {
        let mut text = vec![0; MAX_STDERR];
        let deadline = Some(Instant::now() + END_WAIT);
        let ready = poll::wait_readable(&[self.stderr.as_fd()], deadline);
        let length = if ready.is_ok_and(|ready| ready.contains(&true)) { self.stderr.read(&mut text) } else { Ok(0) };
        text.truncate(length.unwrap_or(0));
        let text = String::from_utf8_lossy(&text);
        let text = text.trim().trim_start_matches("cellblock: ");
        if text.is_empty() { "it ended at once".into() } else { escape(text) }
    }
}

/// How the probe ended, if init says so in time. Limits that it hit are told before.
fn ended(cell: &mut Cell) -> Result<Option<Exit>> {
    let deadline = Instant::now() + END_WAIT;
    while Instant::now() < deadline {
        let ready = poll::wait_readable(&[cell.link.as_fd(), cell.pidfd.as_fd()], Some(deadline))
            .map_err(|errno| fail("waiting for the probe of", &cell.name, errno))?;
        if !ready.contains(&true) {
            continue;
        }
        match cell.link.receive() {
            Ok((Report::Ended { exit, .. }, _)) => return Ok(Some(exit)),
            Ok(_of_limits) => {}
            Err(_gone) => return Ok(None),
        }
    }
    Ok(None)
}
