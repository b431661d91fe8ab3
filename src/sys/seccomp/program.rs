//! Filters that say yes, no with an error, or "it depends on the arguments", by the call's number.
//!
//! seccompiler compiles what depends on arguments, one call at a time; here the pieces are put
//! behind a binary search by number. seccompiler's own dispatch compares with one number after the
//! other, and gives one error only: two filters of 330 calls, to have two errors, took 0.6 ms to
//! install (the kernel runs a new filter once for every call, seccomp_cache_prepare, Linux 5.11),
//! one of these takes 0.05. Calls that are allowed whatever their arguments never run the filter:
//! the kernel remembers them.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

use super::super::{Errno, SysResult};

/// What is asked of an argument, whose low 32 bits are meant: the kernel takes no more of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Test {
    /// It is this value.
    Is(u32),
    /// It is any but this value.
    IsNot(u32),
    /// None of these bits is set.
    Without(u32),
}

/// A condition on an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition {
    /// Which, from 0.
    pub index: u8,
    /// What it must be.
    pub test: Test,
}

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is made.
    Allow,
    /// It fails with this error.
    Refuse(Errno),
    /// It is made if all conditions of one of the lists hold, and else fails with this error.
    AllowIf(Vec<Vec<Condition>>, Errno),
}

/// What becomes of the calls that a filter has no verdict on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// They fail with this error: those of x32 (bit 30), and all of another architecture (i386's `int 0x80`,
    /// `socketcall`), among them.
    Fail(Errno),
    /// They are made. For a process that has a filter on all calls already.
    Pass,
}

/// A filter, ready to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(Vec<sock_filter>);

/// `BPF_MAXINSNS` of the kernel.
const MOST_INSTRUCTIONS: usize = 4096;

/// Bytes of an instruction.
const INSTRUCTION: usize = 8;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

// linux/bpf_common.h
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_NOT_BELOW: u16 = 0x35;
const JUMP: u16 = 0x05;
const RETURN: u16 = 0x06;

// linux/seccomp.h
const RETURN_ALLOW: u32 = 0x7fff_0000;
const RETURN_ERRNO: u32 = 0x0005_0000;

/// linux/audit.h
#[cfg(target_arch = "x86_64")]
const THIS_ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const THIS_ARCHITECTURE: u32 = 0xc000_00b7;

impl Program {
    /// A filter that gives each call its verdict.
    pub fn compile(verdicts: &BTreeMap<i64, Verdict>, others: Others) -> SysResult<Self> {
        let other = match others {
            Others::Fail(errno) => refuse(errno)?,
            Others::Pass => instruction(RETURN, 0, 0, RETURN_ALLOW),
        };
        let mut leaves: Vec<(u32, Vec<sock_filter>)> = Vec::new();
        let mut push = |from: u32, leaf: Vec<sock_filter>| {
            if leaves.last().is_none_or(|(_, last)| *last != leaf) {
                leaves.push((from, leaf));
            }
        };
        let mut next = 0;
        for (number, verdict) in verdicts {
            let number = u32::try_from(*number).map_err(|_negative| Errno::EINVAL)?;
            if number > next || next == 0 {
                push(next, vec![other.clone()]);
            }
            push(number, leaf(number, verdict)?);
            next = number.checked_add(1).ok_or(Errno::EINVAL)?;
        }
        push(next, vec![other.clone()]);
        // A number 0 leaves the first range empty.
        leaves.dedup_by(|later, earlier| {
            let empty = later.0 == earlier.0;
            if empty {
                earlier.1.clone_from(&later.1);
            }
            empty
        });

        let mut program = vec![
            instruction(LOAD, 0, 0, ARCHITECTURE),
            instruction(JUMP_IF_EQUAL, 1, 0, THIS_ARCHITECTURE),
            other,
            instruction(LOAD, 0, 0, NUMBER),
        ];
        program.extend(search(&leaves)?);
        if program.len() > MOST_INSTRUCTIONS { Err(Errno::EINVAL) } else { Ok(Self(program)) }
    }

