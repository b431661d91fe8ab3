//! SSH's data types (RFC 4251, 5), read from the front of bytes that others made.

/// What is left to read. Copies nothing, and never reads past the end.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// All of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// `byte`.
    pub fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// `uint32`.
    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// `uint64`.
    pub fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    /// `string`.
    pub fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_past_the_end() {
        let mut fields = Fields::new(&[0, 0, 0, 2, b'a', b'b', 7, 0, 0, 0, 9, 1]);
        assert_eq!(fields.string(), Some(&b"ab"[..]));
        assert_eq!(fields.byte(), Some(7));
        assert_eq!(fields.string(), None);
        assert_eq!(Fields::new(&[0xff; 7]).u64(), None);
        assert_eq!(Fields::new(&[0xff; 4]).string(), None);
        assert!(Fields::new(&[]).is_empty());
    }
}
