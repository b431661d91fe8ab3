//! What one tenant does to use a machine up, and that nobody else notices.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "test code"
)]

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use support::{Door, procfs, root, soon, until};

/// Logins in one round, of which the median counts.
const LOGINS: usize = 7;
/// In so many rounds alice must not be slowed down: the machine is not alone with the test, and what a bomb
/// does to a neighbour it does in each of them.
const GOOD: usize = 2;
/// Rounds at most.
const ROUNDS: usize = 8;

/// How long `cellblock kill` may take: its grace is a second, and the rest is a machine that is busy.
const KILLED_WITHIN: Duration = Duration::from_secs(10);

struct Bomb {
    name: &'static str,
    /// Python. Prints `ready` when it has what it can get.
    program: &'static str,
    /// What her own program prints of what it met; none: nothing fails in it.
    sees: Option<&'static str>,
    /// What we tell eve; none: nothing (docs/threat-model.md, "More than her share").
    told: Option<&'static str>,
}

/// Puts one more of what `get` gives into a list until that fails; then holds on to all of it. Does not end
/// when it is asked to.
const GREEDY: &str = "
import ctypes, os, sys, time, errno, signal
for asked in (signal.SIGTERM, signal.SIGHUP): signal.signal(asked, signal.SIG_IGN)
libc = ctypes.CDLL(None, use_errno=True)
def until_full(get):
    got = []
    while True:
        try: got.append(get())
        except OSError as error:
            print('full:', error.strerror, len(got), flush=True)
            return got
def checked(result):
    if result < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
";

const BOMBS: [Bomb; 13] = [
    Bomb {
        name: "fork",
        program: "
print('ready', flush=True)
while True:
    try: os.fork()
    except OSError: pass",
        sees: None,
        told: Some("cellblock: process limit reached (96 processes and threads"),
    },
    Bomb {
        name: "thread",
        program: "
import threading
print('ready', flush=True)
while True:
    try: threading.Thread(target=time.sleep, args=(1000,)).start()
    except RuntimeError: time.sleep(0.01)",
        sees: None,
        told: Some("cellblock: process limit reached (96 processes and threads"),
    },
    Bomb {
        name: "memory",
        program: "
print('ready', flush=True)
while True:
    if os.fork() == 0:
        hog = []
        while True: hog.append(bytearray(b'x') * (8 << 20))
    os.wait()",
        sees: None,
        told: Some("cellblock: memory limit reached (128M for all of your sessions together): python3 (pid "),
    },
    Bomb {
        name: "tmpfs",
        program: "
print('ready', flush=True)
number = 0
while True:
    number += 1
    if os.fork() == 0:
        with open(f'/tmp/{number}', 'wb') as file:
            # Gone with the process.
            os.unlink(f'/tmp/{number}')
            while True: file.write(b'x' * (1 << 20))
    os.wait()",
        sees: None,
        told: Some("cellblock: memory limit reached (128M for all of your sessions together): python3 (pid "),
    },
    Bomb {
        name: "page cache",
        program: "
print('ready', flush=True)
home = os.path.expanduser('~')
while True:
    with open(home + '/big', 'wb') as file:
        for _ in range(192): file.write(b'x' * (1 << 20))
    with open(home + '/big', 'rb') as file:
        while file.read(1 << 20): pass
    os.unlink(home + '/big')",
        // Nothing is taken from anybody: what is cached goes.
        sees: None,
        told: None,
    },
    Bomb {
        name: "shm",
        program: "
print('ready', flush=True)
while True:
    if os.fork() == 0:
        libc.shmat.restype = ctypes.c_void_p
        while True:
            segment = checked(libc.shmget(0, ctypes.c_size_t(16 << 20), 0o1600))
            at = libc.shmat(segment, None, 0)
            # Gone with the process.
            libc.shmctl(segment, 0, None)
            ctypes.memset(at, 1, 16 << 20)
    os.wait()",
        sees: None,
        told: Some("cellblock: memory limit reached (128M for all of your sessions together): python3 (pid "),
    },
    Bomb {
        name: "fd",
        program: "
for _ in range(40):
    if os.fork() == 0:
        got = until_full(lambda: os.open('/dev/null', os.O_RDONLY))
        time.sleep(1000)
got = until_full(lambda: os.open('/dev/null', os.O_RDONLY))
print('ready', flush=True)
time.sleep(1000)",
        sees: Some("full: Too many open files"),
        told: None,
    },
    Bomb {
        name: "inotify",
        program: "
got = until_full(lambda: checked(libc.inotify_init1(0)))
os.mkdir('/tmp/d')
number = 0
def watch():
    global number
    number += 1
    os.mkdir(f'/tmp/d/{number}')
    return checked(libc.inotify_add_watch(got[0], f'/tmp/d/{number}'.encode(), 2))
for _ in range(5000): watch()
print('ready', flush=True)
time.sleep(1000)",
        sees: Some("full: Too many open files 64"),
        told: None,
    },
    Bomb {
        name: "pty",
        program: "
got = until_full(lambda: os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY))
print('ready', flush=True)
time.sleep(1000)",
        sees: Some("full: No space left on device 128"),
        told: None,
    },
    Bomb {
        name: "pipe",
        program: "
def pipe():
    ends = os.pipe()
    os.set_blocking(ends[1], False)
    try:
        while True: os.write(ends[1], b'x' * 65536)
    except BlockingIOError: pass
    return ends
for _ in range(8):
    if os.fork() == 0:
        got = until_full(pipe)
        time.sleep(1000)
got = until_full(pipe)
print('ready', flush=True)
time.sleep(1000)",
        sees: Some("full: Too many open files"),
        told: None,
    },
    Bomb {
        name: "mqueue",
        program: "
number = 0
def queue():
    global number
    number += 1
    return checked(libc.mq_open(f'/{number}'.encode(), 0o102, 0o600, None))
got = until_full(queue)
print('ready', flush=True)
time.sleep(1000)",
        sees: Some("full: Too many open files"),
        told: None,
    },
    Bomb {
        name: "timer",
        program: "
timer = ctypes.c_void_p()
got = until_full(lambda: checked(libc.timer_create(1, None, ctypes.byref(timer))))
print('ready', flush=True)
time.sleep(1000)",
        sees: Some("full: Resource temporarily unavailable 409"),
        told: None,
    },
    Bomb {
        name: "busy",
        program: "
print('ready', flush=True)
for _ in range(8):
    if os.fork() == 0:
        while True: pass
time.sleep(1000)",
        sees: None,
        told: None,
    },
];