    /// As bytes, to be handed to another process of this machine.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = |step: &sock_filter| {
            let [code, k] = [u32::from(step.code).to_ne_bytes(), step.k.to_ne_bytes()];
            let [low, high, _, _] = code;
            #[cfg(target_endian = "big")]
            compile_error!("the code is taken from the wrong end");
            [low, high, step.jt, step.jf].into_iter().chain(k)
        };
        self.0.iter().flat_map(bytes).collect()
    }

    /// From what [`Program::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8]) -> SysResult<Self> {
        let (whole, rest) = bytes.as_chunks::<INSTRUCTION>();
        if whole.is_empty() || whole.len() > MOST_INSTRUCTIONS || !rest.is_empty() {
            return Err(Errno::EINVAL);
        }
        let step = |[low, high, jt, jf, a, b, c, d]: &[u8; INSTRUCTION]| {
            instruction(u16::from_ne_bytes([*low, *high]), *jt, *jf, u32::from_ne_bytes([*a, *b, *c, *d]))
        };
        Ok(Self(whole.iter().map(step).collect()))
    }

    /// seccomp(2) `SECCOMP_SET_MODE_FILTER` for the calling process, which has one thread, and all
    /// that it will start. Takes no_new_privs, or CAP_SYS_ADMIN in the user namespace; sets neither.
    pub fn install(&self) -> SysResult<()> {
        let length = u16::try_from(self.0.len()).map_err(|_long| Errno::EINVAL)?;
        let filter = self.0.as_ptr().cast::<libc::sock_filter>().cast_mut();
        let program = libc::sock_fprog { len: length, filter };
        // SAFETY: `program` names as many instructions as there are; seccompiler's type is the
        // kernel's (repr(C), the same four fields); the kernel copies them and changes nothing.
        let done = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
        if done < 0 { Err(Errno::last()) } else { Ok(()) }
    }
}

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn refuse(errno: Errno) -> SysResult<sock_filter> {
    let errno = u16::try_from(errno.raw()).map_err(|_range| Errno::EINVAL)?;
    Ok(instruction(RETURN, 0, 0, RETURN_ERRNO | u32::from(errno)))
}

/// What is run when the number is known.
fn leaf(number: u32, verdict: &Verdict) -> SysResult<Vec<sock_filter>> {
    match verdict {
        Verdict::Allow => Ok(vec![instruction(RETURN, 0, 0, RETURN_ALLOW)]),
        Verdict::Refuse(errno) => Ok(vec![refuse(*errno)?]),
        Verdict::AllowIf(lists, errno) => conditional(i64::from(number), lists, *errno),
    }
}

/// A whole filter of seccompiler's for this one call.
fn conditional(number: i64, lists: &[Vec<Condition>], errno: Errno) -> SysResult<Vec<sock_filter>> {
    let rules = lists.iter().map(|conditions| {
        let conditions = conditions.iter().map(|condition| {
            let (operator, value) = match condition.test {
                Test::Is(value) => (SeccompCmpOp::Eq, value),
                Test::IsNot(value) => (SeccompCmpOp::Ne, value),
                Test::Without(bits) => (SeccompCmpOp::MaskedEq(u64::from(bits)), 0),
            };
            SeccompCondition::new(condition.index, SeccompCmpArgLen::Dword, operator, u64::from(value))
        });
        SeccompRule::new(conditions.collect::<Result<_, _>>()?)
    });
    let compiled = || -> Result<BpfProgram, seccompiler::BackendError> {
        let rules = BTreeMap::from([(number, rules.collect::<Result<_, _>>()?)]);
        let otherwise = SeccompAction::Errno(u32::try_from(errno.raw()).unwrap_or(1));
        let arch = TargetArch::try_from(std::env::consts::ARCH)?;
        SeccompFilter::new(rules, otherwise, SeccompAction::Allow, arch)?.try_into()
    };
    compiled().map_err(|_invalid| Errno::EINVAL)
}

/// A binary search for the last range that begins at or below the number.
fn search(leaves: &[(u32, Vec<sock_filter>)]) -> SysResult<Vec<sock_filter>> {
    if let [(_, leaf)] = leaves {
        return Ok(leaf.clone());
    }
    let (low, high) = leaves.split_at(leaves.len() / 2);
    let from = high.first().ok_or(Errno::EINVAL)?.0;
    let (low, high) = (search(low)?, search(high)?);
    let mut program = match u8::try_from(low.len()) {
        Ok(over) => vec![instruction(JUMP_IF_NOT_BELOW, over, 0, from)],
        // Conditional jumps reach 255 instructions far.
        Err(_far) => {
            let over = u32::try_from(low.len()).map_err(|_far| Errno::EINVAL)?;
            vec![instruction(JUMP_IF_NOT_BELOW, 0, 1, from), instruction(JUMP, 0, 0, over)]
        }
    };
    program.extend(low);
    program.extend(high);
    Ok(program)
}

#[cfg(test)]
pub(crate) mod tests;
