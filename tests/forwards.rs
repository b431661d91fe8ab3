//! "Forwarding, all inside the cell's network" (issue 4, item 4). The other end is the real `ssh`, or
//! one that sees each message.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::zombie_processes,
    clippy::cast_possible_truncation,
    reason = "test support code"
)]

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use support::{
    Door,
    attacked::door_of,
    attacker::{Attacker, Message},
    attacker_channels::{data, direct},
    forward::{Client, curl, echo, forwarded, host_web, server, web},
    free_port, root, run_bounded, soon,
};

/// "`curl` through `-D` reaches a server on the cell's loopback and cannot reach the host's"
#[test]
fn curl_through_a_socks_forward_reaches_the_cells_loopback_and_not_the_hosts() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let (port, host, socks) = (free_port(), host_web(), free_port());
    let _web = web(&door, "alice", port, "cell");
    let _client = Client::start(&door, "alice", &["-D", &socks.to_string()], None);
    soon("the client listens", || TcpStream::connect(("127.0.0.1", socks)).is_ok());
    let proxy = format!("127.0.0.1:{socks}");
    for name in ["localhost", "127.0.0.1", "alice"] {
        let url = format!("http://{name}:{port}/");
        let (status, text) = curl(&["--socks5-hostname", &proxy, &url]);
        // The cell's own name may lead to another of its addresses, where nothing listens.
        assert!(name == "alice" || (status, text.as_str()) == (0, "cell"), "{name}: {status} {text}\n{}", door.log());
    }
    let url = format!("http://127.0.0.1:{host}/");
    assert_eq!(curl(&[&url]), (0, "host".into()), "the host's server is there");
    let (status, text) = curl(&["--socks5-hostname", &proxy, &url]);
    assert_ne!(status, 0, "{text}");
    // bob's cell is another network.
    let bob = free_port();
    let _client = Client::start(&door, "bob", &["-D", &bob.to_string()], None);
    soon("bob's client listens", || TcpStream::connect(("127.0.0.1", bob)).is_ok());
    let (status, text) =
        curl(&["--socks5-hostname", &format!("127.0.0.1:{bob}"), &format!("http://localhost:{port}/")]);
    assert_ne!(status, 0, "{text}");
}

/// "half close both ways"
#[test]
fn either_side_can_end_its_direction_first() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let port = free_port();
    let program = format!(
        "import socket\ns=socket.create_server(('127.0.0.1',{port}))\nprint('up')\nwhile True:\n c,_=s.accept()\n if c.recv(1)==b'1':\n  n=1\n  while d:=c.recv(65536): n+=len(d)\n  c.sendall(b'got %d' % n)\n else:\n  c.sendall(b'bye');c.shutdown(socket.SHUT_WR)\n  t=b''\n  while d:=c.recv(65536): t+=d\n  print('late:',t.decode())\n c.close()"
    );
    let python = server(&door, "alice", &program);
    let local = free_port();
    let _client = Client::start(&door, "alice", &["-L", &format!("{local}:127.0.0.1:{port}")], None);
    let connect = || {
        let mut stream = None;
        soon("a connection", || {
            stream = TcpStream::connect(("127.0.0.1", local)).ok();
            stream.is_some()
        });
        stream.unwrap()
    };
    let mut first = connect();
    first.write_all(&[b'1'; 300_000]).unwrap();
    first.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    first.read_to_string(&mut text).unwrap();
    assert_eq!(text, "got 300000");

    let mut second = connect();
    second.write_all(b"2").unwrap();
    let mut text = String::new();
    second.read_to_string(&mut text).unwrap();
    assert_eq!(text, "bye", "its end arrives");
    second.write_all(b"still here").unwrap();
    drop(second);
    assert_eq!(python.expect("late:"), "late: still here");
}

