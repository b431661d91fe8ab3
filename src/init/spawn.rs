//! Starting a session: streams and fork in init, then the child's way to the tenant's shell.
//!
//! init does not wait for the child at any point: a tenant can stop or kill it as soon as it has
//! the tenant's ids (docs/kernel.md, G).

use std::{
    ffi::CString,
    fs::File,
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::Path,
};

use crate::base::escape_bytes;
use crate::sys::{
    Errno, cgroup, credentials, fd, mount,
    process::{self, Forked, Pid},
    pty,
    seccomp::program,
    signal,
};
use crate::wire::{
    init::{Account, PROBE, SFTP, Start},
    modes,
    session::{Program, Terminal},
};

use super::{gauges::Version, greeting};

/// What failed, for the admin's log.
pub(super) type Step = &'static str;

/// Group that terminals belong to, as on every distribution.
const TTY_GROUP: u32 = 5;

/// What the kernel counts for all cells together too, where no control group does: queued signals and
/// timers (`RLIMIT_SIGPENDING`), bytes in POSIX message queues (`RLIMIT_MSGQUEUE`). For each user of a
/// cell; whoever has less keeps it.
const BOUNDED: [(u32, u64); 2] = [(11, 4096), (12, 200 << 10)];

/// As shells exit when a program is not there, or cannot be executed; and ssh when it failed itself.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;
const OUR_FAULT: i32 = 255;

/// As much as a pipe may hold without a capability (fs.pipe-max-size).
const SFTP_PIPE: usize = 1 << 20;

/// For what a program says: four times the kernel's own size, so that it is woken a quarter as often.
const OUTPUT_PIPE: usize = 256 << 10;

/// Some two thousand records: what a busy monitor may be behind before they are counted instead.
const RECORDS_PIPE: usize = 256 << 10;

/// The kernel takes 4096 instructions of 8 bytes.
const MAX_FILTER: usize = 4096 * 8;

/// The sessions' control groups.
#[derive(Debug)]
pub enum Groups {
    /// `tasks` of each v1 hierarchy.
    V1(Vec<OwnedFd>),
    /// The v2 directory.
    V2(OwnedFd),
}

impl Groups {
    pub(super) fn version(&self) -> Version {
        match self {
            Self::V1(_) => Version::V1,
            Self::V2(_) => Version::V2,
        }
    }
}

/// Which ids there are in the cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// init's, the tenant's, those of terminals and more.
    Many,
    /// One, which is init's and the tenant's; and the groups of whoever made the cell, which nobody in it can name
    /// or give up.
    One,
}

/// What sessions are held to.
#[derive(Debug)]
pub struct Bounds {
    /// What takes from init's list, which they inherit, what the tenant may not call.
    calls: program::Program,
    ids: Ids,
}

impl Bounds {
    /// Out of the file of lists: where in it that of sessions begins, and its length.
    pub fn read(file: OwnedFd, (start, length): (u64, usize), ids: Ids) -> Result<Self, Errno> {
        if length > MAX_FILTER {
            return Err(Errno::EINVAL);
        }
        let mut bytes = vec![0; length];
        File::from(file).read_exact_at(&mut bytes, start)?;
        Ok(Self { calls: program::Program::from_bytes(&bytes)?, ids })
    }
}

/// A session's ends of its streams, and the monitor's.
struct Streams {
    /// stdin, stdout, stderr.
    inner: [OwnedFd; 3],
    /// Where the sftp server writes what it did.
    records: Option<OwnedFd>,
    outer: Vec<OwnedFd>,
    terminal: bool,
}

/// What exec needs, made before the fork so that the child cannot fail at it.
struct Command {
    /// What the tenant is told that could not be started.
    name: String,
    /// The first that is there.
    paths: Vec<CString>,
    args: Vec<CString>,
    environment: Vec<CString>,
}

/// Starts a session: its pid and the descriptors for the monitor.
pub(super) fn spawn(start: &Start, groups: &Groups, bounds: &Bounds) -> Result<(Pid, Vec<OwnedFd>), (Step, Errno)> {
    let (streams, terminal_name) = match &start.terminal {
        Some(terminal) => open_terminal(terminal, &start.account, bounds.ids)?,
        None => (open_pipes(&start.account, &start.program)?, None),
    };
    let command = command(start, terminal_name)?;
    let (forked, to_join) = fork_among(groups);
    match forked.map_err(|errno| ("forking", errno))? {
        Forked::Parent { pid, pidfd: _ } => Ok((pid, streams.outer)),
        Forked::Child => run(start, (to_join, bounds), &streams, &command),
    }
}

