//! Each step left out, in a process of its own: it is to give up, and to say what is missing.

use std::{io::Write as _, os::unix::process::ExitStatusExt as _, process::Command};

use super::*;

/// Set in the processes that tests start and that are to die.
const INNER: &str = "CELLBLOCK_TEST_INNER";

/// This program once more, started by way of `starter`, for one test, with `value` in [`INNER`].
fn again(starter: &str, test: &str, value: &str) -> Command {
    let own = std::env::current_exe().unwrap();
    let mut words = starter.split(' ').filter(|word| !word.is_empty()).map(Into::into).chain([own.into_os_string()]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args(["--exact", &format!("ssh::sandbox::tests::{test}"), "--test-threads=1"]);
    command.env(INNER, value);
    command
}

#[test]
fn a_call_that_is_not_listed_kills_the_process() {
    if std::env::var_os(INNER).is_some() {
        seccomp::allow_only(&filter::rules(filter::TEXT).unwrap()).unwrap();
        assert!(seccomp::is_filtered().unwrap());
        // socketpair(2) is not listed.
        drop(cellblock::sys::seqpacket::pair());
        return;
    }
    let status = again("", "a_call_that_is_not_listed_kills_the_process", "1").status().unwrap();
    assert_eq!(status.signal(), Some(31), "SIGSYS, not {status}");
}

/// What `unshare` and `setpriv` do is the monitor's part (`monitor/confine.rs`), so far as it is read back in here.
const AS_THE_MONITOR: &str = "unshare --mount --pid --fork setpriv --clear-groups";

/// How it is started, the step that it leaves out, and what it says.
#[rustfmt::skip]
const WEAK: [(&str, &str, &str); 10] = [
    ("unshare --mount setpriv --clear-groups", "", "first of its pid namespace"),
    ("unshare --mount --pid --fork setpriv --clear-groups --ruid 1", "", "all ids are those of the sandbox"),
    ("unshare --mount --pid --fork setpriv --clear-groups --rgid 1", "", "all ids are those of the sandbox"),
    ("unshare --mount --pid --fork setpriv --groups 7", "", "all ids are those of the sandbox"),
    (AS_THE_MONITOR, "entering an empty root", "the root is empty"),
    (AS_THE_MONITOR, "setting limits", "limits are set"),
    (AS_THE_MONITOR, "giving up capabilities", "there are no capabilities"),
    (AS_THE_MONITOR, "refusing new privileges", "no new privileges can be had"),
    (AS_THE_MONITOR, "refusing to be traced", "nobody can trace it"),
    (AS_THE_MONITOR, CALLS, "the list of system calls is in force"),
];

/// The step that is none of [`STEPS`].
const CALLS: &str = "limiting system calls";

#[test]
fn with_any_step_left_out_the_process_gives_up_and_says_what_is_missing() {
    const SELF: &str = "with_any_step_left_out_the_process_gives_up_and_says_what_is_missing";
    if let Ok(left_out) = std::env::var(INNER) {
        say_what_comes_of_it(&left_out);
    }
    if process::effective_uid() != 0 {
        assert!(std::env::var_os("REQUIRE_ROOT").is_none(), "REQUIRE_ROOT is set and this is not root");
        return;
    }
    let said = |starter, left_out| {
        let output = again(starter, SELF, left_out).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        said.split_once("comes of it: ").unwrap_or_else(|| panic!("{said}")).1.trim_end().to_owned()
    };
    assert_eq!(said(AS_THE_MONITOR, ""), "confined");
    for (starter, left_out, missing) in WEAK {
        let refused = format!("reading back the sandbox: {missing}: it does not hold");
        assert_eq!(said(starter, left_out), refused, "{starter}, without {left_out}");
    }
    let tried = |(step, _): &Step| WEAK.iter().any(|(_, left_out, _)| left_out == step);
    assert!(STEPS.iter().all(tried));
}

/// Ends the process: there may be nothing left that it could end by itself with.
fn say_what_comes_of_it(left_out: &str) -> ! {
    let steps: Vec<Step> = STEPS.into_iter().filter(|(step, _)| *step != left_out).collect();
    let done = give_up(&steps, if left_out == CALLS { |_| Ok(()) } else { seccomp::allow_only });
    let words = done.map_or_else(|failure| failure.to_string(), |()| "confined".to_owned());
    // Not print!, which the harness would keep for itself.
    let told = std::io::stdout().write_all(format!("comes of it: {words}\n").as_bytes());
    process::exit_now(i32::from(told.is_err()));
}
