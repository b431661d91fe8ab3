//! What sshd says about one connection: the settings that hold (`-T`), and which lines it took them from
//! (`-ddd`). Pure.

use std::path::{Path, PathBuf};

/// How sshd calls its main config when it goes through it for the second time, for what `Match` says.
const AGAIN: &str = "reprocess config";

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    settings: Vec<(String, String)>,
    lines: Vec<Line>,
    /// What the config's `Match` lines ask for.
    pub(super) matches: Vec<String>,
    /// Files that were read.
    pub(super) files: Vec<PathBuf>,
}

/// A line that holds for this connection.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    place: Place,
    keyword: String,
    value: String,
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    pub(super) number: usize,
    /// Whether it stands in a `Match` block.
    pub(super) matched: bool,
}

impl Answer {
    /// Of what `sshd -T -ddd` printed about the config `file`.
    pub(super) fn read(stdout: &str, stderr: &str, file: &Path) -> Self {
        let settings = stdout.lines().filter_map(|line| line.trim_end().split_once(' '));
        let settings = settings.map(|(keyword, value)| (keyword.to_ascii_lowercase(), value.to_owned())).collect();
        let mut answer = Self { settings, files: vec![file.to_owned()], ..Self::default() };
        let mut again = false;
        for line in stderr.lines().map(str::trim_end) {
            again |= line.contains(AGAIN);
            if let Some((_, name)) = line.split_once("load_server_config: filename ") {
                answer.files.push(name.into());
            } else if let Some(asked) = matching(line) {
                answer.matches.push(asked.to_owned());
            } else {
                answer.lines.extend(setting(line, file, again));
            }
        }
        answer.files.sort();
        answer.files.dedup();
        answer
    }

    /// The value of `keyword`, in small letters as sshd prints it; empty if it knows no such thing.
    pub(super) fn value(&self, keyword: &str) -> &str {
        self.values(keyword).next().unwrap_or_default()
    }

    /// All values of a keyword that adds up.
    pub(super) fn values<'a>(&'a self, keyword: &str) -> impl Iterator<Item = &'a str> {
        self.settings.iter().filter(move |(known, _)| known == keyword).map(|(_, value)| value.as_str())
    }

    /// The first line of `keyword` that holds, of those that `says` fits. What a `Match` block says takes the
    /// place of all that stands outside of them (sshd_config(5)).
    pub(super) fn place(&self, keyword: &str, says: impl Fn(&str) -> bool) -> Option<&Place> {
        let all = || self.lines.iter().filter(|line| line.keyword == keyword);
        let matched = all().any(|line| line.place.matched);
        all().find(|line| line.place.matched == matched && says(&line.value)).map(|line| &line.place)
    }
}

/// `debug3: checking syntax for 'Match User alice'`; newer versions have ` on line 7` behind it.
fn matching(line: &str) -> Option<&str> {
    let (_, asked) = line.split_once("checking syntax for 'Match ")?;
    asked.rsplit_once('\'').map(|(asked, _line)| asked)
}

/// `debug3: /etc/ssh/sshd_config:12 setting PermitTunnel no`.
fn setting(line: &str, file: &Path, again: bool) -> Option<Line> {
    let (at, rest) = line.strip_prefix("debug3: ")?.split_once(" setting ")?;
    let (name, number) = at.rsplit_once(':')?;
    let (keyword, value) = rest.split_once(' ').unwrap_or((rest, ""));
    let name = if name == AGAIN { file.to_owned() } else { name.into() };
    let place = Place { file: name, number: number.parse().ok()?, matched: again };
    Some(Line { place, keyword: keyword.to_ascii_lowercase(), value: value.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STDOUT: &str = "x11forwarding no\nacceptenv TERM\nacceptenv COLORTERM\nbanner none\n";
    const STDERR: &str = "debug2: load_server_config: filename /etc/ssh/sshd_config\r\n\
        debug2: /etc/ssh/sshd_config line 2: including /etc/ssh/d/a.conf\r\n\
        debug2: load_server_config: filename /etc/ssh/d/a.conf\r\n\
        debug3: /etc/ssh/d/a.conf:1 setting PermitTunnel ethernet\r\n\
        debug3: /etc/ssh/sshd_config:3 setting X11Forwarding yes\r\n\
        debug3: /etc/ssh/sshd_config:4 setting AcceptEnv LANG LC_*\r\n\
        debug3: checking syntax for 'Match User mail'\r\n\
        debug3: checking syntax for 'Match Host it's' on line 7\r\n\
        debug2: parse_server_config_depth: config reprocess config len 289\r\n\
        debug3: checking match for 'User mail' user mail host h addr 10.0.0.1 laddr (null) lport 0\r\n\
        debug3: match found\r\n\
        debug3: reprocess config:8 setting X11Forwarding no\r\n\
        debug3: reprocess config:9 setting AcceptEnv TERM COLORTERM\r\n";

    #[test]
    fn settings_and_the_lines_that_they_come_from_are_told() {
        let file = Path::new("/etc/ssh/sshd_config");
        let answer = Answer::read(STDOUT, STDERR, file);
        assert_eq!(answer.value("x11forwarding"), "no");
        assert_eq!(answer.value("nosuchthing"), "");
        assert_eq!(answer.values("acceptenv").collect::<Vec<_>>(), ["TERM", "COLORTERM"]);
        let at = |keyword: &str, word: &str| {
            let place = answer.place(keyword, |value| value.contains(word))?;
            Some((place.file.to_str().unwrap(), place.number, place.matched))
        };
        assert_eq!(at("x11forwarding", ""), Some(("/etc/ssh/sshd_config", 8, true)));
        assert_eq!(at("acceptenv", "COLORTERM"), Some(("/etc/ssh/sshd_config", 9, true)));
        assert_eq!(at("acceptenv", "LC_"), None, "what a Match block says replaces it");
        assert_eq!(at("permittunnel", ""), Some(("/etc/ssh/d/a.conf", 1, false)));
        assert_eq!(at("banner", ""), None);
        assert_eq!(answer.matches, ["User mail", "Host it's"]);
        assert_eq!(answer.files, [Path::new("/etc/ssh/d/a.conf"), file]);
    }

    #[test]
    fn what_is_no_answer_is_an_empty_one() {
        let noise = "debug3: x setting\ndebug3: x:y setting A b\ndebug3: :1 setting\nchecking syntax for 'Match \n";
        let answer = Answer::read("word\n \n", noise, Path::new("/c"));
        assert!(answer.lines.is_empty() && answer.matches.is_empty() && answer.value("word").is_empty());
    }
}
