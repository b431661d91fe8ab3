//! The fields of a certificate as far as they must be known before a library decodes it.

/// Reads SSH's data types (RFC 4251, 5) from the front of bytes.
#[derive(Debug)]
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length: [u8; 4] = self.take(4)?.try_into().ok()?;
        self.take(usize::try_from(u32::from_be_bytes(length)).ok()?)
    }
}

/// The authority's key in the certificate `blob`. `None`: that is no certificate of a kind that is
/// taken, has bytes at its end, or its authority's key is a certificate in turn.
pub(super) fn authority_in(blob: &[u8]) -> Option<&[u8]> {
    let mut fields = Fields(blob);
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
    let kind_of_authority = Fields(authority).string()?;
    let nested = kind_of_authority.windows(6).any(|part| part == b"-cert-");
    (fields.0.is_empty() && !nested).then_some(authority)
}
