//! "Without the daemon, and without root: `cellblock enter --rootless` builds the jail from the user's own rights …
//! the same plan with fewer operations, and says what it could not have" (issue 5).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    reason = "test support code"
)]

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::ExitStatusExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
};

use nix::sys::signal::Signal;
use support::{Ran, Running, Scratch, TerminalClient, procfs, root, run_bounded, soon, with_etc};

/// Of no account here, so that the cell is named `me`.
const UID: u32 = 62_017;

/// An ordinary user of this host, with the programs and a home.
struct User {
    dir: Scratch,
}

impl User {
    fn new() -> Self {
        let dir = Scratch::new();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["cellblock", "cellblock-admin", "cellblock-init", "cellblock-ssh"] {
            fs::copy(support::program(name), dir.join(name)).unwrap();
        }
        let user = Self { dir };
        fs::create_dir(user.home()).unwrap();
        fs::set_permissions(user.home(), fs::Permissions::from_mode(0o700)).unwrap();
        chown(user.home(), Some(UID), Some(UID)).unwrap();
        user
    }

    fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    /// Where the cell of this name keeps its home, on the host.
    fn kept(&self, name: &str) -> PathBuf {
        self.home().join(".local/share/cellblock/tenants").join(name).join("home")
    }

    /// A file of the user's own.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home().join(name);
        fs::write(&path, text).unwrap();
        chown(&path, Some(UID), Some(UID)).unwrap();
        path
    }

    /// A program that the user runs on the host; `given` is for setpriv(1).
    fn on_host(&self, given: &[&str], words: &[&str]) -> Command {
        let id = UID.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &id, "--regid", &id]).args(given).arg("--");
        command.args(["env", "-i", "PATH=/usr/bin:/bin"]).arg(format!("HOME={}", self.home().display()));
        command.args(words).current_dir("/");
        command
    }

    /// `cellblock enter --rootless`.
    fn enter(&self, words: &[&str]) -> Command {
        let program = self.dir.join("cellblock").display().to_string();
        let words = [&[&*program, "enter", "--rootless"], words].concat();
        self.on_host(&["--clear-groups"], &words)
    }

    fn run(&self, words: &[&str]) -> Ran {
        run_bounded(self.enter(words), b"")
    }

    /// What a line of bash says in the cell.
    fn ok(&self, line: &str) -> String {
        let ran = self.run(&["--", "bash", "-c", line]);
        assert_eq!(ran.status, 0, "{line}: {}\n{}", ran.text(), ran.err);
        ran.text()
    }

    /// The same with a config of the user's.
    fn with_config(&self, text: &str, line: &str) -> Ran {
        let config = self.write("cellblock.toml", text).display().to_string();
        self.run(&["--config", &config, "me", "--", "bash", "-c", line])
    }
}

/// What is in every config here: the limits that only control groups keep are gone without.
const BEST_EFFORT: &str = "[defaults]\nlimits = { enforce = \"best-effort\" }\n";

/// Forks until it may not, `most` times at most; prints how often, and the error.
fn bomb(most: u32) -> String {
    format!(
        "exec python3 -c '\nimport os, signal\npids = []\ntry:\n  while len(pids) < {most}:\n    pid = os.fork()\n    \
                if pid == 0: signal.pause()\n    pids.append(pid)\nexcept OSError as why: print(len(pids), why.errno)\n\
                for pid in pids: os.kill(pid, 9)\n'"
    )
}

impl Drop for User {
    /// Cells with processes would live on.
    fn drop(&mut self) {
        for pid in procfs::pids().into_iter().filter(|pid| procfs::uid(*pid) == Some(UID)) {
            procfs::kill(pid, Signal::SIGKILL);
        }
        soon("the user's processes are gone", || {
            procfs::pids().into_iter().all(|pid| procfs::uid(pid) != Some(UID) || procfs::ended(pid))
        });
    }
}

