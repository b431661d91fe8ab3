//! A client that speaks SFTP by the byte, over `ssh -s`: what no real client would send.

use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use super::{Door, Ran, run_bounded};

/// The status codes of draft-ietf-secsh-filexfer-02, section 7.
pub const OK: u32 = 0;
pub const EOF: u32 = 1;
pub const NO_SUCH_FILE: u32 = 2;
pub const DENIED: u32 = 3;
pub const FAILURE: u32 = 4;
pub const BAD: u32 = 5;
pub const UNSUPPORTED: u32 = 8;

/// An sftp session.
pub struct Sftp {
    child: Child,
    stdin: Option<ChildStdin>,
    packets: mpsc::Receiver<Vec<u8>>,
    next: u32,
}

/// A string of the protocol.
pub fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

/// Two strings, as requests with two names have.
pub fn two(a: &[u8], b: &[u8]) -> Vec<u8> {
    [string(a), string(b)].concat()
}

/// OpenSSH's `sftp -b -` with these lines.
pub fn batch(door: &Door, tenant: &str, lines: &str) -> Ran {
    let mut command = Command::new("sftp");
    command.arg("-F").arg(door.dir.join("ssh_config")).args(["-q", "-b", "-", &format!("{tenant}@door")]);
    run_bounded(command, lines.as_bytes())
}

impl Sftp {
    /// Starts the subsystem and says nothing yet.
    pub fn silent(door: &Door, tenant: &str) -> Self {
        let mut command: Command = door.ssh_command();
        command.args(["-l", door.login(tenant), "-s", "door", "sftp"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (sender, packets) = mpsc::sync_channel(1024);
        std::thread::spawn(move || {
            let mut length = [0; 4];
            while stdout.read_exact(&mut length).is_ok() {
                let mut packet = vec![0; u32::from_be_bytes(length) as usize];
                if stdout.read_exact(&mut packet).is_err() || sender.send(packet).is_err() {
                    break;
                }
            }
        });
        let stdin = child.stdin.take();
        Self { child, stdin, packets, next: 1 }
    }

    /// A session that both sides have begun; the server's extensions as one text.
    pub fn begin(door: &Door, tenant: &str) -> (Self, String) {
        let mut sftp = Self::silent(door, tenant);
        sftp.send_raw(&[&5u32.to_be_bytes()[..], &[1], &3u32.to_be_bytes()].concat());
        let version = sftp.packet();
        assert_eq!(version[..5], [2, 0, 0, 0, 3]);
        (sftp, String::from_utf8_lossy(&version[5..]).into_owned())
    }

    /// As [`Sftp::begin`].
    pub fn new(door: &Door, tenant: &str) -> Self {
        Self::begin(door, tenant).0
    }

    /// Bytes as they are. The server may have ended.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        if let Some(stdin) = &mut self.stdin {
            stdin.write_all(bytes).and_then(|()| stdin.flush()).ok();
        }
    }

    /// A request; its id.
    pub fn send(&mut self, kind: u8, rest: &[u8]) -> u32 {
        let id = self.next;
        self.next += 1;
        let packet = [&[kind][..], &id.to_be_bytes(), rest].concat();
        self.send_raw(&string(&packet));
        id
    }

    /// The next packet.
    pub fn packet(&self) -> Vec<u8> {
        self.packets.recv_timeout(Duration::from_secs(60)).expect("a reply")
    }

    /// A request and its reply: type and what follows the id.
    pub fn ask(&mut self, kind: u8, rest: &[u8]) -> (u8, Vec<u8>) {
        let id = self.send(kind, rest);
        self.reply(id)
    }

    /// The next reply, which must be to `id`.
    pub fn reply(&self, id: u32) -> (u8, Vec<u8>) {
        let packet = self.packet();
        assert_eq!(packet[1..5], id.to_be_bytes(), "replies come in order");
        (packet[0], packet[5..].to_vec())
    }

    /// A request that is answered by a status: its code.
    pub fn status(&mut self, kind: u8, rest: &[u8]) -> u32 {
        let (kind, rest) = self.ask(kind, rest);
        assert_eq!(kind, 101, "a status");
        u32::from_be_bytes(rest[..4].try_into().unwrap())
    }

    /// Opens a file: its handle, as a string of the protocol.
    pub fn open(&mut self, path: &[u8], flags: u32) -> Result<Vec<u8>, u32> {
        self.handle(3, &[&string(path)[..], &flags.to_be_bytes(), &[0; 4]].concat())
    }

    /// A request that is answered by a handle.
    pub fn handle(&mut self, kind: u8, rest: &[u8]) -> Result<Vec<u8>, u32> {
        match self.ask(kind, rest) {
            (102, handle) => Ok(handle),
            (101, status) => Err(u32::from_be_bytes(status[..4].try_into().unwrap())),
            other => panic!("{other:?}"),
        }
    }

    /// One of OpenSSH's extensions.
    pub fn extended(&mut self, name: &str, rest: &[u8]) -> (u8, Vec<u8>) {
        self.ask(200, &[&string(name.as_bytes())[..], rest].concat())
    }

    /// The first name of a reply to REALPATH, READLINK and the like.
    pub fn name(&mut self, kind: u8, rest: &[u8]) -> Result<String, u32> {
        match self.ask(kind, rest) {
            (104, names) => {
                let length = u32::from_be_bytes(names[4..8].try_into().unwrap()) as usize;
                Ok(String::from_utf8_lossy(&names[8..8 + length]).into_owned())
            }
            (101, status) => Err(u32::from_be_bytes(status[..4].try_into().unwrap())),
            other => panic!("{other:?}"),
        }
    }

    /// Sends no more, and waits for the server's end: its exit status.
    pub fn end(mut self) -> i32 {
        self.stdin = None;
        self.wait()
    }

    /// Waits for an end that the server chose.
    pub fn wait(&mut self) -> i32 {
        super::soon("the session ends", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Sftp {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
