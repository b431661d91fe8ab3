//! A running door: `cellblock serve`, `cellblock try`, or Debian's sshd for what both must do alike.

use std::{
    env,
    fs::{self, File},
    net::TcpListener,
    os::unix::{net::UnixDatagram, process::CommandExt},
    path::PathBuf,
    process::{Child, Command},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use nix::sys::signal::Signal;

use super::{Peaks, Ran, Scratch, patience, peaks::Watch, procfs, program, run_bounded, until};

/// Set in the environment of every listener, so that its forks can be found.
const MARK: &str = "CELLBLOCK_TEST_DOOR";
/// Host ids that one door may give to its tenants, and to its ssh processes.
const POOL: u32 = 2_000_000;
/// Pools that doors may have at once: from [`POOLS_FROM`] on, above those of cells.rs.
const POOLS: u32 = 500;
const POOLS_FROM: u32 = 600_000_000;
/// Where a pool that is taken has its lock.
const TAKEN: &str = "/tmp/cellblock-test-pools";

static NUMBER: AtomicU32 = AtomicU32::new(0);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Serve,
    Try,
    Sshd,
}

/// See [`Door::with`].
pub struct Builder {
    kind: Kind,
    server: String,
    listen: Option<String>,
    rest: String,
    tenants: Vec<(String, String)>,
    wrapper: Vec<String>,
    stop_sessions: bool,
    register: bool,
    watched: bool,
}

/// A door that is open; dropping it ends it and all that it started.
pub struct Door {
    pub dir: Scratch,
    pub port: u16,
    kind: Kind,
    pool: Pool,
    tenants: Vec<String>,
    wrapper: Vec<String>,
    stop_sessions: bool,
    child: Child,
    watch: Option<Watch>,
}

/// Ids that no other door has, of this test program or of one beside it: they tell whose a process is,
/// and a door ends all that are its own.
struct Pool {
    first: u32,
    _lock: File,
}

impl Pool {
    fn take() -> Self {
        fs::create_dir_all(TAKEN).unwrap();
        let start = std::process::id() * 7 + NUMBER.fetch_add(1, Ordering::Relaxed);
        (0..POOLS)
            .map(|more| start.wrapping_add(more) % POOLS)
            .find_map(|slot| {
                let lock = File::create(format!("{TAKEN}/{slot}")).unwrap();
                lock.try_lock().is_ok().then_some(Self { first: POOLS_FROM + slot * POOL, _lock: lock })
            })
            .expect("all pools are taken")
    }
}

/// The doors that must do alike what sshd does: sshd itself, so that a test can be wrong, and ours.
/// `DOORS=sshd` or `DOORS=cellblock` chooses one.
pub fn doors() -> Vec<Door> {
    let chosen = env::var("DOORS").unwrap_or_default();
    let mut doors = Vec::new();
    if chosen != "cellblock" {
        doors.push(Door::sshd());
    }
    if chosen != "sshd" {
        doors.push(Door::standard());
    }
    doors
}

