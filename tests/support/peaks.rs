//! The most memory that the processes of a door ever had, and the bounds of docs/threat-model.md.

use std::{
    sync::{
        Arc, Mutex,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};

use super::{Door, procfs};

/// Bounds of docs/threat-model.md, "What a stranger can use up", in KiB of resident memory.
const MOST_LISTENER: u64 = 64 * 1024;
const MOST_MONITOR: u64 = 32 * 1024;
const MOST_EARLY: u64 = 32 * 1024;
const MOST_LOGGED_IN: u64 = 64 * 1024;

/// How soon a process is looked at again: what it takes in its last moments is not seen.
const AGAIN: Duration = Duration::from_millis(1);

/// The most of the listener, of any monitor and of any ssh process, in KiB.
#[derive(Debug, Clone, Copy, Default)]
pub struct Peaks {
    listener: u64,
    monitor: u64,
    ssh: u64,
}

impl Peaks {
    /// Of the processes that live now, as long as each of them did.
    pub fn of(door: &Door) -> Self {
        let mut peaks = Self::default();
        peaks.look(door.listener());
        peaks
    }

    fn look(&mut self, listener: i32) {
        self.listener = self.listener.max(procfs::peak_kib(listener));
        for monitor in procfs::children(listener) {
            // Others of its children are spare cells.
            if !procfs::exe(monitor).ends_with("cellblock-admin") {
                continue;
            }
            self.monitor = self.monitor.max(procfs::peak_kib(monitor));
            for ssh in procfs::children(monitor).into_iter().filter(|&pid| procfs::is_ssh_process(pid)) {
                self.ssh = self.ssh.max(procfs::peak_kib(ssh));
            }
        }
    }

    /// Nothing grew beyond what is stated of strangers: where nobody else was at the door, but honest tenants.
    pub fn are_of_strangers(&self) {
        self.are_within(MOST_EARLY);
    }

    /// Nothing grew beyond what is stated of whoever has logged in.
    pub fn are_of_tenants(&self) {
        self.are_within(MOST_LOGGED_IN);
    }

    fn are_within(&self, most_ssh: u64) {
        assert!(self.listener > 0 && self.monitor > 0 && self.ssh > 0, "it was not seen: {self:?}");
        assert!(self.listener <= MOST_LISTENER, "the listener: {self:?}");
        assert!(self.monitor <= MOST_MONITOR, "a monitor: {self:?}");
        assert!(self.ssh <= most_ssh, "an ssh process: {self:?}");
    }
}

/// Looks at a door's processes for as long as it is kept.
pub struct Watch {
    listener: i32,
    peaks: Arc<Mutex<Peaks>>,
    _end: Sender<()>,
}

impl Watch {
    pub(super) fn of(listener: i32) -> Self {
        let peaks = Arc::new(Mutex::new(Peaks::default()));
        let (end, ended) = channel();
        let seen = Arc::clone(&peaks);
        thread::spawn(move || {
            while ended.recv_timeout(AGAIN) == Err(RecvTimeoutError::Timeout) {
                seen.lock().unwrap().look(listener);
            }
        });
        Self { listener, peaks, _end: end }
    }

    /// So far; of the processes that live now, up to this moment.
    pub(super) fn peaks(&self) -> Peaks {
        let mut peaks = self.peaks.lock().unwrap();
        peaks.look(self.listener);
        *peaks
    }
}
