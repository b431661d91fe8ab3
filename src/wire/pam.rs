//! A monitor and `cellblock-pam`. Shared as this file: that program links libpam and no room of ours.
//!
//! The monitor asks, the program answers each order with one word. When the link ends, whatever ended
//! it, the program closes the session that it opened, and ends.

use serde::{Deserialize, Serialize};

use crate::base::Secret;

/// Longest message: [`MAX_PROMPTS`] answers or prompts of [`MAX_TEXT`] bytes, twice over.
pub const MAX_MESSAGE: usize = 40 << 10;
/// Prompts of one round; libpam allows 32 messages (`PAM_MAX_NUM_MSG`).
pub const MAX_PROMPTS: usize = 16;
/// Longest prompt; longer ones are cut.
pub const MAX_TEXT: usize = 1024;
/// How long a session may take to open, and how long to close, in seconds.
pub const SESSION_SECONDS: u32 = 30;

/// From the monitor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Order {
    /// Judge this login. Once, first.
    Begin {
        /// The file in `/etc/pam.d`.
        service: String,
        /// `PAM_USER`, which must be the same in the end.
        user: String,
        /// `PAM_RHOST`.
        peer: String,
        /// Whether to authenticate, or only to ask whether the account may be used.
        authenticate: bool,
        /// How long all of it may take, waits for the user included.
        seconds: u32,
    },
    /// What the user answered, in the order of the prompts.
    Answers(Vec<Secret>),
    /// The login is through: open the session.
    OpenSession,
}

/// From `cellblock-pam`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// To be asked of the user. Answered by [`Order::Answers`].
    Ask {
        /// What is said before.
        text: String,
        /// At least one.
        prompts: Vec<Prompt>,
    },
    /// The login may go on.
    Passed,
    /// It may not, or the session could not be opened: why, for the admin's log.
    Refused(String),
    /// The session is open.
    SessionOpened,
}

/// One thing to ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// The question.
    pub text: String,
    /// Whether the answer may be seen.
    pub echo: bool,
}
