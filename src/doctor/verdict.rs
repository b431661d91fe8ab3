//! What one check came to.

use std::fmt;

use super::checks::Check;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// It could not be looked at; that is no pass.
    Unknown,
    /// Tenants are served, and something is weaker than it could be.
    Warn,
    /// Tenants cannot be served, or not safely.
    Fail,
}

impl Level {
    /// The word for it, in text and JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// A command for root's shell.
    Run(String),
    /// A kernel setting: now with sysctl(8), for good with a line of a file that a package installs.
    Sysctl(&'static str, &'static str),
    /// A file to install.
    Install {
        /// Where.
        path: &'static str,
        /// What is in it.
        text: String,
    },
    /// What no command does.
    Advice(String),
}

/// The file that a package installs with the settings that doctor wants.
pub(super) const SYSCTL_FILE: &str = "/etc/sysctl.d/60-cellblock.conf";

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(command) => f.write_str(command),
            Self::Sysctl(key, value) => write!(f, "sysctl -w {key}={value}    # for good: {SYSCTL_FILE}"),
            Self::Install { path, text } => write!(f, "install {path}:\n{}", text.trim_end()),
            Self::Advice(text) => f.write_str(text),
        }
    }
}

/// What one check came to, for one thing that it looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Which check.
    pub check: &'static Check,
    /// How bad it is.
    pub level: Level,
    /// What was found. Text from outside is escaped.
    pub found: String,
    /// What that means for tenants; empty where all is well.
    pub means: String,
    /// What to do.
    pub remedies: Vec<Remedy>,
}

impl Verdict {
    pub(super) fn ok(check: &'static Check, found: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, found: found.into(), means: String::new(), remedies: Vec::new() }
    }

    pub(super) fn unknown(check: &'static Check, why: impl Into<String>) -> Self {
        Self { level: Level::Unknown, ..Self::ok(check, why) }
    }

    pub(super) fn warn(check: &'static Check, found: impl Into<String>, means: impl Into<String>) -> Self {
        Self { level: Level::Warn, means: means.into(), ..Self::ok(check, found) }
    }

    pub(super) fn fail(check: &'static Check, found: impl Into<String>, means: impl Into<String>) -> Self {
        Self { level: Level::Fail, means: means.into(), ..Self::ok(check, found) }
    }

    pub(super) fn remedy(mut self, remedy: Remedy) -> Self {
        self.remedies.push(remedy);
        self
    }

    pub(super) fn run(self, command: impl Into<String>) -> Self {
        self.remedy(Remedy::Run(command.into()))
    }
}