/// A port of 127.0.0.1 that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Builder {
    /// Lines for `[server]`.
    pub fn server(mut self, lines: &str) -> Self {
        self.server.push_str(lines);
        self.server.push('\n');
        self
    }

    /// Addresses instead of 127.0.0.1, as a TOML list; `PORT` is replaced.
    pub fn listen(mut self, list: &str) -> Self {
        self.listen = Some(list.to_owned());
        self
    }

    /// A tenant with the lines of its table. Its key is `Door::key` unless the lines name keys.
    pub fn tenant(mut self, name: &str, lines: &str) -> Self {
        self.tenants.push((name.to_owned(), lines.to_owned()));
        self
    }

    /// A program that runs the listener (`systemd-socket-activate`, `strace`).
    pub fn wrapped(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Tenants' ids go into `/etc/subuid` and `/etc/subgid`: only with an `/etc` of its own.
    pub fn registering(mut self) -> Self {
        self.register = true;
        self
    }

    /// Without `--stop-sessions`: sessions outlive the listener.
    pub fn leave_sessions(mut self) -> Self {
        self.stop_sessions = false;
        self
    }

    /// What its processes take is watched from when it is ready ([`Door::peaks`]), until it restarts.
    pub fn watched(mut self) -> Self {
        self.watched = true;
        self
    }

    /// Opens it and waits until it is ready.
    pub fn start(self) -> Door {
        let dir = Scratch::new();
        let port = free_port();
        let pool = Pool::take();
        if self.kind != Kind::Try {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-qt", "ed25519", "-N", "", "-C", "test", "-f"]).arg(dir.join("id"));
            assert!(keygen.status().unwrap().success());
            dir.write(
                "ssh_config",
                &format!(
                    "Host *\nHostName 127.0.0.1\nPort {port}\nIdentityFile {0}/id\nIdentitiesOnly yes\nIdentityAgent none\n\
                     PreferredAuthentications publickey\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\n\
                     LogLevel ERROR\nBatchMode yes\nConnectTimeout {1}\n",
                    dir.path().display(),
                    patience(20).as_secs()
                ),
            );
        }
        let tenants = self.tenants.iter().map(|(name, _)| name.clone()).collect();
        match self.kind {
            Kind::Serve => dir.write("cellblock.toml", &self.config(&dir, port, pool.first)),
            Kind::Sshd => dir.write("sshd_config", &sshd_config(&dir, port)),
            Kind::Try => dir.join("unused"),
        };
        let child = spawn(self.kind, &dir, port, &self.wrapper, self.stop_sessions);
        let mut door = Door {
            dir,
            port,
            kind: self.kind,
            pool,
            tenants,
            wrapper: self.wrapper,
            stop_sessions: self.stop_sessions,
            child,
            watch: None,
        };
        door.wait_ready();
        door.watch = self.watched.then(|| Watch::of(door.listener()));
        door
    }

    fn config(&self, dir: &Scratch, port: u16, pool: u32) -> String {
        let at = dir.path().display();
        let listen =
            self.listen.clone().unwrap_or_else(|| "[\"127.0.0.1:PORT\"]".into()).replace("PORT", &port.to_string());
        let key = fs::read_to_string(dir.join("id.pub")).unwrap().trim().to_owned();
        let mut text = format!(
            "[server]\nlisten = {listen}\nhost_keys = [\"{at}/host_ed25519\"]\nstate_dir = \"{at}/state\"\n\
             run_dir = \"{at}/run\"\naudit_log = \"{at}/audit.jsonl\"\n\
             id_pool = {{ first = {pool}, count = {POOL}, register = {} }}\n{}\n",
            self.register, self.server
        );
        // Tests fail to log in a lot, all from one address.
        if !self.server.contains("penalties") {
            text.push_str("penalties = { exempt = [\"127.0.0.0/8\", \"::1\"] }\n");
        }
        text.push_str(&self.rest);
        for (name, lines) in &self.tenants {
            text.push_str(&format!("\n[tenant.{name}]\n"));
            if !lines.contains("authorized_keys") {
                text.push_str(&format!("authorized_keys = [\"{key}\"]\n"));
            }
            text.push_str(&lines.replace("{key}", &key).replace("{dir}", &at.to_string()));
            text.push('\n');
        }
        text
    }
}

impl Door {
    /// A door whose config has these tables (`[defaults]`, `[class.…]`) besides `[server]`.
    pub fn with(tables: &str) -> Builder {
        Builder {
            kind: Kind::Serve,
            server: String::new(),
            listen: None,
            rest: tables.to_owned(),
            tenants: Vec::new(),
            wrapper: Vec::new(),
            stop_sessions: true,
            register: false,
            watched: false,
        }
    }

    /// alice and bob on a view of the host, eve there as root: what `cellblock try` brings up.
    pub fn standard() -> Self {
        Self::with("[defaults]\nroot = \"host\"\n")
            .tenant("alice", "")
            .tenant("bob", "")
            .tenant("eve", "user = \"root\"")
            .start()
    }

    /// `cellblock try`.
    pub fn tried() -> Self {
        Builder { kind: Kind::Try, ..Self::with("") }.tenant("alice", "").tenant("bob", "").tenant("eve", "").start()
    }

    /// Debian's sshd, without PAM and without a jail; every tenant is root.
    pub fn sshd() -> Self {
        Builder { kind: Kind::Sshd, ..Self::with("") }.start()
    }

    pub fn is_sshd(&self) -> bool {
        self.kind == Kind::Sshd
    }

