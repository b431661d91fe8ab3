//! One GiB through a forwarded TCP port, down and up, beside Debian's sshd (issue 4, "How fast").
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "measuring code: a panic is a failed run"
)]

#[path = "support/table.rs"]
mod table;

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    process::{Child, Stdio},
    time::Duration,
};

use support::{Door, free_port, until};

const ROUNDS: usize = 5;
const BYTES: u64 = 1 << 30;

/// A client that forwards a port of ours to a server beside the tenant's session: on the host for sshd.
struct Forward {
    client: Child,
    port: u16,
}

impl Forward {
    /// `socat` answers each connection with zeros, or with a word when all has come.
    fn start(door: &Door, answer: &str) -> Self {
        let (port, server) = (free_port(), free_port());
        let mut command = door.ssh_command();
        command.args(["-L", &format!("127.0.0.1:{port}:127.0.0.1:{server}"), "-l", door.login("alice"), "door"]);
        command.arg(format!("exec socat -b 65536 TCP-LISTEN:{server},bind=127.0.0.1,reuseaddr,fork {answer}"));
        let client = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let forward = Self { client, port };
        let up = until(Duration::from_secs(20), || {
            TcpStream::connect(("127.0.0.1", port)).is_ok_and(|mut stream| {
                stream.shutdown(Shutdown::Write).is_ok() && stream.read(&mut [0]).is_ok_and(|count| count == 1)
            })
        });
        assert!(up, "no server answers\n{}", door.log());
        forward
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).unwrap()
    }

    fn down(&self) {
        let (mut stream, mut counted, mut piece) = (self.connect(), 0, vec![0; 256 << 10]);
        while counted < BYTES {
            let length = stream.read(&mut piece).unwrap();
            assert_ne!(length, 0, "{counted}");
            counted += length as u64;
        }
    }

    /// What the other side says of it.
    fn up(&self) -> String {
        let mut stream = self.connect();
        let zeros = vec![0; 64 << 10];
        for _ in 0..BYTES / zeros.len() as u64 {
            stream.write_all(&zeros).unwrap();
        }
        stream.shutdown(Shutdown::Write).unwrap();
        let mut counted = String::new();
        stream.read_to_string(&mut counted).unwrap();
        counted.trim().to_owned()
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.client.kill().ok();
        self.client.wait().ok();
    }
}

fn main() {
    let (sshd, ours) = (Door::sshd(), Door::standard());
    table::head("sshd");
    let zeros = "OPEN:/dev/zero,readbytes=1073741824";
    let (theirs, own) = (Forward::start(&sshd, zeros), Forward::start(&ours, zeros));
    let (theirs, own) = table::interleaved(ROUNDS, || theirs.down(), || own.down());
    table::line("1 GiB from a forwarded port", theirs.as_secs_f64(), own.as_secs_f64(), "s", 1.0 / 1.2);
    for door in [&sshd, &ours] {
        assert_eq!(Forward::start(door, "SYSTEM:'wc -c'").up(), BYTES.to_string());
    }
    // Who counts costs both doors the same, and so moves the ratio towards 1.
    let swallow = "SYSTEM:'cat >/dev/null; echo swallowed'";
    let (theirs, own) = (Forward::start(&sshd, swallow), Forward::start(&ours, swallow));
    let (theirs, own) =
        table::interleaved(ROUNDS, || assert_eq!(theirs.up(), "swallowed"), || assert_eq!(own.up(), "swallowed"));
    table::line("1 GiB to a forwarded port", theirs.as_secs_f64(), own.as_secs_f64(), "s", 1.0 / 1.2);
    println!("medians of {ROUNDS} interleaved rounds");
}
