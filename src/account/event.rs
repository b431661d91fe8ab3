//! The events of the audit file, and their form: one JSON object per line.

use std::{net::SocketAddr, time::Duration};

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use crate::base::{TenantName, escape};
use crate::sys::zone;
use crate::wire::session::{Exit, Usage};

/// Something that happened. Every text field that others chose was escaped, and so bounded, by
/// [`Event`]'s makers.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are those of the audit file, and each is what its type says")]
pub enum Event<'a> {
    /// A connection was taken.
    ConnectionAccepted { connection: &'a str, peer: SocketAddr, local: SocketAddr },
    /// Connections were turned away before anything was read from them.
    ConnectionRefused {
        peer: SocketAddr,
        reason: &'static str,
        /// Others that were turned away since the last such line, and are in no line of their own.
        unlisted: u64,
    },
    /// A process of this host was taken at the enter door.
    CallerAccepted {
        connection: &'a str,
        uid: u32,
        /// As it was when it asked: another process may have it since.
        pid: i32,
    },
    /// A process of this host asked at the enter door and may not enter.
    CallerRefused {
        connection: &'a str,
        uid: u32,
        /// The host account, if it has a name.
        #[serde(skip_serializing_if = "Option::is_none")]
        account: Option<String>,
        /// The tenant that was asked for, if one was.
        #[serde(skip_serializing_if = "Option::is_none")]
        asked: Option<String>,
        reason: String,
    },
    /// Processes of this host were turned away at the enter door before anything was read from them.
    CallerTurnedAway {
        uid: u32,
        reason: &'static str,
        /// As for [`Event::ConnectionRefused`].
        unlisted: u64,
    },
    /// Connections from an address, or from a block of them, are refused from now on.
    PenaltyStart {
        source: String,
        /// What happened last there, by OpenSSH's words.
        cause: &'static str,
        seconds: u64,
        /// Others since the last such line, which are in no line of their own.
        unlisted: u64,
    },
    /// Somebody tried to log in and may not.
    LoginRefused {
        connection: &'a str,
        peer: SocketAddr,
        user: String,
        method: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        reason: String,
    },
    /// Somebody logged in.
    Login {
        connection: &'a str,
        /// None at the enter door: `caller_accepted` says who asked there.
        #[serde(skip_serializing_if = "Option::is_none")]
        peer: Option<SocketAddr>,
        tenant: &'a TenantName,
        /// The methods that were passed, joined by `+`.
        method: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        certificate: Option<CertificateText<'a>>,
    },
    /// A session started.
    SessionStart {
        connection: &'a str,
        session: &'a str,
        tenant: &'a TenantName,
        kind: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        command: Option<String>,
        terminal: bool,
        pid: i32,
    },
    /// A session did not start.
    SessionRefused {
        connection: &'a str,
        session: &'a str,
        tenant: &'a TenantName,
        reason: String,
        /// Others of this connection since the last such line, which are in no line of their own.
        unlisted: u64,
    },
    /// A tenant reached a limit. For memory, `process` is the last that was stopped, if it is known.
    LimitReached {
        connection: &'a str,
        tenant: &'a TenantName,
        limit: &'static str,
        most: u64,
        /// How often since the last such line.
        times: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        process: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pid: Option<i32>,
    },
    /// A tenant's cell was started without limits that this host cannot enforce
    /// (`enforce = "best-effort"`).
    LimitsForgone { connection: &'a str, tenant: &'a TenantName, limits: &'a [&'static str] },
    /// An sftp session did something with a file, or tried to.
    FileOperation {
        connection: &'a str,
        session: &'a str,
        tenant: &'a TenantName,
        operation: &'static str,
        /// As the client named it; what is not absolute is below the home directory.
        path: String,
        /// The other name of a rename or hard link; what a symlink says.
        #[serde(skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        /// Bytes read and written while it was open.
        #[serde(skip_serializing_if = "Option::is_none")]
        read: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        written: Option<u64>,
        /// Why it was not done.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// So many more operations of that session are in no line of their own.
    FileOperationsUnlisted { connection: &'a str, session: &'a str, tenant: &'a TenantName, operations: u64 },
    /// A session ended.
    SessionEnd { connection: &'a str, session: &'a str, tenant: &'a TenantName, exit: ExitText, usage: Option<Used> },
    /// So many more forwards and listeners of that connection ended, and are in no line of their own.
    ForwardsUnlisted { connection: &'a str, tenant: &'a TenantName, forwards: u64 },
    /// A socket for a client was not opened in the cell.
    ForwardRefused {
        connection: &'a str,
        tenant: &'a TenantName,
        kind: &'static str,
        target: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        peer: Option<&'a str>,
        reason: String,
        /// As for [`Event::SessionRefused`].
        unlisted: u64,
    },
    /// A forwarded connection ended. The bytes are null where the connection was cut with it.
    ForwardEnd {
        connection: &'a str,
        tenant: &'a TenantName,
        kind: &'static str,
        target: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        peer: Option<&'a str>,
        to_cell: Option<u64>,
        to_client: Option<u64>,
        seconds: u64,
    },
    /// The cell listens for a client no more.
    ListenEnd { connection: &'a str, tenant: &'a TenantName, kind: &'static str, target: &'a str, seconds: u64 },
    /// A connection ended.
    ConnectionEnd {
        connection: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        peer: Option<SocketAddr>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tenant: Option<&'a TenantName>,
        reason: String,
        seconds: u64,
    },
}

/// The certificate that somebody logged in with.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct CertificateText<'a> {
    /// What its authority calls it, escaped.
    pub id: &'a str,
    /// Its number.
    pub serial: u64,
    /// `SHA256:…` of the authority's key.
    pub authority: &'a str,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitText {
    /// With this status.
    Status(u8),
    /// By this signal. The name is what init says: escaped.
    Signal(String),
    /// Stopped by the kernel, because the tenant's memory limit was reached.
    MemoryLimit,
    /// With its cell.
    CellGone,
    /// It still ran when its connection had ended.
    LeftRunning,
}

impl From<&Exit> for ExitText {
    fn from(exit: &Exit) -> Self {
        match exit {
            Exit::Status(status) => Self::Status(*status),
            Exit::Signal { name, .. } => Self::Signal(escape(name)),
            Exit::MemoryLimit => Self::MemoryLimit,
            Exit::CellGone => Self::CellGone,
        }
    }
}

/// What a session used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Used {
    user_us: u64,
    system_us: u64,
    max_rss_kib: u64,
    wall_ms: u64,
}

