//! Bytes that wait for a program to read them, in chunks.

use std::{collections::VecDeque, io::IoSlice};

/// Room that a chunk has at least, so that many small packets (keys typed, probes) cost one
/// allocation and one write.
const CHUNK: usize = 4096;

/// Room of a chunk for more than that: the largest packet that clients send.
const LARGE: usize = 32 << 10;

/// Chunks that are written by one call: each call wakes whoever reads, and on a busy machine that one runs next.
const AT_ONCE: usize = 8;

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

/// A queue of bytes. Holds at most twice the memory of the bytes in it, and two chunks.
#[derive(Debug, Default)]
pub(super) struct Queue {
    chunks: VecDeque<Vec<u8>>,
    /// Of the first chunk, so much was taken.
    taken: usize,
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

    /// Shows what comes first, up to eight chunks of it.
    pub(super) fn with_slices<T>(&self, show: impl FnOnce(&[IoSlice<'_>]) -> T) -> T {
        let mut slices = [IoSlice::new(&[]); AT_ONCE];
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            let skipped = if count == 0 { self.taken } else { 0 };
            *slice = IoSlice::new(chunk.get(skipped..).unwrap_or_default());
            count += 1;
        }
        show(slices.get(..count).unwrap_or_default())
    }

    /// Takes `length` bytes off, which were shown, and keeps the chunks that are through as `spares`.
    pub(super) fn advance(&mut self, length: usize, spares: &mut Spares) {
        self.length = self.length.saturating_sub(length);
        self.taken = self.taken.saturating_add(length);
        while let Some(first) = self.chunks.front()
            && self.taken >= first.len()
        {
            self.taken -= first.len();
            if let Some(chunk) = self.chunks.pop_front() {
                spares.keep(chunk);
            }
        }
    }

    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Drops all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes off up to `most` bytes of what is shown.
    fn take(queue: &mut Queue, most: usize, spares: &mut Spares) -> Vec<u8> {
        let shown: Vec<u8> = queue.with_slices(|slices| {
            assert!(slices.len() <= AT_ONCE && slices.iter().all(|slice| !slice.is_empty()));
            slices.iter().flat_map(|slice| slice.iter().copied()).take(most).collect()
        });
        queue.advance(shown.len(), spares);
        shown
    }

    #[test]
    fn bytes_come_out_in_order_and_whole() {
        for most in [1, 7, 4095, 4096, 30_000, usize::MAX] {
            let mut queue = Queue::default();
            let (mut spares, mut expected, mut out) = (Spares::default(), Vec::new(), Vec::new());
            for length in [1, 0, 4095, 1, 40_000, 2, 3, 32 << 10, 32 << 10] {
                let data: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
                queue.push(&data, &mut spares);
                expected.extend(data);
                out.extend(take(&mut queue, most, &mut spares));
            }
            while queue.len() > 0 {
                out.extend(take(&mut queue, most, &mut spares));
            }
            assert!(out == expected, "{most} at a time");
            assert_eq!((queue.chunks.len(), queue.taken), (0, 0));
            assert!(take(&mut queue, most, &mut spares).is_empty());
        }
    }

    #[test]
    fn a_written_chunk_is_filled_again_and_few_are_kept() {
        let (mut queue, mut spares) = (Queue::default(), Spares::default());
        for _ in 0..MOST_SPARES + 2 {
            queue.push(&[1; LARGE], &mut spares);
        }
        assert_eq!(take(&mut queue, LARGE - 1, &mut spares).len(), LARGE - 1);
        assert_eq!(spares.0.len(), 0, "its last byte waits");
        take(&mut queue, usize::MAX, &mut spares);
        assert_eq!((queue.len(), spares.0.len()), (0, MOST_SPARES));
        let next = spares.0.last().unwrap().as_ptr();
        queue.push(&[2; CHUNK + 1], &mut spares);
        let chunk = queue.chunks.front().unwrap();
        assert_eq!((chunk.as_ptr(), &**chunk), (next, &[2; CHUNK + 1][..]));
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
