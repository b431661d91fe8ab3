//! Sockets that are opened inside a cell for a client: what is forwarded, and where to.
//!
//! The names and paths are the client's, and mean what they mean inside the cell.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest host name (RFC 1035, 2.3.4) or bind address.
pub const MAX_HOST: usize = 255;

/// Longest path of a unix socket: `sun_path` without its NUL (unix(7)).
pub const MAX_PATH: usize = 107;

/// Forwards of one connection at once, under way or open: the ssh process holds a descriptor and two
/// buffers for each.
pub const MAX_FORWARDS: usize = 256;

/// Listeners of one connection at once: the ssh process holds two descriptors for each.
pub const MAX_LISTENERS: usize = 32;

/// Where to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// `direct-tcpip` (RFC 4254, 7.2).
    Tcp {
        /// A name or an address.
        host: String,
        /// Its port.
        port: u16,
    },
    /// `direct-streamlocal@openssh.com`.
    Unix {
        /// An absolute path, or one below the home.
        path: String,
    },
}

/// Where a client wants to be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// `tcpip-forward` (RFC 4254, 7.1): on loopback, whatever the address.
    Tcp {
        /// The address as it was asked for.
        host: String,
        /// The port; 0: any that is free.
        port: u16,
    },
    /// `streamlocal-forward@openssh.com`.
    Unix {
        /// An absolute path, or one below the home.
        path: String,
    },
    /// `auth-agent-req@openssh.com`.
    Agent,
    /// `x11-req` (RFC 4254, 6.3.1).
    Display {
        /// The name of the authentication protocol.
        protocol: String,
        /// Its cookie, in hexadecimal digits.
        cookie: String,
        /// The screen.
        screen: u32,
    },
}

/// A socket that a child of init is to open, as the tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Socket {
    /// Connected.
    To(Target),
    /// Listening on this port of 127.0.0.1 and, where there is one, of `::1`; 0: any that is free.
    Loopback(u16),
    /// Listening at this path, for the tenant alone.
    Path(String),
    /// Listening in a new directory, which no one else may enter.
    Private {
        /// Absolute path of the directory; it must not exist.
        directory: String,
        /// Name in it.
        name: String,
    },
    /// Listening as an X display, with a file of its cookie in a new directory.
    Display {
        /// As for [`Socket::Private`].
        directory: String,
        /// The name of the authentication protocol.
        protocol: String,
        /// The cookie.
        cookie: Vec<u8>,
    },
}

/// What kind of forward it is, in the words of SSH.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// `-L` and `-D`.
    DirectTcp,
    /// `-L` to a unix socket.
    DirectUnix,
    /// `-R`.
    Tcp,
    /// `-R` of a unix socket.
    Unix,
    /// The agent.
    Agent,
    /// X11.
    X11,
}

impl Kind {
    /// The name of its channels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DirectTcp => "direct-tcpip",
            Self::DirectUnix => "direct-streamlocal",
            Self::Tcp => "forwarded-tcpip",
            Self::Unix => "forwarded-streamlocal",
            Self::Agent => "auth-agent",
            Self::X11 => "x11",
        }
    }
}

impl Target {
    /// What kind of forward it makes.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Tcp { .. } => Kind::DirectTcp,
            Self::Unix { .. } => Kind::DirectUnix,
        }
    }
}

impl Place {
    /// What kind of forwards it makes.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Tcp { .. } => Kind::Tcp,
            Self::Unix { .. } => Kind::Unix,
            Self::Agent => Kind::Agent,
            Self::Display { .. } => Kind::X11,
        }
    }
}

/// Host and port with a colon between, or the path. Not escaped.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix { path } => f.write_str(path),
        }
    }
}

/// Address and port as asked, the path, or a word. Not escaped.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix { path } => f.write_str(path),
            Self::Agent => f.write_str("agent"),
            Self::Display { .. } => f.write_str("display"),
        }
    }
}

/// Why a forward was not made, as far as the client may know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoForward {
    /// It is not allowed.
    Prohibited,
    /// Nobody is there, or the cell could not be entered.
    Failed,
    /// There are too many.
    TooMany,
}
