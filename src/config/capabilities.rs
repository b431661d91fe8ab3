//! Capability names (capabilities(7)), and which of them root may keep in a cell.

/// Every capability in the order of its number, and what stands against it in a cell, if anything.
const TABLE: [(&str, Option<&str>); 41] = [
    ("CAP_CHOWN", None),
    ("CAP_DAC_OVERRIDE", None),
    ("CAP_DAC_READ_SEARCH", None),
    ("CAP_FOWNER", None),
    ("CAP_FSETID", None),
    ("CAP_KILL", None),
    ("CAP_SETGID", None),
    ("CAP_SETUID", None),
    ("CAP_SETPCAP", None),
    ("CAP_LINUX_IMMUTABLE", HOST_ONLY),
    ("CAP_NET_BIND_SERVICE", None),
    ("CAP_NET_BROADCAST", HOST_ONLY),
    ("CAP_NET_ADMIN", Some("it opens the firewall and routing code of the kernel to the tenant")),
    ("CAP_NET_RAW", None),
    ("CAP_IPC_LOCK", HOST_ONLY),
    ("CAP_IPC_OWNER", None),
    ("CAP_SYS_MODULE", HOST_ONLY),
    ("CAP_SYS_RAWIO", HOST_ONLY),
    ("CAP_SYS_CHROOT", None),
    ("CAP_SYS_PTRACE", None),
    ("CAP_SYS_PACCT", HOST_ONLY),
    ("CAP_SYS_ADMIN", Some("with it the tenant could undo the jail's mounts")),
    ("CAP_SYS_BOOT", Some("all it can do in a cell is end it")),
    ("CAP_SYS_NICE", None),
    ("CAP_SYS_RESOURCE", HOST_ONLY),
    ("CAP_SYS_TIME", HOST_ONLY),
    ("CAP_SYS_TTY_CONFIG", HOST_ONLY),
    ("CAP_MKNOD", HOST_ONLY),
    ("CAP_LEASE", HOST_ONLY),
    ("CAP_AUDIT_WRITE", HOST_ONLY),
    ("CAP_AUDIT_CONTROL", HOST_ONLY),
    ("CAP_SETFCAP", None),
    ("CAP_MAC_OVERRIDE", HOST_ONLY),
    ("CAP_MAC_ADMIN", HOST_ONLY),
    ("CAP_SYSLOG", HOST_ONLY),
    ("CAP_WAKE_ALARM", HOST_ONLY),
    ("CAP_BLOCK_SUSPEND", HOST_ONLY),
    ("CAP_AUDIT_READ", HOST_ONLY),
    ("CAP_PERFMON", HOST_ONLY),
    ("CAP_BPF", HOST_ONLY),
    ("CAP_CHECKPOINT_RESTORE", Some("with it the tenant could choose the pids of new processes")),
];

const HOST_ONLY: Option<&str> = Some("the kernel honours it only outside of cells");

/// The bit of a capability that a cell can have, or why not.
pub(super) fn bit(name: &str) -> Result<u64, &'static str> {
    match TABLE.iter().position(|(known, _against)| *known == name) {
        None => Err("it is not the name of a capability"),
        Some(number) => match TABLE.get(number) {
            Some((_, Some(against))) => Err(against),
            Some((_, None)) | None => Ok(1 << number),
        },
    }
}

/// The names that a cell can have: the known ones a typing error may have meant.
pub(super) fn allowed() -> impl Iterator<Item = &'static str> {
    TABLE.iter().filter(|(_name, against)| against.is_none()).map(|(name, _against)| *name)
}

/// The names of the bits that are set.
pub(super) fn names(bits: u64) -> impl Iterator<Item = &'static str> {
    TABLE.iter().enumerate().filter(move |(number, _row)| bits & (1 << number) != 0).map(|(_number, row)| row.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_stands_at_its_number() {
        for (name, number) in [("CAP_SYS_ADMIN", 21), ("CAP_MKNOD", 27), ("CAP_SETFCAP", 31), ("CAP_AUDIT_READ", 37)] {
            assert_eq!(TABLE[number].0, name);
        }
        assert_eq!(TABLE[40].0, "CAP_CHECKPOINT_RESTORE");
    }

    #[test]
    fn the_capability_that_undoes_the_jail_cannot_be_had() {
        assert!(bit("CAP_SYS_ADMIN").unwrap_err().contains("mounts"));
        assert!(bit("CAP_NET_ADMIN").is_err() && bit("CAP_MKNOD").is_err() && bit("chown").is_err());
        assert_eq!(bit("CAP_KILL"), Ok(1 << 5));
        assert_eq!(names(1 << 5 | 1).collect::<Vec<_>>(), ["CAP_CHOWN", "CAP_KILL"]);
        assert!(!allowed().any(|name| name == "CAP_SYS_ADMIN"));
    }
}
