//! Descriptors that the runtime watches.

use std::{io, os::fd::AsRawFd};

use tokio::io::{Interest, unix::AsyncFd};

/// Has the runtime watch `owner`'s descriptor, which must be non-blocking.
///
/// The runtime takes the number from `as_raw_fd` once. `owner` must go on owning that number, as a
/// `File` and a `Link` do.
#[expect(
    deprecated,
    reason = "its successor may only be called in `sys`, which does not link tokio; what it \
              asks for is the contract above"
)]
pub(crate) fn watch<T: AsRawFd>(owner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(owner, interest)
}
