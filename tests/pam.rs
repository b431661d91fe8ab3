//! Logins through PAM: keyboard-interactive in several rounds, the account and the session (issue 4, items 1
//! and 2; threats.md 5.A and "PAM module that hangs").
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

use std::{fs, path::Path, process::Command, time::Instant};

use nix::sys::signal::Signal;
use support::{
    Builder, Door, Scratch, TerminalClient,
    attacker::{Attacker, Key, Message},
    pam::Service,
    patience, procfs, root, run_bounded, soon, until,
};

const KEYBOARD: &str = "keyboard-interactive";

/// A door that asks by `service`, in this way.
fn asking(service: &Service, auth: &str) -> Builder {
    let built = Path::new(env!("CARGO_BIN_EXE_cellblock")).with_file_name("cellblock-pam");
    assert!(built.exists(), "tests/all builds it: cargo build -p cellblock-pam");
    Door::with(&format!("[defaults]\nroot = \"host\"\nauth = [\"{auth}\"]\npam_service = \"{}\"\n", service.name))
}

/// `ssh` with a terminal, on which it asks.
fn at_terminal(door: &Door, user: &str, line: &[&str]) -> TerminalClient {
    let ssh = door.ssh_command();
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait"]).arg(ssh.get_program()).args(ssh.get_args());
    command.args(["-o", "BatchMode=no", "-o", "NumberOfPasswordPrompts=1", "-o", "LogLevel=INFO"]);
    command.args(["-o", "PreferredAuthentications=keyboard-interactive", "-l", user, "door"]).args(line);
    TerminalClient::start(command, 24, 100)
}

fn ask(user: &str) -> Message {
    Message::new(50).text(user).text("ssh-connection").text(KEYBOARD).text("").text("")
}

fn none(user: &str) -> Message {
    Message::new(50).text(user).text("ssh-connection").text("none")
}

fn answers(given: &[&str]) -> Message {
    given.iter().fold(Message::new(61).number(given.len() as u32), |message, answer| message.text(answer))
}

fn client(door: &Door) -> Attacker {
    let mut client = Attacker::handshake(door.port);
    client.ask_for_userauth();
    client
}

/// What came of it: `asked: TEXT: PROMPT (echo)…`, `refused` with methods, or `in`.
fn answer(client: &mut Attacker) -> String {
    let message = client.next(&[51, 52, 60, 1]).unwrap();
    let mut rest = &message[1..];
    let mut text = || {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        let text = String::from_utf8(rest[4..4 + length].to_vec()).unwrap();
        rest = &rest[4 + length..];
        text
    };
    match message[0] {
        51 => format!("refused {}", text()),
        52 => "in".to_owned(),
        60 => {
            let (_name, said, _language) = (text(), text(), text());
            let mut prompts = &rest[4..];
            let mut shown = format!("asked {said:?}");
            while !prompts.is_empty() {
                let length = u32::from_be_bytes(prompts[..4].try_into().unwrap()) as usize;
                let prompt = String::from_utf8(prompts[4..4 + length].to_vec()).unwrap();
                shown.push_str(&format!(" {prompt:?} {}", prompts[4 + length]));
                prompts = &prompts[5 + length..];
            }
            shown
        }
        other => format!("message {other}"),
    }
}

/// Processes of this door that talk to PAM.
fn asking_pam(door: &Door) -> Vec<i32> {
    let below = |pid: i32| {
        std::iter::successors(Some(pid), |&pid| procfs::parent(pid)).take(5).any(|pid| pid == door.listener())
    };
    let named = |pid: &i32| procfs::name(*pid) == "cellblock-pam" && !procfs::ended(*pid) && below(*pid);
    procfs::pids().into_iter().filter(named).collect()
}

/// The monitor of a program that talks to PAM.
fn monitor_of(pam: i32) -> i32 {
    procfs::parent(pam).unwrap()
}

