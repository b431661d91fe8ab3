//! What clients may ask for on a channel, in the words of the wire, within bounds.
//!
//! The bounds add up to less than one message to the monitor (192 KiB).

use cellblock::base::Secret;
use cellblock::wire::forward::{MAX_HOST, MAX_PATH, Place, Target};
use cellblock::wire::login::{MAX_PASSWORD, Refusal};
use cellblock::wire::pam::{MAX_PROMPTS, MAX_TEXT};
use cellblock::wire::session::{MAX_COMMAND, Program, Signal, Terminal, WindowSize};
use russh::{Pty, Sig};

/// Longest user name passed on. Cut, not refused: no tenant's name is nearly that long, and the
/// monitor's log should have the try.
const MOST_USER: usize = 256;

/// Longest key blob: that of a 16,384-bit RSA key, eight times over.
const MOST_KEY: usize = 16 << 10;

/// Longest certificate: two keys of 16,384 bits, a signature, and 24 KiB for names and options.
const MOST_CERTIFICATE: usize = 32 << 10;

/// Longest name of a subsystem or of a terminal type.
const MOST_NAME: usize = 256;

/// Variables per session, as in OpenSSH.
const MOST_VARIABLES: usize = 128;

/// Their names and values together.
const MOST_ENVIRONMENT: usize = 16 << 10;

/// Longest cookie of an X display, in digits; the usual one has 32.
const MOST_COOKIE: usize = 256;

/// The user name as it goes to the monitor.
pub(crate) fn user(name: &str) -> String {
    name.chars()
        .scan(0, |length, c| {
            *length += c.len_utf8();
            (*length <= MOST_USER).then_some(c)
        })
        .collect()
}

/// The key blob as it goes to the monitor; `None` if it is too long to be anyone's.
pub(crate) fn key(key: &russh::keys::PublicKey) -> Option<Vec<u8>> {
    key.to_bytes().ok().filter(|blob| blob.len() <= MOST_KEY)
}

/// A password as it goes to the monitor: cut where no password can be that long, so that the monitor
/// sees that it was longer.
pub(crate) fn password(typed: &str) -> Secret {
    Secret::new(typed.as_bytes().iter().copied().take(MAX_PASSWORD + 1).collect())
}

/// Answers as they go to the monitor: more than are ever asked for, and longer ones than any may be, are cut
/// where the monitor still sees that there was more.
pub(crate) fn answers(given: impl Iterator<Item = impl AsRef<[u8]>>) -> Vec<Secret> {
    let cut = |answer: &[u8]| Secret::new(answer.get(..MAX_TEXT + 1).unwrap_or(answer).to_vec());
    given.take(MAX_PROMPTS + 1).map(|answer| cut(answer.as_ref())).collect()
}

/// The certificate as it goes to the monitor; `None` if it is longer than any that is taken.
pub(crate) fn certificate(certificate: &russh::keys::Certificate) -> Option<Vec<u8>> {
    certificate.to_bytes().ok().filter(|blob| blob.len() <= MOST_CERTIFICATE)
}

/// A command line, if it can be one.
pub(crate) fn command(line: &[u8]) -> Result<Program, Refusal> {
    if line.len() > MAX_COMMAND {
        Err(Refusal::TooLong)
    } else if line.contains(&0) {
        Err(Refusal::NotAllowed)
    } else {
        Ok(Program::Command(line.to_vec()))
    }
}

/// A subsystem, if it can be one.
pub(crate) fn subsystem(name: &str) -> Option<Program> {
    is_name(name).then(|| Program::Subsystem(name.to_owned()))
}

fn is_name(name: &str) -> bool {
    name.len() <= MOST_NAME && !name.contains('\0')
}

/// A terminal, if it can be one.
pub(crate) fn terminal(term: &str, size: WindowSize, modes: &[(Pty, u32)]) -> Option<Terminal> {
    // The library marks opcodes that it does not know as ends; the real end is never among them.
    let known = modes.iter().filter(|(opcode, _)| *opcode != Pty::TTY_OP_END);
    let modes = known.map(|(opcode, argument)| (*opcode as u8, *argument)).collect();
    is_name(term).then(|| Terminal { term: term.to_owned(), size, modes })
}

/// A size; numbers that no terminal has become the largest that one can have.
pub(crate) fn window_size(columns: u32, rows: u32, width: u32, height: u32) -> WindowSize {
    let short = |number| u16::try_from(number).unwrap_or(u16::MAX);
    WindowSize { columns: short(columns), rows: short(rows), width: short(width), height: short(height) }
}

/// Adds a variable; false if it cannot be one, or if there are too many.
pub(crate) fn set_variable(environment: &mut Vec<(String, String)>, name: &str, value: &str) -> bool {
    let length: usize = environment.iter().map(|(name, value)| name.len() + value.len()).sum();
    let fits = environment.len() < MOST_VARIABLES && length + name.len() + value.len() <= MOST_ENVIRONMENT;
    let sound = !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0');
    if fits && sound {
        environment.push((name.to_owned(), value.to_owned()));
    }
    fits && sound
}

/// Where to connect to, if it can be somewhere.
pub(crate) fn tcp_target(host: &str, port: u32) -> Option<Target> {
    let port = u16::try_from(port).ok().filter(|port| *port != 0)?;
    (host.len() <= MAX_HOST).then(|| Target::Tcp { host: host.to_owned(), port })
}

