//! Starts the ssh process of a connection: runs in the monitor, as root.
//!
//! What can only be done from outside is done and read back here: namespaces, id maps, the
//! descriptors it gets. The rest of its sandbox the process builds itself, from inside, and says
//! so with `Request::Confined`; until then it has read nothing from the network.

use std::{
    ffi::{CStr, CString},
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
};

use crate::base::{Failure, Result, fail};
use crate::sys::{
    Errno, SysResult, before_exec,
    process::{self, Forked, Pid, namespaces},
    sandbox, seqpacket, signal,
};
use crate::wire::{
    Link,
    login::{Reply, Request},
};

/// Every namespace there is.
const NAMESPACES: u64 = namespaces::USER
    | namespaces::MOUNT
    | namespaces::PID
    | namespaces::NET
    | namespaces::IPC
    | namespaces::UTS
    | namespaces::CGROUP;

/// Their links in `/proc/PID/ns`.
const NAMESPACE_LINKS: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

/// All that is in the environment of the ssh process: what glibc must know for bytes to flow. A libc
/// that does not know this ignores it. Measured in docs/performance.md.
///
/// The bytes are moved three or four times on their way through the library, from and to where they
/// happen to lie, and glibc moves a few KiB and more with `rep movsb`, which on AMD's Zen 3 and 4 goes
/// at a twentieth of its speed where the target lies a few bytes behind the source in its page (glibc's
/// bug 30994). And a packet's buffer at the end of the heap goes back to the kernel with each packet,
/// and is had again with page faults, unless a heap may keep a MiB; as would one that is no part of the heap, and
/// with the setting before it those of 128 KiB and more were none.
const ENVIRONMENT: &CStr =
    c"GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=0x40000000:glibc.malloc.trim_threshold=0x100000:glibc.malloc.mmap_threshold=0x100000";

/// Longest `/proc` file read back here: one line of a map.
const MAX_MAP: u64 = 256;

/// Starts `program`, a sealed copy of `cellblock-ssh`, for the client behind `connection`.
///
/// Returns the link to it and its pidfd. It runs as host ids `uid` and `gid`, alone in namespaces
/// of its own, and dies with the caller or when the link is dropped. It has sent nothing yet: its
/// first message is `Request::Confined`, or a `Note` that says why it gave up.
pub fn start_ssh(
    program: BorrowedFd<'_>,
    connection: OwnedFd,
    uid: u32,
    gid: u32,
) -> Result<(Link<Reply, Request>, OwnedFd)> {
    let failed = |errno: Errno| fail("starting the ssh process", "", errno);
    let (link, their_link) = seqpacket::pair().map_err(failed)?;
    let (go, wait_for_go) = seqpacket::pair().map_err(failed)?;
    match process::clone_into(NAMESPACES, None).map_err(failed)? {
        Forked::Child => {
            drop(go);
            // Told by a number that is not laid out: after that, the connection may lie at the link's own.
            let Ok(teller) = before_exec::out_of_the_way(their_link.as_fd()) else { process::exit_now(2) };
            let why = become_ssh(program, connection.as_fd(), their_link.as_fd(), wait_for_go.as_fd());
            let text = format!("cannot start the ssh process: {why}");
            let told = Link::<Request, Reply>::new(teller).send(&Request::Note { text });
            process::exit_now(if told.is_ok() { 1 } else { 2 });
        }
        Forked::Parent { pid, pidfd } => {
            match map_and_check(pid, uid, gid).and_then(|()| seqpacket::send(go.as_fd(), b"go", &[]).map_err(failed)) {
                Ok(()) => Ok((Link::new(link), pidfd)),
                Err(failure) => {
                    give_up(pidfd.as_fd())?;
                    Err(failure)
                }
            }
        }
    }
}

/// The new process, up to its exec. Returns only if it fails. Owns no descriptor number for good:
/// whatever fails here ends in `exit_now`.
fn become_ssh(program: BorrowedFd<'_>, connection: BorrowedFd<'_>, link: BorrowedFd<'_>, go: BorrowedFd<'_>) -> Errno {
    match lay_out(program, connection, link, go) {
        Err(errno) => errno,
        Ok(program) => {
            process::exec(program.as_fd(), &[CString::from(c"cellblock-ssh")], &[CString::from(ENVIRONMENT)])
        }
    }
}

