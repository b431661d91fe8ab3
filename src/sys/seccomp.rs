//! seccomp(2) allow-lists: calls by name, with conditions on their arguments; anything else kills.

use std::collections::BTreeMap;

use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::{Errno, SysResult};

/// One call that is allowed, and with what argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// The number, from [`number`].
    pub call: i64,
    /// Allowed only if this argument has this value, compared on the low 32 bits.
    pub argument: Option<Argument>,
}

/// A condition on an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argument {
    /// Which, from 0.
    pub index: u8,
    /// The value, from [`value`].
    pub equals: u32,
}

/// Installs a filter in the calling thread that allows `allowed` and kills the process at anything
/// else, another architecture's calls included. Sets no_new_privs. Cannot be undone.
pub fn allow_only(allowed: &[Allowed]) -> SysResult<()> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for entry in allowed {
        let conditions = rules.entry(entry.call).or_default();
        if let Some(argument) = entry.argument {
            let equals = SeccompCondition::new(
                argument.index,
                SeccompCmpArgLen::Dword,
                SeccompCmpOp::Eq,
                u64::from(argument.equals),
            )
            .and_then(|condition| SeccompRule::new(vec![condition]))
            .map_err(|_invalid| Errno::EINVAL)?;
            conditions.push(equals);
        }
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|_unknown| Errno::ENOSYS)?;
    let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch)
        .map_err(|_invalid| Errno::EINVAL)?;
    let program = seccompiler::BpfProgram::try_from(filter).map_err(|_too_large| Errno::EINVAL)?;
    seccompiler::apply_filter(&program).map_err(|error| match error {
        seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => Errno::from(error),
        seccompiler::Error::Backend(_) | seccompiler::Error::EmptyFilter | seccompiler::Error::ThreadSync(_) => {
            Errno::EINVAL
        }
    })
}

/// `PR_GET_SECCOMP`: whether a filter is in force. The filter must allow the question.
pub fn is_filtered() -> SysResult<bool> {
    // SAFETY: PR_GET_SECCOMP takes no arguments.
    let mode = unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) };
    if mode < 0 { Err(Errno::last()) } else { Ok(mode == 2) }
}

macro_rules! names {
    ($what:ty: $($(#[$only:meta])? $name:ident = $value:expr),* $(,)?) => {
        &[$($(#[$only])? (stringify!($name), $value)),*] as &[(&str, $what)]
    };
}

/// The number of a call on this architecture. `None`: not a call here, or not one that a list of
/// ours has needed so far.
#[must_use]
pub fn number(name: &str) -> Option<i64> {
    let calls = names!(libc::c_long:
        brk = libc::SYS_brk,
        clock_gettime = libc::SYS_clock_gettime,
        close = libc::SYS_close,
        epoll_ctl = libc::SYS_epoll_ctl,
        epoll_pwait = libc::SYS_epoll_pwait,
        #[cfg(target_arch = "x86_64")]
        epoll_wait = libc::SYS_epoll_wait,
        exit_group = libc::SYS_exit_group,
        fcntl = libc::SYS_fcntl,
        futex = libc::SYS_futex,
        getrandom = libc::SYS_getrandom,
        ioctl = libc::SYS_ioctl,
        madvise = libc::SYS_madvise,
        mlock = libc::SYS_mlock,
        mmap = libc::SYS_mmap,
        mprotect = libc::SYS_mprotect,
        mremap = libc::SYS_mremap,
        munlock = libc::SYS_munlock,
        munmap = libc::SYS_munmap,
        prctl = libc::SYS_prctl,
        read = libc::SYS_read,
        recvfrom = libc::SYS_recvfrom,
        recvmsg = libc::SYS_recvmsg,
        sendmsg = libc::SYS_sendmsg,
        sendto = libc::SYS_sendto,
        setsockopt = libc::SYS_setsockopt,
        shutdown = libc::SYS_shutdown,
        sigaltstack = libc::SYS_sigaltstack,
        write = libc::SYS_write,
    );
    calls.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// The value of a constant that a list compares an argument with.
#[must_use]
pub fn value(name: &str) -> Option<u32> {
    // They are of different types in libc, and of different ones on other architectures.
    let values = names!(i128:
        F_GETFD = i128::from(libc::F_GETFD),
        FIONBIO = i128::from(libc::FIONBIO),
        MSG_NOSIGNAL = i128::from(libc::MSG_NOSIGNAL),
        PR_GET_NO_NEW_PRIVS = i128::from(libc::PR_GET_NO_NEW_PRIVS),
        PR_GET_SECCOMP = i128::from(libc::PR_GET_SECCOMP),
        PROT_READ_WRITE = i128::from(libc::PROT_READ | libc::PROT_WRITE),
        TCP_QUICKACK = i128::from(libc::TCP_QUICKACK),
        TIOCSWINSZ = i128::from(libc::TIOCSWINSZ),
    );
    values.iter().find(|(known, _)| *known == name).and_then(|(_, value)| u32::try_from(*value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_known_have_no_number() {
        assert_eq!(number("read"), Some(libc::SYS_read));
        assert_eq!(number("execve"), None);
        assert_eq!(value("TIOCSWINSZ"), Some(0x5414));
        assert_eq!(value("TIOCSTI"), None);
    }
}
