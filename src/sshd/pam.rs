//! pam_env(8), which takes variables from a file of the account's own where its service says so, as Debian's
//! for sshd does: sshd passes them on to what it runs, `LD_PRELOAD` among them.

use std::path::Path;

use super::leak::{Found, WHO, Where};
use crate::sys::file::read_capped;

/// Services, and what they include.
const DIRECTORY: &str = "/etc/pam.d";

/// The service of Debian's sshd, which no line of its config names.
const SERVICE: &str = "sshd";

/// Longest service file, and how deep they may include each other.
const MAX_FILE: usize = 64 << 10;
const MAX_DEPTH: u32 = 4;

/// The file of the home that is read.
pub(super) const OWN: &str = ".pam_environment";

/// What leads around the cells of those who can write [`OWN`] and come by sshd with `UsePAM yes`.
pub(super) fn own_variables() -> Option<Found> {
    let service = Path::new(DIRECTORY).join(SERVICE);
    reads_own(Path::new(DIRECTORY), SERVICE, MAX_DEPTH).then(|| Found {
        what: format!("pam_env lets {WHO} set LD_PRELOAD by ~/{OWN}, for what sshd runs on this host"),
        hint: "write `user_readenv=0` there, or make the home one that the account cannot write to".into(),
        place: Where::File(service),
    })
}

/// Whether `service` has a line by which pam_env reads the user's file; what cannot be read has none for PAM
/// either.
fn reads_own(directory: &Path, service: &str, depth: u32) -> bool {
    let Ok(bytes) = read_capped(&directory.join(service), MAX_FILE) else { return false };
    String::from_utf8_lossy(&bytes).lines().any(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["@include", other] | [_, "include" | "substack", other] => {
                depth > 0 && reads_own(directory, other, depth - 1)
            }
            words => words.iter().any(|word| word.contains("pam_env.so")) && words.contains(&"user_readenv=1"),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_service_that_reads_the_users_variables_is_told_also_by_what_it_includes() {
        let directory = std::env::temp_dir().join(format!("cellblock-pam-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        for (name, text) in [
            ("debian", "session required pam_env.so user_readenv=1 envfile=/etc/default/locale\n"),
            ("outer", "@include common\n"),
            ("common", "auth include debian\n"),
            ("closed", "# pam_env.so user_readenv=1\nsession required pam_env.so user_readenv=0\n@include closed\n"),
        ] {
            fs::write(directory.join(name), text).unwrap();
        }
        let reads = |service: &str| reads_own(&directory, service, MAX_DEPTH);
        assert!(reads("debian") && reads("outer") && !reads("closed") && !reads("none"));
        fs::remove_dir_all(&directory).unwrap();
    }
}
