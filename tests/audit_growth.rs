//! "A tenant fills no disk by the audit file": what they can do in a loop has one allowance over all of
//! their connections, whatever of it they do, and what is beyond is counted (docs/threat-model.md).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test support code"
)]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use support::{
    Door,
    forward::{echo, forwarded},
    free_port, patience, root,
    sftp::{Sftp, string},
    soon, until,
};

/// What a tenant may have written at once, and in a second from then on (`account/allowance.rs`).
const MOST: u64 = 16 << 20;
const PER_SECOND: u64 = 16 << 10;

/// Operations that are on their way at one time: what a slow monitor has not taken is counted and not written.
const AT_ONCE: u64 = 25;

/// Renames what is not there, by the longest lines that there are: names of quotes, which JSON doubles. How
/// often.
fn flood(sftp: &mut Sftp, batches: u64) -> u64 {
    let name = string(&[b'"'; 512]);
    for _ in 0..batches {
        let ids: Vec<u32> = (0..AT_ONCE).map(|_| sftp.send(18, &[&name[..], &name].concat())).collect();
        ids.into_iter().for_each(|id| drop(sftp.reply(id)));
    }
    batches * AT_ONCE
}

/// The same until nearly all that a tenant may have written is written.
fn use_up(door: &Door, sftp: &mut Sftp) -> u64 {
    let mut sent = 0;
    let used_up = until(patience(90), || {
        sent += flood(sftp, 20);
        size(door) > MOST - (MOST >> 5)
    });
    assert!(used_up, "{} bytes by {sent} operations", size(door));
    sent
}

fn sum(door: &Door, event: &str, field: &str) -> u64 {
    door.events(event).iter().map(|line| line[field].as_u64().unwrap()).sum()
}

fn size(door: &Door) -> u64 {
    fs::metadata(door.dir.join("audit.jsonl")).unwrap().len()
}

#[test]
fn a_tenant_who_comes_again_and_again_has_one_allowance_and_every_operation_is_told_of() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let start = Instant::now();
    let mut sftp = Sftp::new(&door, "alice");
    let mut sent = use_up(&door, &mut sftp);
    assert_eq!(sftp.end(), 0);
    for connection in [2, 3] {
        let mut sftp = Sftp::new(&door, "alice");
        sent += flood(&mut sftp, 120);
        assert_eq!(sftp.end(), 0);
        soon("the end is written", || door.events("session_end").len() == connection);
    }
    let most = MOST + (start.elapsed().as_secs() + 1) * PER_SECOND;
    assert!(size(&door) < most + (64 << 10), "{} bytes", size(&door));
    let listed = door.events("file_operation");
    assert!(listed.len() as u64 > MOST / 3000, "{} lines", listed.len());
    assert_eq!(listed.len() as u64 + sum(&door, "file_operations_unlisted", "operations"), sent);
    // A name is cut, and says so.
    let path = listed[0]["path"].as_str().unwrap();
    assert!(path.ends_with('…') && path.len() < 520, "{} bytes", path.len());

    // That is hers alone.
    let mut sftp = Sftp::new(&door, "bob");
    let before = door.events("file_operation").len();
    let his = flood(&mut sftp, 4) as usize;
    assert_eq!(sftp.end(), 0);
    soon("the end is written", || door.events("session_end").len() == 4);
    assert_eq!(door.events("file_operation").len(), before + his);
}

#[test]
fn forwards_have_the_same_allowance_and_are_told_of_too() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let (port, over) = (free_port(), AtomicBool::new(false));
    let _echo = echo(&door, "alice", port);
    let mut sftp = Sftp::new(&door, "alice");
    use_up(&door, &mut sftp);
    let (client, local) = forwarded(&door, "alice", port);
    let (threads, each) = (4, 100);
    thread::scope(|scope| {
        // So that little is left of it meanwhile.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                flood(&mut sftp, 20);
            }
        });
        let forward = || {
            for _ in 0..each {
                let mut stream = TcpStream::connect(("127.0.0.1", local)).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                stream.write_all(b"x").unwrap();
                stream.read_exact(&mut [0]).unwrap();
            }
        };
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(forward)).collect();
        all.into_iter().for_each(|one| one.join().unwrap());
        over.store(true, Ordering::Relaxed);
    });
    drop(client);
    soon("its end is written", || !door.events("connection_end").is_empty());
    let (listed, unlisted) = (door.events("forward_end").len() as u64, sum(&door, "forwards_unlisted", "forwards"));
    // One more found out that the client listens.
    assert_eq!(listed + unlisted, threads * each + 1, "{listed} have a line");
    assert!(unlisted > 0, "{listed} have a line");
}
