use ssh_key::{
    PrivateKey,
    certificate::Builder,
    private::{Ed25519Keypair, KeypairData},
};

use super::*;

fn key(seed: u8) -> PrivateKey {
    PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&[seed; 32])), "").unwrap()
}

/// Alice's certificate by authority 1, from 100 to 200, after `change`.
fn blob_with(change: impl FnOnce(&mut Builder)) -> Vec<u8> {
    let mut builder = Builder::new(vec![7; 16], key(2).public_key(), 100, 200).unwrap();
    builder.serial(5).unwrap().key_id("of\nalice").unwrap();
    change(&mut builder);
    builder.sign(&key(1)).unwrap().to_bytes().unwrap()
}

fn named(builder: &mut Builder, principal: &str) {
    builder.valid_principal(principal).unwrap();
}

fn blob() -> Vec<u8> {
    blob_with(|builder| named(builder, "alice"))
}

fn judge_at(blob: &[u8], now: i64) -> Result<Vouched, BadCertificate> {
    Offered::decode(blob)?.judge(&["alice".to_owned()], "192.0.2.1".parse().unwrap(), now)
}

fn judge(change: impl FnOnce(&mut Builder)) -> Result<Vouched, BadCertificate> {
    judge_at(&blob_with(change), 150)
}

fn option(name: &str, value: &str) -> Result<Vouched, BadCertificate> {
    judge(|builder| {
        builder.valid_principal("alice").unwrap().critical_option(name, value).unwrap();
    })
}

#[test]
fn what_is_said_of_a_good_one_is_whole_and_harmless() {
    let vouched = judge_at(&blob(), 150).unwrap();
    assert_eq!((vouched.key_id.as_str(), vouched.serial), ("of\\nalice", 5));
    assert_eq!(vouched.authority, key(1).public_key().fingerprint(HashAlg::Sha256).to_string());
    assert_eq!(vouched.fingerprint, key(2).public_key().fingerprint(HashAlg::Sha256).to_string());
    let options = vouched.options;
    assert!(options.no_pty && options.no_port_forwarding && options.no_agent_forwarding && options.no_user_rc);
    let permitted = judge(|builder| {
        builder.valid_principal("alice").unwrap().extension("permit-pty", "").unwrap();
    });
    let permitted = permitted.unwrap().options;
    assert!(!permitted.no_pty && permitted.no_port_forwarding);
}

#[test]
fn it_is_valid_from_its_first_second_to_before_its_last() {
    assert_eq!(judge_at(&blob(), 99), Err(BadCertificate::NotYet));
    assert!(judge_at(&blob(), 100).is_ok());
    assert!(judge_at(&blob(), 199).is_ok());
    assert_eq!(judge_at(&blob(), 200), Err(BadCertificate::Expired));
    assert_eq!(judge_at(&blob(), -1), Err(BadCertificate::NotYet));
}

/// CVE-2026-35414, and OpenSSH before 10.3
#[test]
fn principals_are_neither_lists_nor_left_out() {
    for name in ["alice,root", "root,alice", "alice ", "ALICE", "alice\0", "al*", ""] {
        let judged = judge(|builder| named(builder, name));
        assert_eq!(judged, Err(BadCertificate::Principals), "{name:?}");
    }
    let judged = judge(|builder| {
        builder.all_principals_valid().unwrap();
    });
    assert_eq!(judged, Err(BadCertificate::NoPrincipals));
    let judged = judge(|builder| (0..=MAX_PRINCIPALS).for_each(|n| named(builder, &format!("p{n}"))));
    assert_eq!(judged, Err(BadCertificate::ManyPrincipals));
}

#[test]
fn critical_options_are_honoured_or_refuse() {
    assert_eq!(option("force-command", "x").unwrap().options.command.as_deref(), Some("x"));
    assert_eq!(option("force-command", ""), Err(BadCertificate::Command));
    assert_eq!(option("force-command", "a\0b"), Err(BadCertificate::Command));
    assert!(option("source-address", "192.0.2.0/24").is_ok());
    assert_eq!(option("source-address", "192.0.3.0/24"), Err(BadCertificate::Source));
    assert_eq!(option("source-address", ""), Err(BadCertificate::BadSource(BadPattern::Address)));
    assert_eq!(option("source-address", "*"), Err(BadCertificate::BadSource(BadPattern::Address)));
    for name in ["verify-required", "Force-Command", "force-command ", "x@y"] {
        assert_eq!(option(name, ""), Err(BadCertificate::Option(name.into())));
    }
}

#[test]
fn no_byte_of_it_can_be_changed() {
    let good = blob();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(judge_at(&bad, 150).is_err(), "byte {at}");
    }
    for length in 0..good.len() {
        assert!(judge_at(&good[..length], 150).is_err(), "{length} bytes");
    }
    assert!(judge_at(&[good.as_slice(), &[0]].concat(), 150).is_err());
}

/// "cert whose CA key is itself a cert, 1000 deep → reject, no stack overflow"
#[test]
fn an_authority_that_is_a_certificate_is_refused_before_it_is_decoded() {
    let good = blob();
    let authority = authority_in(&good).unwrap().to_vec();
    let start = good.windows(authority.len()).position(|part| part == authority).unwrap();
    let nest = |inside: &[u8]| {
        let mut out = good[..start - 4].to_vec();
        out.extend(u32::try_from(inside.len()).unwrap().to_be_bytes());
        out.extend(inside);
        out.extend(&good[start + authority.len()..]);
        out
    };
    assert_eq!(nest(&authority), good);
    let mut deep = good.clone();
    for _ in 0..1000 {
        deep = nest(&deep);
        assert_eq!(Offered::decode(&deep).unwrap_err(), BadCertificate::Malformed);
    }
    // One that ssh-key would take as it is: an authority's name in capitals is none.
    let named = nest(b"\0\0\0\x07x-cert-y");
    assert_eq!(Offered::decode(&named).unwrap_err(), BadCertificate::Malformed);
}

#[test]
fn two_forced_commands_must_be_one_and_all_else_adds_up() {
    let forced = |command: &str| KeyOptions { command: Some(command.into()), ..KeyOptions::default() };
    assert_eq!(both(&forced("a"), &forced("b")), Err(BadCertificate::Commands));
    assert_eq!(both(&forced("a"), &forced("a")).unwrap().command.as_deref(), Some("a"));
    let line = KeyOptions { no_pty: true, expiry: Some(9), from: Some("::1".into()), ..KeyOptions::default() };
    let certificate = KeyOptions { no_user_rc: true, ..forced("b") };
    let merged = both(&line, &certificate).unwrap();
    assert_eq!(merged, KeyOptions { no_user_rc: true, command: Some("b".into()), ..line });
}

#[test]
fn decoding_survives_whatever_bytes() {
    let good = blob();
    let mut state = 0x9e37_79b9_u32;
    for _ in 0..20_000 {
        let mut bad = good.clone();
        for _ in 0..3 {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let at = state as usize % bad.len();
            bad[at] = (state >> 24) as u8;
        }
        judge_at(&bad, 150).ok();
    }
}