/// "a forward whose peer stalls doesn't stop the connection"
#[test]
fn a_peer_that_does_not_read_stops_its_own_forward_alone() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let (stalled, lively) = (free_port(), free_port());
    let _stalled = server(
        &door,
        "alice",
        &format!(
            "import socket,time\ns=socket.create_server(('127.0.0.1',{stalled}))\nprint('up')\nc=[]\nwhile True: c.append(s.accept())"
        ),
    );
    let _lively = echo(&door, "alice", lively);
    let (locals, master) = ([free_port(), free_port()], door.master("alice"));
    for (local, port) in locals.iter().zip([stalled, lively]) {
        let mut command = master.ssh();
        command.args(["-O", "forward", "-L", &format!("{local}:localhost:{port}")]);
        assert_eq!(run_bounded(command, b"").status, 0);
    }
    let mut stuck = TcpStream::connect(("127.0.0.1", locals[0])).unwrap();
    stuck.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut sent = 0_usize;
    while let Ok(length) = stuck.write(&[7; 65536]) {
        sent += length;
        assert!(sent < 200 << 20, "it is never held up");
    }
    assert!(sent > 1 << 20, "{sent}");
    assert_eq!(master.ok("echo through"), "through");
    let mut stream = TcpStream::connect(("127.0.0.1", locals[1])).unwrap();
    stream.write_all(b"ping").unwrap();
    let mut back = [0; 4];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"ping");
}

/// "100 forwards at once", "nothing left behind", and "every forward is an audit event at its end"
#[test]
fn a_hundred_at_once_arrive_whole_and_leave_a_line_each_and_nothing_else() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\nlinger = \"0s\"\n").tenant("alice", "").start();
    let before = door.counts();
    let port = free_port();
    let echo = echo(&door, "alice", port);
    let (client, local) = forwarded(&door, "alice", port);
    // The one that `forwarded` tried with.
    soon("the first has ended", || door.events("forward_end").len() == 1);
    let mut streams: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(("127.0.0.1", local)).unwrap()).collect();
    let message = |n: usize| format!("{n:05}").repeat(200);
    for (n, stream) in streams.iter_mut().enumerate() {
        stream.write_all(message(n).as_bytes()).unwrap();
    }
    for (n, stream) in streams.iter_mut().enumerate() {
        let mut back = vec![0; 1000];
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.read_exact(&mut back).unwrap_or_else(|e| panic!("{n}: {e}\n{}", door.log()));
        assert_eq!(String::from_utf8(back).unwrap(), message(n));
    }
    assert_eq!(door.events("forward_end").len(), 1, "none has ended");
    drop(streams);
    soon("all have ended", || door.events("forward_end").len() == 101);
    for event in &door.events("forward_end")[1..] {
        assert_eq!(
            (event["kind"].as_str(), event["tenant"].as_str()),
            (Some("direct-tcpip"), Some("alice")),
            "{event}"
        );
        assert_eq!(event["target"], format!("localhost:{port}"), "{event}");
        assert!(event["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{event}");
        assert_eq!((event["to_cell"].as_u64(), event["to_client"].as_u64()), (Some(1000), Some(1000)), "{event}");
    }
    drop((client, echo));
    door.returns_to(&before);
}

/// What fails says so in OpenSSH's words
#[test]
fn what_cannot_be_reached_and_what_is_not_allowed_are_told_apart() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("alice", "")
        .tenant("bob", "allow = [\"exec\"]")
        .tenant("carol", "authorized_keys = [\"restrict,pty {key}\"]")
        .start();
    for (tenant, words) in
        [("alice", "connect failed"), ("bob", "administratively prohibited"), ("carol", "administratively prohibited")]
    {
        let mut command = door.ssh_command();
        command.args(["-o", "LogLevel=INFO", "-W", "localhost:9", "-l", tenant, "door"]);
        let ran = run_bounded(command, b"");
        assert!(ran.err.contains(words), "{tenant}: {}", ran.err);
        assert!(door.events("forward_refused").iter().any(|event| event["tenant"] == tenant));
    }
    for tenant in ["bob", "carol"] {
        let mut command = door.ssh_command();
        command.args(["-o", "ExitOnForwardFailure=yes", "-o", "LogLevel=INFO", "-N", "-R", "0:localhost:9"]);
        command.args(["-l", tenant, "door"]);
        let ran = run_bounded(command, b"");
        assert_eq!(ran.status, 255, "{tenant}");
        assert!(ran.err.contains("remote port forwarding failed"), "{tenant}: {}", ran.err);
    }
}

