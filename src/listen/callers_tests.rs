use super::super::startups::tests::server as a_server;
use super::*;
use crate::config::settings::MaxStartups;

fn server() -> Server {
    Server { max_connections: 200, max_connections_per_source: 100, ..a_server() }
}

#[test]
fn those_who_wait_of_one_account_are_held_to_max_startups_and_keep_nobody_else_out() {
    let max_startups = MaxStartups { begin: 10, rate: 30, full: AT_ONCE + 10 };
    let (mut callers, server, now) = (Callers::default(), Server { max_startups, ..server() }, Instant::now());
    for _ in 0..AT_ONCE {
        assert_eq!(callers.judge(&server, 1000, || 0, now), Ok(()), "a job that starts many at once");
        callers.add(1000);
    }
    let percent = drop_percent(max_startups, AT_ONCE);
    assert!((31..100).contains(&percent), "{percent}");
    assert_eq!(
        [0, percent - 1, percent, 100].map(|draw| callers.judge(&server, 1000, || draw, now).is_ok()),
        [false, false, true, false]
    );
    for _ in 0..10 {
        callers.add(1000);
    }
    assert_eq!(callers.judge(&server, 1000, || 99, now), Err("max_startups"));
    assert_eq!(callers.judge(&server, 1001, || 0, now), Ok(()));
    assert_eq!(callers.judge(&server, 0, || 0, now), Ok(()));
    callers.let_in(1000);
    assert_eq!(callers.judge(&server, 1000, || 99, now), Ok(()));
}

#[test]
fn an_account_has_so_many_and_all_together_so_many_and_root_always_gets_in() {
    let (mut callers, server, now) = (Callers::default(), server(), Instant::now());
    for uid in [1000, 1001] {
        for _ in 0..100 {
            callers.add(uid);
            callers.let_in(uid);
        }
    }
    assert_eq!(callers.judge(&server, 1002, || 0, now), Err("max_connections"));
    assert_eq!(callers.judge(&server, 0, || 0, now), Ok(()));
    callers.remove(1001, true);
    assert_eq!(callers.judge(&server, 1000, || 0, now), Err("max_connections_per_source"));
    assert_eq!((callers.judge(&server, 1001, || 0, now), callers.judge(&server, 1002, || 0, now)), (Ok(()), Ok(())));
}

#[test]
fn whoever_fails_again_and_again_is_turned_away_for_a_while() {
    let (mut callers, server, now) = (Callers::default(), server(), Instant::now());
    for _ in 0..MAX_FAILED {
        assert_eq!(callers.judge(&server, 1000, || 0, now), Ok(()));
        callers.add(1000);
        callers.failed(1000, now);
        callers.remove(1000, false);
    }
    assert_eq!(callers.judge(&server, 1000, || 0, now), Err("too many that failed"));
    assert_eq!(callers.judge(&server, 1001, || 0, now), Ok(()));
    assert_eq!(callers.judge(&server, 1000, || 0, now + WINDOW), Ok(()));
}

#[test]
fn uids_of_whom_nothing_is_known_are_forgotten() {
    let mut callers = Callers::default();
    for uid in 1..100_000 {
        callers.add(uid);
        callers.remove(uid, false);
    }
    assert!(callers.by_uid.len() <= MANY_UIDS, "{}", callers.by_uid.len());
}
