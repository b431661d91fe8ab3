//! Names that the config gives and the network asks for. To hold one is the proof that it is safe
//! in a path, a log line and an argument list.

use std::{borrow::Borrow, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// As long as Linux user names get (`useradd(8)`).
const MAX_NAME: usize = 32;

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// Nothing there.
    Empty,
    /// More than 32 bytes.
    TooLong,
    /// The first byte is not `a-z` or `_`.
    Start,
    /// A byte that is not one of `a-z 0-9 _ -`.
    Character,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a name cannot be empty",
            Self::TooLong => "a name has at most 32 characters",
            Self::Start => "a name starts with a-z or _",
            Self::Character => "a name holds only a-z, 0-9, _ and -",
        })
    }
}

impl std::error::Error for NameError {}

fn validate(text: &str) -> Result<(), NameError> {
    let Some(first) = text.bytes().next() else { return Err(NameError::Empty) };
    if text.len() > MAX_NAME {
        return Err(NameError::TooLong);
    }
    if !(first.is_ascii_lowercase() || first == b'_') {
        return Err(NameError::Start);
    }
    if text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-') {
        Ok(())
    } else {
        Err(NameError::Character)
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                validate(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                validate(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// Who logs in. Needs no account on the host; doubles as the user's name inside the cell.
    TenantName
}

name! {
    /// A named set of jail settings.
    ClassName
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_be_a_path_an_option_or_a_second_line() {
        for bad in ["", "-2", "--config=x", "a b", "a\nb", "../x", "a/b", ".", "A", "9a", "a\0", "ä", "a\u{202e}b"] {
            assert!(bad.parse::<TenantName>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(33).parse::<TenantName>().is_err());
        assert!("a".repeat(1 << 20).parse::<TenantName>().is_err());
        for good in ["alice", "_svc", "web-01", "x"] {
            assert_eq!(good.parse::<TenantName>().unwrap().as_str(), good);
        }
    }
}
