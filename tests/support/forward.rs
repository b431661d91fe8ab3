//! Clients that forward, servers to forward to, and what the audit file says of them.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
};

use super::{Door, Running, free_port, run_bounded, soon};

/// A client that stays connected, with what it says on stderr.
pub struct Client {
    child: Child,
}

impl Client {
    /// `ssh OPTIONS tenant LINE`, without a session if there is no line.
    pub fn start(door: &Door, tenant: &str, options: &[&str], line: Option<&str>) -> Self {
        let mut command = door.ssh_command();
        command.args(["-o", "LogLevel=INFO", "-o", "ExitOnForwardFailure=yes"]).args(options);
        if line.is_none() {
            command.arg("-N");
        }
        command.args(["-l", door.login(tenant), "door"]).args(line);
        Self { child: command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap() }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// `-L` to a port of the cell; the local port, once it takes connections.
pub fn forwarded(door: &Door, tenant: &str, port: u16) -> (Client, u16) {
    let local = free_port();
    let client = Client::start(door, tenant, &["-L", &format!("{local}:localhost:{port}")], None);
    soon("the client listens", || TcpStream::connect(("127.0.0.1", local)).is_ok());
    (client, local)
}

/// A Python program in the cell, that has printed `up`.
pub fn server(door: &Door, tenant: &str, program: &str) -> Running {
    let line = format!("exec /usr/bin/python3 -u -c \"$(cat <<'END'\n{program}\nEND\n)\"");
    let running = door.spawn(tenant, &line);
    running.expect("up");
    running
}

/// One that answers every HTTP request with a word.
pub fn web(door: &Door, tenant: &str, port: u16, word: &str) -> Running {
    let program = format!(
        "import http.server as h\nclass H(h.BaseHTTPRequestHandler):\n def do_GET(s):\n  s.send_response(200);s.end_headers();s.wfile.write(b'{word}')\n def log_message(*a): pass\ns=h.ThreadingHTTPServer(('127.0.0.1',{port}),H)\nprint('up')\ns.serve_forever()"
    );
    server(door, tenant, &program)
}

/// One that sends back what it gets, and ends when it has got all.
pub fn echo(door: &Door, tenant: &str, port: u16) -> Running {
    let program = format!(
        "import socketserver as s\nclass H(s.BaseRequestHandler):\n def handle(h):\n  while d:=h.request.recv(65536): h.request.sendall(d)\nclass T(s.ThreadingTCPServer): allow_reuse_address=True;request_queue_size=200;daemon_threads=True\nt=T(('127.0.0.1',{port}),H)\nprint('up')\nt.serve_forever()"
    );
    server(door, tenant, &program)
}

/// A server of the host's that answers every HTTP request with `host`.
pub fn host_web() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 4096];
            if stream.read(&mut request).is_ok() {
                stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhost").ok();
            }
        }
    });
    port
}

pub fn curl(args: &[&str]) -> (i32, String) {
    let mut command = Command::new("curl");
    command.args(["-s", "--max-time", "20"]).args(args);
    let ran = run_bounded(command, b"");
    (ran.status, ran.text())
}
