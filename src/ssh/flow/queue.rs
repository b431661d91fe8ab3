//! Bytes that wait for a program to read them, in chunks.

use std::collections::VecDeque;

/// Room that a chunk has at least, so that many small packets (keys typed, probes) cost one
/// allocation and one write.
const CHUNK: usize = 4096;

/// Room of a chunk for more than that: the largest packet that clients send.
const LARGE: usize = 32 << 10;

/// Large chunks that are kept for the next packets. Used again at once, they are still in the
/// processor's cache; malloc would walk through all memory that it ever had.
const MOST_SPARES: usize = 6;

/// Large chunks that were written and can be filled again; of all channels together.
#[derive(Debug, Default)]
pub(super) struct Spares(Vec<Vec<u8>>);

impl Spares {
    /// Keeps `chunk`, if it is of use.
    pub(super) fn keep(&mut self, mut chunk: Vec<u8>) {
        if chunk.capacity() == LARGE && self.0.len() < MOST_SPARES {
            chunk.clear();
            self.0.push(chunk);
        }
    }

    /// An empty chunk with room for `length`.
    fn chunk(&mut self, length: usize) -> Vec<u8> {
        if length <= CHUNK || length > LARGE {
            return Vec::with_capacity(length.max(CHUNK));
        }
        self.0.pop().unwrap_or_else(|| Vec::with_capacity(LARGE))
    }
}

/// A queue of bytes. Holds at most twice the memory of the bytes in it, and a chunk.
#[derive(Debug, Default)]
pub(super) struct Queue {
    chunks: VecDeque<Vec<u8>>,
    length: usize,
}

impl Queue {
    /// Appends `data`.
    pub(super) fn push(&mut self, data: &[u8], spares: &mut Spares) {
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
        let mut chunk = spares.chunk(data.len());
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
        let (mut spares, mut expected) = (Spares::default(), Vec::new());
        for length in [1, 0, 4095, 1, 40_000, 2, 3] {
            let data: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
            queue.push(&data, &mut spares);
            expected.extend(data);
        }
        assert_eq!(queue.len(), expected.len());
        let mut out = Vec::new();
        while let Some(chunk) = queue.pop() {
            assert!(!chunk.is_empty());
            out.extend_from_slice(&chunk);
            spares.keep(chunk);
        }
        assert_eq!((out, queue.len()), (expected, 0));
    }

    #[test]
    fn a_written_chunk_is_filled_again_and_few_are_kept() {
        let (mut queue, mut spares) = (Queue::default(), Spares::default());
        for _ in 0..MOST_SPARES + 2 {
            queue.push(&[1; LARGE], &mut spares);
        }
        let mut last = std::ptr::null();
        while let Some(chunk) = queue.pop() {
            last = if spares.0.len() < MOST_SPARES { chunk.as_ptr() } else { last };
            spares.keep(chunk);
        }
        assert_eq!(spares.0.len(), MOST_SPARES);
        queue.push(&[2; CHUNK + 1], &mut spares);
        let chunk = queue.pop().unwrap();
        assert_eq!((chunk.as_ptr(), &*chunk), (last, &[2; CHUNK + 1][..]));
    }

    #[test]
    fn small_packets_share_a_chunk() {
        let mut queue = Queue::default();
        for _ in 0..CHUNK {
            queue.push(b"x", &mut Spares::default());
        }
        assert_eq!(queue.chunks.len(), 1);
    }
}
