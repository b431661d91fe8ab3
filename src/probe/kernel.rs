//! System calls: what must be refused before the kernel looks at it.

use std::os::fd::AsFd as _;

use crate::sys::{
    attempt::{self, Width},
    process, pty,
};
use crate::wire::verify::Task;

use super::tries::{Refusal, Tries};

/// The set of calls by which a class may give a call.
fn set_of(call: &str) -> Option<&'static str> {
    match call {
        "ptrace" | "process_vm_readv" | "process_vm_writev" | "kcmp" | "pidfd_getfd" => Some("debug"),
        "io_uring_setup" | "io_uring_enter" | "io_uring_register" => Some("io_uring"),
        "mount" | "umount2" | "fsopen" | "fsconfig" | "fsmount" | "fspick" | "move_mount" | "open_tree"
        | "mount_setattr" | "pivot_root" | "setns" => Some("nesting"),
        _other => None,
    }
}

fn gives(task: &Task, call: &str) -> Option<&'static str> {
    set_of(call).filter(|set| task.granted.iter().any(|granted| granted == set))
}

pub(super) fn calls(task: &Task, tries: &mut Tries) {
    for call in attempt::FORBIDDEN {
        match gives(task, call.name) {
            Some(set) => tries.not_applicable(call.name, format_args!("the class gives {set}")),
            None => tries.refuse(call.name, Refusal::AtOnce, || call.make()),
        }
    }
}

pub(super) fn sockets(_task: &Task, tries: &mut Tries) {
    for socket in attempt::SOCKETS {
        tries.refuse(socket.name, Refusal::Any, || attempt::open_socket(socket));
    }
}

pub(super) fn foreign_abis(_task: &Task, tries: &mut Tries) {
    let calls = attempt::foreign();
    if calls.is_empty() {
        tries.not_applicable("other ABIs", "this processor has none that we know of");
    }
    for call in calls {
        tries.refuse(call.name, Refusal::AtOnce, || call.make());
    }
}

/// On a terminal of the cell's own devpts, as every session's is, and as its session leader: that
/// is who the kernel would let do it. The master stays open here: its end would hang the child up.
pub(super) fn terminal(_task: &Task, tries: &mut Tries) {
    for width in [Width::Plain, Width::HighBitSet] {
        let (_master, slave) = match pty::open() {
            Ok(pair) => pair,
            Err(errno) => return tries.unknown("opening a terminal", errno),
        };
        tries.refuse(format_args!("TIOCSTI, {width:?}"), Refusal::Any, || {
            process::new_session()?;
            pty::make_controlling(slave.as_fd())?;
            attempt::push_input(slave.as_fd(), width)
        });
        // A terminal that is no console refuses it by itself: only the filter does so at once.
        tries.refuse(format_args!("TIOCLINUX, {width:?}"), Refusal::AtOnce, || {
            attempt::console_call(slave.as_fd(), width)
        });
    }
}
