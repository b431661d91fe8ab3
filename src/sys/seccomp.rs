//! seccomp(2): allow-lists whose breach kills, and the names that lists use.
//!
//! Those of cells, which refuse with an error, are in [`program`].

pub mod program;

use std::collections::BTreeMap;

use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

pub use super::syscalls::{all, number};
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

/// All `CLONE_NEW*` of clone(2), and for unshare(2) `CLONE_NEWTIME`, which in clone(2) would be part
/// of the signal, where no signal reaches.
const NAMESPACES: libc::c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWTIME;

/// The value of a constant that a list compares an argument with.
#[must_use]
pub fn value(name: &str) -> Option<u32> {
    // They are of different types in libc, and of different ones on other architectures.
    let values = names!(i128:
        AF_INET = i128::from(libc::AF_INET),
        AF_INET6 = i128::from(libc::AF_INET6),
        AF_NETLINK = i128::from(libc::AF_NETLINK),
        AF_UNIX = i128::from(libc::AF_UNIX),
        ADDR_NO_RANDOMIZE = i128::from(libc::ADDR_NO_RANDOMIZE),
        CLONE_NEW_ANY = i128::from(NAMESPACES),
        F_GETFD = i128::from(libc::F_GETFD),
        FIONBIO = i128::from(libc::FIONBIO),
        IPPROTO_ICMP = i128::from(libc::IPPROTO_ICMP),
        IPPROTO_ICMPV6 = i128::from(libc::IPPROTO_ICMPV6),
        IPPROTO_IP = i128::from(libc::IPPROTO_IP),
        IPPROTO_TCP = i128::from(libc::IPPROTO_TCP),
        IPPROTO_UDP = i128::from(libc::IPPROTO_UDP),
        MADV_HUGEPAGE = i128::from(libc::MADV_HUGEPAGE),
        MSG_NOSIGNAL = i128::from(libc::MSG_NOSIGNAL),
        NETLINK_ROUTE = i128::from(libc::NETLINK_ROUTE),
        PER_ASKED = i128::from(u32::MAX),
        PER_LINUX = 0,
        PER_LINUX32 = 8,
        PR_GET_NO_NEW_PRIVS = i128::from(libc::PR_GET_NO_NEW_PRIVS),
        PR_GET_SECCOMP = i128::from(libc::PR_GET_SECCOMP),
        PROT_READ_WRITE = i128::from(libc::PROT_READ | libc::PROT_WRITE),
        TCP_INFO = i128::from(libc::TCP_INFO),
        TCP_QUICKACK = i128::from(libc::TCP_QUICKACK),
        TIOCLINUX = i128::from(libc::TIOCLINUX),
        TIOCOUTQ = i128::from(libc::TIOCOUTQ),
        TIOCSETD = i128::from(libc::TIOCSETD),
        TIOCSTI = i128::from(libc::TIOCSTI),
        TIOCSWINSZ = i128::from(libc::TIOCSWINSZ),
    );
    values.iter().find(|(known, _)| *known == name).and_then(|(_, value)| u32::try_from(*value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_that_are_not_known_have_no_value() {
        assert_eq!(value("TIOCSWINSZ"), Some(0x5414));
        assert_eq!(value("CLONE_NEW_ANY"), Some(0x7e02_0080));
        assert_eq!(value("TIOCNICE"), None);
    }
}
