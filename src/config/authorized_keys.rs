//! OpenSSH's authorized_keys format (sshd(8)), read line by line.
//!
//! Runs in whatever process loads the config and in the monitor, over text that root wrote. An
//! option that is not honoured makes its line an error: a key with half of its restrictions is
//! worse than no key. Never resolves a name, opens a file or looks at a signature.

use std::{fmt, net::IpAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use ssh_key::public::{KeyData, PublicKey};

use super::permit::{List, Permit};
use super::settings::{AuthorizedKey, KeyOptions, KeyRole};
use crate::sys::zone;

/// Longest line: OpenSSH's own buffer, and an RSA key of 16,384 bits has 2,800 characters.
pub const MAX_LINE: usize = 8192;

/// Fewer bits have been factored or soon will be; OpenSSH's own default is 1024 only for its age.
const MIN_RSA_BITS: usize = 2048;

/// NIST's least for keys that are used beyond 2030: whoever factors an authority's key is everybody.
const MIN_RSA_AUTHORITY_BITS: usize = 3072;

/// More make every offered signature expensive to check; OpenSSH's own maximum.
const MAX_RSA_BITS: usize = 16_384;

/// Why a line's key is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLineError {
    message: String,
    hint: Option<&'static str>,
}

impl KeyLineError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        self.hint
    }
}

impl fmt::Display for KeyLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for KeyLineError {}

/// One line: a key, or nothing on a blank line or comment.
pub fn parse_line(line: &str) -> Result<Option<AuthorizedKey>, KeyLineError> {
    if line.len() > MAX_LINE {
        return Err(KeyLineError::new(format!("a key line has at most {MAX_LINE} bytes")));
    }
    if line.trim_end_matches(['\r', '\n']).contains(|c: char| c.is_control() && c != '\t') {
        return Err(KeyLineError::new("a key line holds no control characters"));
    }
    let line = line.trim_matches([' ', '\t', '\r', '\n']);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    // sshd's order: a line that starts with a known type has no options.
    let (Line { options, authority, principals }, key) = if is_key_type(first_word(line)) {
        (Line::default(), line)
    } else {
        let (options, key) = split_options(line)?;
        (parse_options(options)?, key)
    };
    let role = match (authority, principals) {
        (true, principals) => KeyRole::Authority { principals },
        (false, None) => KeyRole::User,
        (false, Some(_)) => {
            return Err(KeyLineError::new("option \"principals\" is for certificates, and this key is no authority")
                .hint("write it as in cert-authority,principals=\"alice\""));
        }
    };
    let (blob, comment) = parse_key(key, &role)?;
    Ok(Some(AuthorizedKey { blob, comment, options, role }))
}

/// What an admin should know of a key that can be used.
#[must_use]
pub fn remark(key: &AuthorizedKey) -> Option<(&'static str, &'static str)> {
    key.expects_touch().then_some((
        "that somebody touches a security key is not checked: what runs on their machine can use it alone",
        "add no-touch-required to the line if that will do",
    ))
}

/// One line of `trusted_user_ca_keys`: the key of an authority, without options.
pub fn parse_authority(line: &str) -> Result<Option<AuthorizedKey>, KeyLineError> {
    let Some(key) = parse_line(line)? else { return Ok(None) };
    if key.options != KeyOptions::default() || key.role != KeyRole::User {
        return Err(KeyLineError::new("the key of an authority has no options here")
            .hint("set `authorized_principals`, or put the line into `authorized_keys` with cert-authority"));
    }
    let role = KeyRole::Authority { principals: None };
    check_key(&key.blob, &role)?;
    Ok(Some(AuthorizedKey { role, ..key }))
}

/// Whether the key in `blob` is of a kind and size that may log in, or certify keys that do.
pub fn check_key(blob: &[u8], role: &KeyRole) -> Result<PublicKey, KeyLineError> {
    let key = PublicKey::from_bytes(blob).map_err(|_bad| KeyLineError::new("this is not a whole key"))?;
    check_kind(&key, role)?;
    Ok(key)
}

/// A whole file: the keys that can be used, and for each other line its number, from 1, and why not.
#[must_use]
pub fn parse_file(text: &str) -> (Vec<AuthorizedKey>, Vec<(usize, KeyLineError)>) {
    let (mut keys, mut errors) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        match parse_line(line) {
            Ok(Some(key)) => keys.push(key),
            Ok(None) => {}
            Err(error) => errors.push((number, error)),
        }
    }
    (keys, errors)
}

