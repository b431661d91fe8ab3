//! The last steps before the shell, as the tenant: into the home directory, and what sshd prints.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::AsFd as _,
    path::Path,
};

use crate::sys::{mount, process};
use crate::wire::init::Start;

/// Most of `/etc/motd` that is shown: the tenant wrote it, and only it waits for it.
const MAX_MOTD: u64 = 64 << 10;

/// Goes home and greets. Nothing here can keep the shell from starting.
pub(super) fn arrive(start: &Start) {
    let home = Path::new(&start.account.home);
    if let Err(errno) = process::enter_directory(home) {
        say(&mut io::stderr(), format!("Could not chdir to home directory {}: {errno}\r\n", home.display()).as_bytes());
        if let Err(errno) = process::enter_directory(Path::new("/")) {
            say(&mut io::stderr(), format!("Could not chdir to /: {errno}\r\n").as_bytes());
        }
    }
    let Some(greeting) = &start.greeting else { return };
    if home.join(".hushlogin").symlink_metadata().is_ok() {
        return;
    }
    let mut out = io::stdout().lock();
    say(&mut out, greeting.said.as_bytes());
    if let Some(line) = &greeting.last_login {
        say(&mut out, format!("{}\n", line.trim_end()).as_bytes());
    }
    if greeting.motd
        && let Some(motd) = read_motd()
    {
        say(&mut out, &motd);
    }
}

/// Only a regular file (a fifo would wait for ever), and through no link: this process is still a
/// copy of init, and `/proc/self/maps` would tell the tenant where init's memory lies.
fn read_motd() -> Option<Vec<u8>> {
    let root = File::open("/").ok()?;
    let file = mount::open_to_read(root.as_fd(), Path::new("etc/motd")).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(MAX_MOTD).read_to_end(&mut text).ok()?;
    Some(text)
}

/// A reader that is gone misses nothing.
fn say(out: &mut impl io::Write, text: &[u8]) {
    if out.write_all(text).is_ok() && out.flush().is_err() {}
}