    /// The login for a tenant's name: sshd knows only root.
    pub fn login<'a>(&self, tenant: &'a str) -> &'a str {
        if self.is_sshd() { "root" } else { tenant }
    }

    pub fn listener(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn run_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// First host id of its pool.
    pub fn pool(&self) -> u32 {
        self.pool.first
    }

    pub fn tenants(&self) -> &[String] {
        &self.tenants
    }

    /// The directory that its control groups lie in, in each hierarchy: named like its `run_dir`.
    pub fn cgroup_name(&self) -> String {
        format!("cellblock{}", self.run_dir().display().to_string().replace('-', "--").replace('/', "-"))
    }

    /// What it wrote for the admin, for messages of failed tests.
    pub fn log(&self) -> String {
        let text = fs::read(self.dir.join("err")).unwrap_or_default();
        let start = text.len().saturating_sub(6000);
        format!("--- the door's log\n{}", String::from_utf8_lossy(&text[start..]))
    }

    /// The lines of the audit log of this kind.
    pub fn events(&self, kind: &str) -> Vec<serde_json::Value> {
        self.audit().into_iter().filter(|event| event["event"] == kind).collect()
    }

    /// Why connections ended, as the audit log has it.
    pub fn ends(&self) -> Vec<String> {
        let ends = self.events("connection_end").into_iter();
        ends.map(|event| event["reason"].as_str().unwrap().to_owned()).collect()
    }

    /// The audit log, one parsed line each.
    pub fn audit(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.dir.join("audit.jsonl")).unwrap_or_default();
        // A line without its end is being written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }

    /// A verb of the admin's, with this door's config.
    pub fn verb(&self, words: &[&str]) -> Ran {
        let mut command = Command::new(program("cellblock"));
        command.arg("--config").arg(self.dir.join("cellblock.toml")).args(words);
        run_bounded(command, b"")
    }

    /// The config file's text, changed by `change`.
    pub fn rewrite_config(&self, change: impl FnOnce(String) -> String) {
        let path = self.dir.join("cellblock.toml");
        fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
    }

    /// Every process of this door but its spare cells: by its ids, by the mark in the environment, by
    /// its group.
    pub fn processes(&self) -> Vec<i32> {
        let (own, pool, mark) = (self.listener(), self.pool.first..self.pool.first + POOL, self.mark());
        procfs::pids()
            .into_iter()
            .filter(|&pid| {
                !procfs::ended(pid)
                    && !self.is_spare(pid)
                    && (pid == own
                        || procfs::group(pid) == Some(own)
                        || procfs::uid(pid).is_some_and(|uid| self.kind == Kind::Serve && pool.contains(&uid))
                        || procfs::environ(pid).contains(&mark))
            })
            .collect()
    }

    fn is_spare(&self, pid: i32) -> bool {
        procfs::name(pid) == "cellblock-spare" && procfs::group(pid) == Some(self.listener())
    }

    /// The processes that speak SSH with a client, one for each connection.
    pub fn ssh_processes(&self) -> Vec<i32> {
        self.processes().into_iter().filter(|&pid| procfs::is_ssh_process(pid)).collect()
    }

    /// The most memory that its processes had so far, if it is [`watched`](Builder::watched).
    pub fn peaks(&self) -> Option<Peaks> {
        self.watch.as_ref().map(Watch::peaks)
    }

    /// The spare cells that wait in stock.
    pub fn spares(&self) -> Vec<i32> {
        procfs::pids().into_iter().filter(|&pid| !procfs::ended(pid) && self.is_spare(pid)).collect()
    }

    fn mark(&self) -> String {
        format!("{MARK}={}\0", self.dir.path().display())
    }

    /// Sends a signal to the listener.
    pub fn signal(&self, signal: Signal) {
        procfs::kill(self.listener(), signal);
    }

    /// Waits for the listener's end; its exit code, or nothing if it does not end.
    pub fn wait_end(&mut self) -> Option<i32> {
        let mut code = None;
        until(patience(20), || match self.child.try_wait().unwrap() {
            Some(status) => {
                code = Some(status.code().unwrap_or(-1));
                true
            }
            None => false,
        });
        code
    }

    /// Starts the listener again in the same directory, on the same port.
    pub fn restart(&mut self) {
        self.child = spawn(self.kind, &self.dir, self.port, &self.wrapper, self.stop_sessions);
        self.wait_ready();
    }

    fn wait_ready(&mut self) {
        let ready = until(patience(30), || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the door ended: {status}\n{}", self.log());
            }
            match self.kind {
                Kind::Serve => fs::read_to_string(self.dir.join("ready")).is_ok_and(|text| text.contains("READY=1")),
                Kind::Try => {
                    fs::read_to_string(self.dir.join("out")).is_ok_and(|text| text.lines().any(|line| line == "ready"))
                }
                Kind::Sshd => self.log().contains("Server listening"),
            }
        });
        assert!(ready, "the door did not become ready\n{}", self.log());
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.signal(Signal::SIGTERM);
            let gone = until(patience(15), || self.child.try_wait().is_ok_and(|status| status.is_some()));
            if !gone {
                eprintln!("the listener did not end on SIGTERM");
                self.child.kill().ok();
                self.child.wait().ok();
            }
        }
        until(Duration::from_secs(5), || {
            let left = self.processes();
            left.iter().for_each(|&pid| procfs::kill(pid, Signal::SIGKILL));
            left.is_empty()
        });
    }
}

