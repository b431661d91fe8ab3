use std::collections::BTreeSet;

use super::*;
use crate::base::SessionId;
use crate::config::permit::{List, Permit};
use crate::config::sample;
use crate::config::settings::{Jail, KeyOptions, Limits, Sftp, User};

fn jail() -> Jail {
    Jail {
        shell: "/bin/bash".into(),
        linger: Linger::For(Duration::from_secs(600)),
        allow: BTreeSet::from([Allow::Shell, Allow::Exec, Allow::Pty, Allow::Env, Allow::Signal]),
        accept_env: vec!["LANG".into()],
        capabilities: 0xff,
        limits: Limits { nofile: 1024, ..Limits::default() },
        max_sessions: 10,
        motd: true,
        ..sample::jail()
    }
}

fn granted(change: impl FnOnce(&mut Tenant, &mut KeyOptions)) -> Grant {
    let mut tenant = Tenant::new("alice".parse().unwrap(), jail());
    let mut options = KeyOptions::default();
    change(&mut tenant, &mut options);
    let proof = Proof::Key { fingerprint: "SHA256:x".into(), options };
    let identity = Identity::proved("alice".parse().unwrap(), proof, "192.0.2.1".parse().unwrap());
    let ends = Ends { peer: "[::ffff:192.0.2.1]:50000".parse().unwrap(), local: "192.0.2.9:22".parse().unwrap() };
    grant(identity, tenant, ends).unwrap()
}

fn asked(program: Program, pty: bool) -> Ask {
    let terminal = pty.then(|| Terminal { term: "xterm".into(), size: Default::default(), modes: Vec::new() });
    Ask { program, terminal, environment: vec![("LANG".into(), "C".into())], sockets: Vec::new() }
}

fn run(grant: &Grant, program: Program, pty: bool) -> Result<Start, Refusal> {
    grant.session(1, SessionId::new("c", 1).unwrap(), asked(program, pty), &Told::default())
}

fn variable<'a>(start: &'a Start, name: &str) -> Option<&'a str> {
    start.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[test]
fn nobody_but_root_of_the_host_gets_the_probe_and_it_runs_as_a_login_does() {
    let by_key = granted(|tenant, _| tenant.jail.command = Some("git-shell".into()));
    assert_eq!(run(&by_key, Program::Probe, false), Err(Refusal::NotAllowed));
    let id = || SessionId::new("c", 1).unwrap();
    assert_eq!(by_key.probe(1, id()), None);
    let identity = Identity::proved("alice".parse().unwrap(), Proof::HostRoot, "127.0.0.1".parse().unwrap());
    let probe = grant(identity, by_key.tenant().clone(), by_key.ends).unwrap().probe(1, id()).unwrap();
    let login = run(&granted(|_, _| {}), exec("id"), false).unwrap();
    assert_eq!(probe.program, Program::Probe);
    assert_eq!(probe.account, login.account);
    assert_eq!(variable(&probe, "PATH"), variable(&login, "PATH"));
    assert_eq!((probe.linger, probe.max_sessions), (login.linger, login.max_sessions));
}

fn exec(text: &str) -> Program {
    Program::Command(text.into())
}

#[test]
fn nobody_is_granted_anothers_jail_or_a_locked_one() {
    let tenant = granted(|_, _| {}).tenant().clone();
    let ends = Ends { peer: "192.0.2.1:1".parse().unwrap(), local: "192.0.2.9:22".parse().unwrap() };
    let proof = Proof::Key { fingerprint: String::new(), options: KeyOptions::default() };
    let bob = Identity::proved("bob".parse().unwrap(), proof.clone(), ends.peer.ip());
    assert!(grant(bob, tenant.clone(), ends).is_none());
    let alice = Identity::proved("alice".parse().unwrap(), proof, ends.peer.ip());
    assert!(grant(alice.clone(), Tenant { locked: true, ..tenant.clone() }, ends).is_none());
    assert!(grant(alice, tenant, ends).is_some());
}

#[test]
fn an_ordinary_user_keeps_no_capability_and_root_the_listed_ones() {
    let start = run(&granted(|_, _| {}), Program::Shell, true).unwrap();
    assert_eq!((start.account.uid, start.account.capabilities, start.account.name.as_str()), (1000, 0, "alice"));
    let start = run(&granted(|tenant, _| tenant.jail.user = User::Root), Program::Shell, true).unwrap();
    assert_eq!((start.account.uid, start.account.capabilities, start.account.name.as_str()), (0, 0xff, "root"));
    assert!(variable(&start, "PATH").unwrap().contains("/usr/sbin"));
}

