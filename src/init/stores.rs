//! File systems in memory that are full. The kernel wakes nobody for that, so they are looked at when a session has
//! ended with a failure: until then whoever wrote there has `ENOSPC` and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Instant,
};

use crate::base::Bytes;
use crate::sys::{
    path::{self, FileSystem},
    process::Pid,
};
use crate::wire::init::{Hit, Store};

use super::alarm::{Audience, PAUSE, Record, Word};

/// Who was told of what.
#[derive(Debug, Default)]
pub(super) struct Stores {
    told: BTreeSet<(Pid, Store)>,
    recorded: BTreeMap<Store, Instant>,
}

impl Stores {
    /// What to say of those that are full now, once to each of `sessions`, named by their first processes.
    pub(super) fn look(&mut self, now: Instant, sessions: &BTreeSet<Pid>) -> Vec<Word> {
        let found = |store: Store| Some((store, hit(store, path::file_system(Path::new(store.path())).ok()?)?));
        self.words(now, sessions, Store::ALL.into_iter().filter_map(found))
    }

    fn words(&mut self, now: Instant, sessions: &BTreeSet<Pid>, full: impl Iterator<Item = (Store, Hit)>) -> Vec<Word> {
        self.told.retain(|(pid, _)| sessions.contains(pid));
        let mut words = Vec::new();
        for (store, hit) in full {
            let new: BTreeSet<Pid> = sessions.iter().copied().filter(|pid| self.told.insert((*pid, store))).collect();
            if new.is_empty() {
                continue;
            }
            let record = match self.recorded.get(&store) {
                Some(last) if now < *last + PAUSE => Record::No,
                _ => Record::Yes,
            };
            if record == Record::Yes {
                self.recorded.insert(store, now);
            }
            words.push(Word { hit, to: Audience::These(new), record });
        }
        words
    }
}

/// What is to be said of a file system that has this much room. One without a limit has 0 of 0.
fn hit(store: Store, found: FileSystem) -> Option<Hit> {
    if found.blocks > 0 && found.blocks_free == 0 {
        Some(Hit::Full { store, most: Bytes(found.size()) })
    } else if found.files > 0 && found.files_free == 0 {
        Some(Hit::ManyFiles { store, most: found.files })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_what_has_no_room_at_all_is_full() {
        let of = |(blocks, blocks_free), (files, files_free)| {
            let own = path::file_system(Path::new("/")).unwrap();
            hit(Store::Tmp, FileSystem { fragment_size: 4096, blocks, blocks_free, files, files_free, ..own })
        };
        assert_eq!(of((2, 1), (9, 1)), None);
        assert_eq!(of((2, 0), (9, 1)), Some(Hit::Full { store: Store::Tmp, most: Bytes(8192) }));
        assert_eq!(of((2, 1), (9, 0)), Some(Hit::ManyFiles { store: Store::Tmp, most: 9 }));
        assert_eq!(of((0, 0), (0, 0)), None);
    }

    #[test]
    fn each_session_is_told_once_of_each_and_the_audit_file_not_more_often_than_of_other_limits() {
        let (mut stores, start) = (Stores::default(), Instant::now());
        let full = |store| (store, Hit::Full { store, most: Bytes(4096) });
        let mut look = |pids: &[Pid], after, found: &[Store]| {
            let sessions = pids.iter().copied().collect();
            let words = stores.words(start + after, &sessions, found.iter().map(|store| full(*store)));
            words.into_iter().map(|word| (word.to, word.record)).collect::<Vec<_>>()
        };
        let these = |pids: &[Pid]| Audience::These(pids.iter().copied().collect());
        assert_eq!(look(&[2, 3], Duration::ZERO, &[]), []);
        assert_eq!(look(&[2, 3], Duration::ZERO, &[Store::Tmp]), [(these(&[2, 3]), Record::Yes)]);
        assert_eq!(look(&[3], PAUSE, &[Store::Tmp]), []);
        let both = [(these(&[4]), Record::Yes), (these(&[3, 4]), Record::Yes)];
        assert_eq!(look(&[3, 4], PAUSE, &[Store::Tmp, Store::Run]), both);
        // A number that another session has by now.
        assert_eq!(look(&[2, 3, 4], PAUSE, &[Store::Tmp]), [(these(&[2]), Record::No)]);
    }
}
