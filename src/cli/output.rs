//! The only place that prints. What a verb has to say goes to stdout, what went wrong to stderr.

use std::{
    fmt,
    io::{self, Write as _},
};

/// Prints one line, or several. A reader that has gone away (`cellblock list | head`) is no fault.
pub fn say(text: impl fmt::Display) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// Prints what went wrong. If even that cannot be said, the exit status has to do.
pub fn complain(text: impl fmt::Display) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}