fn first_word(text: &str) -> &str {
    text.split([' ', '\t']).next().unwrap_or_default()
}

fn is_key_type(word: &str) -> bool {
    matches!(
        word,
        "ssh-ed25519" | "ssh-rsa" | "ssh-dss" | "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "ecdsa-sha2-nistp521"
    ) || matches!(word, "sk-ssh-ed25519@openssh.com" | "sk-ecdsa-sha2-nistp256@openssh.com")
        || word.contains("-cert-v0")
}

/// The blob and the comment of `TYPE BASE64 [COMMENT]`.
fn parse_key(text: &str, role: &KeyRole) -> Result<(Vec<u8>, String), KeyLineError> {
    let kind = first_word(text);
    refuse_kind(kind)?;
    let rest = text.strip_prefix(kind).unwrap_or_default().trim_start_matches([' ', '\t']);
    let encoded = first_word(rest);
    if encoded.is_empty() {
        return Err(KeyLineError::new(format!("nothing follows the key type \"{kind}\""))
            .hint("a line is `ssh-ed25519 AAAA… comment`, as ssh-keygen writes it to the .pub file"));
    }
    let comment = rest.strip_prefix(encoded).unwrap_or_default().trim_matches([' ', '\t']);
    let damaged = || {
        KeyLineError::new(format!("this is not a whole {kind} key"))
            .hint("copy the line again from the .pub file, without line breaks")
    };
    let blob = BASE64.decode(encoded).map_err(|_bad| damaged())?;
    let key = PublicKey::from_bytes(&blob).map_err(|_bad| damaged())?;
    if key.algorithm().as_str() != kind {
        return Err(KeyLineError::new(format!("the line says {kind}, the key in it is {}", key.algorithm().as_str())));
    }
    check_kind(&key, role)?;
    Ok((blob, comment.to_owned()))
}

fn check_kind(key: &PublicKey, role: &KeyRole) -> Result<(), KeyLineError> {
    // Whose algorithm would be that of the key in it.
    if let KeyData::Certificate(_) = key.key_data() {
        return Err(KeyLineError::new("a certificate is not a key").hint("give the key that the certificate is for"));
    }
    refuse_kind(key.algorithm().as_str())?;
    let (least, whose) = match role {
        KeyRole::User => (MIN_RSA_BITS, "an RSA key"),
        KeyRole::Authority { .. } => (MIN_RSA_AUTHORITY_BITS, "an authority's RSA key"),
    };
    if let KeyData::Rsa(rsa) = key.key_data() {
        let bits = rsa.n().as_positive_bytes().map_or(0, significant_bits);
        if bits < least {
            return Err(KeyLineError::new(format!(
                "{whose} of {bits} bits can be broken; at least {least} are needed"
            ))
            .hint("ssh-keygen -t ed25519"));
        }
        if bits > MAX_RSA_BITS {
            return Err(KeyLineError::new(format!("an RSA key has at most {MAX_RSA_BITS} bits")));
        }
    }
    Ok(())
}

fn refuse_kind(kind: &str) -> Result<(), KeyLineError> {
    if kind == "ssh-dss" {
        return Err(KeyLineError::new("DSA keys have 1024 bits and are no longer safe").hint("ssh-keygen -t ed25519"));
    }
    if kind.contains("-cert-v0") {
        return Err(KeyLineError::new("a certificate is not a key").hint("give the key that the certificate is for"));
    }
    if !is_key_type(kind) {
        return Err(KeyLineError::new(format!("\"{}\" is no key type", shorten(kind)))
            .hint("a line is `[OPTIONS] ssh-ed25519 AAAA… comment`"));
    }
    Ok(())
}

fn shorten(word: &str) -> String {
    word.chars().take(40).collect()
}

fn significant_bits(bytes: &[u8]) -> usize {
    let mut rest = bytes.iter().skip_while(|byte| **byte == 0);
    rest.next().map_or(0, |top| 8 - usize::try_from(top.leading_zeros()).unwrap_or(8) + 8 * rest.count())
}

/// The options, up to the first blank outside quotes, and what follows it.
fn split_options(line: &str) -> Result<(&str, &str), KeyLineError> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in line.char_indices() {
        match c {
            '"' if !escaped => quoted = !quoted,
            ' ' | '\t' if !quoted => {
                let (options, key) = line.split_at(at);
                return Ok((options, key.trim_start_matches([' ', '\t'])));
            }
            _ => {}
        }
        // As sshd has it: a backslash before a quote, even if it follows another backslash.
        escaped = c == '\\';
    }
    Err(if quoted {
        KeyLineError::new("a quote is opened and not closed")
    } else {
        KeyLineError::new("no key is on this line").hint("a line is `[OPTIONS] ssh-ed25519 AAAA… comment`")
    })
}

