//! One channel with a program: its streams, its end, and in which order the client learns of both.
//!
//! As sshd does it: with pipes, the channel closes when standard output and error have ended *and*
//! the exit is known; with a terminal, the exit closes it once what is left is sent. The exit is
//! reported as soon as it is known.

use std::{
    fs::File,
    future::pending,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use cellblock::sys::{fd, pty, stream};
use cellblock::wire::{
    LinkError, link,
    session::{Exit, LAST_BYTES, LAST_WORDS, MEMORY_LIMIT_STATUS, WindowSize},
};
use russh::{
    ChannelWriteHalf, Sig,
    server::{Handle, Msg},
};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _, Interest, unix::AsyncFd},
    time::sleep,
};

use super::{
    end::End,
    flow::Flow,
    idle::{self, Activity, Step},
    monitor::{Ends, News},
    ready, requests,
};

/// As much as a pipe holds: one read empties it.
const BUFFER: usize = 64 << 10;

/// Extended data type for standard error (RFC 4254, 5.2).
const STDERR: u32 = 1;

/// One end of a stream of a program.
#[derive(Debug)]
pub(crate) struct Descriptor(AsyncFd<File>);

impl Descriptor {
    /// Has the runtime watch `fd`, which becomes non-blocking.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        fd::set_nonblocking(fd.as_fd(), true).map_err(|errno| io::Error::from_raw_os_error(errno.raw()))?;
        Ok(Self(ready::watch(File::from(fd), Interest::READABLE | Interest::WRITABLE)?))
    }

    /// Waits for what there is to read; 0 is the end.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            if let Ok(read) = ready.try_io(|file| file.get_ref().read(buffer)) {
                return read;
            }
        }
    }

    /// Writes what fits, once some does.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(written) = ready.try_io(|file| file.get_ref().write(bytes)) {
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

/// A descriptor to write to, and where it is noted that something was.
struct Sink(Arc<Descriptor>, Activity);

impl AsyncWrite for Sink {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(self.0.poll_write(cx, bytes))?;
        self.1.moved();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The streams of a program.
pub(crate) enum Streams {
    /// A terminal's master.
    Terminal(Arc<Descriptor>),
    /// Pipes.
    Pipes {
        /// Written.
        stdin: Arc<Descriptor>,
        /// Read.
        stdout: Descriptor,
        /// Read.
        stderr: Descriptor,
    },
}

impl Streams {
    /// Takes over what the monitor sent: one descriptor for a terminal, three for pipes.
    pub(crate) fn new(fds: Vec<OwnedFd>, terminal: bool) -> Result<Self, End> {
        let unfit = |_error: io::Error| End::Link(LinkError::Descriptors);
        if terminal {
            let [master] = link::exactly(fds)?;
            Ok(Self::Terminal(Arc::new(Descriptor::new(master).map_err(unfit)?)))
        } else {
            let [stdin, stdout, stderr] = link::exactly(fds)?;
            Ok(Self::Pipes {
                stdin: Arc::new(Descriptor::new(stdin).map_err(unfit)?),
                stdout: Descriptor::new(stdout).map_err(unfit)?,
                stderr: Descriptor::new(stderr).map_err(unfit)?,
            })
        }
    }

