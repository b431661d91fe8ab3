//! Logins, programs, terminals, ends.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    Test,
    client::{Door, stop, text, wait_for},
};

pub const TESTS: &[Test] = &[
    ("a_command_runs_and_its_output_comes_back", a_command_runs),
    ("exit_statuses_and_signals_come_back", exits),
    ("an_exit_long_after_the_output_has_ended_is_not_lost", exit_after_output),
    ("the_environment_is_passed_on", environment),
    ("a_session_that_cannot_start_says_so", refused_session),
    ("a_subsystem_that_is_not_there_fails", refused_subsystem),
    ("forwards_are_refused_and_the_session_goes_on", forwards),
    ("unknown_user_and_wrong_key_look_alike", look_alike),
    ("the_key_that_signs_is_the_key_that_logs_in", second_key),
    ("too_many_tries_end_the_connection", too_many_tries),
    ("other_methods_are_reported_and_refused", other_methods),
    ("a_terminal_has_the_clients_size_and_type", terminal),
    ("a_terminal_closes_when_its_program_ends", terminal_end),
    ("a_terminal_whose_programs_are_gone_is_told_all_there_is", terminal_told),
    ("a_window_change_reaches_the_program", window_change),
    ("the_banner_comes_before_the_login", banner),
    ("a_client_that_leaves_takes_its_program_along", leave),
    ("background_programs_hold_pipes_open_as_with_sshd", background),
    ("only_the_algorithms_of_the_list_are_spoken", algorithms),
    ("compression_starts_after_the_login", compression),
    ("an_rsa_key_may_sign_but_not_with_sha1", rsa),
];

fn make_key(kind: &str, path: &Path) {
    let made = Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-f"]).arg(path).status();
    assert!(made.unwrap().success());
}

fn a_command_runs(door: &Door) {
    let output = door.run("echo out; echo err >&2; exit 3");
    assert_eq!(text(&output), "out\n", "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).ends_with("err\n"));
    assert_eq!(output.status.code(), Some(3));
}

fn exits(door: &Door) {
    for status in [0, 1, 127, 254, 255] {
        assert_eq!(door.run(&format!("exit {status}")).status.code(), Some(status));
    }
    assert_eq!(door.run("kill -9 $$").status.code(), Some(255));
}

fn exit_after_output(door: &Door) {
    assert_eq!(door.run("exec >&- 2>&-; sleep 0.3; exit 3").status.code(), Some(3));
}

fn environment(door: &Door) {
    let output = door.ssh(&["-o", "SetEnv=COLOUR=blue"]).arg("echo $COLOUR").output().unwrap();
    assert_eq!(text(&output), "blue\n");
}

fn refused_session(door: &Door) {
    let output = door.run("refuse me");
    assert!(String::from_utf8_lossy(&output.stderr).contains("Your session could not be started."), "{output:?}");
    assert_eq!(output.status.code(), Some(255));
}

fn refused_subsystem(door: &Door) {
    let output = door.ssh(&["-s"]).arg("sftp").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("subsystem request failed"), "{output:?}");
    assert_eq!(output.status.code(), Some(255));
}

fn forwards(door: &Door) {
    let port = door.port().to_string();
    let direct = door.ssh(&["-W", &format!("127.0.0.1:{port}")]).output().unwrap();
    assert!(String::from_utf8_lossy(&direct.stderr).contains("forwarding failed"), "{direct:?}");
    let options = ["-A", "-X", "-R", "0:127.0.0.1:1", "-R", "/tmp/cellblock-no-such:127.0.0.1:1"];
    let output = door.ssh(&options).arg("echo ${SSH_AUTH_SOCK-none} ${DISPLAY-none}").output().unwrap();
    assert_eq!(text(&output).lines().last(), Some("none none"), "{output:?}");
}

fn look_alike(door: &Door) {
    let tries = [("alice", "wrong_key"), ("nobody", "wrong_key"), ("nobody", "user_key")];
    let seen = tries.map(|(user, key)| {
        let mut words = BTreeSet::new();
        let mut quickest = Duration::MAX;
        for _ in 0..4 {
            let start = Instant::now();
            let output = door.ssh_as(user, key, &[]).args(["127.0.0.1", "true"]).output().unwrap();
            quickest = quickest.min(start.elapsed());
            words.insert((String::from_utf8_lossy(&output.stderr).replace(user, "USER"), output.status.code()));
        }
        (words, quickest)
    });
    let [(words, quickest), others @ ..] = &seen;
    assert!(words.len() == 1 && words.iter().all(|(text, _)| text.contains("Permission denied (publickey)")));
    assert!(*quickest >= Duration::from_millis(100), "a refusal takes its time");
    for (same, time) in others {
        assert_eq!(same, words);
        // The quickest of four, on a machine that does other things too.
        assert!(time.abs_diff(*quickest) < Duration::from_millis(60), "{seen:?}");
    }
}

