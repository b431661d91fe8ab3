//! What planning must know of the host. Gathered once, by the listener.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::base::{Result, fail};
use crate::config::settings::Server;
use crate::sys::{cgroup, landlock, mount};

use super::{
    cgroups,
    controls::{self, Control, Controls},
    delegated,
    etc::LENT,
};

/// Longest file of the host that is copied into a plan (`resolv.conf`).
const MAX_HOST_FILE: u64 = 64 << 10;

/// Top-level directories that programs come from, where they are not links into `/usr`.
const PROGRAM_DIRECTORIES: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// v1 controllers in which tenants get a group: those that limits will be set in. (cpuacct mostly
/// shares cpu's hierarchy; alone it limits nothing, and costs every start 0.2 ms.)
const V1_CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// By whose rights cells are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Those of the host's root.
    Root,
    /// Those of an ordinary user who is root of a user namespace, with ids to give to tenants
    /// ([`super::subordinate`]).
    Lender,
    /// Those of an ordinary user, who is root of a user namespace in which so many other ids are mapped
    /// ([`super::rootless`]).
    User {
        /// Beyond the user's own: 1 and following.
        others: u32,
    },
}

impl Rights {
    /// Whether there is one id, and no other.
    #[must_use]
    pub fn are_of_one_id(self) -> bool {
        self == Self::User { others: 0 }
    }
}

/// Facts about the host that plans depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// By whose rights.
    pub rights: Rights,
    /// [`Server::state_dir`].
    pub state_dir: PathBuf,
    /// Program directories that are real, to be shown in `root = "host"`.
    pub real: Vec<&'static str>,
    /// Those that are links, and where they lead.
    pub linked: Vec<(&'static str, String)>,
    /// What `/etc` lends.
    pub lent: Vec<Lent>,
    /// The host's `resolv.conf`.
    pub resolver: String,
    /// Where control groups are made.
    pub groups: Groups,
    /// What they can hold a tenant to.
    pub controls: Controls,
    /// The disks, for limits on their use (v2): `MAJOR:MINOR`.
    pub disks: Vec<String>,
    /// The version of the kernel's Landlock, 0 for none.
    pub landlock: u32,
    /// Whether this process is spared by the OOM killer, which a cell must not inherit.
    pub oom_adjusted: bool,
}

/// Something of the host's `/etc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lent {
    /// Its name in `/etc`.
    pub name: &'static str,
    /// Of what kind.
    pub kind: LentKind,
}

/// What kind of file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LentKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, copied as such.
    Link(String),
}

/// Where this door's control groups lie: a directory of its own, since two doors on one host may
/// have tenants of the same name (`cellblock try` beside `cellblock serve`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    /// v1 or hybrid: the directory in each hierarchy that matters, with its controller.
    V1(Vec<(String, PathBuf)>),
    /// v2 alone.
    V2(PathBuf),
}

impl Facts {
    /// Looks at the host, for whoever serves this config, and makes the directory that groups lie in.
    pub(super) fn gather_for(server: &Server, rights: Rights) -> Result<Self> {
        match rights {
            Rights::Root => Self::gather(server)?.prepare(),
            Rights::Lender | Rights::User { .. } => {
                let mut facts = Self::gather_for_user(rights, &server.state_dir, delegated::take()?)?;
                // By the user namespace (`Cloning::BoundProcesses`). Where there are groups, what is met is written.
                if facts.groups == delegated::none() {
                    facts.controls = facts.controls.and(Control::Pids);
                }
                Ok(facts)
            }
        }
    }

    /// Looks at the host, for root.
    pub fn gather(server: &Server) -> Result<Self> {
        let mounts = read_host_file(Path::new("/proc/self/mounts"))?;
        let place = read_host_file(Path::new("/proc/self/cgroup"))?;
        let groups = groups(&mounts, &place, &group_name(&server.run_dir))?;
        Self::with(Rights::Root, server.state_dir.clone(), groups)
    }