#[test]
fn rounds_words_and_echo_are_those_of_the_modules() {
    if !root() {
        return;
    }
    let service = Service::new(
        "auth required SCRIPT [say=Hello there.] [warn=Mind the gap.] [ask=First word: ] is=one [show=Second word: ] is=two\n\
         auth required SCRIPT two=A:,B: [say=That was all.]\n\
         session required SCRIPT [say=Three parcels wait.]\n",
    );
    let door = asking(&service, KEYBOARD).tenant("alice", "").start();
    let mut terminal = at_terminal(&door, "alice", &[]);
    terminal.expect("First word: ");
    let shown = terminal.shown();
    let order: Vec<_> =
        ["Hello there.", "Mind the gap.", "First word"].iter().map(|w| shown.find(w).unwrap()).collect();
    assert!(order.is_sorted(), "{shown}");
    terminal.send("one\n");
    terminal.expect("Second word: ");
    terminal.send("two\n");
    terminal.expect("A:");
    terminal.send("first\n");
    terminal.expect("B:");
    terminal.send("second\n");
    // What follows no question is shown all the same; and what the session's modules say, where a shell begins.
    terminal.expect("That was all.");
    terminal.expect("Three parcels wait.");
    terminal.send("echo in-$((40+2)); exit 7\n");
    terminal.expect("in-42");
    assert_eq!(terminal.wait(), 7);
    let shown = terminal.shown();
    assert!(shown.contains("Second word: two"), "an answer that may be seen is: {shown}");
    assert!(!shown.contains("one\r") && !shown.contains("second"), "the others are not: {shown}");
    let logins: Vec<_> = door.audit().into_iter().filter(|event| event["event"] == "login").collect();
    assert_eq!((logins.len(), logins[0]["method"].as_str()), (1, Some(KEYBOARD)));

    for wrong in
        [&["one", "2", "first", "second"], &["1", "two", "first", "second"], &["one", "two", "second", "first"]]
    {
        assert_eq!(door.types("alice", KEYBOARD, wrong).status, 255, "{wrong:?}");
    }
    let right = ["one", "two", "first", "second"];
    assert_eq!(door.types("alice", KEYBOARD, &right).text(), "in", "{}", door.log());
    assert_eq!(door.types("alice", "publickey", &[]).status, 255, "a key that `auth` does not ask for");
    assert!(asking_pam(&door).is_empty() || until(patience(10), || asking_pam(&door).is_empty()));
}

