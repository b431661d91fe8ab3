//! What is wrong with a config, where, and what to do: collected over all files, drawn in the end.
//!
//! Only text of files that root alone can write is ever drawn, and it is made fit for a terminal.

use std::{fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level as Title, Origin, Renderer, Snippet, normalize_untrusted_str};

use super::files::{Cited, FileId, Files};

/// Drawn findings of one level: more than anyone reads at once, few enough to draw at once.
const MAX_SHOWN: usize = 200;

/// A stretch of a config file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) file: FileId,
    start: u32,
    end: u32,
}

impl Place {
    /// Files are smaller than 4 GiB; what is beyond would be drawn without its line.
    pub(super) fn new(file: FileId, span: &Range<usize>) -> Self {
        let narrow = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { file, start: narrow(span.start), end: narrow(span.end) }
    }

    /// The file as a whole.
    pub(super) fn file(file: FileId) -> Self {
        Self::new(file, &(0..0))
    }

    pub(super) fn span(self) -> Range<usize> {
        let wide = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
        wide(self.start)..wide(self.end)
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// The config is not used.
    Error,
    /// It is used, and the admin should know.
    Warning,
}

/// One thing to tell.
#[derive(Debug)]
pub(super) struct Finding {
    level: Level,
    place: Place,
    message: String,
    hint: Option<String>,
}

impl Finding {
    pub(super) fn error(place: Place, message: impl Into<String>) -> Self {
        Self { level: Level::Error, place, message: message.into(), hint: None }
    }

    pub(super) fn warning(place: Place, message: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::error(place, message) }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(super) fn maybe_hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }

    fn draw(&self, files: &Files) -> String {
        let level = match self.level {
            Level::Error => Title::ERROR,
            Level::Warning => Title::WARNING,
        };
        let path = files.path(self.place.file).display().to_string();
        drawn(level, &self.message, &path, files.cited(self.place), self.hint.as_deref())
    }
}

/// An error in a file that is not of cellblock's own config, drawn as those of its own are.
#[must_use]
pub fn draw_error(message: &str, path: &str, cited: Option<Cited>, hint: &str) -> String {
    drawn(Title::ERROR, message, path, cited, Some(hint))
}

fn drawn(level: Title<'_>, message: &str, path: &str, cited: Option<Cited>, hint: Option<&str>) -> String {
    let mut group = Group::with_title(level.primary_title(message));
    group = match cited {
        Some(cited) => group.element(
            Snippet::source(cited.line)
                .path(path)
                .line_start(cited.number)
                .annotation(AnnotationKind::Primary.span(cited.span)),
        ),
        None => group.element(Origin::path(path)),
    };
    if let Some(hint) = hint {
        group = group.element(Title::HELP.with_name("hint").message(normalize_untrusted_str(hint)));
    }
    Renderer::plain().render(&[group])
}

/// All findings of one load. Bounded: the first of each level are kept, the rest is counted.
#[derive(Debug, Default)]
pub(super) struct Findings {
    kept: Vec<Finding>,
    errors: usize,
    warnings: usize,
}

impl Findings {
    pub(super) fn push(&mut self, finding: Finding) {
        let count = match finding.level {
            Level::Error => &mut self.errors,
            Level::Warning => &mut self.warnings,
        };
        *count += 1;
        if *count <= MAX_SHOWN {
            self.kept.push(finding);
        }
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Draws them in the order of the files.
    pub(super) fn report(mut self, files: &Files) -> Report {
        self.kept.sort_by_key(|finding| finding.place);
        let mut drawn: Vec<String> = self.kept.iter().map(|finding| finding.draw(files)).collect();
        let hidden = (self.errors + self.warnings) - self.kept.len();
        if hidden > 0 {
            drawn.push(format!("… and {hidden} more"));
        }
        Report { text: drawn.join("\n\n"), errors: self.errors, warnings: self.warnings }
    }
}

/// The findings as text. Displays as the drawings, without a newline at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    text: String,
    errors: usize,
    warnings: usize,
}

impl Report {
    /// Findings that keep the config from being used.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Findings that do not.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.warnings
    }

    /// Whether there is nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.errors == 0 && self.warnings == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Report {}
