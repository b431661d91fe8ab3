//! Which channels a client may confirm: those that we opened, each once.
//!
//! The library takes a confirmation of any channel that is there, and tells the handler of it as of a
//! new one, whose window and waiting bytes would be counted from nothing again.

use std::collections::HashSet;

use russh::ChannelId;

/// What was opened and confirmed so far. The client's channels stay for good, since one that is closing
/// is still there for the library; the handler bounds their number. Ours go when they are closed.
#[derive(Debug, Default)]
pub(crate) struct Confirmations {
    clients: HashSet<ChannelId>,
    confirmed: HashSet<ChannelId>,
}

impl Confirmations {
    /// The client opened this one.
    pub(crate) fn opened_by_client(&mut self, id: ChannelId) {
        self.clients.insert(id);
    }

    /// The client confirms this one; false if that was not asked of it.
    pub(crate) fn confirm(&mut self, id: ChannelId) -> bool {
        !self.clients.contains(&id) && self.confirmed.insert(id)
    }

    /// The client closed this one.
    pub(crate) fn closed(&mut self, id: ChannelId) {
        self.confirmed.remove(&id);
    }
}
