use super::*;
use crate::sys::seccomp::program::tests::{Call, I386, here, says};

fn list(named: (&str, &str)) -> List {
    read(named).unwrap()
}

fn all_lists() -> Vec<List> {
    [TENANT, INIT].into_iter().chain(CallSet::ALL.map(list_of)).map(list).collect()
}

fn with(sets: &[CallSet]) -> BTreeMap<i64, Verdict> {
    let lists: Vec<List> = sets.iter().map(|set| list(list_of(*set))).collect();
    verdicts(&list(TENANT), &lists.iter().collect::<Vec<_>>()).unwrap()
}

/// What init may do whose tenant has these sets, and what the tenant may.
fn of_both(sets: &BTreeSet<CallSet>) -> (BTreeMap<i64, Verdict>, BTreeMap<i64, Verdict>) {
    let lists: Vec<List> = sets.iter().map(|set| list(list_of(*set))).collect();
    let wider: Vec<&List> = lists.iter().collect();
    let init = verdicts(&list(TENANT), &[&wider[..], &[&list(INIT)]].concat()).unwrap();
    (init, verdicts(&list(TENANT), &wider).unwrap())
}

fn verdict(sets: &[CallSet], call: &str) -> Verdict {
    with(sets)[&seccomp::number(call).unwrap()].clone()
}

#[test]
fn every_entry_says_why() {
    for list in all_lists() {
        assert!(!list.allow.is_empty());
        assert!(list.allow.iter().all(|entry| entry.why.len() > 10 && !entry.calls.is_empty()));
        assert!(list.refuse.iter().all(|entry| entry.why.len() > 10 && !entry.calls.is_empty()));
    }
}

#[test]
fn every_call_of_the_kernel_is_allowed_or_refused_once() {
    let tenant = list(TENANT);
    for (name, _) in seccomp::all() {
        let allowed: Vec<_> = tenant.allow.iter().filter(|entry| entry.calls.iter().any(|call| call == name)).collect();
        let refused = tenant.refuse.iter().flat_map(|entry| &entry.calls).filter(|call| *call == name).count();
        let whole = allowed.iter().filter(|entry| entry.when.is_empty()).count();
        // What is allowed on conditions may be refused with an error of its own.
        let conditional = usize::from(allowed.len() > whole);
        assert!(refused <= 1, "{name}");
        assert_eq!(whole + conditional.max(refused), 1, "{name}");
    }
}

#[test]
fn a_call_or_constant_that_is_not_known_is_an_error() {
    let bad = [
        "[[allow]]\ncalls = [\"open_everything\"]\nwhy = \"because it is nice\"",
        "[[allow]]\ncalls = [\"ioctl\"]\nwhen = [{ argument = 1, is = \"TIOCNICE\" }]\nwhy = \"because it is nice\"",
        "[[allow]]\ncalls = [\"ioctl\"]\nwhen = [{ argument = 1 }]\nwhy = \"because it is nice\"",
    ];
    for text in bad {
        assert!(verdicts(&read(("bad", text)).unwrap(), &[]).is_err(), "{text}");
    }
    assert!(read(("bad", "[[allow]]\ncalls = [\"read\"]")).is_err(), "no why");
    assert!(read(("bad", "[[allow]]\ncalls = [\"read\"]\nwhy = \"x\"\nwhne = []")).is_err());
}

#[test]
fn a_set_opens_calls_that_were_closed_and_nothing_else() {
    let plain = with(&[]);
    let opened = |set| -> Vec<i64> {
        let wider = with(&[set]);
        assert_eq!(plain.keys().collect::<Vec<_>>(), wider.keys().collect::<Vec<_>>());
        plain.iter().filter(|(number, verdict)| wider[number] != **verdict).map(|(number, _)| *number).collect()
    };
    let numbers = |names: &[&str]| names.iter().map(|name| seccomp::number(name).unwrap()).collect::<BTreeSet<_>>();
    let opened = |set| opened(set).into_iter().collect::<BTreeSet<_>>();
    let debug = ["ptrace", "process_vm_readv", "process_vm_writev", "personality"];
    assert_eq!(opened(CallSet::Debug), numbers(&debug));
    assert_eq!(opened(CallSet::IoUring), numbers(&["io_uring_setup", "io_uring_enter", "io_uring_register"]));
    assert_eq!(opened(CallSet::Ping), numbers(&["socket"]));
    assert_eq!(opened(CallSet::Fuse), numbers(&["mount", "umount2"]));
    assert!(opened(CallSet::Nesting).contains(&seccomp::number("unshare").unwrap()));
}

