//! The system calls of cells: the lists in `filters/`, compiled once by the listener.
//!
//! A list says who may call what and why; [`Filters`] holds two programs for each way in which a class
//! can widen the tenant's, in one sealed file. The child that becomes init installs init's, and
//! hands the file to init. Its sessions inherit that, and install a program on top that takes from it
//! what the tenant has not: both together are the tenant's list. A whole second list would refuse no
//! more, and takes a session a tenth of a millisecond to install. Nothing is parsed or compiled when a
//! cell starts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    ops::Range,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt as _,
    },
};

use serde::{Deserialize, Serialize};

use crate::base::{Failure, Result, fail};
use crate::config::settings::CallSet;
use crate::sys::{
    Errno, memfd,
    seccomp::{
        self,
        program::{Condition, Others, Program, Test, Verdict},
    },
};

const TENANT: (&str, &str) = ("tenant", include_str!("filters/tenant.toml"));
const INIT: (&str, &str) = ("init", include_str!("filters/init.toml"));

/// No list names these: the kernel got them after we knew it, or they are another architecture's.
const UNKNOWN: Others = Others::Fail(Errno::ENOSYS);

/// The list of a set.
const fn list_of(set: CallSet) -> (&'static str, &'static str) {
    match set {
        CallSet::Debug => ("debug", include_str!("filters/debug.toml")),
        CallSet::Fuse => ("fuse", include_str!("filters/fuse.toml")),
        CallSet::IoUring => ("io_uring", include_str!("filters/io_uring.toml")),
        CallSet::Nesting => ("nesting", include_str!("filters/nesting.toml")),
        CallSet::Ping => ("ping", include_str!("filters/ping.toml")),
    }
}

