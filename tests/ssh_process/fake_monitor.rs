//! A monitor that believes every client with the right key and runs its programs on the host, as
//! root, without a jail: just enough to have a real `cellblock-ssh` served.

use std::{
    collections::{HashMap, HashSet},
    fs::{File, OpenOptions},
    io::Write as _,
    net::TcpListener,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{net::UnixListener, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use cellblock::base::Secret;
use cellblock::monitor::confine;
use cellblock::sys::{
    memfd, poll,
    process::{self, Ended, Forked, Reaped},
    signal::{self, Signals},
};
use cellblock::wire::{
    Link, LinkError,
    forward::{NoForward, Place},
    login::{LoggedIn, Method, Refusal, Reply, Request, Setup},
    session::{Exit, Program, Terminal},
};

/// Nobody gets in but by the key.
fn no() -> Reply {
    Reply::LoginRefused { next: vec![Method::PublicKey], partial: false }
}

/// Whom the ssh process runs as.
pub const SERVICE_ID: u32 = 64_777;

/// Serves until it is killed. `dir` holds `host_key` and `user_key.pub`; gets `port` and `log`.
pub fn run(dir: &Path) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut program = File::open(env!("CARGO_BIN_EXE_cellblock-ssh")).unwrap();
    let program = memfd::sealed_program(c"cellblock-ssh", &mut program).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::fs::write(dir.join("port.new"), port.to_string()).unwrap();
    std::fs::rename(dir.join("port.new"), dir.join("port")).unwrap();
    process::die_with_parent(signal::SIGKILL).unwrap();
    for connection in listener.incoming() {
        // Monitors that have ended.
        while let Ok(Reaped::Child { .. }) = process::reap() {}
        if let Forked::Child = process::fork().unwrap() {
            let (link, pidfd) =
                confine::start_ssh(program.as_fd(), connection.unwrap().into(), SERVICE_ID, SERVICE_ID).unwrap();
            FakeMonitor::new(dir, link).serve();
            // Unless it was reaped with the programs.
            if let Ok(ended) = process::wait_for(pidfd.as_fd()) {
                assert!(!matches!(ended, Ended::Killed { .. }), "{ended:?}");
            }
            process::exit_now(0);
        }
    }
}

struct FakeMonitor {
    dir: PathBuf,
    link: Link<Reply, Request>,
    log: File,
    key: Vec<u8>,
    host_key: Secret,
    programs: HashMap<i32, u32>,
    /// Channels whose client is told of two limits when the program ends.
    limited: HashSet<u32>,
    children: Vec<Child>,
}

impl FakeMonitor {
    fn new(dir: &Path, link: Link<Reply, Request>) -> Self {
        let key = std::fs::read_to_string(dir.join("user_key.pub")).unwrap();
        let key = ssh_key::PublicKey::from_openssh(&key).unwrap().to_bytes().unwrap();
        let host_key = Secret::new(std::fs::read(dir.join("host_key")).unwrap());
        let log = OpenOptions::new().append(true).create(true).open(dir.join("log")).unwrap();
        Self {
            dir: dir.to_owned(),
            link,
            log,
            key,
            host_key,
            programs: HashMap::new(),
            limited: HashSet::new(),
            children: Vec::new(),
        }
    }

    fn serve(&mut self) {
        let mut signals = Signals::block(&[signal::SIGCHLD]).unwrap();
        loop {
            let ready = poll::wait_readable(&[self.link.as_fd(), signals.as_fd()], None).unwrap();
            if ready[1] {
                while signals.take_one().unwrap().is_some() {}
                self.reap();
            }
            if ready[0] {
                match self.link.receive() {
                    Ok((request, _fds)) => self.answer(request),
                    Err(LinkError::Closed) => return self.hang_up(),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    fn hang_up(&self) {
        for pid in self.programs.keys() {
            process::kill(-pid, signal::SIGHUP).unwrap_or_default();
        }
    }

    fn reap(&mut self) {
        while let Ok(Reaped::Child { pid, ended, .. }) = process::reap() {
            let Some(channel) = self.programs.remove(&pid) else { continue };
            let exit = match ended {
                Ended::Exited(status) => Exit::Status(u8::try_from(status).unwrap()),
                Ended::Killed { signal: number, core } => {
                    let name = match number {
                        1 => "HUP",
                        9 => "KILL",
                        15 => "TERM",
                        24 => "XCPU",
                        _ => "OTHER",
                    };
                    Exit::Signal { number, name: name.into(), core }
                }
            };
            for limit in ["memory", "processes"].into_iter().filter(|_limit| self.limited.contains(&channel)) {
                self.reply(&Reply::SessionNotice { channel, text: format!("too many {limit}") }, Vec::new());
            }
            self.reply(&Reply::SessionEnded { channel, exit }, Vec::new());
        }
    }

    fn answer(&mut self, request: Request) {
        self.log.write_all(format!("{request:?}\n").as_bytes()).unwrap();
        match request {
            Request::Confined => {
                let setup = Setup {
                    host_keys: vec![self.host_key.clone()],
                    banner: Some("welcome to the test\r\n".into()),
                    methods: vec![Method::PublicKey],
                    max_auth_tries: 3,
                    max_channels: 10,
                    client_alive_interval: None,
                    client_alive_count_max: 3,
                    rekey_bytes: 1 << 30,
                    rekey_time: std::time::Duration::from_secs(3600),
                    most_exchange: std::time::Duration::from_secs(30),
                    encrypt_and_mac: false,
                };
                self.reply(&Reply::Setup(Box::new(setup)), Vec::new());
            }
            Request::OfferKey { user, key } => {
                let good = key == self.key && user == "alice";
                self.reply(&if good { Reply::KeyAcceptable } else { no() }, Vec::new());
            }
            Request::LogIn { user, key } => {
                let good = key == self.key && user == "alice";
                let reply = if good {
                    Reply::LoggedIn(LoggedIn {
                        pty: true,
                        signals: true,
                        accept_env: vec!["*".into()],
                        idle_timeout: None,
                        channel_timeout: None,
                        forward_timeout: None,
                    })
                } else {
                    no()
                };
                self.reply(&reply, Vec::new());
            }
            Request::StartSession { channel, program, terminal, environment } => {
                self.start(channel, &program, terminal, environment);
            }
            Request::SignalSession { channel, signal: _ } => {
                let found = self.programs.iter().find(|(_, number)| **number == channel);
                if let Some((pid, _)) = found {
                    process::kill(-*pid, signal::SIGTERM).unwrap();
                }
            }
            Request::LeaveSession { channel } => {
                let found = self.programs.iter().find(|(_, number)| **number == channel);
                if let Some((pid, _)) = found {
                    process::kill(-*pid, signal::SIGHUP).unwrap();
                }
            }
            // In the directory of the tests, and nowhere else.
            Request::Listen { forward, place: Place::Unix { path } }
                if Path::new(&path).parent() == Some(&self.dir) =>
            {
                let listener = UnixListener::bind(path).unwrap();
                self.reply(&Reply::ForwardOpened { forward, port: 0 }, vec![listener.into()]);
            }
            Request::Connect { forward, .. } | Request::Listen { forward, .. } => {
                let why = NoForward::Prohibited;
                self.reply(&Reply::ForwardRefused { forward, why }, Vec::new());
            }
            Request::LogInByCertificate { .. }
            | Request::Password { .. }
            | Request::KeyboardInteractive { .. }
            | Request::Answers { .. }
            | Request::TriedMethod { .. } => self.reply(&no(), Vec::new()),
            Request::Accepted { .. }
            | Request::ForwardEnded { .. }
            | Request::RefusedUnasked { .. }
            | Request::GaveUp { .. }
            | Request::Note { .. } => {}
        }
    }

    fn start(
        &mut self,
        channel: u32,
        program: &Program,
        terminal: Option<Terminal>,
        environment: Vec<(String, String)>,
    ) {
        let line = match program {
            Program::Shell => "exec bash -i".to_owned(),
            Program::Command(line) if line == b"refuse me" => {
                let why = Refusal::JailFailed;
                return self.reply(&Reply::SessionRefused { channel, why }, Vec::new());
            }
            Program::Command(line) => {
                if line.ends_with(b"# meets two limits") {
                    self.limited.insert(channel);
                }
                String::from_utf8_lossy(line).into_owned()
            }
            Program::Words(_) | Program::Subsystem(_) | Program::Probe | Program::Sftp(_) => {
                let why = Refusal::NotAllowed;
                return self.reply(&Reply::SessionRefused { channel, why }, Vec::new());
            }
        };
        let mut command = match terminal {
            Some(_) => Command::new("setsid"),
            None => Command::new("bash"),
        };
        if terminal.is_some() {
            command.args(["-c", "bash"]);
        } else {
            command.process_group(0);
        }
        command.arg("-c").arg(line).envs(environment);
        let (child, fds) = match terminal {
            Some(terminal) => on_terminal(command, &terminal),
            None => on_pipes(command),
        };
        self.programs.insert(i32::try_from(child.id()).unwrap(), channel);
        self.children.push(child);
        self.reply(&Reply::SessionStarted { channel }, fds);
    }

    fn reply(&self, reply: &Reply, fds: Vec<OwnedFd>) {
        let borrowed: Vec<_> = fds.iter().map(OwnedFd::as_fd).collect();
        match self.link.send_with(reply, &borrowed) {
            Ok(()) | Err(LinkError::Closed) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn on_pipes(mut command: Command) -> (Child, Vec<OwnedFd>) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let fds = vec![
        child.stdin.take().unwrap().into(),
        child.stdout.take().unwrap().into(),
        child.stderr.take().unwrap().into(),
    ];
    (child, fds)
}

fn on_terminal(mut command: Command, terminal: &Terminal) -> (Child, Vec<OwnedFd>) {
    let size = nix::pty::Winsize {
        ws_row: terminal.size.rows,
        ws_col: terminal.size.columns,
        ws_xpixel: terminal.size.width,
        ws_ypixel: terminal.size.height,
    };
    let pty = nix::pty::openpty(&size, None).unwrap();
    nix::fcntl::fcntl(&pty.master, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC)).unwrap();
    command.env("TERM", &terminal.term);
    command.stdin(pty.slave.try_clone().unwrap()).stdout(pty.slave.try_clone().unwrap()).stderr(pty.slave);
    (command.spawn().unwrap(), vec![pty.master])
}
