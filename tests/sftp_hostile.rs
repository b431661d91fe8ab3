//! What a client can send to the sftp server that no client of ours would, and what a tenant can put
//! in its way (issue 4, item 3; threat rows on sftp: wish CVE-2026-41589, Erlang CVE-2026-23942,
//! sshfs CVE-2026-47187).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test support code"
)]

use std::fs;

use support::{
    Door, root,
    sftp::{BAD, DENIED, EOF, FAILURE, NO_SUCH_FILE, OK, Sftp, UNSUPPORTED, string, two},
};

const READ: u32 = 1;
const WRITE: u32 = 2;
const CREATE: u32 = 8;

/// READ of `length` bytes from the start.
fn read(handle: &[u8], length: u32) -> Vec<u8> {
    [handle, &[0; 8], &length.to_be_bytes()].concat()
}

fn is_refusal(status: u32) -> bool {
    matches!(status, NO_SUCH_FILE | DENIED | FAILURE)
}

/// Nothing gets a name there or beneath it, and nothing that has one loses it. `mine` is there to be moved.
fn refuses_names(sftp: &mut Sftp, target: &[u8]) {
    // Neither from there nor to there, be it as a directory.
    let beneath = [target, b"/new"].concat();
    for (from, to) in [(target, &b"moved"[..]), (b"mine", target), (b"mine", &beneath)] {
        for extension in ["hardlink@openssh.com", "posix-rename@openssh.com"] {
            let (_, reply) = sftp.extended(extension, &two(from, to));
            assert!(
                is_refusal(u32::from_be_bytes(reply[..4].try_into().unwrap())),
                "{extension} {}",
                to.escape_ascii()
            );
        }
        assert!(is_refusal(sftp.status(18, &two(from, to))), "{}", to.escape_ascii());
    }
    for outside in [target, &beneath] {
        let requests = [
            (20, two(b"mine", outside)),
            (14, [string(outside), vec![0; 4]].concat()),
            (15, string(outside)),
            (13, string(outside)),
        ];
        for (kind, rest) in requests {
            assert!(is_refusal(sftp.status(kind, &rest)), "{kind} {}", outside.escape_ascii());
        }
    }
}

#[test]
fn sftp_cannot_follow_a_link_out_of_home() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let secret = door.dir.join("secret");
    fs::write(&secret, "the host's").unwrap();
    // A neighbour whose name begins like alice's, and who has a file.
    door.ok("bob", "echo bobs >~/file");
    let home = |tenant: &str| door.dir.join(&format!("state/tenants/{tenant}/home"));
    let shadow = fs::read("/etc/shadow").unwrap();
    door.ok("alice", "echo hers >mine");
    let mut sftp = Sftp::new(&door, "alice");
    let targets = [
        secret.clone(),
        home("bob").join("file"),
        "/etc/shadow".into(),
        "/proc/1/root/etc/shadow".into(),
        format!("/proc/1/cwd/..{}", secret.display()).into(),
        format!("/../../..{}", secret.display()).into(),
        "/home/alice/../bob/file".into(),
        "/home/alicex/file".into(),
    ];
    for (number, target) in targets.iter().enumerate() {
        let (target, link) = (target.as_os_str().as_encoded_bytes(), format!("link{number}"));
        // OpenSSH's order of the two: what the link says comes first.
        assert_eq!(sftp.status(20, &two(target, link.as_bytes())), OK);
        assert_eq!(sftp.name(19, &string(link.as_bytes())).unwrap().as_bytes(), target);
        for path in [target, link.as_bytes()] {
            assert!(sftp.open(path, READ).is_err(), "{}", String::from_utf8_lossy(path));
            assert!(sftp.open(path, WRITE | CREATE).is_err(), "{}", String::from_utf8_lossy(path));
        }
        refuses_names(&mut sftp, target);
        refuses_names(&mut sftp, &[link.as_bytes(), b"/new"].concat());
        // The link is the tenant's: it goes, and what it leads to stays.
        assert_eq!(sftp.status(13, &string(link.as_bytes())), OK);
    }
    for target in [&b"/usr/bin/env"[..], b"/etc/passwd", b"/home/new"] {
        refuses_names(&mut sftp, target);
    }
    assert_eq!(door.ok("alice", "ls; cat mine"), "mine\nhers");
    assert_eq!(fs::read("/etc/shadow").unwrap(), shadow);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "the host's");
    assert_eq!(fs::read_to_string(home("bob").join("file")).unwrap(), "bobs\n");
    assert_eq!(sftp.name(16, &string(b"/../../..")).unwrap(), "/");
    assert_eq!(sftp.end(), 0);
}

