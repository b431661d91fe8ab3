//! The mounts that homes and roots lie on. Each is tried once, however many tenants lie there.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{Eyes, NEEDS_ROOT};
use crate::base::escape;
use crate::doctor::facts::{Holds, Mount, Seen};
use crate::jail::can_shift;
use crate::sys::file::read_capped;
use crate::sys::support::mount_of;

/// Mounts that are tried at most: each takes a process.
const MAX_TRIED: usize = 64;

/// A host with a mount for each of many tenants has a long table.
const MAX_TABLE: usize = 64 << 20;

/// Mounts that roots lie on, with one root on each and how many there are.
#[derive(Debug, Default)]
pub(super) struct Roots {
    by_mount: BTreeMap<u64, (PathBuf, usize)>,
    untried: usize,
}

impl Roots {
    /// Counts one tenant's root. Looks at the directory, never into it.
    pub(super) fn add(&mut self, root: &Path) {
        let Some(mount) = nearest(root).and_then(|there| mount_of(there).ok()) else { return };
        if let Some((_, count)) = self.by_mount.get_mut(&mount) {
            *count += 1;
        } else if self.by_mount.len() < MAX_TRIED {
            self.by_mount.insert(mount, (root.to_owned(), 1));
        } else {
            self.untried += 1;
        }
    }

    /// Tries all, and the mount of the homes; and how many roots were left out.
    pub(super) fn look(self, state_dir: &Path, eyes: Eyes) -> (Vec<Mount>, usize) {
        let table = read_capped(Path::new("/proc/self/mountinfo"), MAX_TABLE).unwrap_or_default();
        let table = String::from_utf8_lossy(&table);
        let homes = (state_dir.to_owned(), Holds::Homes);
        let roots = self.by_mount.into_values().map(|(path, count)| (path, Holds::Roots(count)));
        let mounts = [homes].into_iter().chain(roots).map(|(path, holds)| look(path, holds, &table, eyes)).collect();
        (mounts, self.untried)
    }
}

fn look(path: PathBuf, holds: Holds, table: &str, eyes: Eyes) -> Mount {
    let Some(there) = nearest(&path) else {
        return Mount { path, kind: "?".into(), holds, shifts: Seen::Unseen("nothing of this path is there".into()) };
    };
    let kind = mount_of(there).ok().and_then(|mount| kind_of(table, mount)).unwrap_or_else(|| "?".into());
    let shifts = match eyes {
        Eyes::Roots => can_shift(there).map_or_else(|why| Seen::Unseen(why.to_string()), Seen::Is),
        Eyes::Others => Seen::Unseen(NEEDS_ROOT.into()),
    };
    Mount { path, kind, holds, shifts }
}

/// The path itself, or what is there of it: a directory that is made later is made there.
fn nearest(path: &Path) -> Option<&Path> {
    path.ancestors().find(|part| part.symlink_metadata().is_ok())
}

/// The kind of file system of a mount, from the text of mountinfo (proc_pid_mountinfo(5)).
fn kind_of(table: &str, mount: u64) -> Option<String> {
    let id = mount.to_string();
    let line = table.lines().find(|line| line.split(' ').next() == Some(&id))?;
    let (_, after) = line.split_once(" - ")?;
    after.split(' ').next().map(escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_mount_is_read_after_its_optional_fields() {
        let table =
            "21 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw\n211 21 0:5 / /tmp rw - tmpfs t rw\n";
        assert_eq!(
            (kind_of(table, 21), kind_of(table, 211), kind_of(table, 2)),
            (Some("ext4".into()), Some("tmpfs".into()), None)
        );
    }

    #[test]
    fn a_hundred_thousand_roots_on_one_mount_are_one_thing_to_try() {
        let mut roots = Roots::default();
        for number in 0..100_000 {
            roots.add(Path::new(&format!("/nowhere/{number}")));
        }
        let counted: Vec<_> = roots.by_mount.values().map(|(_, count)| *count).collect();
        assert_eq!((counted, roots.untried), (vec![100_000], 0));
    }
}
