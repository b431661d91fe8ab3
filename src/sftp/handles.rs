//! What the client has open: files and directories by handle, a bounded number.

use std::fs::File;

use super::{listing::Listing, packet::Handle};

/// Most at once, as long as the tenant may open as many files. sshfs holds one for each file that a
/// program has open; a directory that is being read takes about 32 KiB.
pub(super) const MOST: usize = 1024;

/// An open file.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: File,
    /// As the client named it.
    pub(super) path: Vec<u8>,
    /// Bytes read from it.
    pub(super) read: u64,
    /// Bytes written to it.
    pub(super) written: u64,
}

#[derive(Debug)]
pub(super) enum Open {
    File(OpenFile),
    Directory(Box<Listing>),
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Handles {
    /// What is open there, and how often it was given.
    slots: Vec<(Option<Open>, u32)>,
    free: Vec<u32>,
}

impl Handles {
    /// A handle for something new, if there may be one more.
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty() || self.slots.len() < MOST
    }

    /// Gives a handle. `None`: there are as many as there may be.
    pub(super) fn add(&mut self, open: Open) -> Option<Handle> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < MOST => {
                self.slots.push((None, 0));
                u32::try_from(self.slots.len()).ok()?.checked_sub(1)?
            }
            None => return None,
        };
        let slot = self.slots.get_mut(usize::try_from(index).ok()?)?;
        slot.0 = Some(open);
        Some(Handle { index, generation: slot.1 })
    }

    fn slot(&mut self, handle: Handle) -> Option<&mut (Option<Open>, u32)> {
        let slot = self.slots.get_mut(usize::try_from(handle.index).ok()?)?;
        (slot.1 == handle.generation && slot.0.is_some()).then_some(slot)
    }

    /// The file of that handle.
    pub(super) fn file(&mut self, handle: Handle) -> Option<&mut OpenFile> {
        match self.slot(handle)?.0.as_mut()? {
            Open::File(file) => Some(file),
            Open::Directory(_) => None,
        }
    }

    /// The directory of that handle.
    pub(super) fn directory(&mut self, handle: Handle) -> Option<&mut Listing> {
        match self.slot(handle)?.0.as_mut()? {
            Open::Directory(listing) => Some(listing),
            Open::File(_) => None,
        }
    }

    /// Takes out what that handle stands for; it stands for nothing from here on.
    pub(super) fn remove(&mut self, handle: Handle) -> Option<Open> {
        let slot = self.slot(handle)?;
        let open = slot.0.take();
        slot.1 = slot.1.wrapping_add(1);
        self.free.push(handle.index);
        open
    }

    /// Takes out everything: the session ends.
    pub(super) fn remove_all(&mut self) -> impl Iterator<Item = Open> {
        std::mem::take(&mut self.slots).into_iter().filter_map(|(open, _)| open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Open {
        Open::File(OpenFile { file: File::open("/dev/null").unwrap(), path: Vec::new(), read: 0, written: 0 })
    }

    #[test]
    fn a_handle_that_was_closed_never_means_what_has_its_place_now() {
        let mut handles = Handles::default();
        let first = handles.add(file()).unwrap();
        assert!(handles.file(first).is_some() && handles.directory(first).is_none());
        assert!(handles.remove(first).is_some() && handles.remove(first).is_none());
        let second = handles.add(file()).unwrap();
        assert_eq!(second.index, first.index);
        assert!(handles.file(first).is_none() && handles.file(second).is_some());
    }

    #[test]
    fn there_are_never_more_than_the_most() {
        let mut handles = Handles::default();
        let given: Vec<_> = (0..MOST).map(|_| handles.add(file()).unwrap()).collect();
        assert!(!handles.has_room() && handles.add(file()).is_none());
        handles.remove(given[5]);
        assert!(handles.has_room() && handles.add(file()).is_some());
        assert_eq!(handles.remove_all().count(), MOST);
    }
}