    /// Looks at the host, for an ordinary user who has these control groups.
    pub(super) fn gather_for_user(rights: Rights, state_dir: &Path, groups: Groups) -> Result<Self> {
        Self::with(rights, state_dir.to_owned(), groups)?.prepare()
    }

    /// Makes the directory that groups lie in, and finds what they can hold a tenant to.
    pub(super) fn prepare(mut self) -> Result<Self> {
        if let Some(controls) = cgroups::prepare(&self.groups)? {
            self.controls = controls;
        }
        Ok(self)
    }

    fn with(rights: Rights, state_dir: PathBuf, groups: Groups) -> Result<Self> {
        let mut real = Vec::new();
        let mut linked = Vec::new();
        for name in PROGRAM_DIRECTORIES {
            match kind_of(&Path::new("/").join(name))? {
                Some(LentKind::Directory) => real.push(name),
                Some(LentKind::Link(target)) => linked.push((name, target)),
                Some(LentKind::File) | None => {}
            }
        }
        let mut lent = Vec::new();
        for name in LENT {
            if let Some(kind) = kind_of(&Path::new("/etc").join(name))? {
                lent.push(Lent { name, kind });
            }
        }
        let resolver = read_host_file(Path::new("/etc/resolv.conf"))?;
        let score = read_host_file(Path::new("/proc/self/oom_score_adj"))?;
        // What makes an ordinary user's processes likelier to be killed is not theirs to undo.
        let oom_adjusted = if rights == Rights::Root { score.trim() != "0" } else { score.starts_with('-') };
        let controls = Controls::gather(&groups)?;
        let disks = if controls.has(controls::Control::Io) { controls::disks()? } else { Vec::new() };
        let landlock = landlock::version();
        Ok(Self { rights, state_dir, real, linked, lent, resolver, groups, controls, disks, landlock, oom_adjusted })
    }
}

fn kind_of(path: &Path) -> Result<Option<LentKind>> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail("looking at", path.display(), error)),
    };
    if found.is_dir() {
        return Ok(Some(LentKind::Directory));
    }
    if found.is_file() {
        return Ok(Some(LentKind::File));
    }
    let target = mount::link_target(path).map_err(|errno| fail("reading the link", path.display(), errno))?;
    Ok(target.and_then(|target| target.into_string().ok()).map(LentKind::Link))
}

/// A file of the host's as text; empty if there is none.
pub(super) fn read_host_file(path: &Path) -> Result<String> {
    let failed = |cause: &dyn std::fmt::Display| fail("reading", path.display(), cause);
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(failed(&error)),
    };
    let bytes = mount::read_capped(&mut file, MAX_HOST_FILE).map_err(|errno| failed(&errno))?;
    String::from_utf8(bytes).map_err(|error| failed(&error))
}

/// The name of the directory that a door's groups lie in: as its `run_dir`, which no two doors share.
fn group_name(run_dir: &Path) -> String {
    if run_dir == Path::new("/run/cellblock") {
        return "cellblock".into();
    }
    format!("cellblock{}", run_dir.display().to_string().replace('-', "--").replace('/', "-"))
}

/// Which hierarchies to use, from the text of `/proc/self/mounts`, and our directory `name` in each.
/// `place` is the text of `/proc/self/cgroup`.
fn groups(mounts: &str, place: &str, name: &str) -> Result<Groups> {
    let (v1, v2) = hierarchies(mounts);
    if !v1.is_empty() {
        return Ok(Groups::V1(v1.into_iter().map(|(controller, at)| (controller, at.join(name))).collect()));
    }
    let Some(path) = v2 else {
        return Err(
            fail("looking for", "control groups", "none are mounted").hint("mount -t cgroup2 cgroup2 /sys/fs/cgroup")
        );
    };
    match cgroup::is_version_2(&path) {
        Ok(true) => Ok(Groups::V2(home(&path, place).join(name))),
        Ok(false) => Err(fail("looking at", path.display(), "something else is mounted over cgroup2")),
        Err(errno) => Err(fail("looking at", path.display(), errno)),
    }
}