#[test]
fn kinds_that_are_switched_off_are_refused() {
    for (allow, program, pty) in
        [(Allow::Shell, Program::Shell, false), (Allow::Exec, exec("true"), false), (Allow::Pty, exec("true"), true)]
    {
        let grant = granted(|tenant, _| {
            tenant.jail.allow.remove(&allow);
        });
        assert_eq!(run(&grant, program, pty), Err(Refusal::NotAllowed), "{allow:?}");
    }
    let grant = granted(|tenant, _| {
        tenant.jail.allow.remove(&Allow::Env);
    });
    assert_eq!(variable(&run(&grant, exec("true"), false).unwrap(), "LANG"), None);
    assert_eq!(run(&granted(|_, _| {}), Program::Subsystem("netconf".into()), false), Err(Refusal::NotAllowed));
    let grant = granted(|_, options| options.no_pty = true);
    assert!(!grant.outline().pty);
    assert_eq!(run(&grant, Program::Shell, true), Err(Refusal::NotAllowed));
}

#[test]
fn sftp_needs_its_own_word_and_no_other_and_takes_no_terminal() {
    let sftp = || Program::Subsystem("sftp".into());
    let grant = granted(|tenant, _| {
        tenant.jail.allow = BTreeSet::from([Allow::Sftp]);
        tenant.jail.sftp = Sftp { access: Access::DropBox, umask: Some(0o077) };
    });
    let start = run(&grant, sftp(), false).unwrap();
    assert_eq!((start.program, start.account.umask), (Program::Sftp(Access::DropBox), 0o077));
    assert_eq!(run(&grant, sftp(), true), Err(Refusal::NotAllowed));
    assert_eq!(run(&grant, Program::Shell, false), Err(Refusal::NotAllowed));
    assert_eq!(
        run(&grant, Program::Sftp(Access::ReadWrite), false),
        Err(Refusal::NotAllowed),
        "a captured ssh process"
    );
    let grant = granted(|tenant, _| tenant.jail.allow.retain(|allow| *allow == Allow::Exec));
    assert_eq!(run(&grant, sftp(), false), Err(Refusal::NotAllowed));
}

#[test]
fn a_forced_internal_sftp_is_our_own_server_whatever_is_asked() {
    let forced = |command: &str, access| {
        granted(|tenant, options| {
            tenant.jail.allow = BTreeSet::from([Allow::Sftp]);
            tenant.jail.sftp.access = access;
            options.command = Some(command.to_owned());
        })
    };
    let grant = forced("internal-sftp -R -u 027", Access::ReadWrite);
    for program in [Program::Shell, exec("rm -rf ."), Program::Subsystem("sftp".into())] {
        let start = run(&grant, program, false).unwrap();
        assert_eq!((start.program, start.account.umask), (Program::Sftp(Access::ReadOnly), 0o027));
    }
    for (command, access) in [("internal-sftp -R", Access::DropBox), ("internal-sftp -d /srv", Access::ReadWrite)] {
        assert_eq!(run(&forced(command, access), Program::Shell, false), Err(Refusal::NotAllowed), "{command}");
    }
}

#[test]
fn a_key_switches_off_what_its_class_allows_and_never_more_on() {
    let off = |options: &mut KeyOptions| {
        options.no_pty = true;
        options.no_port_forwarding = true;
        options.no_agent_forwarding = true;
        options.no_x11_forwarding = true;
    };
    let all = |tenant: &mut Tenant, _: &mut KeyOptions| tenant.jail.allow.extend(Allow::ALL);
    let restricted = granted(|tenant, options| {
        all(tenant, options);
        off(options);
    });
    let left: Vec<Allow> = Allow::ALL.into_iter().filter(|kind| restricted.allows(*kind)).collect();
    assert_eq!(left, [Allow::Shell, Allow::Exec, Allow::Sftp, Allow::Env, Allow::Signal]);
    assert!(Allow::ALL.into_iter().all(|kind| granted(all).allows(kind)));
    assert!(!Allow::ALL.into_iter().any(|kind| granted(|tenant, _| tenant.jail.allow.clear()).allows(kind)));
}