fn door() -> Door {
    let limits = "limits = { memory = \"128M\", pids = 96, tmp = \"1G\", nofile = 1024 }";
    Door::with("").tenant("alice", "").tenant("eve", limits).start()
}

/// How long a login of alice's takes, with a program that ends at once.
fn login(door: &Door) -> Duration {
    let start = Instant::now();
    door.ok("alice", "true");
    start.elapsed()
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}

/// The pid on the host of the tenant's init, if a cell of theirs runs.
fn init(door: &Door, tenant: &str) -> Option<i32> {
    let text = fs::read_to_string(door.run_dir().join("cells").join(tenant).join("cell.json")).ok()?;
    serde_json::from_str::<serde_json::Value>(&text).unwrap()["pid"].as_i64().unwrap().try_into().ok()
}

/// What the host counts of things that are bounded for all together.
fn counted(path: &str) -> u64 {
    fs::read_to_string(path).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

/// Who ends the cell.
#[derive(Debug, Clone, Copy)]
enum End {
    /// The admin, by the verb for it.
    Admin,
    /// Whoever kills its pid 1.
    Kill,
}

/// Ends eve's cell while the bomb goes on.
fn end(door: &Door, bomb: &Bomb, by: End) {
    // The kernel may have stopped the whole bomb meanwhile, and the cell ended with it.
    let Some(pid) = init(door, "eve") else { return };
    match by {
        End::Admin => {
            let ran = door.verb(&["kill", "eve", "--grace", "1s"]);
            let told = ran.text();
            let ended = ran.status == 0 && told.starts_with("the cell of eve: ");
            assert!(ended || ran.err.contains("neither a running cell"), "{}: {ran:?}", bomb.name);
            assert!(ran.took < KILLED_WITHIN, "{}: {ran:?}", bomb.name);
            assert!(procfs::ended(pid), "{}: it says so when it is gone", bomb.name);
            eprintln!("{}: {told} after {:?}", bomb.name, ran.took);
        }
        End::Kill => procfs::kill(pid, Signal::SIGKILL),
    }
    soon("pid 1 is gone", || procfs::ended(pid));
}

/// Sets a bomb off in eve's cell, and with `during` looks at it; then ends the cell.
fn explode<T>(door: &Door, bomb: &Bomb, by: End, during: impl FnOnce() -> T) -> T {
    let running =
        door.spawn_with_stderr("eve", &format!("exec python3 -c \"$(cat <<'END'\n{GREEDY}{}\nEND\n)\"", bomb.program));
    let (mut of_its_own, mut ours): (Vec<&str>, _) = (["ready"].into_iter().chain(bomb.sees).collect(), bomb.told);
    let mut seen = Vec::new();
    while !(of_its_own.is_empty() && ours.is_none()) {
        let line = running.line_within(Duration::from_secs(40)).unwrap_or_else(|| {
            panic!("{}: {of_its_own:?}, {ours:?} did not come: {seen:?}\n{}", bomb.name, door.log())
        });
        if line.starts_with("cellblock: ") {
            ours.take_if(|told| line.starts_with(*told));
        } else {
            of_its_own.retain(|text| !line.contains(text));
        }
        seen.push(line);
    }
    let found = during();
    end(door, bomb, by);
    soon("the cell is gone", || !door.run_dir().join("cells/eve").exists());
    drop(running);
    found
}

#[test]
fn no_bomb_of_eves_slows_alice_down_or_outlives_its_cell_and_eve_is_told_what_it_hit() {
    if !root() {
        return;
    }
    let door = door();
    let mut decoy = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    let mut alices = door.spawn("alice", "echo ready; exec sleep 1000");
    alices.expect("ready");
    door.ok("eve", "true");
    soon("eve's first cell is gone", || !door.run_dir().join("cells/eve/cell.json").exists());
    let counts = door.counts();
    let (ptys, files) = (counted("/proc/sys/kernel/pty/nr"), counted("/proc/sys/fs/file-nr"));
    let listener = door.listener();

    for bomb in &BOMBS {
        // Bomb and quiet alternate, so that whatever else the machine does meets both alike.
        let mut seen = Vec::new();
        let mut good = 0;
        while good < GOOD && seen.len() < ROUNDS {
            let quiet = median((0..LOGINS).map(|_| login(&door)).collect());
            let bombed = explode(&door, bomb, End::Admin, || median((0..LOGINS).map(|_| login(&door)).collect()));
            seen.push((quiet, bombed));
            good += usize::from(bombed <= 2 * quiet);
        }
        eprintln!("{}: quiet, during (medians): {seen:?}", bomb.name);
        assert!(good == GOOD, "{}: alice's logins take more than twice as long: {seen:?}", bomb.name);
        assert!(decoy.try_wait().unwrap().is_none(), "{}: a process of the host was killed", bomb.name);
        assert!(alices.is_running() && !procfs::ended(listener), "{}: alice's session was killed", bomb.name);
    }

    door.returns_to(&counts);
    let back = || counted("/proc/sys/kernel/pty/nr") <= ptys && counted("/proc/sys/fs/file-nr") <= files + 512;
    assert!(until(Duration::from_secs(20), back), "terminals {ptys}, files {files} before");
    decoy.kill().unwrap();
    decoy.wait().unwrap();
}

#[test]
fn what_eve_uses_up_for_herself_is_there_for_alice_and_the_host() {
    if !root() {
        return;
    }
    let door = door();
    // Counted by the kernel for all cells together too, since root made their user namespaces.
    for (name, alices) in [
        ("inotify", "[checked(libc.inotify_init1(0)) for _ in range(20)]"),
        ("pty", "[os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY) for _ in range(20)]"),
        ("mqueue", "checked(libc.mq_open(b'/one', 0o102, 0o600, None))"),
        ("timer", "[checked(libc.timer_create(1, None, ctypes.byref(ctypes.c_void_p()))) for _ in range(1000)]"),
    ] {
        let bomb = BOMBS.iter().find(|bomb| bomb.name == name).unwrap();
        explode(&door, bomb, End::Kill, || {
            let program = format!("{GREEDY}{alices}\n");
            door.ok("alice", &format!("exec python3 -c \"$(cat <<'END'\n{program}END\n)\""));
            let on_host = Command::new("python3").args(["-c", &program]).output().unwrap();
            assert!(on_host.status.success(), "{name}: {}", String::from_utf8_lossy(&on_host.stderr));
        });
    }
}
