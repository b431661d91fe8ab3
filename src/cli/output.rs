//! Where verbs print. What one has to say goes to stdout, what went wrong to stderr.

use std::{
    fmt,
    io::{self, Write as _},
};

pub use crate::enter::complain;

/// Prints one line, or several. A reader that has gone away (`cellblock list | head`) is no fault.
pub fn say(text: impl fmt::Display) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}
