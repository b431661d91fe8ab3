use super::*;

fn command(text: &str) -> Program {
    Program::Command(text.into())
}

fn sftp() -> Program {
    Program::Subsystem("sftp".into())
}

fn shell(arguments: &[&str]) -> Result<Program, BadArguments> {
    login_shell(arguments.iter().map(OsString::from), None)
}

#[test]
fn a_login_shell_is_known_by_its_name_or_by_the_dash() {
    for name in ["-cellblock-shell", "-sshjail", "-", "cellblock-shell", "/usr/sbin/cellblock-shell", "-su"] {
        assert!(is_login_shell(OsStr::new(name)), "{name}");
    }
    for name in ["cellblock", "/usr/sbin/cellblock", "", "cellblock-shell-x", "/cellblock-shell/cellblock"] {
        assert!(!is_login_shell(OsStr::new(name)), "{name}");
    }
}

/// sshd, su, sudo -i, cron and at call login shells in these ways
#[test]
fn a_login_shell_takes_what_callers_give_it() {
    for arguments in [&[][..], &["-l"], &["--login"], &["-i"], &["-l", "-i"], &["-li"]] {
        assert_eq!(shell(arguments), Ok(Program::Shell), "{arguments:?}");
    }
    let line = "echo 'a  b'; \"$(date)\"\n\\";
    for arguments in [&["-c", line][..], &["-l", "-c", line], &["-lc", line], &["--login", "-ic", line]] {
        assert_eq!(shell(arguments), Ok(command(line)), "{arguments:?}");
    }
    assert_eq!(shell(&["-c", ""]), Ok(command("")));
    assert_eq!(shell(&["-c", "-c"]), Ok(command("-c")));
}

#[test]
fn what_a_login_shell_cannot_do_is_refused_and_not_left_out() {
    for arguments in
        [&["-c"][..], &["script"], &["-x"], &["-cl", "x"], &["-c", "x", "$0"], &["--rcfile", "x"], &["-"], &["--"]]
    {
        assert!(shell(arguments).is_err(), "{arguments:?}");
    }
}

#[test]
fn what_a_client_asked_for_goes_on_byte_by_byte() {
    assert_eq!(original(None), Program::Shell);
    for line in ["", " ", "ls", "a 'b  c' \"d\"", "grüße", "x\ny", "trailing\\", "$(x)", "sftp", "internal-sftp-x"] {
        assert_eq!(original(Some(line.into())), command(line), "{line:?}");
    }
    let bytes = OsString::from_vec(b"\xff\xfe".to_vec());
    assert_eq!(original(Some(bytes)), Program::Command(b"\xff\xfe".to_vec()));
}

#[test]
fn servers_of_files_that_sshd_names_are_ours_and_their_options_are_not_lost() {
    for line in [
        "internal-sftp",
        "internal-sftp -f AUTH -l INFO",
        "/usr/lib/openssh/sftp-server",
        "sftp-server",
        "/usr/sbin/cellblock enter --sftp",
    ] {
        assert_eq!(original(Some(line.into())), sftp(), "{line}");
        assert_eq!(shell(&["-c", line]), Ok(sftp()), "{line}");
    }
    for line in ["internal-sftp -R", "/usr/lib/openssh/sftp-server -R", "internal-sftp -l", "/bin/internal-sftp"] {
        assert_eq!(original(Some(line.into())), command(line), "{line}");
    }
}

#[test]
fn a_login_shell_knows_the_forced_command_of_its_own() {
    for forced in ["exec /usr/sbin/cellblock enter", "/usr/sbin/cellblock enter", "cellblock enter"] {
        let run = |original: Option<&str>| login_shell(["-c".into(), forced.into()], original.map(OsString::from));
        assert_eq!(run(None), Ok(Program::Shell));
        assert_eq!(run(Some("id; id")), Ok(command("id; id")));
        assert_eq!(run(Some("internal-sftp")), Ok(sftp()));
        // Once: what the client asked for is the client's.
        assert_eq!(run(Some("cellblock enter")), Ok(Program::Shell));
    }
    assert_eq!(shell(&["-c", "exec id"]), Ok(command("exec id")));
    assert_eq!(shell(&["-c", "exec"]), Ok(command("exec")));
}

#[test]
fn no_words_are_a_shell() {
    assert_eq!(of_words(&[]), Program::Shell);
    let words = ["apt-get", "update"].map(OsString::from);
    assert_eq!(of_words(&words), Program::Words(vec![b"apt-get".to_vec(), b"update".to_vec()]));
}
