//! What a client can agree on with the server, or not, and what it then puts into its packets
//! (threats.md, 5.A).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test support code"
)]

use std::{process::Command, thread};

use support::{
    attacked::{MOST_KIB, door, memory, strangers_cost_little, unharmed},
    attacker::{Attacker, CURVE, Message},
    root, run_bounded,
};

/// What zlib makes of a message of `length` zeros after its number; the first of a stream.
fn deflated(number: u8, length: u32) -> Vec<u8> {
    let program = format!(
        "import sys,zlib\nc=zlib.compressobj(9)\nsys.stdout.buffer.write(c.compress(bytes([{number}])+bytes({length}))+c.flush(zlib.Z_SYNC_FLUSH))"
    );
    let mut command = Command::new("python3");
    command.args(["-c", &program]);
    let ran = run_bounded(command, b"");
    assert_eq!(ran.status, 0, "{}", ran.err);
    ran.out
}

/// GHSA-p8qx-h547-fjw9: "client offers only none → clean fail"; GHSA-cqvm-j2r2-hwpg: DH; Terrapin: "no
/// `-etm`+cbc"
#[test]
fn without_a_cipher_or_an_exchange_in_common_nothing_is_exchanged() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let gcm = "aes128-gcm@openssh.com";
    for (exchange, cipher, mac) in [
        (CURVE, "none", "none"),
        (CURVE, "aes128-ctr", "none"),
        (CURVE, "aes128-cbc", "hmac-sha2-256-etm@openssh.com"),
        (CURVE, "3des-cbc", "hmac-sha1"),
        (CURVE, "", ""),
        ("diffie-hellman-group1-sha1", gcm, "hmac-sha2-256"),
        ("diffie-hellman-group14-sha256", gcm, "hmac-sha2-256"),
        ("diffie-hellman-group-exchange-sha256", gcm, "hmac-sha2-256"),
        ("none", gcm, "none"),
        ("", gcm, "none"),
    ] {
        let mut client = Attacker::greet(door.port);
        client.send_kexinit_with(exchange, cipher, mac, "none");
        // As e, g^0 and p-1 would come: the number 1, and one of 2048 bits.
        client.send(&Message::new(30).mpint(&[1]));
        client.send(&Message::new(30).mpint(&[0xff; 256]));
        let answers = client.hung_up();
        assert!(!answers.contains(&31) && !answers.contains(&21), "{exchange} {cipher} {mac}: {answers:?}");
    }
    strangers_cost_little(&door);
    unharmed(&door, &key);
}

/// GHSA-wwx6-x28x-8259, CVE-2026-46702: "bomb packet → disconnect, RSS bounded"
#[test]
fn a_packet_that_inflates_to_hundreds_of_mebibytes_ends_its_connection_alone() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let compressing = || {
        let mut client =
            Attacker::handshake_with(door.port, "aes128-gcm@openssh.com", "hmac-sha2-256", "zlib@openssh.com");
        client.log_in("alice", &key);
        client
    };
    // One that is honest, to begin with: the stream is understood.
    let mut client = compressing();
    client.send(&Message(deflated(2, 1000)));
    client.send(&Message(vec![0xff; 100]));
    client.hung_up();
    for (number, length) in [(2, 200 << 20), (94, 200 << 20), (50, 64 << 20)] {
        let bomb = deflated(number, length);
        assert!(bomb.len() < 256 << 10, "{} bytes", bomb.len());
        let mut client = compressing();
        client.send(&Message(bomb));
        let end = thread::spawn(move || client.hung_up());
        let mut most = 0;
        while !end.is_finished() {
            most = most.max(memory(&door));
        }
        let answers = end.join().unwrap();
        assert!(answers.len() < 5, "{answers:?}");
        assert!(most < MOST_KIB, "{most} KiB");
    }
    unharmed(&door, &key);
}
