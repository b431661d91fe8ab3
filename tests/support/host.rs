//! A host with accounts of its own: Debian's sshd with our `sshd_config.d/cellblock.conf`, login shells, and
//! a door behind them. Its `/etc` and `/run` lie in a mount namespace, so that this machine's stay as they are.

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::sys::signal::Signal;

use super::{Door, Ran, Scratch, door::Builder, free_port, in_tree, patience, procfs, program, run_bounded, until};

/// Accounts: name, uid, groups besides their own, whether `cellblock-shell` is their login shell.
const ACCOUNTS: [(&str, u32, &str, bool); 5] = [
    // Tied to the tenant alice by `host_user`, and to sshd's Match by the group.
    ("alice", 61_001, "tenants", false),
    // Tied to her too, by a group of its own; it has the login shell and no ForceCommand.
    ("alice-sh", 61_002, "alices", true),
    // Tied to bob by `host_user`, and in alice's group.
    ("bob", 61_003, "tenants,alices", false),
    // No tenant, although sshd forces it in.
    ("mallory", 61_004, "tenants", false),
    // No tenant, with the login shell.
    ("trudy", 61_005, "", true),
];

/// See the module.
pub struct Host {
    pub door: Door,
    /// sshd's.
    pub port: u16,
    /// The home of alice's account on the host, which is hers to write in.
    pub home: PathBuf,
    sshds: Vec<Child>,
    _etc: Scratch,
}

impl Host {
    /// alice and bob with these lines; the door and sshd in front of it.
    pub fn start(alice: &str, bob: &str) -> Self {
        Self::with(Door::with("[defaults]\nroot = \"host\"\n"), alice, bob)
    }

    pub fn with(builder: Builder, alice: &str, bob: &str) -> Self {
        Self::made(builder, alice, bob, |_| Vec::new())
    }

    /// As [`Host::start`], where callers can send descriptors to the listener, as they can before Linux 6.16.
    pub fn where_descriptors_pass(alice: &str, bob: &str) -> Self {
        Self::made(Door::with("[defaults]\nroot = \"host\"\n"), alice, bob, |scratch| {
            let library = scratch.join("no_passrights.so");
            let source = in_tree("tests/probe/no_passrights.c");
            let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
            assert!(built.unwrap().success());
            vec!["env".into(), format!("LD_PRELOAD={}", library.display())]
        })
    }

