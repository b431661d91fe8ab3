//! One channel with a program: its streams, its end, and in which order the client learns of both.
//!
//! As sshd does it: with pipes, the channel closes when standard output and error have ended *and*
//! the exit is known; with a terminal, the exit closes it once what is left is sent. The exit is
//! reported as soon as it is known.

use std::{
    future::pending,
    io::{self, IoSlice},
    os::fd::OwnedFd,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use cellblock::wire::{
    LinkError, link,
    session::{Exit, LAST_BYTES, LAST_WORDS, MEMORY_LIMIT_STATUS},
};
use russh::{
    ChannelWriteHalf, Sig,
    server::{Handle, Msg},
};
use tokio::{sync::oneshot, task::yield_now, time::sleep};

use super::{
    ahead::{Terminal, Way},
    answers::Answers,
    descriptor::{Buffer, Descriptor},
    end::End,
    flow::{Flow, WriteSome},
    idle::{self, Activity, Step},
    monitor::{Ends, News},
    requests,
};

/// Extended data type for standard error (RFC 4254, 5.2).
const STDERR: u32 = 1;

/// Less than this is an answer that somebody waits for: it is sent before more is looked for. Much less
/// than a terminal gives at once, of which many are to go out together.
const FEW: usize = 256;

/// A descriptor to write to, and where it is noted that something was.
struct Sink(Arc<Descriptor>, Activity, Answers);

impl WriteSome for Sink {
    fn poll_write_some(&mut self, cx: &mut Context<'_>, buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = ready!(self.0.poll_write(cx, buffers))?;
        self.1.moved();
        self.2.asked(written);
        Poll::Ready(Ok(written))
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
    /// When to send more.
    pub(crate) way: Way,
    /// If it has a terminal.
    pub(crate) terminal: Option<Terminal>,
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
        let Self { writer, way, terminal, handle, flow, news, activity, number, ends } = self;
        activity.moved();
        let idle = async {
            let mut warned = false;
            while let Step::Warn(left) = activity.step(&mut warned).await {
                ends.notice(number, idle::warning("this session", left));
            }
        };
        let client = Client { writer, way, handle };
        match streams {
            Streams::Terminal(master) => {
                let answers = Answers::to_keys();
                let input = flow.pump(channel, Sink(Arc::clone(&master), activity.clone(), answers.clone()));
                let served = during(input, serve_terminal(&client, &master, news, &activity, &answers));
                tokio::select! { () = served => {} () = idle => {} () = answers.attend() => {} }
            }
            Streams::Pipes { stdin, stdout, stderr } => {
                // Ends with the client's last byte, and closes the program's standard input.
                let answers = Answers::to_requests();
                let input = flow.pump(channel, Sink(stdin, activity.clone(), answers.clone()));
                let served = during(input, serve_pipes(&client, (&stdout, &answers), &stderr, news, &activity));
                tokio::select! { () = served => {} () = idle => {} () = answers.attend() => {} }
            }
        }
        drop(terminal);
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

async fn serve_pipes(
    client: &Client,
    (stdout, answers): (&Descriptor, &Answers),
    stderr: &Descriptor,
    news: News,
    activity: &Activity,
) {
    let News { exit, mut notices } = news;
    let output = async {
        let stdout = copy(stdout, client, None, activity, || answers.came());
        tokio::join!(stdout, copy(stderr, client, Some(STDERR), activity, || {}));
    };
    let end = async {
        client.report(exit.await).await;
    };
    // Ends with the exit, after which there are none. A client that reads nothing holds up no exit.
    let notices = async {
        while let Some(text) = notices.recv().await {
            if client.send(Some(STDERR), format!("{text}\n"), || {}).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(output, end, notices);
}

/// Copies until the program closes the stream or the client's side is gone, and says each time that
/// something `came`.
async fn copy(from: &Descriptor, client: &Client, kind: Option<u32>, activity: &Activity, came: impl Fn()) {
    let mut buffer = Buffer::default();
    while let Ok(bytes) = from.read(&mut buffer).await {
        came();
        if bytes.is_empty() || client.send(kind, bytes, || activity.moved()).await.is_err() {
            return;
        }
    }
}

async fn serve_terminal(client: &Client, master: &Descriptor, news: News, activity: &Activity, answers: &Answers) {
    let News { mut exit, mut notices } = news;
    let mut buffer = Buffer::default();
    // Until the last program is gone, which may be before the monitor can say how, and why; and until all that is said.
    let (mut open, mut exited) = (true, false);
    let (mut after_exit, mut patience) = (0, LAST_WORDS);
    while after_exit < LAST_BYTES && (open || !exited || !notices.is_empty()) {
        let asked = Instant::now();
        tokio::select! {
            biased;
            // Before the exit, which may be because of it. The terminal may be in raw mode.
            Some(text) = notices.recv() => {
                let text = format!("\r\n{text}\r\n");
                open &= client.send_and_report(text, || {}, &mut exit, &mut exited).await.is_ok();
            }
            // First: others who keep the terminal busy must not keep the exit from being told.
            ended = &mut exit, if !exited => {
                exited = true;
                client.report(ended).await;
            }
            // EIO: the last process on the terminal is gone (ioctl_tty(2)).
            read = master.read(&mut buffer), if open => {
                let bytes = read.unwrap_or_default();
                if exited {
                    after_exit += bytes.len();
                    patience = patience.saturating_sub(asked.elapsed());
                }
                answers.came();
                let moved = || activity.moved();
                open = !bytes.is_empty() && client.send_and_report(bytes, moved, &mut exit, &mut exited).await.is_ok();
            }
            () = sleep(patience), if exited => break,
        }
    }
}

/// The client's side of a session. Where sending fails the connection is ending, which ends the
/// session too: nothing is left to do about it here.
struct Client {
    writer: ChannelWriteHalf<Msg>,
    way: Way,
    handle: Handle,
}

impl Client {
    /// Sends data, or extended data of a `kind`, as far as the client's window allows, and waits for that.
    /// Says whenever some `moved`.
    async fn send(&self, kind: Option<u32>, bytes: impl Into<Bytes>, moved: impl Fn()) -> Result<(), russh::Error> {
        let bytes = bytes.into();
        let length = bytes.len();
        self.way.send(&self.writer, kind, bytes, |_length| moved()).await?;
        if length < FEW {
            yield_now().await;
        }
        Ok(())
    }

    /// Sends data of a terminal, and tells of the `exit` meanwhile, which needs no window.
    async fn send_and_report(
        &self,
        bytes: impl Into<Bytes>,
        moved: impl Fn(),
        exit: &mut oneshot::Receiver<Exit>,
        exited: &mut bool,
    ) -> Result<(), russh::Error> {
        let mut sending = pin!(self.send(None, bytes, moved));
        if !*exited {
            tokio::select! {
                biased;
                sent = &mut sending => return sent,
                ended = exit => {
                    *exited = true;
                    // Both wait for the same few places towards the library, and one that is there is given to
                    // who came first: that must be able to take it.
                    return tokio::join!(sending, self.report(ended)).0;
                }
            }
        }
        sending.await
    }

    /// Tells how the program ended, unless the monitor has gone without saying so.
    async fn report(&self, exit: Result<Exit, oneshot::error::RecvError>) {
        let Ok(exit) = exit else { return };
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
