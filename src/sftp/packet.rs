//! The pieces that packets consist of (draft-ietf-secsh-filexfer-02, section 3 and 5): read from
//! what a client sent, without a copy and without a panic.

use crate::base::Fields;

/// Longest packet either way, in bytes without its length: OpenSSH's, which its clients count on.
pub(super) const MAX_PACKET: usize = 256 << 10;

/// Longest path: `PATH_MAX` of Linux, with its end.
pub(super) const MAX_PATH: usize = 4096;

/// Bytes of a handle.
const HANDLE: usize = 8;

/// Attributes that a packet has (section 5).
const SIZE: u32 = 1;
const OWNER: u32 = 2;
const MODE: u32 = 4;
const TIMES: u32 = 8;
const EXTENDED: u32 = 0x8000_0000;

/// The bytes are no packet: the session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// An open file, in the client's hands. Which ones exist is known to [`super::handles`] alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handle {
    pub(super) index: u32,
    /// How often that index was given before, so that a stale handle leads nowhere.
    pub(super) generation: u32,
}

impl Handle {
    /// No handle that was ever given.
    const NONE: Self = Self { index: u32::MAX, generation: u32::MAX };

    fn from_bytes(bytes: &[u8]) -> Self {
        let Ok(bytes) = <[u8; HANDLE]>::try_from(bytes) else { return Self::NONE };
        let both = u64::from_be_bytes(bytes);
        let half = |bits: u64| u32::try_from(bits).unwrap_or(u32::MAX);
        Self { index: half(both >> 32), generation: half(both & u64::from(u32::MAX)) }
    }

    pub(super) fn bytes(self) -> [u8; HANDLE] {
        ((u64::from(self.index) << 32) | u64::from(self.generation)).to_be_bytes()
    }
}

/// Attributes of a file, as far as they are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Bytes.
    pub size: Option<u64>,
    /// User and group.
    pub owner: Option<(u32, u32)>,
    /// Type and permissions.
    pub mode: Option<u32>,
    /// Last access and last change, in seconds since 1970.
    pub times: Option<(u32, u32)>,
}

impl Attributes {
    /// Which are given, as the packet says it.
    pub(super) fn flags(&self) -> u32 {
        let flag = |given: bool, flag: u32| if given { flag } else { 0 };
        flag(self.size.is_some(), SIZE)
            | flag(self.owner.is_some(), OWNER)
            | flag(self.mode.is_some(), MODE)
            | flag(self.times.is_some(), TIMES)
    }
}

/// What is left of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(Fields<'a>);

impl<'a> Reader<'a> {
    pub(super) fn new(packet: &'a [u8]) -> Self {
        Self(Fields::new(packet))
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        self.0.byte().ok_or(Malformed)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.0.u32().ok_or(Malformed)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.0.u64().ok_or(Malformed)
    }

    pub(super) fn string(&mut self) -> Result<&'a [u8], Malformed> {
        self.0.string().ok_or(Malformed)
    }

    pub(super) fn handle(&mut self) -> Result<Handle, Malformed> {
        Ok(Handle::from_bytes(self.string()?))
    }

    pub(super) fn attributes(&mut self) -> Result<Attributes, Malformed> {
        let flags = self.u32()?;
        let has = |flag: u32| flags & flag != 0;
        let mut attributes = Attributes::default();
        if has(SIZE) {
            attributes.size = Some(self.u64()?);
        }
        if has(OWNER) {
            attributes.owner = Some((self.u32()?, self.u32()?));
        }
        if has(MODE) {
            attributes.mode = Some(self.u32()?);
        }
        if has(TIMES) {
            attributes.times = Some((self.u32()?, self.u32()?));
        }
        if has(EXTENDED) {
            // Each takes eight bytes at least, so the packet bounds them, whatever the count says.
            for _ in 0..self.u32()? {
                self.string()?;
                self.string()?;
            }
        }
        Ok(attributes)
    }
}
