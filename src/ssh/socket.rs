//! The client's connection, under the SSH library.

use std::{
    error::Error,
    fmt,
    future::Future as _,
    io::{self, IoSliceMut},
    net::TcpStream as StdStream,
    os::fd::{AsFd as _, OwnedFd},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use cellblock::base::{Failure, Result, fail};
use cellblock::sys::{fd, tcp};
use cellblock::wire::login::GaveUp;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use super::{flow::ReadBoth, overheard};

/// A client that has gone without a word is noticed after three minutes of silence. There is no
/// `TCP_USER_TIMEOUT`: it also ends connections whose living client has stopped reading
/// (`tcp_probe_timer` in Linux), which sshd lets wait; data that a dead client does not acknowledge
/// ends the connection after `tcp_retries2`, about 15 minutes.
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(120);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_COUNT: u32 = 3;

/// Bytes of a client that is not logged in. Two dozen of the largest certificates that are taken
/// (`requests.rs`) come to less; the library answers much of what strangers can send with nothing,
/// and so counts it nowhere.
const MOST_EARLY: u64 = 1 << 20;

/// Bytes in the time of a key exchange by which a client shows that it sends what it had on its way when
/// we began one; and how often it is waited for again because of that.
const STILL_SENDS: u64 = 64 << 10;
const MOST_TIMES: u32 = 10;

/// Openings of channels that may have been on their way then. The library keeps 2.4 KiB for the answer to
/// each, whatever it is, until the exchange is over, and counts no more than the bytes that they came in.
const MOST_OPENINGS: u32 = 1024;

/// The connection, which acknowledges at once until the login is through.
///
/// OpenSSH's client holds small packets back under Nagle's rule while an earlier one is not
/// acknowledged: without this a login takes 40 ms more.
///
/// What the library would put up with for ever ends here, by an error of reading that holds a [`Cut`].
#[derive(Debug)]
pub(crate) struct Socket {
    inner: TcpStream,
    logged_in: Arc<AtomicBool>,
    /// Read before the login was through.
    early: u64,
    /// What a key exchange may take after it.
    most_exchange: Duration,
    exchange: Option<Exchange>,
}

/// A key exchange that is under way.
#[derive(Debug)]
struct Exchange {
    began: Instant,
    /// The client takes part, or does something else meanwhile.
    spoke: bool,
    /// Bytes that came since the time was given last, and how often it was given.
    moved: u64,
    times: u32,
    over: Pin<Box<Sleep>>,
}

/// Why a client is not read from any more, inside of an [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut(pub(crate) GaveUp);

impl Cut {
    /// The one inside of `error`.
    pub(crate) fn inside(error: &io::Error) -> Option<Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()).copied()
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.sentence())
    }
}

impl Error for Cut {}

impl Socket {
    /// Prepares `connection` and registers it with the runtime. Once `logged_in` is set, nothing is
    /// special about it any more.
    pub(crate) fn new(connection: OwnedFd, logged_in: Arc<AtomicBool>) -> Result<Self> {
        let failed = |errno| -> Failure { fail("preparing the connection", "", errno) };
        tcp::send_at_once(connection.as_fd()).map_err(failed)?;
        let interval = KEEP_ALIVE_INTERVAL;
        tcp::keep_alive(connection.as_fd(), KEEP_ALIVE_IDLE, interval, KEEP_ALIVE_COUNT).map_err(failed)?;
        fd::set_nonblocking(connection.as_fd(), true).map_err(failed)?;
        let inner = TcpStream::from_std(StdStream::from(connection));
        let inner = inner.map_err(|error| fail("preparing the connection", "", error))?;
        Ok(Self { inner, logged_in, early: 0, most_exchange: Duration::MAX, exchange: None })
    }

    /// From now on a key exchange may take `most`, once the login is through.
    pub(crate) fn limit_exchanges(&mut self, most: Duration) {
        self.most_exchange = most;
    }

    fn is_logged_in(&self) -> bool {
        self.logged_in.load(Ordering::Relaxed)
    }

    /// Fails where a key exchange takes too long, or too many channels are opened in it. The library reads
    /// whenever it does not write, and so comes by here when one begins.
    ///
    /// Three things get the time again: a slow line, whose other end has not acknowledged all that was
    /// sent to it; one that still brings what the client sent before it heard of the exchange, for a
    /// while; and a client that has said nothing since we began. That was stopped (`~^Z`) and costs no
    /// more than any idle one.
    fn watch_exchange(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(overheard::Exchange { began, by_client, openings }) = overheard::exchange() else {
            self.exchange = None;
            return Ok(());
        };
        if openings > MOST_OPENINGS {
            return Err(io::Error::other(Cut(GaveUp::TooMuchMeanwhile)));
        }
        let again = || Box::pin(sleep(self.most_exchange));
        let exchange = match &mut self.exchange {
            Some(exchange) if exchange.began == began => exchange,
            Some(_) | None => {
                self.exchange.insert(Exchange { began, spoke: by_client, moved: 0, times: 0, over: again() })
            }
        };
        while exchange.over.as_mut().poll(cx).is_ready() {
            let still_sends = !by_client && exchange.moved >= STILL_SENDS && exchange.times < MOST_TIMES;
            if exchange.spoke && !still_sends && tcp::unacknowledged(self.inner.as_fd())? == 0 {
                return Err(io::Error::other(Cut(GaveUp::KeyExchange)));
            }
            (exchange.moved, exchange.times) = (0, exchange.times.saturating_add(1));
            exchange.over = again();
        }
        Ok(())
    }

    /// Something was read, and so sent by the client.
    fn spoke(&mut self, read: u64) {
        let Some(exchange) = self.exchange.as_mut() else { return };
        exchange.moved = exchange.moved.saturating_add(read);
        if !exchange.spoke {
            exchange.spoke = true;
            exchange.over = Box::pin(sleep(self.most_exchange));
        }
    }

    fn before_reading(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.is_logged_in() { self.watch_exchange(cx) } else { Ok(()) }
    }

    fn after_reading(&mut self, read: usize) -> io::Result<()> {
        let read = u64::try_from(read).unwrap_or(u64::MAX);
        if !self.is_logged_in() {
            return self.count_early(read);
        }
        self.spoke(read);
        Ok(())
    }

    /// Fails where somebody who is not logged in sent more than can be of use.
    fn count_early(&mut self, read: u64) -> io::Result<()> {
        tcp::acknowledge_at_once(self.inner.as_fd())?;
        self.early = self.early.saturating_add(read);
        if self.early > MOST_EARLY { Err(io::Error::other(Cut(GaveUp::TooMuchEarly))) } else { Ok(()) }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        socket.before_reading(cx)?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut socket.inner).poll_read(cx, buffer))?;
        let read = buffer.filled().len().saturating_sub(before);
        Poll::Ready(socket.after_reading(read))
    }
}

impl ReadBoth for Socket {
    fn poll_read_both(
        &mut self,
        cx: &mut Context<'_>,
        first: &mut ReadBuf<'_>,
        second: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.before_reading(cx)?;
        loop {
            ready!(self.inner.poll_read_ready(cx))?;
            let into = [first.initialize_unfilled(), second.initialize_unfilled()];
            match self.inner.try_read_vectored(&mut into.map(IoSliceMut::new)) {
                Ok(read) => {
                    let in_first = read.min(first.remaining());
                    first.advance(in_first);
                    second.advance(read.saturating_sub(in_first));
                    return Poll::Ready(self.after_reading(read));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