fn second_key(door: &Door) {
    let wrong = door.dir().join("wrong_key");
    let output = door.ssh(&["-i", wrong.to_str().unwrap()]).arg("echo in").output().unwrap();
    assert_eq!(text(&output), "in\n");
    let log = door.log();
    let logins: Vec<&str> = log.lines().filter(|line| line.starts_with("LogIn")).collect();
    assert!(logins.windows(2).all(|pair| pair[0] == pair[1]), "only one key ever signed");
}

fn too_many_tries(door: &Door) {
    let dir = door.dir();
    let mut options = Vec::new();
    for n in 0..6 {
        let key = dir.join(format!("extra{n}"));
        make_key("ed25519", &key);
        options.extend(["-i".to_owned(), key.to_str().unwrap().to_owned()]);
    }
    options.extend(["-l".to_owned(), "alice".to_owned()]);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let before = door.log().matches("OfferKey").count();
    let output = door.ssh_as("alice", "wrong_key", &options).args(["127.0.0.1", "true"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("Too many authentication"), "{output:?}");
    // max_auth_tries of the fake monitor.
    assert_eq!(door.log().matches("OfferKey").count() - before, 3);
}

fn other_methods(door: &Door) {
    let tried = || door.log().matches("TriedMethod { user: \"alice\", method: None }").count();
    let before = tried();
    let methods = "PreferredAuthentications=password,keyboard-interactive";
    let output = door.ssh_as("alice", "wrong_key", &["-o", methods]).args(["127.0.0.1", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(255));
    assert_eq!(tried(), before + 1);
}

fn terminal(door: &Door) {
    let mut ssh = Command::new("script");
    let line = "stty rows 33 cols 99; $SSH -tt 'stty size; echo $TERM; stty -a | grep -o .echoctl; tty'";
    let words = door.ssh(&[]);
    let words: Vec<&str> = words.get_args().skip(1).map(|arg| arg.to_str().unwrap()).collect();
    ssh.args(["-qec", line, "/dev/null"]).env("SSH", words.join(" ")).env("TERM", "vt220");
    let output = ssh.stdin(Stdio::null()).output().unwrap();
    let text = text(&output);
    assert!(text.contains("33 99") && text.contains("vt220") && text.contains("/dev/pts/"), "{text}");
}

fn terminal_end(door: &Door) {
    let start = Instant::now();
    let output = door.ssh(&["-tt"]).arg("nohup sleep 5 >/dev/null 2>&1 & echo last words; exit 9").output().unwrap();
    assert_eq!((text(&output).as_str(), output.status.code()), ("last words\r\n", Some(9)));
    assert!(start.elapsed() < Duration::from_secs(3));
    // Nobody's output is cut off.
    let output = door.ssh(&["-tt"]).arg("seq 1 20000").output().unwrap();
    assert_eq!(text(&output).lines().count(), 20_000);
    assert!(text(&output).ends_with("20000\r\n"));
}

fn terminal_told(door: &Door) {
    let (gone, end) = (door.dir().join("gone"), door.dir().join("end"));
    // Nobody has the terminal open any more (EIO), and the program has not ended.
    let line = format!(
        "exec </dev/null >/dev/null 2>&1; touch {}; until [ -e {} ]; do sleep 0.05; done; exit 7 # meets two limits",
        gone.display(),
        end.display()
    );
    let ssh = door.ssh(&["-tt"]).arg(line).stdout(Stdio::piped()).spawn().unwrap();
    wait_for(|| gone.exists().then_some(()));
    assert_eq!(text(&door.run("echo well")), "well\n");
    fs::write(end, "").unwrap();
    let output = ssh.wait_with_output().unwrap();
    let told = text(&output);
    assert!(told.contains("too many memory") && told.contains("too many processes"), "{told:?}");
    assert_eq!(output.status.code(), Some(7));
}

fn window_change(door: &Door) {
    let words = door.ssh(&[]);
    let words: Vec<&str> = words.get_args().skip(1).map(|arg| arg.to_str().unwrap()).collect();
    let line = "stty rows 20 cols 80; (sleep 1; stty rows 41 cols 142 </dev/tty) & \
                $SSH -tt 'trap \"stty size; exit\" WINCH; echo ready; while :; do sleep 0.1; done'";
    let mut script = Command::new("timeout");
    script.args(["15", "script", "-qec", line, "/dev/null"]).env("SSH", words.join(" ")).env("TERM", "xterm");
    let output = script.stdin(Stdio::null()).output().unwrap();
    assert!(text(&output).contains("41 142"), "{output:?}");
}

fn banner(door: &Door) {
    let output = door.ssh_as("alice", "wrong_key", &["-o", "LogLevel=INFO"]).arg("127.0.0.1").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("welcome to the test"));
}

fn leave(door: &Door) {
    let before = door.log().matches("LeaveSession").count();
    let master = door.dir().join("leave.sock");
    let path = format!("ControlPath={}", master.display());
    let first = door.ssh(&["-MN", "-o", &path]).spawn().unwrap();
    wait_for(|| master.exists().then_some(()));
    let marker = door.dir().join("left");
    // bash says on stderr that its sleep was hung up; nobody reads that any more, and SIGPIPE would
    // end it before its trap.
    let line =
        format!("exec 2>/dev/null; trap 'touch {}; exit' HUP; echo up; while :; do sleep 0.1; done", marker.display());
    let mut ssh = door.ssh(&["-o", &path]).arg(line).stdout(Stdio::piped()).spawn().unwrap();
    let mut up = [0; 3];
    ssh.stdout.take().unwrap().read_exact(&mut up).unwrap();
    stop(ssh);
    wait_for(|| marker.exists().then_some(()));
    assert_eq!(door.log().matches("LeaveSession").count(), before + 1);
    stop(first);
    wait_for(|| door.ssh_processes().is_empty().then_some(()));
}

fn background(door: &Door) {
    let start = Instant::now();
    let output = door.run("(sleep 1; echo late) & echo early");
    assert_eq!(text(&output), "early\nlate\n");
    assert!(start.elapsed() >= Duration::from_secs(1));
    let output = door.run("exec <&-; (sleep 5) >/dev/null 2>&1 & echo early");
    assert_eq!(text(&output), "early\n");
    assert!(start.elapsed() < Duration::from_secs(4));
}

fn algorithms(door: &Door) {
    let output = door.ssh(&["-vv"]).arg("true").env("LANG", "C").output().unwrap();
    let verbose = String::from_utf8_lossy(&output.stderr).replace('\r', "");
    let after: Vec<&str> = verbose.lines().skip_while(|line| !line.contains("peer server KEXINIT")).take(10).collect();
    let offered = after.join("\n");
    assert!(offered.contains("KEX algorithms: mlkem768x25519-sha256,curve25519-sha256,"), "{offered}");
    assert!(offered.contains("kex-strict-s-v00@openssh.com"), "{offered}");
    for bad in ["sha1", "cbc", "none,zlib,", "diffie-hellman", "hmac-sha2-256,", "ssh-dss", "3des"] {
        assert!(!offered.contains(bad), "{bad} in {offered}");
    }
    assert!(verbose.contains("server-sig-algs=<ssh-ed25519"), "{verbose}");
    assert!(verbose.contains("sk-ssh-ed25519@openssh.com") && verbose.contains("rsa-sha2-512"));
    assert!(!verbose.contains("ssh-rsa,") || !verbose.contains("server-sig-algs=<ssh-rsa"));
    assert!(verbose.contains("remote software version cellblock_"));
    for cipher in ["chacha20-poly1305@openssh.com", "aes128-gcm@openssh.com", "aes256-gcm@openssh.com"] {
        assert_eq!(text(&door.ssh(&["-c", cipher]).arg("echo hi").output().unwrap()), "hi\n");
    }
    let output = door.ssh(&["-c", "aes128-cbc", "-o", "LogLevel=INFO"]).arg("true").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("no matching cipher"), "{output:?}");
}

fn compression(door: &Door) {
    let line = "$SSH -C 'head -c 20M /dev/zero; cat' </etc/services | cat - | md5sum; \
                (head -c 20M /dev/zero; cat /etc/services) | md5sum";
    let output = text(&door.shell(line));
    let sums: Vec<&str> = output.lines().collect();
    assert_eq!(sums[0], sums[1]);
}

fn rsa(door: &Door) {
    // The fake monitor knows one key; that it is asked about this one is what counts.
    let key = door.dir().join("rsa");
    make_key("rsa", &key);
    for (algorithm, asked) in [("rsa-sha2-256", 1), ("ssh-rsa", 0)] {
        let before = door.log().matches("OfferKey").count();
        let accepted = format!("PubkeyAcceptedAlgorithms={algorithm}");
        let output = door.ssh_as("alice", "rsa", &["-o", &accepted]).arg("127.0.0.1").output().unwrap();
        assert_eq!(output.status.code(), Some(255));
        assert_eq!(door.log().matches("OfferKey").count() - before, asked, "{algorithm}");
    }
}
