//! A small SSH client that does what no honest client does: it sends any message at any time, in
//! the clear or encrypted (curve25519-sha256 or mlkem768x25519-sha256, aes128-gcm@openssh.com, ed25519).

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use aws_lc_rs::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral},
    digest::{SHA256, digest},
    kem::{Ciphertext, DecapsulationKey, ML_KEM_768},
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};

const BANNER: &str = "SSH-2.0-attacker";

/// The key exchange that [`Attacker::handshake`] does.
pub const CURVE: &str = "curve25519-sha256";
/// The one that no quantum computer undoes (draft-ietf-sshm-mlkem-hybrid-kex).
pub const HYBRID: &str = "mlkem768x25519-sha256";
/// Bytes of an ML-KEM-768 ciphertext (FIPS 203, table 3).
const CIPHERTEXT: usize = 1088;

/// An ed25519 key that the attacker can sign with.
pub struct Key(Ed25519KeyPair);

impl Key {
    pub fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    fn blob(&self) -> Vec<u8> {
        Message::start().text("ssh-ed25519").bytes(self.0.public_key().as_ref()).0
    }

    /// The line for `authorized_keys`.
    pub fn line(&self) -> String {
        format!("ssh-ed25519 {} attacker", STANDARD.encode(self.blob()))
    }
}

/// A message being written (RFC 4251, 5).
#[derive(Clone)]
pub struct Message(pub Vec<u8>);

impl Message {
    pub fn new(number: u8) -> Self {
        Self(vec![number])
    }

    /// A field that is written on its own, such as a key blob.
    pub fn start() -> Self {
        Self(Vec::new())
    }

    pub fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    pub fn number(mut self, number: u32) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend((bytes.len() as u32).to_be_bytes());
        self.0.extend(bytes);
        self
    }

    pub fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    /// Bytes without their length.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub fn mpint(self, bytes: &[u8]) -> Self {
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        let mut number = bytes[zeros..].to_vec();
        if number.first().is_some_and(|byte| byte & 0x80 != 0) {
            number.insert(0, 0);
        }
        self.bytes(&number)
    }

    /// `SSH_MSG_CHANNEL_OPEN` of a session.
    pub fn open_session(channel: u32, window: u32, max_packet: u32) -> Self {
        Self::new(90).text("session").number(channel).number(window).number(max_packet)
    }

    /// A `SSH_MSG_CHANNEL_REQUEST`; its own fields follow.
    pub fn request(channel: u32, kind: &str, reply: bool) -> Self {
        Self::new(98).number(channel).text(kind).byte(u8::from(reply))
    }
}

struct Direction {
    key: LessSafeKey,
    iv: [u8; 12],
}

impl Direction {
    fn nonce(&mut self) -> Nonce {
        let nonce = self.iv;
        let counter = u64::from_be_bytes(nonce[4..].try_into().unwrap()).wrapping_add(1);
        self.iv[4..].copy_from_slice(&counter.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }
}

/// The server said nothing in time, and did not hang up.
pub fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// A connection, at whatever point of the protocol the attacker left it.
pub struct Attacker {
    pub stream: TcpStream,
    server_banner: String,
    pub server_kexinit: Vec<u8>,
    kexinit: Vec<u8>,
    session_id: Vec<u8>,
    sealed: Option<(Direction, Direction)>,
}

impl Attacker {
    /// A TCP connection; nothing sent yet.
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        Self {
            stream,
            server_banner: String::new(),
            server_kexinit: Vec::new(),
            kexinit: Vec::new(),
            session_id: Vec::new(),
            sealed: None,
        }
    }

    /// Banners are exchanged and the server's KEXINIT is read.
    pub fn greet(port: u16) -> Self {
        let mut attacker = Self::connect(port);
        attacker.stream.write_all(format!("{BANNER}\r\n").as_bytes()).unwrap();
        loop {
            let mut line = Vec::new();
            while line.last() != Some(&b'\n') {
                let mut byte = [0];
                attacker.stream.read_exact(&mut byte).unwrap();
                line.push(byte[0]);
            }
            let line = String::from_utf8(line).unwrap().trim_end().to_owned();
            if line.starts_with("SSH-") {
                attacker.server_banner = line;
                break;
            }
        }
        attacker.server_kexinit = attacker.receive().unwrap();
        attacker
    }

