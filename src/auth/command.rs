//! `authorized_keys_command`: asks a program of the admin's for lines of keys.
//!
//! The program runs as an account of its own, which is not root, in a process id namespace of its
//! own, so that its end is the end of all that it started; without other groups, capabilities,
//! descriptors or our environment, for a limited time and with limited output. Whatever it leaves to
//! be desired (an exit status, a signal, too much of anything), none of its lines is used.

use std::{
    ffi::CString,
    fs::File,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use crate::base::{Fields, Result, fail};
use crate::config::settings::KeysCommand;
use crate::sys::process::{self, Ended, Forked, namespaces};
use crate::sys::{Errno, SysResult, before_exec, credentials, fd, file, poll, signal};

/// From start to end. OpenSSH waits for ever; a login has 120 seconds as a rule, and several keys.
const TIME: Duration = Duration::from_secs(10);

/// Longest output: a thousand keys.
const MAX_OUTPUT: usize = 256 << 10;

/// What programs find by name.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Exit status of a child that could not become the program, as of shells.
const NOT_STARTED: i32 = 127;

/// What `command` prints about the key or certificate `key` of whoever calls itself `user`, which
/// must be harmless in an argument.
pub(super) fn ask(command: &KeysCommand, user: &str, key: &[u8]) -> Result<Vec<u8>> {
    let asking = || format!("{} for {user}", command.words.first().map_or("", String::as_str));
    let (program, arguments) =
        words(command, user, key).ok_or_else(|| fail("asking", asking(), "an argument cannot be handed over"))?;
    // Again on each login: the check of the config was a while ago.
    if let Some(path) = command.words.first() {
        file::trusted_file(Path::new(path), file::Links::Follow).map_err(|why| fail("asking", asking(), why))?;
    }
    let deadline = Instant::now() + TIME;
    let failed = |errno: Errno| fail("asking", asking(), errno);
    let (reader, writer) = fd::pipe().map_err(failed)?;
    let child = match process::clone_into(namespaces::PID, None).map_err(failed)? {
        Forked::Child => {
            let environment = environment(&command.user);
            if prepare(writer.as_fd(), command.uid, command.gid).is_ok() {
                process::exec_path(&program, &arguments, &environment);
            }
            process::exit_now(NOT_STARTED)
        }
        Forked::Parent { pidfd, pid: _ } => pidfd,
    };
    drop(writer);
    let output = read_all(reader, deadline);
    let ended = end(child.as_fd(), deadline, output.is_ok()).map_err(failed)?;
    let output = output.map_err(|why| fail("asking", asking(), why))?;
    match ended {
        Ended::Exited(0) => Ok(output),
        Ended::Exited(status) => Err(fail("asking", asking(), format_args!("it ended with status {status}"))),
        Ended::Killed { signal, .. } => {
            Err(fail("asking", asking(), format_args!("signal {} ended it", signal::name(signal))))
        }
    }
}

/// The arguments with what their tokens stand for.
fn words(command: &KeysCommand, user: &str, key: &[u8]) -> Option<(CString, Vec<CString>)> {
    let kind = Fields::new(key).string().and_then(|kind| str::from_utf8(kind).ok()).unwrap_or_default();
    let whole = BASE64.encode(key);
    let fingerprint =
        if kind.contains("-cert-v01@") { super::certified_fingerprint(key) } else { super::fingerprint(key) };
    let fill = |word: &String| {
        let mut out = String::with_capacity(word.len());
        let mut chars = word.chars();
        while let Some(c) = chars.next() {
            match (c, c == '%') {
                (_, true) => match chars.next()? {
                    'u' => out.push_str(user),
                    'k' => out.push_str(&whole),
                    't' => out.push_str(kind),
                    'f' => out.push_str(&fingerprint),
                    '%' => out.push('%'),
                    _unknown => return None,
                },
                (other, false) => out.push(other),
            }
        }
        CString::new(out).ok()
    };
    let program = CString::new(command.words.first()?.as_str()).ok()?;
    let arguments = std::iter::once(Some(program.clone())).chain(command.words.iter().skip(1).map(fill));
    Some((program, arguments.collect::<Option<_>>()?))
}

fn environment(user: &str) -> Vec<CString> {
    let lines = [PATH.to_owned(), format!("USER={user}"), format!("LOGNAME={user}"), "HOME=/".to_owned()];
    lines.into_iter().filter_map(|line| CString::new(line).ok()).collect()
}

/// Makes the child one that may become the program.
fn prepare(output: BorrowedFd<'_>, uid: u32, gid: u32) -> SysResult<()> {
    before_exec::start_afresh([None, Some(output), None])?;
    credentials::keep_bounding_set(0)?;
    credentials::become_user(uid, gid)?;
    credentials::keep_capabilities(0)?;
    credentials::forbid_new_privileges()?;
    // After the change of ids, which clears it.
    process::die_with_parent(signal::SIGKILL)
}

fn read_all(reader: OwnedFd, deadline: Instant) -> Result<Vec<u8>, String> {
    let mut output = Vec::new();
    let mut chunk = [0; 4096];
    let mut pipe = File::from(reader);
    loop {
        let ready = poll::wait_readable(&[pipe.as_fd()], Some(deadline)).map_err(|errno| errno.to_string())?;
        if !ready.contains(&true) {
            if Instant::now() < deadline {
                continue;
            }
            return Err(format!("it took more than {} seconds", TIME.as_secs()));
        }
        match io_read(&mut pipe, &mut chunk)? {
            [] => return Ok(output),
            more => output.extend_from_slice(more),
        }
        if output.len() > MAX_OUTPUT {
            return Err(format!("it said more than {MAX_OUTPUT} bytes"));
        }
    }
}

fn io_read<'a>(pipe: &mut File, chunk: &'a mut [u8]) -> Result<&'a [u8], String> {
    let length = std::io::Read::read(pipe, chunk).map_err(|error| error.to_string())?;
    Ok(chunk.get(..length).unwrap_or_default())
}

/// Waits for the end of the program if it is `done` with its output, and sees to it in any case: with
/// the first process of its namespace go all others.
fn end(child: BorrowedFd<'_>, deadline: Instant, done: bool) -> SysResult<Ended> {
    let ended = done && poll::wait_readable(&[child], Some(deadline))?.contains(&true);
    if !ended {
        match process::signal_pidfd(child, signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(errno),
        }
    }
    process::wait_for(child)
}
