//! The files of one config: `cellblock.toml`, and what lies in `tenants.d` beside it.
//!
//! Tenants' files are read one at a time and not kept: a finding reads its file again to cite it.

use std::{
    borrow::Cow,
    ffi::{OsStr, OsString},
    ops::Range,
    path::{Path, PathBuf},
};

use super::finding::{Finding, Findings, Place};
use crate::sys::file::{Distrust, Links, TrustedDir, Untrusted, read_own, read_trusted};

/// The main file: room for 100,000 tenants of 600 bytes.
const MAX_MAIN: usize = 64 << 20;

/// One tenant's file: a thousand keys and more.
const MAX_TENANT: usize = 1 << 20;

/// Tenants' files in one directory. Ids must be found for all, and the pool has no more.
const MAX_FILES: usize = 1 << 20;

/// Which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FileId {
    /// No file: what is built in.
    BuiltIn,
    /// `cellblock.toml`.
    Main,
    /// The directory `tenants.d`.
    Directory,
    /// A file in it, by its place in the list.
    Tenant(u32),
}

/// One line of a file, and the part of it that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cited {
    /// The line, without its end.
    pub line: String,
    /// Its number, from 1.
    pub number: usize,
    /// The part, in bytes of the line.
    pub span: Range<usize>,
}

/// The files of one config.
#[derive(Debug)]
pub(super) struct Files {
    main: PathBuf,
    main_text: String,
    tenants: PathBuf,
    dir: Option<TrustedDir>,
    names: Vec<OsString>,
}

impl Files {
    /// Reads the main file and lists the others. What cannot be trusted or read becomes a finding.
    pub(super) fn open(main: &Path, findings: &mut Findings) -> Self {
        let main = absolute(main);
        let tenants = main.with_file_name("tenants.d");
        let main_text = match read_trusted(&main, Links::Follow, MAX_MAIN) {
            Ok(bytes) => text(bytes, FileId::Main, findings).unwrap_or_default(),
            Err(untrusted) => {
                findings.push(distrusted(FileId::Main, &untrusted));
                String::new()
            }
        };
        let mut files = Self { main, main_text, tenants, dir: None, names: Vec::new() };
        files.list(findings);
        files
    }

    /// One file, of an ordinary user's own: theirs to write, and nobody else's but root's.
    pub(super) fn own(main: &Path, owner: u32, findings: &mut Findings) -> Self {
        let main = absolute(main);
        let main_text = match read_own(&main, owner, MAX_TENANT) {
            Ok(bytes) => text(bytes, FileId::Main, findings).unwrap_or_default(),
            Err(untrusted) => {
                findings.push(distrusted(FileId::Main, &untrusted));
                String::new()
            }
        };
        Self { tenants: main.with_file_name("tenants.d"), main, main_text, dir: None, names: Vec::new() }
    }

    /// This text, which lies in no file.
    pub(super) fn of_text(name: &str, text: String) -> Self {
        let tenants = PathBuf::new();
        Self { main: PathBuf::from(name), main_text: text, tenants, dir: None, names: Vec::new() }
    }

    fn list(&mut self, findings: &mut Findings) {
        let place = Place::file(FileId::Directory);
        let dir = match TrustedDir::open(&self.tenants, Links::Follow) {
            Ok(dir) => dir,
            Err(untrusted) if untrusted.is_missing() => return,
            Err(untrusted) => return findings.push(distrusted(FileId::Directory, &untrusted)),
        };
        match dir.names() {
            Ok(names) => self.names = names.into_iter().filter(|name| is_config(name)).collect(),
            Err(errno) => {
                return findings.push(Finding::error(place, format!("the directory cannot be read: {errno}")));
            }
        }
        if self.names.len() > MAX_FILES {
            findings.push(Finding::error(place, format!("the directory holds more than {MAX_FILES} tenants")));
            self.names.truncate(MAX_FILES);
        }
        self.names.sort_unstable();
        self.dir = Some(dir);
    }

    /// The text of the main file.
    pub(super) fn main_text(&self) -> &str {
        &self.main_text
    }

    /// The tenants' files with the names of their tenants.
    pub(super) fn tenants(&self) -> impl Iterator<Item = (FileId, Cow<'_, str>)> {
        (0..).zip(&self.names).map(|(number, name)| {
            (FileId::Tenant(number), Path::new(name).file_stem().unwrap_or_default().to_string_lossy())
        })
    }

