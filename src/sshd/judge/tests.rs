use std::path::Path;

use super::*;

/// What sshd says by `config/sshd_config.d/cellblock.conf`, as far as it is looked at.
const CLOSED: &str = "forcecommand exec /usr/sbin/cellblock enter\nsubsystem sftp internal-sftp\npermituserrc yes\n\
    permituserenvironment no\nacceptenv LANG\nacceptenv LC_*\nallowtcpforwarding no\nallowstreamlocalforwarding no\n\
    allowagentforwarding no\nx11forwarding no\npermittunnel no\ngatewayports no\ndisableforwarding yes\n\
    permitopen any\npermitlisten any\n";

fn account(shell: Shell) -> Account {
    Account { name: "alice".into(), groups: vec!["alice".into(), "tenants".into()], shell, writes_variables: false }
}

fn sh() -> Shell {
    Shell::Hosts { path: "/bin/sh".into(), startup: None }
}

/// All that is found where these settings are changed: each `keyword value`, or `-keyword` for none.
fn found(shell: Shell, changes: &[&str]) -> Vec<String> {
    let keyword = |line: &str| line.trim_start_matches('-').split(' ').next().unwrap().to_owned();
    let changed: Vec<String> = changes.iter().map(|line| keyword(line)).collect();
    let kept = CLOSED.lines().filter(|line| !changed.contains(&keyword(line)));
    let new = changes.iter().copied().filter(|line| !line.starts_with('-'));
    let stdout = kept.chain(new).collect::<Vec<_>>().join("\n");
    let answer = Answer::read(&stdout, "", Path::new("/c"));
    judge(&account(shell), &answer).into_iter().map(|found| found.what).collect()
}

fn nothing(shell: Shell, changes: &[&str]) {
    assert_eq!(found(shell, changes), [""; 0], "{changes:?}");
}

/// Exactly one thing is found, with these words in it.
fn one(shell: Shell, changes: &[&str], words: &str) {
    let all = found(shell, changes);
    assert!(all.len() == 1 && all.iter().all(|what| what.contains(words)), "{changes:?}: {all:?}");
}

#[test]
fn what_the_shipped_config_says_leaks_nothing() {
    for shell in [sh(), Shell::Ours, Shell::Shut] {
        nothing(shell, &[]);
    }
    let startup = Some("/home/alice/.bashrc".into());
    one(Shell::Hosts { path: "/bin/bash".into(), startup }, &[], "/bin/bash runs /home/alice/.bashrc");
}

#[test]
fn the_forced_command_is_ours_by_its_whole_path_or_none() {
    for line in [
        "/usr/sbin/cellblock enter",
        "exec /usr/sbin/cellblock enter",
        "exec /opt/bin/cellblock enter --sftp",
        "/usr/sbin/cellblock enter # for tenants",
    ] {
        nothing(sh(), &[&format!("forcecommand {line}")]);
    }
    for line in [
        "/usr/sbin/cellblock list",
        "/usr/sbin/cellblock enter; sh",
        "/usr/sbin/cellblock enter $(id)",
        "/usr/sbin/cellblock enter || sh",
        "/usr/sbin/uncellblock enter",
        "rrsync /srv",
        "exec",
    ] {
        one(sh(), &[&format!("forcecommand {line}")], "sshd runs `");
    }
    for line in ["cellblock enter", "exec cellblock enter", "./cellblock enter", "sbin/cellblock enter"] {
        one(sh(), &[&format!("forcecommand {line}")], "/bin/sh looks for `");
    }
    nothing(Shell::Ours, &["forcecommand rrsync /srv"]);
}

