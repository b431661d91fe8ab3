//! Cells for tests and benchmarks: a server in a directory of its own, tenants, sessions.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use super::program;
use cellblock::{
    base::{Bytes, SessionId},
    config::permit::Permit,
    config::settings::{
        IdPool, Jail, Limits, Linger, MaxStartups, Network, Penalties, RekeyLimit, Root, Server, Sftp, Tenant, User,
    },
    jail::{Cell, Cells, Stock},
    sys::process::{self, Ended, Forked},
    wire::{
        init::{Account, Order, Report, Start},
        session::{Exit, Program, Terminal},
        sftp::Access,
    },
};

/// What Docker gives root in a container: enough for package managers (docs/kernel.md, 15).
pub const DOCKER_CAPABILITIES: u64 = 0xa804_25fb;

/// Whether this host's cells can have been spares: cgroup v2 puts each into its group by the clone.
pub fn spares_are_kept() -> bool {
    Path::new("/sys/fs/cgroup/pids").exists()
}

/// Runs each test whose name holds the program's first argument, in a process of its own: cells are
/// cloned by processes with one thread. For programs without a harness.
pub fn each_in_a_process(tests: &[(&str, fn())]) -> ExitCode {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("SKIPPED: this needs root");
        return if std::env::var_os("REQUIRE_ROOT").is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let parts: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str()));
    let mut failed = 0;
    for (name, test) in tests.iter().filter(|(name, _)| wanted(name)) {
        match process::fork().unwrap() {
            Forked::Child => {
                test();
                process::exit_now(0);
            }
            Forked::Parent { pidfd, .. } => {
                let passed = process::wait_for(pidfd.as_fd()).unwrap() == Ended::Exited(0);
                failed += i32::from(!passed);
                eprintln!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
            }
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A server's directories. Removed with [`Yard::remove`].
pub struct Yard {
    pub dir: PathBuf,
    pub server: Server,
    pub cells: Cells,
    pub stock: Stock,
}

impl Yard {
    pub fn new(name: &str) -> Self {
        let dir = PathBuf::from(format!("/tmp/cellblock-test-{name}-{}", std::process::id()));
        let run_dir = dir.join("run");
        Self::at(dir, run_dir)
    }

    /// With the run directory on a tmpfs, as `/run` is on every host.
    pub fn with_run_in_memory(name: &str) -> Self {
        let name = format!("cellblock-test-{name}-{}", std::process::id());
        Self::at(Path::new("/tmp").join(&name), Path::new("/dev/shm").join(name))
    }

    fn at(dir: PathBuf, run_dir: PathBuf) -> Self {
        fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
        let server = Server { run_dir, ..server(&dir) };
        let mut cells = Cells::prepare(&server, &program("cellblock-init")).unwrap();
        let stock = cells.keep_stock().unwrap().unwrap();
        Self { dir, server, cells, stock }
    }

    /// Fills the stock of spares (none where [`spares_are_kept`] says no), as an idle listener does, and waits until they wait; their pids.
    pub fn restock(&self) -> Vec<i32> {
        self.cells.restock(&self.stock).unwrap();
        let spares = children();
        while !spares.iter().all(|pid| is_spare(*pid) || is_init(*pid)) {
            std::thread::yield_now();
        }
        spares.into_iter().filter(|pid| is_spare(*pid)).collect()
    }

    /// A small root directory: busybox under all its names, and nothing that a cell needs.
    pub fn busybox_root(&self, name: &str) -> PathBuf {
        let root = self.dir.join(name);
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for applet in
            String::from_utf8(Command::new("/bin/busybox").arg("--list").output().unwrap().stdout).unwrap().lines()
        {
            if applet != "busybox" {
                std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
            }
        }
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        root
    }

    pub fn remove(self) {
        self.cells.sweep().unwrap();
        let host = self.server.run_dir.join("host");
        drop(self.cells);
        cellblock::sys::mount::detach(&host).unwrap();
        fs::remove_dir_all(&self.server.run_dir).unwrap();
        fs::remove_dir_all(&self.dir).unwrap();
    }
}

/// Living children of this process.
pub fn children() -> Vec<i32> {
    let own = format!("PPid:\t{}\n", std::process::id());
    let of_ours = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.contains(&own) && !status.contains("State:\tZ")
    };
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok()).filter(of_ours).collect()
}

