//! A monitor against an ssh process that does everything wrong, and a cell that does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::zombie_processes,
    missing_docs,
    reason = "a test: what fails is to be loud; the monitor runs in a thread, with the test as its ssh process"
)]

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    net::{TcpListener, TcpStream},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use cellblock::{
    account::{Allowance, Audit},
    base::Bytes,
    config::permit::Permit,
    config::settings::{
        Allow, AuthorizedKey, Jail, KeyOptions, KeyRole, Limits, Linger, Network, Root, Sftp, Stranger, Tenant, User,
    },
    monitor::{Conn, Ear, Entered, Hashing, House, Seats, Tally, converse},
    policy::Ends,
    sys::{
        poll, process, seqpacket,
        signal::{SIGTERM, Signals},
    },
    wire::{
        Link, LinkError,
        forward::Target,
        init::{Order, Report},
        login::{GaveUp, Method, Refusal, Reply, Request, Setup},
        session::{Exit, Program, Usage},
        sftp::Access,
    },
};

const KEY: &[u8] = b"alice's key";
const GRACE: Duration = Duration::from_millis(1500);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A monitor, the test's end of its ssh process, and its cell's init.
struct Bench {
    ssh: Link<Request, Reply>,
    raw: OwnedFd,
    ssh_process: Child,
    inits: std::sync::mpsc::Receiver<Link<Report, Order>>,
    monitor: Option<JoinHandle<()>>,
    dir: PathBuf,
}

fn bench() -> Bench {
    let dir = PathBuf::from(format!(
        "/root/.cellblock-monitor-{}-{}",
        std::process::id(),
        NUMBER.fetch_add(1, Ordering::Relaxed)
    ));
    fs::create_dir(&dir).unwrap();
    let (ours, theirs) = seqpacket::pair().unwrap();
    let raw = ours.try_clone().unwrap();
    let ssh_process = sleeper();
    let pidfd = process::pidfd_open(i32::try_from(ssh_process.id()).unwrap()).unwrap();
    let (told, inits) = std::sync::mpsc::channel();
    let at = dir.clone();
    let monitor = std::thread::spawn(move || {
        let (listener, _heard) = {
            let (a, b) = seqpacket::pair().unwrap();
            (Ear::new(Link::new(a)), b)
        };
        let mut house = House {
            tenant: Box::new(|name| Ok((name.as_str() == "alice").then(alice))),
            key_lines: Box::new(|_, _, _| Vec::new()),
            certificates: false,
            enter: Box::new(move |_| {
                let (monitors, inits) = seqpacket::pair().unwrap();
                let init = sleeper();
                let pid = i32::try_from(init.id()).unwrap();
                let pidfd = process::pidfd_open(pid).unwrap();
                told.send(Link::new(inits)).unwrap();
                Ok(Entered { link: Link::new(monitors), pidfd, pid, forgone: Vec::new() })
            }),
            setup: Setup {
                host_keys: Vec::new(),
                banner: None,
                methods: vec![Method::PublicKey],
                max_auth_tries: 3,
                max_channels: 64,
                client_alive_interval: None,
                client_alive_count_max: 3,
                rekey_bytes: 1 << 30,
                rekey_time: Duration::from_secs(3600),
                most_exchange: Duration::from_secs(30),
                encrypt_and_mac: false,
            },
            stranger: Stranger { auth: vec![vec![Method::PublicKey]], pam_service: "cellblock".into() },
            login_grace: GRACE,
            state_dir: at.clone(),
            seats: Seats::prepare(&at).unwrap(),
            allowance: Allowance::prepare(&at).unwrap(),
            pam: None,
            hashing: Hashing::prepare(&at).unwrap(),
            audit: Audit::open(&at.join("audit.jsonl")).unwrap(),
            signals: Signals::block(&[SIGTERM]).unwrap(),
            tally: Tally::default(),
            listener,
        };
        let ends = Ends { peer: "192.0.2.1:5".parse().unwrap(), local: "192.0.2.2:22".parse().unwrap() };
        let conn = Conn { id: "c".into(), ends, accepted: Instant::now() };
        converse(&conn, Link::new(theirs), pidfd, &mut house);
    });
    Bench { ssh: Link::new(ours), raw, ssh_process, inits, monitor: Some(monitor), dir }
}

