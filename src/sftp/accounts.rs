//! Names of users and groups, from the cell's own `/etc/passwd` and `/etc/group`: nothing of the
//! tenant's is loaded for it, as the C library would do.

use std::path::Path;

use crate::sys::{
    mount,
    path::{self, OpenFlags},
};

/// Most of either file that is read: some ten thousand accounts.
const MAX_FILE: u64 = 1 << 20;

/// What is known of accounts: read at the first question, and then kept for the session.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    users: Option<Vec<u8>>,
    groups: Option<Vec<u8>>,
}

impl Accounts {
    fn users(&mut self) -> &[u8] {
        self.users.get_or_insert_with(|| read("/etc/passwd"))
    }

    /// The user's name.
    pub(super) fn user(&mut self, id: u32) -> Option<&[u8]> {
        by_id(self.users(), id)
    }

    /// The group's name.
    pub(super) fn group(&mut self, id: u32) -> Option<&[u8]> {
        by_id(self.groups.get_or_insert_with(|| read("/etc/group")), id)
    }

    /// A user's home directory.
    pub(super) fn home(&mut self, user: &[u8]) -> Option<&[u8]> {
        entries(self.users()).find(|entry| field(entry, 0) == Some(user)).and_then(|entry| field(entry, 5))
    }
}

/// Only a regular file. What cannot be read knows nobody.
fn read(file: &str) -> Vec<u8> {
    let read = || {
        let mut file = path::open(Path::new(file), OpenFlags::RDONLY, 0).ok()?;
        file.metadata().ok().filter(|meta| meta.is_file())?;
        mount::read_capped(&mut file, MAX_FILE).ok()
    };
    read().unwrap_or_default()
}

fn entries(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

fn field(entry: &[u8], number: usize) -> Option<&[u8]> {
    entry.split(|byte| *byte == b':').nth(number)
}

fn by_id(text: &[u8], id: u32) -> Option<&[u8]> {
    let is = |entry: &&[u8]| field(entry, 2).and_then(|id| str::from_utf8(id).ok()?.parse().ok()) == Some(id);
    entries(text).find(is).and_then(|entry| field(entry, 0)).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_no_accounts_are_passed_over() {
        let text = b"\n::\nx:y\nroot:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/bash\n:x:7::::\n";
        assert_eq!((by_id(text, 0), by_id(text, 1000)), (Some(&b"root"[..]), Some(&b"alice"[..])));
        assert_eq!((by_id(text, 5), by_id(text, 7)), (None, None));
        let mut accounts = Accounts { users: Some(text.to_vec()), groups: None };
        assert_eq!(accounts.home(b"alice"), Some(&b"/home/alice"[..]));
        assert_eq!(accounts.home(b"bob"), None);
    }
}