    /// The terminal's master, if there is one.
    pub(crate) fn master(&self) -> Option<Arc<Descriptor>> {
        match self {
            Self::Terminal(master) => Some(Arc::clone(master)),
            Self::Pipes { .. } => None,
        }
    }
}

/// A session as it runs.
pub(crate) struct Session {
    /// Sends data, bounded by the client's window.
    pub(crate) writer: ChannelWriteHalf<Msg>,
    /// Sends what the writer cannot.
    pub(crate) handle: Handle,
    /// Brings what the client sends.
    pub(crate) flow: Flow,
    /// How the program ended, and what its client is to be told before.
    pub(crate) news: News,
    /// What moves here.
    pub(crate) activity: Activity,
    /// Its number towards the monitor.
    pub(crate) number: u32,
    /// Where it is told that it will end.
    pub(crate) ends: Ends,
}

impl Session {
    /// Serves the session until the channel can be closed, and closes it.
    pub(crate) async fn run(self, streams: Streams) {
        let channel = u32::from(self.writer.id());
        let Self { writer, handle, flow, news, activity, number, ends } = self;
        let idle = async {
            let mut warned = false;
            while let Step::Warn(left) = activity.step(&mut warned).await {
                ends.notice(number, idle::warning("this session", left));
            }
        };
        let client = Client { writer, handle };
        match streams {
            Streams::Terminal(master) => {
                let input = flow.pump(channel, Sink(Arc::clone(&master), activity.clone()));
                let served = during(input, serve_terminal(&client, &master, news, &activity));
                tokio::select! { () = served => {} () = idle => {} }
            }
            Streams::Pipes { stdin, stdout, stderr } => {
                // Ends with the client's last byte, and closes the program's standard input.
                let input = flow.pump(channel, Sink(stdin, activity.clone()));
                let served = during(input, serve_pipes(&client, &stdout, &stderr, news, &activity));
                tokio::select! { () = served => {} () = idle => {} }
            }
        }
        flow.discard(channel);
        client.close().await;
    }
}

/// Runs `main` to its end, and `side` as long as it lasts.
async fn during(side: impl Future<Output = ()>, main: impl Future<Output = ()>) {
    let side = async {
        side.await;
        pending::<()>().await;
    };
    tokio::select! {
        () = main => {}
        () = side => {}
    }
}

async fn serve_pipes(client: &Client, stdout: &Descriptor, stderr: &Descriptor, news: News, activity: &Activity) {
    let News { exit, mut notices } = news;
    let output = async {
        let out = copy(stdout, client.writer.make_writer(), activity);
        let err = copy(stderr, client.writer.make_writer_ext(Some(STDERR)), activity);
        tokio::join!(out, err);
    };
    let end = async {
        if let Ok(exit) = exit.await {
            client.report(exit).await;
        }
    };
    // Ends with the exit, after which there are none. A client that reads nothing holds up no exit.
    let notices = async {
        let mut to = std::pin::pin!(client.writer.make_writer_ext(Some(STDERR)));
        while let Some(text) = notices.recv().await {
            if to.write_all(format!("{text}\n").as_bytes()).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(output, end, notices);
}

/// Copies until the program closes the stream or the client's side is gone.
async fn copy(from: &Descriptor, to: impl AsyncWrite, activity: &Activity) {
    let mut to = std::pin::pin!(to);
    let mut buffer = vec![0; BUFFER];
    while let Ok(length) = from.read(&mut buffer).await {
        let bytes = buffer.get(..length).unwrap_or_default();
        if bytes.is_empty() || to.write_all(bytes).await.is_err() {
            return;
        }
        activity.moved();
    }
}

async fn serve_terminal(client: &Client, master: &Descriptor, news: News, activity: &Activity) {
    let News { mut exit, mut notices } = news;
    let mut writer = std::pin::pin!(client.writer.make_writer());
    let mut buffer = vec![0; BUFFER];
    let mut exited = false;
    let (mut after_exit, mut patience) = (0, LAST_WORDS);
    while after_exit < LAST_BYTES {
        let asked = Instant::now();
        tokio::select! {
            biased;
            // Before the exit, which may be because of it. The terminal may be in raw mode.
            Some(text) = notices.recv() => {
                if writer.write_all(format!("\r\n{text}\r\n").as_bytes()).await.is_err() {
                    break;
                }
            }
            // First: others who keep the terminal busy must not keep the exit from being told.
            ended = &mut exit, if !exited => {
                exited = true;
                if let Ok(exit) = ended {
                    client.report(exit).await;
                }
            }
            // EIO: the last process on the terminal is gone (ioctl_tty(2)).
            read = master.read(&mut buffer) => {
                let bytes = buffer.get(..read.unwrap_or(0)).unwrap_or_default();
                if exited {
                    after_exit += bytes.len();
                    patience = patience.saturating_sub(asked.elapsed());
                }
                if bytes.is_empty() || writer.write_all(bytes).await.is_err() {
                    break;
                }
                activity.moved();
            }
            () = sleep(patience), if exited => break,
        }
    }
    if !exited && let Ok(exit) = exit.await {
        client.report(exit).await;
    }
}

/// The client's side of a session. Where sending fails the connection is ending, which ends the
/// session too: nothing is left to do about it here.
struct Client {
    writer: ChannelWriteHalf<Msg>,
    handle: Handle,
}

impl Client {
    async fn report(&self, exit: Exit) {
        match exit {
            Exit::Status(status) => drop(self.writer.exit_status(u32::from(status)).await),
            Exit::Signal { name, core, number: _ } => self.report_signal(requests::exit_signal(&name), core, "").await,
            Exit::MemoryLimit => drop(self.writer.exit_status(u32::from(MEMORY_LIMIT_STATUS)).await),
            Exit::CellGone => self.report_signal(Sig::KILL, false, "The jail has ended.").await,
        }
    }

    async fn report_signal(&self, signal: Sig, core: bool, why: &str) {
        let id = self.writer.id();
        let sent = self.handle.exit_signal_request(id, signal, core, why.to_owned(), String::new());
        sent.await.unwrap_or_default();
    }

    async fn close(&self) {
        drop(self.writer.eof().await);
        drop(self.writer.close().await);
    }
}