#[test]
fn every_namespace_is_its_own_and_nobody_else_is_seen() {
    if !root() {
        return;
    }
    let user = User::new();
    let seen = user.ok("for kind in user mnt pid net ipc uts cgroup; do readlink /proc/self/ns/$kind; done");
    let host = procfs::namespaces(std::process::id() as i32);
    let inside: Vec<_> = seen.lines().collect();
    assert_eq!(inside.len(), 7, "{seen}");
    assert!(inside.iter().all(|namespace| !host.contains(*namespace)), "{seen}");
    assert_eq!(user.ok("set -- /proc/[0-9]*; echo $#"), "2", "init and bash");
    assert_eq!(user.ok("id -u; id -g; id -un; hostname; pwd"), "1000\n1000\nme\nme\n/home/me");
    assert_eq!(user.ok("cat /proc/self/uid_map | tr -s ' '"), " 1000 0 1");
}

/// "the host's files not writable beyond own"
#[test]
fn of_the_hosts_files_only_the_programs_are_there_and_none_can_be_changed() {
    if !root() {
        return;
    }
    let user = User::new();
    let secret = user.write("secret", "mine");
    assert_eq!(user.ok(&format!("ls {} 2>&1 || echo gone", secret.display())).lines().last().unwrap(), "gone");
    assert_eq!(user.ok("ls -d /boot /root/.[a-z]* /srv /mnt /run/systemd 2>/dev/null; echo none"), "none");
    let tried = "for at in /usr /usr/bin /dev /sys /proc /etc/alternatives; do touch $at/x 2>/dev/null && echo $at; done; \
                 (echo x > /proc/sys/kernel/core_pattern) 2>/dev/null && echo core; \
                 (echo 9 > /proc/sys/user/max_user_namespaces) 2>/dev/null && echo nested; echo tried";
    assert_eq!(user.ok(tried), "tried");
    let locked = user.ok("grep -c ' /usr ro,nosuid,nodev' /proc/self/mountinfo");
    assert_eq!(locked, "1");
    // What is written at home is there the next time, as the user's own file.
    user.ok("echo kept > ~/file; echo x > /dev/null; echo y > /tmp/passing");
    assert_eq!(user.ok("cat ~/file; ls /tmp"), "kept");
    let kept = user.kept("me").join("file");
    assert_eq!((fs::read_to_string(&kept).unwrap().trim(), fs::metadata(&kept).unwrap().uid()), ("kept", UID));
}

/// "no capability, filter in force, forbids nested userns"; as root of the jail too, and against init
#[test]
fn no_capability_is_left_and_the_list_of_calls_is_in_force() {
    if !root() {
        return;
    }
    let user = User::new();
    let line = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr -d ' \\t'";
    let nothing = "0".repeat(16);
    let caps: Vec<String> = ["Inh", "Prm", "Eff", "Bnd", "Amb"].map(|set| format!("Cap{set}:{nothing}")).into();
    assert_eq!(user.ok(line), format!("{}\nNoNewPrivs:1\nSeccomp:2", caps.join("\n")));
    let forbidden = "unshare -U true 2>/dev/null && echo unshare; mount -t tmpfs none /tmp 2>/dev/null && echo mount; \
                     cat /proc/1/environ /proc/1/maps >/dev/null 2>&1 && echo init; \
                     readlink /proc/1/exe && echo program; prlimit --pid 1 --cpu=1 2>/dev/null && echo prlimit; \
                     kill -KILL 1; kill -TERM 1; kill -STOP 1; echo tried";
    assert_eq!(user.ok(forbidden), "tried");

    let as_root = format!("{BEST_EFFORT}[tenant.me]\nuser = \"root\"\n");
    let ran = user.with_config(&as_root, &format!("id -u; {line}; {forbidden}"));
    let said = ran.text();
    let effective = said.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or_else(|| panic!("{ran:?}"));
    let effective = u64::from_str_radix(effective, 16).unwrap();
    assert!(said.starts_with("0\n") && said.ends_with("Seccomp:2\ntried"), "{ran:?}");
    assert_eq!(effective & (1 << 21 | 1 << 12 | 1 << 16 | 1 << 19), 0, "neither SYS_ADMIN nor NET_ADMIN nor others");
}

