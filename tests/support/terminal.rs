//! `ssh -tt` on a real terminal that the test holds the other end of.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use nix::{
    pty::{Winsize, openpty},
    sys::signal::Signal,
};
use rustix::termios;

use super::{patience, procfs, soon, until};

/// A client with a terminal.
pub struct TerminalClient {
    pub child: Child,
    master: File,
    slave: OwnedFd,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl TerminalClient {
    /// Runs `command` with a terminal of that size as stdin, stdout and stderr.
    pub fn start(mut command: Command, rows: u16, columns: u16) -> Self {
        let pty = openpty(&size(rows, columns), None).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        command.stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().unwrap();
        let master = File::from(pty.master);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, sink) = (master.try_clone().unwrap(), Arc::clone(&shown));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                sink.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        });
        Self { child, master, slave: pty.slave, shown }
    }

    /// Types.
    pub fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// What the terminal has shown so far.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits until it has shown `text`.
    pub fn expect(&self, text: &str) {
        let came = until(patience(15), || self.shown().contains(text));
        assert!(came, "the terminal does not show {text:?} in time, but {:?}", self.shown());
    }

    /// How it is set, as text to compare.
    pub fn modes(&self) -> String {
        let modes = termios::tcgetattr(&self.slave).unwrap();
        format!("{:?} {:?} {:?} {:?}", modes.input_modes, modes.output_modes, modes.control_modes, modes.local_modes)
    }

    /// Drags the window's corner.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        let size = termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        termios::tcsetwinsize(&self.slave, size).unwrap();
        // ssh is not in the terminal's foreground group, so the kernel does not tell it.
        procfs::kill(self.child.id() as i32, Signal::SIGWINCH);
    }

    /// Waits until the shell on it sees that size: what is typed may overtake word of it.
    pub fn expect_size(&mut self, rows: u16, columns: u16) {
        let size = format!("{rows} {columns}");
        self.send(&format!("until test \"$(stty size)\" = '{size}'; do sleep 0.05; done; echo resi''zed to {size}\n"));
        self.expect(&format!("resized to {size}"));
    }

    /// Its exit status.
    pub fn wait(&mut self) -> i32 {
        soon("the terminal's client ends", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for TerminalClient {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
