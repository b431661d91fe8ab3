//! Checks that truthfully fail until the part that makes them hold is there.

/// System call filters: the first five. Limits: the others. Empty once both are merged.
pub(crate) const AWAITED: &[&str] = &[
    "sockets",
    "calls",
    "foreign-abis",
    "terminal",
    "limits-of-pid-1",
    "fork-bomb",
    "memory-bomb",
    "inotify-bomb",
    "pty-bomb",
];