/// Forks a process of the tenant's; `Some`: the child must still join these groups.
pub(super) fn fork_among(groups: &Groups) -> (Result<Forked, Errno>, Option<&Groups>) {
    match groups {
        Groups::V1(_) => (process::fork(), Some(groups)),
        Groups::V2(directory) => match process::clone_into(0, Some(directory.as_fd())) {
            // At the limit of processes: the child starts here and moves over, which no limit holds
            // up, so that a tenant can always come and clear up. The count of sessions bounds it.
            Err(Errno::EAGAIN) => (process::fork(), Some(groups)),
            forked => (forked, None),
        },
    }
}

/// Makes a fresh child a process of the tenant's that has `link` as its descriptors 0 to 2 and no
/// others.
pub(super) fn become_tenant(
    account: &Account,
    (to_join, bounds): (Option<&Groups>, &Bounds),
    link: &OwnedFd,
) -> Result<(), (Step, Errno)> {
    join(to_join)?;
    process::new_session().map_err(|errno| ("making a session", errno))?;
    place([Some(link), Some(link), Some(link), None]).map_err(|errno| ("placing the link", errno))?;
    signal::reset_all().map_err(|errno| ("resetting signals", errno))?;
    credentials::reset_affinity_and_personality().map_err(|errno| ("resetting affinity and personality", errno))?;
    give_up(account, bounds)
}

fn join(groups: Option<&Groups>) -> Result<(), (Step, Errno)> {
    let failed = |errno| ("joining the control group", errno);
    match groups {
        None => Ok(()),
        Some(Groups::V1(tasks)) => tasks.iter().try_for_each(|tasks| cgroup::join(tasks.as_fd())).map_err(failed),
        Some(Groups::V2(directory)) => {
            let procs = mount::open_to_write(directory.as_fd(), Path::new("cgroup.procs")).map_err(failed)?;
            cgroup::join(procs.as_fd()).map_err(failed)
        }
    }
}

fn open_terminal(terminal: &Terminal, account: &Account, ids: Ids) -> Result<(Streams, Option<String>), (Step, Errno)> {
    let failed = |errno| ("opening a terminal", errno);
    let (master, slave) = pty::open().map_err(failed)?;
    let group = match ids {
        Ids::Many => TTY_GROUP,
        Ids::One => account.gid,
    };
    credentials::give_to(slave.as_fd(), account.uid, group).map_err(failed)?;
    modes::apply(slave.as_fd(), &terminal.modes).map_err(failed)?;
    let size = terminal.size;
    pty::set_size(master.as_fd(), size.columns, size.rows, size.width, size.height).map_err(failed)?;
    let name = pty::name(master.as_fd()).map_err(failed)?;
    let copy = || fd::duplicate(slave.as_fd()).map_err(failed);
    let inner = [copy()?, copy()?, slave];
    Ok((Streams { inner, records: None, outer: vec![master], terminal: true }, Some(name)))
}

/// The pipes belong to the tenant, so that `echo >/dev/stderr` works (docs/kernel.md, 12).
fn open_pipes(account: &Account, program: &Program) -> Result<Streams, (Step, Errno)> {
    let failed = |errno| ("opening pipes", errno);
    let pipe = || {
        let (read, write) = fd::pipe()?;
        credentials::give_to(read.as_fd(), account.uid, account.gid)?;
        Ok((read, write))
    };
    let (stdin, to_stdin) = pipe().map_err(failed)?;
    let (from_stdout, stdout) = pipe().map_err(failed)?;
    let (from_stderr, stderr) = pipe().map_err(failed)?;
    let outer = vec![to_stdin, from_stdout, from_stderr];
    let mut streams = Streams { inner: [stdin, stdout, stderr], records: None, outer, terminal: false };
    match program {
        Program::Sftp(_) => prepare_for_sftp(&mut streams).map_err(failed)?,
        Program::Shell | Program::Command(_) | Program::Words(_) | Program::Subsystem(_) | Program::Probe => {
            let [_, stdout, _] = &streams.inner;
            enlarge(stdout, OUTPUT_PIPE);
        }
    }
    Ok(streams)
}

