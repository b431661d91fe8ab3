//! How a caller ends: as the program in the cell did.

use crate::sys::signal::{self, SIGKILL};
use crate::wire::session::{Exit, MEMORY_LIMIT_STATUS};

/// The exit status where the fault is ours, as ssh(1) has it.
pub const FAULT: u8 = 255;

/// What a shell makes of a signal's number.
const SHELLS_SIGNALS: u8 = 128;

/// Signals that there are (signal(7)): init says the number, and is believed no more than its cell.
const SIGNALS: std::ops::RangeInclusive<i32> = 1..=64;

/// An end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// By exit(2).
    Status(u8),
    /// By a signal.
    Signal(i32),
}

impl Ending {
    /// As this program ended.
    pub(super) fn of(exit: &Exit) -> Self {
        match exit {
            Exit::Status(status) => Self::Status(*status),
            Exit::Signal { number, .. } if SIGNALS.contains(number) => Self::Signal(*number),
            Exit::Signal { .. } => Self::Status(FAULT),
            Exit::MemoryLimit => Self::Status(MEMORY_LIMIT_STATUS),
            Exit::CellGone => Self::Signal(SIGKILL),
        }
    }

    /// Ends this process so, if a signal does: whoever waits for it, a shell or sshd, sees what it would see of the
    /// program. The exit status else.
    pub(super) fn end(self) -> u8 {
        match self {
            Self::Status(status) => status,
            Self::Signal(number) => match (signal::die_by(number), u8::try_from(number)) {
                (_, Ok(number)) => SHELLS_SIGNALS.saturating_add(number),
                (_, Err(_range)) => FAULT,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_that_of_the_program_and_no_number_that_is_no_signal() {
        let signal = |number| Ending::of(&Exit::Signal { number, name: "X".into(), core: false });
        assert_eq!(Ending::of(&Exit::Status(7)), Ending::Status(7));
        assert_eq!((signal(15), signal(64)), (Ending::Signal(15), Ending::Signal(64)));
        for number in [0, -1, 65, i32::MIN, i32::MAX] {
            assert_eq!(signal(number), Ending::Status(FAULT), "{number}");
        }
        assert_eq!(Ending::of(&Exit::MemoryLimit), Ending::Status(122));
        assert_eq!(Ending::of(&Exit::CellGone), Ending::Signal(SIGKILL));
    }
}
