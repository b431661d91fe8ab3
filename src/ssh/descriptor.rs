//! Descriptors of programs and forwards: what is read from them goes to the client without a copy.

use std::{
    fs::File,
    io::{self, IoSlice, Write as _},
    mem,
    os::fd::{AsFd as _, OwnedFd},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use cellblock::sys::{fd, pty, stream};
use cellblock::wire::session::WindowSize;
use tokio::io::{Interest, unix::AsyncFd};

use super::ready;

/// As much as a pipe holds: one read empties it.
const BUFFER: usize = 64 << 10;

/// From here on what was read is given away together with its buffer, which so is at least a quarter
/// full; less is copied out of it.
const GIVEN_AWAY: usize = BUFFER / 4;

/// One end of a stream of a program.
#[derive(Debug)]
pub(crate) struct Descriptor(AsyncFd<File>);

/// Where one stream is read into.
#[derive(Debug, Default)]
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    fn take(&mut self) -> Bytes {
        if self.0.len() >= GIVEN_AWAY {
            return mem::take(&mut self.0).into();
        }
        let bytes = Bytes::copy_from_slice(&self.0);
        self.0.clear();
        bytes
    }
}

impl Descriptor {
    /// Has the runtime watch `fd`, which becomes non-blocking.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        fd::set_nonblocking(fd.as_fd(), true)?;
        Ok(Self(ready::watch(File::from(fd), Interest::READABLE | Interest::WRITABLE)?))
    }

    /// Waits for what there is to read; nothing is the end. Loses nothing when it is dropped.
    pub(crate) async fn read(&self, buffer: &mut Buffer) -> io::Result<Bytes> {
        loop {
            let mut ready = self.0.readable().await?;
            buffer.0.reserve(BUFFER);
            let read = ready.try_io(|file| Ok(fd::read_more(file.get_ref().as_fd(), &mut buffer.0)?));
            if let Ok(read) = read {
                return read.map(|_length| buffer.take());
            }
        }
    }

    /// Writes what fits, once some does.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(written) = ready.try_io(|file| file.get_ref().write_vectored(buffers)) {
                return Poll::Ready(written);
            }
        }
    }

    /// Lets the peer read the end, if this is a socket.
    pub(crate) fn end_sending(&self) {
        // Not connected any more: then the peer has read it.
        stream::end_sending(self.0.as_fd()).unwrap_or_default();
    }

    /// Sets the size, if this is a terminal's master.
    pub(crate) fn resize(&self, size: WindowSize) -> bool {
        pty::set_size(self.0.as_fd(), size.columns, size.rows, size.width, size.height).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_that_waits_holds_little() {
        let mut buffer = Buffer(vec![7; GIVEN_AWAY - 1]);
        buffer.0.reserve_exact(BUFFER);
        let kept = buffer.0.as_ptr();
        assert_eq!(buffer.take(), vec![7; GIVEN_AWAY - 1]);
        assert_eq!((buffer.0.as_ptr(), buffer.0.len()), (kept, 0), "the buffer is used again");
    }

    #[test]
    fn much_is_not_copied() {
        let mut buffer = Buffer(vec![7; GIVEN_AWAY]);
        let at = buffer.0.as_ptr();
        assert_eq!(buffer.take().as_ptr(), at);
        assert!(buffer.0.is_empty());
    }
}
