//! What the listener is told by a monitor, and when.

use std::{
    cell::RefCell,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use tracing::warn;

use crate::wire::Link;
use crate::wire::door::Word;

/// The listener. It may be gone: a monitor outlives it.
#[derive(Debug)]
pub struct Ear {
    link: Link<Word, ()>,
    unsaid: RefCell<Vec<(Word, Option<OwnedFd>)>>,
}

impl Ear {
    /// At the other end of this link.
    #[must_use]
    pub fn new(link: Link<Word, ()>) -> Self {
        Self { link, unsaid: RefCell::default() }
    }

    /// Says it, after what is still unsaid.
    pub(super) fn tell(&self, word: &Word) {
        self.say_the_rest();
        self.say(word, &[]);
    }

    /// Says it, with a descriptor or none, once what the monitor does now is done: a listener that is told something
    /// runs at once, and what a client waits for comes after it. The loop of a connection sees to it that this is soon.
    pub(super) fn tell_soon(&self, word: Word, fd: Option<OwnedFd>) {
        self.unsaid.borrow_mut().push((word, fd));
    }

    /// Whether something is.
    pub(super) fn has_unsaid(&self) -> bool {
        !self.unsaid.borrow().is_empty()
    }

    /// Says what is unsaid.
    pub(super) fn say_the_rest(&self) {
        for (word, fd) in self.unsaid.take() {
            let fds: Vec<BorrowedFd<'_>> = fd.iter().map(|fd| fd.as_fd()).collect();
            self.say(&word, &fds);
        }
    }

    /// Best effort: nobody's session depends on it.
    fn say(&self, word: &Word, fds: &[BorrowedFd<'_>]) {
        if let Err(why) = self.link.send_with(word, fds) {
            warn!("telling the listener: {why}");
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.say_the_rest();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{fd, seqpacket};
    use crate::wire::LinkError;
    use crate::wire::door::Outcome;

    /// What was heard by now, with how many descriptors.
    fn heard(listener: &mut Link<(), Word>) -> Vec<(Word, usize)> {
        let mut all = Vec::new();
        loop {
            match listener.receive() {
                Ok((word, fds)) => all.push((word, fds.len())),
                Err(LinkError::WouldBlock | LinkError::Closed) => return all,
                Err(why) => panic!("{why}"),
            }
        }
    }

    #[test]
    fn all_is_said_in_its_order_and_nothing_is_lost() {
        let (ours, theirs) = seqpacket::pair().unwrap();
        fd::set_nonblocking(theirs.as_fd(), true).unwrap();
        let (mut listener, ear) = (Link::new(theirs), Ear::new(Link::new(ours)));
        let entered = || Word::CellEntered { tenant: "alice".parse().unwrap(), pid: 7 };
        let file = || Some(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));

        ear.tell_soon(Word::LoggedIn, None);
        ear.tell_soon(entered(), file());
        assert!(ear.has_unsaid());
        assert_eq!(heard(&mut listener), []);
        ear.say_the_rest();
        assert!(!ear.has_unsaid());
        assert_eq!(heard(&mut listener), [(Word::LoggedIn, 0), (entered(), 1)]);

        ear.tell_soon(entered(), file());
        ear.tell(&Word::Ended(Some(Outcome::Crash)));
        assert_eq!(heard(&mut listener), [(entered(), 1), (Word::Ended(Some(Outcome::Crash)), 0)]);

        ear.tell_soon(Word::LoggedIn, None);
        drop(ear);
        assert_eq!(heard(&mut listener), [(Word::LoggedIn, 0)]);
    }
}