    /// Reads a tenant's file, into a buffer that serves for all of them.
    pub(super) fn read_tenant(&self, file: FileId, mut buffer: Vec<u8>, findings: &mut Findings) -> Option<String> {
        let dir = self.dir.as_ref()?;
        let name = self.name(file)?;
        match dir.read(name, MAX_TENANT, &mut buffer) {
            Ok(()) => text(buffer, file, findings),
            Err(why) => {
                findings.push(distrusted(file, &Untrusted { path: self.tenants.join(name), why }));
                None
            }
        }
    }

    fn name(&self, file: FileId) -> Option<&OsString> {
        match file {
            FileId::Tenant(number) => self.names.get(usize::try_from(number).ok()?),
            FileId::BuiltIn | FileId::Main | FileId::Directory => None,
        }
    }

    /// Where the file lies.
    pub(super) fn path(&self, file: FileId) -> PathBuf {
        match file {
            FileId::BuiltIn => PathBuf::from("(built in)"),
            FileId::Main => self.main.clone(),
            FileId::Directory => self.tenants.clone(),
            FileId::Tenant(_) => self.tenants.join(self.name(file).map(OsString::as_os_str).unwrap_or_default()),
        }
    }

    /// The first line of `place`; none if it is a file as a whole, or can no longer be read.
    pub(super) fn cited(&self, place: Place) -> Option<Cited> {
        let Range { start, end } = place.span();
        if end == 0 {
            return None;
        }
        let text = match place.file {
            FileId::Main => Cow::Borrowed(self.main_text.as_str()),
            FileId::Tenant(_) => Cow::Owned(self.read_tenant(place.file, Vec::new(), &mut Findings::default())?),
            FileId::BuiltIn | FileId::Directory => return None,
        };
        let before = text.get(..start)?;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line_end = text.get(start..)?.find('\n').map_or(text.len(), |at| start + at);
        let line = masked(text.get(line_start..line_end)?);
        let span = start - line_start..end.clamp(start, line_end) - line_start;
        Some(Cited { line, number: 1 + before.matches('\n').count(), span })
    }

    /// `FILE:LINE`, for a sentence.
    pub(super) fn where_is(&self, place: Place) -> String {
        let path = self.path(place.file);
        match self.cited(place) {
            Some(cited) => format!("{}:{}", path.display(), cited.number),
            None => path.display().to_string(),
        }
    }
}

/// The line, with what is set as `password` starred: findings go to terminals and logs. As long as before.
fn masked(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("password") {
        out.push_str(before);
        out.push_str("password");
        let (key, from) = after.split_at(after.len() - after.trim_start_matches([' ', '\t', '=', '"', '\'']).len());
        out.push_str(key);
        if !key.contains('=') {
            rest = from;
            continue;
        }
        let (value, left) = from.split_at(from.find(['"', '\'']).unwrap_or(from.len()));
        // Byte for byte, so that what is annotated stays where it is.
        out.extend(value.bytes().map(|_hidden| '*'));
        rest = left;
    }
    out.push_str(rest);
    out
}

/// Trust is judged along the whole path, so a relative one is made absolute first; `.` and `..`
/// that are left fail there.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_no_cwd| path.to_owned())
}

fn is_config(name: &OsStr) -> bool {
    let name = Path::new(name);
    name.extension() == Some(OsStr::new("toml")) && !name.as_os_str().as_encoded_bytes().starts_with(b".")
}

fn text(bytes: Vec<u8>, file: FileId, findings: &mut Findings) -> Option<String> {
    String::from_utf8(bytes)
        .map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            findings.push(Finding::error(Place::file(file), format!("the file is not UTF-8, from byte {at} on")));
        })
        .ok()
}

fn distrusted(file: FileId, untrusted: &Untrusted) -> Finding {
    let path = untrusted.path.display();
    let message = match untrusted.why {
        Distrust::Os(errno) => format!("{path} cannot be read: {errno}"),
        why @ (Distrust::Owner(_)
        | Distrust::Writable(_)
        | Distrust::Stranger(_)
        | Distrust::Loose(_)
        | Distrust::NotFile
        | Distrust::NotDirectory
        | Distrust::Link
        | Distrust::TooLarge(_)
        | Distrust::Form) => format!("{path} is not trusted: {why}"),
    };
    Finding::error(Place::file(file), message).maybe_hint(untrusted.hint())
}
