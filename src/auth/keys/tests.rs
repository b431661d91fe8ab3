use std::cell::Cell;

use super::*;
use crate::config::sample;

fn tenant(name: &str, keys: Vec<AuthorizedKey>) -> Tenant {
    Tenant { authorized_keys: keys, ..Tenant::new(name.parse().unwrap(), sample::jail()) }
}

fn key(blob: &[u8], options: KeyOptions) -> AuthorizedKey {
    AuthorizedKey { blob: blob.to_vec(), comment: String::new(), options, role: KeyRole::User }
}

fn proved(tenant: &Tenant, user: &str, blob: &[u8], in_file: &[AuthorizedKey]) -> Result<KeyOptions, Refused> {
    let claim = Claim { user, key: blob, peer: "192.0.2.1".parse().unwrap(), now: 1000 };
    let find = |name: &TenantName| Ok((*name == tenant.name).then(|| tenant.clone()));
    let asked = Cell::new(0);
    let lines = |source, tenant: Option<&Tenant>, _: &Claim<'_>| {
        asked.set(asked.get() + 1);
        let has = source == Source::File && tenant.is_some_and(|tenant| tenant.authorized_keys_file.is_some());
        if has { in_file.to_vec() } else { Vec::new() }
    };
    let options = |judged: Result<(Identity, Tenant), Refused>| {
        let (identity, _) = judged?;
        let Proof::Key { options, .. } = identity.proof() else { panic!("proved by a key") };
        Ok(options.clone())
    };
    let judged = options(prove(&claim, &find, &lines, false));
    asked.set(0);
    assert_eq!(options(prove(&claim, &find, &lines, true)), judged);
    assert_eq!(asked.get(), Source::ALL.len(), "whatever was found");
    judged
}

#[test]
fn only_a_key_of_the_tenants_own_lets_in() {
    let alice = tenant("alice", vec![key(b"k1", KeyOptions::default())]);
    assert!(proved(&alice, "alice", b"k1", &[]).is_ok());
    for wrong in [&b"k2"[..], b"", b"k", b"k11", &[0, 0]] {
        assert_eq!(proved(&alice, "alice", wrong, &[]), Err(Refused::Key));
    }
    assert_eq!(proved(&alice, "bob", b"k1", &[]), Err(Refused::Unknown));
    assert_eq!(proved(&alice, "bob", &[0, 0], &[]), Err(Refused::Unknown));
    assert_eq!(proved(&alice, "Alice\n", b"k1", &[]), Err(Refused::Name(NameError::Start)));
    let locked = Tenant { locked: true, ..alice };
    assert_eq!(proved(&locked, "alice", b"k1", &[]), Err(Refused::Locked));
}

#[test]
fn options_are_honoured() {
    let from = KeyOptions { from: Some("10.0.0.0/8".into()), ..KeyOptions::default() };
    let bad = KeyOptions { from: Some("10.0.0.1/8".into()), ..KeyOptions::default() };
    let old = KeyOptions { expiry: Some(1000), ..KeyOptions::default() };
    let fresh = KeyOptions { expiry: Some(1001), ..KeyOptions::default() };
    let alice = tenant("alice", vec![key(b"f", from), key(b"b", bad), key(b"o", old), key(b"n", fresh)]);
    assert_eq!(proved(&alice, "alice", b"f", &[]), Err(Refused::From));
    assert_eq!(proved(&alice, "alice", b"b", &[]), Err(Refused::BadFrom(BadPattern::HostBits)));
    assert_eq!(proved(&alice, "alice", b"o", &[]), Err(Refused::Expired));
    assert!(proved(&alice, "alice", b"n", &[]).is_ok());
}

#[test]
fn a_later_line_or_the_file_may_let_in_what_an_earlier_line_does_not() {
    let from = KeyOptions { from: Some("10.0.0.0/8".into()), ..KeyOptions::default() };
    let forced = KeyOptions { command: Some("x".into()), ..KeyOptions::default() };
    let mut alice = tenant("alice", vec![key(b"k", from.clone()), key(b"k", forced.clone())]);
    assert_eq!(proved(&alice, "alice", b"k", &[]), Ok(forced.clone()));
    alice.authorized_keys.truncate(1);
    assert_eq!(proved(&alice, "alice", b"k", &[key(b"k", forced.clone())]), Err(Refused::From));
    alice.authorized_keys_file = Some("/etc/keys".into());
    assert_eq!(proved(&alice, "alice", b"k", &[key(b"k", forced.clone())]), Ok(forced));
    assert_eq!(proved(&alice, "alice", b"k", &[]), Err(Refused::From));
}