/// Files come in packets of up to 256 KiB: with larger pipes the disk and the network need not wait
/// for each other. Another pipe, which is not the tenant's, is for the records.
fn prepare_for_sftp(streams: &mut Streams) -> Result<(), Errno> {
    let (read, records) = fd::pipe()?;
    let [stdin, stdout, _] = &streams.inner;
    for (pipe, size) in [(stdin, SFTP_PIPE), (stdout, SFTP_PIPE), (&records, RECORDS_PIPE)] {
        enlarge(pipe, size);
    }
    streams.records = Some(records);
    streams.outer.push(read);
    Ok(())
}

/// Who has many pipes gets small ones (pipe(7), fs.pipe-user-pages-soft), which do, more slowly.
fn enlarge(pipe: &OwnedFd, size: usize) {
    if fd::set_pipe_size(pipe.as_fd(), size).is_err() {}
}

fn command(start: &Start, terminal_name: Option<String>) -> Result<Command, (Step, Errno)> {
    let string = |bytes: Vec<u8>| CString::new(bytes).map_err(|_nul| ("preparing the command", Errno::EINVAL));
    let shell = &start.account.shell;
    let name = shell.rsplit('/').next().unwrap_or(shell);
    let (mut called, mut paths) = (shell.clone(), vec![string(shell.clone().into_bytes())?]);
    let args = match &start.program {
        Program::Shell => vec![string(format!("-{name}").into_bytes())?],
        Program::Command(command) => vec![string(name.into())?, c"-c".into(), string(command.clone())?],
        Program::Probe => vec![string(PROBE.into())?],
        Program::Sftp(access) => vec![string(SFTP.into())?, string(access.word().into())?],
        Program::Words(words) => {
            let path = start.environment.iter().find(|(name, _)| name == "PATH");
            let word = words.first().map(Vec::as_slice).unwrap_or_default();
            let found = search(word, path.map_or("", |(_, directories)| directories.as_str()));
            called = escape_bytes(word);
            paths = found.into_iter().map(string).collect::<Result<_, _>>()?;
            words.iter().map(|word| string(word.clone())).collect::<Result<_, _>>()?
        }
        Program::Subsystem(_) => return Err(("preparing the command", Errno::ENOTSUP)),
    };
    let mut environment = Vec::new();
    let term_given = start.environment.iter().any(|(name, _)| name == "TERM");
    let terminal = start.terminal.as_ref().filter(|_| !term_given);
    let term = terminal.map(|terminal| ("TERM", terminal.term.as_str()));
    let tty = terminal_name.as_deref().map(|name| ("SSH_TTY", name));
    let given = start.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in term.into_iter().chain(tty).chain(given) {
        environment.push(string(format!("{name}={value}").into_bytes())?);
    }
    Ok(Command { name: called, paths, args, environment })
}

/// Where a program of this name may be, as execvp(3) looks for it; not in the working directory, nor from there.
fn search(name: &[u8], directories: &str) -> Vec<Vec<u8>> {
    if name.is_empty() || name.contains(&b'/') {
        return vec![name.to_vec()];
    }
    let directories = directories.split(':').filter(|directory| directory.starts_with('/'));
    directories.map(|directory| [directory.as_bytes(), b"/", name].concat()).collect()
}

/// Becomes the first program that is there. As execvp(3), one that may not be run is passed over, and told of
/// if there is no other.
fn exec_first(command: &Command) -> Errno {
    let mut told = Errno::ENOENT;
    for path in &command.paths {
        match process::exec_path(path, &command.args, &command.environment) {
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::EACCES => told = Errno::EACCES,
            errno => return errno,
        }
    }
    told
}

/// The child. Ends in exec, or with a sentence on the session's stderr.
fn run(start: &Start, tools: (Option<&Groups>, &Bounds), streams: &Streams, command: &Command) -> ! {
    let (sentence, status) = match become_session(start, tools, streams) {
        Err((step, errno)) => (format!("cellblock: {step}: {errno}\r\n"), OUR_FAULT),
        Ok(own) => {
            let errno = match own {
                Some(own) => process::exec(own.as_fd(), &command.args, &command.environment),
                None => exec_first(command),
            };
            let status = if errno == Errno::ENOENT { NOT_FOUND } else { NOT_EXECUTABLE };
            (format!("cellblock: {}: {errno}\r\n", command.name), status)
        }
    };
    // Nobody may be reading; the status says the same.
    let status = if io::stderr().write_all(sentence.as_bytes()).is_ok() { status } else { OUR_FAULT.min(status) };
    process::exit_now(status)
}

