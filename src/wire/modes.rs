//! RFC 4254's terminal modes (section 8, and IUTF8 of RFC 8160) in termios(3)'s words.

use std::os::fd::BorrowedFd;

use crate::sys::{
    Errno,
    pty::{self, ControlModes, InputModes, LocalModes, Modes, OutputModes, SpecialCodeIndex},
};

/// "No such character", on the wire and in termios.
const WIRE_DISABLED: u32 = 255;
const DISABLED: u8 = 0;

/// What an opcode sets.
enum Mode {
    Character(SpecialCodeIndex),
    Input(InputModes),
    Local(LocalModes),
    Output(OutputModes),
    Control(ControlModes),
    InputSpeed,
    OutputSpeed,
}

/// The highest opcode that takes an argument (RFC 4254, 8).
const LAST_OPCODE: u8 = 159;

/// Applies encoded modes to a new terminal. Opcodes that Linux has nothing for are passed over, as
/// RFC 4254 asks.
pub fn apply(terminal: BorrowedFd<'_>, modes: &[(u8, u32)]) -> Result<(), Errno> {
    pty::change_modes(terminal, |terminal| {
        for (opcode, value) in modes {
            if let Some(mode) = mode(*opcode) {
                set(terminal, &mode, *value);
            }
        }
    })
}

/// The modes of a terminal, encoded.
#[must_use]
pub fn of(terminal: &Modes) -> Vec<(u8, u32)> {
    let value = |opcode| mode(opcode).map(|mode| (opcode, get(terminal, &mode)));
    (1..=LAST_OPCODE).filter_map(value).collect()
}

fn get(terminal: &Modes, mode: &Mode) -> u32 {
    match mode {
        Mode::Character(index) => match terminal.special_codes[*index] {
            DISABLED => WIRE_DISABLED,
            code => u32::from(code),
        },
        Mode::Input(flag) => terminal.input_modes.contains(*flag).into(),
        Mode::Local(flag) => terminal.local_modes.contains(*flag).into(),
        Mode::Output(flag) => terminal.output_modes.contains(*flag).into(),
        Mode::Control(size @ (ControlModes::CS7 | ControlModes::CS8)) => {
            (terminal.control_modes & ControlModes::CSIZE == *size).into()
        }
        Mode::Control(flag) => terminal.control_modes.contains(*flag).into(),
        Mode::InputSpeed => terminal.input_speed(),
        Mode::OutputSpeed => terminal.output_speed(),
    }
}

fn set(terminal: &mut Modes, mode: &Mode, value: u32) {
    let on = value != 0;
    match mode {
        Mode::Character(index) => {
            let code = if value == WIRE_DISABLED { DISABLED } else { u8::try_from(value).unwrap_or(DISABLED) };
            terminal.special_codes[*index] = code;
        }
        Mode::Input(flag) => terminal.input_modes.set(*flag, on),
        Mode::Local(flag) => terminal.local_modes.set(*flag, on),
        Mode::Output(flag) => terminal.output_modes.set(*flag, on),
        Mode::Control(ControlModes::CS7) if on => {
            terminal.control_modes.remove(ControlModes::CSIZE);
            terminal.control_modes.insert(ControlModes::CS7);
        }
        Mode::Control(ControlModes::CS8) if on => terminal.control_modes.insert(ControlModes::CS8),
        Mode::Control(ControlModes::CS7 | ControlModes::CS8) => {}
        Mode::Control(flag) => terminal.control_modes.set(*flag, on),
        // A speed that cannot be had leaves the default; a pty has no line to clock.
        Mode::InputSpeed => if terminal.set_input_speed(value).is_err() {},
        Mode::OutputSpeed => if terminal.set_output_speed(value).is_err() {},
    }
}

fn mode(opcode: u8) -> Option<Mode> {
    character(opcode)
        .map(Mode::Character)
        .or_else(|| input(opcode).map(Mode::Input))
        .or_else(|| local(opcode).map(Mode::Local))
        .or_else(|| output(opcode).map(Mode::Output))
        .or_else(|| control(opcode))
}

