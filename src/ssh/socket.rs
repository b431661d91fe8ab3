//! The client's connection, under the SSH library.

use std::{
    io,
    net::TcpStream as StdStream,
    os::fd::{AsFd as _, OwnedFd},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use cellblock::base::{Failure, Result, fail};
use cellblock::sys::{fd, tcp};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A client that has gone without a word is noticed after three minutes of silence. There is no
/// `TCP_USER_TIMEOUT`: it also ends connections whose living client has stopped reading
/// (`tcp_probe_timer` in Linux), which sshd lets wait; data that a dead client does not acknowledge
/// ends the connection after `tcp_retries2`, about 15 minutes.
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(120);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_COUNT: u32 = 3;

/// The connection, which acknowledges at once until the login is through.
///
/// OpenSSH's client holds small packets back under Nagle's rule while an earlier one is not
/// acknowledged: without this a login takes 40 ms more.
#[derive(Debug)]
pub(crate) struct Socket {
    inner: TcpStream,
    logged_in: Arc<AtomicBool>,
}

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
        Ok(Self { inner, logged_in })
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        ready!(Pin::new(&mut socket.inner).poll_read(cx, buffer))?;
        if !socket.logged_in.load(Ordering::Relaxed) {
            tcp::acknowledge_at_once(socket.inner.as_fd())
                .map_err(|errno| io::Error::from_raw_os_error(errno.raw()))?;
        }
        Poll::Ready(Ok(()))
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
