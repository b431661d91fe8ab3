//! One end of a conversation between two of our processes.

use std::{
    fmt,
    marker::PhantomData,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

use postcard::experimental::serialized_size;
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::sys::{Errno, seqpacket};

/// Longest message. A command line of 128 KiB fits, the largest thing that a peer chooses, and 64 KiB
/// for all else; the kernel takes what fits into a socket's buffer (208 KiB by default).
pub const MAX_MESSAGE: usize = 192 << 10;

/// Why a link cannot go on. The holder drops it; nobody argues with a wrong peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkError {
    /// The other end is gone.
    Closed,
    /// Nothing to read now, or no room to write (non-blocking links only).
    WouldBlock,
    /// A message over [`MAX_MESSAGE`].
    TooLong,
    /// Bytes that are no message, or bytes after one.
    Malformed,
    /// Not the descriptors that the message should bring.
    Descriptors,
    /// The socket failed.
    Socket(Errno),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the other process is gone"),
            Self::WouldBlock => f.write_str("the other process is not ready"),
            Self::TooLong => f.write_str("the message is longer than 192 KiB"),
            Self::Malformed => f.write_str("the message does not decode"),
            Self::Descriptors => f.write_str("the message brought the wrong descriptors"),
            Self::Socket(errno) => write!(f, "{errno}"),
        }
    }
}

impl std::error::Error for LinkError {}

impl From<Errno> for LinkError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::EAGAIN => Self::WouldBlock,
            Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN => Self::Closed,
            Errno::EMSGSIZE => Self::TooLong,
            Errno::EPROTO => Self::Descriptors,
            other => Self::Socket(other),
        }
    }
}

/// A link that sends `Out` and receives `In`.
pub struct Link<Out, In> {
    socket: OwnedFd,
    types: PhantomData<fn(Out) -> In>,
}

impl<Out, In> fmt::Debug for Link<Out, In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl<Out, In> AsFd for Link<Out, In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// For a conversation that goes on in other words.
impl<Out, In> From<Link<Out, In>> for OwnedFd {
    fn from(link: Link<Out, In>) -> Self {
        link.socket
    }
}

/// For runtimes that wait for descriptors by number.
impl<Out, In> AsRawFd for Link<Out, In> {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl<Out: Serialize, In: DeserializeOwned> Link<Out, In> {
    /// Takes over a connected `SOCK_SEQPACKET` socket.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, types: PhantomData }
    }

    /// Sends a message that carries no descriptors.
    pub fn send(&self, message: &Out) -> Result<(), LinkError> {
        self.send_with(message, &[])
    }

    /// Sends a message with descriptors, at most [`seqpacket::MAX_FDS`].
    pub fn send_with(&self, message: &Out, fds: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        Ok(seqpacket::send(self.socket.as_fd(), &encode(message)?, fds)?)
    }

    /// Receives a message and what descriptors came with it.
    ///
    /// Waits for one unless the socket is non-blocking.
    pub fn receive(&mut self) -> Result<(In, Vec<OwnedFd>), LinkError> {
        // A buffer of the message's own length: there are several links per connection, and one that
        // kept room for the longest message would cost each of them 192 KiB.
        let length = match seqpacket::look(self.socket.as_fd())?.length {
            0 => return Err(LinkError::Closed),
            length if length > MAX_MESSAGE => return Err(LinkError::TooLong),
            length => length,
        };
        let mut buffer = Zeroizing::new(vec![0; length]);
        let (length, fds) = seqpacket::receive(self.socket.as_fd(), &mut buffer)?;
        let bytes = buffer.get(..length).ok_or(LinkError::TooLong)?;
        Ok((decode(bytes)?, fds))
    }

    /// As [`receive`](Self::receive), from somebody who must not send descriptors, and whose own would take as
    /// long to close as they like: a message that brings some is not taken, and neither are they.
    pub fn receive_alone(&mut self) -> Result<In, LinkError> {
        if seqpacket::look(self.socket.as_fd())?.descriptors {
            return Err(LinkError::Descriptors);
        }
        // Nobody else reads here, so this is the one that was looked at.
        self.receive().map(|(message, _none)| message)
    }
}