fn lay_out(
    program: BorrowedFd<'_>,
    connection: BorrowedFd<'_>,
    link: BorrowedFd<'_>,
    go: BorrowedFd<'_>,
) -> SysResult<OwnedFd> {
    let (length, _fds) = seqpacket::receive(go, &mut [0; 8])?;
    if length == 0 {
        return Err(Errno::EPIPE);
    }
    sandbox::become_root_of_namespace()?;
    // After the change of ids, which clears it.
    process::die_with_parent(signal::SIGKILL)?;
    signal::reset_all()?;
    let program = before_exec::out_of_the_way(program)?;
    // The connection and the link at the numbers where `ssh/serve.rs` takes them.
    before_exec::lay_out([None, None, None, Some(connection), Some(link)])?;
    Ok(program)
}

/// Maps one host id to 0, and makes sure that the namespaces are new.
fn map_and_check(pid: Pid, uid: u32, gid: u32) -> Result<()> {
    write_map(pid, "uid_map", uid)?;
    write_map(pid, "gid_map", gid)?;
    let score = format!("/proc/{pid}/oom_score_adj");
    process::reset_oom_score(Path::new(&score)).map_err(|errno| fail("writing", &score, errno))?;
    for link in NAMESPACE_LINKS {
        let path = format!("/proc/{pid}/ns/{link}");
        let stat = |path: &str| fs::metadata(path).map_err(|error| fail("looking at", path, error));
        if stat(&path)?.ino() == stat(&format!("/proc/self/ns/{link}"))?.ino() {
            return Err(fail("confining the ssh process", path, "not a namespace of its own"));
        }
    }
    Ok(())
}

fn write_map(pid: Pid, file: &str, id: u32) -> Result<()> {
    let path = format!("/proc/{pid}/{file}");
    write_proc(&path, &format!("0 {id} 1\n"))?;
    let mut text = String::new();
    let opened = File::open(&path).and_then(|map| map.take(MAX_MAP).read_to_string(&mut text));
    opened.map_err(|error| fail("reading back", &path, error))?;
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    if fields == ["0", &id.to_string(), "1"] {
        Ok(())
    } else {
        Err(fail("confining the ssh process", path, "the map does not read back as written"))
    }
}

fn write_proc(path: &str, text: &str) -> Result<()> {
    let written = OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| fail("writing", path, error))
}

/// Ends a process that cannot be let go on, and reaps it.
fn give_up(pidfd: BorrowedFd<'_>) -> Result<()> {
    let failed = |errno: Errno| -> Failure { fail("ending an ssh process that could not be confined", "", errno) };
    process::signal_pidfd(pidfd, signal::SIGKILL).map_err(failed)?;
    process::wait_for(pidfd).map_err(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader},
        process::{Child, Command, Stdio},
    };

    use super::*;

    const ID: u32 = 64_778;

    /// A process in namespaces of its own but for one, until it is dropped.
    struct Alone {
        unshare: Child,
        pid: Pid,
    }

    impl Alone {
        fn but_for(shared: &str) -> Self {
            let all = ["user", "mount", "pid", "net", "ipc", "uts", "cgroup"];
            let own = all.iter().filter(|namespace| **namespace != shared).map(|namespace| format!("--{namespace}"));
            let mut unshare = Command::new("unshare");
            // It ends with its input.
            unshare.args(own).args(["--fork", "sh", "-c", "echo up; read -r line"]);
            let mut unshare = unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut up = String::new();
            BufReader::new(unshare.stdout.take().unwrap()).read_line(&mut up).unwrap();
            assert_eq!(up, "up\n", "without its own {shared}");
            let children = format!("/proc/{0}/task/{0}/children", unshare.id());
            let pid = fs::read(children).unwrap();
            let pid = String::from_utf8(pid).unwrap().trim().parse().unwrap();
            Self { unshare, pid }
        }
    }

    impl Drop for Alone {
        fn drop(&mut self) {
            drop(self.unshare.stdin.take());
            self.unshare.wait().unwrap();
        }
    }

    #[test]
    fn a_process_that_shares_a_namespace_with_the_host_is_not_let_go_on() {
        if process::effective_uid() != 0 {
            assert!(std::env::var_os("REQUIRE_ROOT").is_none(), "REQUIRE_ROOT is set and this is not root");
            return;
        }
        map_and_check(Alone::but_for("none").pid, ID, ID).unwrap();
        for (shared, link) in
            [("mount", "mnt"), ("pid", "pid"), ("net", "net"), ("ipc", "ipc"), ("uts", "uts"), ("cgroup", "cgroup")]
        {
            let alone = Alone::but_for(shared);
            let said = map_and_check(alone.pid, ID, ID).unwrap_err().to_string();
            assert!(said.contains(&format!("/ns/{link}: not a namespace of its own")), "{shared}: {said}");
        }
        // The host's has a map, which nobody may write.
        let alone = Alone::but_for("user");
        let said = map_and_check(alone.pid, ID, ID).unwrap_err().to_string();
        assert!(said.contains("uid_map"), "{said}");
    }
}