    /// `more`: words before the door's own.
    fn made(builder: Builder, alice: &str, bob: &str, more: impl FnOnce(&Scratch) -> Vec<String>) -> Self {
        let etc = Scratch::new();
        fs::set_permissions(etc.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let home = etc.join("home");
        fs::create_dir(&home).unwrap();
        chown(&home, Some(61_001), Some(61_001)).unwrap();
        let mut words = own_etc(&etc);
        words.extend(more(&etc));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let door = builder
            .tenant("alice", &format!("host_user = \"alice\"\nhost_group = \"alices\"\n{alice}"))
            .tenant("bob", &format!("host_user = \"bob\"\n{bob}"))
            .wrapped(&words)
            .start();
        // Accounts go through it to the programs and to the socket.
        fs::set_permissions(door.dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        fs::create_dir(door.dir.join("keys")).unwrap();
        for (name, ..) in ACCOUNTS {
            fs::copy(door.dir.join("id.pub"), door.dir.join("keys").join(name)).unwrap();
        }
        fs::set_permissions(door.dir.join("keys"), fs::Permissions::from_mode(0o755)).unwrap();
        let at = door.dir.path().display().to_string();
        let mut mount = inside(&door, &["sh", "-ec"]);
        mount.arg(format!(
            "mount -t tmpfs none /run; mkdir -p /run/sshd /run/cellblock; mount --bind {at}/run /run/cellblock; \
             mount --bind {}/sbin /usr/local/sbin",
            etc.path().display()
        ));
        assert!(mount.status().unwrap().success());
        let port = free_port();
        let piece = shipped(&door.dir.join("keys"));
        let sshd = start_sshd(&door, port, "sshd", "/usr/local/sbin/cellblock enter --sftp", &piece);
        Self { door, port, sshds: vec![sshd], home, _etc: etc }
    }

    /// Another sshd of the host, with this for sftp: with our piece of config, or with these lines.
    pub fn another_sshd(&mut self, sftp: &str, lines: Option<&str>) {
        self.port = free_port();
        let lines = lines.map_or_else(|| shipped(&self.door.dir.join("keys")), str::to_owned);
        let name = format!("sshd{}", self.sshds.len());
        self.sshds.push(start_sshd(&self.door, self.port, &name, sftp, &lines));
    }

    pub fn sshd_log(&self) -> String {
        fs::read_to_string(self.door.dir.join("sshd.log")).unwrap_or_default()
    }

    /// `ssh ACCOUNT` through sshd, to which options and a command can be added.
    pub fn ssh(&self, account: &str) -> Command {
        let mut command = self.client("ssh");
        command.args(["-l", account, "host"]);
        command
    }

    /// A client of OpenSSH's, set up for sshd.
    pub fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-F").arg(self.door.dir.join("ssh_config"));
        command.args(["-o", &format!("Port={}", self.port)]).env_remove("LANG").env_remove("LC_ALL");
        command
    }

    /// Runs `line` through sshd.
    pub fn run(&self, account: &str, line: &str) -> Ran {
        let mut command = self.ssh(account);
        command.arg(line);
        run_bounded(command, b"")
    }

    /// A command that runs on the host as this account, with nothing of ours in its environment.
    pub fn on_host(&self, account: &str, words: &[&str]) -> Command {
        let mut command = inside(&self.door, &["env", "-i", "PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/bin", "setpriv"]);
        command.args(["--reuid", account, "--regid", account, "--init-groups", "--"]).args(words);
        command
    }

    /// The same as root of the host.
    pub fn as_root(&self, words: &[&str]) -> Command {
        let mut command =
            inside(&self.door, &["env", "-i", "PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/bin", "TERM=xterm"]);
        command.args(words);
        command
    }

    /// `cellblock enter` with these words, as this account.
    pub fn enter(&self, account: &str, words: &[&str]) -> Command {
        let words: Vec<&str> = ["cellblock", "enter"].iter().chain(words).copied().collect();
        if account == "root" { self.as_root(&words) } else { self.on_host(account, &words) }
    }

    /// What it prints, which must succeed.
    pub fn entered(&self, account: &str, words: &[&str]) -> String {
        let ran = run_bounded(self.enter(account, words), b"");
        assert_eq!(ran.status, 0, "{account} {words:?}: {}\n{}", ran.err, self.door.log());
        ran.text()
    }

    /// Ends the callers that this account runs on this host: others have accounts with the same uids.
    pub fn end_callers(&self, account: &str) {
        let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        let here = namespace(self.door.listener());
        let own = |pid: &i32| procfs::uid(*pid) == Some(Self::uid(account)) && procfs::name(*pid) == "python3";
        for pid in procfs::pids().into_iter().filter(own).filter(|pid| namespace(*pid) == here) {
            procfs::kill(pid, Signal::SIGKILL);
        }
    }

    pub fn uid(account: &str) -> u32 {
        ACCOUNTS.iter().find(|(name, ..)| *name == account).unwrap().1
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- sshd's log\n{}", self.sshd_log());
        }
        for sshd in &mut self.sshds {
            sshd.kill().ok();
            sshd.wait().ok();
        }
    }
}

/// A command in the door's mount namespace.
fn inside(door: &Door, words: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["-m", "-t", &door.listener().to_string()]).args(words);
    command
}

