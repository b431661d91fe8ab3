//! A keystroke's way to a terminal's program and back, beside Debian's sshd: quiet, and while another
//! channel of the same connection downloads (issue 4, "How fast").
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
    fs::File,
    io::{Read as _, Write as _},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::pty::openpty;
use support::{Door, Scratch};

/// Rounds of each door in turn, and keystrokes in one; a line of a terminal holds 4095.
const ROUNDS: usize = 10;
const STROKES: usize = 200;

/// How fast nobody types, and slow enough that each stroke finds both sides waiting.
const PAUSE: Duration = Duration::from_millis(5);

/// One client with a terminal, whose connection others may share.
struct Typist {
    client: Child,
    terminal: File,
    door: Command,
}

impl Typist {
    /// Logs in and waits until the program there reads what is typed.
    fn start(door: &Door, control: &str) -> Self {
        let pty = openpty(None, None).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let mut command = door.ssh_command();
        command.args(["-o", "ControlMaster=yes", "-o", &format!("ControlPath={control}"), "-tt"]);
        command.args(["-l", door.login("alice"), "door", "echo ready; exec cat"]);
        let client = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let mut typist = Self { client, terminal: File::from(pty.master), door: door.ssh_command() };
        typist.door.args(["-o", &format!("ControlPath={control}"), "-l", door.login("alice"), "door"]);
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

    /// The same while another channel of this connection downloads.
    fn strokes_beside_a_download(&mut self, times: &mut Vec<Duration>) {
        let mut command = Command::new(self.door.get_program());
        command.args(self.door.get_args()).arg("cat /dev/zero");
        let mut download = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut zeros = download.stdout.take().unwrap();
        // It is under way.
        zeros.read_exact(&mut vec![0; 16 << 20]).unwrap();
        let sink = std::thread::spawn(move || std::io::copy(&mut zeros, &mut std::io::sink()));
        self.strokes(times);
        download.kill().unwrap();
        download.wait().unwrap();
        sink.join().unwrap().unwrap();
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
    let mut typists = [Typist::start(&sshd, &control("sshd")), Typist::start(&ours, &control("ours"))];
    table::head("sshd");
    for (what, stroke) in [
        ("quiet", Typist::strokes as fn(&mut Typist, &mut Vec<Duration>)),
        ("beside a download", Typist::strokes_beside_a_download),
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
