use super::*;

const ARGON2ID: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// Made by crypt(3) of libxcrypt.
const YESCRYPT: &str = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$PmNgGTLMFjJn.URBv11CpTEm5RwlKtPjRtztKe6.b33";

#[test]
fn hashes_of_both_schemes_are_taken() {
    assert!(matches!(ARGON2ID.parse(), Ok(PasswordHash::Argon2id(_))));
    assert!(matches!(YESCRYPT.parse(), Ok(PasswordHash::Yescrypt(_))));
    for locked in ["!", "*", "!!", &format!("!{ARGON2ID}")] {
        assert_eq!(locked.parse(), Ok(PasswordHash::Locked), "{locked}");
    }
}

#[test]
fn what_is_no_hash_is_refused() {
    let cases = [
        ("", BadHash::Form),
        ("x", BadHash::Form),
        ("hunter2", BadHash::Form),
        ("$", BadHash::Scheme),
        ("$6$salt$abc", BadHash::Scheme),
        ("$argon2i$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", BadHash::Scheme),
        ("$argon2id$", BadHash::Malformed),
        ("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA", BadHash::Malformed),
        ("$argon2id$v=16$m=19456,t=2,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", BadHash::Malformed),
        ("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$AAAA", BadHash::Malformed),
        ("$y$", BadHash::Malformed),
        ("$y$j9T$$", BadHash::Malformed),
        ("$y$j9T$F5Jx5fExrKuPp53xLKQ..1$", BadHash::Malformed),
        ("$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7$x", BadHash::Malformed),
    ];
    for (text, why) in cases {
        assert_eq!(text.parse::<PasswordHash>(), Err(why), "{text}");
    }
}

#[test]
fn what_costs_too_much_is_refused() {
    for cost in ["m=4194304,t=1,p=1", "m=262145,t=1,p=1", "m=19456,t=60,p=1", "m=19456,t=2,p=17"] {
        let text = ARGON2ID.replace("m=19456,t=2,p=1", cost);
        assert_eq!(text.parse::<PasswordHash>(), Err(BadHash::TooDear), "{cost}");
    }
    // N = 2^18 and r = 32: 1 GiB.
    assert_eq!(YESCRYPT.replace("j9T", "jFT").parse::<PasswordHash>(), Err(BadHash::TooDear));
}

#[test]
fn a_hash_does_not_print() {
    let hash: PasswordHash = ARGON2ID.parse().unwrap();
    assert!(!format!("{hash:?}").contains("AAAA"));
}
