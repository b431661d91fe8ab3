//! The sessions of one connection: the one table that ties the ssh process's channels to init's
//! numbers.

use std::collections::BTreeMap;

use crate::base::SessionId;
use crate::wire::init::Start;

/// Channels of one connection with a session on them. Clients open a handful; the ssh process
/// holds two buffers for each.
pub const MAX_CHANNELS: u32 = 64;

/// Where a session is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// init was asked to start it. Kept to ask once more if the cell ends before it answers: a cell
    /// whose linger runs out just then is no reason to refuse anybody. `None`: this is the second.
    Asked(Option<Box<Start>>),
    /// It runs.
    Running,
    /// The client closed the channel: nobody is to be told how it ends.
    Left {
        /// Whether init said that it runs; it says so once.
        started: bool,
    },
}

impl State {
    /// Whether the client still holds the channel.
    pub(super) fn is_held(&self) -> bool {
        match self {
            Self::Asked(_) | Self::Running => true,
            Self::Left { .. } => false,
        }
    }

    /// Whether init said that it runs.
    pub(super) fn is_started(&self) -> bool {
        match self {
            Self::Asked(_) => false,
            Self::Running => true,
            Self::Left { started } => *started,
        }
    }
}

/// One session.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// The ssh process's channel.
    pub(super) channel: u32,
    /// Our name for it, in the audit file.
    pub(super) id: String,
    /// Where it is.
    pub(super) state: State,
    /// For the audit file: `shell`, `exec` or `subsystem`, and the command, escaped.
    pub(super) kind: &'static str,
    /// See `kind`.
    pub(super) command: Option<String>,
    /// Whether it gets a terminal, and so brings one descriptor and not three.
    pub(super) terminal: bool,
    /// Whether it is the sftp server, which brings a fourth.
    pub(super) sftp: bool,
}

/// Sessions by init's number. Invariant: no two that are not left have the same channel.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    next: u64,
    by_number: BTreeMap<u64, Session>,
}

impl Sessions {
    /// A number that was never used on this connection.
    pub(super) fn number(&mut self) -> u64 {
        self.next = self.next.saturating_add(1);
        self.next
    }

    /// Whether one more may start.
    pub(super) fn has_room(&self) -> bool {
        u32::try_from(self.by_number.len()).is_ok_and(|count| count < MAX_CHANNELS)
    }

    /// Adds a session. The caller has asked [`on_channel`](Self::on_channel).
    pub(super) fn add(&mut self, number: u64, session: Session) {
        self.by_number.insert(number, session);
    }

    /// The session on `channel` that the client still holds.
    pub(super) fn on_channel(&self, channel: u32) -> Option<u64> {
        let held = |session: &Session| session.channel == channel && session.state.is_held();
        self.by_number.iter().find(|(_, session)| held(session)).map(|(number, _)| *number)
    }

    /// The session with init's `number`.
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Session> {
        self.by_number.get_mut(&number)
    }

    /// The channel of the session with init's `number`, if it runs and the client holds it.
    pub(super) fn running_on(&self, number: u64) -> Option<u32> {
        self.by_number.get(&number).filter(|session| session.state == State::Running).map(|session| session.channel)
    }

    /// The channels of all sessions that run and that the client holds.
    pub(super) fn running_channels(&self) -> Vec<u32> {
        let running = self.by_number.values().filter(|session| session.state == State::Running);
        running.map(|session| session.channel).collect()
    }

    /// Whether some session runs that a client holds.
    pub(super) fn anybody(&self) -> bool {
        self.by_number.values().any(|session| session.state == State::Running)
    }

    /// Takes a session out: it ended or did not start.
    pub(super) fn remove(&mut self, number: u64) -> Option<Session> {
        self.by_number.remove(&number)
    }

    /// The names of all.
    pub(super) fn ids(&self) -> Vec<SessionId> {
        self.by_number.values().filter_map(|session| session.id.parse().ok()).collect()
    }

    /// Takes all out, with init's numbers.
    pub(super) fn take_all(&mut self) -> BTreeMap<u64, Session> {
        std::mem::take(&mut self.by_number)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }
}
