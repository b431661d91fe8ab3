//! The host's private keys: read when the config is, and made at the first start.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use ssh_key::{
    LineEnding, PrivateKey,
    private::{Ed25519Keypair, KeypairData},
};
use tracing::info;

use crate::base::{Failure, Result, Secret, fail};
use crate::config::settings::Server;
use crate::sys::file::{Crash, Links, read_trusted, write_atomic};
use crate::sys::random;

/// Longest key file; an RSA key of 16,384 bits has 13 KiB.
const MAX_KEY: usize = 64 << 10;
/// Shortest RSA modulus that NIST counts as 128 bits strong.
const MIN_RSA_BITS: u32 = 3072;

const LOADING: &str = "loading the host key";

/// The private keys that `server` names, in OpenSSH's text form; a missing ed25519 key is made.
pub(super) fn load(server: &Server) -> Result<Vec<Secret>> {
    if server.host_keys.is_empty() {
        return Err(fail(LOADING, "", "none is named").hint("set `host_keys` in [server]"));
    }
    server.host_keys.iter().map(|path| load_one(path)).collect()
}

fn load_one(path: &Path) -> Result<Secret> {
    let text = match read_trusted(path, Links::Follow, MAX_KEY) {
        Ok(text) => Secret::new(text),
        Err(why) if why.is_missing() && names_ed25519(path) => return make(path),
        Err(why) => {
            let failure = fail(LOADING, path.display(), &why);
            return Err(match why.hint() {
                Some(hint) => failure.hint(hint),
                None if why.is_missing() => failure.hint(format!("ssh-keygen -t ed25519 -N '' -f {}", path.display())),
                None => failure,
            });
        }
    };
    let meta = fs::metadata(path).map_err(|cause| fail(LOADING, path.display(), cause))?;
    if meta.mode() & 0o077 != 0 {
        let cause = format!("others than root can read it (mode {:04o})", meta.mode() & 0o7777);
        return Err(fail(LOADING, path.display(), cause).hint(format!("chmod 600 {}", path.display())));
    }
    check(path, text.expose())?;
    Ok(text)
}

fn check(path: &Path, text: &[u8]) -> Result<()> {
    let key = PrivateKey::from_openssh(text).map_err(|cause| {
        fail(LOADING, path.display(), cause).hint(format!("convert it: ssh-keygen -p -N '' -f {}", path.display()))
    })?;
    let unsafe_key = |cause: &str| -> Failure {
        fail(LOADING, path.display(), cause).hint(format!("ssh-keygen -t ed25519 -N '' -f {}", path.display()))
    };
    if key.is_encrypted() {
        return Err(fail(LOADING, path.display(), "it has a passphrase")
            .hint(format!("ssh-keygen -p -N '' -f {}", path.display())));
    }
    if key.algorithm().is_dsa() {
        return Err(unsafe_key("DSA keys are not safe"));
    }
    if key.key_data().rsa().is_some_and(|rsa| rsa.key_size() < MIN_RSA_BITS) {
        return Err(unsafe_key("an RSA key of less than 3072 bits is not safe"));
    }
    Ok(())
}

fn names_ed25519(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains("ed25519"))
}

fn make(path: &Path) -> Result<Secret> {
    info!("making the host key {}", path.display());
    make_ed25519(path, "")
}

/// Makes an ed25519 key pair at `path` (0600) and `path.pub`, in OpenSSH's text forms; the private one.
pub fn make_ed25519(path: &Path, comment: &str) -> Result<Secret> {
    let failed = |cause: &dyn std::fmt::Display| fail("making the key", path.display(), cause);
    let seed = random::bytes().map_err(|errno| failed(&errno))?;
    let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
    let key = PrivateKey::new(pair, comment).map_err(|cause| failed(&cause))?;
    let private = key.to_openssh(LineEnding::LF).map_err(|cause| failed(&cause))?;
    let public = key.public_key().to_openssh().map_err(|cause| failed(&cause))?;
    write_atomic(path, private.as_bytes(), 0o600, Crash::Keeps).map_err(|why| failed(&why))?;
    let mut public_path = path.as_os_str().to_owned();
    public_path.push(".pub");
    write_atomic(Path::new(&public_path), format!("{public}\n").as_bytes(), 0o644, Crash::Keeps)
        .map_err(|why| failed(&why))?;
    Ok(Secret::new(private.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_missing_key_is_made_and_read_back_and_an_open_one_refused() {
        let dir = Path::new("/root").join(format!(".cellblock-keys-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let path = dir.join("ssh_host_ed25519_key");
        let made = load_one(&path).unwrap();
        assert_eq!(load_one(&path).unwrap().expose(), made.expose());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(fs::read(dir.join("ssh_host_ed25519_key.pub")).unwrap().starts_with(b"ssh-ed25519 "));

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(load_one(&path).unwrap_err().to_string().contains("chmod 600"));
        assert!(load_one(&dir.join("ssh_host_rsa_key")).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
