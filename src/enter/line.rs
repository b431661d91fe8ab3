//! The command line of a caller, as far as it is simple. What is not, help and mistakes among it, is for the parser of
//! all verbs (`cli`), which says the same in its own words.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use crate::wire::enter::SOCKET;

use super::ask::{Asked, BadArguments, ORIGINAL, is_login_shell, login_shell};

/// Where to call, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What is asked for.
    pub asked: Asked,
    /// Where the listener takes callers.
    pub socket: PathBuf,
}

impl Line {
    /// Of a login shell, or `cellblock enter` with words that are plain; `None`: it is for `cellblock-admin` to
    /// understand.
    pub fn parse(arguments: &[OsString]) -> Result<Option<Self>, BadArguments> {
        let Some((name, rest)) = arguments.split_first() else { return Ok(None) };
        if is_login_shell(name) {
            let program = login_shell(rest.iter().cloned(), env::var_os(ORIGINAL))?;
            return Ok(Some(Self { asked: Asked { tenant: None, program }, socket: SOCKET.into() }));
        }
        Ok(rest.split_first().filter(|(verb, _)| *verb == "enter").and_then(|(_, words)| of_enter(words)))
    }
}

fn of_enter(words: &[OsString]) -> Option<Line> {
    let (mut tenant, mut sftp, mut socket) = (None, false, None);
    let mut words = words.iter();
    let command = loop {
        match words.next().map(|word| (word, word.as_bytes())) {
            None => break Vec::new(),
            Some((_, b"--")) => break words.cloned().collect(),
            Some((_, b"--sftp")) if !sftp => sftp = true,
            Some((_, b"--socket")) if socket.is_none() => socket = Some(given(words.next()?)?),
            Some((_, word)) if word.starts_with(b"--socket=") && socket.is_none() => {
                socket = Some(given(OsStr::from_bytes(word.strip_prefix(b"--socket=")?))?);
            }
            Some((word, bytes)) if !bytes.starts_with(b"-") && tenant.is_none() => {
                tenant = Some(word.to_str()?.to_owned())
            }
            Some(_other) => return None,
        }
    };
    if sftp && !command.is_empty() {
        return None;
    }
    Some(Line { asked: Asked::of(tenant, sftp, &command), socket: socket.unwrap_or_else(|| SOCKET.into()) })
}

/// A path that can be nothing else.
fn given(word: &OsStr) -> Option<PathBuf> {
    (!word.is_empty() && !word.as_bytes().starts_with(b"-")).then(|| Path::new(word).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::session::Program;

    fn parse(words: &[&str]) -> Option<Line> {
        Line::parse(&words.iter().map(OsString::from).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_tenant_and_words_are_understood_wherever_the_socket_is_named() {
        let words = |words: &[&str]| Program::Words(words.iter().map(|word| word.as_bytes().to_vec()).collect());
        let line = |socket: &str, program| Line {
            asked: Asked { tenant: Some("bob".into()), program },
            socket: socket.into(),
        };
        for socket in [&["--socket", "/s"][..], &["--socket=/s"]] {
            for place in 0..2 {
                let mut all = vec!["bob"];
                socket.iter().rev().for_each(|word| all.insert(place, word));
                let all = [&["/usr/sbin/cellblock", "enter"][..], &all, &["--", "true", "--sftp"]].concat();
                assert_eq!(parse(&all), Some(line("/s", words(&["true", "--sftp"]))), "{all:?}");
            }
        }
        assert_eq!(parse(&["cellblock", "enter", "bob"]), Some(line(SOCKET, Program::Shell)));
        assert_eq!(
            parse(&["cellblock", "enter", "--sftp", "bob"]),
            Some(line(SOCKET, Program::Subsystem("sftp".into())))
        );
        assert_eq!(parse(&["-cellblock-shell"]).map(|line| line.asked.program), Some(Program::Shell));
    }

    #[test]
    fn all_else_is_left_to_the_parser_of_all_verbs() {
        for words in [
            "",
            "serve",
            "--config x enter",
            "enter --config x",
            "enter --help",
            "enter bob -h",
            "enter bob true",
            "enter -",
            "enter --rootless",
            "enter --socket",
            "enter --socket --",
            "enter --socket= bob",
            "enter --sftp -- true",
            "enter --sftp --sftp",
            "enter --socket a --socket b",
            "help enter",
            "enterr",
            "enter --soc x",
            "enter bob --verbose",
        ] {
            let all: Vec<&str> = ["cellblock"].into_iter().chain(words.split_whitespace()).collect();
            assert_eq!(parse(&all), None, "{words}");
        }
        assert_eq!(Line::parse(&[]), Ok(None));
    }
}