/// Stands for a process that the monitor holds by its pidfd.
fn sleeper() -> Child {
    Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap()
}

fn alice() -> Tenant {
    Tenant {
        authorized_keys: vec![AuthorizedKey {
            blob: KEY.to_vec(),
            comment: String::new(),
            options: KeyOptions::default(),
            role: KeyRole::User,
        }],
        ..Tenant::new(
            "alice".parse().unwrap(),
            Jail {
                root: Root::Host,
                user: User::Tenant,
                shell: "/bin/sh".into(),
                home: "/home/alice".into(),
                hostname: "alice".into(),
                network: Network::None,
                linger: Linger::For(Duration::from_secs(60)),
                ids: 65536,
                limits: Limits { tmp: Bytes(0), run: Bytes(0), shm: Bytes(0), nofile: 1024, ..Limits::default() },
                allow: BTreeSet::from([Allow::Shell, Allow::Exec, Allow::Pty, Allow::LocalForward]),
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
                motd: false,
            },
        )
    }
}

impl Bench {
    fn send(&self, request: &Request) {
        self.ssh.send(request).unwrap();
    }

    fn reply(&mut self) -> (Reply, Vec<OwnedFd>) {
        self.ssh.receive().unwrap()
    }

    fn confined(mut self) -> Self {
        self.send(&Request::Confined);
        assert!(matches!(self.reply().0, Reply::Setup(_)));
        self
    }

    fn logged_in(self) -> Self {
        let mut bench = self.confined();
        bench.send(&log_in("alice", KEY));
        assert!(matches!(bench.reply().0, Reply::LoggedIn(_)));
        bench
    }

    /// Starts a session on `channel`; the init that was asked, and its number.
    fn asked(&mut self, channel: u32) -> (Link<Report, Order>, u64) {
        self.send(&start(channel));
        let mut init = self.inits.recv_timeout(Duration::from_secs(5)).unwrap();
        let (Order::Start(start), _) = init.receive().unwrap() else { panic!("another order") };
        (init, start.session)
    }

    /// Asserts that the monitor ends, with its ssh process, and says why in the audit file.
    fn ends_with(mut self, reason: &str) {
        self.leaves(reason);
    }

