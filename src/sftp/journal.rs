//! What was done to files, on its way to the audit file: a pipe to the monitor.
//!
//! Written before the client is told, and a full pipe is waited for a moment. A monitor that is stuck
//! holds up nobody for longer: what has no room in pipe and buffer is counted instead.

use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use crate::sys::{fd, poll};
use crate::wire::sftp::{Entry, MAX_NAME, Operation, Record};

use super::reply::Status;

/// Bytes that wait beside the pipe's own.
const MOST_HELD: usize = 64 << 10;

/// How long a full pipe is waited for, once until it has taken all: more than the monitor leaves it alone
/// (`monitor/files.rs`), so that no burst of operations outruns one that works.
const PATIENCE: Duration = Duration::from_millis(50);

/// How long the end of a session waits for the last of them to be taken.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The way to the monitor.
#[derive(Debug)]
pub(super) struct Journal {
    /// `None`: nobody reads any more.
    to: Option<File>,
    held: Vec<u8>,
    /// A full pipe was waited for in vain.
    is_stuck: bool,
    missing: u64,
}

impl Journal {
    pub(super) fn new(to: File) -> io::Result<Self> {
        fd::set_nonblocking(to.as_fd(), true)?;
        Ok(Self { to: Some(to), held: Vec::new(), is_stuck: false, missing: 0 })
    }

    /// Something was done, or not.
    pub(super) fn note(&mut self, operation: Operation, path: &[u8], to: Option<&[u8]>, done: &Result<(), Status>) {
        let error = done.as_ref().err().map(|status| status.sentence());
        self.add(Record { operation, path: cut(path), to: to.map(cut), bytes: None, error });
    }

    /// A file was closed.
    pub(super) fn note_close(&mut self, path: &[u8], read: u64, written: u64) {
        let bytes = Some((read, written));
        self.add(Record { operation: Operation::Close, path: cut(path), to: None, bytes, error: None });
    }

    fn add(&mut self, record: Record) {
        if self.held.len() >= MOST_HELD {
            self.flush();
        }
        if self.held.len() >= MOST_HELD {
            self.missing = self.missing.saturating_add(1);
            return;
        }
        if self.missing > 0 {
            Entry::Missing(std::mem::take(&mut self.missing)).append_to(&mut self.held);
        }
        Entry::Done(record).append_to(&mut self.held);
    }

    /// Writes what the pipe takes, for which a monitor that works is waited for.
    pub(super) fn flush(&mut self) {
        self.write();
        let deadline = Instant::now() + PATIENCE;
        while !self.held.is_empty() && !self.is_stuck {
            let Some(to) = &self.to else { return };
            let waited = poll::wait(&[poll::Watch::Writable(to.as_fd())], Some(deadline));
            self.is_stuck = waited.is_err() || Instant::now() >= deadline;
            self.write();
        }
        self.is_stuck &= !self.held.is_empty();
    }

    /// Writes what the pipe takes now.
    fn write(&mut self) {
        let mut written = 0;
        while let (Some(to), Some(rest)) = (&mut self.to, self.held.get(written..).filter(|rest| !rest.is_empty())) {
            match to.write(rest) {
                Ok(length) => written = written.saturating_add(length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_nobody_reads) => self.to = None,
            }
        }
        if self.to.is_none() {
            self.held.clear();
        } else {
            self.held.drain(..written.min(self.held.len()));
        }
    }

    /// Writes all, and waits for it a moment.
    pub(super) fn end(mut self) {
        let deadline = Instant::now() + LAST_WORDS;
        loop {
            self.write();
            if self.held.is_empty() && self.missing > 0 {
                Entry::Missing(std::mem::take(&mut self.missing)).append_to(&mut self.held);
                continue;
            }
            let Some(to) = self.to.as_ref().filter(|_| !self.held.is_empty() && Instant::now() < deadline) else {
                return;
            };
            if poll::wait(&[poll::Watch::Writable(to.as_fd())], Some(deadline)).is_err() {
                return;
            }
        }
    }
}

fn cut(path: &[u8]) -> Vec<u8> {
    path.iter().copied().take(MAX_NAME).collect()
}

/// What an open for these (`SSH_FXF_READ`, `SSH_FXF_WRITE`) is called.
pub(super) fn opening(read: bool, write: bool) -> Operation {
    match (read, write) {
        (true, true) => Operation::OpenToReadAndWrite,
        (_, false) => Operation::OpenToRead,
        (false, true) => Operation::OpenToWrite,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Read as _, os::fd::OwnedFd};

    #[test]
    fn a_burst_waits_for_a_monitor_that_rests_and_loses_nothing() {
        let (read, write) = io::pipe().unwrap();
        let mut journal = Journal::new(File::from(OwnedFd::from(write))).unwrap();
        #[expect(clippy::disallowed_methods, reason = "nothing is forked in this test")]
        let reader = std::thread::spawn(move || {
            let (mut read, mut stream, mut piece) = (File::from(OwnedFd::from(read)), Vec::new(), vec![0; 32 << 10]);
            loop {
                std::thread::sleep(Duration::from_millis(5));
                match read.read(&mut piece).unwrap() {
                    0 => return stream,
                    length => stream.extend_from_slice(&piece[..length]),
                }
            }
        });
        let noted = 500;
        for _ in 0..noted {
            journal.note(Operation::Rename, &[b'x'; MAX_NAME], Some(&[b'y'; MAX_NAME]), &Ok(()));
        }
        journal.flush();
        assert!(journal.held.is_empty(), "before the client is told");
        drop(journal);
        let stream = reader.join().unwrap();
        let (mut at, mut lines) = (0, 0);
        while let Some((entry, length)) = Entry::first_of(&stream[at..]).unwrap() {
            assert!(matches!(entry, Entry::Done(_)), "{entry:?}");
            (at, lines) = (at + length, lines + 1);
        }
        assert_eq!((lines, at), (noted, stream.len()));
    }

    #[test]
    fn a_monitor_that_does_not_read_loses_lines_and_not_their_number() {
        let (read, write) = io::pipe().unwrap();
        let mut journal = Journal::new(File::from(OwnedFd::from(write))).unwrap();
        let noted = 10_000;
        for _ in 0..noted {
            journal.note(Operation::Remove, &[b'x'; 5000], None, &Err(Status::NoSuchFile));
        }
        assert!(journal.held.len() < MOST_HELD + 2 * MAX_NAME);
        #[expect(clippy::disallowed_methods, reason = "nothing is forked in this test")]
        let reader = std::thread::spawn(move || {
            let mut read = File::from(OwnedFd::from(read));
            let mut stream = Vec::new();
            read.read_to_end(&mut stream).unwrap();
            stream
        });
        journal.end();
        let stream = reader.join().unwrap();
        let (mut at, mut lines, mut missing) = (0, 0, 0);
        while let Some((entry, length)) = Entry::first_of(&stream[at..]).unwrap() {
            match entry {
                Entry::Done(record) => lines += u64::from(record.path.len() == MAX_NAME && record.error.is_some()),
                Entry::Missing(more) => missing += more,
            }
            at += length;
        }
        assert!(at == stream.len() && lines > 20 && missing > 9000, "{lines} {missing}");
        assert_eq!(lines + missing, noted);
    }
}