/// "TOTP modules work", as the second round after a password, beside a key
#[test]
fn a_key_a_password_and_a_one_time_password_lead_in_together_and_once() {
    if !root() {
        return;
    }
    let service = Service::new(
        "auth requisite pam_exec.so expose_authtok quiet DIR/check\n\
         auth required pam_oath.so usersfile=DIR/oath window=2 digits=6\n",
    );
    let secret = "3132333435363738393031323334353637383930";
    let oath = service.dir.write("oath", &format!("HOTP/T30/6 alice - {secret}\nHOTP/T30/6 bob - 00{secret}\n"));
    fs::set_permissions(&oath, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let door = asking(&service, "publickey+keyboard-interactive").tenant("alice", "").tenant("bob", "").start();
    let methods = "publickey,keyboard-interactive";
    let code = totp(secret);
    for wrong in [["wrong", &code], ["sesame-alice", "000000"], ["sesame-bob", &code], ["", ""]] {
        assert_eq!(door.types("alice", methods, &wrong).status, 255, "{wrong:?}");
    }
    assert_eq!(door.types("bob", methods, &["sesame-bob", &code]).status, 255, "another's code");
    assert_eq!(door.types("alice", KEYBOARD, &["sesame-alice", &code]).status, 255, "without the key");
    let code = totp(secret);
    let ran = door.types("alice", methods, &["sesame-alice", &code]);
    assert_eq!(ran.text(), "in", "{}\n{}", ran.err, door.log());
    assert!(service.lines().contains(&"right alice".to_owned()), "{:?}", service.lines());
    let asked = door.asked();
    assert!(asked.len() == 2 && asked[0].contains("Password: ") && asked[1].contains("One-time password"), "{asked:?}");
    assert_eq!(door.types("alice", methods, &["sesame-alice", &code]).status, 255, "a code counts once");
    let logins: Vec<_> = door.audit().into_iter().filter(|event| event["event"] == "login").collect();
    assert_eq!((logins.len(), logins[0]["method"].as_str()), (1, Some("publickey+keyboard-interactive")));
    assert!(logins[0]["key"].as_str().unwrap().starts_with("SHA256:"));
    let log = door.log() + &fs::read_to_string(door.dir.join("audit.jsonl")).unwrap();
    assert!(!log.contains("sesame") && !log.contains(&code), "{log}");
}

/// RFC 6238 of now, by somebody else's arithmetic.
fn totp(secret: &str) -> String {
    let program = "import hmac,struct,sys,time;\
        h=hmac.new(bytes.fromhex(sys.argv[1]),struct.pack('>Q',int(time.time())//30),'sha1').digest();\
        o=h[19]&15;print('%06d'%((struct.unpack('>I',h[o:o+4])[0]&0x7fffffff)%10**6))";
    let mut python = Command::new("python3");
    python.args(["-c", program, secret]);
    run_bounded(python, b"").text()
}

/// CVE-2016-6210: same prompts, same words (same time: times.rs), and the answers of nobody reach no module
#[test]
fn unknown_locked_and_wrong_answers_look_alike() {
    if !root() {
        return;
    }
    let service = Service::new("auth required pam_exec.so expose_authtok quiet DIR/check\n");
    let door = asking(&service, KEYBOARD).tenant("alice", "").tenant("locked", "locked = true").start();
    for user in ["alice", "locked", "nobody-here", "Not A Name"] {
        let mut client = client(&door);
        client.send(&ask(user));
        assert_eq!(answer(&mut client), "asked \"\" \"Password: \" 0", "{user}");
        // Each but alice knows the answer that lets in.
        let given = if user == "alice" { "wrong".to_owned() } else { format!("sesame-{user}") };
        client.send(&answers(&[&given]));
        assert_eq!(answer(&mut client), "refused keyboard-interactive", "{user}\n{}", door.log());
    }
    assert!(service.lines().is_empty(), "nobody's answers reached a module: {:?}", service.lines());

    // A stack that lets in everybody lets in no stranger.
    let open = Service::new("");
    let door = asking(&open, KEYBOARD).tenant("alice", "").tenant("locked", "locked = true").start();
    for (user, expected) in [("alice", "in"), ("locked", "refused"), ("nobody-here", "refused")] {
        let mut client = client(&door);
        client.send(&ask(user));
        assert!(answer(&mut client).starts_with(expected), "{user}");
    }
}

/// GHSA-hpv4-5h6f-wqr3, GHSA-g6xm-f9xp-qq35, CVE-2026-42189: answers out of turn, of another user, in another
/// number, and tries without end
#[test]
fn answers_count_for_what_was_asked_and_each_try_counts() {
    if !root() {
        return;
    }
    let service = Service::new("auth required SCRIPT [ask=Word: ] is=right\n");
    let key = Key::new(1);
    let keys = format!("authorized_keys = [\"{}\"]", key.line());
    let door = Door::with(&format!(
        "[defaults]\nroot = \"host\"\nauth = [\"keyboard-interactive+publickey\"]\npam_service = \"{}\"\n",
        service.name
    ))
    .server("max_auth_tries = 50")
    .tenant("alice", &keys)
    .tenant("bob", &keys)
    .start();
    let asked = "asked \"\" \"Word: \" 0";
    let refused = "refused keyboard-interactive";
    let mut client = client(&door);
    client.send(&answers(&["right"]));
    assert_eq!(answer(&mut client), refused, "nobody asked");
    let long = "x".repeat(1025);
    for wrong in [&[][..], &["right", "right"], &[&long], &["right\0"], &["wrong"], &[""]] {
        client.send(&ask("alice"));
        assert_eq!(answer(&mut client), asked);
        client.send(&answers(wrong));
        assert_eq!(answer(&mut client), refused, "{wrong:?}");
        client.send(&answers(&["right"]));
        assert_eq!(answer(&mut client), refused, "those questions are over");
    }
    for (first, second) in [("alice", "bob"), ("bob", "alice"), ("alice", "nobody-here")] {
        client.send(&ask(first));
        assert_eq!(answer(&mut client), asked);
        client.send(&none(second));
        assert_eq!(answer(&mut client), refused);
        client.send(&answers(&["right"]));
        assert_eq!(answer(&mut client), refused, "asked as {first}, answered as {second}");
    }
    // What alice passed helps bob nothing, and is forgotten.
    client.send(&ask("alice"));
    assert_eq!(answer(&mut client), asked);
    client.send(&answers(&["right"]));
    assert_eq!(answer(&mut client), "refused publickey", "{}", door.log());
    client.send(&client.signed("bob", &key, &key));
    assert_eq!(answer(&mut client), refused);
    client.send(&client.signed("alice", &key, &key));
    assert_eq!(answer(&mut client), refused);
    // Begun anew, it leads in.
    client.send(&ask("alice"));
    assert_eq!(answer(&mut client), asked);
    client.send(&answers(&["right"]));
    assert_eq!(answer(&mut client), "refused publickey");
    client.send(&client.signed("alice", &key, &key));
    assert_eq!(answer(&mut client), "in");
    assert_eq!(client.exec("id -un").as_deref(), Some("alice"));

    let door = asking(&service, KEYBOARD).server("max_auth_tries = 4").tenant("alice", "").start();
    for answered in [true, false] {
        let mut client = self::client(&door);
        let mut rounds = 0;
        for _ in 0..20 {
            if client.try_send(&ask("alice")).is_err() {
                break;
            }
            match client.next(&[60, 51, 1]) {
                Ok(message) if message[0] == 60 => rounds += 1,
                Ok(_) | Err(_) => break,
            }
            if answered && (client.try_send(&answers(&["wrong"])).is_err() || client.next(&[51]).is_err()) {
                break;
            }
        }
        assert!((3..=5).contains(&rounds), "answered {answered}: {rounds} rounds");
    }
    soon("questions that are void leave no process", || asking_pam(&door).is_empty());
}

#[test]
fn more_questions_than_anybody_answers_are_a_refusal() {
    if !root() {
        return;
    }
    for (lines, expected) in [
        ("auth required SCRIPT many=17", "refused"),
        ("auth required SCRIPT many=16", "asked"),
        ("auth required SCRIPT user=root", "refused"),
        ("auth required SCRIPT crash", "refused"),
        ("auth required pam_there_is_no_such_module.so", "refused"),
    ] {
        let service = Service::new(lines);
        let door = asking(&service, KEYBOARD).tenant("alice", "").start();
        let mut client = client(&door);
        client.send(&ask("alice"));
        let got = answer(&mut client);
        assert!(got.starts_with(expected), "{lines}: {got}\n{}", door.log());
        // And the connection goes on.
        client.send(&none("alice"));
        assert_eq!(answer(&mut client), "refused keyboard-interactive", "{lines}");
    }
}

#[test]
fn the_account_phase_has_its_say_on_keys_too_where_use_pam_is_set() {
    if !root() {
        return;
    }
    let closed = Service::new("account required pam_deny.so\nsession required pam_exec.so DIR/note\n");
    let door = asking(&closed, KEYBOARD)
        .tenant("alice", "")
        .tenant("bob", "auth = [\"publickey\"]\nuse_pam = true")
        .tenant("carol", "auth = [\"publickey\"]")
        .start();
    assert_eq!(door.types("alice", KEYBOARD, &[]).status, 255);
    assert_eq!(door.types("bob", "publickey", &[]).status, 255);
    assert_eq!(door.types("carol", "publickey", &[]).text(), "in", "{}", door.log());
    let refusals: Vec<_> = door.audit().into_iter().filter(|event| event["event"] == "login_refused").collect();
    for (user, method) in [("alice", KEYBOARD), ("bob", "publickey")] {
        let found = refusals.iter().find(|event| event["user"] == user && event["method"] == method);
        assert!(found.unwrap()["reason"].as_str().unwrap().contains("PAM: account: "), "{refusals:?}");
    }
    assert!(closed.lines().is_empty(), "no session was opened: {:?}", closed.lines());

    // PAM_NEW_AUTHTOK_REQD: whoever is asked anyway is asked for a new one, whoever came by key is refused.
    let expired = Service::new(
        "auth required pam_permit.so\naccount required SCRIPT return=12\n\
         password required SCRIPT [say=It has expired.] [ask=New: ] is=fresh\n",
    );
    let door =
        asking(&expired, KEYBOARD).tenant("alice", "").tenant("bob", "auth = [\"publickey\"]\nuse_pam = true").start();
    assert_eq!(door.types("alice", KEYBOARD, &["fresh"]).text(), "in", "{}", door.log());
    assert_eq!(door.types("alice", KEYBOARD, &["stale"]).status, 255);
    assert_eq!(door.types("bob", "publickey", &[]).status, 255);
    assert!(door.log().contains("the password has expired"), "{}", door.log());
}

/// "session closed at the end whatever dies"
#[test]
fn the_session_is_open_as_long_as_the_connection_whatever_ends_it() {
    if !root() {
        return;
    }
    let service = Service::new("session required pam_exec.so DIR/note\n");
    let mut door = asking(&service, "publickey").tenant("alice", "use_pam = true").tenant("bob", "").start();
    let (opened, closed) = ("open_session alice 127.0.0.1 ssh", "close_session alice 127.0.0.1 ssh");
    assert_eq!(door.types("bob", "publickey", &[]).text(), "in");
    assert!(service.lines().is_empty(), "bob's login is none of PAM's: {:?}", service.lines());

    let mut count = 0;
    let mut told = |what: &str, end: &mut dyn FnMut(&mut Door, i32)| {
        let running = door.spawn("alice", "echo up; exec cat");
        assert_eq!(running.line(), "up");
        count += 2;
        let lines = service.lines();
        assert_eq!(
            (lines.len(), lines.last().map(String::as_str)),
            (count - 1, Some(opened)),
            "{what}\n{}",
            door.log()
        );
        let pam = asking_pam(&door);
        assert_eq!(pam.len(), 1, "{what}");
        end(&mut door, pam[0]);
        soon(&format!("the session closes after {what}: {:?}", service.lines()), || service.lines().len() == count);
        assert_eq!(service.lines().last().unwrap(), closed, "{what}");
        soon("nothing is left to hold it", || procfs::ended(pam[0]));
        drop(running);
    };
    told("the ssh process is killed", &mut |door, _pam| {
        let ssh = door.ssh_processes()[0];
        procfs::kill(ssh, Signal::SIGKILL);
    });
    told("the monitor is killed", &mut |_door, pam| procfs::kill(monitor_of(pam), Signal::SIGKILL));
    told("the monitor is told to end", &mut |_door, pam| procfs::kill(monitor_of(pam), Signal::SIGTERM));
    told("TERM and HUP go to the program itself, and then the monitor ends", &mut |_door, pam| {
        let monitor = monitor_of(pam);
        procfs::kill(pam, Signal::SIGTERM);
        procfs::kill(pam, Signal::SIGHUP);
        procfs::kill(monitor, Signal::SIGKILL);
    });
    told("all of the door is killed at once", &mut |door, pam| {
        let monitor = monitor_of(pam);
        door.signal(Signal::SIGKILL);
        procfs::kill(monitor, Signal::SIGKILL);
    });
    door.wait_end();
    door.restart();
    assert_eq!(door.types("alice", "publickey", &[]).text(), "in");
    soon("an ordinary end closes it, too", || service.lines().last().is_some_and(|line| line == closed));
}

#[test]
fn a_session_that_cannot_be_opened_is_told_in_words() {
    if !root() {
        return;
    }
    let service = Service::new("session required pam_deny.so\n");
    let door = asking(&service, "publickey").tenant("alice", "use_pam = true").start();
    let ran = door.types("alice", "publickey", &[]);
    assert_eq!(ran.status, 255);
    assert!(ran.err.contains("could not be started"), "{}", ran.err);
    soon("the admin is told, once the client is gone", || {
        door.log().contains("the PAM session of alice was not opened: session: ")
    });
}

/// threats.md: "PAM module that hangs"
#[test]
fn a_module_that_hangs_is_cut_off_with_all_that_it_runs() {
    if !root() {
        return;
    }
    let service = Service::new("auth required pam_exec.so DIR/hang\n");
    let hang = service.dir.write("hang", "#!/bin/sh\necho $$ >> ${0%hang}pids\nexec sleep 1000\n");
    fs::set_permissions(&hang, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let door = asking(&service, KEYBOARD).server("login_grace = \"2s\"").tenant("alice", "").start();
    let started = Instant::now();
    let ran = door.types("alice", KEYBOARD, &[]);
    assert_eq!(ran.status, 255);
    assert!(started.elapsed() < patience(10), "{:?}", started.elapsed());
    assert!(door.log().contains("does a module hang?"), "{}", door.log());
    soon("the program is gone", || asking_pam(&door).is_empty());
    let text = fs::read_to_string(service.dir.join("pids")).unwrap();
    let pids: Vec<i32> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(pids.len(), 1);
    soon("and so is what it ran", || procfs::ended(pids[0]));

    // Nobody else waits for it; and without a monitor, it ends by itself.
    let service = Service::new("auth required SCRIPT hang\n");
    let door = asking(&service, KEYBOARD)
        .server("login_grace = \"4s\"")
        .tenant("alice", "")
        .tenant("bob", "auth = [\"publickey\"]")
        .start();
    let mut client = client(&door);
    client.send(&ask("alice"));
    soon("it hangs", || !asking_pam(&door).is_empty());
    assert_eq!(door.types("bob", "publickey", &[]).text(), "in");
    let pam = asking_pam(&door)[0];
    procfs::kill(monitor_of(pam), Signal::SIGKILL);
    assert!(until(patience(15), || procfs::ended(pam)), "it outlives its monitor by no more than the limit");
}

/// Root's modules find nothing of ours: no variable, no descriptor but one, no terminal, no directory
#[test]
fn modules_find_a_clean_environment() {
    if !root() {
        return;
    }
    let service = Service::new("auth required pam_exec.so DIR/look\nauth required pam_permit.so\n");
    let look = service.dir.write(
        "look",
        "#!/bin/sh\ncd ${0%look}\nexec > looked 2>&1\ntr '\\0' '\\n' < /proc/$PPID/environ\nls -l /proc/$PPID/fd\n\
         readlink /proc/$PPID/cwd\ncat /proc/$PPID/comm /proc/$PPID/oom_score_adj\ngrep SigIgn /proc/self/status\n",
    );
    fs::set_permissions(&look, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let door = asking(&service, KEYBOARD).tenant("alice", "").start();
    assert_eq!(door.types("alice", KEYBOARD, &[]).text(), "in", "{}", door.log());
    let looked = fs::read_to_string(service.dir.join("looked")).unwrap();
    let variables: Vec<_> = looked.lines().filter(|line| line.contains('=')).collect();
    assert_eq!(variables, ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "{looked}");
    let mut descriptors: Vec<_> = looked.lines().filter_map(|line| line.split_once(" -> ")).collect();
    descriptors.retain(|(_, target)| !target.starts_with("pipe:"));
    assert_eq!(descriptors.len(), 4, "{looked}");
    assert_eq!(descriptors.iter().filter(|(_, target)| *target == "/dev/null").count(), 3, "{looked}");
    assert!(descriptors[3].0.ends_with(" 3") && descriptors[3].1.starts_with("socket:"), "{looked}");
    for line in ["/", "cellblock-pam", "0"] {
        assert!(looked.lines().any(|found| found == line), "{line}: {looked}");
    }
    assert!(looked.contains("SigIgn:\t0000000000000000"), "{looked}");
}

#[test]
fn check_and_doctor_say_that_the_program_or_the_service_is_missing() {
    if !root() {
        return;
    }
    let dir = Scratch::new();
    let copy = dir.join("cellblock");
    fs::copy(env!("CARGO_BIN_EXE_cellblock-admin"), &copy).unwrap();
    let config = dir.write(
        "cellblock.toml",
        "[defaults]\nauth = [\"keyboard-interactive\"]\n[tenant.alice]\n[tenant.bob]\npam_service = \"no-such-service\"\n\
         [tenant.carol]\nlocked = true\npam_service = \"neither-this\"\n",
    );
    fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let ran = |verb: &str| {
        let mut command = Command::new(&copy);
        command.args(["--config", config.to_str().unwrap(), verb]);
        let ran = run_bounded(command, b"");
        (ran.status, ran.text() + &ran.err)
    };
    let (status, said) = ran("check");
    assert_eq!(status, 0, "{said}");
    let program = "this needs cellblock-pam, which is neither beside this program nor in /usr/libexec/cellblock";
    assert_eq!(said.matches(program).count(), 1, "{said}");
    assert!(said.contains("there is no /etc/pam.d/no-such-service") && !said.contains("neither-this"), "{said}");
    let (_, said) = ran("doctor");
    assert!(said.contains("cellblock-pam is not installed; needed by alice, bob"), "{said}");
    fs::write(dir.join("cellblock-pam"), "").unwrap();
    let (_, said) = ran("doctor");
    assert!(!said.contains("is not installed") && said.contains("no service"), "{said}");
    let (status, said) = ran("check");
    assert!(status == 0 && !said.contains("this needs cellblock-pam"), "{said}");
    for bad in ["", "../x", "/etc/passwd", ".hidden", "Upper"] {
        fs::write(&config, format!("[tenant.alice]\npam_service = \"{bad}\"\n")).unwrap();
        let (status, said) = ran("check");
        assert!(status == 1 && said.contains("a PAM service is a file name in /etc/pam.d"), "{bad:?}: {said}");
    }
}