/// "`-R 0` is reachable from inside the cell alone"; "a second tenant can't reach it"
#[test]
fn what_listens_in_a_cell_is_reached_from_that_cell_alone_until_it_is_cancelled() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let host = host_web();
    let master = door.master("alice");
    let spec = format!("0:127.0.0.1:{host}");
    let mut command = master.ssh();
    command.args(["-O", "forward", "-R", &spec]);
    let ran = run_bounded(command, b"");
    assert_eq!(ran.status, 0, "{}\n{}", ran.err, door.log());
    let port: u16 = ran.text().parse().unwrap();
    for name in ["127.0.0.1", "localhost"] {
        assert_eq!(master.ok(&format!("curl -s --max-time 20 http://{name}:{port}/")), "host", "{name}");
    }
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the host listens on {port}");
    for other in ["bob", "eve"] {
        assert_ne!(door.run(other, &format!("curl -s --max-time 5 http://127.0.0.1:{port}/")).status, 0, "{other}");
    }
    // Whatever address is asked for, it is loopback.
    assert_eq!(master.ok("ss -Htln | awk '{print $4}' | grep -vc -e '^127.0.0.1:' -e '^\\[::1\\]:'; true"), "0");
    soon("its end is on record", || door.events("forward_end").len() == 2);
    let event = &door.events("forward_end")[0];
    assert_eq!((event["kind"].as_str(), event["target"].as_str()), (Some("forwarded-tcpip"), Some("localhost:0")));
    assert!(event["to_cell"].as_u64() > Some(0) && event["to_client"].as_u64() > Some(0), "{event}");

    let mut command = master.ssh();
    command.args(["-O", "cancel", "-R", &spec]);
    assert_eq!(run_bounded(command, b"").status, 0);
    let closed = format!("curl -s --max-time 5 http://127.0.0.1:{port}/");
    soon("it listens no more", || master.run(&closed).status == 7);
    soon("that is on record", || door.events("listen_end").len() == 1);
}

/// "unix sockets both ways"
#[test]
fn unix_sockets_lead_both_ways_with_the_tenants_rights() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let at = |name: &str| door.dir.join(name).display().to_string();
    // Into the cell.
    let program = "import socket,os\ns=socket.socket(socket.AF_UNIX);s.bind('/tmp/in');s.listen()\nprint('up')\nwhile True:\n c,_=s.accept();c.sendall(b'cell '+c.recv(9));c.close()";
    let _server = server(&door, "alice", program);
    let spec = format!("{}:/tmp/in", at("local"));
    let _client = Client::start(&door, "alice", &["-L", &spec], None);
    soon("the client listens", || UnixStream::connect(at("local")).is_ok());
    let mut stream = UnixStream::connect(at("local")).unwrap();
    stream.write_all(b"asks").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "cell asks");
    // Out of it: for the tenant alone, and gone at the end.
    let listener = UnixListener::bind(at("remote")).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            stream.write_all(b"from the client").ok();
        }
    });
    let spec = format!("/tmp/out:{}", at("remote"));
    let client = Client::start(&door, "alice", &["-R", &spec], None);
    soon("the socket is there", || door.run("alice", "test -S /tmp/out").status == 0);
    assert_eq!(door.ok("alice", "stat -c '%a %U' /tmp/out"), "600 alice");
    assert_eq!(door.ok("alice", "socat - UNIX-CONNECT:/tmp/out </dev/null"), "from the client");
    assert_ne!(door.run("bob", "test -e /tmp/out").status, 0);
    drop(client);
    soon("the socket is gone", || door.run("alice", "test ! -e /tmp/out").status == 0);
    soon("all is on record", || door.events("listen_end").len() == 1);
    let kinds: Vec<_> = door.events("forward_end").iter().map(|e| e["kind"].as_str().unwrap().to_owned()).collect();
    assert!(
        kinds.contains(&"direct-streamlocal".into()) && kinds.contains(&"forwarded-streamlocal".into()),
        "{kinds:?}"
    );
    // A path that only root of the host could open leads nowhere.
    let spec = format!("{}:/run/systemd/private", at("roots"));
    let _client = Client::start(&door, "alice", &["-L", &spec], None);
    soon("the client listens", || UnixStream::connect(at("roots")).is_ok());
    let mut nothing = Vec::new();
    UnixStream::connect(at("roots")).unwrap().read_to_end(&mut nothing).ok();
    assert_eq!(nothing, b"");
    let refused = |event: &serde_json::Value| event["target"] == "/run/systemd/private";
    soon("that is on record", || door.events("forward_refused").iter().any(refused));
}

