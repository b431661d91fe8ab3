//! What sftp sessions did with files: read from their pipes, written to the audit file.
//!
//! The pipes come from the cell, so nothing that they bring is believed to be well-formed, or few:
//! each is read in bounded pieces, and what is beyond the tenant's allowance is counted.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use tracing::error;

use crate::account::{Allowance, Audit, Event};
use crate::base::{TenantName, escape, escape_bytes_to};
use crate::sys::{SysResult, fd};
use crate::wire::sftp::{Entry, MAX_ENTRY, Record};

/// Bytes that are read at a time, before others have their turn.
const PIECE: usize = 32 << 10;

/// How long a pipe that was read is left alone: whoever writes to it wakes nobody meanwhile. A server
/// whose pipe is full waits for longer (`sftp/journal.rs`).
const REST: Duration = Duration::from_millis(20);

/// Pieces that are read when a session has ended: more than its pipe holds.
const LAST_PIECES: usize = 64;

/// Between two lines that say how many operations have none: these are outside of the allowance.
const PAUSE: Duration = Duration::from_secs(10);

/// Longest name of a file in a line, in bytes as it is escaped there.
const MAX_SHOWN: usize = 512;

/// Whose sessions they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whose<'a> {
    pub(super) connection: &'a str,
    pub(super) tenant: &'a TenantName,
}

/// Where it is written down, and how much of it.
#[derive(Debug)]
pub(super) struct Book<'a> {
    pub(super) audit: &'a mut Audit,
    pub(super) allowance: &'a Allowance,
}

#[derive(Debug)]
struct Pipe {
    /// `None`: it has ended, or brought what is no entry.
    from: Option<File>,
    held: Vec<u8>,
    /// Not read before then.
    rests: Option<Instant>,
    unlisted: u64,
    said: Instant,
}

/// The pipes of a connection's sftp sessions, by the session's name.
#[derive(Debug, Default)]
pub(super) struct Files {
    pipes: BTreeMap<String, Pipe>,
}

impl Files {
    /// A session has started, and this is its pipe.
    pub(super) fn add(&mut self, session: &str, pipe: OwnedFd) -> SysResult<()> {
        fd::set_nonblocking(pipe.as_fd(), true)?;
        let from = Some(pipe.into());
        let pipe = Pipe { from, held: Vec::new(), rests: None, unlisted: 0, said: Instant::now() };
        self.pipes.insert(session.to_owned(), pipe);
        Ok(())
    }

    /// Ends the rest of those who have rested; when the next one has.
    pub(super) fn rouse(&mut self, now: Instant) -> Option<Instant> {
        for pipe in self.pipes.values_mut() {
            pipe.rests = pipe.rests.filter(|until| *until > now);
        }
        self.pipes.values().filter_map(|pipe| pipe.rests).min()
    }

    /// What to wait for, in the order of [`Files::hear`]'s numbers.
    pub(super) fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pipes.values().filter(|pipe| pipe.is_watched()).filter_map(|pipe| Some(pipe.from.as_ref()?.as_fd()))
    }

    /// Reads a piece of the one with this number, and writes it down.
    pub(super) fn hear(&mut self, number: usize, whose: Whose<'_>, mut book: Book<'_>) {
        let mut watched = self.pipes.iter_mut().filter(|(_, pipe)| pipe.is_watched());
        let Some((session, pipe)) = watched.nth(number) else { return };
        pipe.write_down(session, whose, &mut book);
    }

    /// The session has ended: writes down what is left, and how much of it has no line.
    pub(super) fn finish(&mut self, session: &str, whose: Whose<'_>, mut book: Book<'_>) {
        let Some(mut pipe) = self.pipes.remove(session) else { return };
        for _ in 0..LAST_PIECES {
            if !pipe.write_down(session, whose, &mut book) {
                break;
            }
        }
        pipe.say_unlisted(session, whose, &mut book);
    }
}

impl Pipe {
    fn is_watched(&self) -> bool {
        self.from.is_some() && self.rests.is_none()
    }

    /// False: there is nothing more now.
    fn write_down(&mut self, session: &str, whose: Whose<'_>, book: &mut Book<'_>) -> bool {
        let more = self.fill();
        let mut lines = Vec::new();
        let mut at = 0;
        loop {
            match Entry::first_of(self.held.get(at..).unwrap_or_default()) {
                Ok(Some((entry, length))) => {
                    at = at.saturating_add(length);
                    match entry {
                        Entry::Done(record) => lines.push(event(session, whose, record)),
                        Entry::Missing(more) => self.unlisted = self.unlisted.saturating_add(more),
                    }
                }
                Ok(None) => break,
                Err(why) => {
                    error!("{session} {}: what it did with files is not known from here on: {why}", whose.tenant);
                    self.from = None;
                    at = self.held.len();
                    break;
                }
            }
        }
        self.held.drain(..at.min(self.held.len()));
        if !lines.is_empty() {
            let left_out = lines.len().saturating_sub(book.allowance.record(book.audit, whose.tenant, &lines));
            self.unlisted = self.unlisted.saturating_add(u64::try_from(left_out).unwrap_or(u64::MAX));
        }
        if self.unlisted > 0 && self.said.elapsed() >= PAUSE {
            self.say_unlisted(session, whose, book);
        }
        more && self.from.is_some()
    }

    /// Reads a piece; false if there is none now. What is held is never much more than that.
    fn fill(&mut self) -> bool {
        let Some(from) = &mut self.from else { return false };
        let mut piece = vec![0; PIECE.saturating_add(MAX_ENTRY)];
        match from.read(&mut piece) {
            Ok(0) => self.from = None,
            Ok(length) => {
                self.held.extend(piece.iter().take(length));
                self.rests = (length < PIECE).then(|| Instant::now() + REST);
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_failed) => self.from = None,
        }
        false
    }

    fn say_unlisted(&mut self, session: &str, whose: Whose<'_>, book: &mut Book<'_>) {
        self.said = Instant::now();
        let operations = std::mem::take(&mut self.unlisted);
        if operations > 0 {
            let Whose { connection, tenant } = whose;
            book.audit.record(&Event::FileOperationsUnlisted { connection, session, tenant, operations });
        }
    }
}

fn event<'a>(session: &'a str, whose: Whose<'a>, record: Record) -> Event<'a> {
    let Whose { connection, tenant } = whose;
    Event::FileOperation {
        connection,
        session,
        tenant,
        operation: record.operation.word(),
        path: escape_bytes_to(MAX_SHOWN, &record.path),
        to: record.to.map(|to| escape_bytes_to(MAX_SHOWN, &to)),
        read: record.bytes.map(|(read, _)| read),
        written: record.bytes.map(|(_, written)| written),
        error: record.error.map(|error| escape(&error)),
    }
}