/// As [`tcp_target`].
pub(crate) fn unix_target(path: &str) -> Option<Target> {
    (path.len() <= MAX_PATH).then(|| Target::Unix { path: path.to_owned() })
}

/// Where to listen, if it can be somewhere.
pub(crate) fn tcp_place(host: &str, port: u32) -> Option<Place> {
    let port = u16::try_from(port).ok()?;
    (host.len() <= MAX_HOST).then(|| Place::Tcp { host: host.to_owned(), port })
}

/// As [`tcp_place`].
pub(crate) fn unix_place(path: &str) -> Option<Place> {
    (path.len() <= MAX_PATH).then(|| Place::Unix { path: path.to_owned() })
}

/// A display, if it can be one.
pub(crate) fn display(protocol: &str, cookie: &str, screen: u32) -> Option<Place> {
    let fits = is_name(protocol) && cookie.len() <= MOST_COOKIE;
    fits.then(|| Place::Display { protocol: protocol.to_owned(), cookie: cookie.to_owned(), screen })
}

/// Who connected at the client's side, as it says; cut as user names are.
pub(crate) fn peer(host: &str, port: u32) -> String {
    format!("{}:{port}", user(host))
}

/// A signal that may be sent.
pub(crate) fn signal(signal: &Sig) -> Option<Signal> {
    let name = match signal {
        Sig::ABRT => "ABRT",
        Sig::ALRM => "ALRM",
        Sig::FPE => "FPE",
        Sig::HUP => "HUP",
        Sig::ILL => "ILL",
        Sig::INT => "INT",
        Sig::KILL => "KILL",
        Sig::PIPE => "PIPE",
        Sig::QUIT => "QUIT",
        Sig::SEGV => "SEGV",
        Sig::TERM => "TERM",
        Sig::USR1 => "USR1",
        Sig::Custom(name) => name,
    };
    Signal::from_name(name)
}

/// The signal that ended a program, as clients know it: RFC 4254's names as they are, others made
/// unmistakable (RFC 4254, 6.10).
pub(crate) fn exit_signal(name: &str) -> Sig {
    match Signal::from_name(name) {
        Some(Signal::Abrt) => Sig::ABRT,
        Some(Signal::Alrm) => Sig::ALRM,
        Some(Signal::Fpe) => Sig::FPE,
        Some(Signal::Hup) => Sig::HUP,
        Some(Signal::Ill) => Sig::ILL,
        Some(Signal::Int) => Sig::INT,
        Some(Signal::Kill) => Sig::KILL,
        Some(Signal::Pipe) => Sig::PIPE,
        Some(Signal::Quit) => Sig::QUIT,
        Some(Signal::Segv) => Sig::SEGV,
        Some(Signal::Term) => Sig::TERM,
        Some(Signal::Usr1) => Sig::USR1,
        Some(Signal::Usr2) => Sig::Custom("USR2".into()),
        None => Sig::Custom(format!("{name}@cellblock")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_user_names_are_cut_between_characters() {
        assert_eq!(user(&"ä".repeat(1000)).len(), 256);
        assert_eq!(user("alice"), "alice");
    }

    #[test]
    fn environments_are_bounded() {
        let mut environment = Vec::new();
        for n in 0..200 {
            assert_eq!(set_variable(&mut environment, &format!("V{n}"), "x"), n < 128);
        }
        let mut environment = Vec::new();
        assert!(!set_variable(&mut environment, "BIG", &"x".repeat(MOST_ENVIRONMENT)));
        assert!(!set_variable(&mut environment, "A=B", "x"));
        assert!(!set_variable(&mut environment, "", "x"));
        assert!(!set_variable(&mut environment, "A", "x\0y"));
    }

    #[test]
    fn unknown_modes_are_skipped_and_later_ones_kept() {
        let modes = [(Pty::ECHO, 0), (Pty::TTY_OP_END, 0), (Pty::ICANON, 1), (Pty::TTY_OP_END, 0)];
        let terminal = terminal("xterm", WindowSize::default(), &modes).unwrap();
        assert_eq!(terminal.modes, [(53, 0), (51, 1)]);
        assert!(super::terminal("a\0b", WindowSize::default(), &[]).is_none());
    }

    #[test]
    fn commands_that_no_shell_can_get_are_refused() {
        assert_eq!(command(b"echo \0"), Err(Refusal::NotAllowed));
        assert_eq!(command(&vec![b'x'; MAX_COMMAND + 1]), Err(Refusal::TooLong));
        assert!(command(&vec![b'x'; MAX_COMMAND]).is_ok());
        assert_eq!(command(b"caf\xe9"), Ok(Program::Command(b"caf\xe9".to_vec())));
    }

    #[test]
    fn signals_outside_of_the_rfc_are_marked_as_ours() {
        assert!(matches!(exit_signal("KILL"), Sig::KILL));
        assert!(matches!(exit_signal("XCPU"), Sig::Custom(name) if name == "XCPU@cellblock"));
        assert_eq!(signal(&Sig::Custom("USR2".into())), Some(Signal::Usr2));
        assert_eq!(signal(&Sig::Custom("STOP".into())), None);
    }
}