    /// KEXINIT, key exchange and NEWKEYS are done: every further message is encrypted.
    pub fn handshake(port: u16) -> Self {
        let mut attacker = Self::greet(port);
        attacker.send_kexinit();
        attacker.exchange_keys();
        attacker
    }

    /// As [`Attacker::handshake`], by [`HYBRID`].
    pub fn hybrid_handshake(port: u16) -> Self {
        let mut attacker = Self::greet(port);
        attacker.send_kexinit_for(HYBRID);
        attacker.exchange_hybrid_keys();
        attacker
    }

    /// Keys of counter mode are agreed on, with a MAC over the ciphertext. This attacker has no such
    /// cipher: what it sends from here on, straight to the stream, is not authentic.
    pub fn counter_mode_handshake(port: u16) -> Self {
        Self::handshake_with(port, "aes128-ctr", "hmac-sha2-256-etm@openssh.com", "none")
    }

    /// As [`Attacker::handshake`], with another cipher, MAC and compression.
    pub fn handshake_with(port: u16, cipher: &str, mac: &str, compression: &str) -> Self {
        let mut attacker = Self::greet(port);
        attacker.send_kexinit_with(CURVE, cipher, mac, compression);
        attacker.exchange_keys();
        attacker
    }

    /// Handshake, and logged in with `key`.
    pub fn login(port: u16, user: &str, key: &Key) -> Self {
        let mut attacker = Self::handshake(port);
        attacker.log_in(user, key);
        attacker
    }

    /// Logs in with `key`, after a handshake.
    pub fn log_in(&mut self, user: &str, key: &Key) {
        self.ask_for_userauth();
        self.send(&self.signed(user, key, key));
        assert_eq!(self.next(&[52, 51]).unwrap()[0], 52, "the login of {user} should succeed");
    }

    pub fn send_kexinit(&mut self) {
        self.send_kexinit_for(CURVE);
    }

    /// A KEXINIT that knows one key exchange.
    pub fn send_kexinit_for(&mut self, exchange: &str) {
        self.send_kexinit_with(exchange, "aes128-gcm@openssh.com", "hmac-sha2-256", "none");
    }

    /// A KEXINIT that knows one of each. What the server sends is never compressed.
    pub fn send_kexinit_with(&mut self, exchange: &str, cipher: &str, mac: &str, compression: &str) {
        let mut message = Message::new(20).raw(&[7; 16]);
        let exchange = format!("{exchange},kex-strict-c-v00@openssh.com");
        for list in [&exchange, "ssh-ed25519", cipher, cipher, mac, mac, compression, "none", "", ""] {
            message = message.text(list);
        }
        let message = message.byte(0).number(0);
        self.kexinit = message.0.clone();
        self.send(&message);
    }