    /// As [`Bench::ends_with`]; what is in the audit file.
    fn leaves(&mut self, reason: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(5);
        let monitor = self.monitor.take().unwrap();
        while !monitor.is_finished() {
            assert!(Instant::now() < deadline, "the monitor goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
        monitor.join().unwrap();
        let pidfd = process::pidfd_open(i32::try_from(self.ssh_process.id()).unwrap());
        if let Ok(pidfd) = pidfd {
            let ended = poll::wait_readable(&[pidfd.as_fd()], Some(Instant::now())).unwrap();
            assert_eq!(ended, [true], "the ssh process goes on");
        }
        let audit = fs::read_to_string(self.dir.join("audit.jsonl")).unwrap();
        let last: serde_json::Value = serde_json::from_str(audit.lines().last().unwrap()).unwrap();
        assert_eq!(last["event"], "connection_end");
        assert!(last["reason"].as_str().unwrap().contains(reason), "{last}");
        audit
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(self.ssh_process.kill());
        drop(self.ssh_process.wait());
        // It writes into the directory until the end.
        drop(self.monitor.take().map(JoinHandle::join));
        drop(fs::remove_dir_all(&self.dir));
    }
}

fn log_in(user: &str, key: &[u8]) -> Request {
    Request::LogIn { user: user.into(), key: key.into() }
}

fn offer(user: &str, key: &[u8]) -> Request {
    Request::OfferKey { user: user.into(), key: key.into() }
}

fn start(channel: u32) -> Request {
    Request::StartSession { channel, program: Program::Shell, terminal: None, environment: Vec::new() }
}

#[test]
fn a_request_out_of_turn_ends_the_connection() {
    for early in [offer("alice", KEY), log_in("alice", KEY), start(0), Request::LeaveSession { channel: 0 }] {
        let bench = bench();
        bench.send(&early);
        bench.ends_with("out of turn");
    }
    for unproved in [Request::Confined, start(0), Request::LeaveSession { channel: 0 }] {
        let bench = bench().confined();
        bench.send(&unproved);
        bench.ends_with("out of turn");
    }
    for late in [Request::Confined, offer("bob", KEY), log_in("bob", KEY), log_in("alice", KEY)] {
        let bench = bench().logged_in();
        bench.send(&late);
        bench.ends_with("out of turn");
    }
}

#[test]
fn what_is_no_message_ends_the_connection() {
    for bytes in [&[0xff; 10][..], &[0, 0], &[1, 200], &vec![0; (64 << 10) + 1]] {
        let bench = bench();
        seqpacket::send(bench.raw.as_fd(), bytes, &[]).unwrap();
        bench.ends_with("wrong message");
    }
}

#[test]
fn a_message_with_a_descriptor_ends_the_connection() {
    for count in [1, 4] {
        let bench = bench().confined();
        let fds = vec![bench.raw.as_fd(); count];
        bench.ssh.send_with(&offer("alice", KEY), &fds).unwrap();
        bench.ends_with("descriptors");
    }
}

/// A TCP socket whose last close takes 20 seconds: `SO_LINGER`, and bytes that nobody reads. And its reader.
fn lingering() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut full = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (reader, _) = listener.accept().unwrap();
    full.set_nonblocking(true).unwrap();
    while full.write(&[0; 65536]).is_ok() {}
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 20 };
    nix::sys::socket::setsockopt(&full, nix::sys::socket::sockopt::Linger, &linger).unwrap();
    (full, reader)
}

/// A captured ssh process has sockets of the cell
#[test]
fn a_descriptor_that_takes_long_to_close_does_not_hold_up_the_end() {
    let bench = bench().logged_in();
    let (full, _reader) = lingering();
    bench.ssh.send_with(&start(0), &[full.as_fd()]).unwrap();
    drop(full);
    bench.ends_with("descriptors");
}

