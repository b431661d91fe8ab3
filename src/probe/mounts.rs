//! Mounts: that each is as planned, that nothing else is there, and that none can be changed.

use std::{collections::BTreeMap, fs, path::Path};

use crate::sys::{
    Errno, SysResult, attempt,
    mount::{self, Extent},
};
use crate::wire::verify::{Mount, MountKind, Task, Verdict};

use super::tries::{Refusal, Tries, read};

/// The flags of every mount, by mount point. Where several lie on each other, the last one counts.
fn mounted() -> SysResult<BTreeMap<String, Vec<String>>> {
    let text = read("/proc/self/mountinfo")?;
    let mounts = text.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let at = unescape(fields.nth(4)?);
        Some((at, fields.next()?.split(',').map(str::to_owned).collect()))
    });
    Ok(mounts.collect())
}

/// The kernel writes blanks, tabs, newlines and backslashes in octal.
fn unescape(field: &str) -> String {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

fn is_there(mount: &Mount) -> bool {
    mount.kind == MountKind::Shows || Path::new(&mount.at).symlink_metadata().is_ok()
}

pub(super) fn mounts(task: &Task, tries: &mut Tries) {
    let mounted = match mounted() {
        Err(errno) => return tries.unknown("reading mountinfo", errno),
        Ok(mounted) => mounted,
    };
    for planned in &task.mounts {
        let wanted = planned.flags.join(",");
        let tried = format!("{} ({wanted})", planned.at);
        match mounted.get(&planned.at) {
            None if !is_there(planned) => tries.not_applicable(tried, "the kernel has no such part"),
            None => tries.add(tried, "nothing is mounted there", Verdict::Escaped),
            Some(flags) => {
                let missing: Vec<_> = planned.flags.iter().filter(|flag| !flags.contains(flag)).cloned().collect();
                let happened =
                    if missing.is_empty() { "so it is".into() } else { format!("not {}", missing.join(",")) };
                tries.expect(tried, missing.is_empty(), happened);
            }
        }
    }
    for (at, flags) in &mounted {
        if task.mounts.iter().any(|planned| planned.at == *at) {
            continue;
        }
        // What is mounted in a shown tree of the host's came along, with the tree's own flags.
        let above = task.mounts.iter().filter(|planned| planned.kind == MountKind::Shows && planned.at != "/");
        let above =
            above.filter(|planned| Path::new(at).starts_with(&planned.at)).max_by_key(|planned| planned.at.len());
        let locked = above.is_some_and(|planned| {
            planned.flags.iter().any(|flag| flag == "ro") && planned.flags.iter().all(|flag| flags.contains(flag))
        });
        tries.expect(format_args!("{at}, not planned"), locked, format_args!("mounted {}", flags.join(",")));
    }
}

pub(super) fn mount_points(task: &Task, tries: &mut Tries) {
    for planned in task.mounts.iter().filter(|planned| is_there(planned)) {
        match attempt::look(Path::new(&planned.at)) {
            Err(errno) => tries.unknown(&planned.at, errno),
            Ok(place) => {
                let found = if place.link {
                    "a symbolic link"
                } else if place.mounted {
                    "a mount"
                } else {
                    "no mount"
                };
                tries.expect(&planned.at, !place.link && place.mounted, found);
            }
        }
    }
}

pub(super) fn masks(task: &Task, tries: &mut Tries) {
    for mask in task.mounts.iter().filter(|planned| planned.kind == MountKind::Covers) {
        let path = Path::new(&mask.at);
        match fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                tries.not_applicable(&mask.at, "the kernel has no such part");
            }
            Err(error) => tries.add(&mask.at, format_args!("refused: {}", Errno::from(error)), Verdict::Held),
            Ok(found) if found.is_dir() => match fs::read_dir(path) {
                Err(error) => tries.add(&mask.at, format_args!("refused: {}", Errno::from(error)), Verdict::Held),
                Ok(entries) => {
                    let count = entries.count();
                    tries.expect(&mask.at, count == 0, format_args!("a directory with {count} entries"));
                }
            },
            // A file with something in it may still be closed to this user: then its cover is what
            // matters, for root's session and for whoever gets further.
            Ok(found) => {
                use std::os::unix::fs::FileTypeExt as _;
                let null = found.file_type().is_char_device();
                tries.expect(&mask.at, null, if null { "the device null" } else { "the kernel's own file" });
            }
        }
    }
}

pub(super) fn remount(task: &Task, tries: &mut Tries) {
    tries.refuse("fsopen of a tmpfs", Refusal::Any, || mount::create("tmpfs", &[], 0).map(|_tree| 0));
    tries.refuse("open_tree of /", Refusal::Any, || mount::clone_tree_at(Path::new("/"), Extent::One).map(|_tree| 0));
    tries.refuse("mount of a tmpfs on /tmp", Refusal::Any, || {
        attempt::mount_tmpfs(Path::new("/tmp"))?;
        attempt::unmount(Path::new("/tmp"))
    });
    for planned in task.mounts.iter().filter(|planned| is_there(planned) && planned.flags.iter().any(|f| f == "ro")) {
        let path = Path::new(&planned.at);
        tries.refuse(format_args!("making {} writable", planned.at), Refusal::Any, || attempt::remount(path));
    }
    for planned in task.mounts.iter().filter(|planned| planned.kind == MountKind::Covers && is_there(planned)) {
        let path = Path::new(&planned.at);
        // Should it work, it is put back at once by what is below: nothing is lost but the cover,
        // which the finding says.
        tries.refuse(format_args!("taking off {}", planned.at), Refusal::Any, || attempt::unmount(path));
    }
}