/// One list, as it stands in its file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    allow: Vec<Allow>,
    #[serde(default)]
    refuse: Vec<Refuse>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Allow {
    calls: Vec<String>,
    /// All must hold. Several entries for a call are alternatives.
    #[serde(default)]
    when: Vec<When>,
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reader of the list; a test demands it"))]
    why: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refuse {
    calls: Vec<String>,
    #[serde(default)]
    errno: Refusal,
    #[cfg_attr(not(test), expect(dead_code, reason = "as above"))]
    why: String,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
enum Refusal {
    #[default]
    #[serde(rename = "EPERM")]
    NotPermitted,
    #[serde(rename = "ENOSYS")]
    NotThere,
    #[serde(rename = "EAFNOSUPPORT")]
    NoFamily,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct When {
    argument: u8,
    is: Option<Value>,
    is_not: Option<Value>,
    without: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Value {
    Number(u32),
    Name(String),
}

/// Where in the file the programs of one combination lie.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    init: Range<usize>,
    session: Range<usize>,
}

/// The programs for every combination of sets.
#[derive(Debug)]
pub(super) struct Filters {
    file: File,
    slots: BTreeMap<BTreeSet<CallSet>, Slot>,
}

impl Filters {
    /// Compiles all lists.
    pub(super) fn compile() -> Result<Self> {
        Self::compile_for(combinations())
    }

    /// Compiles those of tenants with these sets.
    pub(super) fn compile_for(all: impl IntoIterator<Item = BTreeSet<CallSet>>) -> Result<Self> {
        let mut bytes = Vec::new();
        let mut place = |program: Program| {
            let start = bytes.len();
            bytes.extend(program.to_bytes());
            start..bytes.len()
        };
        let tenant = read(TENANT)?;
        let init = read(INIT)?;
        let lists: BTreeMap<CallSet, List> =
            CallSet::ALL.into_iter().map(|set| Ok((set, read(list_of(set))?))).collect::<Result<_>>()?;
        let mut slots = BTreeMap::new();
        for sets in all {
            let wider: Vec<&List> = sets.iter().filter_map(|set| lists.get(set)).collect();
            let for_tenant = verdicts(&tenant, &wider)?;
            let for_init = verdicts(&tenant, &[&wider[..], &[&init]].concat())?;
            let session = place(compile(&taken(&for_init, &for_tenant), Others::Pass)?);
            slots.insert(sets, Slot { init: place(compile(&for_init, UNKNOWN)?), session });
        }
        let file = memfd::sealed(c"cellblock-filters", &bytes)
            .map_err(|errno| fail("keeping", "the lists of system calls", errno))?;
        Ok(Self { file: File::from(file), slots })
    }

    fn slot(&self, sets: &BTreeSet<CallSet>) -> Result<&Slot, Errno> {
        self.slots.get(sets).ok_or(Errno::ENOENT)
    }

    /// Where in the file the lists of a cell lie whose tenant has these sets.
    pub(super) fn places(&self, sets: &BTreeSet<CallSet>) -> Result<Places, Errno> {
        let slot = self.slot(sets)?;
        let place = |range: &Range<usize>| Ok::<_, Errno>((offset(range)?, range.len()));
        Ok(Places { init: place(&slot.init)?, session: place(&slot.session)? })
    }
}

/// Where in the file of lists one cell's lie: beginning and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Places {
    init: (u64, usize),
    session: (u64, usize),
}

/// One cell's lists, as its pid 1 has them.
#[derive(Debug)]
pub(super) struct Calls {
    /// Of all lists.
    pub(super) file: File,
    /// The tenant's sets.
    pub(super) sets: BTreeSet<CallSet>,
    init: (u64, usize),
    /// Where that lies which sessions install on top of init's.
    pub(super) session: (u64, usize),
}

impl Calls {
    pub(super) fn new(file: File, sets: BTreeSet<CallSet>, Places { init, session }: Places) -> Self {
        Self { file, sets, init, session }
    }

    /// init's list: the tenant's and its own.
    pub(super) fn init(&self) -> Result<Program, Errno> {
        let (start, length) = self.init;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Program::from_bytes(&bytes)
    }
}

impl AsFd for Filters {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn offset(range: &Range<usize>) -> Result<u64, Errno> {
    u64::try_from(range.start).map_err(|_range| Errno::EOVERFLOW)
}

/// Every set of sets.
fn combinations() -> Vec<BTreeSet<CallSet>> {
    CallSet::ALL.into_iter().fold(vec![BTreeSet::new()], |all, set| {
        let with = all.iter().map(|sets| sets.iter().copied().chain([set]).collect());
        let with: Vec<_> = with.collect();
        all.into_iter().chain(with).collect()
    })
}

fn wrong(name: &str, cause: impl std::fmt::Display) -> Failure {
    fail("reading the list of system calls", name, cause)
}

fn read((name, text): (&str, &str)) -> Result<List> {
    toml::from_str(text).map_err(|error| wrong(name, error))
}

fn compile(verdicts: &BTreeMap<i64, Verdict>, others: Others) -> Result<Program> {
    Program::compile(verdicts, others).map_err(|errno| fail("compiling", "the lists of system calls", errno))
}

/// What the tenant's list, widened, says of each call that this architecture has.
fn verdicts(tenant: &List, wider: &[&List]) -> Result<BTreeMap<i64, Verdict>> {
    let mut verdicts = BTreeMap::new();
    for entry in &tenant.refuse {
        for number in numbers(&entry.calls)? {
            verdicts.insert(number, Verdict::Refuse(entry.errno.errno()));
        }
    }
    for list in [&[tenant], wider].concat() {
        for entry in &list.allow {
            let conditions = entry.when.iter().map(When::condition).collect::<Result<Vec<_>>>()?;
            for number in numbers(&entry.calls)? {
                let before = verdicts.remove(&number);
                verdicts.insert(number, widen(before, conditions.clone()));
            }
        }
    }
    Ok(verdicts)
}

/// The tenant's verdicts on what init may do beyond the tenant.
fn taken(init: &BTreeMap<i64, Verdict>, tenant: &BTreeMap<i64, Verdict>) -> BTreeMap<i64, Verdict> {
    tenant.iter().filter(|(number, verdict)| init.get(number) != Some(verdict)).map(|(n, v)| (*n, v.clone())).collect()
}

/// A call that was refused, or allowed on some conditions, allowed on these too.
fn widen(before: Option<Verdict>, conditions: Vec<Condition>) -> Verdict {
    match before {
        Some(Verdict::Allow) => Verdict::Allow,
        _ if conditions.is_empty() => Verdict::Allow,
        None => Verdict::AllowIf(vec![conditions], Errno::EPERM),
        Some(Verdict::Refuse(errno)) => Verdict::AllowIf(vec![conditions], errno),
        Some(Verdict::AllowIf(mut lists, errno)) => {
            lists.push(conditions);
            Verdict::AllowIf(lists, errno)
        }
    }
}

/// The numbers of those that this architecture has.
fn numbers(calls: &[String]) -> Result<Vec<i64>> {
    let known = |name: &String| {
        let found = seccomp::all().find(|(known, _)| known == name);
        found.map(|(_, number)| number).ok_or_else(|| wrong(name, "there is no such call"))
    };
    Ok(calls.iter().map(known).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

impl Refusal {
    const fn errno(self) -> Errno {
        match self {
            Self::NotPermitted => Errno::EPERM,
            Self::NotThere => Errno::ENOSYS,
            Self::NoFamily => Errno::EAFNOSUPPORT,
        }
    }
}

impl When {
    fn condition(&self) -> Result<Condition> {
        let test = match (&self.is, &self.is_not, &self.without) {
            (Some(value), None, None) => Test::Is(value.number()?),
            (None, Some(value), None) => Test::IsNot(value.number()?),
            (None, None, Some(value)) => Test::Without(value.number()?),
            (_, _, _) => return Err(wrong("when", "it takes one of is, is_not and without")),
        };
        Ok(Condition { index: self.argument, test })
    }
}

impl Value {
    fn number(&self) -> Result<u32> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Name(name) => seccomp::value(name).ok_or_else(|| wrong(name, "there is no such constant")),
        }
    }
}

#[cfg(test)]
mod tests;
