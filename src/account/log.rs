//! The admin's log: journald where systemd started us, otherwise stderr.

use std::{env, fs, io, os::unix::fs::MetadataExt as _};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer as _, Registry, layer::SubscriberExt as _};

use crate::base::{Result, fail};

/// Set to `debug` or `trace` it shows more, to `warn` or `error` less.
const LEVEL: &str = "CELLBLOCK_LOG";

/// Sends what is logged from here on to the admin. To be called once, at the start of a process.
pub fn start_logging() -> Result<()> {
    let level = env::var(LEVEL).ok().and_then(|text| text.parse().ok()).unwrap_or(LevelFilter::INFO);
    let journal = if stderr_is_journal() { tracing_journald::layer().ok() } else { None };
    let stderr = journal.is_none().then(|| {
        tracing_subscriber::fmt::layer().with_writer(io::stderr).with_target(false).with_ansi(false).with_filter(level)
    });
    let subscriber = Registry::default().with(journal.map(|layer| layer.with_filter(level))).with(stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(|cause| fail("starting", "the log", cause))
}

/// Whether stderr is the stream that systemd says it gave us (`JOURNAL_STREAM`, systemd.exec(5)).
fn stderr_is_journal() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else { return false };
    fs::metadata("/proc/self/fd/2").is_ok_and(|meta| stream == format!("{}:{}", meta.dev(), meta.ino()))
}