impl From<Usage> for Used {
    fn from(usage: Usage) -> Self {
        let Usage { user_us, system_us, max_rss_kib, wall_ms } = usage;
        Self { user_us, system_us, max_rss_kib, wall_ms }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    event: &'a Event<'a>,
}

impl Event<'_> {
    /// The line, with its newline.
    pub(super) fn line(&self, time: Timestamp) -> Result<Vec<u8>, serde_json::Error> {
        let mut line = serde_json::to_vec(&Line { time: text(time), event: self })?;
        line.push(b'\n');
        Ok(line)
    }
}

/// RFC 3339, UTC, to the microsecond.
fn text(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// The moment that was `ago`, as the audit file writes times.
#[must_use]
pub fn text_ago(ago: Duration) -> String {
    text(before_now(ago))
}

/// The same for a person, in the host's time zone and to the second.
#[must_use]
pub fn text_ago_short(ago: Duration) -> String {
    before_now(ago).to_zoned(zone::system().unwrap_or(TimeZone::UTC)).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn before_now(ago: Duration) -> Timestamp {
    let now = Timestamp::now();
    now.saturating_sub(ago).unwrap_or(now)
}

/// The time as the audit file writes it.
#[must_use]
pub fn now_text() -> String {
    text(Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_json_object_whatever_a_client_calls_itself() {
        let event = Event::LoginRefused {
            connection: "c1",
            peer: "192.0.2.1:5".parse().unwrap(),
            user: escape("ev\nil\u{1b}[2J\"}"),
            method: "publickey",
            key: None,
            reason: "unknown tenant".into(),
        };
        let line = event.line(Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["time"], "1970-01-01T00:00:00.000000Z");
        assert_eq!(value["event"], "login_refused");
        assert_eq!(value["user"], "ev\\nil\\x1b[2J\\\"}");
    }
}