/// "`ssh-add -l` inside works and the socket is gone at the end and eve can't connect"
#[test]
fn the_agent_is_there_for_its_tenant_and_gone_at_the_end() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let socket = door.dir.join("agent").display().to_string();
    let mut agent = Command::new("ssh-agent").args(["-D", "-a", &socket]).stdout(Stdio::null()).spawn().unwrap();
    soon("the agent", || UnixStream::connect(&socket).is_ok());
    let key = door.dir.join("id");
    let added = Command::new("ssh-add").arg(&key).env("SSH_AUTH_SOCK", &socket).stderr(Stdio::null()).status();
    assert!(added.unwrap().success());
    let ssh = |tenant: &str| {
        let mut command = door.ssh_command();
        command.env("SSH_AUTH_SOCK", &socket).args(["-o", "IdentityAgent=SSH_AUTH_SOCK", "-A", "-l", tenant, "door"]);
        command
    };
    let mut command = ssh("alice");
    let look =
        "ssh-add -l; stat -c '%a %U' $SSH_AUTH_SOCK; stat -c '%a %U' $(dirname $SSH_AUTH_SOCK); echo $SSH_AUTH_SOCK";
    command.arg(look);
    let ran = run_bounded(command, b"");
    let text = ran.text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() == 4 && lines[0].contains("ED25519"), "{text} {}\n{}", ran.err, door.log());
    assert_eq!(&lines[1..3], ["600 alice", "700 alice"]);
    let path = lines[3];
    soon("it is gone", || door.run("alice", &format!("test ! -e $(dirname {path})")).status == 0);
    soon("its end is on record", || door.events("forward_end").len() == 1);
    let (event, login) = (&door.events("forward_end")[0], &door.events("login")[0]);
    assert_eq!((&event["kind"], &event["tenant"]), (&"auth-agent".into(), &"alice".into()), "{event}");
    assert_eq!(event["connection"], login["connection"]);
    // A question of ssh-add is five bytes, its answer has the key in it.
    assert!(event["to_client"].as_u64() >= Some(5) && event["to_cell"].as_u64() > Some(50), "{event}");

    // While it is there, nobody else gets to it.
    let mut command = ssh("alice");
    command.arg("echo $SSH_AUTH_SOCK; exec sleep 1000").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut held = command.spawn().unwrap();
    let mut path = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(held.stdout.as_mut().unwrap()), &mut path).unwrap();
    let path = path.trim();
    assert!(path.starts_with("/tmp/ssh-"), "{path}");
    assert_eq!(door.run("alice", &format!("SSH_AUTH_SOCK={path} ssh-add -l")).status, 0);
    assert_eq!(door.run("eve", &format!("SSH_AUTH_SOCK={path} ssh-add -l")).status, 2, "eve connects");
    // Whatever ends it.
    held.kill().unwrap();
    held.wait().unwrap();
    soon("it is gone", || door.run("alice", &format!("test ! -e $(dirname {path})")).status == 0);
    agent.kill().unwrap();
    agent.wait().unwrap();
    // Without -A there is none.
    assert_eq!(door.ok("alice", "echo ${SSH_AUTH_SOCK:-none}"), "none");
}