/// docs/kernel.md, L: init's program is the user's own file here, and must be exec'd before the cell has an id for it
#[test]
fn init_is_closed_even_to_who_may_trace() {
    if !root() {
        return;
    }
    let user = User::new();
    let tracer = format!(
        "{BEST_EFFORT}[tenant.me]\nuser = \"root\"\nsyscalls = [\"debug\"]\n\
         capabilities = [\"CAP_SYS_PTRACE\", \"CAP_DAC_OVERRIDE\"]\n"
    );
    let line = "cat /proc/1/environ >/dev/null 2>&1 && echo environ; readlink /proc/1/exe && echo exe; \
                readlink /proc/1/fd/0 && echo descriptors; stat -c %u /proc/1/comm";
    // Which of the two is first is chance, or was.
    for _time in 0..10 {
        let ran = user.with_config(&tracer, line);
        // Root of the namespace around the cell, which is the user.
        assert_eq!(ran.text(), "0", "{ran:?}");
    }
    assert_eq!(user.ok("stat -c %u /proc/1/comm"), "1000");
}

/// docs/kernel.md, A: who has every capability in a namespace below the cell's undoes nothing of the cell's mounts
#[test]
fn the_host_view_is_locked_even_against_who_may_mount() {
    if !root() {
        return;
    }
    let user = User::new();
    let nesting = format!("{BEST_EFFORT}[tenant.me]\nsyscalls = [\"nesting\"]\n");
    let inner = "mount -t tmpfs none /tmp && echo mounted; mount -o remount,bind,rw /usr 2>/dev/null && echo usr; \
                 mount -o remount,bind,rw,dev / 2>/dev/null && echo root; umount /proc/keys 2>/dev/null && echo mask; \
                 umount -l /usr 2>/dev/null && echo umount; mount -t proc proc /proc 2>/dev/null && echo proc; echo tried";
    let ran = user.with_config(&nesting, &format!("unshare -Urm sh -c '{inner}'"));
    assert_eq!(ran.text(), "mounted\ntried", "{ran:?}");
}

#[test]
fn the_network_is_loopback_and_the_hosts_services_are_not_there() {
    if !root() {
        return;
    }
    let user = User::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(user.ok("ls /sys/class/net; cat /sys/class/net/lo/flags"), "lo\n0x9");
    let host = user.ok(&format!("(exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null && echo reached; echo tried"));
    assert_eq!(host, "tried");
}

#[test]
fn it_ends_as_the_command_did_and_bytes_arrive_whole() {
    if !root() {
        return;
    }
    let user = User::new();
    for status in [0, 1, 7, 122, 126, 255] {
        assert_eq!(user.run(&["--", "sh", "-c", &format!("exit {status}")]).status, status);
    }
    assert_eq!(user.run(&["--", "no-such-program"]).status, 127);
    let ended = user.enter(&["--", "sh", "-c", "kill -TERM $$"]).status().unwrap();
    assert_eq!(ended.signal(), Some(Signal::SIGTERM as i32));
    let input: Vec<u8> = (0..20_000_000_u32).map(|number| (number % 251) as u8).collect();
    let ran = run_bounded(user.enter(&["--", "sh", "-c", "cat; echo end >&2"]), &input);
    assert!(ran.out == input && ran.err == "end\n" && ran.status == 0, "{} bytes, {}", ran.out.len(), ran.err);
    assert_eq!(user.run(&["--", "printf", "%s|", "a b", "", "c'd"]).text(), "a b||c'd|", "words stay words");
}

