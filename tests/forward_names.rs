//! Names in forwards: looked up in the cell, by its own files and its own name servers, and never on
//! the host (issue 4, item 4).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test support code"
)]

use std::{fs, net::TcpStream};

use support::{
    Door, Running, Scratch,
    forward::{Client, curl, server, web},
    free_port, root, run_bounded, soon, workshop_root,
};

/// A name server on the cell's 127.0.0.53, which knows one name and counts what it is asked.
fn resolver(door: &Door, tenant: &str) -> Running {
    let program = "import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.bind(('127.0.0.53',53))\nprint('up')\nwhile True:\n q,a=s.recvfrom(512)\n end=q.index(b'\\0',12)\n name=q[12:end].lower()\n known=name==b'\\x03web\\x06inside\\x04test'\n address=known and q[end+2]==1\n r=b'\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4\\x7f\\0\\0\\1' if address else b''\n s.sendto(q[:2]+(b'\\x81\\x80' if known else b'\\x81\\x83')+q[4:6]+bytes([0,len(r)//16])+b'\\0'*4+q[12:]+r,a)\n print('asked',name[1:4].decode(),flush=True)";
    server(door, tenant, program)
}

/// What `curl` gets by `-L` to `name`, and by `-D`.
fn fetched(door: &Door, tenant: &str, name: &str) -> [(i32, String); 2] {
    let [local, socks] = [(); 2].map(|()| free_port());
    let spec = format!("{local}:{name}:7001");
    let _client = Client::start(door, tenant, &["-L", &spec, "-D", &socks.to_string()], None);
    for port in [local, socks] {
        soon("the client listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }
    let proxy = format!("127.0.0.1:{socks}");
    [
        curl(&[&format!("http://127.0.0.1:{local}/")]),
        curl(&["--socks5-hostname", &proxy, &format!("http://{name}:7001/")]),
    ]
}

/// "`-L port:name:port` where the name is in the cell's /etc/hosts, and where only DNS inside the cell
/// knows it"
#[test]
fn names_are_those_of_the_cells_own_files_and_servers_and_not_the_hosts() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = workshop_root(&scratch);
    fs::write(tree.join("etc/hosts"), "127.0.0.1 localhost\n127.0.0.1 db.inside DB-Alias\n127.0.0.9 trap.test\n")
        .unwrap();
    let resolv = tree.join("etc/resolv.conf");
    fs::remove_file(&resolv).ok();
    fs::write(&resolv, "search inside.test\nnameserver 127.0.0.53\n").unwrap();
    // What the door itself would find, if it looked: the same names at another address, and one more.
    let hosts = scratch.join("hosts");
    fs::write(&hosts, "127.0.0.1 localhost trap.test only-host.test\n127.0.0.9 db.inside web.inside.test\n").unwrap();
    let own_hosts = format!("mount --bind {} /etc/hosts && exec \"$@\"", hosts.display());
    let door = Door::with("")
        .tenant("bob", &format!("root = \"{}\"\nuser = \"root\"", tree.display()))
        .wrapped(&["unshare", "--mount", "sh", "-c", &own_hosts, "sh"])
        .start();
    let _web = web(&door, "bob", 7001, "cell");
    let resolver = resolver(&door, "bob");
    let cell = (0, "cell".to_owned());
    for name in ["db.inside", "DB.INSIDE", "db-alias", "localhost"] {
        assert_eq!(fetched(&door, "bob", name), [cell.clone(), cell.clone()], "{name}\n{}", door.log());
    }
    assert_eq!(resolver.line_within(std::time::Duration::ZERO), None, "what the file knows is asked of nobody");
    for name in ["web.inside.test", "web", "WEB.Inside.Test"] {
        assert_eq!(fetched(&door, "bob", name), [cell.clone(), cell.clone()], "{name}\n{}", door.log());
        resolver.expect("asked web");
    }
    // Where the cell says that it is, nobody listens; what the host's file knows alone is nowhere.
    for name in ["trap.test", "only-host.test", "no-such.test"] {
        let mut command = door.ssh_command();
        command.args(["-o", "LogLevel=INFO", "-W", &format!("{name}:7001"), "-l", "bob", "door"]);
        let ran = run_bounded(command, b"GET / HTTP/1.0\r\n\r\n");
        assert!(ran.err.contains("connect failed") && ran.out.is_empty(), "{name}: {} {}", ran.text(), ran.err);
    }
    resolver.expect("asked onl");
}
