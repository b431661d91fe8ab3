//! Other processes: who is visible, and what pid 1 lets happen.

use std::{
    fs::{self, File},
    thread,
    time::Duration,
};

use crate::sys::{attempt, process, signal};
use crate::wire::verify::{Task, Verdict};

use super::tries::{Refusal, Tries, read, status};

/// What ids that the cell does not have look like (user_namespaces(7)).
const NOBODY: &str = "65534";

/// How long a signal may take to show.
const SHOWS: Duration = Duration::from_millis(20);

/// `comm` of init, cut to 15 bytes; from a memfd it may be the descriptor's number instead.
const INIT: &str = "cellblock-init";

pub(super) fn neighbours(_task: &Task, tries: &mut Tries) {
    let entries = match fs::read_dir("/proc") {
        Err(error) => return tries.unknown("listing /proc", error.into()),
        Ok(entries) => entries,
    };
    let (mut seen, mut foreign) = (0_u32, 0_u32);
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.parse::<u32>().is_err() {
            continue;
        }
        // Ended meanwhile.
        let Ok(owner) = status(&name, "Uid") else { continue };
        seen += 1;
        if owner.split_whitespace().any(|uid| uid == NOBODY) {
            foreign += 1;
            let whose = read(&format!("/proc/{name}/comm")).unwrap_or_default();
            tries.add(
                format_args!("process {name}"),
                format_args!("{}: not the tenant's", whose.trim()),
                Verdict::Escaped,
            );
        }
    }
    tries.expect(
        format_args!("owners of {seen} processes"),
        foreign == 0,
        format_args!("{foreign} are not the tenant's"),
    );
    match read("/proc/1/cmdline") {
        Err(errno) => tries.unknown("pid 1", errno),
        Ok(line) => {
            let name = line.trim_end_matches('\0');
            tries.expect("pid 1", name == INIT, format_args!("it is {name}"));
        }
    }
}

pub(super) fn pid_1(task: &Task, tries: &mut Tries) {
    let pid = task.init;
    for name in ["mem", "maps", "environ", "auxv", "stack", "syscall", "exe", "cwd/.", "root/.", "fd/0", "map_files"] {
        let path = format!("/proc/{pid}/{name}");
        let opened = match name {
            "map_files" => fs::read_dir(&path).map(|_entries| ()),
            // The file is there for all to open; what is in it is not.
            "auxv" | "stack" | "syscall" => fs::read(&path).map(|_bytes| ()),
            _file => File::open(&path).map(|_file| ()),
        };
        tries.fail(format_args!("opening {path}"), opened);
    }
    tries.refuse("PTRACE_SEIZE", Refusal::Any, || attempt::seize(pid));
    tries.refuse("process_vm_readv", Refusal::Any, || attempt::read_memory(pid));
    tries.refuse("pidfd_getfd", Refusal::Any, || attempt::take_descriptor(pid));
    signals(pid, tries);
}

/// Only init shrugs off what would end or stop another process, so only init gets it.
fn signals(pid: i32, tries: &mut Tries) {
    let name = read(&format!("/proc/{pid}/cmdline")).unwrap_or_default();
    if name.trim_end_matches('\0') != INIT {
        tries.add("signals", "it is not init, and gets none", Verdict::Escaped);
        return;
    }
    for number in [signal::SIGKILL, signal::SIGSTOP, signal::SIGTERM, signal::SIGHUP, signal::SIGSEGV] {
        let tried = format!("SIG{}", signal::name(number));
        match process::kill(pid, number) {
            Err(errno) => tries.add(tried, format_args!("refused: {errno}"), Verdict::Held),
            Ok(()) => {
                thread::sleep(SHOWS);
                // Had it ended, so had we.
                let state = status(&pid.to_string(), "State").unwrap_or_default();
                let runs = state.starts_with(['S', 'R', 'D']);
                tries.expect(tried, runs, format_args!("it is in state {state}"));
            }
        }
    }
}

pub(super) fn limits_of_pid_1(task: &Task, tries: &mut Tries) {
    let pid = task.init;
    tries.refuse("prlimit, reading only", Refusal::Any, || attempt::read_limits_of(pid));
}

pub(super) fn own_program(_task: &Task, tries: &mut Tries) {
    tries.fail("opening it for reading", File::open("/proc/self/exe"));
    tries.fail("opening it for writing", File::options().write(true).open("/proc/self/exe"));
}
