//! What a monitor, or the listener, says to the child that becomes a cell's pid 1, and its answer.
//!
//! One `SOCK_SEQPACKET` link for each child. Who holds our end of it holds the child: when that end
//! closes before the child has answered, the child ends.

use std::collections::BTreeSet;

use postcard::experimental::serialized_size;
use serde::{Deserialize, Serialize};

use crate::base::{Result, TenantName, fail};
use crate::config::settings::CallSet;
use crate::wire::link::MAX_MESSAGE;

use super::{
    filters::Places,
    plan::{Inside, Tree},
};

/// Where the child's program finds its end of the link.
pub(super) const LINK: i32 = 3;
/// And the host view, found in its own mount namespace by who may: nobody but root gets to the
/// directory that it lies in.
pub(super) const VIEW: i32 = 4;

/// Room in a message for what comes beside the operations.
const MARGIN: usize = 64;

/// To the child, in this order.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Word {
    /// What to do before it is known whose the cell will be. Brings, to a spare, the end of a pipe
    /// that closes when the listener ends.
    Ahead(Vec<Inside>),
    /// Whose it is, what they may call, and how many trees and lists of operations follow. Brings
    /// init's socket, bound, init's end of the first link, and the lists of system calls.
    Take { name: TenantName, sets: BTreeSet<CallSet>, calls: Places, trees: usize, lists: usize },
    /// Brings a tree.
    Tree(Tree),
    /// What to do; several lists are one after the other.
    Ops(Vec<Inside>),
    /// The ids are mapped.
    Released,
    /// A group of the tenant's. Brings the file that init joins it by, for its sessions the `tasks`
    /// of their group (v1) or its directory (v2), and the tree that shows it.
    Group { tree: Tree, v2: bool },
    /// Brings what becomes readable when the sessions of a v1 group ran out of memory.
    Memory,
}

/// From the child, once.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It is init, and listens.
    Ready,
    /// What failed; it has ended.
    Failed(String),
}

/// `ops` in lists that each fit into a message.
pub(super) fn lists(ops: &[Inside]) -> Result<Vec<Vec<Inside>>> {
    let mut lists = vec![Vec::new()];
    let mut room = MAX_MESSAGE - MARGIN;
    for op in ops {
        let size = serialized_size(op).map_err(|error| fail("encoding", op, error))?;
        if size > room {
            lists.push(Vec::new());
            room = MAX_MESSAGE - MARGIN;
        }
        room = room.checked_sub(size).ok_or_else(|| fail("encoding", op, "it is longer than a message"))?;
        lists.last_mut().into_iter().for_each(|list| list.push(op.clone()));
    }
    Ok(lists)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(length: usize) -> Inside {
        Inside::File { path: "etc/x".into(), contents: "x".repeat(length) }
    }

    #[test]
    fn a_long_plan_goes_in_several_messages_and_keeps_its_order() {
        let ops: Vec<Inside> = (1..9).map(|n| file(n * MAX_MESSAGE / 10)).collect();
        let lists = lists(&ops).unwrap();
        assert!(lists.len() > 1);
        for list in &lists {
            assert!(serialized_size(&Word::Ops(list.clone())).unwrap() <= MAX_MESSAGE);
        }
        assert_eq!(lists.concat(), ops);
    }

    #[test]
    fn what_fits_into_no_message_is_refused_by_name() {
        assert!(lists(&[file(MAX_MESSAGE)]).unwrap_err().to_string().contains("write /etc/x"));
    }
}
