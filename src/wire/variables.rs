//! Which environment variables a client may set (`accept_env`): for the ssh process, which answers such a request,
//! and for the monitor, whose word it is.

use crate::base::matches;

/// Longest name that a client may set.
const MAX_NAME: usize = 128;

/// Names that change what a program runs or loads. A pattern with a wildcard never covers them;
/// whoever wants one lists it by its whole name.
const DANGEROUS: [&str; 38] = [
    "LD_*",
    "GLIBC_*",
    "MALLOC_*",
    "SSH_*",
    "BASH_*",
    "PYTHON*",
    "PERL*",
    "RUBY*",
    "NODE_*",
    "LUA_*",
    "JAVA_*",
    "GIT_*",
    "DYLD_*",
    "_RLD*",
    "ENV",
    "IFS",
    "CDPATH",
    "PATH",
    "HOME",
    "SHELL",
    "SHELLOPTS",
    "BASHOPTS",
    "PS4",
    "PROMPT_COMMAND",
    "ZDOTDIR",
    "GCONV_PATH",
    "GETCONF_DIR",
    "LOCPATH",
    "NLSPATH",
    "LOCALDOMAIN",
    "RES_OPTIONS",
    "RESOLV_HOST_CONF",
    "HOSTALIASES",
    "TERMINFO*",
    "TERMCAP",
    "TMPDIR",
    "USER",
    "LOGNAME",
];

/// Whether a variable of this name is taken from a client that may set those which `accept` covers.
#[must_use]
pub fn is_taken(name: &str, accept: &[String]) -> bool {
    is_name(name) && accepted(name, accept)
}

fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn accepted(name: &str, accept: &[String]) -> bool {
    if DANGEROUS.iter().any(|pattern| matches(pattern, name)) {
        return accept.iter().any(|listed| listed == name);
    }
    accept.iter().any(|pattern| matches(pattern, name))
}
