//! Tests run in threads, so that none of these can fork: the worst host there is.

use super::*;
use crate::wire::{Link, LinkError};

#[test]
fn whoever_is_parted_with_sees_it_at_once_and_nobody_more_comes_while_it_cannot_be_done() {
    let mut partings = Partings::default();
    let mut others = Vec::new();
    for number in 0..MANY {
        assert!(!partings.are_many(), "{number}");
        let (socket, other) = seqpacket::pair().unwrap();
        partings.part_with(socket);
        others.push(Link::<u8, u8>::new(other));
    }
    for other in &mut others {
        assert_eq!((other.receive().unwrap_err(), other.send(&1)), (LinkError::Closed, Err(LinkError::Closed)));
    }
    assert!(partings.are_many() && !partings.are_stuck() && partings.deadline().is_none());
    for _ in 0..2 {
        partings.take_out(|| {});
        assert!(partings.are_stuck() && partings.deadline().is_some());
        assert_eq!(partings.held.count(), MANY, "they are held as before");
    }
}

#[test]
fn only_its_own_children_are_its_own() {
    let mut partings = Partings { children: vec![7, 8], ..Partings::default() };
    assert_eq!((partings.ended(7), partings.ended(7), partings.ended(9)), (true, false, false));
    assert_eq!(partings.children, [8]);
}
