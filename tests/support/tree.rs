//! A small Debian root, made once for all runs and copied per test.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use super::{Scratch, program};

/// A copy of a `mmdebstrap --variant=minbase` root at `scratch/root`, owned by host root.
pub fn debian_root(scratch: &Scratch) -> PathBuf {
    copied(scratch, &cached("debian", None))
}

/// The same with the programs that people work with.
pub fn workshop_root(scratch: &Scratch) -> PathBuf {
    let programs = "gcc,libc6-dev,make,git,python3,nodejs,tmux,vim-tiny,curl,sqlite3,rsync,nginx,redis-server,\
                    procps,iproute2,strace";
    copied(scratch, &cached("workshop", Some(programs)))
}

fn copied(scratch: &Scratch, made: &Path) -> PathBuf {
    let copy = scratch.join("root");
    let status = Command::new("cp").args(["-a", "--reflink=auto"]).arg(made).arg(&copy).status().unwrap();
    assert!(status.success(), "copying {}", made.display());
    copy
}

/// The one that is copied; made under a lock, since test programs may run side by side.
fn cached(name: &str, include: Option<&str>) -> PathBuf {
    let dir = program("../test-roots");
    fs::create_dir_all(&dir).unwrap();
    let lock = File::create(dir.join("lock")).unwrap();
    lock.lock().unwrap();
    let root = dir.join(name);
    let list = dir.join(format!("{name}.list"));
    let wanted = include.unwrap_or_default();
    if root.join("etc/debian_version").exists() && fs::read_to_string(&list).unwrap_or_default() == wanted {
        return root;
    }
    fs::remove_dir_all(&root).ok();
    let half = dir.join(format!("{name}.half"));
    fs::remove_dir_all(&half).ok();
    let suite = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let suite = suite.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or("bookworm").to_owned();
    let made = Command::new("mmdebstrap")
        .args(["--variant=minbase", "--mode=root", "--format=directory", "--aptopt=Acquire::Languages \"none\""])
        .args(include.map(|packages| format!("--include={packages}")))
        .arg(&suite)
        .arg(&half)
        .output()
        .expect("mmdebstrap (tests/all installs it)");
    assert!(made.status.success(), "mmdebstrap: {}", String::from_utf8_lossy(&made.stderr));
    fs::rename(&half, &root).unwrap();
    fs::write(list, wanted).unwrap();
    root
}
