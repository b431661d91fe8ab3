//! A keystroke's way to a terminal's program and back, beside Debian's sshd: quiet, and while another
//! channel of the same connection downloads, by a pipe and by sftp (issue 4, "How fast").
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "measuring code: a panic is a failed run"
)]

#[path = "support/table.rs"]
mod table;

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{Read as _, Write as _},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::pty::openpty;
use support::{Door, Scratch, procfs};

/// Rounds of each door in turn, and keystrokes in one; a line of a terminal holds 4095.
const ROUNDS: usize = 10;
const STROKES: usize = 200;

/// How fast nobody types, and slow enough that each stroke finds both sides waiting.
const PAUSE: Duration = Duration::from_millis(5);

/// So many bytes and a download is well under way.
const UNDER_WAY: usize = 16 << 20;

/// One client with a terminal, whose connection others may share.
struct Typist {
    client: Child,
    terminal: File,
    /// Joins that connection.
    joining: Vec<OsString>,
    /// A file on the other side that no round gets to the end of.
    large: String,
}

impl Typist {
    /// Logs in and waits until the program there reads what is typed.
    fn start(door: &Door, control: &str, large: String) -> Self {
        let pty = openpty(None, None).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let mut command = door.ssh_command();
        command.args(["-o", &format!("ControlPath={control}"), "-o", &format!("User={}", door.login("alice"))]);
        let joining = command.get_args().map(OsStr::to_owned).collect();
        command.args(["-o", "ControlMaster=yes", "-tt", "door"]);
        command.arg(format!("truncate -s 1T {large}; echo ready; exec cat"));
        let client = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let mut typist = Self { client, terminal: File::from(pty.master), joining, large };
        let mut shown = Vec::new();
        while !shown.ends_with(b"ready\r\n") {
            let mut byte = [0];
            assert_eq!(typist.terminal.read(&mut byte).unwrap(), 1, "{}", door.log());
            shown.push(byte[0]);
        }
        typist
    }

    /// How long the echo of each of some keystrokes took.
    fn strokes(&mut self, times: &mut Vec<Duration>) {
        for _ in 0..STROKES {
            std::thread::sleep(PAUSE);
            let start = Instant::now();
            self.terminal.write_all(b"x").unwrap();
            let mut echo = [0];
            assert_eq!((self.terminal.read(&mut echo).unwrap(), &echo), (1, b"x"));
            times.push(start.elapsed());
        }
    }

    /// The same while another channel of this connection downloads by a pipe.
    fn strokes_beside_a_download(&mut self, times: &mut Vec<Duration>) {
        let mut command = Command::new("ssh");
        command.args(&self.joining).args(["door", "exec cat /dev/zero"]);
        let mut download = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut zeros = download.stdout.take().unwrap();
        zeros.read_exact(&mut vec![0; UNDER_WAY]).unwrap();
        let sink = std::thread::spawn(move || std::io::copy(&mut zeros, &mut std::io::sink()));
        self.strokes_beside(download, times);
        sink.join().unwrap().unwrap();
    }

    /// The same while another channel of this connection gets a file by sftp.
    fn strokes_beside_a_get(&mut self, times: &mut Vec<Duration>) {
        let mut command = Command::new("sftp");
        command.args(&self.joining).args(["-q", "door"]);
        let mut get = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        writeln!(get.stdin.as_mut().unwrap(), "get {} /dev/null", self.large).unwrap();
        while procfs::written(get.id().cast_signed()) < UNDER_WAY as u64 {
            assert!(get.try_wait().unwrap().is_none(), "it gets {}", self.large);
            std::thread::sleep(PAUSE);
        }
        self.strokes_beside(get, times);
    }

    /// Types, and ends what was under way all the time.
    fn strokes_beside(&mut self, mut client: Child, times: &mut Vec<Duration>) {
        self.strokes(times);
        assert!(client.try_wait().unwrap().is_none(), "it downloads still");
        client.kill().unwrap();
        client.wait().unwrap();
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        self.client.kill().ok();
        self.client.wait().ok();
    }
}

/// What 99 of 100 do not exceed, and the median.
fn parts(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort();
    let ms = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1e3;
    (ms(99), ms(50))
}

fn main() {
    let scratch = Scratch::new();
    let control = |name: &str| scratch.join(name).display().to_string();
    let (sshd, ours) = (Door::sshd(), Door::standard());
    let of_sshd = Typist::start(&sshd, &control("sshd"), scratch.join("large").display().to_string());
    let mut typists = [of_sshd, Typist::start(&ours, &control("ours"), "large".into())];
    table::head("sshd");
    for (what, stroke) in [
        ("quiet", Typist::strokes as fn(&mut Typist, &mut Vec<Duration>)),
        ("beside a download", Typist::strokes_beside_a_download),
        ("beside an sftp get", Typist::strokes_beside_a_get),
    ] {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (typist, times) in typists.iter_mut().zip(&mut times) {
                stroke(typist, times);
            }
        }
        let [theirs, own] = times.map(parts);
        table::line(&format!("keystroke {what}, p99"), theirs.0, own.0, "ms", 1.0);
        println!("  medians: {:.2} ms, {:.2} ms", theirs.1, own.1);
    }
    println!("{ROUNDS} interleaved rounds of {STROKES} keystrokes");
}