#[test]
fn without_a_forced_command_the_shell_decides_and_internal_sftp_asks_none() {
    let none = "forcecommand none";
    nothing(Shell::Ours, &[none, "subsystem sftp /usr/sbin/cellblock enter --sftp"]);
    nothing(Shell::Ours, &[none, "subsystem sftp /usr/lib/openssh/sftp-server"]);
    nothing(Shell::Shut, &[none, "-subsystem"]);
    for shell in [Shell::Ours, Shell::Shut] {
        one(shell.clone(), &[none], "sshd itself serves {who} the files of this host, and asks no shell");
        one(shell.clone(), &["forcecommand internal-sftp -R"], "sshd itself serves");
        one(shell, &[none, "subsystem files internal-sftp"], "sshd itself serves");
    }
    let ours = "subsystem sftp /usr/sbin/cellblock enter --sftp";
    one(sh(), &[none, ours, "permituserrc no"], "sshd gives {who} /bin/sh of this host");
    let all = found(sh(), &[none, "subsystem sftp /usr/lib/openssh/sftp-server"]);
    let expected = ["sshd gives {who} /bin/sh", "sshd runs `/usr/lib/openssh/sftp-server`", "sshd runs ~/.ssh/rc"];
    assert!(all.len() == 3 && all.iter().zip(expected).all(|(what, begins)| what.starts_with(begins)), "{all:?}");
}

#[test]
fn forwards_are_closed_by_either_setting_but_for_those_that_sshd_forgets() {
    let off = "disableforwarding no";
    nothing(sh(), &[off]);
    nothing(sh(), &["allowtcpforwarding yes", "allowstreamlocalforwarding all", "gatewayports yes"]);
    one(sh(), &[off, "allowtcpforwarding yes"], "connects to this host's network, and listens there");
    one(sh(), &[off, "allowtcpforwarding local", "gatewayports yes"], "connects to this host's network for");
    one(sh(), &[off, "allowtcpforwarding remote"], "sshd listens in this host's network");
    one(sh(), &[off, "allowtcpforwarding all", "permitopen none"], "sshd listens in");
    one(sh(), &[off, "allowtcpforwarding yes", "permitlisten none"], "connects to this host's network for");
    nothing(sh(), &[off, "allowtcpforwarding yes", "permitopen none", "permitlisten none"]);
    assert_eq!(found(sh(), &[off, "allowtcpforwarding yes", "gatewayports clientspecified"]).len(), 2);
    for way in ["yes", "local", "remote", "all"] {
        one(sh(), &[off, &format!("allowstreamlocalforwarding {way}")], "unix sockets");
    }
    for disabled in [off, "disableforwarding yes"] {
        one(sh(), &[disabled, "allowagentforwarding yes"], "ssh agent");
        one(sh(), &[disabled, "x11forwarding yes"], "xauth");
        one(sh(), &[disabled, "permittunnel point-to-point"], "network device");
    }
}

#[test]
fn variables_that_change_what_programs_do_are_found_by_any_pattern() {
    for pattern in ["LD_*", "*", "LD_PRELOA?", "GCONV_PATH", "L*"] {
        for shell in [sh(), Shell::Ours, Shell::Shut] {
            one(shell, &[&format!("acceptenv {pattern}")], "for what it runs on this host");
        }
    }
    for pattern in ["BASH_ENV", "BASH_FUNC_*", "ENV", "P*"] {
        one(sh(), &[&format!("acceptenv {pattern}")], "for what it runs on this host");
        nothing(Shell::Ours, &[&format!("acceptenv {pattern}")]);
    }
    nothing(sh(), &["acceptenv LANG", "acceptenv LC_*", "acceptenv COLORTERM", "acceptenv GIT_PROTOCOL"]);
    one(sh(), &["permituserenvironment yes"], "~/.ssh/environment");
    one(sh(), &["permituserenvironment LANG,LD_*"], "LD_PRELOAD by ~/.ssh/environment");
    nothing(sh(), &["permituserenvironment LANG,LC_*"]);
}

#[test]
fn whom_sshd_does_not_let_in_it_does_nothing_for() {
    let open = "x11forwarding yes";
    for list in ["denyusers alice", "denygroups tenants", "allowusers admin", "allowgroups admins"] {
        nothing(sh(), &[open, list]);
    }
    // What is a pattern, or asks where somebody comes from, is sshd's to say: they may be let in.
    for list in ["denyusers al*", "denyusers alice@10.*", "allowusers a*", "allowusers alice", "allowgroups tenants"] {
        one(sh(), &[open, list], "xauth");
    }
    one(sh(), &[open, "allowusers admin", "allowusers !x"], "xauth");
}
