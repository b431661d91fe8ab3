//! The client's bytes: read in big pieces, handed out packet by packet, where they lie.

use std::{
    fs::File,
    io::{self, Read as _},
    ops::Range,
};

use super::packet::MAX_PACKET;

/// Bytes of a packet's length.
const LENGTH: usize = 4;

/// Two of the longest packets: while one is not whole yet, others may be.
const CAPACITY: usize = 2 * (MAX_PACKET + LENGTH);

/// With less room than this behind what was read, it is moved to the front first: a read should
/// bring much.
const ROOM: usize = 64 << 10;

/// A packet that says that it is longer than any may be, or empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadLength;

/// What was read and not yet handed out.
#[derive(Debug)]
pub(super) struct Input {
    from: File,
    buffer: Vec<u8>,
    held: Range<usize>,
}

impl Input {
    pub(super) fn new(from: File) -> Self {
        Self { from, buffer: vec![0; CAPACITY], held: 0..0 }
    }

    /// The next packet that is there as a whole, without its length.
    pub(super) fn packet(&mut self) -> Result<Option<&[u8]>, BadLength> {
        let held = self.buffer.get(self.held.clone()).unwrap_or_default();
        let Some(length) = held.first_chunk() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_large| BadLength)?;
        if length == 0 || length > MAX_PACKET {
            return Err(BadLength);
        }
        let packet = held.get(LENGTH..LENGTH.saturating_add(length));
        if packet.is_some() {
            self.held.start = self.held.start.saturating_add(LENGTH).saturating_add(length);
        }
        Ok(packet)
    }

    /// Waits for more. False: the client sends no more.
    pub(super) fn fill(&mut self) -> io::Result<bool> {
        if self.held.is_empty() {
            self.held = 0..0;
        } else if self.buffer.len().saturating_sub(self.held.end) < ROOM {
            self.buffer.copy_within(self.held.clone(), 0);
            self.held = 0..self.held.len();
        }
        loop {
            match self.from.read(self.buffer.get_mut(self.held.end..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(length) => {
                    self.held.end = self.held.end.saturating_add(length);
                    return Ok(length > 0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn fed(bytes: &[u8]) -> Input {
        let (read, write) = std::io::pipe().unwrap();
        let mut write = File::from(std::os::fd::OwnedFd::from(write));
        crate::sys::fd::set_pipe_size(std::os::fd::AsFd::as_fd(&write), 1 << 20).unwrap();
        write.write_all(bytes).unwrap();
        Input::new(File::from(std::os::fd::OwnedFd::from(read)))
    }

    fn packet(length: usize, byte: u8) -> Vec<u8> {
        [&u32::try_from(length).unwrap().to_be_bytes()[..], &vec![byte; length]].concat()
    }

    #[test]
    fn packets_of_any_length_come_out_as_they_went_in() {
        let lengths = [1, MAX_PACKET, 7, MAX_PACKET - 1, 100_000, 1, 1, 50_000];
        let bytes: Vec<u8> = lengths.iter().zip(1..).flat_map(|(length, byte)| packet(*length, byte)).collect();
        let mut input = fed(&bytes);
        let mut seen = Vec::new();
        loop {
            while let Some(packet) = input.packet().unwrap() {
                assert!(packet.iter().all(|byte| *byte == packet[0]));
                seen.push((packet.len(), usize::from(packet[0])));
            }
            if seen.len() == lengths.len() || !input.fill().unwrap() {
                break;
            }
        }
        assert_eq!(seen, lengths.into_iter().zip(1..).collect::<Vec<_>>());
        assert!(!input.fill().unwrap(), "the end is told");
    }

    #[test]
    fn a_length_that_no_packet_has_ends_it() {
        for length in [0, u32::try_from(MAX_PACKET).unwrap() + 1, u32::MAX] {
            let mut input = fed(&length.to_be_bytes());
            assert!(input.fill().unwrap());
            assert_eq!(input.packet(), Err(BadLength));
        }
    }
}
