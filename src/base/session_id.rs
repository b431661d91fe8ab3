//! The one name of a session: in the audit file, at its cell's init, in `list` and for `kill`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest name of a connection; ours have 12 characters.
const MAX_CONNECTION: usize = 32;

/// `CONN-N`: the name of its connection and its number there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(String);

/// A text that is not the name of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionIdError;

impl fmt::Display for SessionIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a session is named as in the audit file, CONNECTION-NUMBER")
    }
}

impl std::error::Error for SessionIdError {}

impl SessionId {
    /// Session `number` of the connection of that name.
    pub fn new(connection: &str, number: u64) -> Result<Self, SessionIdError> {
        format!("{connection}-{number}").parse()
    }
}

impl FromStr for SessionId {
    type Err = SessionIdError;
    fn from_str(text: &str) -> Result<Self, SessionIdError> {
        let (connection, number) = text.rsplit_once('-').ok_or(SessionIdError)?;
        let named = (1..=MAX_CONNECTION).contains(&connection.len())
            && connection.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        // As it is written and no other way: two texts are never one session.
        let numbered = number.parse::<u64>().is_ok_and(|parsed| parsed.to_string() == number);
        if named && numbered { Ok(Self(text.to_owned())) } else { Err(SessionIdError) }
    }
}

impl TryFrom<String> for SessionId {
    type Error = SessionIdError;
    fn try_from(text: String) -> Result<Self, SessionIdError> {
        text.parse()
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_one_name_and_it_is_fit_to_be_shown() {
        assert_eq!(SessionId::new("0123456789ab", 7).unwrap().to_string(), "0123456789ab-7");
        for bad in
            ["", "-1", "a", "a-", "a-01", "a-+1", "a-1 ", "A-1", "a b-1", "a\n-1", "a-b-", "a-18446744073709551616"]
        {
            assert!(bad.parse::<SessionId>().is_err(), "{bad:?}");
        }
        assert!(SessionId::new(&"a".repeat(33), 1).is_err());
    }
}
