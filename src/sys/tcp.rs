//! Options of a TCP socket (tcp(7), socket(7)).

use std::{
    os::fd::{AsRawFd as _, BorrowedFd},
    time::Duration,
};

use rustix::net::sockopt;

use super::{Errno, SysResult};

/// `TCP_QUICKACK`: acknowledges what has come, at once. The kernel forgets it soon; set it again.
pub fn acknowledge_at_once(socket: BorrowedFd<'_>) -> SysResult<()> {
    Ok(sockopt::set_tcp_quickack(socket, true)?)
}

/// `TCP_NODELAY`: sends small packets at once.
pub fn send_at_once(socket: BorrowedFd<'_>) -> SysResult<()> {
    Ok(sockopt::set_tcp_nodelay(socket, true)?)
}

/// `SO_KEEPALIVE`: after `idle` of silence asks every `interval`, `count` times, whether the peer
/// is there; then reads fail.
pub fn keep_alive(socket: BorrowedFd<'_>, idle: Duration, interval: Duration, count: u32) -> SysResult<()> {
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, idle)?;
    sockopt::set_tcp_keepintvl(socket, interval)?;
    Ok(sockopt::set_tcp_keepcnt(socket, count)?)
}

/// What the kernel has seen of the way to the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Bytes a second that arrived there, at best of late.
    pub rate: u64,
    /// There and back, at least of late.
    pub round_trip: Duration,
}

impl Line {
    /// Bytes on the way when it is full and nothing waits in it.
    #[must_use]
    pub fn holds(self) -> u64 {
        let micros = u64::try_from(self.round_trip.as_micros()).unwrap_or(u64::MAX);
        self.rate.saturating_mul(micros) / 1_000_000
    }
}

/// Where `tcpi_min_rtt` and `tcpi_delivery_rate` lie in `struct tcp_info` (linux/tcp.h, since Linux 4.9); libc
/// knows neither.
const MIN_ROUND_TRIP: usize = 148;
const RATE: usize = 160;
const INFO: usize = RATE + 8;

/// `TCP_INFO`: what is known of the line.
pub fn line(socket: BorrowedFd<'_>) -> SysResult<Line> {
    let mut info = [0_u8; INFO];
    let mut length = libc::socklen_t::try_from(INFO).map_err(|_range| Errno::EINVAL)?;
    // SAFETY: the kernel writes at most `length` bytes to `info`, which is as long, and the length; both
    // outlive the call.
    let done = unsafe {
        let (info, length) = (info.as_mut_ptr().cast(), &raw mut length);
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info, length)
    };
    if done < 0 {
        return Err(Errno::last());
    }
    let word = |at: usize| info.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    let long = |at: usize| info.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_ne_bytes(*bytes));
    Ok(Line { rate: long(RATE), round_trip: Duration::from_micros(word(MIN_ROUND_TRIP).into()) })
}

/// `SIOCOUTQ`: bytes that were sent, or wait to be, and that the peer's kernel has not acknowledged.
pub fn unacknowledged(socket: BorrowedFd<'_>) -> SysResult<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (TIOCOUTQ, by its other name) writes an int, which outlives the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if done < 0 { Err(Errno::last()) } else { Ok(u64::try_from(bytes).unwrap_or(0)) }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        os::fd::AsFd as _,
    };

    use super::*;

    #[test]
    fn a_line_over_which_much_went_has_a_rate_and_a_round_trip() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        let mut piece = vec![7; 64 << 10];
        for _ in 0..128 {
            near.write_all(&piece).unwrap();
            far.read_exact(&mut piece).unwrap();
        }
        let line = line(near.as_fd()).unwrap();
        // Memory to memory: more than 10 MB/s, in less than a second.
        assert!(line.rate > 10_000_000, "{line:?}");
        assert!((Duration::from_micros(1)..Duration::from_secs(1)).contains(&line.round_trip), "{line:?}");
        assert!(super::line(std::io::stdin().as_fd()).is_err());
    }

    #[test]
    fn a_line_holds_what_arrives_in_a_round_trip() {
        assert_eq!(Line { rate: 125_000_000, round_trip: Duration::from_millis(80) }.holds(), 10_000_000);
    }
}
