//! Sockets inside the cell that are listened on for the client: each connection becomes a channel.
//!
//! The socket was made by a child of init, in the cell; accepting is all that this process does to
//! it. A connection waits in the kernel while the client has as many as it may.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use cellblock::sys::{Errno, fd, stream};
use cellblock::wire::{forward::Place, login::Request};
use russh::{
    Channel,
    server::{Handle, Msg},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::OwnedSemaphorePermit,
    task::AbortHandle,
    time::sleep,
};

use super::{Counts, Forwards, Times};
use crate::ssh::ready;

/// After an error that is not the connection's own: it may pass, and is not to be met at full speed.
const PAUSE: Duration = Duration::from_millis(100);

/// Sockets of one listener: one for each family.
const MOST_SOCKETS: usize = 2;

/// What every connection to a listener needs.
#[derive(Clone)]
pub(super) struct Listening {
    pub(super) forwards: Forwards,
    pub(super) number: u32,
    pub(super) place: Place,
    pub(super) port: u16,
    pub(super) times: Times,
    pub(super) handle: Handle,
}

impl Listening {
    /// Starts to accept. `None`: these are no sockets that could be.
    pub(super) fn start(&self, sockets: Vec<OwnedFd>) -> Option<Vec<AbortHandle>> {
        if sockets.is_empty() || sockets.len() > MOST_SOCKETS {
            return None;
        }
        let watch = |socket: OwnedFd| {
            fd::set_nonblocking(socket.as_fd(), true).ok()?;
            ready::watch(socket, Interest::READABLE).ok()
        };
        let sockets: Vec<_> = sockets.into_iter().map(watch).collect::<Option<_>>()?;
        let start = |socket| tokio::spawn(self.clone().accept_all(socket)).abort_handle();
        Some(sockets.into_iter().map(start).collect())
    }

    async fn accept_all(self, socket: AsyncFd<OwnedFd>) {
        loop {
            // Never closed: the table holds it.
            let Ok(permit) = std::sync::Arc::clone(&self.forwards.slots).acquire_owned().await else { return };
            let Ok((connection, peer)) = accept(&socket).await else { return };
            // In a task that nobody ends: russh would end the connection over an answer that is not
            // taken.
            tokio::spawn(self.clone().serve(connection, peer, permit));
            if self.times == Times::Once {
                return;
            }
        }
    }

    async fn serve(self, connection: OwnedFd, peer: Option<std::net::SocketAddr>, permit: OwnedSemaphorePermit) {
        let number = self.forwards.number();
        let (peer, port) = match (peer, &self.place) {
            (Some(peer), _) => (peer.ip().to_canonical().to_string(), u32::from(peer.port())),
            // As sshd calls those.
            (None, _) => ("UNKNOWN".to_owned(), 0),
        };
        let from = if port == 0 { peer.clone() } else { format!("{peer}:{port}") };
        let told = Request::Accepted { forward: number, listener: self.number, peer: from };
        if self.forwards.voice.send(&told).await.is_err() {
            return;
        }
        match self.open(peer, port).await {
            Ok(channel) => {
                // The half that reads must go now, and not when this ends: russh would wait for it.
                let (reader, writer) = channel.split();
                drop(reader);
                self.forwards.serve(number, writer, connection).await;
            }
            Err(_refused) => self.forwards.report(number, &Counts::default()).await,
        }
        drop(permit);
    }

    /// Asks the client, and waits for its answer: nothing is read from the socket before.
    async fn open(&self, peer: String, port: u32) -> Result<Channel<Msg>, russh::Error> {
        match &self.place {
            Place::Tcp { host, .. } => {
                self.handle.channel_open_forwarded_tcpip(host.clone(), u32::from(self.port), peer, port).await
            }
            Place::Unix { path } => self.handle.channel_open_forwarded_streamlocal(path.clone()).await,
            Place::Agent => self.handle.channel_open_agent().await,
            Place::Display { .. } => self.handle.channel_open_x11(peer, port).await,
        }
    }
}

/// The next connection.
async fn accept(socket: &AsyncFd<OwnedFd>) -> io::Result<(OwnedFd, Option<std::net::SocketAddr>)> {
    loop {
        let mut ready = socket.readable().await?;
        match stream::accept(socket.get_ref().as_fd()) {
            Ok(accepted) => return Ok(accepted),
            Err(Errno::EAGAIN) => ready.clear_ready(),
            // Others are those of the connection that would have been accepted (accept(2)).
            Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM) => sleep(PAUSE).await,
            Err(Errno::EINVAL | Errno::EBADF) => return Err(io::ErrorKind::InvalidInput.into()),
            Err(_its_own) => {}
        }
    }
}