#[test]
fn a_signal_for_the_caller_is_one_for_the_program_and_a_jail_that_dies_is_told() {
    if !root() {
        return;
    }
    let user = User::new();
    let line = "trap 'echo caught; kill $!; exit 3' TERM; echo ready; sleep 1000 & wait";
    let mut running = Running::start(user.enter(&["--", "bash", "-c", line]));
    running.expect("ready");
    procfs::kill(running.child.id() as i32, Signal::SIGTERM);
    running.expect("caught");
    assert_eq!(running.child.wait().unwrap().code(), Some(3));

    let mut running = Running::start(user.enter(&["other", "--", "sh", "-c", "echo ready; cat"]));
    running.expect("ready");
    let init = procfs::pids()
        .into_iter()
        .find(|pid| procfs::parent(*pid) == Some(running.child.id() as i32) && procfs::name(*pid) == "cellblock-init");
    procfs::kill(init.expect("its init"), Signal::SIGKILL);
    assert_eq!(running.child.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
}

#[test]
fn descriptors_and_environment_are_the_jails_own() {
    if !root() {
        return;
    }
    let user = User::new();
    let program = user.dir.join("cellblock").display().to_string();
    let home = user.home().display().to_string();
    let line = format!(
        "exec 5<{home} 6>{home}/log; SECRET=x LANG=C LD_PRELOAD= {program} enter --rootless -- sh -c \
         'ls -l /proc/self/fd; env; umask' 2>{home}/err"
    );
    let ran = run_bounded(user.on_host(&["--clear-groups"], &["bash", "-c", &line]), b"");
    let said = ran.text();
    let open: Vec<_> = said.lines().filter(|line| line.contains(" -> ")).collect();
    // The fourth is ls's own, of the directory.
    assert_eq!(open.len(), 4, "{said}");
    assert_eq!(open.iter().filter(|line| line.contains("pipe:[")).count(), 3, "{said}");
    assert!(!said.contains("SECRET") && !said.contains("LD_PRELOAD") && said.contains("LANG=C"), "{said}");
    assert!(said.contains("HOME=/home/me") && said.ends_with("0022"), "{said}");
    assert!(!said.contains(&home), "{said}");
}

#[test]
fn a_terminal_is_one_of_the_jails_and_a_shell_on_it_says_what_it_lacks() {
    if !root() {
        return;
    }
    let user = User::new();
    let mut client = TerminalClient::start(user.enter(&[]), 31, 77);
    let before = client.modes();
    client.expect("without root: one id");
    client.expect("$ ");
    client.send("echo $(tty) $(stty size) $(stat -c %a-%u-%g $(tty))\n");
    client.expect("/dev/pts/0 31 77 600-1000-1000");
    client.resize(40, 100);
    client.expect_size(40, 100);
    client.send("exit 5\n");
    assert_eq!(client.wait(), 5);
    assert_eq!(client.modes(), before);
}

#[test]
fn sessions_of_one_name_share_a_jail_and_each_name_has_its_own() {
    if !root() {
        return;
    }
    let user = User::new();
    let mut first = Running::start(user.enter(&["--", "sh", "-c", "touch /tmp/first; echo ready; cat"]));
    first.expect("ready");
    let left_in = |words: &[&str]| user.run(&[words, &["--", "ls", "/tmp"]].concat()).text();
    assert_eq!(left_in(&[]), "first");
    assert_eq!(left_in(&["other"]), "");
    drop(first.child.stdin.take());
    assert!(first.child.wait().unwrap().success());
    // Nothing runs in it any more, so it ends: the next one is another.
    soon("the jail ends", || left_in(&[]).is_empty());
    assert!(user.kept("me").is_dir() && user.kept("other").is_dir());
}

#[test]
fn what_it_could_not_have_is_said_when_asked_and_only_then() {
    if !root() {
        return;
    }
    let user = User::new();
    assert_eq!(user.run(&["--", "true"]).err, "");
    let program = user.dir.join("cellblock").display().to_string();
    let words = [&*program, "enter", "--rootless", "--verbose", "--", "true"];
    let ran = run_bounded(user.on_host(&["--groups", "62018,62019"], &words), b"");
    for what in ["one id", "no listener", "limits.memory", "limits.cpu", "2 of them"] {
        assert!(ran.err.lines().any(|line| line.starts_with("cellblock: without root: ") && line.contains(what)));
    }
    assert!(ran.status == 0 && !ran.err.contains("limits.pids"), "{ran:?}");
}

#[test]
fn processes_are_bounded_although_there_are_no_control_groups() {
    if !root() {
        return;
    }
    let user = User::new();
    let config = "[tenant.me]\nlimits = { enforce = \"best-effort\", pids = 20 }\n";
    let ran = user.with_config(config, &bomb(100));
    assert_eq!((ran.text().as_str(), ran.status), ("19 11", 0), "{ran:?}");
    // The user's other processes do not count, nor are they held to it.
    assert_eq!(user.with_config(config, "echo in").text(), "in");
}

/// The first of the ids that a host grants to the user below.
const GRANTED: u32 = 1_900_000_000;

/// A program that the same user runs where the host knows them, and has granted ids to them.
fn known(user: &User, given: &[&str], words: &[&str]) -> Command {
    let ids = || format!("rootless:{GRANTED}:65536\n");
    account(user, &[("subuid", ids()), ("subgid", ids())], &[&["--groups", "62018"], given].concat(), words)
}

/// A program of an ordinary user's who has an account on this host, whose `/etc` has these lines besides.
fn account(user: &User, more: &[(&str, String)], given: &[&str], words: &[&str]) -> Command {
    let etc = user.dir.join("etc");
    if !etc.exists() {
        assert!(Command::new("cp").args(["-a", "/etc"]).arg(&etc).status().unwrap().success());
        let lines =
            [("passwd", format!("rootless:x:{UID}:{UID}::/:/bin/bash\n")), ("group", format!("rootless:x:{UID}:\n"))];
        for (name, text) in lines.iter().chain(more) {
            let old = fs::read_to_string(etc.join(name)).unwrap_or_default();
            fs::write(etc.join(name), old + text).unwrap();
            fs::set_permissions(etc.join(name), fs::Permissions::from_mode(0o644)).unwrap();
        }
    }
    let setpriv = user.on_host(given, words);
    let words = with_etc(&etc);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg("setpriv").args(setpriv.get_args()).current_dir("/");
    command
}

/// What a line of bash says in their cell.
fn granted(user: &User, given: &[&str], options: &[&str], line: &str) -> Ran {
    let program = user.dir.join("cellblock").display().to_string();
    let inner = [&[&*program, "enter", "--rootless"], options, &["--", "bash", "-c", line]].concat();
    run_bounded(known(user, given, &inner), b"")
}

/// "`newuidmap` ranges where `/etc/subuid` grants them"
#[test]
fn ids_that_the_host_grants_are_the_jails() {
    if !root() {
        return;
    }
    assert!(Path::new("/usr/bin/newuidmap").exists(), "apt-get install uidmap");
    let user = User::new();
    let ran = granted(
        &user,
        &[],
        &["--verbose"],
        "id -un; id -G; tr -s ' ' < /proc/self/uid_map; stat -c %u:%g /etc/passwd /run /",
    );
    let map = " 1000 0 1\n 0 1 1000\n 1001 1001 64535";
    assert_eq!(ran.text(), format!("rootless\n1000\n{map}\n0:0\n0:0\n0:0"), "{}", ran.err);
    assert!(
        ran.err.contains("limits.memory") && !ran.err.contains("one id") && !ran.err.contains("your groups"),
        "{}",
        ran.err
    );
    // init is another user than the programs, and so is who owns what they may not change.
    let tried = "echo x > ~/file; (echo x >> /etc/passwd) 2>/dev/null && echo passwd; touch /run/x 2>/dev/null && echo run; \
                 touch /var/lib/x 2>/dev/null && echo var; kill -0 1 2>/dev/null && echo init; stat -c %u /proc/1; echo tried";
    assert_eq!(granted(&user, &[], &[], tried).text(), "0\ntried");
    let owner = |path: &Path| fs::metadata(path).unwrap().uid();
    let kept = user.kept("rootless");
    assert_eq!((owner(&kept.join("file")), owner(&kept.with_file_name("var/lib"))), (UID, GRANTED));

    let config = user.write("roots.toml", &format!("{BEST_EFFORT}[tenant.box]\nuser = \"root\"\n"));
    let line = "id -u; touch x; chown 33:33 x; stat -c %u:%g x /var/lib; setpriv --reuid 65534 --regid 65534 --clear-groups id -u";
    let ran = granted(&user, &[], &["--config", config.to_str().unwrap(), "box"], line);
    assert_eq!(ran.text(), "0\n33:33\n0:0\n65534", "{}", ran.err);
    // Where the helpers may not become root, there is no jail, and not one of another kind.
    let ran = granted(&user, &["--no-new-privs"], &[], "id -u");
    assert!(ran.status == 255 && ran.text().is_empty(), "{ran:?}");
    assert!(ran.err.contains("newuidmap: ") && ran.err.contains("mapping your ids: "), "{ran:?}");
    // 33 is the 33rd of those granted; the jail's root is the user.
    assert_eq!((owner(&user.kept("box").join("x")), owner(&user.kept("box"))), (GRANTED + 32, UID));
}

/// "every step's failure refuses by name"
#[test]
fn what_cannot_be_had_and_may_not_be_missing_is_refused_by_name() {
    if !root() {
        return;
    }
    let user = User::new();
    for (lines, why) in [
        ("network = \"host\"\n", "(network)"),
        ("no_new_privs = false\n", "(no_new_privs)"),
        ("syscalls = [\"ping\"]\n", "(syscalls)"),
        ("root = \"/usr\"\n", "takes root"),
        ("authorized_keys = []\n", "`authorized_keys`"),
        ("limits = { enforce = \"strict\" }\n", "(limits)"),
    ] {
        let ran = user.with_config(&format!("{BEST_EFFORT}[tenant.me]\n{lines}"), "echo in");
        assert!(ran.status == 255 && ran.text().is_empty() && ran.err.contains(why), "{lines}: {ran:?}");
    }
    let others = user.write("others.toml", "[tenant.me]\n");
    fs::set_permissions(&others, fs::Permissions::from_mode(0o666)).unwrap();
    let ran = user.run(&["--config", others.to_str().unwrap(), "me", "--", "true"]);
    assert!(ran.status == 255 && ran.err.contains("others than its owner can write"), "{ran:?}");

    let program = user.dir.join("cellblock").display().to_string();
    let mut as_root = Command::new(&program);
    as_root.args(["enter", "--rootless", "--", "true"]);
    let ran = run_bounded(as_root, b"");
    assert!(ran.status == 255 && ran.err.contains("you are root"), "{ran:?}");

    let line = format!("echo 0 > /proc/sys/user/max_user_namespaces && exec {program} enter --rootless -- true");
    let words = ["unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c", &line];
    let ran = run_bounded(user.on_host(&["--clear-groups"], &words), b"");
    assert!(ran.status == 255 && ran.err.contains("making a user namespace"), "{ran:?}");
    assert!(ran.err.contains("hint: ") && ran.err.contains("sysctl user.max_user_namespaces"), "{ran:?}");
}

/// "`cellblock try` works for an ordinary user the same way"
#[test]
fn an_ordinary_user_to_whom_ids_are_granted_opens_a_door() {
    if !root() {
        return;
    }
    let user = User::new();
    let program = user.dir.join("cellblock").display().to_string();
    let dir = user.home().join("try");
    let shown = dir.display().to_string();
    let mut tried = Running::start(known(&user, &[], &[&program, "try", "--dir", &shown]));
    tried.expect("no control groups");
    tried.expect("ready");
    let config = format!("{shown}/ssh_config");
    let ssh = |tenant: &str, line: &str, input: &[u8]| {
        let ran = run_bounded(known(&user, &[], &["ssh", "-F", &config, tenant, line]), input);
        assert_eq!(ran.status, 0, "{tenant}: {line}: {ran:?}");
        ran.text()
    };
    for (tenant, uid) in [("alice", "1000"), ("bob", "1000"), ("eve", "0")] {
        assert_eq!(ssh(tenant, "id -u; hostname", b""), format!("{uid}\n{tenant}"));
    }
    assert_eq!(ssh("eve", "touch x; chown 33:33 x; stat -c %u:%g x", b""), "33:33");
    let links = "readlink /proc/self/ns/{mnt,pid,net,ipc,uts,user,cgroup} | sort -u | wc -l";
    assert_eq!(ssh("alice", &format!("bash -c '{links}'"), b""), "7");
    // Alice's cell stays while Eve's is looked at: numbers of namespaces come again.
    let mut kept = Running::start(known(&user, &[], &["ssh", "-F", &config, "alice", "echo up; exec cat"]));
    assert_eq!(kept.line(), "up");
    let links = "readlink /proc/self/ns/*";
    let (alice, eve) = (ssh("alice", links, b""), ssh("eve", links, b""));
    assert!(alice.lines().all(|link| !eve.contains(link) || link.starts_with("time")), "{alice}\n{eve}");
    // What is root's elsewhere is the user's here, and as closed: init, the host's files, the user's own.
    let tried_by_eve = format!(
        "cat /proc/1/environ /proc/1/maps 2>/dev/null && echo init; touch /usr/x 2>/dev/null && echo usr; \
         mount -o remount,rw /usr 2>/dev/null && echo mount; [ -e {} ] && echo home; echo tried",
        user.home().display()
    );
    assert_eq!(ssh("eve", &tried_by_eve, b""), "tried");
    // A bomb of hers stops at `limits.pids`, and alice gets in.
    let ran = ssh("eve", &bomb(400), b"");
    let (most, errno) = ran.split_once(' ').unwrap();
    assert!((200..=256).contains(&most.parse::<u32>().unwrap()) && errno == "11", "{ran}");
    assert_eq!(ssh("alice", "echo in", b""), "in");
    let bytes = vec![b'x'; 1 << 20];
    assert_eq!(ssh("bob", "wc -c", &bytes), bytes.len().to_string());

    // Each tenant, and the process that reads the network, has ids that are nobody else's.
    let ours = |first: u32, count: u32| {
        let of = |pid: &i32| procfs::uid(*pid).is_some_and(|uid| (first..first + count).contains(&uid));
        procfs::pids().into_iter().filter(of).collect::<Vec<i32>>()
    };
    let names = |pids: Vec<i32>| {
        let name = |pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        pids.into_iter().map(name).collect::<BTreeSet<String>>()
    };
    assert_eq!(names(ours(GRANTED, 1)), BTreeSet::from(["cellblock-ssh\n".to_owned()]));
    assert!(names(ours(GRANTED + 1, 3 * 16_384)).contains("cat\n"));
    let owner = |tenant: &str| {
        let home = dir.join("state/tenants").join(tenant).join("home");
        fs::metadata(home).unwrap().uid()
    };
    let owners: BTreeSet<u32> = ["alice", "bob", "eve"].map(owner).into();
    assert!(owners.len() == 3 && owners.iter().all(|uid| *uid > GRANTED && *uid < GRANTED + 65_536), "{owners:?}");

    procfs::kill(tried.child.id() as i32, Signal::SIGTERM);
    assert_eq!(tried.wait(), 0);
    kept.wait();
    assert!(!dir.exists(), "nothing of it stays");
    soon("no process of a tenant's is left", || ours(GRANTED, 65_536).is_empty());

    // In a directory of its own, which goes too.
    let mut tried = Running::start(known(&user, &[], &[&program, "try"]));
    let line = tried.expect("ssh -F ");
    let line = line.lines().last().unwrap();
    let at = PathBuf::from(line.split_whitespace().nth(2).unwrap()).parent().unwrap().to_owned();
    tried.expect("ready");
    assert!(at.exists());
    procfs::kill(tried.child.id() as i32, Signal::SIGTERM);
    assert_eq!(tried.wait(), 0);
    assert!(!at.exists(), "{}", at.display());
}

/// "`cellblock try` works for an ordinary user the same way (one mapped id, …)"
#[test]
fn an_ordinary_user_with_one_id_opens_a_door_too() {
    if !root() {
        return;
    }
    let user = User::new();
    let program = user.dir.join("cellblock").display().to_string();
    let dir = user.home().join("try");
    let shown = dir.display().to_string();
    // With a group besides, which nobody here can give up.
    let on_host = |words: &[&str]| account(&user, &[], &["--groups", "4242"], words);
    let mut tried = Running::start(on_host(&[&program, "try", "--dir", &shown]));
    tried.expect("All of it has one id");
    tried.expect("usermod --add-subuids");
    tried.expect("You have 1 groups besides");
    tried.expect("ready");
    let config = format!("{shown}/ssh_config");
    let words = |tenant: &str, line: &str| on_host(&["ssh", "-F", &config, tenant, line]);
    let ssh = |tenant: &str, line: &str, input: &[u8]| {
        let ran = run_bounded(words(tenant, line), input);
        assert_eq!(ran.status, 0, "{tenant}: {line}: {ran:?}");
        ran.text()
    };
    for (tenant, uid) in [("alice", "1000"), ("bob", "1000"), ("eve", "0")] {
        assert_eq!(ssh(tenant, "id -u; hostname", b""), format!("{uid}\n{tenant}"));
        assert_eq!(ssh(tenant, "tr -s ' ' </proc/self/uid_map", b""), format!(" {uid} 0 1"));
    }
    // Alice at work; what she has is nobody's but hers.
    let mut kept = Running::start(words("alice", "echo mine >~/secret; sleep 31416 & echo up; exec cat"));
    assert_eq!(kept.line(), "up");
    // What is not had: the user's group stays, and is nobody's that could be named.
    assert_eq!(ssh("alice", "id -G", b""), "1000 65534");
    let links = "readlink /proc/self/ns/*";
    let (alice, eve) = (ssh("alice", links, b""), ssh("eve", links, b""));
    assert!(alice.lines().all(|link| !eve.contains(link) || link.starts_with("time")), "{alice}\n{eve}");
    let attack = format!(
        "pgrep -a sleep; find /home /root /var /tmp /run /mnt /srv -name secret 2>/dev/null; [ -e {} ] && echo home; \
         cat /proc/1/environ /proc/1/maps 2>/dev/null && echo init; touch /usr/x 2>/dev/null && echo usr; \
         mount -o remount,rw /usr 2>/dev/null && echo mount; unshare -U true 2>/dev/null && echo users; \
         kill -9 -1; kill -9 1; echo tried",
        user.home().display()
    );
    for tenant in ["bob", "eve"] {
        assert_eq!(ssh(tenant, &format!("exec bash -c '{attack}' 2>/dev/null"), b""), "tried", "{tenant}");
    }
    // A bomb stops at `limits.pids` of its own cell, and alice gets in.
    let ran = ssh("eve", &bomb(400), b"");
    let (most, errno) = ran.split_once(' ').unwrap();
    assert!((200..=256).contains(&most.parse::<u32>().unwrap()) && errno == "11", "{ran}");
    assert_eq!(ssh("alice", "cat ~/secret", b""), "mine");
    let bytes = vec![b'x'; 1 << 20];
    assert_eq!(ssh("bob", "wc -c", &bytes), bytes.len().to_string());
    let sftp = on_host(&["sftp", "-q", "-b", "-", "-F", &config, "bob"]);
    let ran = run_bounded(sftp, b"put /etc/hostname there\nls there\n");
    assert!(ran.status == 0 && ran.text().contains("there"), "{ran:?}");

    // The process that reads the network has that id too, and no right that comes with it.
    let ours = || procfs::pids().into_iter().filter(|pid| procfs::uid(*pid) == Some(UID)).collect::<Vec<i32>>();
    let of_network = ours().into_iter().find(|pid| procfs::name(*pid) == "cellblock-ssh").expect("an ssh process");
    for (field, value) in [("CapEff", "0000000000000000"), ("NoNewPrivs", "1"), ("Seccomp", "2")] {
        assert_eq!(procfs::status(of_network, field).as_deref(), Some(value), "{field}");
    }

    procfs::kill(tried.child.id() as i32, Signal::SIGTERM);
    assert_eq!(tried.wait(), 0);
    kept.wait();
    assert!(!dir.exists(), "nothing of it stays");
    soon("no process of the user's is left", || ours().into_iter().all(procfs::ended));
}

#[test]
fn nobody_else_gets_to_what_a_jail_keeps() {
    if !root() {
        return;
    }
    let user = User::new();
    user.ok("true");
    let state = user.home().join(".local/share/cellblock");
    assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o700);
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    let ran = user.run(&["--", "true"]);
    assert!(ran.status == 255 && ran.err.contains("others can enter it"), "{ran:?}");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    chown(&state, Some(UID + 1), Some(UID + 1)).unwrap();
    let ran = user.run(&["--", "true"]);
    assert!(ran.status == 255 && ran.err.contains("using "), "{ran:?}");
}
