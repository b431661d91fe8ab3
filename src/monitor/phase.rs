//! Which request is in turn when: the one table that stands between a captured ssh process and the
//! rest of the host. What is out of turn ends the connection.

use crate::wire::login::Request;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The ssh process builds its sandbox.
    Confining,
    /// The sandbox holds; nobody is logged in.
    LoggingIn,
    /// A tenant is logged in. The user name is fixed from here on.
    Open,
}

/// A request that is in turn, named so that whoever answers it needs no second look at the phase.
#[derive(Debug)]
pub(super) enum Turn {
    /// To be answered in this phase.
    Take(Request),
    /// Not now, and so not from an ssh process of ours.
    OutOfTurn(&'static str),
}

/// Judges `request`: total, so that a new request or phase does not compile until it has a place.
pub(super) fn turn(phase: Phase, request: Request) -> Turn {
    let (name, allowed) = match (phase, &request) {
        (Phase::Confining, Request::Confined) => ("Confined", true),
        (Phase::LoggingIn | Phase::Open, Request::Confined) => ("Confined", false),

        (Phase::LoggingIn, Request::OfferKey { .. }) => ("OfferKey", true),
        (Phase::Confining | Phase::Open, Request::OfferKey { .. }) => ("OfferKey", false),

        (Phase::LoggingIn, Request::LogIn { .. }) => ("LogIn", true),
        (Phase::Confining | Phase::Open, Request::LogIn { .. }) => ("LogIn", false),

        (Phase::LoggingIn, Request::LogInByCertificate { .. }) => ("LogInByCertificate", true),
        (Phase::Confining | Phase::Open, Request::LogInByCertificate { .. }) => ("LogInByCertificate", false),

        (Phase::LoggingIn, Request::Password { .. }) => ("Password", true),
        (Phase::Confining | Phase::Open, Request::Password { .. }) => ("Password", false),

        (Phase::LoggingIn, Request::KeyboardInteractive { .. }) => ("KeyboardInteractive", true),
        (Phase::Confining | Phase::Open, Request::KeyboardInteractive { .. }) => ("KeyboardInteractive", false),

        (Phase::LoggingIn, Request::Answers { .. }) => ("Answers", true),
        (Phase::Confining | Phase::Open, Request::Answers { .. }) => ("Answers", false),

        (Phase::LoggingIn, Request::TriedMethod { .. }) => ("TriedMethod", true),
        (Phase::Confining | Phase::Open, Request::TriedMethod { .. }) => ("TriedMethod", false),

        // It may come behind the request that was the login.
        (Phase::LoggingIn | Phase::Open, Request::RefusedUnasked { .. }) => ("RefusedUnasked", true),
        (Phase::Confining, Request::RefusedUnasked { .. }) => ("RefusedUnasked", false),

        (Phase::LoggingIn | Phase::Open, Request::GaveUp { .. }) => ("GaveUp", true),
        (Phase::Confining, Request::GaveUp { .. }) => ("GaveUp", false),

        (Phase::Open, Request::StartSession { .. }) => ("StartSession", true),
        (Phase::Confining | Phase::LoggingIn, Request::StartSession { .. }) => ("StartSession", false),

        (Phase::Open, Request::SignalSession { .. }) => ("SignalSession", true),
        (Phase::Confining | Phase::LoggingIn, Request::SignalSession { .. }) => ("SignalSession", false),

        (Phase::Open, Request::LeaveSession { .. }) => ("LeaveSession", true),
        (Phase::Confining | Phase::LoggingIn, Request::LeaveSession { .. }) => ("LeaveSession", false),

        (Phase::Open, Request::Connect { .. }) => ("Connect", true),
        (Phase::Confining | Phase::LoggingIn, Request::Connect { .. }) => ("Connect", false),

        (Phase::Open, Request::Listen { .. }) => ("Listen", true),
        (Phase::Confining | Phase::LoggingIn, Request::Listen { .. }) => ("Listen", false),

        (Phase::Open, Request::Accepted { .. }) => ("Accepted", true),
        (Phase::Confining | Phase::LoggingIn, Request::Accepted { .. }) => ("Accepted", false),

        (Phase::Open, Request::ForwardEnded { .. }) => ("ForwardEnded", true),
        (Phase::Confining | Phase::LoggingIn, Request::ForwardEnded { .. }) => ("ForwardEnded", false),

        // Also before the sandbox holds: it says why it does not.
        (Phase::Confining | Phase::LoggingIn | Phase::Open, Request::Note { .. }) => ("Note", true),
    };
    if allowed { Turn::Take(request) } else { Turn::OutOfTurn(name) }
}

/// Judges the request of a caller at the enter door, who is let in already: one session, what is sent to
/// it, and nothing else. Total, as [`turn`] is.
pub(super) fn caller_turn(asked: &mut bool, request: Request) -> Turn {
    match request {
        Request::StartSession { .. } if !*asked => {
            *asked = true;
            Turn::Take(request)
        }
        Request::StartSession { .. } => Turn::OutOfTurn("StartSession"),
        Request::SignalSession { .. } | Request::LeaveSession { .. } => Turn::Take(request),
        Request::Confined
        | Request::OfferKey { .. }
        | Request::LogIn { .. }
        | Request::LogInByCertificate { .. }
        | Request::Password { .. }
        | Request::KeyboardInteractive { .. }
        | Request::Answers { .. }
        | Request::TriedMethod { .. }
        | Request::RefusedUnasked { .. } => Turn::OutOfTurn("a login request"),
        Request::Connect { .. } | Request::Listen { .. } | Request::Accepted { .. } | Request::ForwardEnded { .. } => {
            Turn::OutOfTurn("a request for a forward")
        }
        Request::GaveUp { .. } => Turn::OutOfTurn("GaveUp"),
        Request::Note { .. } => Turn::OutOfTurn("Note"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Secret;
    use crate::wire::forward::{Place, Target};
    use crate::wire::login::{GaveUp, TriedMethod};
    use crate::wire::session::{Program, Signal};

    fn start() -> Request {
        Request::StartSession { channel: 0, program: Program::Shell, terminal: None, environment: Vec::new() }
    }

    #[test]
    fn a_caller_starts_one_session_and_asks_for_nothing_that_only_ssh_has() {
        let mut asked = false;
        let mut takes = |request| matches!(caller_turn(&mut asked, request), Turn::Take(_));
        assert!(takes(Request::SignalSession { channel: 0, signal: Signal::Term }));
        assert!(takes(start()));
        assert!(!takes(start()), "a second session");
        assert!(takes(Request::LeaveSession { channel: 0 }));
        let of_ssh = [
            Request::Confined,
            Request::LogIn { user: "root".into(), key: vec![] },
            Request::Password { user: "root".into(), password: Secret::new(vec![]) },
            Request::Connect { forward: 0, target: Target::Unix { path: "/x".into() }, peer: String::new() },
            Request::Listen { forward: 0, place: Place::Agent },
            Request::RefusedUnasked { tries: 1 },
            Request::GaveUp { why: GaveUp::Idle },
            Request::Note { text: "x".into() },
        ];
        for request in of_ssh {
            assert!(!takes(request.clone()), "{request:?}");
        }
    }

    #[test]
    fn the_table_of_request_and_phase() {
        let requests = [
            (Request::Confined, [true, false, false]),
            (Request::OfferKey { user: "a".into(), key: vec![] }, [false, true, false]),
            (Request::LogIn { user: "a".into(), key: vec![] }, [false, true, false]),
            (Request::Password { user: "a".into(), password: Secret::new(vec![]) }, [false, true, false]),
            (Request::LogInByCertificate { user: "a".into(), certificate: vec![] }, [false, true, false]),
            (Request::KeyboardInteractive { user: "a".into() }, [false, true, false]),
            (Request::Answers { user: "a".into(), answers: vec![] }, [false, true, false]),
            (Request::TriedMethod { user: "a".into(), method: TriedMethod::None }, [false, true, false]),
            (Request::RefusedUnasked { tries: 1 }, [false, true, true]),
            (Request::GaveUp { why: GaveUp::Silent }, [false, true, true]),
            (
                Request::StartSession { channel: 0, program: Program::Shell, terminal: None, environment: Vec::new() },
                [false, false, true],
            ),
            (Request::SignalSession { channel: 0, signal: Signal::Term }, [false, false, true]),
            (Request::LeaveSession { channel: 0 }, [false, false, true]),
            (
                Request::Connect { forward: 0, target: Target::Unix { path: "/x".into() }, peer: String::new() },
                [false, false, true],
            ),
            (Request::Listen { forward: 0, place: Place::Agent }, [false, false, true]),
            (Request::Accepted { forward: 0, listener: 1, peer: String::new() }, [false, false, true]),
            (Request::ForwardEnded { forward: 0, to_cell: 0, to_client: 0 }, [false, false, true]),
            (Request::Note { text: "x".into() }, [true, true, true]),
        ];
        for (request, expected) in requests {
            for (phase, expected) in [Phase::Confining, Phase::LoggingIn, Phase::Open].into_iter().zip(expected) {
                let taken = matches!(turn(phase, request.clone()), Turn::Take(_));
                assert_eq!(taken, expected, "{request:?} while {phase:?}");
            }
        }
    }
}
