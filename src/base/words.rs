//! A command line of words, for a shell.

/// These words as a command line that a shell takes apart into them again.
#[must_use]
pub fn command_line(words: &[Vec<u8>]) -> Vec<u8> {
    let mut line = Vec::new();
    for (number, word) in words.iter().enumerate() {
        if number > 0 {
            line.push(b' ');
        }
        // The first may be a word of the shell's own, or look like an assignment.
        if number > 0 && is_plain(word) {
            line.extend(word);
        } else {
            quote(word, &mut line);
        }
    }
    line
}

fn is_plain(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_@%+:,./-".contains(byte))
}

fn quote(word: &[u8], line: &mut Vec<u8>) {
    line.push(b'\'');
    for byte in word {
        match byte {
            b'\'' => line.extend(b"'\\''"),
            byte => line.push(*byte),
        }
    }
    line.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_the_words_they_are() {
        let line = |words: &[&str]| {
            let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
            String::from_utf8(command_line(&words)).unwrap()
        };
        assert_eq!(line(&["apt-get", "update"]), "'apt-get' update");
        assert_eq!(line(&["if"]), "'if'");
        assert_eq!(line(&["A=b", "x"]), "'A=b' x");
        assert_eq!(line(&["sh", "-c", "echo 'a  b' $HOME"]), "'sh' -c 'echo '\\''a  b'\\'' $HOME'");
        assert_eq!(line(&["printf", "", "~", "*", "a\nb"]), "'printf' '' '~' '*' 'a\nb'");
    }
}
