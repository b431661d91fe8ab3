use std::path::PathBuf;

use super::*;
use crate::base::Bytes;
use crate::config::settings::{IdPool, MaxStartups, Penalties, RekeyLimit};

fn server() -> Server {
    Server {
        listen: Vec::new(),
        host_keys: Vec::new(),
        user: None,
        state_dir: PathBuf::new(),
        run_dir: PathBuf::new(),
        audit_log: PathBuf::new(),
        max_startups: MaxStartups { begin: 1, rate: 100, full: 1 },
        max_connections: 200,
        max_connections_per_source: 100,
        login_grace: Duration::from_secs(1),
        max_auth_tries: 6,
        client_alive_interval: None,
        client_alive_count_max: 3,
        rekey_limit: RekeyLimit { bytes: Bytes(1 << 30), time: Duration::from_secs(3600) },
        encrypt_and_mac: false,
        banner: None,
        id_pool: IdPool { first: 1, count: 1, register: false },
        penalties: Penalties::default(),
        keys_command: None,
    }
}

#[test]
fn those_who_wait_of_one_account_keep_nobody_else_out() {
    let (mut callers, server, now) = (Callers::default(), server(), Instant::now());
    for _ in 0..MAX_WAITING {
        assert_eq!(callers.judge(&server, 1000, now), Ok(()));
        callers.add(1000);
    }
    assert_eq!(callers.judge(&server, 1000, now), Err("too many that wait"));
    assert_eq!(callers.judge(&server, 1001, now), Ok(()));
    assert_eq!(callers.judge(&server, 0, now), Ok(()));
    callers.let_in(1000);
    assert_eq!(callers.judge(&server, 1000, now), Ok(()));
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
    assert_eq!(callers.judge(&server, 1002, now), Err("max_connections"));
    assert_eq!(callers.judge(&server, 0, now), Ok(()));
    callers.remove(1001, true);
    assert_eq!(callers.judge(&server, 1000, now), Err("max_connections_per_source"));
    assert_eq!((callers.judge(&server, 1001, now), callers.judge(&server, 1002, now)), (Ok(()), Ok(())));
}

#[test]
fn whoever_fails_again_and_again_is_turned_away_for_a_while() {
    let (mut callers, server, now) = (Callers::default(), server(), Instant::now());
    for _ in 0..MAX_FAILED {
        assert_eq!(callers.judge(&server, 1000, now), Ok(()));
        callers.add(1000);
        callers.failed(1000, now);
        callers.remove(1000, false);
    }
    assert_eq!(callers.judge(&server, 1000, now), Err("too many that failed"));
    assert_eq!(callers.judge(&server, 1001, now), Ok(()));
    assert_eq!(callers.judge(&server, 1000, now + WINDOW), Ok(()));
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