fn spawn(kind: Kind, dir: &Scratch, port: u16, wrapper: &[String], stop_sessions: bool) -> Child {
    let binary = program("cellblock").display().to_string();
    let mut words: Vec<String> = wrapper.to_vec();
    let at = dir.path().display().to_string();
    match kind {
        Kind::Serve => {
            words.extend([binary, "--config".into(), format!("{at}/cellblock.toml"), "serve".into()]);
            words.extend(stop_sessions.then(|| "--stop-sessions".into()));
        }
        Kind::Try => {
            words.extend([binary, "try".into(), "--dir".into(), at.clone(), "--port".into(), port.to_string()])
        }
        Kind::Sshd => {
            fs::create_dir_all("/run/sshd").unwrap();
            words.extend(["/usr/sbin/sshd".into(), "-D".into(), "-e".into(), "-f".into(), format!("{at}/sshd_config")]);
        }
    }
    fs::remove_file(dir.join("ready")).ok();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env(MARK, &at).process_group(0);
    command.stdin(std::process::Stdio::null());
    command.stdout(File::create(dir.join("out")).unwrap());
    command.stderr(File::options().create(true).append(true).open(dir.join("err")).unwrap());
    if kind == Kind::Serve {
        listen_for_ready(dir);
        command.env("NOTIFY_SOCKET", dir.join("notify"));
    }
    command.spawn().unwrap_or_else(|e| panic!("{}: {e}", words[0]))
}

/// Plays systemd: what comes to the notify socket is appended to the file `ready`.
fn listen_for_ready(dir: &Scratch) {
    let path = dir.join("notify");
    fs::remove_file(&path).ok();
    let socket = UnixDatagram::bind(&path).unwrap();
    let ready = dir.join("ready");
    std::thread::spawn(move || {
        let mut text = String::new();
        let mut buffer = [0; 4096];
        // Ends with the directory: then the file cannot be written.
        while let Ok(length) = socket.recv(&mut buffer) {
            text.push_str(&String::from_utf8_lossy(&buffer[..length]));
            text.push('\n');
            if fs::write(&ready, &text).is_err() {
                break;
            }
        }
    });
}

fn sshd_config(dir: &Scratch, port: u16) -> String {
    let at = dir.path().display();
    let made =
        Command::new("ssh-keygen").args(["-qt", "ed25519", "-N", "", "-f"]).arg(dir.join("host_ed25519")).status();
    assert!(made.unwrap().success());
    // As a tenant's is made, not root's own: what somebody has put into their ~/.bashrc is not to be measured.
    let copied = Command::new("cp").args(["-rT", "/etc/skel"]).arg(dir.join("home")).status();
    assert!(copied.unwrap().success());
    format!(
        "ListenAddress 127.0.0.1:{port}\nSetEnv HOME={at}/home\nHostKey {at}/host_ed25519\n\
         UsePAM no\nPidFile none\nStrictModes no\n\
         AuthorizedKeysFile {at}/id.pub\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n\
         MaxStartups 1000:30:1000\nMaxSessions 1000\nPrintMotd no\nPrintLastLog no\nAcceptEnv LANG LC_*\n\
         Subsystem sftp /usr/lib/openssh/sftp-server\n"
    )
}
