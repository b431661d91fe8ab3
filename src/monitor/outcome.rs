//! What the listener is told of a connection that ended without a login.

use std::cell::Cell;

use crate::wire::door::Outcome;

use super::ssh::End;

/// What happened before a login.
#[derive(Debug, Default)]
pub struct Tally {
    tried: Cell<bool>,
    nobody: Cell<bool>,
}

impl Tally {
    /// A try to log in failed.
    pub(super) fn failed(&self) {
        self.tried.set(true);
    }

    /// Whether the name of the latest try is no tenant's.
    pub(super) fn named_nobody(&self, nobody: bool) {
        self.nobody.set(nobody);
    }

    /// What this connection, which ended by `end` with nobody logged in, counts as; nothing, where the
    /// end says nothing about the client.
    pub(super) fn outcome(&self, end: &End) -> Option<Outcome> {
        match end {
            End::Crashed | End::OutOfTurn(_) | End::Wrong(_) => Some(Outcome::Crash),
            End::Grace => Some(Outcome::GraceExceeded),
            End::Closed | End::Tries | End::GaveUp(_) => Some(match (self.tried.get(), self.nobody.get()) {
                (false, _) => Outcome::NoAuth,
                (true, true) => Outcome::InvalidUser,
                (true, false) => Outcome::AuthFail,
            }),
            End::Hours => Some(Outcome::RefusedConnection),
            End::Told | End::Full | End::Time | End::Failed(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_counts_as_what_the_client_did() {
        let tally = Tally::default();
        assert_eq!(tally.outcome(&End::Closed), Some(Outcome::NoAuth));
        assert_eq!(tally.outcome(&End::Grace), Some(Outcome::GraceExceeded));
        tally.failed();
        tally.named_nobody(true);
        assert_eq!(tally.outcome(&End::Closed), Some(Outcome::InvalidUser));
        tally.named_nobody(false);
        assert_eq!(tally.outcome(&End::Tries), Some(Outcome::AuthFail));
        assert_eq!(tally.outcome(&End::Failed("of ours".into())), None);
        assert_eq!(tally.outcome(&End::Crashed), Some(Outcome::Crash));
        assert_eq!(Tally::default().outcome(&End::OutOfTurn("LogIn")), Some(Outcome::Crash));
    }
}
