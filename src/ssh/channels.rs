//! The one table of a connection's channels.
//!
//! Invariants: a channel is here from the moment it is accepted until either side closes it, and
//! never again; it starts one program at most; its number was not used before on this connection;
//! its task ends when its entry goes. Requests for ids that are not here are refused.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cellblock::wire::session::{Terminal, WindowSize};
use russh::{ChannelId, ChannelWriteHalf, server::Msg};
use tokio::task::AbortHandle;

use super::descriptor::Descriptor;

/// Channels at once, whatever the setup says: each holds three descriptors.
pub(crate) const MOST_CHANNELS: usize = 128;

/// A channel that has no program yet, and what was asked for it.
pub(crate) struct Preparing {
    /// Sends to the client.
    pub(crate) writer: ChannelWriteHalf<Msg>,
    /// `pty-req`.
    pub(crate) terminal: Option<Terminal>,
    /// `env`.
    pub(crate) environment: Vec<(String, String)>,
}

/// A channel with a program.
pub(crate) struct Running {
    /// Its number towards the monitor.
    pub(crate) number: u32,
    /// The terminal's master, if it has one.
    master: Option<Arc<Descriptor>>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

enum Channel {
    Preparing(Preparing),
    /// Between the request to start a program and the monitor's answer; or a program was refused.
    Starting,
    Running(Running),
}

/// The table. Clones are handles of the same.
#[derive(Clone)]
pub(crate) struct Channels {
    table: Arc<Mutex<HashMap<ChannelId, Channel>>>,
    most: usize,
}

impl Channels {
    /// An empty table for `most` channels at once.
    pub(crate) fn new(most: u32) -> Self {
        let most = usize::try_from(most).unwrap_or(MOST_CHANNELS).min(MOST_CHANNELS);
        Self { table: Arc::default(), most }
    }

    /// No code between lock and unlock can panic half-way through a change.
    fn table(&self) -> MutexGuard<'_, HashMap<ChannelId, Channel>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a new channel; false if there are too many.
    pub(crate) fn open(&self, id: ChannelId, writer: ChannelWriteHalf<Msg>) -> bool {
        let table = &mut *self.table();
        if table.len() >= self.most {
            return false;
        }
        table.insert(id, Channel::Preparing(Preparing { writer, terminal: None, environment: Vec::new() }));
        true
    }

    /// Changes what was asked for a channel that has no program yet. False if there is no such
    /// channel, or if `change` says so.
    pub(crate) fn prepare(&self, id: ChannelId, change: impl FnOnce(&mut Preparing) -> bool) -> bool {
        match self.table().get_mut(&id) {
            Some(Channel::Preparing(preparing)) => change(preparing),
            Some(Channel::Starting | Channel::Running(_)) | None => false,
        }
    }

    /// Takes a channel's preparations to start its one program.
    pub(crate) fn start(&self, id: ChannelId) -> Option<Preparing> {
        let channel = &mut *self.table();
        let channel = channel.get_mut(&id)?;
        match std::mem::replace(channel, Channel::Starting) {
            Channel::Preparing(preparing) => Some(preparing),
            other @ (Channel::Starting | Channel::Running(_)) => {
                *channel = other;
                None
            }
        }
    }

    /// Nothing was started: the client may ask for something else.
    pub(crate) fn start_failed(&self, id: ChannelId, preparing: Preparing) {
        if let Some(channel) = self.table().get_mut(&id) {
            *channel = Channel::Preparing(preparing);
        }
    }

    /// The program of a channel runs, served by `task`. If the channel is gone, so is the task.
    pub(crate) fn started(&self, id: ChannelId, number: u32, master: Option<Arc<Descriptor>>, task: AbortHandle) {
        let running = Running { number, master, task };
        if let Some(channel) = self.table().get_mut(&id) {
            *channel = Channel::Running(running);
        }
    }

    /// The number of the program that runs on a channel.
    pub(crate) fn running(&self, id: ChannelId) -> Option<u32> {
        match self.table().get(&id) {
            Some(Channel::Running(running)) => Some(running.number),
            Some(Channel::Preparing(_) | Channel::Starting) | None => None,
        }
    }

    /// The client's window has a new size. False if the channel has no terminal.
    pub(crate) fn resize(&self, id: ChannelId, size: WindowSize) -> bool {
        match self.table().get_mut(&id) {
            Some(Channel::Running(Running { master: Some(master), .. })) => master.resize(size),
            Some(Channel::Preparing(Preparing { terminal: Some(terminal), .. })) => {
                terminal.size = size;
                true
            }
            Some(Channel::Running(_) | Channel::Preparing(_) | Channel::Starting) | None => false,
        }
    }

    /// A channel is closed: its task ends, its descriptors with it. The number of the program that
    /// ran on it.
    pub(crate) fn close(&self, id: ChannelId) -> Option<u32> {
        match self.table().remove(&id) {
            Some(Channel::Running(running)) => Some(running.number),
            Some(Channel::Preparing(_) | Channel::Starting) | None => None,
        }
    }
}