/// What precedes the key on a line.
#[derive(Debug, Default)]
struct Line {
    options: KeyOptions,
    authority: bool,
    principals: Option<Vec<String>>,
}

/// In the order given: what comes later wins, as in `restrict,pty`.
fn parse_options(mut text: &str) -> Result<Line, KeyLineError> {
    let mut line = Line::default();
    loop {
        let end = text.find(['=', ',']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let rest = if let Some(value) = rest.strip_prefix('=') {
            let (value, rest) = unquote(name, value)?;
            set_value(&mut line, name, value)?;
            rest
        } else {
            set_flag(&mut line, name)?;
            rest
        };
        if rest.is_empty() {
            return Ok(line);
        }
        text = rest
            .strip_prefix(',')
            .ok_or_else(|| KeyLineError::new(format!("a comma is missing after option \"{name}\"")))?;
    }
}

/// A quoted value, in which `\"` stands for a quote, and what follows it.
fn unquote<'a>(name: &str, text: &'a str) -> Result<(String, &'a str), KeyLineError> {
    let unquoted = || {
        KeyLineError::new(format!("the value of \"{}\" needs quotes", shorten(name)))
            .hint("write it as in command=\"/usr/bin/uptime\"")
    };
    let text = text.strip_prefix('"').ok_or_else(unquoted)?;
    let mut value = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if chars.next_if(|(_, next)| *next == '"').is_some() => value.push('"'),
            '"' => return Ok((value, text.get(at + 1..).unwrap_or_default())),
            c => value.push(c),
        }
    }
    Err(KeyLineError::new("a quote is opened and not closed"))
}

fn set_flag(line: &mut Line, name: &str) -> Result<(), KeyLineError> {
    let options = &mut line.options;
    match name.to_ascii_lowercase().as_str() {
        "restrict" => {
            options.no_pty = true;
            options.no_port_forwarding = true;
            options.no_agent_forwarding = true;
            options.no_x11_forwarding = true;
            options.no_user_rc = true;
        }
        "pty" => options.no_pty = false,
        "no-pty" => options.no_pty = true,
        "port-forwarding" => options.no_port_forwarding = false,
        "no-port-forwarding" => options.no_port_forwarding = true,
        "agent-forwarding" => options.no_agent_forwarding = false,
        "no-agent-forwarding" => options.no_agent_forwarding = true,
        "x11-forwarding" => options.no_x11_forwarding = false,
        "no-x11-forwarding" => options.no_x11_forwarding = true,
        "user-rc" => options.no_user_rc = false,
        "no-user-rc" => options.no_user_rc = true,
        "no-touch-required" => options.no_touch_required = true,
        "verify-required" => {
            return Err(KeyLineError::new(
                "option \"verify-required\" cannot be honoured: what a security key says of its user is not seen",
            )
            .hint("no key is better than one that is used without its PIN; docs/upstream.md has the reason"));
        }
        "cert-authority" => line.authority = true,
        known @ ("from" | "expiry-time" | "command" | "principals" | "permitopen" | "permitlisten") => {
            return Err(KeyLineError::new(format!("option \"{known}\" needs a value")));
        }
        other => return Err(not_honoured(other)),
    }
    Ok(())
}

fn set_value(line: &mut Line, name: &str, value: String) -> Result<(), KeyLineError> {
    let options = &mut line.options;
    let once = |given: bool| {
        if given { Err(KeyLineError::new(format!("option \"{name}\" is given twice"))) } else { Ok(()) }
    };
    match name.to_ascii_lowercase().as_str() {
        "from" => {
            once(options.from.is_some())?;
            check_from(&value)?;
            options.from = Some(value);
        }
        "command" => {
            once(options.command.is_some())?;
            options.command = Some(value);
        }
        "principals" => {
            once(line.principals.is_some())?;
            line.principals = Some(parse_principals(&value)?);
        }
        "expiry-time" => {
            let expiry = parse_expiry(&value)?;
            options.expiry = Some(options.expiry.map_or(expiry, |earlier| earlier.min(expiry)));
        }
        "permitopen" => add_permit(&mut options.permit_open, List::Open, &value)?,
        "permitlisten" => add_permit(&mut options.permit_listen, List::Listen, &value)?,
        other => return Err(not_honoured(other)),
    }
    Ok(())
}

