//! The link to the monitor: one `SOCK_SEQPACKET` packet is one message.

use std::{cell::RefCell, os::fd::OwnedFd};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use zeroize::Zeroizing;

use crate::wire::{MAX_MESSAGE, Order, Word};

/// The monitor is gone, or sent what is no message.
#[derive(Debug)]
pub(crate) struct Gone;

/// See the module.
#[derive(Debug)]
pub(crate) struct Link {
    socket: OwnedFd,
    /// One for all messages: allocated once, wiped after each.
    buffer: RefCell<Zeroizing<Vec<u8>>>,
}

impl Link {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, buffer: RefCell::new(Zeroizing::new(vec![0; MAX_MESSAGE + 1])) }
    }

    pub(crate) fn say(&self, word: &Word) -> Result<(), Gone> {
        let bytes = postcard::to_stdvec(word).map_err(|_encode| Gone)?;
        send(&self.socket, &bytes, SendFlags::NOSIGNAL).map_err(|_errno| Gone)?;
        Ok(())
    }

    /// Waits for the next order.
    pub(crate) fn hear(&self) -> Result<Order, Gone> {
        let mut buffer = self.buffer.borrow_mut();
        let (_kept, length) = recv(&self.socket, &mut buffer[..], RecvFlags::TRUNC).map_err(|_errno| Gone)?;
        let bytes = buffer.get(..length).filter(|bytes| !bytes.is_empty() && bytes.len() <= MAX_MESSAGE);
        let order = bytes.and_then(|bytes| postcard::take_from_bytes(bytes).ok());
        let order = order.and_then(|(order, rest)| rest.is_empty().then_some(order));
        buffer.fill(0);
        order.ok_or(Gone)
    }
}
