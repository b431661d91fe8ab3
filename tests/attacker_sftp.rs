//! The sftp subsystem behind a client that sends rubbish, in the SSH channel's own terms (threats.md,
//! 5.D, sftp row). Packets one by one: `sftp_hostile.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test support code"
)]

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use support::{
    Door,
    attacked::{MOST_KIB, door_of, memory, unharmed},
    attacker::{Attacker, Key, Message},
    attacker_channels::{data, number_at},
    root,
    sftp::{BAD, DENIED, FAILURE, OK, Sftp, string},
    soon,
};

fn door() -> (Door, Key) {
    door_of("10s", "linger = \"0s\"")
}

/// A session with the subsystem, as a client's channel 5.
fn subsystem(door: &Door, key: &Key) -> (Attacker, u32) {
    let mut client = Attacker::login(door.port, "alice", key);
    let channel = client.open(5, 32768).unwrap();
    client.send(&Message::request(channel, "subsystem", true).text("sftp"));
    assert_eq!(client.next(&[99, 100]).unwrap()[0], 99);
    (client, channel)
}

fn greeting() -> Vec<u8> {
    string(&[1, 0, 0, 0, 3])
}

/// "garbage packets (length 0, 4 GiB, unknown types …)": the session ends, the connection goes on
#[test]
fn rubbish_ends_the_session_and_leaves_the_connection() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let before = door.counts();
    let greeted = |rest: &[u8]| [&greeting()[..], rest].concat();
    let rubbish = [
        vec![0; 4],
        vec![0xff; 4],
        vec![0; 30_000],
        vec![0xff; 30_000],
        b"SSH-2.0-again\r\n".repeat(1000),
        greeted(&[0; 4]),
        greeted(&[0xff; 30_000]),
        greeted(&[0x7f, 0xff, 0xff, 0xff, 3]),
        greeted(&(256 * 1024 + 1_u32).to_be_bytes()),
        greeted(&string(&[])),
    ];
    for bytes in rubbish {
        let (mut client, channel) = subsystem(&door, &key);
        client.send(&data(channel, &bytes));
        // Its exit status, and the end of the channel.
        let message = client.next(&[98]).unwrap();
        assert!(message.ends_with(&1_u32.to_be_bytes()), "{:?}: {message:?}", &bytes[..bytes.len().min(16)]);
        client.next(&[97]).unwrap();
        assert_eq!(client.exec("echo well").as_deref(), Some("well"));
    }
    unharmed(&door, &key);
    door.returns_to(&before);
}

/// A length that is never fulfilled, in single bytes; and a client that never reads what it asked for
#[test]
fn what_is_never_finished_or_never_read_makes_nothing_grow() {
    if !root() {
        return;
    }
    let (door, key) = door();
    let before = door.counts();
    let (mut slow, channel) = subsystem(&door, &key);
    for byte in [&greeting()[..], &(256 * 1024_u32).to_be_bytes(), &[3]].concat() {
        slow.send(&data(channel, &[byte]));
    }
    slow.next(&[94]).unwrap();
    for _ in 0..1000 {
        slow.send(&data(channel, &[0; 100]));
    }
    // A listing of a large directory, again and again, and no window to send it into.
    let mut deaf = Attacker::login(door.port, "alice", &key);
    deaf.stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    deaf.send(&Message::open_session(5, 64, 32768));
    let channel = number_at(&deaf.next(&[91]).unwrap(), 5);
    deaf.send(&Message::request(channel, "subsystem", true).text("sftp"));
    deaf.next(&[99]).unwrap();
    deaf.send(&data(channel, &greeting()));
    for id in 0..20_000_u32 {
        let packet = string(&[&[16][..], &id.to_be_bytes(), &string(&[b'/'; 4000])].concat());
        if deaf.try_send(&data(channel, &packet)).is_err() {
            break;
        }
    }
    assert!(memory(&door) < MOST_KIB, "{} KiB", memory(&door));
    drop((slow, deaf));
    unharmed(&door, &key);
    door.returns_to(&before);
}

/// "handles of others": a handle is a session's own, of the same tenant's too
#[test]
fn a_handle_of_another_session_is_none() {
    if !root() {
        return;
    }
    let (door, _key) = door();
    door.ok("alice", "echo mine >file");
    let (mut first, mut second) = (Sftp::new(&door, "alice"), Sftp::new(&door, "alice"));
    let handle = first.open(b"file", 1).unwrap();
    let read = [&handle[..], &[0; 8], &[0, 0, 0, 9]].concat();
    assert_eq!(second.status(5, &read), FAILURE);
    for kind in [4, 8, 12] {
        assert_eq!(second.status(kind, &handle), FAILURE, "{kind}");
    }
    assert_eq!(second.status(6, &[&handle[..], &[0; 8], &string(b"theirs")].concat()), FAILURE);
    assert_eq!(first.ask(5, &read).0, 103);
    soon("and its file is as it was", || door.ok("alice", "cat file") == "mine");
    assert_eq!((first.end(), second.end()), (0, 0));
}

/// "`fsetstat` corpus": a handle to what may be read is no way to change it
#[test]
fn attributes_by_a_handle_change_what_the_tenant_may_change_and_no_more() {
    if !root() {
        return;
    }
    let (door, _key) = door();
    door.ok("alice", "echo mine >file; chmod 600 file; ln -s /usr/bin/env link");
    let mode_of_env = fs::metadata("/usr/bin/env").unwrap().permissions().mode();
    let mode = [4_u32.to_be_bytes(), 0o777_u32.to_be_bytes()].concat();
    let owner = [2_u32.to_be_bytes(), [0; 4], [0; 4]].concat();
    let times = [8_u32.to_be_bytes(), [0; 4], [0; 4]].concat();
    let size = [1_u32.to_be_bytes(), [0; 4], [0; 4]].concat();
    // ftruncate(2) of what is open for reading alone fails with EINVAL, in OpenSSH's words a bad message.
    let mut sftp = Sftp::new(&door, "alice");
    for path in [&b"/usr/bin/env"[..], b"link", b"/etc/passwd"] {
        let handle = sftp.open(path, 1).unwrap();
        for attributes in [&mode, &owner, &times, &size] {
            let status = sftp.status(10, &[&handle[..], attributes].concat());
            assert!(matches!(status, DENIED | FAILURE | BAD), "{}: {status}", String::from_utf8_lossy(path));
        }
    }
    // Of the tenant's own file: the mode is theirs to change, what is in it is not open for writing.
    let handle = sftp.open(b"file", 1).unwrap();
    assert_eq!(sftp.status(10, &[&handle[..], &mode].concat()), OK);
    for attributes in [&owner, &size] {
        assert!(matches!(sftp.status(10, &[&handle[..], attributes].concat()), DENIED | FAILURE | BAD));
    }
    assert_eq!(sftp.end(), 0);
    assert_eq!(door.ok("alice", "cat file; stat -c '%a %U' file"), "mine\n777 alice");
    assert_eq!(fs::metadata("/usr/bin/env").unwrap().permissions().mode(), mode_of_env);
}