/// A copy of `/etc` with the accounts, and the words that start a door with it.
fn own_etc(scratch: &Scratch) -> Vec<String> {
    let etc = scratch.join("etc");
    assert!(Command::new("cp").args(["-a", "/etc"]).arg(&etc).status().unwrap().success());
    let add = |name: &str, text: String| {
        let path = etc.join(name);
        let old = fs::read_to_string(&path).unwrap_or_default();
        fs::write(path, old + &text).unwrap();
    };
    for (name, uid, _, shell) in ACCOUNTS {
        let shell = if shell { "/usr/local/sbin/cellblock-shell" } else { "/bin/sh" };
        let home = if name == "alice" { scratch.join("home").display().to_string() } else { "/".into() };
        add("passwd", format!("{name}:x:{uid}:{uid}::{home}:{shell}\n"));
        add("group", format!("{name}:x:{uid}:\n"));
        add("shadow", format!("{name}:*:19000:0:99999:7:::\n"));
    }
    for (number, group) in ["tenants", "alices"].into_iter().enumerate() {
        let members: Vec<_> = ACCOUNTS
            .iter()
            .filter(|(.., groups, _)| groups.split(',').any(|one| one == group))
            .map(|(name, ..)| *name)
            .collect();
        add("group", format!("{group}:x:{}:{}\n", 61_100 + number, members.join(",")));
    }
    add("shells", "/usr/local/sbin/cellblock-shell\n".to_owned());
    let sbin = scratch.join("sbin");
    fs::create_dir(&sbin).unwrap();
    for name in ["cellblock", "cellblock-admin"] {
        fs::copy(program(name), sbin.join(name)).unwrap();
    }
    symlink("cellblock", sbin.join("cellblock-shell")).unwrap();
    for path in [sbin.as_path(), &sbin.join("cellblock"), &sbin.join("cellblock-admin"), &etc] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    with_etc(&etc)
}

/// The words that start a door with this `/etc`.
pub fn with_etc(etc: &Path) -> Vec<String> {
    ["unshare", "-m", "sh", "-c", "mount --bind $0 /etc && exec \"$@\"", &etc.display().to_string()]
        .map(str::to_owned)
        .to_vec()
}

/// Our piece of sshd's config, as it is shipped but for where programs and keys lie.
fn shipped(keys: &Path) -> String {
    let path = in_tree("config/sshd_config.d/cellblock.conf");
    let text = fs::read_to_string(path).unwrap();
    for part in ["/usr/sbin/cellblock", "/etc/ssh/tenants.d"] {
        assert!(text.contains(part), "the test replaces {part}");
    }
    text.replace("/usr/sbin/cellblock", "/usr/local/sbin/cellblock")
        .replace("/etc/ssh/tenants.d", &keys.display().to_string())
}

/// An sshd with this subsystem for sftp, and with these lines.
fn start_sshd(door: &Door, port: u16, name: &str, sftp: &str, lines: &str) -> Child {
    let (at, keys) = (door.dir.path().display(), door.dir.join("keys"));
    let key = door.dir.join("sshd_key");
    if !key.exists() {
        let made = Command::new("ssh-keygen").args(["-qt", "ed25519", "-N", "", "-f"]).arg(&key).status();
        assert!(made.unwrap().success());
    }
    let config = door.dir.write(
        &format!("{name}_config"),
        &format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {at}/sshd_key\nUsePAM no\nPidFile none\nStrictModes no\n\
             AuthorizedKeysFile {keys}/%u\nPasswordAuthentication no\nMaxStartups 1000:30:1000\nMaxSessions 1000\n\
             PrintMotd no\nPrintLastLog no\nAcceptEnv LANG LC_* EVIL\nSubsystem sftp {sftp}\n{lines}",
            keys = keys.display(),
        ),
    );
    let path = door.dir.join(&format!("{name}.log"));
    let log = || File::options().create(true).append(true).open(&path).unwrap();
    let mut command = inside(door, &["/usr/sbin/sshd", "-D", "-e", "-f"]);
    command.arg(config).stdin(Stdio::null()).stdout(log()).stderr(log());
    let child = command.spawn().unwrap();
    let up = until(patience(20), || fs::read_to_string(&path).is_ok_and(|log| log.contains("Server listening")));
    assert!(up, "sshd does not start: {}", fs::read_to_string(&path).unwrap_or_default());
    child
}
