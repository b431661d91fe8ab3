//! What we agree to speak: algorithms, methods, limits of the SSH library.

use std::{borrow::Cow, sync::Arc, time::Duration};

use cellblock::wire::login::{Method, Setup};
use russh::{
    Limits, MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex,
    keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey},
    mac,
    server::Config,
};

use super::{end::End, flow};

/// Every refused try takes this long, whatever refused it: longer than the monitor takes to look,
/// shorter than a person minds when the third of their keys is the right one.
const REFUSAL: Duration = Duration::from_millis(100);

/// With more bytes under one key the counters of AES-GCM and ChaCha20-Poly1305 come near their end
/// (RFC 4344, 3.1; `Limits::new` of the library).
const MOST_REKEY: usize = 1 << 30;

const ID: &str = concat!("SSH-2.0-cellblock_", env!("CARGO_PKG_VERSION"));

/// Without the strict-kex name here, the defence against CVE-2023-48795 (Terrapin) is off.
const KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];

/// OpenSSH's list; the client's order decides. Counter mode is there for clients that know none of the
/// others: paramiko before 3.5 and what is built on it, libssh2 before 1.11.
const CIPHERS: &[cipher::Name] = &[
    cipher::CHACHA20_POLY1305,
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::AES_128_CTR,
    cipher::AES_192_CTR,
    cipher::AES_256_CTR,
];

/// For counter mode, over the ciphertext: what is not authentic is never decrypted.
const MACS: &[mac::Name] = &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM];

/// With what OpenSSH offers by default as well, where the admin says so: a packet's length is believed
/// before anything shows that the client sent it.
const MACS_OF_OLD_CLIENTS: &[mac::Name] =
    &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM, mac::HMAC_SHA256, mac::HMAC_SHA512];

/// `zlib@openssh.com` starts after the login: nothing is inflated for strangers.
const COMPRESSION: &[compression::Name] = &[compression::NONE, compression::ZLIB_LEGACY];

/// Host keys, and what users may sign with (`server-sig-algs`). Never with SHA-1.
const KEYS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::SkEd25519,
    Algorithm::SkEcdsaSha2NistP256,
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// Whether a user may sign with `algorithm`: the library checks signatures with any that it knows.
pub(crate) fn may_sign(algorithm: &Algorithm) -> bool {
    KEYS.contains(algorithm)
}

/// The library's word for a method.
pub(crate) const fn method(method: Method) -> MethodKind {
    match method {
        Method::PublicKey => MethodKind::PublicKey,
        Method::Password => MethodKind::Password,
        Method::KeyboardInteractive => MethodKind::KeyboardInteractive,
    }
}

/// The library's config for one connection.
pub(crate) fn config(setup: &Setup) -> Result<Arc<Config>, End> {
    let keys = setup.host_keys.iter().map(|key| PrivateKey::from_openssh(key.expose()));
    let keys = keys.collect::<Result<Vec<_>, _>>().map_err(|_undecodable| End::HostKey)?;
    if keys.is_empty() {
        return Err(End::HostKey);
    }
    let rekey_bytes = usize::try_from(setup.rekey_bytes).unwrap_or(MOST_REKEY).min(MOST_REKEY);
    let tries = usize::try_from(setup.max_auth_tries).unwrap_or(usize::MAX);
    Ok(Arc::new(Config {
        server_id: SshId::Standard(Cow::Borrowed(ID)),
        methods: MethodSet::from(&*setup.methods.iter().map(|way| method(*way)).collect::<Vec<_>>()),
        auth_rejection_time: REFUSAL,
        // The first `none` asks for the list of methods, and the answer is the same for everyone.
        auth_rejection_time_initial: Some(Duration::ZERO),
        // That first `none` counts here; in OpenSSH's MaxAuthTries it does not.
        max_auth_attempts: tries.saturating_add(1),
        keys,
        certificates: Vec::new(),
        limits: Limits {
            rekey_write_limit: rekey_bytes,
            rekey_read_limit: rekey_bytes,
            rekey_time_limit: setup.rekey_time,
        },
        window_size: flow::WINDOW,
        maximum_packet_size: 32 << 10,
        channel_buffer_size: 1,
        // Packets that are made at once: what they come from and what comes of it fit into a processor's cache.
        event_buffer_size: 8,
        preferred: Preferred {
            kex: Cow::Borrowed(KEX),
            key: Cow::Borrowed(KEYS),
            host_key_certificates: Cow::Borrowed(&[]),
            cipher: Cow::Borrowed(CIPHERS),
            mac: Cow::Borrowed(if setup.encrypt_and_mac { MACS_OF_OLD_CLIENTS } else { MACS }),
            compression: Cow::Borrowed(COMPRESSION),
        },
        // The library would end idle shells after ten minutes.
        inactivity_timeout: None,
        // Where none is set, TCP's own are used (`socket.rs`).
        keepalive_interval: setup.client_alive_interval,
        keepalive_max: usize::try_from(setup.client_alive_count_max).unwrap_or(usize::MAX),
        nodelay: true,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha1_signatures_are_not_taken() {
        assert!(!may_sign(&Algorithm::Rsa { hash: None }));
        assert!(may_sign(&Algorithm::Rsa { hash: Some(HashAlg::Sha256) }));
    }

    #[test]
    fn strict_key_exchange_is_offered() {
        assert!(KEX.contains(&kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER));
    }
}