fn comm(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// Whether it waits to be taken.
pub fn is_spare(pid: i32) -> bool {
    comm(pid) == "cellblock-spare"
}

fn is_init(pid: i32) -> bool {
    comm(pid) == "cellblock-init"
}

pub fn server(dir: &Path) -> Server {
    Server {
        listen: Vec::new(),
        host_keys: Vec::new(),
        user: None,
        state_dir: dir.join("state"),
        run_dir: dir.join("run"),
        audit_log: dir.join("audit.log"),
        max_startups: MaxStartups { begin: 10, rate: 30, full: 100 },
        max_connections: 100,
        max_connections_per_source: 100,
        login_grace: Duration::from_secs(120),
        max_auth_tries: 6,
        client_alive_interval: None,
        client_alive_count_max: 3,
        rekey_limit: RekeyLimit { bytes: Bytes(1 << 30), time: Duration::from_secs(3600) },
        encrypt_and_mac: false,
        banner: None,
        // Below the pools of doors (door.rs).
        id_pool: IdPool { first: 524_288, count: 599_000_000, register: false },
        penalties: Penalties::default(),
        keys_command: None,
    }
}

pub fn tenant(name: &str, root: Root) -> Tenant {
    Tenant::new(
        name.parse().unwrap(),
        Jail {
            root,
            user: User::Tenant,
            shell: "/bin/sh".into(),
            home: format!("/home/{name}"),
            hostname: name.into(),
            network: Network::None,
            linger: Linger::For(Duration::from_secs(600)),
            ids: 65_536,
            limits: Limits { nofile: 1024, ..Limits::default() },
            allow: BTreeSet::new(),
            command: None,
            sftp: Sftp { access: Access::ReadWrite, umask: None },
            permit_open: Permit::Any,
            permit_listen: Permit::Any,
            accept_env: Vec::new(),
            set_env: Vec::new(),
            capabilities: 0,
            no_new_privs: true,
            syscalls: std::collections::BTreeSet::new(),
            max_sessions: 10,
            max_connections: 64,
            motd: true,
        },
    )
}

pub fn root_tenant(name: &str, root: Root) -> Tenant {
    let mut tenant = tenant(name, root);
    tenant.jail.user = User::Root;
    tenant.jail.home = "/root".into();
    tenant.jail.capabilities = DOCKER_CAPABILITIES;
    tenant
}

pub fn account(tenant: &Tenant) -> Account {
    let id = if tenant.jail.user == User::Root { 0 } else { 1000 };
    Account {
        name: tenant.name.to_string(),
        uid: id,
        gid: id,
        home: tenant.jail.home.clone(),
        shell: tenant.jail.shell.clone(),
        capabilities: tenant.jail.capabilities,
        bounding: tenant.jail.capabilities,
        no_new_privs: tenant.jail.no_new_privs,
        rlimits: vec![(7, 1024, 1024), (4, 0, 0)],
        umask: 0o022,
    }
}

pub fn start(tenant: &Tenant, session: u64, program: Program, terminal: Option<Terminal>) -> Start {
    let linger = match tenant.jail.linger {
        Linger::For(time) => Some(time),
        Linger::Forever => None,
    };
    Start {
        session,
        id: SessionId::new("c", session).unwrap(),
        peer: None,
        program,
        terminal,
        account: account(tenant),
        environment: vec![
            ("HOME".into(), tenant.jail.home.clone()),
            ("PATH".into(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()),
        ],
        greeting: None,
        linger,
        max_sessions: tenant.jail.max_sessions,
    }
}

/// A session that was started.
pub struct Session {
    pub number: u64,
    pub pid: i32,
    pub fds: Vec<OwnedFd>,
}

pub fn begin(cell: &mut Cell, start: Start) -> Session {
    let number = start.session;
    cell.link.send(&Order::Start(Box::new(start))).unwrap();
    let (report, fds) = cell.link.receive().unwrap();
    let Report::Started { session, pid } = report else { panic!("{report:?}") };
    assert_eq!(session, number);
    Session { number, pid, fds }
}

pub fn await_end(cell: &mut Cell, number: u64) -> Exit {
    let (report, _) = cell.link.receive().unwrap();
    let Report::Ended { session, exit, .. } = report else { panic!("{report:?}") };
    assert_eq!(session, number);
    exit
}

/// Runs a command with pipes: exit, stdout, stderr.
pub fn run(cell: &mut Cell, tenant: &Tenant, number: u64, command: &str) -> (Exit, String, String) {
    let start = start(tenant, number, Program::Command(command.into()), None);
    let session = begin(cell, start);
    let mut fds = session.fds.into_iter();
    drop(fds.next());
    let mut out = String::new();
    fs::File::from(fds.next().unwrap()).read_to_string(&mut out).unwrap();
    let mut err = String::new();
    fs::File::from(fds.next().unwrap()).read_to_string(&mut err).unwrap();
    (await_end(cell, number), out, err)
}

/// Ends the cell and waits until it is gone.
pub fn end(cells: &Cells, cell: Cell) {
    let sent = cell.link.send(&Order::End { grace: Duration::from_millis(200) });
    assert!(sent.is_ok() || sent == Err(cellblock::wire::LinkError::Closed), "{sent:?}");
    cellblock::sys::poll::wait_readable(&[cell.pidfd.as_fd()], None).unwrap();
    if cell.started {
        // A spare is the child of whoever keeps the stock.
        let reaped = cellblock::sys::process::wait_for(cell.pidfd.as_fd());
        assert!(reaped.is_ok() || reaped == Err(cellblock::sys::Errno::ECHILD), "{reaped:?}");
    }
    cells.ended(&cell.name, cell.pid).unwrap();
}
