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

/// As much as most pipes hold: one read empties them.
const PIPE: usize = 64 << 10;

/// As much of a stream that has more, as sftp's: whoever fills it is woken by each read.
const MOST: usize = 256 << 10;

/// One end of a stream of a program.
#[derive(Debug)]
pub(crate) struct Descriptor(AsyncFd<File>);

/// Where one stream is read into.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// How much may come with the next read.
    room: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { bytes: Vec::new(), room: PIPE }
    }
}

impl Buffer {
    /// What was read, together with the buffer if it is a quarter full at least; less is copied out of it.
    fn take(&mut self) -> Bytes {
        let (length, capacity) = (self.bytes.len(), self.bytes.capacity());
        self.room = if length == capacity || length > PIPE { MOST } else { PIPE };
        if length >= capacity / 4 {
            return mem::take(&mut self.bytes).into();
        }
        let bytes = Bytes::copy_from_slice(&self.bytes);
        self.bytes.clear();
        if capacity > self.room {
            self.bytes = Vec::new();
        }
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
            buffer.bytes.reserve_exact(buffer.room);
            let read = ready.try_io(|file| Ok(fd::read_more(file.get_ref().as_fd(), &mut buffer.bytes)?));
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

    fn holding(length: usize, capacity: usize) -> Buffer {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.resize(length, 7);
        Buffer { bytes, room: capacity }
    }

    #[test]
    fn little_that_waits_holds_little() {
        let mut buffer = holding(PIPE / 4 - 1, PIPE);
        let kept = buffer.bytes.as_ptr();
        assert_eq!(buffer.take(), vec![7; PIPE / 4 - 1]);
        assert_eq!((buffer.bytes.as_ptr(), buffer.bytes.len()), (kept, 0), "the buffer is used again");
    }

    #[test]
    fn much_is_not_copied() {
        let mut buffer = holding(PIPE / 4, PIPE);
        let at = buffer.bytes.as_ptr();
        assert_eq!(buffer.take().as_ptr(), at);
        assert!(buffer.bytes.is_empty());
    }

    #[test]
    fn a_stream_that_has_more_is_read_in_larger_pieces() {
        for (length, capacity, next) in
            [(PIPE, PIPE, MOST), (MOST, MOST, MOST), (PIPE + 1, MOST, MOST), (PIPE, MOST, PIPE), (1, MOST, PIPE)]
        {
            let mut buffer = holding(length, capacity);
            buffer.take();
            buffer.bytes.reserve_exact(buffer.room);
            assert_eq!(buffer.bytes.capacity(), next, "after {length} of {capacity}");
        }
    }
}
