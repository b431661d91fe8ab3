//! `permit_open` and `permit_listen` of tenants, `permitopen=` and `permitlisten=` of keys (issue 4,
//! item 4). The other end is the real `ssh`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test support code"
)]

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::net::UnixStream,
};

use support::{
    Door, Ran,
    forward::{Client, curl, host_web, server, web},
    free_port, root, run_bounded, soon,
};

/// Ports of the cells, which have networks of their own.
const LISTED: u16 = 7001;
const OTHER: u16 = 7002;

/// `ssh -W`, with a request for a page.
fn through(door: &Door, tenant: &str, target: &str) -> Ran {
    let mut command = door.ssh_command();
    command.args(["-o", "LogLevel=INFO", "-W", target, "-l", tenant, "door"]);
    run_bounded(command, b"GET / HTTP/1.0\r\n\r\n")
}

/// `ssh -R`, with a command that ends at once.
fn listening(door: &Door, tenant: &str, spec: &str) -> Ran {
    let mut command = door.ssh_command();
    command.args(["-o", "LogLevel=INFO", "-o", "ExitOnForwardFailure=yes", "-R", spec, "-l", tenant, "door", "true"]);
    run_bounded(command, b"")
}

/// Target and reason of each refusal of `tenant`'s forwards.
fn refusals(door: &Door, tenant: &str) -> Vec<(String, String)> {
    let text = |event: &serde_json::Value, field: &str| event[field].as_str().unwrap().to_owned();
    let refused = door.events("forward_refused").into_iter().filter(|event| event["tenant"] == tenant);
    refused.map(|event| (text(&event, "target"), text(&event, "reason"))).collect()
}

/// alice has lists of her class, carol of her key, dave of both that have nothing in common.
fn door() -> Door {
    Door::with(
        "[defaults]\nroot = \"host\"\n[class.web]\npermit_open = [\"LOCALHOST:7001\", \"[::1]:7003\"]\n\
         permit_listen = [\"localhost:7001\"]\n",
    )
    .tenant("alice", "class = \"web\"")
    .tenant("bob", "permit_open = [\"none\"]\npermit_listen = [\"none\"]")
    .tenant("carol", "authorized_keys = ['permitopen=\"localhost:7001\",permitlisten=\"7001\" {key}']")
    .tenant("dave", "class = \"web\"\nauthorized_keys = ['permitopen=\"*:7002\",permitlisten=\"*:7002\" {key}']")
    .tenant("erin", "class = \"web\"\npermit_open = [\"any\"]\npermit_listen = [\"localhost:*\"]")
    .start()
}

#[test]
fn what_is_listed_is_reached_and_the_rest_is_prohibited() {
    if !root() {
        return;
    }
    let door = door();
    for tenant in ["alice", "bob", "carol", "dave", "erin"] {
        let _servers = [LISTED, OTHER].map(|port| web(&door, tenant, port, "cell"));
        for (target, reached) in [
            ("localhost:7001", matches!(tenant, "alice" | "carol" | "erin")),
            ("LocalHost:7001", matches!(tenant, "alice" | "carol" | "erin")),
            ("localhost:7002", tenant == "erin"),
            // The same server by a name or address that is not listed.
            ("127.0.0.1:7001", tenant == "erin"),
            ("localhost.:7001", tenant == "erin"),
        ] {
            let ran = through(&door, tenant, target);
            assert_eq!(ran.text().ends_with("cell"), reached, "{tenant} {target}: {} {}", ran.text(), ran.err);
            assert_eq!(ran.err.contains("administratively prohibited"), !reached, "{tenant} {target}: {}", ran.err);
        }
        // One that is listed, and where nobody is.
        let ran = through(&door, tenant, "[::1]:7003");
        let words = if matches!(tenant, "alice" | "erin") { "connect failed" } else { "administratively prohibited" };
        assert!(ran.err.contains(words), "{tenant}: {}", ran.err);
    }
    let not_listed = |target: &str| (target.to_owned(), "not in permit_open".to_owned());
    assert!(refusals(&door, "alice").contains(&not_listed("127.0.0.1:7001")), "{:?}", refusals(&door, "alice"));
    assert_eq!(refusals(&door, "bob").len(), 6, "{:?}", refusals(&door, "bob"));
    let of_key = ("localhost:7002".to_owned(), "not in permitopen of the key".to_owned());
    assert!(refusals(&door, "carol").contains(&of_key), "{:?}", refusals(&door, "carol"));
    assert!(refusals(&door, "dave").contains(&not_listed("localhost:7002")), "{:?}", refusals(&door, "dave"));
}

