//! The fields of a certificate as far as they must be known before a library decodes it.

use crate::base::Fields;

/// The authority's key in the certificate `blob`. `None`: that is no certificate of a kind that is
/// taken, has bytes at its end, or its authority's key is a certificate in turn.
pub(super) fn authority_in(blob: &[u8]) -> Option<&[u8]> {
    let mut fields = Fields::new(blob);
    let kind = fields.string()?;
    let parts_of_key = match kind.strip_suffix(b"-cert-v01@openssh.com")? {
        b"ssh-ed25519" => 1,
        b"ssh-rsa" | b"ecdsa-sha2-nistp256" | b"ecdsa-sha2-nistp384" | b"ecdsa-sha2-nistp521" | b"sk-ssh-ed25519" => 2,
        b"sk-ecdsa-sha2-nistp256" => 3,
        _unknown => return None,
    };
    let (nonce, serial, kind, time) = (1, 8, 4, 8);
    for _part in 0..nonce + parts_of_key {
        fields.string()?;
    }
    fields.take(serial + kind)?;
    let [_key_id, _principals] = [fields.string()?, fields.string()?];
    fields.take(2 * time)?;
    let [_critical, _extensions, _reserved] = [fields.string()?, fields.string()?, fields.string()?];
    let authority = fields.string()?;
    fields.string()?;
    let kind_of_authority = Fields::new(authority).string()?;
    let nested = kind_of_authority.windows(6).any(|part| part == b"-cert-");
    (fields.is_empty() && !nested).then_some(authority)
}