#[test]
fn fifos_sockets_and_devices_hang_nobody() {
    if !root() {
        return;
    }
    let door = Door::standard();
    door.ok("alice", "mkfifo fifo; ln -s fifo to-fifo; python3 -c 'import socket; socket.socket(1).bind(\"socket\")'");
    let mut sftp = Sftp::new(&door, "alice");
    for path in [&b"fifo"[..], b"to-fifo", b"socket", b"/dev/tty", b"/dev/ptmx"] {
        for flags in [READ, WRITE, READ | WRITE, WRITE | CREATE] {
            if let Ok(handle) = sftp.open(path, flags) {
                // A terminal may open; what is read from it comes at once or not at all.
                assert!(path.starts_with(b"/dev/"));
                let (kind, _) = sftp.ask(5, &read(&handle, 10));
                assert_eq!((kind, sftp.status(4, &handle)), (101, OK));
            }
        }
        // Neither do these wait.
        sftp.ask(17, &string(path));
        sftp.status(9, &[&string(path)[..], &[0, 0, 0, 1], &[0; 8]].concat());
        assert!(sftp.handle(11, &string(path)).is_err());
    }
    let zero = sftp.open(b"/dev/zero", READ).unwrap();
    let (kind, data) = sftp.ask(5, &read(&zero, u32::MAX));
    assert_eq!((kind, data.len()), (103, 4 + (256 << 10) - 1024), "as much as one reply takes");
    let null = sftp.open(b"/dev/null", WRITE).unwrap();
    let endless = [&zero[..], &[0; 8], &[0; 8], &null, &[0; 8]].concat();
    assert_eq!(sftp.extended("copy-data", &endless).1[..4], FAILURE.to_be_bytes(), "and no copy without an end");
    assert_eq!(sftp.status(7, &string(b"fifo/x")), NO_SUCH_FILE);
    assert_eq!(sftp.end(), 0);
}

#[test]
fn handles_run_out_and_come_back() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let mut sftp = Sftp::new(&door, "alice");
    let mut handles = Vec::new();
    let refused = loop {
        let opened = if handles.len() % 2 == 0 { sftp.open(b".bashrc", READ) } else { sftp.handle(11, &string(b"/")) };
        match opened {
            Ok(handle) => handles.push(handle),
            Err(status) => break status,
        }
    };
    assert_eq!((refused, handles.len()), (FAILURE, 1024));
    let (_, limits) = sftp.extended("limits@openssh.com", b"");
    assert_eq!(limits[24..32], 1024u64.to_be_bytes());
    assert_eq!(sftp.status(4, &handles[7]), OK);
    assert_eq!(sftp.status(4, &handles[7]), FAILURE, "twice");
    assert!(sftp.open(b".bashrc", READ).is_ok());
    assert_eq!(sftp.status(5, &read(&handles[7], 1)), FAILURE, "a handle that has another's place");
    // Handles of the wrong kind, length and content.
    assert_eq!(sftp.status(12, &handles[0]), FAILURE);
    assert_eq!(sftp.status(5, &read(&handles[1], 1)), FAILURE);
    for handle in [&b""[..], b"x", &[0xff; 8], &[0; 4], &[0; 256]] {
        assert_eq!(sftp.status(4, &string(handle)), FAILURE);
    }
    assert_eq!(sftp.end(), 0);
}

#[test]
fn paths_of_nul_and_without_end_are_refused_and_odd_ones_kept() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let mut sftp = Sftp::new(&door, "alice");
    let long = [b'a'; 100_000];
    let deep = b"x/".repeat(40_000);
    for path in [&b"\0"[..], b"a\0b", &[0; 4096], &long, &deep] {
        for kind in [7, 11, 13, 15, 16, 17, 19] {
            assert_eq!(sftp.status(kind, &string(path)), BAD, "{kind}");
        }
        assert_eq!(sftp.open(path, WRITE | CREATE), Err(BAD));
        assert_eq!(sftp.status(18, &two(b".bashrc", path)), BAD);
        assert_eq!(sftp.status(20, &two(path, b"link")), BAD);
        assert_eq!(sftp.status(20, &two(b"target", path)), BAD);
        assert_eq!(sftp.status(14, &[&string(path)[..], &[0; 4]].concat()), BAD);
    }
    // Bytes that are no text are names as good as others.
    let odd = b"\xff\xfe \n\x1b[2J";
    let handle = sftp.open(odd, WRITE | CREATE).unwrap();
    assert_eq!(sftp.status(4, &handle), OK);
    assert!(door.ok("alice", "ls -b").contains("\\377\\376"));
    assert_eq!(sftp.status(13, &string(odd)), OK);
    assert_eq!(sftp.status(17, &string(b"")), NO_SUCH_FILE);
    assert_eq!(sftp.name(16, &string(b"")).unwrap(), "/home/alice");
    assert_eq!(sftp.end(), 0);
}

