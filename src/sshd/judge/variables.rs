//! Variables that whoever logs in may set for what sshd runs on the host: the account's shell, and
//! `cellblock enter`.

use crate::base::escape;
use crate::base::matches;
use crate::sshd::accounts::Shell;
use crate::sshd::answer::Answer;
use crate::sshd::leak::{Found, WHO};

/// By these the dynamic loader and the C library load or write what they name (ld.so(8)), in any program.
const OF_EVERY_PROGRAM: [&str; 11] = [
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "LD_DEBUG_OUTPUT",
    "LD_PROFILE_OUTPUT",
    "GLIBC_TUNABLES",
    "GCONV_PATH",
    "LOCPATH",
    "NLSPATH",
    "MALLOC_TRACE",
    "RESOLV_HOST_CONF",
];

/// By these shells run or define something before their command.
const OF_SHELLS: [&str; 9] =
    ["BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS", "PS4", "BASH_FUNC_exec%%", "ZDOTDIR", "XDG_CONFIG_HOME", "IFS"];

pub(super) fn judge(shell: &Shell, answer: &Answer) -> Vec<Found> {
    let mut all = Vec::new();
    let settings = answer.value("permituserenvironment");
    let listed = match settings {
        "yes" => "*",
        "no" => "",
        list => list,
    };
    if let Some(name) = listed.split(',').find_map(|pattern| dangerous(pattern, shell)) {
        let place = answer.place("permituserenvironment", |_any| true);
        let what = format!("sshd lets {WHO} set {name} by ~/.ssh/environment, for what it runs on this host");
        let hint = "write `PermitUserEnvironment no`, outside of Match blocks: it cannot stand in one";
        all.push(Found::new(place, what, hint.into()));
    }
    for pattern in answer.values("acceptenv") {
        let Some(name) = dangerous(pattern, shell) else { continue };
        let names = |value: &str| value.split_whitespace().any(|word| word.trim_matches('"') == pattern);
        let place = answer.place("acceptenv", names);
        let pattern = escape(pattern);
        let hint = match place {
            Some(place) if place.matched => format!("take `{pattern}` out of this line"),
            Some(_) | None => format!(
                "take `{pattern}` out of this line, or write `AcceptEnv LANG LC_*` in a Match block for them, which \
                 takes the place of all such lines outside"
            ),
        };
        let what = format!("sshd takes {name} from {WHO}, for what it runs on this host");
        all.push(Found::new(place, what, hint));
    }
    all
}

/// A variable that `pattern` lets through and that makes programs of the host do something else.
fn dangerous(pattern: &str, shell: &Shell) -> Option<&'static str> {
    let of_shells: &[&str] = match shell {
        Shell::Hosts { .. } => &OF_SHELLS,
        Shell::Ours | Shell::Shut => &[],
    };
    OF_EVERY_PROGRAM.iter().chain(of_shells).find(|name| matches(pattern, name)).copied()
}
