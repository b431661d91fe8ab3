//! The compiled programs, run by an interpreter of the kernel's classic BPF.

use super::*;
use std::ops::Not as _;

const NOT_THERE: Others = Others::Fail(Errno::ENOSYS);

/// `AUDIT_ARCH_I386` of linux/audit.h.
pub(crate) const I386: u32 = 0x4000_0003;

/// A call as a filter sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) architecture: u32,
    pub(crate) number: u32,
    pub(crate) arguments: [u64; 6],
}

fn word(call: &Call, offset: u32) -> u32 {
    let mut data = Vec::new();
    data.extend(call.number.to_ne_bytes());
    data.extend(call.architecture.to_ne_bytes());
    data.extend([0; 8]);
    call.arguments.iter().for_each(|argument| data.extend(argument.to_ne_bytes()));
    let at = offset as usize;
    u32::from_ne_bytes(data[at..at + 4].try_into().unwrap())
}

/// What the filter returns, and after how many instructions.
fn run(program: &Program, call: &Call) -> (u32, usize) {
    let (mut at, mut accumulator, mut steps) = (0, 0_u32, 0);
    loop {
        let step = &program.0[at];
        steps += 1;
        at += 1;
        let jump = |taken: bool| usize::from(if taken { step.jt } else { step.jf });
        match step.code {
            0x20 => accumulator = word(call, step.k),
            0x54 => accumulator &= step.k,
            0x05 => at += step.k as usize,
            0x15 => at += jump(accumulator == step.k),
            0x25 => at += jump(accumulator > step.k),
            0x35 => at += jump(accumulator >= step.k),
            0x45 => at += jump(accumulator & step.k != 0),
            0x06 => return (step.k, steps),
            code => panic!("instruction {code:#x}"),
        }
    }
}

pub(crate) fn here(number: u32, arguments: [u64; 6]) -> Call {
    Call { architecture: THIS_ARCHITECTURE, number, arguments }
}

pub(crate) fn says(program: &Program, call: Call) -> Verdict {
    match run(program, &call).0 {
        RETURN_ALLOW => Verdict::Allow,
        other => Verdict::Refuse(Errno::from_raw(i32::try_from(other & 0xffff).unwrap())),
    }
}

fn condition(index: u8, test: Test) -> Condition {
    Condition { index, test }
}

#[test]
fn every_number_gets_its_verdict_and_all_others_the_last_word() {
    let refused = Verdict::Refuse(Errno::EPERM);
    for first in [0, 1, 7] {
        let verdicts: BTreeMap<i64, Verdict> = (first..900)
            .filter(|number| number % 7 != 3)
            .map(|number| (number, if number % 5 == 0 { refused.clone() } else { Verdict::Allow }))
            .collect();
        let program = Program::compile(&verdicts, NOT_THERE).unwrap();
        for number in (0..1000).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
            let expected = verdicts.get(&i64::from(number)).cloned().unwrap_or(Verdict::Refuse(Errno::ENOSYS));
            assert_eq!(says(&program, here(number, [0; 6])), expected, "{number}");
            assert!(run(&program, &here(number, [0; 6])).1 < 30);
        }
    }
}

#[test]
fn conditions_are_on_the_low_half_of_an_argument() {
    let verdict = Verdict::AllowIf(
        vec![
            vec![condition(0, Test::Is(16)), condition(2, Test::Is(0))],
            vec![condition(0, Test::IsNot(16)), condition(1, Test::Without(0x30))],
        ],
        Errno::EPERM,
    );
    let program = Program::compile(&BTreeMap::from([(41, verdict), (40, Verdict::Allow)]), NOT_THERE).unwrap();
    let allowed = |arguments: [u64; 6]| says(&program, here(41, arguments)) == Verdict::Allow;
    let high = 0xffff_ffff_0000_0000;
    assert!(allowed([16, 0x30, 0, 0, 0, 0]) && allowed([16 | high, 0x30, high, 0, 0, 0]));
    assert!(allowed([16, 0, 6, 0, 0, 0]).not() && allowed([5, 0x10, 0, 0, 0, 0]).not());
    assert!(allowed([5, 0x4f, 9, 0, 0, 0]) && allowed([5, 0x10 | high, 9, 0, 0, 0]).not());
    assert_eq!(says(&program, here(41, [16, 0, 6, 0, 0, 0])), Verdict::Refuse(Errno::EPERM));
    assert_eq!(says(&program, here(42, [16, 0, 0, 0, 0, 0])), Verdict::Refuse(Errno::ENOSYS));
}

#[test]
fn another_architecture_is_told_that_there_is_no_such_call() {
    let program = Program::compile(&BTreeMap::from([(1, Verdict::Allow)]), NOT_THERE).unwrap();
    let i386 = Call { architecture: I386, number: 1, arguments: [0; 6] };
    assert_eq!(says(&program, i386), Verdict::Refuse(Errno::ENOSYS));
}

#[test]
fn what_is_on_top_of_another_filter_lets_pass_what_it_has_no_verdict_on() {
    let few = BTreeMap::from([(1, Verdict::Refuse(Errno::EPERM)), (7, Verdict::Refuse(Errno::ENOSYS))]);
    for verdicts in [few, BTreeMap::new()] {
        let program = Program::compile(&verdicts, Others::Pass).unwrap();
        assert!(program.0.len() < 20);
        for number in (0..10).chain([0x4000_0001, u32::MAX]) {
            let expected = verdicts.get(&i64::from(number)).cloned().unwrap_or(Verdict::Allow);
            assert_eq!(says(&program, here(number, [0; 6])), expected, "{number}");
        }
        let i386 = Call { architecture: I386, number: 1, arguments: [0; 6] };
        assert_eq!(says(&program, i386), Verdict::Allow);
    }
}

#[test]
fn bytes_lead_back_to_the_program_and_nonsense_to_none() {
    let program = Program::compile(&BTreeMap::from([(1, Verdict::Allow)]), NOT_THERE).unwrap();
    assert_eq!(Program::from_bytes(&program.to_bytes()), Ok(program.clone()));
    let bytes = program.to_bytes();
    assert!(Program::from_bytes(&bytes[1..]).is_err() && Program::from_bytes(&[]).is_err());
    assert!(Program::from_bytes(&vec![0; 8 * 4097]).is_err());
}
