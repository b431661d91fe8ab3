//! The ssh process and its monitor.
//!
//! The ssh process asks, the monitor answers; `monitor/phase.rs` says which request is allowed
//! when. Nothing that the ssh process says is believed beyond what the request itself claims: it
//! reads the network and may have been taken over.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::Secret;

use super::forward::{NoForward, Place, Target};
use super::pam::Prompt;
use super::session::{Exit, Program, Signal, Terminal};

/// From the ssh process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The sandbox holds and was read back; send the [`Setup`]. Once, first.
    Confined,
    /// Would this public key be accepted? The library does not tell whether it came alone or in a
    /// certificate. Answered by [`Reply::KeyAcceptable`] or [`Reply::LoginRefused`].
    OfferKey {
        /// The user name as sent; not validated.
        user: String,
        /// The key blob (RFC 4253, 6.6).
        key: Vec<u8>,
    },
    /// The client proved that it holds this key. Answered by [`Reply::LoggedIn`] or [`Reply::LoginRefused`].
    LogIn {
        /// The user name as sent; not validated.
        user: String,
        /// The key blob that verified the signature.
        key: Vec<u8>,
    },
    /// The client proved that it holds the key that this certificate is for. Answered as [`Request::LogIn`].
    LogInByCertificate {
        /// The user name as sent; not validated.
        user: String,
        /// The certificate's blob (OpenSSH's PROTOCOL.certkeys).
        certificate: Vec<u8>,
    },
    /// The client showed this password. Answered by [`Reply::LoggedIn`] or [`Reply::LoginRefused`].
    Password {
        /// The user name as sent; not validated.
        user: String,
        /// As typed, cut to one byte more than any password may have.
        password: Secret,
    },
    /// The client wants to be asked (RFC 4256). Answered by [`Reply::Ask`], [`Reply::LoggedIn`] or
    /// [`Reply::LoginRefused`].
    KeyboardInteractive {
        /// The user name as sent; not validated.
        user: String,
    },
    /// What it answered to [`Reply::Ask`]. Answered as [`Request::KeyboardInteractive`].
    Answers {
        /// The user name that the library holds the answers for; not validated.
        user: String,
        /// As typed, at most one more than are ever asked for, each cut to one byte more than any may have.
        answers: Vec<Secret>,
    },
    /// A login method that is not offered was tried (for the audit log, and counted as a failure).
    /// Answered by [`Reply::LoginRefused`].
    TriedMethod {
        /// The user name as sent; not validated.
        user: String,
        /// The method.
        method: TriedMethod,
    },
    /// Start a program on a channel. Answered by [`Reply::SessionStarted`] or [`Reply::SessionRefused`].
    StartSession {
        /// The ssh process's own number of the channel; unused before.
        channel: u32,
        /// What to run.
        program: Program,
        /// With a terminal of this kind, or with pipes.
        terminal: Option<Terminal>,
        /// What the client asks to be set (RFC 4254, 6.4), in order; filtered by the monitor.
        environment: Vec<(String, String)>,
    },
    /// Deliver a signal to a session (RFC 4254, 6.9). Not answered.
    SignalSession {
        /// The channel it was started on.
        channel: u32,
        /// Which.
        signal: Signal,
    },
    /// The client closed the channel: nobody reads that session any more. Not answered.
    LeaveSession {
        /// The channel it was started on.
        channel: u32,
    },
    /// Connect to something inside the cell. Answered by [`Reply::ForwardOpened`] or
    /// [`Reply::ForwardRefused`], whenever it is known.
    Connect {
        /// The ssh process's own number of the forward; unused before.
        forward: u32,
        /// Where to.
        target: Target,
        /// Who connected at the client's side, as it says.
        peer: String,
    },
    /// Listen inside the cell. Answered as [`Request::Connect`].
    Listen {
        /// As for [`Request::Connect`].
        forward: u32,
        /// Where.
        place: Place,
    },
    /// Somebody inside the cell connected to what is listened on. Not answered.
    Accepted {
        /// As for [`Request::Connect`].
        forward: u32,
        /// The number of the listener.
        listener: u32,
        /// Who, as the kernel says.
        peer: String,
    },
    /// A forward ended, or is listened for no more. Not answered.
    ForwardEnded {
        /// Its number.
        forward: u32,
        /// Bytes that went into the cell.
        to_cell: u64,
        /// Bytes that came out of it.
        to_client: u64,
    },
    /// The library refused so many tries without asking: by methods that it does not know, with a wrong
    /// signature, with a wish for another password. Counted as failures. Not answered; one that comes
    /// when the login is through changes nothing.
    RefusedUnasked {
        /// Since the last of these.
        tries: u32,
    },
    /// The ssh process ends the connection. The last that it says.
    GaveUp {
        /// On the client, for this.
        why: GaveUp,
    },
    /// A line for the admin's log. Not answered; counted and escaped by the monitor.
    Note {
        /// The text.
        text: String,
    },
}

/// Why the ssh process gives up on a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GaveUp {
    /// Nothing moved for `idle_timeout`.
    Idle,
    /// It gave no sign of life when it was asked for one.
    Silent,
    /// A key exchange was begun after the login and not finished in time.
    KeyExchange,
    /// It sent more than anybody needs to before the login.
    TooMuchEarly,
    /// It sent more than can have been on its way when we began a key exchange.
    TooMuchMeanwhile,
}