/// The bytes of a message, at most [`MAX_MESSAGE`].
pub fn encode<T: Serialize>(message: &T) -> Result<Zeroizing<Vec<u8>>, LinkError> {
    let length = serialized_size(message).map_err(|_encode| LinkError::Malformed)?;
    if length > MAX_MESSAGE {
        return Err(LinkError::TooLong);
    }
    // Never moved while it grows, and wiped: host keys go this way.
    let bytes = postcard::to_extend(message, Vec::with_capacity(length));
    bytes.map(Zeroizing::new).map_err(|_encode| LinkError::Malformed)
}

/// The message that exactly these bytes are. Takes any bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, LinkError> {
    let (message, rest) = postcard::take_from_bytes(bytes).map_err(|_decode| LinkError::Malformed)?;
    if rest.is_empty() { Ok(message) } else { Err(LinkError::Malformed) }
}

/// The descriptors of a message that must bring exactly `N`.
pub fn exactly<const N: usize>(fds: Vec<OwnedFd>) -> Result<[OwnedFd; N], LinkError> {
    fds.try_into().map_err(|_count: Vec<OwnedFd>| LinkError::Descriptors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> (Link<String, u8>, Link<u8, String>) {
        let (a, b) = seqpacket::pair().unwrap();
        (Link::new(a), Link::new(b))
    }

    #[test]
    fn a_message_arrives_whole_with_its_descriptors() {
        let (a, mut b) = links();
        let (one, two) = seqpacket::pair().unwrap();
        a.send_with(&"hello".into(), &[one.as_fd(), two.as_fd()]).unwrap();
        let (text, fds) = b.receive().unwrap();
        assert_eq!((text.as_str(), fds.len()), ("hello", 2));
        assert!(exactly::<3>(fds).is_err());
    }

    #[test]
    fn a_message_that_is_too_long_is_not_sent() {
        let (a, _b) = links();
        assert_eq!(a.send(&"x".repeat(MAX_MESSAGE)), Err(LinkError::TooLong));
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        let (a, b) = seqpacket::pair().unwrap();
        let mut b: Link<u8, (u8, u8)> = Link::new(b);
        for bytes in [&[1][..], &[1, 2, 3]] {
            seqpacket::send(a.as_fd(), bytes, &[]).unwrap();
            assert_eq!(b.receive().unwrap_err(), LinkError::Malformed);
        }
        seqpacket::send(a.as_fd(), &vec![0; MAX_MESSAGE + 1], &[]).unwrap();
        assert_eq!(b.receive().unwrap_err(), LinkError::TooLong);
    }

    #[test]
    fn a_message_that_must_come_alone_is_left_where_it_is_with_its_descriptors() {
        let (a, mut b) = links();
        a.send(&"alone".into()).unwrap();
        assert_eq!(b.receive_alone().unwrap(), "alone");
        let (end, mut other) = std::io::pipe().map(|(end, other)| (OwnedFd::from(end), other)).unwrap();
        a.send_with(&"not alone".into(), &[end.as_fd()]).unwrap();
        drop(end);
        for _ in 0..2 {
            assert_eq!(b.receive_alone(), Err(LinkError::Descriptors));
        }
        // It has a reader yet, whom nobody closed.
        std::io::Write::write_all(&mut other, b"x").unwrap();
        assert_eq!(b.receive().unwrap().1.len(), 1);
        // An empty message is no message, but its descriptors are some.
        seqpacket::send(a.as_fd(), b"", &[a.as_fd()]).unwrap();
        assert_eq!(b.receive_alone(), Err(LinkError::Descriptors));
    }

    #[test]
    fn too_many_descriptors_are_refused() {
        let (a, b) = seqpacket::pair().unwrap();
        let fds = [a.as_fd(); seqpacket::MAX_FDS + 1];
        assert_eq!(seqpacket::send(a.as_fd(), b"x", &fds), Err(Errno::EINVAL));
        drop(b);
    }

    #[test]
    fn the_end_of_the_other_process_is_seen() {
        let (a, mut b) = links();
        drop(a);
        assert_eq!(b.receive().unwrap_err(), LinkError::Closed);
        assert_eq!(b.send(&1), Err(LinkError::Closed));
    }
}
