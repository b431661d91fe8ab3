//! Our own program, run by a tenant in place of their shell: `#!/proc/self/exe` is whatever the process that
//! execs it runs, and that is `cellblock-init` (CVE-2019-5736).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test support code"
)]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
    time::Duration,
};

use nix::sys::signal::Signal;
use support::{Door, Running, Scratch, debian_root, procfs, root, soon};

/// Stops each process that has become the trap, and says what of it the tenant gets at; for each line of
/// input it lets the last one go on.
const PRY: &str = r#"
$| = 1;
print "up\n";
sub first { open my $file, '<', $_[0] or return ''; return scalar(<$file>) // '' }
while (1) {
    for my $at (glob '/proc/[1-9]*') {
        next if $known{$at} or first("$at/comm") ne "trap\n";
        kill 'STOP', substr $at, 6;
        my $state = '';
        $state = first("$at/stat") until $state =~ /\) [TZ]/ or not -d $at;
        next unless $state =~ /\) T/;
        $known{$at} = 1;
        my @got = grep { open my $file, '<', "$at/$_" and defined getc $file } qw(exe mem maps environ);
        push @got, grep { open my $file, '+<', "$at/$_" } qw(exe mem);
        push @got, grep { readlink "$at/$_" } qw(exe cwd root);
        push @got, grep { opendir my $dir, "$at/$_" } qw(fd map_files root);
        print "got: @got\n";
        <STDIN>;
        kill 'CONT', substr $at, 6;
    }
}
"#;

/// Writes down in which programs it is loaded.
const LIBRARY: &str = r#"
#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void) {
    char name[256];
    ssize_t length = readlink("/proc/self/exe", name, sizeof name - 1);
    int list = open("/root/loaded", O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (length < 0) name[length = 0] = '?', length = 1;
    name[length] = '\n';
    if (list >= 0 && write(list, name, length + 1) < 0) _exit(99);
}
"#;

/// A program that has the running one for its loader.
fn loaded_by_the_running_one(program: &Path) -> Vec<u8> {
    let mut bytes = fs::read(program).unwrap();
    let start = bytes.windows(9).position(|part| part == b"/ld-linux").unwrap();
    let start = bytes[..start].iter().rposition(|byte| *byte == 0).unwrap() + 1;
    let length = bytes[start..].iter().position(|byte| *byte == 0).unwrap();
    let name = b"/proc/self/exe";
    assert!(length >= name.len());
    bytes[start..start + length].fill(0);
    bytes[start..start + name.len()].copy_from_slice(name);
    bytes
}

/// Logs in by `login`, some times at most, until a process that does it is stopped in our program; what the tenant
/// gets of that.
fn caught(door: &Door, prying: &mut Running, login: impl Fn() -> Running) -> Option<String> {
    for _ in 0..200 {
        let mut running = login();
        let mut line = None;
        soon("the login fails, or is stopped", || {
            line = prying.line_within(Duration::ZERO);
            line.is_some() || !running.is_running()
        });
        let Some(line) = line else {
            assert_ne!(running.wait(), 0, "a login with a trap for a shell");
            continue;
        };
        let ours = |pid: &i32| {
            let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
            procfs::name(*pid) == "trap" && maps.contains("/memfd:cellblock-init")
        };
        assert_eq!(door.processes().iter().filter(|pid| ours(pid)).count(), 1, "it runs our program");
        prying.write("\n");
        assert_ne!(running.wait(), 0, "a login with a trap for a shell");
        return Some(line);
    }
    None
}

#[test]
fn a_shell_that_is_our_own_program_gives_nothing_of_it() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = debian_root(&scratch);
    let trap = tree.join("root/trap");
    let set = |bytes: Option<&[u8]>| {
        let new = tree.join("root/new");
        match bytes {
            None => symlink("/bin/bash", &new).unwrap(),
            Some(bytes) => {
                fs::write(&new, bytes).unwrap();
                fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        fs::rename(new, &trap).unwrap();
    };
    set(None);
    fs::write(tree.join("root/library.c"), LIBRARY).unwrap();
    let mut cc = Command::new("cc");
    cc.current_dir(tree.join("root")).args(["-shared", "-fPIC", "-o", "library.so", "library.c"]);
    assert!(cc.status().unwrap().success());
    fs::write(tree.join("etc/ld.so.preload"), "/root/library.so\n").unwrap();

    // With the one capability that opens processes of a cell to its root.
    let lines = "user = \"root\"\nshell = \"/root/trap\"\ncapabilities = [\"CAP_DAC_OVERRIDE\", \"CAP_KILL\", \"CAP_SYS_PTRACE\"]";
    let door = Door::with("").tenant("eve", &format!("root = \"{}\"\n{lines}", tree.display())).start();
    let mut prying = door.spawn("eve", &format!("exec perl -e '{}'", PRY.replace('\'', "'\\''")));
    assert_eq!(prying.line(), "up");
    let record = fs::read_to_string(door.run_dir().join("cells/eve/cell.json")).unwrap();
    let init = serde_json::from_str::<serde_json::Value>(&record).unwrap()["pid"].as_i64().unwrap();
    let program = || fs::read(format!("/proc/{init}/exe")).unwrap();
    let on_disk = fs::read(env!("CARGO_BIN_EXE_cellblock-init")).unwrap();
    assert!(program() == on_disk);

    let elf = loaded_by_the_running_one(&tree.join("usr/bin/true"));
    let mut seen = Vec::new();
    for what in [b"#!/proc/self/exe\n", b"#!/proc/self/exe cellblock-sftp\n".as_slice(), &elf] {
        set(Some(what));
        seen.extend(caught(&door, &mut prying, || door.spawn("eve", "true")));
        let entered = || {
            let mut enter = Command::new(env!("CARGO_BIN_EXE_cellblock"));
            enter.args(["enter", "--socket"]).arg(door.run_dir().join("enter.sock")).args(["eve", "--", "/root/trap"]);
            Running::start(enter)
        };
        seen.extend(caught(&door, &mut prying, entered));
        let terminal = || {
            let mut ssh = door.ssh("eve");
            ssh.arg("-tt");
            Running::start(ssh)
        };
        seen.extend(caught(&door, &mut prying, terminal));
    }
    // Three ways in for each of three files.
    assert!(seen.len() == 9 && seen.iter().all(|got| got == "got: "), "{seen:?}");
    assert!(program() == on_disk && fs::read(env!("CARGO_BIN_EXE_cellblock-init")).unwrap() == on_disk);
    set(None);
    let pries = || door.processes().into_iter().filter(|&pid| procfs::name(pid) == "perl");
    pries().for_each(|pid| procfs::kill(pid, Signal::SIGKILL));
    soon("it stops nothing any more", || pries().next().is_none());
    assert_eq!(door.ok("eve", "echo well"), "well");
    let loaded = fs::read_to_string(tree.join("root/loaded")).unwrap();
    assert!(loaded.contains("/usr/bin/perl\n"), "the library is loaded at all: {loaded}");
    let strange: Vec<_> = loaded.lines().filter(|name| !name.starts_with("/usr/bin/")).collect();
    assert!(strange.is_empty(), "{strange:?}");
}
