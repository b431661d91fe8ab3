//! A monitor and `cellblock-pam`. Shared as this file: that program links libpam and no room of ours.
//!
//! The monitor gives an order, the program answers it with one word. When the link ends, whatever ended
//! it, the program closes the session that it opened, and ends.

use serde::{Deserialize, Serialize};

use crate::base::Secret;

/// Longest message: [`MAX_PROMPTS`] prompts or answers of [`MAX_TEXT`] bytes and what is said before, twice
/// over.
pub const MAX_MESSAGE: usize = 48 << 10;
/// Prompts of one round; libpam allows 32 messages (`PAM_MAX_NUM_MSG`).
pub const MAX_PROMPTS: usize = 16;
/// Longest prompt, which is cut there, and longest answer, which is refused beyond: twice what libpam's own
/// modules take (`PAM_MAX_MSG_SIZE`, `PAM_MAX_RESP_SIZE`).
pub const MAX_TEXT: usize = 1024;
/// Most of what modules say between two rounds; the rest is dropped.
pub const MAX_SAID: usize = 4096;
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
    /// To be shown to the user and asked of them. Answered by [`Order::Answers`].
    Ask {
        /// What modules said since the last round.
        text: String,
        /// None where the end of the conversation leaves something that was said and is not yet shown.
        prompts: Vec<Prompt>,
    },
    /// The login may go on.
    Passed,
    /// It may not, or the session could not be opened: why, for the admin's log.
    Refused(String),
    /// The session is open.
    SessionOpened {
        /// What modules said meanwhile.
        text: String,
    },
}

/// One thing to ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// The question.
    pub text: String,
    /// Whether the answer may be seen.
    pub echo: bool,
}