fn character(opcode: u8) -> Option<SpecialCodeIndex> {
    Some(match opcode {
        1 => SpecialCodeIndex::VINTR,
        2 => SpecialCodeIndex::VQUIT,
        3 => SpecialCodeIndex::VERASE,
        4 => SpecialCodeIndex::VKILL,
        5 => SpecialCodeIndex::VEOF,
        6 => SpecialCodeIndex::VEOL,
        7 => SpecialCodeIndex::VEOL2,
        8 => SpecialCodeIndex::VSTART,
        9 => SpecialCodeIndex::VSTOP,
        10 => SpecialCodeIndex::VSUSP,
        12 => SpecialCodeIndex::VREPRINT,
        13 => SpecialCodeIndex::VWERASE,
        14 => SpecialCodeIndex::VLNEXT,
        16 => SpecialCodeIndex::VSWTC,
        18 => SpecialCodeIndex::VDISCARD,
        _unknown => return None,
    })
}

fn input(opcode: u8) -> Option<InputModes> {
    Some(match opcode {
        30 => InputModes::IGNPAR,
        31 => InputModes::PARMRK,
        32 => InputModes::INPCK,
        33 => InputModes::ISTRIP,
        34 => InputModes::INLCR,
        35 => InputModes::IGNCR,
        36 => InputModes::ICRNL,
        37 => InputModes::IUCLC,
        38 => InputModes::IXON,
        39 => InputModes::IXANY,
        40 => InputModes::IXOFF,
        41 => InputModes::IMAXBEL,
        42 => InputModes::IUTF8,
        _unknown => return None,
    })
}

fn local(opcode: u8) -> Option<LocalModes> {
    Some(match opcode {
        50 => LocalModes::ISIG,
        51 => LocalModes::ICANON,
        52 => LocalModes::XCASE,
        53 => LocalModes::ECHO,
        54 => LocalModes::ECHOE,
        55 => LocalModes::ECHOK,
        56 => LocalModes::ECHONL,
        57 => LocalModes::NOFLSH,
        58 => LocalModes::TOSTOP,
        59 => LocalModes::IEXTEN,
        60 => LocalModes::ECHOCTL,
        61 => LocalModes::ECHOKE,
        62 => LocalModes::PENDIN,
        _unknown => return None,
    })
}

fn output(opcode: u8) -> Option<OutputModes> {
    Some(match opcode {
        70 => OutputModes::OPOST,
        71 => OutputModes::OLCUC,
        72 => OutputModes::ONLCR,
        73 => OutputModes::OCRNL,
        74 => OutputModes::ONOCR,
        75 => OutputModes::ONLRET,
        _unknown => return None,
    })
}

fn control(opcode: u8) -> Option<Mode> {
    Some(match opcode {
        90 => Mode::Control(ControlModes::CS7),
        91 => Mode::Control(ControlModes::CS8),
        92 => Mode::Control(ControlModes::PARENB),
        93 => Mode::Control(ControlModes::PARODD),
        128 => Mode::InputSpeed,
        129 => Mode::OutputSpeed,
        _unknown => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn what_one_terminal_has_another_can_be_given() {
        let (_master, one) = pty::open().unwrap();
        let (_other_master, other) = pty::open().unwrap();
        let changed = [(1, 7), (2, WIRE_DISABLED), (36, 0), (53, 0), (72, 0), (91, 1), (38, 0)];
        apply(one.as_fd(), &changed).unwrap();
        let modes = of(&pty::modes(one.as_fd()).unwrap());
        assert!(changed.iter().all(|mode| modes.contains(mode)), "{modes:?}");
        assert_ne!(of(&pty::modes(other.as_fd()).unwrap()), modes);
        apply(other.as_fd(), &modes).unwrap();
        assert_eq!(of(&pty::modes(other.as_fd()).unwrap()), modes);
    }
}
