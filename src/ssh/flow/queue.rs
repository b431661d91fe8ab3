//! Bytes that wait for a program to read them, in chunks.

use std::collections::VecDeque;

/// Room that a chunk has at least, so that many small packets (keys typed, probes) cost one
/// allocation and one write.
const CHUNK: usize = 4096;

/// A queue of bytes. Holds at most twice the memory of the bytes in it, and a chunk.
#[derive(Debug, Default)]
pub(super) struct Queue {
    chunks: VecDeque<Vec<u8>>,
    length: usize,
}

impl Queue {
    /// Appends `data`.
    pub(super) fn push(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        self.length += data.len();
        if let Some(last) = self.chunks.back_mut()
            && last.capacity() - last.len() >= data.len()
        {
            last.extend_from_slice(data);
            return;
        }
        let mut chunk = Vec::with_capacity(data.len().max(CHUNK));
        chunk.extend_from_slice(data);
        self.chunks.push_back(chunk);
    }

    /// Takes the next chunk, which is not empty.
    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        let chunk = self.chunks.pop_front()?;
        self.length -= chunk.len();
        Some(chunk)
    }

    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Drops all.
    pub(super) fn clear(&mut self) {
        self.chunks.clear();
        self.length = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_and_whole() {
        let mut queue = Queue::default();
        let mut expected = Vec::new();
        for length in [1, 0, 4095, 1, 40_000, 2, 3] {
            let data: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
            queue.push(&data);
            expected.extend(data);
        }
        assert_eq!(queue.len(), expected.len());
        let mut out = Vec::new();
        while let Some(chunk) = queue.pop() {
            assert!(!chunk.is_empty());
            out.extend(chunk);
        }
        assert_eq!((out, queue.len()), (expected, 0));
    }

    #[test]
    fn small_packets_share_a_chunk() {
        let mut queue = Queue::default();
        for _ in 0..CHUNK {
            queue.push(b"x");
        }
        assert_eq!(queue.chunks.len(), 1);
    }
}
