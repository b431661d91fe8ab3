//! Why a connection ends.

use std::fmt;

use cellblock::wire::{LinkError, login::GaveUp};

use super::socket::Cut;

/// What ends a connection, or the attempt to serve one.
#[derive(Debug)]
pub(crate) enum End {
    /// The SSH library gave up on the client.
    Ssh(russh::Error),
    /// The link to the monitor failed.
    Link(LinkError),
    /// The monitor's answer does not fit the question, or comes without one.
    OutOfTurn,
    /// The monitor did not answer in time.
    NoAnswer,
    /// The client sent more than its window allows.
    Overrun,
    /// The client confirmed what was not opened for it.
    Unasked,
    /// A host key does not decode.
    HostKey,
    /// The client did, or did not do, what is put up with no longer.
    GaveUp(GaveUp),
}

impl End {
    /// Whether the client just went away.
    pub(crate) fn is_ordinary(&self) -> bool {
        match self {
            Self::Ssh(error) => matches!(error, russh::Error::Disconnect | russh::Error::HUP),
            Self::Link(_)
            | Self::OutOfTurn
            | Self::NoAnswer
            | Self::Overrun
            | Self::Unasked
            | Self::HostKey
            | Self::GaveUp(_) => false,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ssh(error) => write!(f, "{error}"),
            Self::Link(error) => write!(f, "link to the monitor: {error}"),
            Self::OutOfTurn => f.write_str("the monitor answered out of turn"),
            Self::NoAnswer => f.write_str("the monitor did not answer"),
            Self::Overrun => f.write_str("the client sent more than its window allows"),
            Self::Unasked => f.write_str("the client confirmed a channel that waits for no answer"),
            Self::GaveUp(why) => f.write_str(why.sentence()),
            Self::HostKey => f.write_str("a host key does not decode"),
        }
    }
}

impl std::error::Error for End {}

impl From<russh::Error> for End {
    fn from(error: russh::Error) -> Self {
        if let russh::Error::IO(of_stream) = &error
            && let Some(Cut(why)) = Cut::inside(of_stream)
        {
            return Self::GaveUp(why);
        }
        if matches!(error, russh::Error::KeepaliveTimeout) {
            Self::GaveUp(GaveUp::Silent)
        } else if matches!(error, russh::Error::Pending) {
            Self::GaveUp(GaveUp::TooMuchMeanwhile)
        } else {
            Self::Ssh(error)
        }
    }
}

impl From<LinkError> for End {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}
