//! What of an answer leads around the cell. Pure.

use super::accounts::{Account, Shell};
use super::answer::{Answer, Place};
use super::leak::{Found, WHO, Where};
use crate::base::escape;

mod forwards;
mod variables;

/// What to write for sessions to end in the cell.
const FORCE: &str = "ForceCommand exec /usr/sbin/cellblock enter";

/// A command line of sshd's config, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    /// There is none.
    None,
    /// `cellblock enter`, by its absolute path.
    Enter,
    /// `cellblock enter`, wherever the account's shell finds it.
    Loose,
    /// sshd's own server of files, which it runs without any shell.
    InternalSftp,
    /// Something else.
    Other,
}

impl Command {
    fn of(line: &str) -> Self {
        // A shell takes the rest for a comment.
        let line = line.split(" #").next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] | ["none"] => return Self::None,
            ["internal-sftp", ..] => return Self::InternalSftp,
            _other => {}
        }
        match words.strip_prefix(&["exec"]).unwrap_or(&words) {
            // Without root there is no record, and no limit over all sessions.
            [_, "enter", rest @ ..] if rest.contains(&"--rootless") => Self::Other,
            [program, "enter", rest @ ..] if rest.iter().chain([program]).all(|word| is_plain(word)) => {
                match program.rsplit_once('/') {
                    Some((_, "cellblock")) if program.starts_with('/') => Self::Enter,
                    Some((_, "cellblock")) => Self::Loose,
                    None if *program == "cellblock" => Self::Loose,
                    Some(_) | None => Self::Other,
                }
            }
            _other => Self::Other,
        }
    }
}

/// Whether a shell takes the word as it is.
fn is_plain(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_-.=:,@%+".contains(&byte))
}

/// All that leads around the cell of whoever comes as `account`.
pub(super) fn judge(account: &Account, answer: &Answer) -> Vec<Found> {
    if is_shut_out(account, answer) {
        return Vec::new();
    }
    let forced = Command::of(answer.value("forcecommand"));
    let mut all: Vec<Found> = session(&account.shell, forced, answer).into_iter().collect();
    if forced == Command::None {
        all.extend(subsystems(&account.shell, answer));
        all.extend(user_rc(&account.shell, answer));
    }
    all.extend(variables::judge(&account.shell, answer));
    all.extend(forwards::judge(answer));
    all
}

/// Whether sshd lets the account in at all, as far as that can be told without its patterns: those of the
/// four lists that are plain names.
fn is_shut_out(account: &Account, answer: &Answer) -> bool {
    let plain = |entry: &&str| !entry.contains(['*', '?', '!', '@']);
    let denies = |list: &str, named: &dyn Fn(&str) -> bool| answer.values(list).filter(plain).any(named);
    let leaves_out = |list: &str, named: &dyn Fn(&str) -> bool| {
        let mut entries = answer.values(list).peekable();
        entries.peek().is_some() && entries.all(|entry| plain(&entry) && !named(entry))
    };
    let by_name = |entry: &str| entry == account.name;
    let by_group = |entry: &str| account.groups.iter().any(|group| group == entry);
    denies("denyusers", &by_name)
        || denies("denygroups", &by_group)
        || leaves_out("allowusers", &by_name)
        || leaves_out("allowgroups", &by_group)
}

/// A shell or a command.
fn session(shell: &Shell, forced: Command, answer: &Answer) -> Option<Found> {
    let place = answer.place("forcecommand", |_any| true);
    let found = |what: String| Found::new(place, what, instead(FORCE, place));
    let line = || escape(answer.value("forcecommand"));
    match (forced, shell) {
        (Command::InternalSftp, _) => Some(found(format!("sshd itself serves {WHO} the files of this host"))),
        (_, Shell::Ours | Shell::Shut) => None,
        (Command::Enter, Shell::Hosts { startup: None, .. }) => None,
        (Command::Enter, Shell::Hosts { path, startup: Some(file) }) => {
            let what =
                format!("{} runs {} for {WHO} on this host, before the cell is entered", escape(path), shown(file));
            let hint = "make cellblock-shell the login shell (chsh -s /usr/sbin/cellblock-shell), or the home one that \
                        the account cannot write to";
            Some(Found { place: Where::Accounts, what, hint: hint.into() })
        }
        (Command::Loose, Shell::Hosts { path, .. }) => {
            Some(found(format!("{} looks for `{}` in the PATH of {WHO}", escape(path), line())))
        }
        (Command::Other, Shell::Hosts { .. }) => Some(found(format!("sshd runs `{}` for {WHO} on this host", line()))),
        (Command::None, Shell::Hosts { path, .. }) => {
            let hint = format!("{}; or make cellblock-shell the login shell", instead(FORCE, place));
            Some(Found::new(place, format!("sshd gives {WHO} {} of this host", escape(path)), hint))
        }
    }
}

fn shown(path: &std::path::Path) -> String {
    escape(&path.display().to_string())
}

/// Servers of files and others. What is forced is run in place of them, internal-sftp too.
fn subsystems(shell: &Shell, answer: &Answer) -> Vec<Found> {
    let judged = answer.values("subsystem").filter_map(|value| {
        let (name, line) = value.split_once([' ', '\t'])?;
        let what = match (Command::of(line), shell) {
            (Command::InternalSftp, _) => format!("sshd itself serves {WHO} the files of this host, and asks no shell"),
            (_, Shell::Ours | Shell::Shut) | (Command::Enter, Shell::Hosts { .. }) => return None,
            (Command::None | Command::Loose | Command::Other, Shell::Hosts { .. }) => {
                format!("sshd runs `{}` for {WHO} on this host", escape(line.trim()))
            }
        };
        let place = answer.place("subsystem", |value| value.split_whitespace().next() == Some(name));
        let hint = match name {
            "sftp" => format!(
                "write `Subsystem sftp /usr/sbin/cellblock enter --sftp` instead, or `{FORCE}` in a Match block for \
                 them, which is run in place of any subsystem"
            ),
            _other => format!("write `{FORCE}` in a Match block for them: it is run in place of any subsystem"),
        };
        Some(Found::new(place, what, hint))
    });
    judged.collect()
}

/// `~/.ssh/rc`. By another shell than the host's it is looked for in the cell, and where a command is forced it
/// is not run.
fn user_rc(shell: &Shell, answer: &Answer) -> Option<Found> {
    let of_host = match shell {
        Shell::Ours | Shell::Shut => false,
        Shell::Hosts { .. } => true,
    };
    if !of_host || answer.value("permituserrc") != "yes" {
        return None;
    }
    let place = answer.place("permituserrc", |_any| true);
    Some(Found::new(place, format!("sshd runs ~/.ssh/rc for {WHO} on this host"), instead("PermitUserRC no", place)))
}

/// Where to write `line`.
fn instead(line: &str, place: Option<&Place>) -> String {
    match place {
        Some(place) if place.matched => format!("write `{line}` instead"),
        Some(_) | None => {
            format!("write `{line}` in a Match block for them, as config/sshd_config.d/cellblock.conf does")
        }
    }
}

#[cfg(test)]
mod tests;