impl GaveUp {
    /// The reason in the audit file.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Idle => "nothing moved for idle_timeout",
            Self::Silent => "no sign of life after client_alive_interval",
            Self::KeyExchange => "a key exchange was not finished in time",
            Self::TooMuchEarly => "too much was sent before the login",
            Self::TooMuchMeanwhile => "too much was sent in a key exchange",
        }
    }
}

/// Methods other than the one that is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TriedMethod {
    /// `none` (RFC 4252, 5.2): how clients ask for the list of methods.
    None,
    /// `publickey` with a certificate that is longer than any is taken.
    Certificate,
}

/// Longest password: what comes beyond is refused before anything is computed from it.
pub const MAX_PASSWORD: usize = 1024;

/// A way to prove who one is (RFC 4252).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// `publickey`.
    PublicKey,
    /// `password`.
    Password,
    /// `keyboard-interactive`, which is PAM.
    KeyboardInteractive,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 3] = [Self::PublicKey, Self::Password, Self::KeyboardInteractive];

    /// Its name in the protocol.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PublicKey => "publickey",
            Self::Password => "password",
            Self::KeyboardInteractive => "keyboard-interactive",
        }
    }
}

/// From the monitor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Reply {
    /// How to serve this connection.
    Setup(Box<Setup>),
    /// A signature by the key of [`Request::OfferKey`] would do.
    KeyAcceptable,
    /// The client is to be shown this, and asked this.
    Ask {
        /// What is said before the first prompt.
        text: String,
        /// Maybe none.
        prompts: Vec<Prompt>,
    },
    /// The client is in.
    LoggedIn(LoggedIn),
    /// The client is not in; the reason is in the admin's log alone.
    LoginRefused {
        /// What it may go on with.
        next: Vec<Method>,
        /// What it showed was right, and more is needed (RFC 4252, 5.1).
        partial: bool,
    },
    /// The program runs. Brings the terminal's master, or the ends of stdin (write), stdout (read)
    /// and stderr (read).
    SessionStarted {
        /// As asked.
        channel: u32,
    },
    /// The program does not run.
    SessionRefused {
        /// As asked.
        channel: u32,
        /// What the client may be told.
        why: Refusal,
    },
    /// The socket is open. Brings it, and where a port of both families is listened on two.
    ForwardOpened {
        /// As asked.
        forward: u32,
        /// The port that is listened on.
        port: u16,
    },
    /// The socket is not open.
    ForwardRefused {
        /// As asked.
        forward: u32,
        /// What the client may be told.
        why: NoForward,
    },
    /// The cell has ended: its sockets are to be closed. Not an answer to anything.
    ForwardsGone,
    /// Something to tell the client of this session: on its terminal or its standard error.
    SessionNotice {
        /// As asked.
        channel: u32,
        /// A sentence of ours; what in it comes from elsewhere is escaped.
        text: String,
    },
    /// The program that ran on this channel ended.
    SessionEnded {
        /// As asked.
        channel: u32,
        /// How.
        exit: Exit,
    },
}

/// How to serve a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    /// The host's private keys, in OpenSSH's text form, in the order of preference.
    pub host_keys: Vec<Secret>,
    /// Shown before the login.
    pub banner: Option<String>,
    /// What strangers are offered.
    pub methods: Vec<Method>,
    /// Failed tries after which the connection ends.
    pub max_auth_tries: u32,
    /// Channels that may be open at once.
    pub max_channels: u32,
    /// After how long a silent client is asked for a sign of life.
    pub client_alive_interval: Option<Duration>,
    /// How often in a row it may fail to give one.
    pub client_alive_count_max: u32,
    /// Bytes in either direction after which new keys are made.
    pub rekey_bytes: u64,
    /// Time after which new keys are made.
    pub rekey_time: Duration,
    /// What that may take, whoever began it.
    pub most_exchange: Duration,
    /// Whether MACs over the plaintext are offered.
    pub encrypt_and_mac: bool,
}

/// What a logged-in connection may do, for the ssh process to answer requests without asking.
/// The monitor checks again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedIn {
    /// Whether terminals are given.
    pub pty: bool,
    /// Whether signals are delivered.
    pub signals: bool,
    /// Which environment variables are taken (`variables::is_taken`).
    pub accept_env: Vec<String>,
    /// How long nothing may move on the connection; `None`: for ever.
    pub idle_timeout: Option<Duration>,
    /// The same for each session.
    pub channel_timeout: Option<Duration>,
    /// The same for each connection over a forward.
    pub forward_timeout: Option<Duration>,
}

/// Why a session did not start, as far as the client may know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// This kind of request is switched off for the tenant, or there is no such thing.
    NotAllowed,
    /// Too many sessions.
    TooMany,
    /// Too many connections of this tenant.
    TooManyConnections,
    /// Outside of the tenant's hours.
    Closed,
    /// The jail could not be started; the admin's log has the reason.
    JailFailed,
    /// No program can be given a command line of that length.
    TooLong,
}

impl Refusal {
    /// The sentence for the client: constant, and the same for everyone.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::NotAllowed => "This request is not allowed here.",
            Self::TooMany => "Too many sessions are open.",
            Self::TooManyConnections => "Too many connections are open.",
            Self::Closed => "This account is closed at this time.",
            Self::TooLong => "Your command is too long: a program's argument has less than 128 KiB.",
            Self::JailFailed => "Your session could not be started. Please tell the administrator.",
        }
    }
}
