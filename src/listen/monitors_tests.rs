use std::{
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command},
    time::Duration,
};

use super::super::startups::{Full, tests::server};
use super::*;
use crate::sys::{fd, seqpacket};

/// A process in place of a monitor, and what it says.
type Started = (Pid, Child, Link<Word, ()>);

/// Two of them, which is as many startups as there may be.
fn two(source: Source, until: Option<Instant>) -> (Monitors, Vec<Started>) {
    let mut monitors = Monitors::default();
    let started = (0..2).map(|_| {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::try_from(child.id()).unwrap();
        let (ours, theirs) = seqpacket::pair().unwrap();
        fd::set_nonblocking(ours.as_fd(), true).unwrap();
        let (link, pidfd) = (Link::new(ours), process::pidfd_open(pid).unwrap());
        let stage = Stage::Startup { until };
        monitors.add(pid, Monitor { link, pidfd, source: Some(source), stage, talks: true, outcome: None });
        (pid, child, Link::new(theirs))
    });
    let started = started.collect();
    (monitors, started)
}

fn all_live_on(started: Vec<Started>) {
    for (_, mut child, _) in started {
        assert_eq!(child.try_wait().unwrap(), None);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

fn network() -> (Source, Block) {
    let address = "192.0.2.1".parse().unwrap();
    let block = Block::around(address, 32, 128);
    (Source::Network { address, block }, block)
}

#[test]
fn who_hangs_is_killed_once_and_penalised_once_and_its_connection_counts_until_it_is_gone() {
    let (source, block) = network();
    let now = Instant::now();
    let (mut monitors, started) = two(source, Some(now));
    let judged = |monitors: &Monitors| monitors.counts.judge(&server(), block, 0);
    assert_eq!(judged(&monitors), Err(Full::Startups));
    assert_eq!(monitors.deadline(), Some(now));
    assert!(monitors.kill_overdue(now).is_empty());
    assert_eq!(monitors.deadline(), None);
    let grace = (penalties::Source::Address("192.0.2.1".parse().unwrap()), Some(Outcome::GraceExceeded));
    assert_eq!(monitors.take_news(), [grace, grace]);
    assert_eq!(judged(&monitors), Ok(()));
    monitors.counts.add(block);
    assert_eq!(judged(&monitors), Err(Full::Source), "it is connected still");
    for (pid, mut child, said) in started {
        // By the skin of its teeth, too late.
        said.send(&Word::LoggedIn).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(signal::SIGKILL));
        monitors.remove(pid, true);
    }
    monitors.counts.remove(block, false);
    assert_eq!(monitors.take_news(), []);
    assert_eq!((monitors.count(), judged(&monitors)), (0, Ok(())));
}

#[test]
fn who_has_logged_in_is_not_killed_though_that_was_not_heard_yet() {
    let (source, block) = network();
    let now = Instant::now();
    let (mut monitors, started) = two(source, Some(now));
    for (_, _, said) in &started {
        said.send(&Word::LoggedIn).unwrap();
    }
    monitors.kill_overdue(now);
    assert_eq!(monitors.counts.judge(&server(), block, 0), Ok(()));
    all_live_on(started);
}

#[test]
fn a_caller_of_this_host_may_take_its_time() {
    let (mut monitors, started) = two(Source::Host(1000), None);
    assert_eq!(monitors.deadline(), None);
    monitors.kill_overdue(Instant::now() + Duration::from_secs(86_400));
    all_live_on(started);
}