/// docs/kernel.md, F: sessions inherit init's filter
#[test]
fn inits_list_allows_all_that_its_tenants_does() {
    for sets in combinations() {
        let (init, tenant) = of_both(&sets);
        for (number, verdict) in tenant {
            assert!(init[&number] == verdict || init[&number] == Verdict::Allow, "{sets:?} {number}");
        }
    }
}

#[test]
fn what_programs_try_and_do_without_is_not_there_and_the_rest_is_not_permitted() {
    for call in ["clone3", "io_uring_setup"] {
        assert_eq!(verdict(&[], call), Verdict::Refuse(Errno::ENOSYS), "{call}");
    }
    for call in ["mount", "bpf", "keyctl", "ptrace", "open_by_handle_at", "userfaultfd", "kexec_load"] {
        assert_eq!(verdict(&[], call), Verdict::Refuse(Errno::EPERM), "{call}");
    }
    assert_eq!(verdict(&[CallSet::Nesting], "clone3"), Verdict::Refuse(Errno::ENOSYS));
}

/// docs/kernel.md, F: what any of several filters refuses is refused, with the newest one's error.
fn both(init: &Program, session: &Program, call: Call) -> Verdict {
    match says(session, call) {
        Verdict::Allow => says(init, call),
        refused @ (Verdict::Refuse(_) | Verdict::AllowIf(..)) => refused,
    }
}

#[test]
fn inits_list_and_what_a_session_adds_are_the_tenants() {
    // Of arguments that the lists ask about, as they allow them and as they do not.
    let arguments: Vec<[u64; 6]> = (0..20).map(|value| [value; 6]).chain([[1 << 28; 6], [u64::MAX; 6]]).collect();
    let numbers = || (0..600).chain((0..600).map(|number| number | 0x4000_0000)).chain([u32::MAX]);
    for sets in combinations() {
        let (for_init, for_tenant) = of_both(&sets);
        let tenant = compile(&for_tenant, UNKNOWN).unwrap();
        let init = compile(&for_init, UNKNOWN).unwrap();
        let session = compile(&taken(&for_init, &for_tenant), Others::Pass).unwrap();
        assert_eq!(says(&session, here(clone3(), [0; 6])), Verdict::Refuse(Errno::ENOSYS));
        assert_eq!(says(&init, here(clone3(), [0; 6])), Verdict::Allow);
        for (number, arguments) in numbers().flat_map(|number| arguments.iter().map(move |all| (number, *all))) {
            let native = here(number, arguments);
            for call in [native, Call { architecture: I386, ..native }] {
                assert_eq!(both(&init, &session, call), says(&tenant, call), "{sets:?} {call:?}");
            }
        }
    }
}

fn clone3() -> u32 {
    seccomp::number("clone3").unwrap().try_into().unwrap()
}

#[test]
fn every_combination_compiles_and_can_be_had() {
    let filters = Filters::compile().unwrap();
    assert_eq!(filters.slots.len(), 32);
    for sets in combinations() {
        let places = filters.places(&sets).unwrap();
        let (start, length) = places.session;
        let mut bytes = vec![0; length];
        filters.file.read_exact_at(&mut bytes, start).unwrap();
        let (init, tenant) = of_both(&sets);
        let session = taken(&init, &tenant);
        assert_eq!(Program::from_bytes(&bytes).unwrap(), compile(&session, Others::Pass).unwrap());
        let calls = Calls::new(filters.file.try_clone().unwrap(), sets, places);
        assert_eq!(calls.init().unwrap(), compile(&init, UNKNOWN).unwrap());
    }
}