/// Gives init's own program where that is what runs: opened while this process may, since it is
/// closed to the tenant; and gone with exec.
fn become_session(
    start: &Start,
    (to_join, bounds): (Option<&Groups>, &Bounds),
    streams: &Streams,
) -> Result<Option<OwnedFd>, (Step, Errno)> {
    join(to_join)?;
    process::new_session().map_err(|errno| ("making a session", errno))?;
    let [stdin, stdout, stderr] = &streams.inner;
    if streams.terminal {
        pty::make_controlling(stdin.as_fd()).map_err(|errno| ("taking the terminal", errno))?;
    }
    place([Some(stdin), Some(stdout), Some(stderr), streams.records.as_ref()])
        .map_err(|errno| ("placing the streams", errno))?;
    signal::reset_all().map_err(|errno| ("resetting signals", errno))?;
    credentials::reset_affinity_and_personality().map_err(|errno| ("resetting affinity and personality", errno))?;
    let own = match start.program {
        Program::Probe | Program::Sftp(_) => {
            Some(process::own_program().map_err(|errno| ("opening init's own program", errno))?)
        }
        Program::Shell | Program::Command(_) | Program::Words(_) | Program::Subsystem(_) => None,
    };
    give_up(&start.account, bounds)?;
    greeting::arrive(start);
    Ok(own)
}

/// Descriptors 0, 1 and 2, and 3 where there are records; nothing else from here on: the child follows
/// paths of the tenant's before it execs, and they may lead through `/proc/self/fd` (CVE-2024-21626;
/// no pipe is a directory). init holds no descriptor below 3, and 3 is placed last: none covers another
/// that is still to be placed.
fn place(streams: [Option<&OwnedFd>; 4]) -> Result<(), Errno> {
    let mut next = 0;
    for (number, stream) in (0..).zip(streams.into_iter().flatten()) {
        fd::place_at(stream.as_fd(), number)?;
        next = number + 1;
    }
    fd::close_from(u32::try_from(next).map_err(|_negative| Errno::EINVAL)?)
}

/// Becomes the tenant. The list of calls is installed before the ids are set: later it would need
/// no_new_privs, which a class may leave off. init then has a capability for it (`Inside::KeepForInit`).
/// One that has not was started when the class had no_new_privs, and its sessions keep it.
fn give_up(account: &Account, bounds: &Bounds) -> Result<(), (Step, Errno)> {
    let can_filter = credentials::is_capable_of(credentials::SYS_ADMIN);
    if account.no_new_privs || !can_filter.map_err(|errno| ("looking at capabilities", errno))? {
        credentials::forbid_new_privileges().map_err(|errno| ("forbidding new privileges", errno))?;
    }
    bounds.calls.install().map_err(|errno| ("limiting system calls", errno))?;
    for (resource, soft, hard) in &account.rlimits {
        // Nobody in a cell can raise what the door's starter was given (setrlimit(2)): then that holds.
        let given = credentials::limit_of(*resource).map_err(|errno| ("asking for limits", errno))?;
        let wanted = ((*soft).min(given.1), (*hard).min(given.1));
        if wanted != given {
            credentials::set_limit(*resource, wanted.0, wanted.1).map_err(|errno| ("setting limits", errno))?;
        }
    }
    for (resource, most) in BOUNDED {
        credentials::lower_limit(resource, most).map_err(|errno| ("setting limits", errno))?;
    }
    credentials::set_umask(account.umask);
    credentials::keep_bounding_set(account.bounding).map_err(|errno| ("cutting the bounding set", errno))?;
    let become_user = match bounds.ids {
        Ids::Many => credentials::become_user,
        Ids::One => credentials::become_only_user,
    };
    become_user(account.uid, account.gid).map_err(|errno| ("becoming the user", errno))?;
    credentials::keep_capabilities(account.capabilities).map_err(|errno| ("cutting capabilities", errno))?;
    process::make_undumpable().map_err(|errno| ("staying undumpable", errno))
}
