//! The one place where text from tenants or the network is made fit for a log or a terminal.

use std::fmt::Write as _;

/// Longest escaped text, in bytes: a log line stays readable whatever a peer sends.
const MAX_ESCAPED: usize = 1024;

/// `text` with everything but printable ASCII and unambiguous Unicode letters escaped, quotes and
/// backslash included; cut after 1 KiB with `…`.
#[must_use]
pub fn escape(text: &str) -> String {
    escape_to(MAX_ESCAPED, text)
}

/// As [`escape`], cut after `most` bytes.
#[must_use]
pub fn escape_to(most: usize, text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    for c in text.chars() {
        if out.len() >= most {
            out.push('…');
            break;
        }
        push(&mut out, c);
    }
    out
}

/// As [`escape`], for bytes that may not be UTF-8: what is not becomes `\xNN`.
#[must_use]
pub fn escape_bytes(bytes: &[u8]) -> String {
    escape_bytes_to(MAX_ESCAPED, bytes)
}

/// As [`escape_bytes`], cut after `most` bytes.
#[must_use]
pub fn escape_bytes_to(most: usize, bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().min(most));
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if out.len() >= most {
                out.push('…');
                return out;
            }
            push(&mut out, c);
        }
        for byte in chunk.invalid() {
            if out.len() >= most {
                out.push('…');
                return out;
            }
            push_byte(&mut out, *byte);
        }
    }
    out
}

fn push(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\\' => out.push_str("\\\\"),
        '"' => out.push_str("\\\""),
        ' '..='~' => out.push(c),
        // Letters and digits of any script cannot move a cursor or reorder a line; the rest of
        // Unicode holds bidi marks, zero-width and private-use characters.
        c if c.is_alphanumeric() => out.push(c),
        c if c.is_ascii() => push_byte(out, c as u8),
        c => {
            let written = write!(out, "\\u{{{:x}}}", u32::from(c));
            debug_assert!(written.is_ok(), "writing to a String cannot fail");
        }
    }
}

fn push_byte(out: &mut String, byte: u8) {
    let written = write!(out, "\\x{byte:02x}");
    debug_assert!(written.is_ok(), "writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_bidi_marks_never_come_through() {
        assert_eq!(escape("a\u{1b}]52;c\u{7}"), "a\\x1b]52;c\\x07");
        assert_eq!(escape("a\nb\"\\"), "a\\nb\\\"\\\\");
        assert_eq!(escape("ev\u{202e}il"), "ev\\u{202e}il");
        assert_eq!(escape("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(escape("müller"), "müller");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_shown_as_hex() {
        assert_eq!(escape_bytes_to(64, b"a\xff\xfe\n"), "a\\xff\\xfe\\n");
    }

    #[test]
    fn long_text_is_cut_and_marked() {
        assert!(escape(&"x".repeat(1 << 20)).len() < 1100);
        assert_eq!(escape_to(4, "abcd"), "abcd");
        assert_eq!(escape_to(4, "abcdef"), "abcd…");
        assert_eq!(escape_bytes_to(4, b"abcdef"), "abcd…");
        assert!(escape_bytes_to(64, &vec![0xff; 1 << 20]).len() < 80);
        assert!(escape_bytes_to(64, &vec![b'\n'; 1 << 20]).len() < 80);
    }
}