#[test]
fn a_forced_command_runs_instead_and_is_told_what_was_asked_for() {
    let grant = granted(|_, options| options.command = Some("from-key".into()));
    let start = run(&grant, exec("ls -l"), false).unwrap();
    assert_eq!((start.program.clone(), variable(&start, "SSH_ORIGINAL_COMMAND")), (exec("from-key"), Some("ls -l")));
    let start = run(&grant, Program::Shell, true).unwrap();
    assert_eq!((start.program.clone(), variable(&start, "SSH_ORIGINAL_COMMAND")), (exec("from-key"), None));
    assert_eq!(start.greeting, None);
    let start = run(&grant, Program::Subsystem("sftp".into()), false).unwrap();
    assert_eq!((start.program.clone(), variable(&start, "SSH_ORIGINAL_COMMAND")), (exec("from-key"), Some("sftp")));
    assert_eq!(run(&grant, Program::Command(vec![0xff]), false), Err(Refusal::NotAllowed));

    let grant = granted(|tenant, options| {
        options.command = Some("from-key".into());
        tenant.jail.command = Some("from-config".into());
    });
    assert_eq!(run(&grant, exec("ls"), false).unwrap().program, exec("from-config"));
}

#[test]
fn a_command_with_nul_or_without_bound_is_refused() {
    let grant = granted(|_, _| {});
    assert_eq!(run(&grant, exec("a\0b"), false), Err(Refusal::NotAllowed));
    assert_eq!(run(&grant, exec(&"x".repeat(MAX_COMMAND + 1)), false), Err(Refusal::TooLong));
    assert!(run(&grant, exec(&"x".repeat(MAX_COMMAND)), false).is_ok());
    let forced = granted(|_, options| options.command = Some("from-key".into()));
    let most = MAX_COMMAND - "SSH_ORIGINAL_COMMAND=".len();
    assert!(run(&forced, exec(&"x".repeat(most)), false).is_ok());
    assert_eq!(run(&forced, exec(&"x".repeat(most + 1)), false), Err(Refusal::TooLong));
}

#[test]
fn a_session_is_told_where_its_login_comes_from() {
    let start = run(&granted(|_, _| {}), exec("true"), false).unwrap();
    assert_eq!(variable(&start, "SSH_CLIENT"), Some("192.0.2.1 50000 22"));
    assert_eq!(variable(&start, "SSH_CONNECTION"), Some("192.0.2.1 50000 192.0.2.9 22"));
}

#[test]
fn only_a_login_shell_on_a_terminal_is_greeted() {
    let grant = granted(|_, _| {});
    assert!(run(&grant, Program::Shell, true).unwrap().greeting.is_some());
    assert!(run(&grant, Program::Shell, false).unwrap().greeting.is_none());
    assert!(run(&grant, exec("true"), true).unwrap().greeting.is_none());
    assert!(run(&granted(|tenant, _| tenant.jail.motd = false), Program::Shell, true).unwrap().greeting.is_none());
}

/// What `grant` answers to `-L`, `-R` and a unix socket: why not, or nothing.
fn forwards(grant: &Grant, port: u16) -> [Option<&'static str>; 3] {
    use crate::wire::forward::{Place, Target};
    let host = || "localhost".to_owned();
    [
        grant.connect(1, Target::Tcp { host: host(), port }).err(),
        grant.listen(1, Place::Tcp { host: host(), port }, "", "").err(),
        grant.connect(1, Target::Unix { path: "/run/x".into() }).err(),
    ]
}