fn not_honoured(name: &str) -> KeyLineError {
    match name {
        "environment" => KeyLineError::new("option \"environment\" is off: it could change how programs start")
            .hint("use `set_env` of the tenant"),
        "" => KeyLineError::new("an option is empty"),
        name => KeyLineError::new(format!("option \"{}\" is not honoured, so the key is not used", shorten(name)))
            .hint("from, expiry-time, command, permitopen, permitlisten, cert-authority, principals, restrict, pty and the no-… options are"),
    }
}

/// One more entry: each option of the name has one.
fn add_permit(permit: &mut Permit, list: List, text: &str) -> Result<(), KeyLineError> {
    let entry =
        list.entry(text).map_err(|why| KeyLineError::new(format!("\"{}\": {why}", shorten(text))).hint(list.form()))?;
    match permit {
        Permit::Any => *permit = Permit::Only(vec![entry]),
        Permit::Only(entries) => entries.push(entry),
    }
    Ok(())
}

/// The names of `principals=`, none of them empty.
fn parse_principals(value: &str) -> Result<Vec<String>, KeyLineError> {
    let names: Vec<String> = value.split(',').map(str::to_owned).collect();
    if names.iter().any(String::is_empty) {
        return Err(KeyLineError::new("a name in \"principals\" is empty"));
    }
    Ok(names)
}

/// Addresses, networks and patterns of addresses. A host name could only be matched by asking
/// whoever controls the address, and `!name` would then let in whom it should keep out.
fn check_from(value: &str) -> Result<(), KeyLineError> {
    for pattern in value.split(',') {
        let address = pattern.strip_prefix('!').unwrap_or(pattern);
        let good = match address.split_once('/') {
            Some((network, bits)) => {
                let most = match network.parse() {
                    Ok(IpAddr::V4(_)) => 32,
                    Ok(IpAddr::V6(_)) => 128,
                    Err(_not_an_address) => 0,
                };
                most > 0 && bits.bytes().all(|b| b.is_ascii_digit()) && bits.parse::<u8>().is_ok_and(|n| n <= most)
            }
            None => {
                let in_address = |b: u8| b.is_ascii_hexdigit() || matches!(b, b'.' | b':' | b'*' | b'?');
                !address.is_empty() && address.bytes().all(in_address)
            }
        };
        if !good {
            return Err(KeyLineError::new(format!(
                "\"{}\" is no address, network or pattern of either",
                shorten(pattern)
            ))
            .hint("host names are not looked up; write from=\"192.0.2.0/24,2001:db8::*\""));
        }
    }
    Ok(())
}

/// `YYYYMMDD[HHMM[SS]][Z]`, local time without `Z`: seconds since 1970.
fn parse_expiry(value: &str) -> Result<i64, KeyLineError> {
    let bad = || {
        KeyLineError::new(format!("\"{}\" is no expiry time", shorten(value)))
            .hint("write YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, with Z for UTC, as in expiry-time=\"20270131Z\"")
    };
    let (digits, zone) = match value.strip_suffix(['Z', 'z']) {
        Some(digits) => (digits, TimeZone::UTC),
        None => (value, zone::system().map_err(|_unknown| no_local_time())?),
    };
    if !matches!(digits.len(), 8 | 12 | 14) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let field = |from: usize, to: usize| digits.get(from..to).map_or(Ok(0), str::parse::<i8>).map_err(|_bad| bad());
    let year = digits.get(..4).and_then(|year| year.parse::<i16>().ok()).ok_or_else(bad)?;
    let at = DateTime::new(year, field(4, 6)?, field(6, 8)?, field(8, 10)?, field(10, 12)?, field(12, 14)?, 0)
        .map_err(|_range| bad())?;
    // In an hour that a clock change repeats or skips, the earlier reading: a key ends rather too soon.
    let ambiguous = zone.into_ambiguous_zoned(at);
    let at: Timestamp = ambiguous.earlier().map_err(|_range| bad())?.timestamp();
    Ok(at.as_second())
}

fn no_local_time() -> KeyLineError {
    KeyLineError::new("the local time zone is not known").hint("write the expiry time in UTC, with a Z at its end")
}

#[cfg(test)]
#[path = "authorized_keys_tests.rs"]
mod tests;
