//! The sftp server: a further face of `cellblock-init`, in a session of the tenant's and with
//! nothing but the tenant's rights. It needs no file in the root.
//!
//! SFTP version 3 (draft-ietf-secsh-filexfer-02) and the extensions of OpenSSH's PROTOCOL. Requests
//! are read in big pieces, carried out one after the other, and their replies gathered; so nothing
//! is allocated per packet, and a client may send as many ahead as it likes. What does not decode
//! ends the session; nothing that a client sends makes it grow beyond its two buffers,
//! its handles ([`handles::MOST`]) and one reply.

mod accounts;
mod copy;
mod handles;
mod input;
mod journal;
mod listing;
mod names;
mod packet;
mod reply;
mod request;
mod rules;
mod session;

use std::{env, fs::File, io, os::unix::ffi::OsStrExt as _, process::ExitCode};

use crate::sys::fd;
use crate::wire::{init::SFTP_RECORDS, sftp::Access};

use input::Input;
use journal::Journal;
use reply::Replies;
use session::Session;

pub use packet::{Attributes, Handle, Malformed};
pub use request::{Request, decode, decode_hello};

/// The life of an sftp session, from its first packet to the end of its input.
pub fn run() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_nobody_listens) => ExitCode::FAILURE,
    }
}

fn serve() -> io::Result<()> {
    let own = |number| io::Result::Ok(File::from(fd::inherited(number)?));
    let (mut input, mut replies) = (Input::new(own(0)?), Replies::new(own(1)?));
    let journal = Journal::new(own(SFTP_RECORDS)?)?;
    let word = env::args_os().nth(1).unwrap_or_default();
    let access = Access::from_word(word.as_bytes()).ok_or(io::ErrorKind::InvalidInput)?;
    let home = env::var_os("HOME").unwrap_or_else(|| "/".into());
    let mut session = Session::new(access, home.into(), journal);
    let served = serve_all(&mut session, &mut input, &mut replies);
    session.end();
    served
}

fn serve_all(session: &mut Session, input: &mut Input, replies: &mut Replies) -> io::Result<()> {
    loop {
        while let Some(packet) = input.packet().map_err(|_length| io::ErrorKind::InvalidData)? {
            session.answer(packet, replies).map_err(|_malformed| io::ErrorKind::InvalidData)?;
            if replies.are_many() {
                session.record();
                replies.flush()?;
            }
        }
        session.record();
        replies.flush()?;
        if !input.fill()? {
            return Ok(());
        }
    }
}