#[test]
fn the_list_holds_for_local_and_dynamic_forwards_alike() {
    if !root() {
        return;
    }
    let door = door();
    let _servers = [LISTED, OTHER].map(|port| web(&door, "alice", port, "cell"));
    let [socks, good, bad] = [(); 3].map(|()| free_port());
    let [good_spec, bad_spec] = [format!("{good}:localhost:{LISTED}"), format!("{bad}:localhost:{OTHER}")];
    let options = ["-D", &socks.to_string(), "-L", &good_spec, "-L", &bad_spec];
    let _client = Client::start(&door, "alice", &options, None);
    for port in [socks, good, bad] {
        soon("the client listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }
    assert_eq!(curl(&[&format!("http://127.0.0.1:{good}/")]), (0, "cell".into()));
    let mut nothing = Vec::new();
    TcpStream::connect(("127.0.0.1", bad)).unwrap().read_to_end(&mut nothing).unwrap();
    assert_eq!(nothing, b"");
    let proxied = |url: &str| curl(&["--socks5-hostname", &format!("127.0.0.1:{socks}"), url]);
    assert_eq!(proxied("http://localhost:7001/"), (0, "cell".into()));
    for url in ["http://localhost:7002/", "http://127.0.0.1:7001/"] {
        assert_ne!(proxied(url).0, 0, "{url}");
    }
}

#[test]
fn a_port_that_is_not_listed_is_not_listened_on_and_any_free_one_needs_all_listed() {
    if !root() {
        return;
    }
    let door = door();
    let (host, mut ended) = (host_web(), 0);
    for (tenant, spec, allowed) in [
        ("alice", "7001", true),
        ("alice", "localhost:7001", true),
        ("alice", "7002", false),
        ("alice", "*:7001", false),
        ("alice", "127.0.0.1:7001", false),
        ("alice", "0", false),
        ("bob", "7001", false),
        ("bob", "0", false),
        ("carol", "7001", true),
        ("carol", "*:7001", true),
        ("carol", "0", false),
        ("dave", "7001", false),
        ("dave", "7002", false),
        ("erin", "0", true),
        ("erin", "7002", true),
        ("erin", "*:7002", false),
    ] {
        let ran = listening(&door, tenant, &format!("{spec}:127.0.0.1:{host}"));
        assert_eq!(ran.status, if allowed { 0 } else { 255 }, "{tenant} {spec}: {}", ran.err);
        assert_eq!(ran.err.contains("remote port forwarding failed"), !allowed, "{tenant} {spec}: {}", ran.err);
        // The next may ask for the same port.
        ended += usize::from(allowed);
        soon("it listens no more", || door.events("listen_end").len() == ended);
    }
    let _client = Client::start(&door, "alice", &["-R", &format!("7001:127.0.0.1:{host}")], None);
    let fetch = "curl -s --max-time 20 http://localhost:7001/";
    soon("what is listed leads to the client", || door.run("alice", fetch).text() == "host");
    let refused = refusals(&door, "alice");
    assert!(refused.contains(&("localhost:0".into(), "not in permit_listen".into())), "{refused:?}");
    let refused = refusals(&door, "carol");
    assert_eq!(refused, [("localhost:0".into(), "not in permitlisten of the key".into())]);
}

/// As in OpenSSH: a list of ports says nothing of unix sockets, `allow` and `no-port-forwarding` do
#[test]
fn unix_sockets_are_bound_by_no_list() {
    if !root() {
        return;
    }
    let door = Door::with("[defaults]\nroot = \"host\"\npermit_open = [\"none\"]\npermit_listen = [\"none\"]\n")
        .tenant("alice", "")
        .tenant("bob", "allow = [\"exec\"]")
        .start();
    let program = "import socket\ns=socket.socket(socket.AF_UNIX);s.bind('/tmp/in');s.listen()\nprint('up')\nwhile True:\n c,_=s.accept();c.recv(99);c.sendall(b'cell');c.close()";
    let _servers = ["alice", "bob"].map(|tenant| server(&door, tenant, program));
    for (tenant, answer) in [("alice", "cell"), ("bob", "")] {
        let local = door.dir.join(tenant).display().to_string();
        let _client = Client::start(&door, tenant, &["-L", &format!("{local}:/tmp/in")], None);
        soon("the client listens", || UnixStream::connect(&local).is_ok());
        let mut stream = UnixStream::connect(&local).unwrap();
        stream.write_all(b"asks").ok();
        let mut text = String::new();
        stream.read_to_string(&mut text).ok();
        assert_eq!(text, answer, "{tenant}");
    }
    assert!(refusals(&door, "bob").contains(&("/tmp/in".into(), "not allowed".into())), "{:?}", refusals(&door, "bob"));
    assert_eq!(listening(&door, "alice", "/tmp/out:/tmp/none").status, 0);
    assert_eq!(listening(&door, "bob", "/tmp/out:/tmp/none").status, 255);
}