/// The v2 group that the calling process lies in, where there is no v1; from the same texts.
pub(super) fn own_group(mounts: &str, place: &str) -> Option<PathBuf> {
    let (v1, v2) = hierarchies(mounts);
    let own = place.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // What lies outside of the namespace's root is shown from there (cgroup_namespaces(7)).
    let inside = !own.split('/').any(|part| part == "..");
    v2.filter(|_| v1.is_empty() && inside).map(|mount| mount.join(own))
}

/// Where the v1 hierarchies that matter are mounted, with their controllers, and where v2 is.
fn hierarchies(mounts: &str) -> (Vec<(String, PathBuf)>, Option<PathBuf>) {
    let mut v1: Vec<(String, PathBuf)> = Vec::new();
    let mut v2 = None;
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        let (Some(at), Some(kind), Some(options)) = (fields.next(), fields.next(), fields.next()) else { continue };
        match kind {
            "cgroup2" => v2 = v2.or(Some(PathBuf::from(at))),
            "cgroup" => {
                let first = options.split(',').find(|option| V1_CONTROLLERS.contains(option));
                if let Some(controller) = first.filter(|found| v1.iter().all(|(known, _)| known != found)) {
                    v1.push((controller.to_owned(), at.into()));
                }
            }
            _other => {}
        }
    }
    (v1, v2)
}

/// Leaf in which systemd starts the listener (`DelegateSubgroup=` in the unit).
const LISTENER_LEAF: &str = "listener";

/// Below which group ours lies. Where systemd has delegated our unit's group and started us in a leaf
/// of it, there; otherwise at the top, which alone may hold groups with controllers beside processes.
///
/// We do not move ourselves into a leaf of a unit without that setting (systemd before 254): its
/// group could then hold no process, and systemd could not start us again while cells live on.
fn home(mount: &Path, place: &str) -> PathBuf {
    let own = place.lines().find_map(|line| line.strip_prefix("0::/")).map(|own| mount.join(own));
    let unit = own.as_deref().filter(|own| own.ends_with(LISTENER_LEAF)).and_then(Path::parent);
    match unit {
        Some(unit) if cgroup::is_delegated(unit) => unit.to_owned(),
        Some(_) | None => mount.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_v1_hierarchy_with_two_controllers_counts_once() {
        let mounts = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
                      cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
                      cgroup /sys/fs/cgroup/devices cgroup rw,devices 0 0\n";
        let cpu = ("cpu".to_owned(), PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/ours"));
        assert_eq!(groups(mounts, "", "ours").unwrap(), Groups::V1(vec![cpu]));
        assert!(groups("proc /proc proc rw 0 0\n", "", "ours").is_err());
    }

    #[test]
    fn ones_own_group_is_where_there_is_v2_alone_and_inside_of_what_is_shown() {
        let v2 = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n";
        let own = |mounts: &str, place: &str| own_group(mounts, place).map(|path| path.display().to_string());
        assert_eq!(own(v2, "0::/user.slice/a.scope\n").as_deref(), Some("/sys/fs/cgroup/user.slice/a.scope"));
        assert_eq!(own(v2, "0::/../a.scope\n"), None);
        assert_eq!(own(v2, "3:cpu:/\n"), None);
        assert_eq!(own("proc /proc proc rw 0 0\n", "0::/a\n"), None);
        assert_eq!(own(&format!("{v2}cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"), "0::/a\n"), None);
    }

    #[test]
    fn without_delegation_groups_lie_at_the_top() {
        let mount = Path::new("/sys/fs/cgroup");
        for place in ["", "0::/\n", "0::/system.slice/none.service/listener\n", "0::/user.slice\n"] {
            assert_eq!(home(mount, place), mount, "{place}");
        }
    }

    #[test]
    fn two_doors_have_two_names_for_their_groups() {
        assert_eq!(group_name(Path::new("/run/cellblock")), "cellblock");
        assert_eq!(group_name(Path::new("/tmp/a-b/run")), "cellblock-tmp-a--b-run");
        assert_ne!(group_name(Path::new("/tmp/a/b")), group_name(Path::new("/tmp/a-b")));
    }
}
