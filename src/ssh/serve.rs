//! The life of an ssh process, from exec to exit.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    pin::pin,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use cellblock::base::{Failure, Result, fail};
use cellblock::sys::fd;
use cellblock::wire::{
    Link,
    login::{GaveUp, Reply, Request},
};
use russh::server::run_stream;
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
};

use super::{
    ahead::Ahead,
    algorithms,
    channels::Channels,
    end::End,
    flow::{Flow, Gate},
    forwards::Forwards,
    idle::{self, Step},
    monitor::{Ear, Ends, Monitor, Voice},
    overheard, sandbox,
    socket::Socket,
    translator::{Given, Translator},
};

/// The client's connection and the link to the monitor, where `monitor/confine.rs` puts them.
const CONNECTION: i32 = 3;
const LINK: i32 = 4;

/// Longest reason for an end that is passed on: a client chooses part of it.
const MOST_REASON: usize = 1024;

/// Serves the client behind descriptor 3 for the monitor behind descriptor 4.
///
/// Ends when the client has gone, when the monitor has, or when the sandbox does not hold.
pub(crate) fn run() -> ExitCode {
    let (Ok(connection), Ok(link)) = (fd::inherited(CONNECTION), fd::inherited(LINK)) else {
        return ExitCode::FAILURE;
    };
    match prepare(connection, &link) {
        Ok((runtime, parts)) => {
            runtime.block_on(serve(parts));
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let told = Link::<Request, Reply>::new(link).send(&Request::Note { text: failure.to_string() });
            ExitCode::from(if told.is_ok() { 1 } else { 2 })
        }
    }
}

/// What a connection is served with.
struct Parts {
    socket: Socket,
    login_is_through: Arc<AtomicBool>,
    voice: Voice,
    ear: Ear,
    ends: Ends,
    forwards: Forwards,
    answers: mpsc::Receiver<(Reply, Vec<OwnedFd>)>,
}

/// Makes everything that takes more than the sandbox allows, then goes into it.
fn prepare(connection: OwnedFd, link: &OwnedFd) -> Result<(Runtime, Parts)> {
    sandbox::read_back_descriptors(LINK + 1)?;
    let failed = |error: std::io::Error| -> Failure { fail("starting the runtime", "", error) };
    let copy = || fd::duplicate(link.as_fd()).map_err(|errno| fail("preparing the link", "", errno));
    overheard::listen().map_err(|error| fail("listening to the library's log", "", error))?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let parts = {
        let _inside = runtime.enter();
        fd::set_nonblocking(link.as_fd(), true).map_err(|errno| fail("preparing the link", "", errno))?;
        let login_is_through = Arc::new(AtomicBool::new(false));
        let line = fd::duplicate(connection.as_fd()).map_err(|errno| fail("preparing the connection", "", errno))?;
        let socket = Socket::new(connection, Arc::clone(&login_is_through))?;
        let voice = Voice::new(copy()?).map_err(failed)?;
        let forwards = Forwards::new(voice.clone(), Flow::default(), Ahead::new(line));
        let (ear, ends, answers) = Ear::new(copy()?, forwards.clone()).map_err(failed)?;
        Parts { socket, login_is_through, voice, ear, ends, forwards, answers }
    };
    sandbox::confine()?;
    Ok((runtime, parts))
}

/// Serves the connection; what ends it other than the client's leave goes to the admin's log.
async fn serve(parts: Parts) {
    let Parts { socket, login_is_through, voice, ear, ends, forwards, answers } = parts;
    let monitor = Monitor::new(voice.clone(), answers);
    let connection = serve_client(socket, login_is_through, monitor, &voice, ends, forwards.clone());
    let mut gone = pin!(ear.listen());
    tokio::select! {
        // The monitor is gone, or not to be understood: nobody is left to serve for.
        _gone = &mut gone => {}
        ended = connection => {
            forwards.report_all().await;
            // If the monitor cannot be told, it is gone, and this process about to be.
            match overheard::refusals_so_far() {
                0 => {}
                tries => drop(voice.send(&Request::RefusedUnasked { tries }).await),
            }
            match ended {
                // It ends this process. Were we gone first, it might hear of programs that lost their
                // descriptors before it hears why.
                Err(End::GaveUp(why)) => {
                    if voice.send(&Request::GaveUp { why }).await.is_ok() {
                        gone.await;
                    }
                }
                Err(end) if !end.is_ordinary() => {
                    let text = end.to_string().chars().take(MOST_REASON).collect();
                    drop(voice.send(&Request::Note { text }).await);
                }
                Ok(()) | Err(_) => {}
            }
        }
    }
}

async fn serve_client(
    mut socket: Socket,
    login_is_through: Arc<AtomicBool>,
    mut monitor: Monitor,
    voice: &Voice,
    ends: Ends,
    forwards: Forwards,
) -> Result<(), End> {
    let setup = monitor.ask_setup().await?;
    socket.limit_exchanges(setup.most_exchange);
    let config = algorithms::config(&setup)?;
    let (activity, told) = (forwards.activity(), ends.clone());
    let flow = forwards.flow();
    let channels = Channels::new(setup.max_channels);
    let stream = Gate::new(socket, flow.clone());
    let translator = Translator::new(Given {
        monitor,
        ends,
        forwards,
        flow,
        channels,
        banner: setup.banner,
        activity: activity.clone(),
        login_is_through,
    });
    let idle = async {
        let mut warned = false;
        while let Step::Warn(left) = activity.step(&mut warned).await {
            told.notice_all(&idle::warning("this connection", left));
        }
    };
    tokio::select! {
        ended = async { run_stream(config, stream, translator).await?.await } => ended,
        () = idle => Err(End::GaveUp(GaveUp::Idle)),
        end = report_refusals(voice) => Err(end),
    }
}

/// Tells the monitor of each try that the library refuses by itself, until it cannot be told.
async fn report_refusals(voice: &Voice) -> End {
    loop {
        let tries = overheard::refusals().await;
        if let Err(end) = voice.send(&Request::RefusedUnasked { tries }).await {
            return end;
        }
    }
}
