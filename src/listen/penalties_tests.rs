//! How penalties add up, run down, are forgiven, and what happens when the table is full.

use std::time::{Duration, Instant};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// sshd_config(5) of OpenSSH 10.
fn settings() -> Penalties {
    Penalties::default()
}

fn at(text: &str) -> Source {
    Source::Address(text.parse().unwrap())
}

/// Adds `times` outcomes at once; whether the source is turned away after that.
fn after(
    table: &mut Penalised,
    settings: &Penalties,
    source: &str,
    outcome: Outcome,
    times: u32,
    now: Instant,
) -> bool {
    for _ in 0..times {
        table.add(settings, at(source), outcome, now);
    }
    table.refuses(settings, at(source), now)
}

#[test]
fn nothing_is_enforced_up_to_the_least_and_everything_ends() {
    let (mut table, settings, now) = (Penalised::default(), settings(), Instant::now());
    assert!(!after(&mut table, &settings, "192.0.2.1", Outcome::AuthFail, 3, now));
    assert!(after(&mut table, &settings, "192.0.2.1", Outcome::AuthFail, 1, now));
    assert!(!table.refuses(&settings, at("192.0.2.2"), now));
    assert!(table.refuses(&settings, at("192.0.2.1"), now + 19 * SECOND));
    assert!(!table.refuses(&settings, at("192.0.2.1"), now + 20 * SECOND));
    // From nothing again.
    assert!(!after(&mut table, &settings, "192.0.2.1", Outcome::AuthFail, 3, now + 20 * SECOND));
    assert!(after(&mut table, &settings, "192.0.2.9", Outcome::Crash, 1, now));
    assert!(!after(&mut table, &settings, "192.0.2.8", Outcome::NoAuth, 15, now));
}

#[test]
fn a_flood_costs_at_most_the_most() {
    let (mut table, settings, now) = (Penalised::default(), settings(), Instant::now());
    assert!(after(&mut table, &settings, "192.0.2.1", Outcome::Crash, 10_000, now));
    assert!(table.refuses(&settings, at("192.0.2.1"), now + settings.max - SECOND));
    assert!(!table.refuses(&settings, at("192.0.2.1"), now + settings.max));
    assert_eq!(
        table.refused(now, 10),
        (
            vec![Refused {
                origin: Origin::Block("192.0.2.1".parse().unwrap()),
                cause: Outcome::Crash,
                left: settings.max
            }],
            1
        )
    );
}

#[test]
fn typos_behind_an_address_that_others_log_in_from_keep_nobody_out() {
    let (mut table, settings, now) = (Penalised::default(), settings(), Instant::now());
    table.forgive(&settings, at("192.0.2.1"), now);
    // One user fails thirty times in a row; whoever floods is turned away all the same.
    assert!(!after(&mut table, &settings, "192.0.2.1", Outcome::AuthFail, 30, now));
    table.forgive(&settings, at("192.0.2.1"), now);
    assert!(!after(&mut table, &settings, "192.0.2.1", Outcome::AuthFail, 3, now));
    assert!(after(&mut table, &settings, "192.0.2.1", Outcome::AuthFail, 1, now));
    // A login does not end what is enforced, and standing does not last.
    table.forgive(&settings, at("192.0.2.1"), now);
    assert!(table.refuses(&settings, at("192.0.2.1"), now));
    assert!(after(&mut table, &settings, "192.0.2.1", Outcome::AuthFail, 4, now + 2 * STANDING));
    // A login takes off what less than the least added.
    assert!(!after(&mut table, &settings, "192.0.2.2", Outcome::AuthFail, 3, now));
    table.forgive(&settings, at("192.0.2.2"), now);
    assert_eq!(table.v4.get(&Origin::Block("192.0.2.2".parse().unwrap())).map(|entry| entry.until), Some(now));
}

#[test]
fn blocks_share_what_they_have_and_the_exempt_have_nothing() {
    let now = Instant::now();
    let settings = Penalties {
        netblock4: 24,
        netblock6: 64,
        exempt: vec!["192.0.2.128/25".parse().unwrap(), "2001:db8:1::/48".parse().unwrap()],
        ..settings()
    };
    let mut table = Penalised::default();
    assert!(after(&mut table, &settings, "192.0.2.1", Outcome::Crash, 1, now));
    assert!(table.refuses(&settings, at("192.0.2.2"), now));
    assert!(table.refuses(&settings, at("::ffff:192.0.2.3"), now));
    assert!(!table.refuses(&settings, at("192.0.2.200"), now));
    assert!(after(&mut table, &settings, "2001:db8::1", Outcome::Crash, 1, now));
    assert!(table.refuses(&settings, at("2001:db8::ffff:1"), now));
    assert!(!after(&mut table, &settings, "2001:db8:1::1", Outcome::Crash, 9, now));
    let off = Penalties { enabled: false, ..settings };
    assert!(!table.refuses(&off, at("192.0.2.1"), now));
}

#[test]
fn a_full_table_drops_what_ends_first_or_lets_nobody_new_in() {
    let now = Instant::now();
    let small = Penalties { max_sources4: 4, max_sources6: 1, overflow6: Overflow::DenyAll, ..settings() };
    let mut table = Penalised::default();
    for last in 1..=20 {
        after(&mut table, &small, &format!("192.0.2.{last}"), Outcome::Crash, last, now);
        assert!(table.v4.len() <= 4);
    }
    assert!(table.refuses(&small, at("192.0.2.20"), now));
    assert!(!table.refuses(&small, at("192.0.2.1"), now));
    assert!(!table.refuses(&small, at("198.51.100.1"), now));

    after(&mut table, &small, "2001:db8::1", Outcome::Crash, 1, now);
    assert!(table.refuses(&small, at("2001:db8::2"), now));
    assert!(!table.refuses(&small, at("2001:db8::2"), now + small.crash));
}

#[test]
fn an_account_of_this_host_is_counted_for_itself_and_root_is_not() {
    let (mut table, settings, now) = (Penalised::default(), settings(), Instant::now());
    for uid in [0, 1000] {
        for _ in 0..4 {
            table.add(&settings, Source::Account(uid), Outcome::AuthFail, now);
        }
    }
    let refuses = |table: &Penalised, uid| table.refuses(&settings, Source::Account(uid), now);
    assert_eq!([0, 1000, 1001].map(|uid| refuses(&table, uid)), [false, true, false]);
    let (refused, _) = table.refused(now, 10);
    assert_eq!(refused[0].origin.to_string(), "uid 1000");
    // Whoever has many uids makes nobody's address be forgotten, and no table grow.
    assert!(after(&mut table, &settings, "192.0.2.1", Outcome::AuthFail, 4, now));
    for uid in 100_000..165_536 {
        table.add(&settings, Source::Account(uid), Outcome::GraceExceeded, now);
    }
    assert!(table.refuses(&settings, at("192.0.2.1"), now));
    assert!(table.accounts.len() <= MAX_ACCOUNTS, "{}", table.accounts.len());
}
