//! `internal-sftp` as a forced command, which OpenSSH's users write in `authorized_keys` and
//! `ForceCommand` (sshd_config(5), sftp-server(8)).

/// Its options, as far as they are honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Options {
    /// `-R`.
    pub(super) read_only: bool,
    /// `-u`.
    pub(super) umask: Option<u32>,
}

/// The options of `command` if it is `internal-sftp`; `Some(None)`: it has others, with which nothing
/// runs.
pub(super) fn internal_sftp(command: &str) -> Option<Option<Options>> {
    let mut words = command.split_ascii_whitespace();
    (words.next() == Some("internal-sftp")).then(|| options(words))
}

fn options<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<Options> {
    let mut options = Options::default();
    while let Some(word) = words.next() {
        match word {
            "-R" => options.read_only = true,
            "-u" => {
                let mask = u32::from_str_radix(words.next()?, 8).ok()?;
                options.umask = Some(mask).filter(|mask| *mask <= 0o777);
                options.umask?;
            }
            _other => return None,
        }
    }
    Some(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_are_not_honoured_are_no_options() {
        let of = |read_only, umask| Some(Some(Options { read_only, umask }));
        assert_eq!(internal_sftp("internal-sftp"), of(false, None));
        assert_eq!(internal_sftp(" internal-sftp  -R -u 027"), of(true, Some(0o27)));
        for wrong in ["-d /x", "-P remove", "-u", "-u 9", "-u 1777", "x", "-R;sh"] {
            assert_eq!(internal_sftp(&format!("internal-sftp {wrong}")), Some(None), "{wrong}");
        }
        assert_eq!(
            (internal_sftp("internal-sftp-x"), internal_sftp("sh -c internal-sftp"), internal_sftp("")),
            (None, None, None)
        );
    }
}
