//! OpenSSH's patterns (ssh_config(5), PATTERNS).

/// Whether `pattern`, with `*` for any run and `?` for any one byte, covers all of `text`.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.as_bytes(), text.as_bytes());
    // Where to go on if what follows the latest star did not fit: only that star can help.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.split_first(), text.split_first()) {
            (Some((b'*', rest)), _) => {
                retry = Some((rest, text));
                pattern = rest;
            }
            (Some((p, pattern_rest)), Some((t, text_rest))) if *p == b'?' || p == t => {
                (pattern, text) = (pattern_rest, text_rest);
            }
            (None, None) => return true,
            (Some(_) | None, _) => match retry {
                Some((after_star, [_, shorter @ ..])) => {
                    retry = Some((after_star, shorter));
                    (pattern, text) = (after_star, shorter);
                }
                Some((_, [])) | None => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_ssh_config() {
        for (pattern, text) in
            [("*", ""), ("LC_*", "LC_ALL"), ("?", "a"), ("a*b*c", "aXbYbZc"), ("**", "x"), ("", ""), ("a*", "a")]
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("LC_*", "LANG"), ("?", ""), ("a*b", "aXbY"), ("", "x"), ("LC_?", "LC_")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        assert!(!matches(&"*a".repeat(500), &"a".repeat(499)));
    }
}
