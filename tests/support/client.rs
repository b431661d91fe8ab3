//! The real `ssh` client, always with a deadline.

use std::{
    fs,
    io::{Read, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use super::{Door, patience, procfs, soon, until};

/// Longer than any single command of a test takes on a busy machine of two cores.
const DEADLINE: Duration = Duration::from_secs(120);

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Exit status; -1: a signal, or the deadline.
    pub status: i32,
    pub out: Vec<u8>,
    pub err: String,
    pub took: Duration,
}

impl Ran {
    /// What came out, without the last line's end.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).trim_end_matches(['\n', '\r']).to_owned()
    }
}

/// Runs a command with `input`, at most for two minutes.
pub fn run_bounded(mut command: Command, input: &[u8]) -> Ran {
    let start = Instant::now();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout, mut stderr) =
        (child.stdin.take().unwrap(), child.stdout.take().unwrap(), child.stderr.take().unwrap());
    thread::scope(|scope| {
        scope.spawn(move || {
            // The program may end before it has read all.
            stdin.write_all(input).ok();
        });
        let out = scope.spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).ok();
            bytes
        });
        let err = scope.spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).ok();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let ended = until(DEADLINE, || child.try_wait().unwrap().is_some());
        if !ended {
            // All that it started: one that is left would keep the pipes open, and this from ending.
            kill_all(i32::try_from(child.id()).unwrap());
        }
        let status = child.wait().unwrap().code().unwrap_or(-1);
        let mut err = err.join().unwrap();
        if !ended {
            err.push_str("\n(killed by the test: two minutes are over)");
        }
        Ran { status, out: out.join().unwrap(), err, took: start.elapsed() }
    })
}

/// Kills a process and then its descendants: a shell would start its next command.
fn kill_all(pid: i32) {
    let children: Vec<i32> = procfs::pids().into_iter().filter(|child| procfs::parent(*child) == Some(pid)).collect();
    procfs::kill(pid, Signal::SIGKILL);
    children.into_iter().for_each(kill_all);
}

impl Door {
    /// `ssh` with this door's config; add options, then `tenant` by [`Door::ssh`] in most cases.
    pub fn ssh_command(&self) -> Command {
        let mut command = Command::new("ssh");
        command.arg("-F").arg(self.dir.join("ssh_config"));
        // The client takes them from here where the config says SendEnv or SetEnv; nothing else leaks in.
        command.env_remove("LANG").env_remove("LC_ALL");
        command
    }

    /// `ssh TENANT`, to which a command can be added.
    pub fn ssh(&self, tenant: &str) -> Command {
        let mut command = self.ssh_command();
        command.args(["-l", self.login(tenant), if self.is_try() { tenant } else { "door" }]);
        command
    }

    fn is_try(&self) -> bool {
        // `try` writes one Host entry per tenant; a made-up host name would not be found there.
        fs::read_to_string(self.dir.join("ssh_config")).is_ok_and(|text| text.contains("alice"))
    }

    /// Runs `line` as `tenant`.
    pub fn run(&self, tenant: &str, line: &str) -> Ran {
        self.run_with(tenant, line, b"")
    }

    /// Runs `line` as `tenant` with `input`.
    pub fn run_with(&self, tenant: &str, line: &str, input: &[u8]) -> Ran {
        let mut command = self.ssh(tenant);
        command.arg(line);
        run_bounded(command, input)
    }

    /// Runs `line` as `tenant`, which must succeed; what it printed.
    pub fn ok(&self, tenant: &str, line: &str) -> String {
        let ran = self.run(tenant, line);
        assert_eq!(ran.status, 0, "{tenant}: {line}\nstdout: {}\nstderr: {}\n{}", ran.text(), ran.err, self.log());
        ran.text()
    }

    /// Starts `line` and leaves it running, with its output at hand.
    pub fn spawn(&self, tenant: &str, line: &str) -> Running {
        let mut command = self.ssh(tenant);
        command.arg(line);
        Running::start(command)
    }

    /// As [`Door::spawn`]; what comes on stderr is read as output too.
    pub fn spawn_with_stderr(&self, tenant: &str, line: &str) -> Running {
        let mut command = self.ssh(tenant);
        command.arg(line);
        Running::start_with(command, true)
    }

    /// One connection that many sessions share (ControlMaster).
    pub fn master(&self, tenant: &str) -> Master<'_> {
        Master::start(self, tenant)
    }
}

/// A command that runs while the test does other things.
pub struct Running {
    pub child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Running {
    /// Runs a command.
    pub fn start(command: Command) -> Self {
        Self::start_with(command, false)
    }

    /// `with_stderr`: what comes on its stderr is read as output.
    fn start_with(mut command: Command, with_stderr: bool) -> Self {
        let (stdout, theirs) = std::io::pipe().unwrap();
        let stderr = if with_stderr { theirs.try_clone().unwrap().into() } else { Stdio::inherit() };
        let child = command.stdin(Stdio::piped()).stdout(theirs).stderr(stderr).spawn().unwrap();
        // It holds the ends to write to.
        drop(command);
        let (sender, lines) = std::sync::mpsc::sync_channel(1024);
        thread::spawn(move || {
            use std::io::BufRead;
            for line in std::io::BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// Its next line of output.
    pub fn line(&self) -> String {
        self.lines.recv_timeout(patience(30)).expect("a line of output")
    }

    /// Its next line of output, if one comes in time.
    pub fn line_within(&self, limit: Duration) -> Option<String> {
        self.lines.recv_timeout(limit).ok()
    }

    /// Reads lines until one contains `text`; that line.
    pub fn expect(&self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(patience(30)) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(why) => panic!("{text:?} did not come: {why}; {seen:?}"),
            }
        }
    }

    /// Writes to its stdin.
    pub fn write(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Closes its stdin.
    pub fn close_stdin(&mut self) {
        self.child.stdin = None;
    }

    /// Its exit status, when it has ended by itself.
    pub fn wait(&mut self) -> i32 {
        soon("the command ends", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A connection kept open by `ssh -M`.
pub struct Master<'a> {
    door: &'a Door,
    tenant: String,
    socket: PathBuf,
    child: Child,
}

impl<'a> Master<'a> {
    fn start(door: &'a Door, tenant: &str) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let socket = door.dir.join(&format!("mux{number}"));
        let mut command = door.ssh(tenant);
        command.args(["-N", "-M", "-S"]).arg(&socket);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let mut master = Self { door, tenant: tenant.to_owned(), socket, child };
        let up = until(patience(30), || master.socket.exists() || !master.is_running());
        assert!(up && master.is_running(), "{tenant} cannot log in\n{}", door.log());
        master
    }

    /// `ssh` over this connection, to which a command can be added.
    pub fn ssh(&self) -> Command {
        let mut command = self.door.ssh(&self.tenant);
        // Without a fallback to a connection of its own.
        command.arg("-S").arg(&self.socket).args(["-o", "ControlMaster=no", "-o", "ProxyCommand=false"]);
        command
    }

    pub fn run(&self, line: &str) -> Ran {
        self.run_with(line, b"")
    }

    pub fn run_with(&self, line: &str, input: &[u8]) -> Ran {
        let mut command = self.ssh();
        command.arg(line);
        run_bounded(command, input)
    }

    pub fn ok(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.status, 0, "{line}\nstderr: {}\n{}", ran.err, self.door.log());
        ran.text()
    }

    pub fn spawn(&self, line: &str) -> Running {
        let mut command = self.ssh();
        command.arg(line);
        Running::start(command)
    }

    /// Whether the connection is still there.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Master<'_> {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
