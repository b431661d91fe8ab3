//! A door with the fake monitor behind it, and `ssh` in front of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// Longer than anything here should take.
const PATIENCE: &str = "20";

pub struct Door {
    dir: PathBuf,
    port: u16,
    monitor: Child,
}

impl Door {
    pub fn open() -> Self {
        let dir = std::env::temp_dir().join(format!("cellblock-ssh-test-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        for name in ["host_key", "user_key", "wrong_key"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
                .arg(dir.join(name))
                .status();
            assert!(made.unwrap().success());
        }
        let own = std::env::current_exe().unwrap();
        let monitor = Command::new(own).arg("--fake-monitor").arg(&dir).spawn().unwrap();
        let port = wait_for(|| fs::read_to_string(dir.join("port")).ok()?.parse().ok());
        Self { dir, port, monitor }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The pid of the fake listener.
    pub fn monitor(&self) -> u32 {
        self.monitor.id()
    }

    /// What the ssh processes said, one request per line.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// `timeout 20 ssh OPTIONS alice@door`, ready for more arguments.
    pub fn ssh(&self, options: &[&str]) -> Command {
        let mut command = self.ssh_as("alice", "user_key", options);
        command.arg("alice@127.0.0.1");
        command
    }

    /// The same without the host, for another key and user.
    pub fn ssh_as(&self, user: &str, key: &str, options: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        // The first value of an option counts.
        command.args([PATIENCE, "ssh", "-F", "/dev/null"]).args(options);
        command.args(["-l", user, "-i"]).arg(self.dir.join(key));
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "IdentitiesOnly=yes",
            "LogLevel=ERROR",
            "PreferredAuthentications=publickey",
        ] {
            command.args(["-o", option]);
        }
        command.args(["-p", &self.port.to_string()]).stdin(Stdio::null());
        command
    }

    /// Runs a command line through ssh.
    pub fn run(&self, line: &str) -> Output {
        self.ssh(&[]).arg(line).output().unwrap()
    }

    /// Runs a host's shell line in which `$SSH` is the client with all its options.
    pub fn shell(&self, line: &str) -> Output {
        self.shell_within(PATIENCE, line)
    }

    /// The same for what takes longer: so many seconds.
    pub fn shell_within(&self, seconds: &str, line: &str) -> Output {
        let ssh = self.ssh(&[]);
        let words: Vec<&str> = ssh.get_args().skip(1).map(|arg| arg.to_str().unwrap()).collect();
        let mut shell = Command::new("timeout");
        shell.args([seconds, "bash", "-c", line]).env("SSH", words.join(" ")).stdin(Stdio::null());
        shell.output().unwrap()
    }

    /// The pids of the ssh processes that run.
    pub fn ssh_processes(&self) -> Vec<u32> {
        let entries = fs::read_dir("/proc").unwrap();
        let pids = entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        pids.filter(|pid| {
            let named =
                |pid: u32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"cellblock-ssh\0");
            let grandparent = parent(*pid).and_then(parent);
            named(*pid) && grandparent == Some(self.monitor.id())
        })
        .collect()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.monitor.kill().unwrap();
        self.monitor.wait().unwrap();
        fs::remove_dir_all(&self.dir).unwrap();
    }
}

fn parent(pid: u32) -> Option<u32> {
    field(pid, "PPid:")?.parse().ok()
}

/// A line of `/proc/PID/status`.
pub fn field(pid: u32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
}

/// Ends an `ssh` that runs under timeout(1), which passes the signal on.
pub fn stop(mut ssh: Child) {
    cellblock::sys::process::kill(i32::try_from(ssh.id()).unwrap(), cellblock::sys::signal::SIGTERM).unwrap();
    ssh.wait().unwrap();
}

/// Asks until there is an answer.
pub fn wait_for<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "nothing came of waiting");
        sleep(Duration::from_millis(5));
    }
}

/// Standard output as text.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