#[test]
fn a_forward_must_be_in_the_list_of_the_tenant_and_in_that_of_the_key() {
    let ports = |list: List, ports: &[u16]| {
        Permit::Only(ports.iter().map(|port| list.entry(&format!("localhost:{port}")).unwrap()).collect())
    };
    let grant = granted(|tenant, options| {
        tenant.jail.allow.extend(Allow::ALL);
        tenant.jail.permit_open = ports(List::Open, &[1, 2]);
        tenant.jail.permit_listen = ports(List::Listen, &[1, 2]);
        options.permit_open = ports(List::Open, &[2, 3]);
        options.permit_listen = ports(List::Listen, &[2, 3]);
    });
    assert_eq!(
        forwards(&grant, 1),
        [Some("not in permitopen of the key"), Some("not in permitlisten of the key"), None]
    );
    assert_eq!(forwards(&grant, 2), [None; 3]);
    for port in [3, 4] {
        assert_eq!(forwards(&grant, port), [Some("not in permit_open"), Some("not in permit_listen"), None]);
    }
    let none = granted(|tenant, _| {
        tenant.jail.allow.extend(Allow::ALL);
        tenant.jail.permit_open = Permit::Only(Vec::new());
        tenant.jail.permit_listen = Permit::Only(Vec::new());
    });
    assert_eq!(forwards(&none, 2), [Some("not in permit_open"), Some("not in permit_listen"), None]);
    // A key's list gives nothing that is switched off.
    let off = granted(|tenant, options| {
        tenant.jail.allow.extend(Allow::ALL);
        options.no_port_forwarding = true;
        options.permit_open = ports(List::Open, &[2]);
    });
    assert_eq!(forwards(&off, 2), [Some("not allowed"); 3]);
}

#[test]
fn a_host_account_is_held_by_its_class_and_root_of_the_host_by_nothing() {
    let tenant = granted(|tenant, _| {
        tenant.jail.allow = BTreeSet::from([Allow::Exec]);
        tenant.jail.command = Some("git-shell".into());
    });
    let by = |proof: Proof| {
        let identity = Identity::proved("alice".parse().unwrap(), proof, "127.0.0.1".parse().unwrap());
        grant(identity, tenant.tenant().clone(), None::<Ends>).unwrap()
    };
    let account = by(Proof::HostAccount { name: "al".into(), uid: 1001 });
    assert_eq!(run(&account, Program::Shell, false), Err(Refusal::NotAllowed));
    assert_eq!(run(&account, exec("id"), true), Err(Refusal::NotAllowed), "no terminal");
    let forced = run(&account, exec("id"), false).unwrap();
    assert_eq!((forced.program, forced.peer), (exec("git-shell"), None));
    assert_eq!(account.probe(1, SessionId::new("c", 1).unwrap()), None);

    let root = by(Proof::HostRoot);
    assert_eq!(run(&root, Program::Shell, true).unwrap().program, Program::Shell);
    assert_eq!(run(&root, exec("id"), false).unwrap().program, exec("id"));
    let words = || Program::Words(vec![b"ls".to_vec(), b"a b".to_vec()]);
    assert_eq!(run(&root, words(), false).unwrap().program, words());
    assert_eq!(run(&root, Program::Words(Vec::new()), false), Err(Refusal::NotAllowed));
    assert_eq!(run(&root, Program::Words(vec![vec![b'a', 0]]), false), Err(Refusal::NotAllowed));
    assert_eq!(run(&root, Program::Words(vec![vec![b'a'; MAX_COMMAND], vec![b'a']]), false), Err(Refusal::TooLong));
    assert_eq!(run(&root, Program::Words(vec![Vec::new(); MAX_COMMAND / 3 + 1]), false), Err(Refusal::TooLong));
    // The shell of an account holds for it.
    let own = granted(|tenant, _| tenant.jail.allow = BTreeSet::from([Allow::Exec]));
    assert_eq!(run(&own, words(), false).unwrap().program, exec("'ls' 'a b'"));
    // What runs as our own is ordered by nobody's request.
    assert_eq!(run(&root, Program::Probe, false), Err(Refusal::NotAllowed));
}

#[test]
fn what_somebody_of_this_host_says_of_where_they_come_from_is_for_their_programs_alone() {
    let ends = Ends { peer: "192.0.2.1:5".parse().unwrap(), local: "192.0.2.9:22".parse().unwrap() };
    let by = |ends: Option<Ends>| {
        let proof = Proof::HostAccount { name: "al".into(), uid: 1001 };
        let identity = Identity::proved("alice".parse().unwrap(), proof, "127.0.0.1".parse().unwrap());
        let tenant = granted(|_, _| {}).tenant().clone();
        run(&grant(identity, tenant, ends).unwrap(), exec("id"), false).unwrap()
    };
    let said = by(Some(ends));
    assert_eq!((variable(&said, "SSH_CONNECTION"), said.peer), (Some("192.0.2.1 5 192.0.2.9 22"), None));
    assert_eq!(variable(&by(None), "SSH_CONNECTION"), None);
}