/// What a program of the tenant's left unread in a socket, which the client gave up before it was open
#[test]
fn a_socket_that_nobody_takes_does_not_hold_up_the_monitor() {
    let mut bench = bench().logged_in();
    let target = Target::Unix { path: "/tmp/x".into() };
    bench.send(&Request::Connect { forward: 1, target, peer: "x".into() });
    let mut init = bench.inits.recv_timeout(Duration::from_secs(5)).unwrap();
    let (Order::Open(open), _) = init.receive().unwrap() else { panic!("another order") };
    bench.send(&Request::ForwardEnded { forward: 1, to_cell: 0, to_client: 0 });
    bench.send(&start(1));
    let (Order::Start(start), _) = init.receive().unwrap() else { panic!("another order") };

    let (full, _reader) = lingering();
    let (socket, server) = UnixStream::pair().unwrap();
    seqpacket::send(server.as_fd(), b"x", &[full.as_fd()]).unwrap();
    drop(full);
    init.send_with(&Report::Opened { forward: open.forward, number: 0 }, &[socket.as_fd()]).unwrap();
    drop(socket);
    let begin = Instant::now();
    init.send(&Report::Full { session: start.session }).unwrap();
    assert!(matches!(bench.reply().0, Reply::SessionRefused { channel: 1, why: Refusal::TooMany }));
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[test]
fn silence_ends_the_connection_when_the_grace_is_over() {
    let started = Instant::now();
    let silent = bench();
    let half_way = bench().confined();
    // What it says does not give it more time.
    let talkative = bench();
    for _ in 0..20 {
        talkative.send(&Request::Note { text: "still here".into() });
    }
    silent.ends_with("login_grace");
    half_way.ends_with("login_grace");
    talkative.ends_with("login_grace");
    assert!(started.elapsed() < GRACE * 2);
}

#[test]
fn wrong_keys_and_unknown_names_are_answered_alike_and_counted() {
    let mut bench = bench().confined();
    for wrong in [("alice", &b"x"[..]), ("mallory", KEY)] {
        let started = Instant::now();
        bench.send(&offer(wrong.0, wrong.1));
        assert!(matches!(bench.reply().0, Reply::LoginRefused { partial: false, .. }));
        assert!(started.elapsed() >= Duration::from_millis(5));
    }
    bench.send(&log_in("--config=x\n", KEY));
    assert!(matches!(bench.reply().0, Reply::LoginRefused { partial: false, .. }));
    bench.ends_with("too many login attempts");
}

#[test]
fn accepted_offers_are_bounded_too() {
    let mut bench = bench().confined();
    for _ in 0..6 {
        bench.send(&offer("alice", KEY));
        assert!(matches!(bench.reply().0, Reply::KeyAcceptable));
    }
    bench.send(&offer("alice", KEY));
    bench.ends_with("too many login attempts");
}

#[test]
fn what_the_library_refused_unasked_counts_and_is_on_record_no_more_often_than_there_are_tries() {
    let mut bench = bench().confined();
    bench.send(&Request::RefusedUnasked { tries: 1 });
    bench.send(&Request::RefusedUnasked { tries: u32::MAX });
    let audit = bench.leaves("too many login attempts");
    assert_eq!(audit.matches("\"event\":\"login_refused\"").count(), 3, "{audit}");
}

#[test]
fn what_the_library_refused_unasked_is_of_no_account_to_whoever_is_in() {
    let mut bench = bench().logged_in();
    bench.send(&Request::RefusedUnasked { tries: 100 });
    let (_init, _) = bench.asked(7);
}

#[test]
fn a_client_that_the_ssh_process_gives_up_on_is_on_record_with_the_reason() {
    let early = bench().confined();
    early.send(&Request::GaveUp { why: GaveUp::TooMuchEarly });
    early.ends_with("too much was sent before the login");
    let late = bench().logged_in();
    late.send(&Request::GaveUp { why: GaveUp::KeyExchange });
    late.ends_with("a key exchange was not finished in time");
}

#[test]
fn the_key_that_signed_is_the_one_that_counts() {
    let mut bench = bench().confined();
    bench.send(&offer("alice", KEY));
    assert!(matches!(bench.reply().0, Reply::KeyAcceptable));
    bench.send(&log_in("alice", b"another"));
    assert!(matches!(bench.reply().0, Reply::LoginRefused { partial: false, .. }));
}

#[test]
fn a_second_session_on_a_channel_ends_the_connection() {
    let mut bench = bench().logged_in();
    let (_init, _) = bench.asked(7);
    bench.send(&start(7));
    bench.ends_with("out of turn");
}

#[test]
fn a_session_gets_its_descriptors_its_end_and_its_receipt() {
    let mut bench = bench().logged_in();
    let (init, session) = bench.asked(3);
    let fds = [bench.raw.as_fd(); 3];
    init.send_with(&Report::Started { session, pid: 2 }, &fds).unwrap();
    let (reply, fds) = bench.reply();
    assert!(matches!(reply, Reply::SessionStarted { channel: 3 }));
    assert_eq!(fds.len(), 3);
    init.send(&Report::Ended { session, exit: Exit::Status(7), usage: Usage::default() }).unwrap();
    assert!(matches!(bench.reply().0, Reply::SessionEnded { channel: 3, exit: Exit::Status(7) }));
    // Of a session that has just ended, the client may not have heard.
    bench.send(&Request::LeaveSession { channel: 3 });
    let audit = fs::read_to_string(bench.dir.join("audit.jsonl")).unwrap();
    assert!(audit.contains("\"session_end\"") && audit.contains("\"exit\":{\"status\":7}"), "{audit}");
}

#[test]
fn an_init_that_makes_no_sense_is_one_that_is_gone() {
    for report in [
        Report::Started { session: 99, pid: 2 },
        Report::Ended { session: 99, exit: Exit::Status(0), usage: Usage::default() },
    ] {
        let mut bench = bench().logged_in();
        let (init, session) = bench.asked(0);
        init.send_with(&Report::Started { session, pid: 2 }, &[bench.raw.as_fd(); 3]).unwrap();
        bench.reply();
        init.send(&report).unwrap();
        assert!(matches!(bench.reply().0, Reply::SessionEnded { channel: 0, exit: Exit::CellGone }));
    }
    // Too few descriptors.
    let mut bench = bench().logged_in();
    let (init, session) = bench.asked(0);
    init.send_with(&Report::Started { session, pid: 2 }, &[bench.raw.as_fd()]).unwrap();
    let (_next, _) = {
        let mut next = bench.inits.recv_timeout(Duration::from_secs(5)).unwrap();
        let order = next.receive().unwrap();
        (next, order)
    };
}

#[test]
fn an_init_says_only_once_that_a_session_runs_that_nobody_waits_for() {
    let mut bench = bench().logged_in();
    let (mut init, session) = bench.asked(0);
    bench.send(&Request::LeaveSession { channel: 0 });
    // The same link, in order: once this is answered, the session was left.
    bench.send(&start(1));
    init.receive().unwrap();
    let fds = [bench.raw.as_fd(); 3];
    init.send_with(&Report::Started { session, pid: 2 }, &fds).unwrap();
    init.send_with(&Report::Started { session, pid: 2 }, &fds).unwrap();
    assert_eq!(init.receive().unwrap_err(), LinkError::Closed);
    let audit = fs::read_to_string(bench.dir.join("audit.jsonl")).unwrap();
    assert_eq!(audit.matches("\"session_start\"").count(), 1, "{audit}");
}

/// A captured ssh process may ask for anything that a session can be.
#[test]
fn the_probe_is_not_started_for_a_client() {
    let mut bench = bench().logged_in();
    bench.send(&Request::StartSession { channel: 0, program: Program::Probe, terminal: None, environment: Vec::new() });
    assert!(matches!(bench.reply().0, Reply::SessionRefused { why: Refusal::NotAllowed, .. }));
}

#[test]
fn a_flood_of_refused_sessions_is_no_flood_of_lines() {
    let mut bench = bench().logged_in();
    for channel in 0..2000 {
        bench.send(&Request::StartSession {
            channel,
            program: Program::Subsystem("x".into()),
            terminal: None,
            environment: Vec::new(),
        });
        assert!(matches!(bench.reply().0, Reply::SessionRefused { why: Refusal::NotAllowed, .. }));
    }
    let audit = fs::read_to_string(bench.dir.join("audit.jsonl")).unwrap();
    let lines = audit.matches("\"session_refused\"").count();
    assert!((1..200).contains(&lines), "{lines}");
}

#[test]
fn a_cell_that_ends_before_it_answers_is_followed_by_the_next_once() {
    let mut bench = bench().logged_in();
    let (first, _) = bench.asked(0);
    drop(first);
    let mut second = bench.inits.recv_timeout(Duration::from_secs(5)).unwrap();
    second.receive().unwrap();
    drop(second);
    assert!(matches!(bench.reply().0, Reply::SessionRefused { channel: 0, why: Refusal::JailFailed }));
    // And the connection goes on.
    let (init, session) = bench.asked(0);
    init.send(&Report::Full { session }).unwrap();
    assert!(matches!(bench.reply().0, Reply::SessionRefused { channel: 0, why: Refusal::TooMany }));
}

#[test]
fn an_ssh_process_that_is_gone_ends_the_connection() {
    let bench = bench().logged_in();
    process::kill(i32::try_from(bench.ssh_process.id()).unwrap(), cellblock::sys::signal::SIGKILL).unwrap();
    bench.ends_with("closed");
}

#[test]
fn a_client_learns_nothing_from_the_link_after_the_end() {
    let mut bench = bench();
    bench.send(&start(0));
    assert_eq!(bench.ssh.receive().unwrap_err(), LinkError::Closed);
}
