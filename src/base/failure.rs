//! What went wrong, told to a person: what we were doing, to what, why it failed, what to do.

use std::{error, fmt};

/// The result of anything that can end in a message to the admin.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// A failure as the admin reads it. Displays as `doing object: cause`, then a `hint:` line.
///
/// Never shown to an SSH client: clients see constant sentences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    doing: &'static str,
    object: String,
    cause: String,
    hint: Option<String>,
}

/// A failure of `doing` to `object`, because of `cause`.
///
/// `doing` is a lower-case verb phrase (`"mounting"`), `object` what it was done to.
pub fn fail(doing: &'static str, object: impl fmt::Display, cause: impl fmt::Display) -> Failure {
    Failure { doing, object: object.to_string(), cause: cause.to_string(), hint: None }
}

impl Failure {
    /// Adds what the admin can do about it, if possible as a command.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Why it failed, without the rest of the sentence.
    #[must_use]
    pub fn cause(&self) -> &str {
        &self.cause
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.doing)?;
        if !self.object.is_empty() {
            write!(f, " {}", self.object)?;
        }
        write!(f, ": {}", self.cause)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_as_doing_object_cause_and_hint() {
        let failure = fail("mounting", "/srv/cache", "No such file or directory").hint("create it");
        assert_eq!(failure.to_string(), "mounting /srv/cache: No such file or directory\nhint: create it");
    }
}