#[test]
fn what_is_no_packet_ends_the_session_and_nothing_else() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let hello = [&5u32.to_be_bytes()[..], &[1], &3u32.to_be_bytes()].concat();
    let greeted = |rest: &[u8]| [&hello[..], rest].concat();
    let wrong = [
        0u32.to_be_bytes().to_vec(),
        u32::MAX.to_be_bytes().to_vec(),
        greeted(&0u32.to_be_bytes()),
        greeted(&(256 * 1024 + 1u32).to_be_bytes()),
        greeted(&string(&[3])),
        greeted(&string(&[3, 0, 0, 0, 1])),
        greeted(&string(&[17, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff])),
        // A request before the greeting.
        string(&[17, 0, 0, 0, 1, 0, 0, 0, 1, b'/']),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ];
    for bytes in wrong {
        let mut sftp = Sftp::silent(&door, "alice");
        sftp.send_raw(&bytes);
        assert_eq!(sftp.wait(), 1, "{bytes:?}");
    }
    let mut sftp = Sftp::new(&door, "alice");
    for kind in [0, 1, 2, 21, 99, 101, 105, 199, 201, 255] {
        assert_eq!(sftp.status(kind, b"\0\0\0\x03"), UNSUPPORTED, "{kind}");
    }
    assert_eq!(sftp.extended("no-such@example.org", b"\xff").1[..4], UNSUPPORTED.to_be_bytes());
    assert_eq!(sftp.end(), 0);
}

#[test]
fn a_huge_directory_and_a_thousand_requests_ahead_are_answered_in_order() {
    if !root() {
        return;
    }
    let door = Door::standard();
    door.ok("alice", "mkdir many && cd many && seq -f '%0200.0f' 20000 | xargs touch");
    let mut sftp = Sftp::new(&door, "alice");
    let handle = sftp.handle(11, &string(b"many")).unwrap();
    let mut names = 0;
    loop {
        let (kind, reply) = sftp.ask(12, &handle);
        if kind == 101 {
            assert_eq!(reply[..4], EOF.to_be_bytes());
            break;
        }
        assert!(reply.len() < 34_000, "{}", reply.len());
        names += u32::from_be_bytes(reply[..4].try_into().unwrap());
    }
    assert_eq!(names, 20_002);
    let ids: Vec<u32> = (0..1000).map(|_| sftp.send(16, &string(b"."))).collect();
    for id in ids {
        assert_eq!(sftp.reply(id).0, 104);
    }
    assert_eq!(sftp.end(), 0);
}

#[test]
fn writes_past_the_end_of_space_fail_and_attributes_of_links_follow_them() {
    if !root() {
        return;
    }
    let door = Door::standard();
    door.ok("alice", "echo 12345 >file; chmod 644 file; ln -s file link; ln -s nowhere dangling");
    let mut sftp = Sftp::new(&door, "alice");
    let mode = |mode: u32| [&4u32.to_be_bytes()[..], &mode.to_be_bytes()].concat();
    let with = |path: &[u8], rest: Vec<u8>| [string(path), rest].concat();
    assert_eq!(sftp.status(9, &with(b"link", mode(0o600))), OK);
    assert_eq!(door.ok("alice", "stat -c %a file"), "600");
    assert_eq!(sftp.status(9, &with(b"dangling", mode(0o600))), NO_SUCH_FILE);
    let itself = |attributes: Vec<u8>| [string(b"link"), attributes].concat();
    assert_eq!(sftp.extended("lsetstat@openssh.com", &itself(mode(0o777))).1[..4], FAILURE.to_be_bytes());
    let size = [&1u32.to_be_bytes()[..], &2u64.to_be_bytes()].concat();
    assert_eq!(sftp.extended("lsetstat@openssh.com", &itself(size)).1[..4], BAD.to_be_bytes());
    assert_eq!(door.ok("alice", "cat file; stat -c %a file"), "12345\n600");
    // Owners are the kernel's to judge.
    let owner = [&2u32.to_be_bytes()[..], &[0; 8]].concat();
    assert_eq!(sftp.status(9, &with(b"file", owner)), DENIED);
    let full = sftp.open(b"/dev/full", WRITE).unwrap();
    assert_eq!(sftp.status(6, &[&full[..], &[0; 8], &string(b"x")].concat()), FAILURE);
    let far = sftp.open(b"far", WRITE | CREATE).unwrap();
    assert_ne!(sftp.status(6, &[&far[..], &u64::MAX.to_be_bytes(), &string(b"x")].concat()), OK);
    assert_eq!(sftp.end(), 0);
}