    /// The rest of the exchange that both KEXINITs began, by [`CURVE`].
    pub fn exchange_keys(&mut self) {
        let secret = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).unwrap();
        let own = secret.compute_public_key().unwrap().as_ref().to_vec();
        self.send(&Message::new(30).bytes(&own));
        let reply = self.next(&[31]).unwrap();
        let mut fields = Fields(&reply[1..]);
        let (host_key, theirs) = (fields.bytes(), fields.bytes());
        let shared = Message::start().mpint(&agreed(secret, theirs));
        self.take_keys(&own, host_key, theirs, &shared);
    }

    fn exchange_hybrid_keys(&mut self) {
        let secret = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).unwrap();
        let lattice = DecapsulationKey::generate(&ML_KEM_768).unwrap();
        let mut own = encapsulation_key(&lattice);
        own.extend(secret.compute_public_key().unwrap().as_ref());
        self.send(&Message::new(30).bytes(&own));
        let reply = self.next(&[31]).unwrap();
        let mut fields = Fields(&reply[1..]);
        let (host_key, theirs) = (fields.bytes(), fields.bytes());
        let (ciphertext, point) = theirs.split_at(CIPHERTEXT);
        let mut both = lattice.decapsulate(Ciphertext::from(ciphertext)).unwrap().as_ref().to_vec();
        both.extend(agreed(secret, point));
        let shared = Message::start().bytes(digest(&SHA256, &both).as_ref());
        self.take_keys(&own, host_key, theirs, &shared);
    }

    /// The keys that come of what was exchanged (RFC 4253, 7.2). `shared` is encoded.
    fn take_keys(&mut self, own: &[u8], host_key: &[u8], theirs: &[u8], shared: &Message) {
        let hashed = Message::start()
            .text(BANNER)
            .text(&self.server_banner)
            .bytes(&self.kexinit)
            .bytes(&self.server_kexinit)
            .bytes(host_key)
            .bytes(own)
            .bytes(theirs)
            .raw(&shared.0);
        let hash = digest(&SHA256, &hashed.0).as_ref().to_vec();
        if self.session_id.is_empty() {
            self.session_id.clone_from(&hash);
        }
        self.send(&Message::new(21));
        self.next(&[21]).unwrap();
        let derive = |letter: u8| {
            let mut text = shared.0.clone();
            text.extend(&hash);
            text.push(letter);
            text.extend(&self.session_id);
            digest(&SHA256, &text).as_ref().to_vec()
        };
        let direction = |iv: u8, key: u8| Direction {
            key: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &derive(key)[..16]).unwrap()),
            iv: derive(iv)[..12].try_into().unwrap(),
        };
        self.sealed = Some((direction(b'A', b'C'), direction(b'B', b'D')));
    }

    /// Asks for ssh-userauth and reads that it may.
    pub fn ask_for_userauth(&mut self) {
        self.send(&Message::new(5).text("ssh-userauth"));
        self.next(&[6]).unwrap();
    }

    /// A publickey request for `named`, signed by `signer`.
    pub fn signed(&self, user: &str, named: &Key, signer: &Key) -> Message {
        let fields = |message: Message| {
            message.text(user).text("ssh-connection").text("publickey").byte(1).text("ssh-ed25519").bytes(&named.blob())
        };
        let mut signed = fields(Message::start().bytes(&self.session_id).byte(50)).0;
        let signature = signer.0.sign(&signed);
        signed.clear();
        fields(Message::new(50)).bytes(&Message::start().text("ssh-ed25519").bytes(signature.as_ref()).0)
    }

    /// A publickey request without a signature: would this key do?
    pub fn offer(user: &str, key: &Key) -> Message {
        Message::new(50)
            .text(user)
            .text("ssh-connection")
            .text("publickey")
            .byte(0)
            .text("ssh-ed25519")
            .bytes(&key.blob())
    }

    /// A publickey request for the key `blob` of type `kind`, with what `sign` makes of what is to be signed.
    pub fn signed_by(&self, user: &str, kind: &str, blob: &[u8], sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Message {
        let fields = |message: Message| {
            message.text(user).text("ssh-connection").text("publickey").byte(1).text(kind).bytes(blob)
        };
        let signature = sign(&fields(Message::start().bytes(&self.session_id).byte(50)).0);
        fields(Message::new(50)).bytes(&signature)
    }

    /// As [`Attacker::signed`], for a certificate (in base64) of an ed25519 key.
    pub fn signed_with_certificate(&self, user: &str, certificate: &str, signer: &Key) -> Message {
        let fields = |message: Message| Self::certificate_fields(message, user, 1, certificate);
        let signature = signer.0.sign(&fields(Message::start().bytes(&self.session_id).byte(50)).0);
        fields(Message::new(50)).bytes(&Message::start().text("ssh-ed25519").bytes(signature.as_ref()).0)
    }

    /// As [`Attacker::offer`], for a certificate (in base64) of an ed25519 key.
    pub fn offer_certificate(user: &str, certificate: &str) -> Message {
        Self::certificate_fields(Message::new(50), user, 0, certificate)
    }

    fn certificate_fields(message: Message, user: &str, signed: u8, certificate: &str) -> Message {
        message
            .text(user)
            .text("ssh-connection")
            .text("publickey")
            .byte(signed)
            .text("ssh-ed25519-cert-v01@openssh.com")
            .bytes(&STANDARD.decode(certificate).unwrap())
    }

    /// Sends a message, encrypted once keys are there. That the server has gone is no failure.
    pub fn send(&mut self, message: &Message) {
        self.try_send(message).ok();
    }

    pub fn try_send(&mut self, message: &Message) -> io::Result<()> {
        let packet = self.packet(message);
        self.stream.write_all(&packet)
    }

    fn packet(&mut self, message: &Message) -> Vec<u8> {
        let payload = &message.0;
        let block = if self.sealed.is_some() { 16 } else { 8 };
        let outside = if self.sealed.is_some() { 0 } else { 4 };
        let mut padding = block - (outside + 1 + payload.len()) % block;
        if padding < 4 {
            padding += block;
        }
        let length = (1 + payload.len() + padding) as u32;
        let mut body = vec![padding as u8];
        body.extend(payload);
        body.resize(length as usize, 0);
        let mut packet = length.to_be_bytes().to_vec();
        if let Some((out, _)) = &mut self.sealed {
            let nonce = out.nonce();
            let tag = out.key.seal_in_place_separate_tag(nonce, Aad::from(length.to_be_bytes()), &mut body).unwrap();
            body.extend(tag.as_ref());
        }
        packet.extend(body);
        packet
    }

    /// The next message.
    pub fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let size = u32::from_be_bytes(length) as usize;
        assert!(size < 1 << 20, "the server sent a packet of {size} bytes");
        let tag = if self.sealed.is_some() { 16 } else { 0 };
        let mut body = vec![0; size + tag];
        self.stream.read_exact(&mut body)?;
        if let Some((_, input)) = &mut self.sealed {
            let nonce = input.nonce();
            input.key.open_in_place(nonce, Aad::from(length), &mut body).expect("a packet that decrypts");
            body.truncate(size);
        }
        let padding = body[0] as usize;
        Ok(body[1..size - padding].to_vec())
    }

    /// The next message with one of these numbers; others are passed over.
    pub fn next(&mut self, numbers: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            let message = self.receive()?;
            if message.first().is_some_and(|number| numbers.contains(number)) {
                return Ok(message);
            }
        }
    }

    /// Reads until the server hangs up; the numbers of the messages that came before.
    /// Fails the test if it stays silent for 20 seconds instead.
    pub fn hung_up(&mut self) -> Vec<u8> {
        let mut numbers = Vec::new();
        loop {
            match self.receive() {
                Ok(message) => numbers.push(message[0]),
                Err(error) if is_silence(&error) => panic!("the server did not hang up; it sent {numbers:?}"),
                Err(_) => return numbers,
            }
        }
    }

    /// Opens a session channel; the server's number for it.
    pub fn open(&mut self, channel: u32, max_packet: u32) -> Option<u32> {
        self.send(&Message::open_session(channel, 1 << 21, max_packet));
        let reply = self.next(&[91, 92]).ok()?;
        (reply[0] == 91).then(|| u32::from_be_bytes(reply[5..9].try_into().unwrap()))
    }

    /// Whether this connection still runs a command: the proof that it, or another, is well.
    pub fn exec(&mut self, line: &str) -> Option<String> {
        let channel = self.open(4242, 32768)?;
        self.send(&Message::request(channel, "exec", true).text(line));
        let mut out = Vec::new();
        loop {
            let message = self.receive().ok()?;
            // Other channels may be ending meanwhile.
            if message.get(1..5) != Some(&4242_u32.to_be_bytes()[..]) {
                continue;
            }
            match message[0] {
                94 => out.extend(&message[9..]),
                97 => return Some(String::from_utf8_lossy(&out).trim_end().to_owned()),
                100 => return None,
                _ => {}
            }
        }
    }
}

/// An ML-KEM-768 key for the server to encapsulate to.
pub fn encapsulation_key(secret: &DecapsulationKey) -> Vec<u8> {
    secret.encapsulation_key().unwrap().key_bytes().unwrap().as_ref().to_vec()
}

fn agreed(secret: EphemeralPrivateKey, theirs: &[u8]) -> Vec<u8> {
    agree_ephemeral(secret, UnparsedPublicKey::new(&X25519, theirs), "agree", |shared| Ok::<_, &str>(shared.to_vec()))
        .unwrap()
}

/// A message being read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self) -> &'a [u8] {
        let (length, rest) = self.0.split_at(4);
        let (bytes, rest) = rest.split_at(u32::from_be_bytes(length.try_into().unwrap()) as usize);
        self.0 = rest;
        bytes
    }
}