/// "X11 forwarding (x11-req; display socket in the cell …)"
#[test]
fn a_display_leads_to_the_client_with_its_cookie_and_is_off_unless_allowed() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("alice", "allow = [\"exec\", \"x11\"]")
        .tenant("bob", "")
        .start();
    // An X server of the host's that tells what it was greeted with.
    let number = (60..99).find(|n| TcpListener::bind(("127.0.0.1", 6000 + n)).is_ok()).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 6000 + number)).unwrap();
    let (sender, greetings) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut greeting = vec![0; 48];
            let read = stream.read_exact(&mut greeting);
            stream.write_all(b"hello from X").ok();
            sender.send(read.map(|()| greeting)).ok();
        }
    });
    let ssh = |tenant: &str, line: &str| {
        let mut command = door.ssh_command();
        command.env("DISPLAY", format!("127.0.0.1:{number}")).env("XAUTHORITY", door.dir.join("none"));
        command.args(["-Y", "-l", tenant, "door", line]);
        run_bounded(command, b"")
    };
    // What an X client does: the cookie from its file, in the first message (X11 protocol, 8).
    let program = "import os,socket,struct\nd=os.environ['DISPLAY']\nb=open(os.environ['XAUTHORITY'],'rb').read()\no=2;f=[]\nfor _ in range(4):\n n=struct.unpack('>H',b[o:o+2])[0];f.append(b[o+2:o+2+n]);o+=2+n\nassert f[1]==d[1:].split('.')[0].encode(),(f,d)\np,c=f[2],f[3]\ns=socket.socket(socket.AF_UNIX);s.connect('/tmp/.X11-unix/X'+d[1:].split('.')[0])\ns.sendall(struct.pack('<BxHHHHxx',0x6c,11,0,len(p),len(c))+p+b'\\0'*(-len(p)%4)+c)\nprint(s.recv(99).decode(), d, oct(os.stat(os.environ['XAUTHORITY']).st_mode))";
    let line = format!("exec /usr/bin/python3 -u -c \"$(cat <<'END'\n{program}\nEND\n)\"");
    let ran = ssh("alice", &line);
    assert_eq!(ran.text(), "hello from X :10.0 0o100600", "{}\n{}", ran.err, door.log());
    let greeting = greetings.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
    assert!(greeting.windows(18).any(|part| part == b"MIT-MAGIC-COOKIE-1"), "{greeting:?}");
    soon("nothing of it is left", || {
        door.run("alice", "test -z \"$(ls -A /tmp/.X11-unix)\" && test -z \"$(ls -d /tmp/ssh-* 2>/dev/null)\"").status
            == 0
    });
    assert_eq!(ssh("bob", "echo ${DISPLAY:-none}").text(), "none");
    soon("it is on record", || door.events("forward_end").iter().any(|event| event["kind"] == "x11"));
}

/// "channel idle limits": what moves keeps a forward alive, and a session beside it is not meant
#[test]
fn a_forward_on_which_nothing_moves_is_closed() {
    if !root() {
        return;
    }
    let (door, key) = door_of("10s", "forward_timeout = \"10s\"");
    let ticking = "import socket,time\ns=socket.create_server(('127.0.0.1',7002))\nprint('up')\nc,_=s.accept()\nfor n in range(4):\n time.sleep(4)\n c.sendall(b'tick')\nprint(c.recv(1) or 'closed')";
    let server = server(&door, "alice", ticking);
    let mut client = Attacker::login(door.port, "alice", &key);
    let session = client.starts("echo up; exec cat");
    let forward = client.opens(&direct(5, "localhost", 7002)).unwrap().unwrap();
    let start = Instant::now();
    let ticks = (0..4).map(|_tick| client.next(&[94, 97]).unwrap());
    assert!(ticks.into_iter().all(|message| message.ends_with(b"tick")));
    assert!(start.elapsed() > Duration::from_secs(14), "longer than the limit");
    assert_eq!(client.next(&[97]).unwrap()[1..5], 5_u32.to_be_bytes());
    client.send(&Message::new(97).number(forward));
    server.expect("closed");
    client.send(&data(session, b"hello"));
    assert_eq!(client.next(&[94]).unwrap()[9..], b"hello"[..]);
    soon("its end is on record", || door.events("forward_end").len() == 1);
    assert_eq!(door.events("forward_end")[0]["to_client"], 16);
}
