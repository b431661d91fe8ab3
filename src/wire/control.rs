//! The admin's verbs and the listener: one question, one answer.
//!
//! The socket lies in `run_dir`, and is root's alone.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::base::Block;

use super::door::Outcome;

/// Longest text in an answer: it and the rest fit into a message.
const MAX_TEXT: usize = 48 << 10;

/// Where the listener answers.
#[must_use]
pub fn socket(run_dir: &Path) -> PathBuf {
    run_dir.join("control.sock")
}

/// From a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Read the config again.
    Reload,
    /// Whose connections are refused?
    Penalties,
}

/// From the listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// New connections see the new config.
    Taken {
        /// The file that was read.
        config: String,
        /// Tenants in it.
        tenants: u64,
        /// Warnings, drawn; empty if there are none.
        warnings: String,
    },
    /// The config stays as it was.
    Kept {
        /// The file that was read.
        config: String,
        /// Why, with the findings drawn.
        why: String,
    },
    /// Whose connections are refused.
    Penalties {
        /// The first [`MAX_PENALTIES`], the longest first.
        penalties: Vec<Penalty>,
        /// How many there are in all.
        count: u64,
    },
}

/// Who is answerable for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Origin {
    /// An address, or a block of them.
    Block(Block),
    /// A uid of this host.
    Account(u32),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(block) => write!(f, "{block}"),
            Self::Account(uid) => write!(f, "uid {uid}"),
        }
    }
}

/// Most penalties in one answer: each has less than 40 bytes, so they fit into a message.
pub const MAX_PENALTIES: usize = 500;

/// Whose connections are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Penalty {
    /// Who they are.
    pub source: Origin,
    /// What it did last.
    pub cause: Outcome,
    /// For how long yet.
    pub left: Duration,
}

/// `text`, cut so that it fits into an answer.
#[must_use]
pub fn bounded(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push_str("\n… cut here: `cellblock check` shows all");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::seqpacket;
    use crate::wire::Link;

    #[test]
    fn the_longest_answer_fits_into_a_message() {
        let (ours, theirs) = seqpacket::pair().unwrap();
        let (ours, mut theirs): (Link<Answer, Ask>, Link<Ask, Answer>) = (Link::new(ours), Link::new(theirs));
        let why = bounded("ä".repeat(1 << 20));
        let answer = Answer::Kept { config: "/x".repeat(2000), why };
        ours.send(&answer).unwrap();
        assert_eq!(theirs.receive().unwrap().0, answer);
        assert_eq!(bounded("short".into()), "short");
        let source = Origin::Block(Block::around("ffff:ffff::1".parse().unwrap(), 32, 128));
        let penalty = Penalty { source, cause: Outcome::Crash, left: Duration::MAX };
        let answer = Answer::Penalties { penalties: vec![penalty; MAX_PENALTIES], count: u64::MAX };
        ours.send(&answer).unwrap();
        assert_eq!(theirs.receive().unwrap().0, answer);
    }
}
