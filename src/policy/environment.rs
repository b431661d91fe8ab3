//! The environment of a session, from nothing, in the order in which sshd builds it.

use crate::wire::{init::Account, variables::is_taken};

/// Most variables that a client may set. OpenSSH takes 128.
const MAX_CLIENT_VARIABLES: usize = 128;
/// Most bytes of names and values that a client may set: with the longest command line the session
/// still fits into one message (`wire::link::MAX_MESSAGE`).
const MAX_CLIENT_BYTES: usize = 16 << 10;
/// Longest `TERM`; terminfo names are far shorter.
const MAX_TERM: usize = 64;

/// Debian's `SUPERUSER_PATH` and `USER_PATH` of sshd.
const ROOT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const USER_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/games";

/// What the environment is built from.
#[derive(Debug)]
pub(super) struct Sources<'a> {
    /// Who runs it.
    pub(super) account: &'a Account,
    /// What the client asks for, in order.
    pub(super) client: &'a [(String, String)],
    /// Which of it is taken; empty where `env` is switched off.
    pub(super) accept: &'a [String],
    /// What the admin sets.
    pub(super) set: &'a [(String, String)],
    /// `SSH_CLIENT`, `SSH_CONNECTION` and the like: nobody overrides them.
    pub(super) connection: Vec<(&'static str, String)>,
    /// The client's terminal type, where the session has a terminal.
    pub(super) term: Option<&'a str>,
}

/// The whole environment but `SSH_TTY`, which init adds. Each name once; what comes later wins.
pub(super) fn environment(sources: &Sources<'_>) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut bytes = 0_usize;
    for (name, value) in sources.client.iter().take(MAX_CLIENT_VARIABLES) {
        if value.contains('\0') || !is_taken(name, sources.accept) {
            continue;
        }
        bytes = bytes.saturating_add(name.len()).saturating_add(value.len());
        if bytes > MAX_CLIENT_BYTES {
            break;
        }
        set(&mut out, name, value);
    }

    let account = sources.account;
    set(&mut out, "USER", &account.name);
    set(&mut out, "LOGNAME", &account.name);
    set(&mut out, "HOME", &account.home);
    set(&mut out, "PATH", if account.uid == 0 { ROOT_PATH } else { USER_PATH });
    set(&mut out, "MAIL", &format!("/var/mail/{}", account.name));
    set(&mut out, "SHELL", &account.shell);
    for (name, value) in sources.set {
        set(&mut out, name, value);
    }
    for (name, value) in &sources.connection {
        set(&mut out, name, value);
    }
    if let Some(term) = sources.term
        && term.len() <= MAX_TERM
        && term.bytes().all(|b| b.is_ascii_graphic())
    {
        set(&mut out, "TERM", term);
    }
    out
}

fn set(out: &mut Vec<(String, String)>, name: &str, value: &str) {
    match out.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => value.clone_into(old),
        None => out.push((name.to_owned(), value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(uid: u32) -> Account {
        Account {
            name: "alice".into(),
            uid,
            gid: uid,
            home: "/home/alice".into(),
            shell: "/bin/bash".into(),
            capabilities: 0,
            bounding: 0,
            no_new_privs: true,
            rlimits: Vec::new(),
            umask: 0o022,
        }
    }

    fn built(client: &[(&str, &str)], accept: &[&str], set: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
        };
        let accept: Vec<String> = accept.iter().map(|a| (*a).to_owned()).collect();
        environment(&Sources {
            account: &account(1000),
            client: &own(client),
            accept: &accept,
            set: &own(set),
            connection: vec![("SSH_CLIENT", "192.0.2.1 5 22".into())],
            term: Some("xterm"),
        })
    }

    fn get<'a>(env: &'a [(String, String)], name: &str) -> Option<&'a str> {
        env.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    #[test]
    fn the_base_is_as_sshd_builds_it() {
        let env = built(&[], &[], &[]);
        let names: Vec<&str> = env.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["USER", "LOGNAME", "HOME", "PATH", "MAIL", "SHELL", "SSH_CLIENT", "TERM"]);
        assert!(!get(&env, "PATH").unwrap().contains("sbin"));
    }

    #[test]
    fn a_client_sets_what_is_listed_and_nothing_else() {
        let env = built(&[("LANG", "de_DE.UTF-8"), ("LC_ALL", "C"), ("FOO", "1")], &["LANG", "LC_*"], &[]);
        assert_eq!((get(&env, "LANG"), get(&env, "LC_ALL"), get(&env, "FOO")), (Some("de_DE.UTF-8"), Some("C"), None));
    }

    #[test]
    fn a_wildcard_never_lets_a_dangerous_name_through() {
        let bad = ["LD_PRELOAD", "BASH_ENV", "ENV", "IFS", "PYTHONPATH", "PERL5OPT", "GCONV_PATH", "PATH", "HOME"];
        for name in bad {
            let env = built(&[(name, "evil")], &["*"], &[]);
            assert_ne!(get(&env, name), Some("evil"), "{name}");
        }
        assert_eq!(get(&built(&[("PYTHONPATH", "x")], &["PYTHONPATH"], &[]), "PYTHONPATH"), Some("x"));
    }

    #[test]
    fn nobody_overrides_what_tells_where_a_login_comes_from() {
        let env = built(&[("SSH_CLIENT", "x")], &["SSH_CLIENT"], &[("SSH_CLIENT", "y"), ("USER", "bob")]);
        assert_eq!((get(&env, "SSH_CLIENT"), get(&env, "USER")), (Some("192.0.2.1 5 22"), Some("bob")));
    }

    #[test]
    fn what_a_client_sets_is_bounded_and_well_formed() {
        for bad in ["", "1A", "A=B", "A B", "A\0", "ä"] {
            let env = built(&[(bad, "x")], &["*"], &[]);
            assert_eq!(get(&env, bad), None, "{bad:?}");
        }
        assert_eq!(get(&built(&[("A", "x\0y")], &["*"], &[]), "A"), None);
        let many: Vec<(String, String)> = (0..1000).map(|n| (format!("A{n}"), "x".into())).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert!(built(&many, &["*"], &[]).len() <= MAX_CLIENT_VARIABLES + 10);
        let big = "x".repeat(MAX_CLIENT_BYTES);
        assert_eq!(get(&built(&[("A", &big)], &["*"], &[]), "A"), None);
    }
}
