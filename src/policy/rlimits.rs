//! Resource limits by the kernel's numbers (getrlimit(2); the numbers are asm-generic's).

/// `RLIMIT_CORE`: the config says.
pub(super) const CORE: u32 = 4;
/// `RLIMIT_NOFILE`: the config says.
pub(super) const OPEN_FILES: u32 = 7;

/// `RLIM_INFINITY`.
pub const UNLIMITED: u64 = u64::MAX;

/// Resource, soft and hard limit of all that the config says nothing of: what the kernel and systemd
/// give (systemd-system.conf(5)), whoever started the door. Control groups bound what a tenant takes
/// of the host. Queued signals and message queues are init's to bound: the kernel counts those over
/// all cells.
pub const DEFINED: [(u32, u64, u64); 12] = [
    (0, UNLIMITED, UNLIMITED),  // RLIMIT_CPU
    (1, UNLIMITED, UNLIMITED),  // RLIMIT_FSIZE
    (2, UNLIMITED, UNLIMITED),  // RLIMIT_DATA
    (3, 8 << 20, UNLIMITED),    // RLIMIT_STACK
    (5, UNLIMITED, UNLIMITED),  // RLIMIT_RSS
    (6, UNLIMITED, UNLIMITED),  // RLIMIT_NPROC
    (8, 8 << 20, 8 << 20),      // RLIMIT_MEMLOCK
    (9, UNLIMITED, UNLIMITED),  // RLIMIT_AS
    (10, UNLIMITED, UNLIMITED), // RLIMIT_LOCKS
    (13, 0, 0),                 // RLIMIT_NICE
    (14, 0, 0),                 // RLIMIT_RTPRIO
    (15, UNLIMITED, UNLIMITED), // RLIMIT_RTTIME
];
